package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

// world is the API on a tenant and a Table service of its own.
type world struct {
	url     string
	tenant  *entratest.Server
	storage *tablestest.Server
	log     *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// trusting is how an API is configured that belongs to the tenant, as main does it.
func trusting(tenant *entratest.Server) entra.Config {
	trust := entra.B2C(entratest.TenantName,
		entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit, entratest.PolicyROPC)
	trust.Audience, trust.AppIDURI = entratest.APIClientID, entratest.AppIDURI
	trust.Scopes = map[string]string{"read": "read", "write": "write"}
	trust.Clients = []string{entratest.ClientID}
	trust.MetadataURL = tenant.MetadataTemplate()
	return entra.Config{
		Trust: []entra.Trust{trust}, Realm: config.Realm, Hints: entra.Hints{B2C: entra.Settings(config.B2CNames)},
	}
}

// newWorld starts the API; change may alter what it is made of.
func newWorld(t testing.TB, change ...func(*server.Config)) *world {
	w := &world{log: &buffer{}}
	var err error
	w.tenant, err = entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(w.tenant.Close)
	w.storage, err = tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(w.storage.Close)
	store, err := tables.Open(tables.Config{ConnectionString: w.storage.ConnectionString(), Table: "items"})
	require.NoError(t, err)
	store.Prepare(t.Context())
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	verifier, err := entra.New(ctx, trusting(w.tenant))
	require.NoError(t, err)
	c := server.Config{
		Verify: verifier.Verify,
		Store:  store, ReadScope: "read", WriteScope: "write", Realm: config.Realm, Collection: config.Collection,
		CallerConcurrency: 32,
		Log:               slog.New(slog.NewJSONHandler(w.log, nil)),
	}
	for _, f := range change {
		f(&c)
	}
	s := httptest.NewServer(server.New(c))
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

func (w *world) token(t testing.TB, user string, scopes ...string) string {
	token, err := w.tenant.AccessToken(entratest.TokenRequest{User: user, Scopes: scopes})
	require.NoError(t, err)
	return token
}

type reply struct {
	*http.Response
	body []byte
}

func (r reply) json(t testing.TB) map[string]any {
	var m map[string]any
	require.NoError(t, json.Unmarshal(r.body, &m), "%s", r.body)
	return m
}

func (r reply) code(t testing.TB) string { code, _ := r.json(t)["code"].(string); return code }

// send sends a request; headers are name, value, name, value.
func (w *world) send(t testing.TB, method, path, token, body string, headers ...string) reply {
	req, err := http.NewRequestWithContext(context.Background(), method, w.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	r := do(t, req)
	conforms(t, req, []byte(body), r)
	return r
}

func do(t testing.TB, req *http.Request) reply {
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return reply{resp, b}
}

func TestCreateGetList(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	created := w.send(t, "POST", "/api/items", token, itemstest.Whole())
	require.Equal(t, 201, created.StatusCode, "%s", created.body)
	item := created.json(t)
	id := item["id"].(string)
	require.Equal(t, "/api/items/"+id, created.Header.Get("Location"))
	require.Equal(t, item["etag"], created.Header.Get("ETag"))
	require.Equal(t, "application/json", created.Header.Get("Content-Type"))
	sent := membersOf(t, itemstest.Whole())
	require.Len(t, item, len(sent)+4)
	for name, value := range sent {
		require.JSONEq(t, string(value), mustJSON(t, item[name]), name)
	}
	const millisecond = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`
	require.Regexp(t, millisecond, item["createdAt"])
	require.Regexp(t, millisecond, item["updatedAt"])

	got := w.send(t, "GET", "/api/items/"+id, token, "")
	require.Equal(t, 200, got.StatusCode)
	require.Equal(t, string(created.body), string(got.body))
	require.Equal(t, created.Header.Get("ETag"), got.Header.Get("ETag"))

	list := w.send(t, "GET", "/api/items", token, "")
	require.Equal(t, 200, list.StatusCode)
	require.JSONEq(t, `{"value":[`+string(created.body)+`]}`, string(list.body), "no nextLink on the last page")

	none := w.send(t, "GET", "/api/items", w.token(t, "bob"), "")
	require.Equal(t, "{\"value\":[]}\n", string(none.body))

	for _, path := range []string{"/api/items", "/api/items/" + id} {
		get := w.send(t, "GET", path, token, "")
		head := w.send(t, "HEAD", path, token, "")
		require.Equal(t, 200, head.StatusCode)
		require.Empty(t, head.body)
		require.Equal(t, get.Header.Get("Content-Length"), head.Header.Get("Content-Length"))
		require.Equal(t, get.Header.Get("ETag"), head.Header.Get("ETag"))
	}
}

func TestPaging(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	for i := range 7 {
		require.Equal(t, 201, w.send(t, "POST", "/api/items", token, itemstest.Text(fmt.Sprint(i))).StatusCode)
	}
	var texts []string
	path := "/api/items?limit=3"
	for pages := 0; path != ""; pages++ {
		require.Less(t, pages, 3)
		page := w.send(t, "GET", path, token, "").json(t)
		for _, item := range page["value"].([]any) {
			texts = append(texts, itemstest.TextOf([]byte(mustJSON(t, item))))
		}
		path, _ = page["nextLink"].(string)
		if path != "" {
			require.True(t, strings.HasPrefix(path, "/api/items?"), path)
		}
	}
	require.Equal(t, []string{"6", "5", "4", "3", "2", "1", "0"}, texts)
}

func TestBadInput(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	text := itemstest.Text("x")
	type badInput struct {
		name, method, path, body string
		headers                  []string
		status                   int
		code                     string
		says                     string // in the answer
	}
	all := []badInput{
		{"no route", "GET", "/api/nothing", "", nil, 404, "route.not_found", "/api/items"},
		{"no route at the root", "GET", "/items", "", nil, 404, "route.not_found", ""},
		{"trailing slash", "GET", "/api/items/", "", nil, 404, "route.not_found", ""},
		{"double slash", "GET", "/api//items", "", nil, 404, "route.not_found", ""},
		{"another case", "GET", "/API/items", "", nil, 404, "route.not_found", ""},
		{"deeper", "GET", "/api/items/a/b", "", nil, 404, "route.not_found", ""},
		{"method on the list", "DELETE", "/api/items", "", nil, 405, "method.not_allowed", "GET, HEAD, POST"},
		{"method on an item", "POST", "/api/items/x", "{}", nil, 405, "method.not_allowed", "GET, HEAD"},
		{"OPTIONS", "OPTIONS", "/api/items", "", nil, 405, "method.not_allowed", ""},
		{"accepts only XML", "GET", "/api/items", "", []string{"Accept", "text/xml"}, 406, "accept.unsupported", "application/json"},
		{"refuses JSON", "GET", "/api/items", "", []string{"Accept", "*/*, application/json;q=0"}, 406, "accept.unsupported", ""},
		{"limit 0", "GET", "/api/items?limit=0", "", nil, 400, "parameter.invalid", "from 1 to 200"},
		{"limit 201", "GET", "/api/items?limit=201", "", nil, 400, "parameter.invalid", "from 1 to 200"},
		{"limit in words", "GET", "/api/items?limit=ten", "", nil, 400, "parameter.invalid", ""},
		{"limit empty", "GET", "/api/items?limit=", "", nil, 400, "parameter.invalid", ""},
		{"limit twice", "GET", "/api/items?limit=1&limit=2", "", nil, 400, "parameter.invalid", "more than once"},
		{"limit merged by the host", "GET", "/api/items?limit=1,2", "", nil, 400, "parameter.invalid", ""},
		{"unknown parameter", "GET", "/api/items?foo=1", "", nil, 400, "parameter.unknown", "limit, cursor, select"},
		{"unknown member selected", "GET", "/api/items?select=id,no-such-member", "", nil, 400, "parameter.invalid", "no-such-member"},
		{"nothing selected", "GET", "/api/items?select=", "", nil, 400, "parameter.invalid", strings.Join(items.Members, ", ")},
		{"time in words", "GET", "/api/items?created_after=yesterday", "", nil, 400, "parameter.invalid", "RFC 3339"},
		{"time without a zone", "GET", "/api/items?created_before=2026-11-24T20:26:31", "", nil, 400, "parameter.invalid", "RFC 3339"},
		{"parameter of another case", "GET", "/api/items?Limit=1", "", nil, 400, "parameter.unknown", ""},
		{"parameter on an item", "GET", "/api/items/x?limit=1", "", nil, 400, "parameter.unknown", ""},
		{"parameter on create", "POST", "/api/items?x=1", "{}", nil, 400, "parameter.unknown", ""},
		{"query that cannot be read", "GET", "/api/items?limit=%zz", "", nil, 400, "parameter.invalid", ""},
		{"cursor of nonsense", "GET", "/api/items?cursor=nonsense", "", nil, 400, "cursor.invalid", ""},
		{"cursor empty", "GET", "/api/items?cursor=", "", nil, 400, "cursor.invalid", ""},
		{"no such item", "GET", "/api/items/0199a5a0-0000-7000-8000-000000000000", "", nil, 404, "item.not_found", ""},
		{"no ID", "GET", "/api/items/x", "", nil, 404, "item.not_found", ""},
		{"quote in the ID", "GET", "/api/items/x'%20or%20'1", "", nil, 404, "item.not_found", ""},
		{"no content type", "POST", "/api/items", text, []string{"Content-Type", ""}, 415, "content_type.unsupported", "application/json"},
		{"form", "POST", "/api/items", `text=x`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "content_type.unsupported", ""},
		{"other charset", "POST", "/api/items", text, []string{"Content-Type", "application/json; charset=latin1"}, 415, "content_type.unsupported", ""},
		{"content type that cannot be read", "POST", "/api/items", text, []string{"Content-Type", "application//json;;="}, 415, "content_type.unsupported", ""},
		{"compressed", "POST", "/api/items", text, []string{"Content-Encoding", "gzip"}, 415, "content_type.unsupported", ""},
		{"compressed, and not said so", "POST", "/api/items", "\x1f\x8b\x08\x00", nil, 415, "content_type.unsupported", "gzip"},
		{"too large", "POST", "/api/items", itemstest.Text(strings.Repeat("x", 256<<10)), nil, 413, "body.too_large", "262144"},
		{"far too large", "POST", "/api/items", strings.Repeat("x", 3<<20), nil, 413, "body.too_large", ""},
		{"empty", "POST", "/api/items", "", []string{"Content-Type", "application/json"}, 400, "request.malformed", "empty"},
		{"not JSON", "POST", "/api/items", text[:len(text)-1], nil, 400, "request.malformed", ""},
		{"array", "POST", "/api/items", `[1]`, nil, 400, "request.malformed", "object"},
		{"string", "POST", "/api/items", `"x"`, nil, 400, "request.malformed", "object"},
		{"null", "POST", "/api/items", `null`, nil, 400, "request.malformed", "null"},
		{"trailing data", "POST", "/api/items", text + ` {}`, nil, 400, "request.malformed", "byte"},
		{"duplicate member", "POST", "/api/items", plus(text, text[1:len(text)-1]), nil, 400, "request.malformed", "duplicate"},
		{"duplicate member, escaped", "POST", "/api/items", `{"a":"x","\u0061":"y"}`, nil, 400, "request.malformed", "duplicate"},
		{"duplicate deep inside", "POST", "/api/items", `{"a":[{"b":1,"b":2}]}`, nil, 400, "request.malformed", "duplicate"},
		{"not UTF-8", "POST", "/api/items", "{\"a\":\"\xff\"}", nil, 400, "request.malformed", "UTF-8"},
		{"lone surrogate", "POST", "/api/items", `{"a":"\ud800"}`, nil, 400, "request.malformed", ""},
		{"BOM", "POST", "/api/items", "\ufeff{}", nil, 400, "request.malformed", ""},
		{"comment", "POST", "/api/items", `{"a":"x"/**/}`, nil, 400, "request.malformed", ""},
		{"unknown member", "POST", "/api/items", plus(text, `"no-such-member":"x"`), nil, 422, "item.invalid", "/no-such-member"},
		{"server's own member", "POST", "/api/items", plus(text, `"id":"y"`), nil, 422, "item.invalid", `"/id"`},
		{"no member", "POST", "/api/items", `{}`, nil, 422, "item.invalid", `"/` + textMember() + `"`},
		{"too deep", "POST", "/api/items", fmt.Sprintf(`{%q:%s%s}`, textMember(), strings.Repeat("[", 9998), strings.Repeat("]", 9998)), nil, 422, "item.invalid", "at most 100 levels"},
	}
	for i, bad := range itemstest.Load().Bad {
		all = append(all, badInput{fmt.Sprint("bad sample ", i), "POST", "/api/items", string(bad.Content), nil, 422, "item.invalid", `{"pointer":"` + bad.Pointer + `"`})
	}
	for name := range itemstest.Load().Filters {
		all = append(all, badInput{name + " that is no UTF-8", "GET", "/api/items?" + name + "=%ff", "", nil, 400, "parameter.invalid", "UTF-8"})
	}
	for _, tt := range all {
		t.Run(tt.name, func(t *testing.T) {
			before := len(w.storage.Entities("items"))
			r := w.send(t, tt.method, tt.path, token, tt.body, append([]string{"X-Azure-Functions-InvocationId", "11112222-3333-4444-5555-666677778888"}, tt.headers...)...)
			require.Equal(t, tt.status, r.StatusCode, "%s", r.body)
			require.Equal(t, "application/problem+json", r.Header.Get("Content-Type"))
			require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
			require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
			p := r.json(t)
			require.Equal(t, tt.code, p["code"])
			require.Equal(t, "urn:itemsapi:problem:"+tt.code, p["type"])
			require.EqualValues(t, tt.status, p["status"])
			require.NotEmpty(t, p["title"])
			require.NotEmpty(t, p["detail"])
			require.Equal(t, "11112222-3333-4444-5555-666677778888", p["instance"])
			require.Contains(t, string(r.body)+r.Header.Get("Allow"), tt.says)
			require.NotContains(t, string(r.body), "GoLang")
			require.Len(t, w.storage.Entities("items"), before, "nothing was stored")
			switch tt.status {
			case 405:
				require.NotEmpty(t, r.Header.Get("Allow"))
			case 415:
				require.Equal(t, "application/json", r.Header.Get("Accept-Post"))
			}
		})
	}
	// What looks odd and is right.
	for _, tt := range []struct{ method, path, body, header, value string }{
		{"GET", "/api/items?limit=200", "", "Accept", "application/*;q=0.1, text/html"},
		{"GET", "/api/items?limit=1", "", "Accept", "*/*"},
		{"POST", "/api/items", " " + itemstest.Text("\U0001F600") + "\n", "Content-Type", "Application/JSON; charset=UTF-8"},
		{"POST", "/api/items", itemstest.LargeContent(0, "x"), "Content-Encoding", "identity"},
	} {
		r := w.send(t, tt.method, tt.path, token, tt.body, tt.header, tt.value)
		require.Less(t, r.StatusCode, 300, "%s", r.body)
	}
}

// The order of errors is a contract: what is tried first is what a client sees.
func TestOrderOfErrors(t *testing.T) {
	w := newWorld(t)
	reader := w.token(t, "alice", "read")
	writer := w.token(t, "alice", "write")
	for _, tt := range []struct {
		name, method, path, token, body string
		headers                         []string
		code                            string
	}{
		{"route before token", "GET", "/api/x", "", "", nil, "route.not_found"},
		{"method before token", "DELETE", "/api/items", "", "", nil, "method.not_allowed"},
		{"token before everything else", "POST", "/api/items?x", "", "{", []string{"Accept", "text/xml", "Content-Type", "x"}, "auth.missing"},
		{"scope before Accept", "POST", "/api/items?x", reader, "{", []string{"Accept", "text/xml"}, "scope.missing"},
		{"Accept before parameters", "POST", "/api/items?x", writer, "{", []string{"Accept", "text/xml"}, "accept.unsupported"},
		{"parameters before content type", "POST", "/api/items?x", writer, "{", []string{"Content-Type", "x"}, "parameter.unknown"},
		{"content type before size", "POST", "/api/items", writer, strings.Repeat("x", 300<<10), []string{"Content-Type", "x/y"}, "content_type.unsupported"},
		{"size before form", "POST", "/api/items", writer, strings.Repeat("x", 300<<10), nil, "body.too_large"},
		{"form before content", "POST", "/api/items", writer, `{"x":1,"x":2}`, nil, "request.malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.code, w.send(t, tt.method, tt.path, tt.token, tt.body, tt.headers...).code(t))
		})
	}
}

func TestEveryRouteIsClosed(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ method, path, scope string }{
		{"GET", "/api/items", "read"},
		{"HEAD", "/api/items", "read"},
		{"POST", "/api/items", "write"},
		{"GET", "/api/items/0199a5a0-0000-7000-8000-000000000000", "read"},
		{"HEAD", "/api/items/0199a5a0-0000-7000-8000-000000000000", "read"},
	} {
		for _, headers := range [][]string{
			nil,
			// Nobody is let in by what a front end may or may not have written.
			{"X-MS-CLIENT-PRINCIPAL", base64.StdEncoding.EncodeToString([]byte(`{"userId":"alice"}`)), "X-Forwarded-For", "127.0.0.1"},
			{"X-Original-URL", "/", "X-HTTP-Method-Override", "GET"},
			{"Cookie", "access_token=" + w.token(t, "alice")},
		} {
			r := w.send(t, tt.method, tt.path, "", "", headers...)
			require.Equal(t, 401, r.StatusCode)
			require.Equal(t, `Bearer realm="itemsapi"`, r.Header.Get("WWW-Authenticate"))
		}
		other := map[string]string{"read": "write", "write": "read"}[tt.scope]
		r := w.send(t, tt.method, tt.path, w.token(t, "alice", other), "")
		require.Equal(t, 403, r.StatusCode)
		require.Equal(t, `Bearer realm="itemsapi", error="insufficient_scope", scope="https://contoso.onmicrosoft.com/b2capi/`+tt.scope+`", error_description="The token lacks a scope"`, r.Header.Get("WWW-Authenticate"))
	}
	require.Empty(t, w.storage.Entities("items"))
	requests := w.storage.Requests()
	require.Len(t, requests, 1, "storage saw nothing but the creation of the table: %v", requests)

	// The host's ping needs no token, and storage does not hear of it.
	r := w.send(t, "GET", "/", "", "")
	require.Equal(t, 200, r.StatusCode)
	require.Len(t, w.storage.Requests(), 1)
}

func TestRefusalIsAProblemDocument(t *testing.T) {
	w := newWorld(t)
	r := w.send(t, "GET", "/api/items", w.token(t, "alice", "write"), "", "X-Azure-Functions-InvocationId", "forged, 0a1b")
	require.JSONEq(t, `{
		"type":"urn:itemsapi:problem:scope.missing","title":"The token lacks the scope that this call needs","status":403,"code":"scope.missing",
		"detail":"scp has write, this call needs read.","expected":{"scp":"read"},"actual":{"scp":"write"},
		"fix":"Ask for https://contoso.onmicrosoft.com/b2capi/read. B2C silently drops scopes that were not granted. Portal: App registrations > (the client) > API permissions: add the scope and grant admin consent. A program that signs in as itself asks for https://contoso.onmicrosoft.com/b2capi/.default at the token endpoint `+w.tenant.URL()+`/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/token, and needs the app role read, which B2C writes into scp: (the API) > Manifest > appRoles: read, for Application, with the id, display name and description of the scope (the App roles form refuses a value that a scope has); then (the client) > API permissions > Application permissions, with admin consent.",
		"verified":true,"instance":"0a1b"}`, string(r.body))

	terse := newWorld(t, func(c *server.Config) {
		codesOnly := trusting(w.tenant)
		codesOnly.CodesOnly = true
		verifier, err := entra.New(t.Context(), codesOnly)
		require.NoError(t, err)
		c.Verify = verifier.Verify
	})
	r = terse.send(t, "GET", "/api/items", w.token(t, "alice", "write"), "")
	require.JSONEq(t, `{"type":"urn:itemsapi:problem:scope.missing","title":"The token lacks the scope that this call needs","status":403,"code":"scope.missing"}`, string(r.body))
}

func TestTokenInTheQuery(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	require.Equal(t, "auth.token_in_query", w.send(t, "GET", "/api/items?access_token="+token, "", "").code(t))
	require.Equal(t, "auth.malformed", w.send(t, "GET", "/api/items?access_token="+token, token, "").code(t))
	require.NotContains(t, w.log.String(), token[:40])
}

// Two callers share a table, never a row: by no ID, no cursor, and no cursor
// that one of them forges.
func TestCallersAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	var ids []string
	for range 5 {
		ids = append(ids, w.send(t, "POST", "/api/items", alice, itemstest.Text("secret")).json(t)["id"].(string))
	}
	bobs := w.send(t, "POST", "/api/items", bob, itemstest.Text("bob's")).json(t)["id"].(string)
	for _, id := range ids {
		for _, method := range []string{"GET", "HEAD"} {
			require.Equal(t, 404, w.send(t, method, "/api/items/"+id, bob, "").StatusCode)
		}
	}
	require.Equal(t, 404, w.send(t, "GET", "/api/items/"+bobs, alice, "").StatusCode)

	next := w.send(t, "GET", "/api/items?limit=2", alice, "").json(t)["nextLink"].(string)
	require.Equal(t, "cursor.invalid", w.send(t, "GET", next, bob, "").code(t), "somebody else's cursor")
	for i := len("/api/items?cursor="); i < len(next)-len("&limit=2"); i++ {
		altered := []byte(next)
		if altered[i]++; altered[i] == '&' || altered[i] == '{' {
			altered[i] = 'A'
		}
		require.Equal(t, "cursor.invalid", w.send(t, "GET", string(altered), alice, "").code(t), "altered at %d", i)
	}

	// Bob has found out how cursors are made and puts one of alice's positions, or a
	// filter, into a cursor of his own.
	owner := items.Owner{Tenant: entratest.TenantID, Subject: strings.ToLower(entratest.Users()[1].ObjectID)}
	for _, position := range append(ids, "' or PartitionKey ne '", "ffffffff-ffff-7fff-bfff-ffffffffffff") {
		forged := server.SealCursor(position, owner, time.Now())
		r := w.send(t, "GET", "/api/items?cursor="+forged, bob, "")
		require.NotContains(t, string(r.body), "secret")
		if r.StatusCode != 200 {
			require.Equal(t, "cursor.invalid", r.code(t))
		}
	}
	require.Equal(t, "cursor.expired", w.send(t, "GET", "/api/items?cursor="+server.SealCursor(bobs, owner, time.Now().Add(-25*time.Hour)), bob, "").code(t))
	require.Equal(t, 200, w.send(t, "GET", "/api/items?cursor="+server.SealCursor(bobs, owner, time.Now().Add(-23*time.Hour)), bob, "").StatusCode)
}

func TestStorageTroubleIsAnswered(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: storage that hangs, 20 s (-short)")
	}
	t.Parallel()
	for _, tt := range []struct {
		name   string
		fault  tablestest.Fault
		status int
		code   string
	}{
		{"500 for ever", tablestest.Fault{Status: 500}, 503, "storage.unavailable"},
		{"busy for long", tablestest.Fault{Status: 503, RetryAfter: 60}, 503, "storage.unavailable"},
		{"connections dropped", tablestest.Fault{DropRequest: true}, 503, "storage.unavailable"},
		{"no permission", tablestest.Fault{Status: 403}, 503, "storage.unavailable"},
		{"hanging", tablestest.Fault{Hang: true}, 504, "storage.timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.storage.Inject(tt.fault)
			for _, call := range [][]string{{"GET", "/api/items", ""}, {"POST", "/api/items", itemstest.Text("x")}} {
				r := w.send(t, call[0], call[1], w.token(t, "alice"), call[2])
				require.Equal(t, tt.status, r.StatusCode)
				require.Equal(t, tt.code, r.code(t))
				require.Equal(t, "2", r.Header.Get("Retry-After"))
				require.EqualValues(t, 2, r.json(t)["retryAfter"])
			}
			require.Contains(t, w.log.String(), `"level":"ERROR"`)
		})
	}
}

// broken is a store that panics or hangs.
type broken struct {
	items.Store
	list func(context.Context)
}

func (b broken) List(ctx context.Context, o items.Owner, q items.Query) (items.Page, error) {
	b.list(ctx)
	return b.Store.List(ctx, o, q)
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A panic in any layer is answered, under load, and the process goes on.
func TestPanicsAreAnswered(t *testing.T) {
	t.Parallel()
	storageTransport := func(t *testing.T) (*tables.Store, *atomic.Bool) {
		s, err := tablestest.Start(tablestest.Options{})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		var armed atomic.Bool
		store, err := tables.Open(tables.Config{ConnectionString: s.ConnectionString(), Table: "items", Transport: transport(func(r *http.Request) (*http.Response, error) {
			if armed.Load() {
				panic("transport")
			}
			return http.DefaultTransport.RoundTrip(r)
		})})
		require.NoError(t, err)
		store.Prepare(t.Context())
		return store, &armed
	}
	for name, arm := range map[string]func(t *testing.T, c *server.Config) (well func()){
		"verifier": func(_ *testing.T, c *server.Config) func() {
			verify := c.Verify
			var calm atomic.Bool
			c.Verify = func(ctx context.Context, cr entra.Credentials, need ...entra.Need) (*entra.Caller, error) {
				if !calm.Load() {
					panic("verifier")
				}
				return verify(ctx, cr, need...)
			}
			return func() { calm.Store(true) }
		},
		"explanation of a refusal": func(_ *testing.T, c *server.Config) func() {
			verify := c.Verify
			var calm atomic.Bool
			c.Verify = func(ctx context.Context, cr entra.Credentials, need ...entra.Need) (*entra.Caller, error) {
				if !calm.Load() {
					return nil, &entra.Refusal{Code: "of nothing", Status: http.StatusUnauthorized}
				}
				return verify(ctx, cr, need...)
			}
			return func() { calm.Store(true) }
		},
		"search for the refusal": func(_ *testing.T, c *server.Config) func() {
			verify := c.Verify
			var calm atomic.Bool
			c.Verify = func(ctx context.Context, cr entra.Credentials, need ...entra.Need) (*entra.Caller, error) {
				if !calm.Load() {
					return nil, panickyError{}
				}
				return verify(ctx, cr, need...)
			}
			return func() { calm.Store(true) }
		},
		"store": func(_ *testing.T, c *server.Config) func() {
			var calm atomic.Bool
			c.Store = broken{c.Store, func(context.Context) {
				if !calm.Load() {
					panic(errors.New("store"))
				}
			}}
			return func() { calm.Store(true) }
		},
		"net/http's own": func(_ *testing.T, c *server.Config) func() {
			var calm atomic.Bool
			c.Store = broken{c.Store, func(context.Context) {
				if !calm.Load() {
					panic(http.ErrAbortHandler)
				}
			}}
			return func() { calm.Store(true) }
		},
		"nil pointer": func(_ *testing.T, c *server.Config) func() {
			var calm atomic.Bool
			c.Store = broken{c.Store, func(context.Context) {
				if !calm.Load() {
					var p *items.Item
					_ = p.ID
				}
			}}
			return func() { calm.Store(true) }
		},
		"storage transport": func(t *testing.T, c *server.Config) func() {
			store, armed := storageTransport(t)
			armed.Store(true)
			c.Store = store
			return func() { armed.Store(false) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			var well func()
			w := newWorld(t, func(c *server.Config) {
				c.CallerConcurrency = 50
				well = arm(t, c)
			})
			token := w.token(t, "alice")
			var wg sync.WaitGroup
			aside := waittest.Aside(t)
			for range 50 {
				wg.Go(func() {
					for range 4 {
						r := w.send(aside, "GET", "/api/items", token, "", "X-Azure-Functions-InvocationId", "abc")
						require.Equal(aside, 500, r.StatusCode)
						require.JSONEq(aside, `{"type":"urn:itemsapi:problem:internal","title":"Internal error","status":500,"code":"internal","instance":"abc"}`, string(r.body))
					}
				})
			}
			wg.Wait()
			require.Regexp(t, `server_test\.go|entra\.\(\*Refusal\)\.Problem`, w.log.String(), "the log has the stack")
			well()
			require.Equal(t, 200, w.send(t, "GET", "/api/items", token, "").StatusCode, "no slot was lost")
		})
	}
}

// panickyError panics when it is asked what it is, once.
type panickyError struct{}

func (panickyError) Error() string { return "panicky" }

func (panickyError) As(any) bool { panic("error") }

// A fault of the server's own tables and functions is answered, too.
func TestFaultsAreAnswered(t *testing.T) {
	var log buffer
	h := server.New(server.Config{
		Verify: func(context.Context, entra.Credentials, ...entra.Need) (*entra.Caller, error) { return nil, nil },
		Store:  broken{}, ReadScope: "read", WriteScope: "write", Realm: config.Realm, Collection: config.Collection,
		CallerConcurrency: 1,
		Log:               slog.New(slog.NewJSONHandler(&log, nil)),
	})
	server.AddFaults(h)
	s := httptest.NewServer(h)
	defer s.Close()
	for path, logged := range map[string]string{
		"/no-answer": "server.finish", "/no-kind": "no.such_kind", "/no-json": "item.invalid", "/no-function": "nil pointer",
	} {
		t.Run(path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+path, nil)
			require.NoError(t, err)
			req.Header.Set("X-Azure-Functions-InvocationId", "abc")
			r := do(t, req)
			require.Equal(t, 500, r.StatusCode)
			require.JSONEq(t, `{"type":"urn:itemsapi:problem:internal","title":"Internal error","status":500,"code":"internal","instance":"abc"}`, string(r.body))
			require.Contains(t, log.String(), logged)
		})
	}
}

func TestFullQueueIsAnswered(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	entered := make(chan struct{}, 1000)
	w := newWorld(t, func(c *server.Config) {
		c.CallerConcurrency = 256
		c.Store = broken{c.Store, func(ctx context.Context) {
			entered <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		}}
	})
	token := w.token(t, "alice")
	// The keys are read, so that nobody waits for those.
	require.Equal(t, 404, w.send(t, "GET", "/api/items/x", token, "").StatusCode)
	var wg sync.WaitGroup
	codes := make(chan int, 300)
	aside := waittest.Aside(t)
	for range 256 {
		wg.Go(func() { codes <- w.send(aside, "GET", "/api/items", token, "").StatusCode })
	}
	for i := range 256 {
		select {
		case <-entered:
		case code := <-codes:
			require.Fail(t, "turned away too early", "request %d: %d", i, code)
		case <-time.After(time.Minute):
			require.Fail(t, "not asked", "request %d", i)
		}
	}
	r := w.send(t, "GET", "/api/items", w.token(t, "bob"), "")
	require.Equal(t, 503, r.StatusCode)
	require.Equal(t, "overloaded", r.code(t))
	require.Equal(t, "1", r.Header.Get("Retry-After"))
	require.Equal(t, 200, w.send(t, "GET", "/", "", "").StatusCode, "the host's ping never waits")
	close(release)
	wg.Wait()
	for range 256 {
		require.Equal(t, 200, waittest.For(t, codes))
	}
}

// A body that never arrives must not hold its place for ever, and is answered.
func TestClientThatStops(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: a body that does not come, 15 s (-short)")
	}
	t.Parallel()
	w := newWorld(t)
	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+"/api/items", pr)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+w.token(t, "alice"))
	req.Header.Set("Content-Type", "application/json")
	go func() { _, _ = pw.Write([]byte(`{"a":`)) }()
	r := do(t, req)
	require.Equal(t, 408, r.StatusCode)
	require.Equal(t, "request.timeout", r.code(t))
	pw.Close()
}

func TestLogHasNoSecrets(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	alice := entratest.Users()[0]
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	w.send(t, "POST", "/api/items", token, itemstest.Text("private thing"), "X-Azure-Functions-InvocationId", "0a1b",
		"Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	w.send(t, "GET", "/api/items?cursor=secretcursor", token, "")
	w.send(t, "GET", "/api/items", token[:len(token)-4]+"AAAA", "")
	w.send(t, "POST", "/api/items", w.token(t, "alice", "read"), itemstest.Text("x"), "Traceparent", "00-"+strings.Repeat("0", 32)+"-00f067aa0ba902b7-01")
	log := w.log.String()
	for _, secret := range []string{token[:50], strings.Split(token, ".")[1][:30], alice.ObjectID, alice.Email, alice.DisplayName, "private thing", "secretcursor"} {
		require.NotContains(t, log, secret)
	}
	lines := strings.Split(strings.TrimSpace(log), "\n")
	require.Len(t, lines, 4)
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
	delete(line, "time")
	require.Positive(t, line["ms"])
	delete(line, "ms")
	require.Equal(t, map[string]any{
		"level": "INFO", "msg": "request", "invocation": "0a1b", "method": "POST", "route": "/api/items", "status": 201.0,
		"storage_calls": 2.0, // the first change of a caller reads the last one's number
		"trace":         trace,
		"family":        "b2c", "policy": entratest.PolicySignUpSignIn, "client": entratest.ClientID,
		"caller": items.Owner{Tenant: entratest.TenantID, Subject: alice.ObjectID}.Pseudonym(),
	}, line)
	require.Regexp(t, `"verified":false,"code":"sig.invalid"`, lines[2])
	require.NotContains(t, lines[2], entratest.ClientID, "anybody can write that")
	require.Regexp(t, `"verified":true,"family":"b2c","policy":"B2C_1_signupsignin","client":"`+entratest.ClientID+`","code":"scope.missing"`, lines[3])
	require.NotContains(t, lines[3], `"trace"`)
}
