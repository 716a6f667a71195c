package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/scripts/internal/report"
)

var binaryDir string // once there is one

// binary builds the handler once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "doctor-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	return functionstest.Build(context.Background(), filepath.Join("..", ".."), dir)
})

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(binaryDir) // of nothing if there is none
	os.Exit(code)
}

// startAPI runs the handler behind the host double.
func startAPI(t testing.TB, w *world, env map[string]string) string {
	path, err := binary()
	require.NoError(t, err)
	var list []string
	for name, value := range w.env {
		if _, ok := env[name]; !ok {
			list = append(list, name+"="+value)
		}
	}
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	host, err := functionstest.Start(context.Background(), functionstest.Config{Dir: w.app, Env: list, Executable: path})
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, host.Ready(ctx))
	return host.URL()
}

func TestRunningAPI(t *testing.T) {
	w := newWorld(t)
	api := startAPI(t, w, nil)
	w.stdin = accessToken(t, w, entratest.TokenRequest{})
	for _, address := range []string{api, api + "/", api + "/api", api + "/api/items"} {
		r, status := w.json(t, "-url", address, "-token", "-")
		require.Equal(t, 0, status, r.Checks)
		require.Equal(t, report.StatusOK, r.with("API without a token")[0].Status)
		require.Contains(t, r.with("API with the token")[0].Detail, "200")
		require.Contains(t, r.with("preflight of http://127.0.0.1:9912")[0].Detail, "allowed")
		require.Equal(t, "not allowed", r.with("preflight of a foreign page")[0].Detail)
	}
	stdout, _, status := w.run(t, "-url", api, "-token", "-")
	require.Equal(t, 0, status)
	golden(t, "api.txt", kidAndTime.ReplaceAllString(stdout, "${1}…"))

	// Without settings it can be called all the same.
	bare := &world{app: t.TempDir()}
	r, status := bare.json(t, "-url", api)
	require.Equal(t, 0, status, r.Checks)
	require.Equal(t, []string{"API with the token", "preflight"}, r.status(report.StatusSkip))

	r, status = w.json(t, "-url", api, "-origin", "https://contoso.com")
	require.Equal(t, 1, status)
	require.Contains(t, r.with("preflight of https://contoso.com")[0].Detail, "not allowed")

	b, err := w.tenant.Broken("aud.is_client")
	require.NoError(t, err)
	w.stdin = b.Token
	r, status = w.json(t, "-url", api, "-token", "-")
	require.Equal(t, 1, status)
	require.Equal(t, "aud.is_client", r.with("API with the token")[0].Code)
	require.Contains(t, r.with("API with the token")[0].Fix, entratest.AppIDURI+"/read")
	require.NotContains(t, r.with("API with the token")[0].Detail, "other settings")

	w.stdin = accessToken(t, w, entratest.TokenRequest{})
	w.env["B2C_API_CLIENT_ID"] = entratest.OtherClientID
	r, status = w.json(t, "-url", api, "-token", "-")
	require.Equal(t, 1, status)
	require.Contains(t, r.with("API with the token")[0].Detail, "accepts what the settings here refuse")
}

// The token is right by the settings at hand, and the API has others.
func TestOtherSettingsThere(t *testing.T) {
	w := newWorld(t)
	api := startAPI(t, w, map[string]string{"B2C_API_CLIENT_ID": entratest.OtherClientID, "AUTH_EXPLAIN": "code"})
	w.stdin = accessToken(t, w, entratest.TokenRequest{})
	r, status := w.json(t, "-url", api, "-token", "-")
	require.Equal(t, 1, status)
	c := r.with("API with the token")[0]
	require.Equal(t, "aud.wrong", c.Code)
	require.Contains(t, c.Detail, "the running API has other settings")
	require.Contains(t, c.Fix, "AUTH_EXPLAIN=full")
}

func TestNoCORS(t *testing.T) {
	w := newWorld(t)
	w.write(t, "local.settings.json", `{}`)
	api := startAPI(t, w, nil)
	r, status := w.json(t, "-url", api, "-origin", "http://localhost:9912")
	require.Equal(t, 1, status)
	require.Contains(t, r.with("preflight of http://localhost:9912")[0].Detail, "no CORS is set up")
}

