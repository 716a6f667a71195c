// Package tables keeps items in Azure Table Storage. Its [Store] is an
// items.Store; Azure's errors, entity tags, keys, pages and retries stop here.
//
// A caller has a partition, an item a row in it, whose key is the item's ID
// turned round so that the newest comes first (entity.go). What the Table
// service limits is checked before anything is sent: by package items for an
// item's members, by the keys' form for the rest.
package tables

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	jsonv2 "github.com/go-json-experiment/json"

	"itemsapi/handler/items"
)

// Config says where the items are.
type Config struct {
	// Endpoint is the https URL of a Table service, reached by managed
	// identity. Exactly one of Endpoint and ConnectionString is set.
	Endpoint string
	// IdentityClientID names a user-assigned identity. Empty means the
	// system-assigned one.
	IdentityClientID string
	// ConnectionString has an account and its key, for local use.
	ConnectionString string
	// Table is the name of the table. Required.
	Table string

	// Transport carries the requests. Nil means one tuned for the Table service.
	Transport http.RoundTripper
	// Log gets what storage does wrong. Nil discards it.
	Log *slog.Logger
}

// Store keeps items in one table. It is safe for concurrent use.
type Store struct {
	table      *aztables.Client
	credential azcore.TokenCredential // nil with a connection string
	log        *slog.Logger
}

var _ items.Store = (*Store)(nil)

// Open makes a store. It sends nothing: see [Store.Prepare].
func Open(c Config) (*Store, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	s := &Store{log: c.Log}
	options := &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport:       &http.Client{Transport: c.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		Retry:           policy.RetryOptions{MaxRetries: -1}, // attempts does it
		Telemetry:       policy.TelemetryOptions{Disabled: true},
		PerCallPolicies: []policy.Policy{attempts{}},
	}}
	var service *aztables.ServiceClient
	var err error
	if c.ConnectionString != "" {
		service, err = aztables.NewServiceClientFromConnectionString(c.ConnectionString, options)
	} else {
		identity := &azidentity.ManagedIdentityCredentialOptions{}
		if c.IdentityClientID != "" {
			identity.ID = azidentity.ClientID(c.IdentityClientID)
		}
		if s.credential, err = azidentity.NewManagedIdentityCredential(identity); err != nil {
			return nil, fmt.Errorf("use managed identity: %w", err)
		}
		service, err = aztables.NewServiceClient(c.Endpoint, s.credential, options)
	}
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", c.Table, err)
	}
	s.table = service.NewClient(c.Table)
	return s, nil
}

// newTransport returns a transport for many short requests to one host.
// azcore's keeps ten idle connections a host and Go's own two, so that under
// load they dial, with TLS, all the time.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(64)},
		TLSHandshakeTimeout:   3 * time.Second,
		MaxIdleConns:          512,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		ReadBufferSize:        32 << 10,
	}
}

