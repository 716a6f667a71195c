package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/handler/tables/tablestest"
)

func smokeTest(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(context.Background(), args, func(string) string { return "" }, &out)
	return strings.Join(strings.Fields(out.String()), " "), err // whatever breaks the lines
}

// The real handler behind the host's double.
func TestHealthy(t *testing.T) {
	handler, err := functionstest.Build(t.Context(), "../..", t.TempDir())
	require.NoError(t, err)
	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(tenant.Close)
	storage, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(storage.Close)
	host, err := functionstest.Start(t.Context(), functionstest.Config{
		Dir: "../..", Executable: handler, CORS: []string{"https://app.contoso.com"},
		Env: []string{
			"B2C_TENANT=" + entratest.TenantName, "B2C_POLICIES=" + entratest.PolicySignUpSignIn, "B2C_API_CLIENT_ID=" + entratest.APIClientID,
			"B2C_APP_ID_URI=" + entratest.AppIDURI, "B2C_METADATA_URL=" + tenant.MetadataTemplate(), "TABLES_CONNECTION_STRING=" + storage.ConnectionString(),
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	require.NoError(t, host.Ready(t.Context()))
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)

	// The table may not be there yet: list is the first to need it.
	var out string
	require.Eventually(t, func() bool {
		out, err = smokeTest("-url", host.URL()+"/api/", "-token", token, "-origin", "https://app.contoso.com, ")
		return err == nil
	}, 30e9, 50e6)
	require.Regexp(t, `ok without a token 401 by the API itself, first answer after \d`, out)
	for _, line := range []string{"ok a page of yours", "ok a foreign page may not call", "ok create 201 after", "ok delete 200 after", "ok warm", "Nothing failed, 8 ok"} {
		require.Contains(t, out, line)
	}
	require.NotContains(t, out, token[:20])
	for _, row := range storage.Entities(config.Collection) {
		require.NotContains(t, row["RowKey"], "i-", "it leaves no item")
	}

	out, err = smokeTest("-url", host.URL())
	require.NoError(t, err, out)
	require.Contains(t, out, "skip with a token")
	require.Contains(t, out, "skip a page of yours")

	reads, err := tenant.AccessToken(entratest.TokenRequest{Scopes: []string{"read"}})
	require.NoError(t, err)
	out, err = smokeTest("-url", host.URL(), "-token", reads, "-origin", "https://other.contoso.com")
	require.Error(t, err)
	require.Contains(t, out, "2 failed (a page of yours; create)")
	require.Contains(t, out, "https://other.contoso.com may not call")
	require.Contains(t, out, "azd env set API_CORS_ORIGINS")
	require.Contains(t, out, "403 scope.missing")
	require.Contains(t, out, "fix Ask for https://contoso.onmicrosoft.com/b2capi/write")
}

func TestUnhealthy(t *testing.T) {
	ours := func(w http.ResponseWriter) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="itemsapi"`)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"type":"urn:itemsapi:problem:auth.missing","code":"auth.missing"}`)
	}
	for _, tt := range []struct {
		name   string
		handle func(w http.ResponseWriter, r *http.Request, n int64)
		wait   string
		says   string // "" where all is well in the end
	}{
		{"EasyAuth", func(w http.ResponseWriter, _ *http.Request, _ int64) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="x.azurewebsites.net" authorization_uri="https://login.windows.net/"`)
			w.WriteHeader(401)
		}, "0s", "App Service authentication (EasyAuth)"},
		{"the platform's page", func(w http.ResponseWriter, _ *http.Request, _ int64) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<h1>Your Functions app is up and running</h1>")
		}, "0s", "200, and not by the API: the Functions host's own page"},
		{"an API that lets everybody in", func(w http.ResponseWriter, _ *http.Request, _ int64) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"value":[]}`)
		}, "0s", "200: it lets callers in"},
		{"a stopped app", func(w http.ResponseWriter, _ *http.Request, _ int64) {
			w.WriteHeader(403)
			fmt.Fprint(w, "<h1>Error 403 - This web app is stopped.</h1>")
		}, "0s", "the app is stopped"},
		{"a host that does not run", func(w http.ResponseWriter, _ *http.Request, _ int64) {
			w.WriteHeader(503)
			fmt.Fprint(w, "Function host is not running.")
		}, "0s", "the Functions host, which is not running"},
		{"a host that starts", func(w http.ResponseWriter, _ *http.Request, n int64) {
			if n < 2 {
				w.WriteHeader(503)
				return
			}
			ours(w)
		}, "1m", ""},
		{"a function key", func(w http.ResponseWriter, _ *http.Request, _ int64) { w.WriteHeader(401) }, "0s", "wants a function key"},
		{"CORS for all", func(w http.ResponseWriter, r *http.Request, _ int64) {
			if r.Method == http.MethodOptions {
				w.Header().Set("Access-Control-Allow-Origin", "*")
				w.WriteHeader(204)
				return
			}
			ours(w)
		}, "0s", "may call, as may any"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var n atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.handle(w, r, n.Add(1)) }))
			t.Cleanup(s.Close)
			out, err := smokeTest("-url", s.URL, "-wait", tt.wait)
			if tt.says == "" {
				require.NoError(t, err, out)
				return
			}
			require.Error(t, err, out)
			require.Contains(t, out, tt.says)
			require.Contains(t, out, " fix ")
		})
	}
	l := httptest.NewServer(nil)
	l.Close()
	out, err := smokeTest("-url", l.URL, "-wait", "0s")
	require.Error(t, err)
	require.Contains(t, out, "no answer")

	for _, args := range [][]string{{}, {"-url", "x"}, {"-url", "http://u:p@localhost"}, {"-url", "http://localhost", "y"}, {"-url", "http://api.contoso.com", "-token", "t"}, {"-nonsense"}} {
		_, err := smokeTest(args...)
		require.Error(t, err, args)
	}
}

// What a refusal says is wrong with which member is shown.
func TestRefusedContent(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+config.Realm+`"`)
			w.WriteHeader(http.StatusUnauthorized)
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusUnprocessableEntity)
			fmt.Fprintf(w, `{"type":"urn:%s:problem:item.invalid","code":"item.invalid","instance":"0a1b",
				"errors":[{"pointer":"/a","detail":"required"},{"pointer":"/b","detail":"unknown"}]}`, config.Realm)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"value":[]}`)
		}
	}))
	defer s.Close()
	out, err := smokeTest("-url", s.URL, "-wait", "0s", "-token", "t")
	require.Error(t, err)
	require.Contains(t, out, "422 item.invalid")
	require.Contains(t, out, " /a: required. /b: unknown. ")
	require.Contains(t, out, "under the instance 0a1b")
	require.NotContains(t, out, "doctor -url")
}