func TestStorageBehindTheAPI(t *testing.T) {
	w := newWorld(t)
	api := startAPI(t, w, nil)
	w.tables.Close()
	w.stdin = accessToken(t, w, entratest.TokenRequest{})
	r, status := w.json(t, "-url", api, "-token", "-")
	require.Equal(t, 1, status)
	require.Equal(t, "storage.unavailable", r.with("API with the token")[0].Code)
}

// Who answered in place of the API.
func TestOtherSenders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		says   string // in what or fix
	}{
		{"API Management, token", 401, nil, `{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`, "API Management"},
		{"API Management, key", 401, nil, `{ "statusCode": 401, "message": "Access denied due to missing subscription key." }`, "Ocp-Apim-Subscription-Key"},
		{"API Management, quota", 403, nil, `{ "statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 01:12:05." }`, "Wait until the quota"},
		{"API Management, rate", 429, nil, `{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 10 seconds." }`, "rate-limit"},
		{"API Management, forbidden", 403, nil, `{ "statusCode": 403, "message": "Forbidden" }`, "ip-filter"},
		{"API Management, no operation", 404, nil, `{ "statusCode": 404, "message": "Resource not found" }`, "no operation"},
		{"API Management, failed", 500, nil, `{ "statusCode": 500, "message": "Internal server error", "activityId": "2f8c" }`, "The activity ID is \"2f8c\""},
		{"App Service authentication, sentence", 401, map[string]string{"Content-Type": "text/html"}, "You do not have permission to view this directory or page.", "EasyAuth"},
		{"a stopped app", 403, map[string]string{"Content-Type": "text/html"}, "<html><title>Web App - Unavailable</title><h1>Error 403 - This web app is stopped.</h1>", "the app is stopped"},
		{"an access restriction", 403, map[string]string{"Content-Type": "text/html"}, "<h1>Error 403 - Forbidden</h1>The web app you have attempted to reach has blocked your access.", "access restrictions keep this machine out"},
		{"an access restriction, by header", 403, map[string]string{"X-Ms-Forbidden-Ip": "10.0.0.1"}, "Ip Forbidden", "access restrictions"},
		{"headers too long", 400, map[string]string{"Content-Type": "text/html"}, "<h2>Bad Request - Request Too Long</h2><p>HTTP Error 400. The size of the request headers is too long.", "headers are too long"},
		{"headers too long, by status", 431, nil, "", "headers are too long"},
		{"no such app", 404, map[string]string{"Content-Type": "text/html"}, "<h1>404 Web Site not found.</h1>", "no app has this name"},
		{"an app that does not start", 503, map[string]string{"Content-Type": "text/html"}, "<title>Application Error</title>", "did not start"},
		{"the host's own page", 200, map[string]string{"Content-Type": "text/html"}, "<h1>Your Functions 4.0 app</h1>Your Functions app is up and running", "the path is not one of"},
		{"Static Web Apps", 401, nil, `{"code":401,"message":"IDX10205: Issuer validation failed."}`, "Static Web Apps"},
		{"JwtBearer", 401, map[string]string{"WWW-Authenticate": `Bearer error="invalid_token", error_description="The audience 'x' is invalid"`}, "", "JwtBearer"},
		{"passport", 401, map[string]string{"WWW-Authenticate": "Bearer token is not found"}, "Unauthorized", "passport"},
		{"App Service authentication, challenge", 401, map[string]string{"WWW-Authenticate": `Bearer realm="contoso" authorization_uri="https://login.windows.net/x/oauth2/authorize"`}, "You do not have permission", "EasyAuth"},
		{"App Service authentication, redirect", 302, map[string]string{"Location": "/.auth/login/aad?post_login_redirect_uri=/api/items"}, "", "EasyAuth"},
		{"function key", 401, nil, "", "function key"},
		{"another redirect", 301, map[string]string{"Location": "https://www.contoso.com/api/items"}, "", "www.contoso.com"},
		{"forbidden", 403, nil, "", "access restrictions"},
		{"no function", 404, nil, "", "no function"},
		{"handler away", 500, nil, "", "could not reach the handler"},
		{"host away", 503, nil, "Function host is not running.", "which is not running"},
		{"Front Door", 502, map[string]string{"X-Azure-Ref": "1", "Content-Type": "text/html"}, "<h2>Our services aren't available right now</h2>", "Front Door"},
		{"Cloudflare", 522, map[string]string{"Server": "cloudflare"}, "error code: 522", "Cloudflare"},
		{"a gateway", 504, map[string]string{"Content-Type": "text/html"}, "<html>", "gateway"},
		{"a page", 200, map[string]string{"Content-Type": "text/html; charset=utf-8"}, "<!doctype html>", "a web page"},
		{"somebody", 418, nil, "I'm a teapot", "none of the API's marks"},
		{"another API's list", 200, map[string]string{"Content-Type": "application/json"}, `{"items":[]}`, "none of the API's marks"},
		{"lets everybody in", 200, map[string]string{"Content-Type": "application/json"}, `{"value":[]}`, "without a token"},
		{"token put in", 401, map[string]string{"Content-Type": "application/problem+json"}, `{"type":"urn:itemsapi:problem:token.static_web_apps","code":"token.static_web_apps","detail":"d","fix":"f"}`, "credentials of its own"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer s.Close()
			w := &world{app: t.TempDir()}
			r, status := w.json(t, "-url", s.URL, "-origin", "http://localhost:9912")
			require.Equal(t, 1, status)
			c := r.with("API without a token")[0]
			require.Equal(t, report.StatusFail, c.Status)
			require.Contains(t, c.Detail+" "+c.Fix, tt.says)
			require.NotEmpty(t, c.Fix)
		})
	}
}

