package entra_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// protected serves a handler that answers with the caller, behind Require.
func protected(t *testing.T, v *entra.Verifier, need ...entra.Need) string {
	s := httptest.NewServer(v.Require(need...)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, ok := entra.CallerFrom(r.Context())
		if !ok {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_ = json.NewEncoder(w).Encode(caller)
	})))
	t.Cleanup(s.Close)
	return s.URL
}

func get(t *testing.T, url string, authorization ...string) (*http.Response, string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Header["Authorization"] = authorization
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp, string(body)
}

func TestRequire(t *testing.T) {
	const scope = entratest.AppIDURI + "/read"
	s := tenant(t, entratest.Options{})
	c := configFor(s)
	url := protected(t, start(t, t.Context(), c), entra.Scope("read"))

	resp, body := get(t, url, "Bearer "+accessToken(t, s, entratest.TokenRequest{User: "bob"}))
	require.Equal(t, http.StatusOK, resp.StatusCode, body)
	var caller entra.Caller
	require.NoError(t, json.Unmarshal([]byte(body), &caller))
	require.Equal(t, entratest.Users()[1].ObjectID, caller.Subject)
	require.Equal(t, []string{"read", "write"}, caller.Scopes)

	resp, body = get(t, url)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, `Bearer realm="notes"`, resp.Header.Get("WWW-Authenticate"))
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
	require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.JSONEq(t, `{
		"type":"urn:notes:problem:auth.missing","title":"No token was sent","status":401,"code":"auth.missing",
		"detail":"The request has no Authorization header.","verified":false,
		"fix":"Send the header Authorization: Bearer <access token>, with a token for the scope `+scope+`. `+
		`If the client does send it, a proxy or gateway on the way removes it."}`, body)

	resp, body = get(t, url, "Bearer "+accessToken(t, s, entratest.TokenRequest{Scopes: []string{"write"}}))
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, `Bearer realm="notes", error="insufficient_scope", scope="`+scope+
		`", error_description="The token lacks a scope"`, resp.Header.Get("WWW-Authenticate"))
	require.JSONEq(t, `{
		"type":"urn:notes:problem:scope.missing","title":"The token lacks the scope that this call needs",
		"status":403,"code":"scope.missing","verified":true,
		"detail":"scp has write, this call needs read.","expected":{"scp":"read"},"actual":{"scp":"write"},
		"fix":"Ask for `+scope+`. B2C silently drops scopes that were not granted. `+
		`Portal: App registrations > (the client) > API permissions: add the scope and grant admin consent. `+
		`A program that signs in as itself asks for https://contoso.onmicrosoft.com/b2capi/.default at the token endpoint `+
		s.URL()+`/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/token, and needs the app role read, which B2C writes into scp: (the API) > Manifest > appRoles: read, for Application, with the id, display name and description of the scope (the App roles form refuses a value that a scope has); then (the client) > API permissions > `+
		`Application permissions, with admin consent."}`, body)

	resp, body = get(t, url+"?access_token=x")
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Contains(t, body, "auth.token_in_query")

	unavailable, err := s.Broken("keys.unavailable")
	require.NoError(t, err)
	good, _ := get(t, url, "Bearer "+accessToken(t, s, entratest.TokenRequest{Policy: entratest.PolicyROPC}))
	require.Equal(t, http.StatusOK, good.StatusCode)
	s.Inject(unavailable.Fault)
	resp, body = get(t, url, "Bearer "+unavailable.Token)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "5", resp.Header.Get("Retry-After"))
	require.Empty(t, resp.Header.Get("WWW-Authenticate"))
	require.Contains(t, body, `"retryAfter":5`)

	c.CodesOnly = true
	url = protected(t, start(t, t.Context(), c), entra.Scope("read"))
	_, body = get(t, url)
	require.JSONEq(t,
		`{"type":"urn:notes:problem:auth.missing","title":"No token was sent","status":401,"code":"auth.missing"}`, body)
}

// A name that no Trust has shows when the program starts.
func TestRequireOfNothing(t *testing.T) {
	v := start(t, t.Context(), configFor(tenant(t, entratest.Options{})))
	require.Panics(t, func() { v.Require(entra.Scope("raed")) })
	require.Panics(t, func() { v.Require(entra.Scope("read"), entra.Scope("")) })
	require.NotPanics(t, func() { v.Require() })
	_, ok := entra.CallerFrom(t.Context())
	require.False(t, ok)
}

// Whatever panics while an answer is made, the answer comes.
func TestRequireAnswersPanics(t *testing.T) {
	s := tenant(t, entratest.Options{})
	c := configFor(s)
	var log logged
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	var armed atomic.Bool
	c.Now = func() time.Time {
		if armed.Load() {
			panic("the clock")
		}
		return time.Now()
	}
	v := start(t, t.Context(), c)
	url := protected(t, v, entra.Scope("read"))
	internal := func(body string) {
		require.JSONEq(t, `{"type":"urn:notes:problem:internal","title":"Internal error","status":500,"code":"internal"}`,
			body)
	}
	good := "Bearer " + accessToken(t, s, entratest.TokenRequest{})
	resp, _ := get(t, url, good)
	require.Equal(t, http.StatusOK, resp.StatusCode)

	armed.Store(true)
	resp, body := get(t, url, good)
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
	internal(body)
	require.Contains(t, log.String(), "the clock")
	armed.Store(false)

	restore := entra.PanicInExplanation("auth.missing")
	defer restore()
	resp, body = get(t, url)
	require.Equal(t, http.StatusInternalServerError, resp.StatusCode)
	internal(body)
	require.Contains(t, log.String(), "the explanation")

	resp, _ = get(t, url, good)
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// A problem of an API's own looks like a refusal; what cannot be written is a 500.
func TestProblem(t *testing.T) {
	status, header, body := (&entra.Problem{
		Type: entra.ProblemType("notes", "note.invalid"), Title: "The note is not valid", Status: 422, Code: "note.invalid",
		RetryAfter: 7, More: map[string]any{"errors": []string{"x"}}, Header: http.Header{"Allow": {"GET"}},
	}).Answer()
	require.Equal(t, 422, status)
	require.Equal(t, "7", header.Get("Retry-After"))
	require.Equal(t, "GET", header.Get("Allow"))
	require.JSONEq(t,
		`{"type":"urn:notes:problem:note.invalid","title":"The note is not valid","status":422,"code":"note.invalid",
		"retryAfter":7,"errors":["x"]}`, string(body))

	for name, p := range map[string]*entra.Problem{
		"no status":  {Type: entra.ProblemType("notes", "x"), Instance: "abc"},
		"a good one": {Type: entra.ProblemType("notes", "x"), Status: 200, Instance: "abc"},
		"no encoding": {
			Type: entra.ProblemType("notes", "x"), Status: 400, Instance: "abc",
			More: map[string]any{"f": func() {}},
		},
		"a name twice": {
			Type: entra.ProblemType("notes", "x"), Status: 400, Instance: "abc", More: map[string]any{"status": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			status, _, body := p.Answer()
			require.Equal(t, 500, status)
			require.JSONEq(t,
				`{"type":"urn:notes:problem:internal","title":"Internal error","status":500,"code":"internal","instance":"abc"}`,
				string(body))
		})
	}
}