// Prepare does what makes the first request quick: with a connection string it
// creates the table, otherwise it gets the identity's token. It tries again
// until it succeeds or ctx ends, and returns only then.
func (s *Store) Prepare(ctx context.Context) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		err := s.prepare(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.Warn("storage not ready", "error", err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (s *Store) prepare(ctx context.Context) (err error) {
	// This goroutine's panic would end the process.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while preparing storage: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if s.credential != nil {
		_, err := s.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
		if err != nil {
			return fmt.Errorf("get a token for storage: %w", err)
		}
		return nil
	}
	_, err = s.table.CreateTable(ctx, nil)
	if err != nil && errorCode(err) != "TableAlreadyExists" {
		return fmt.Errorf("create the table: %w", err)
	}
	return nil
}

// A selective list reads at most scanRows rows, or for scanTime, before it
// answers with what it has found and where to go on.
const (
	scanRows = 5000
	scanTime = 2 * time.Second
	pageRows = 1000 // the most that the service gives at once
)

// List returns a page of the owner's items. It implements items.Store.
//
// Names are compared here and not by the service, which would read as many rows,
// as only keys are indexed, but would not tell where it stopped.
func (s *Store) List(ctx context.Context, owner items.Owner, q items.Query) (items.Page, error) {
	first, last, ok := rowRange(q)
	if !ok {
		return items.Page{}, fmt.Errorf("list items: %q is no position: %w", q.After, items.ErrNotFound)
	}
	selective := q.Name != "" || q.NamePrefix != ""
	wanted := q.Limit + 1 // one more than asked for tells whether there is more
	if selective {
		wanted = pageRows
	}
	filter := fmt.Sprintf("PartitionKey eq '%s' and RowKey gt '%s' and RowKey lt '%s'", partitionKey(owner), first, last)
	selected := entityMembers
	top := int32(min(wanted, pageRows))
	pager := s.table.NewListEntitiesPager(&aztables.ListEntitiesOptions{Filter: &filter, Select: &selected, Top: &top})

	page := items.Page{Items: make([]items.Item, 0, min(q.Limit, pageRows))}
	position, read, start := "", 0, time.Now()
	// A page of the service may be short or empty and still not be the last.
	for pager.More() {
		if selective && position != "" && (read >= scanRows || time.Since(start) > scanTime) {
			page.Next = position
			return page, nil
		}
		var body []byte
		if _, err := pager.NextPage(withBody(ctx, &body)); err != nil {
			return items.Page{}, fmt.Errorf("list items: %w", translate(ctx, err))
		}
		var rows struct {
			Value []entity `json:"value"`
		}
		if err := jsonv2.Unmarshal(body, &rows); err != nil {
			return items.Page{}, fmt.Errorf("list items: read a page: %w: %w", err, items.ErrUnavailable)
		}
		for i := range rows.Value {
			row := &rows.Value[i]
			if selective && !q.Matches(row.Name) {
				id, _ := itemID(row.RowKey)
				position = id.String()
				continue
			}
			if len(page.Items) == q.Limit {
				page.Next = position
				return page, nil
			}
			item, err := row.item()
			if err != nil {
				return items.Page{}, fmt.Errorf("list items: %w", err)
			}
			page.Items = append(page.Items, item)
			position = item.ID
		}
		read += len(rows.Value)
	}
	return page, nil
}

// Get returns one item. It implements items.Store.
func (s *Store) Get(ctx context.Context, owner items.Owner, id string) (items.Item, error) {
	key, ok := rowKey(id)
	if !ok {
		return items.Item{}, fmt.Errorf("get item: %w", items.ErrNotFound)
	}
	var body []byte
	if _, err := s.table.GetEntity(withBody(ctx, &body), partitionKey(owner), key, nil); err != nil {
		return items.Item{}, fmt.Errorf("get item: %w", translate(ctx, err))
	}
	var row entity
	if err := jsonv2.Unmarshal(body, &row); err != nil {
		return items.Item{}, fmt.Errorf("get item: read the answer: %w: %w", err, items.ErrUnavailable)
	}
	return row.item()
}

// Create keeps a new item. It implements items.Store.
func (s *Store) Create(ctx context.Context, owner items.Owner, d items.Draft) (items.Item, error) {
	item, row, err := newEntity(owner, d)
	if err != nil {
		return items.Item{}, fmt.Errorf("create item: %w", err)
	}
	body, err := json.Marshal(row)
	if err != nil {
		return items.Item{}, fmt.Errorf("create item: %w", err)
	}
	quiet := policy.WithHTTPHeader(ctx, http.Header{"Prefer": {"return-no-content"}})
	_, err = s.table.AddEntity(quiet, body, nil)
	if errorCode(err) == string(aztables.EntityAlreadyExists) {
		// The reply to an earlier attempt was lost. Nobody else makes this ID.
		stored, getErr := s.Get(ctx, owner, item.ID)
		if getErr == nil && stored.ETag == item.ETag {
			return item, nil
		}
	}
	if err != nil {
		return items.Item{}, fmt.Errorf("create item: %w", translate(ctx, err))
	}
	return item, nil
}

func errorCode(err error) string {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.ErrorCode
	}
	return ""
}

// translate turns what the SDK says into what package items says. It is the one
// place where that happens.
func translate(ctx context.Context, err error) error {
	var response *azcore.ResponseError
	switch {
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", items.ErrTimeout, err)
	case !errors.As(err, &response):
		return fmt.Errorf("%w: %w", items.ErrUnavailable, err) // the network, or no HTTP
	case response.StatusCode == http.StatusNotFound && response.ErrorCode == string(aztables.ResourceNotFound):
		return items.ErrNotFound
	default:
		// What is sent is right by construction, so what else is refused (the
		// table, the identity's role, the signature) is storage not set up.
		return fmt.Errorf("%w: %s: %w", items.ErrUnavailable, response.ErrorCode, err)
	}
}