func TestCORSOfOthers(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header func(origin string) map[string]string
		check  string
		want   string
		says   string
	}{
		{"echoes", func(origin string) map[string]string {
			return map[string]string{"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Headers": "authorization"}
		}, "preflight of a foreign page", report.StatusFail, "echoes"},
		{"no Authorization", func(origin string) map[string]string {
			return map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"}
		}, "preflight of http://localhost:9912", report.StatusFail, "the header Authorization is not"},
		{"every origin", func(string) map[string]string {
			return map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "Authorization"}
		}, "preflight of a foreign page", report.StatusWarn, "Every origin"},
		{"every origin with credentials", func(string) map[string]string {
			return map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
		}, "preflight of a foreign page", report.StatusFail, "no browser accepts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for name, value := range tt.header(r.Header.Get("Origin")) {
					w.Header().Set(name, value)
				}
				if r.Method != http.MethodOptions {
					w.Header().Set("WWW-Authenticate", `Bearer realm="itemsapi"`)
					w.WriteHeader(http.StatusUnauthorized)
				}
			}))
			defer s.Close()
			w := &world{app: t.TempDir()}
			r, _ := w.json(t, "-url", s.URL, "-origin", "http://localhost:9912")
			c := r.with(tt.check)[0]
			require.Equal(t, tt.want, c.Status, c)
			require.Contains(t, c.Detail+" "+c.Fix, tt.says)
		})
	}
}

// A token is not sent where anyone on the way could read it.
func TestTokenNotInTheOpen(t *testing.T) {
	d := &doctor{Report: report.New(io.Discard, true)}
	base, err := apiURL("http://contoso.invalid")
	require.NoError(t, err)
	d.callWithToken(context.Background(), base, base.String()+"/api/items", "e.e.e")
	require.Contains(t, d.Checks()[0].Detail, "It was not sent")
}

func TestAPIDown(t *testing.T) {
	w := newWorld(t)
	w.stdin = accessToken(t, w, entratest.TokenRequest{})
	r, status := w.json(t, "-token", "-", "-url", "http://"+closedPort(t))
	require.Equal(t, 1, status)
	require.Contains(t, r.with("API without a token")[0].Detail, "nothing listens")
	require.Equal(t, []string{"API with the token", "preflight"}, r.status(report.StatusSkip))
}

// A redirect is reported, not followed: the token must not go elsewhere.
func TestTokenStaysWhereItWasSent(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("asked")
	}))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	w := newWorld(t)
	w.stdin = accessToken(t, w, entratest.TokenRequest{})
	_, status := w.json(t, "-token", "-", "-url", s.URL)
	require.Equal(t, 1, status)
}

var kidAndTime = regexp.MustCompile(`((?:kid\s+|another |eyJhbGciOi… \())\S+`)
