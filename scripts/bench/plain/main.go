// Command plain is the peer that bench measures the handler against: the same three
// calls written the straightforward way with golang-jwt, keyfunc and aztables, as their
// README files show it. It serves on loopback, for measurement alone: it checks less of
// a token than the handler does, explains nothing, has neither preconditions nor a delta,
// and nothing in it is bounded.
//
// Its settings are environment variables: PORT, JWKS_URL, ISSUER, AUDIENCE,
// TABLES_CONNECTION_STRING and TABLE.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

type item struct {
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Properties json.RawMessage `json:"properties,omitempty"`
	CreatedAt  time.Time       `json:"createdAt"`
	ETag       string          `json:"etag"`
}

// row is an item in the table.
type row struct {
	PartitionKey, RowKey, Name, Properties, CreatedAt string

	ETag string `json:"odata.etag,omitempty"`
}

func (r row) item() item {
	created, _ := time.Parse(time.RFC3339Nano, r.CreatedAt)
	return item{r.RowKey, r.Name, json.RawMessage(r.Properties), created, r.ETag}
}

type claims struct {
	jwt.RegisteredClaims

	OID   string `json:"oid"`
	Scope string `json:"scp"`
}

type api struct {
	keys  keyfunc.Keyfunc
	table *aztables.Client
}

func main() {
	if err := serve(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{os.Getenv("JWKS_URL")})
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	service, err := aztables.NewServiceClientFromConnectionString(os.Getenv("TABLES_CONNECTION_STRING"), nil)
	if err != nil {
		return fmt.Errorf("open the storage: %w", err)
	}
	a := &api{keys: keys, table: service.NewClient(os.Getenv("TABLE"))}
	if _, err := a.table.CreateTable(ctx, nil); err != nil {
		return fmt.Errorf("create the table: %w", err)
	}
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("GET /api/items/{id}", a.admit("read", a.get))
	http.HandleFunc("GET /api/items", a.admit("read", a.list))
	http.HandleFunc("POST /api/items", a.admit("write", a.create))
	return http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil)
}

// admit lets a request through whose token is good and has the scope.
func (a *api) admit(scope string, do func(r *http.Request, owner string) (int, any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		var c claims
		_, err := jwt.ParseWithClaims(raw, &c, a.keys.Keyfunc, jwt.WithValidMethods([]string{"RS256"}),
			jwt.WithIssuer(os.Getenv("ISSUER")), jwt.WithAudience(os.Getenv("AUDIENCE")), jwt.WithExpirationRequired(),
			jwt.WithLeeway(time.Minute))
		switch {
		case err != nil:
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		case !slices.Contains(strings.Fields(c.Scope), scope):
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		status, value, err := do(r, c.OID)
		if err != nil {
			log.Print(err)
			http.Error(w, "error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(value)
	}
}

func (a *api) get(r *http.Request, owner string) (int, any, error) {
	got, err := a.table.GetEntity(r.Context(), owner, r.PathValue("id"), nil)
	if err != nil {
		return 0, nil, fmt.Errorf("get: %w", err)
	}
	var one row
	if err := json.Unmarshal(got.Value, &one); err != nil {
		return 0, nil, fmt.Errorf("decode: %w", err)
	}
	return http.StatusOK, one.item(), nil
}

func (a *api) list(r *http.Request, owner string) (int, any, error) {
	limit, err := strconv.ParseInt(r.URL.Query().Get("limit"), 10, 32)
	if err != nil {
		return 0, nil, fmt.Errorf("limit: %w", err)
	}
	top, filter := int32(limit), "PartitionKey eq '"+owner+"'"
	pager := a.table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Top: &top, Filter: &filter})
	page, err := pager.NextPage(r.Context())
	if err != nil {
		return 0, nil, fmt.Errorf("list: %w", err)
	}
	items := make([]item, 0, limit)
	for _, entity := range page.Entities {
		var one row
		if err := json.Unmarshal(entity, &one); err != nil {
			return 0, nil, fmt.Errorf("decode: %w", err)
		}
		items = append(items, one.item())
	}
	return http.StatusOK, map[string]any{"value": items}, nil
}

func (a *api) create(r *http.Request, owner string) (int, any, error) {
	var draft item
	if err := json.NewDecoder(r.Body).Decode(&draft); err != nil {
		return 0, nil, fmt.Errorf("decode the body: %w", err)
	}
	if draft.Name == "" {
		return 0, nil, errors.New("no name")
	}
	id, err := uuid.NewV7()
	if err != nil {
		return 0, nil, fmt.Errorf("make an ID: %w", err)
	}
	one := row{
		PartitionKey: owner, RowKey: id.String(), Name: draft.Name, Properties: string(draft.Properties),
		CreatedAt: time.Now().UTC().Format(time.RFC3339Nano),
	}
	entity, err := json.Marshal(one)
	if err != nil {
		return 0, nil, fmt.Errorf("encode: %w", err)
	}
	added, err := a.table.AddEntity(r.Context(), entity, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("add: %w", err)
	}
	one.ETag = string(added.ETag)
	return http.StatusCreated, one.item(), nil
}
