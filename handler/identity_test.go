package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items/itemstest"
)

// identityEndpoint is what Azure gives an app to get its identity's tokens from: an
// address and a secret, in IDENTITY_ENDPOINT and IDENTITY_HEADER.
type identityEndpoint struct {
	*httptest.Server
	asked   atomic.Int64
	trouble atomic.Pointer[http.HandlerFunc] // instead of a token
}

func startIdentity(t *testing.T) *identityEndpoint {
	e := &identityEndpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		if trouble := e.trouble.Load(); trouble != nil {
			(*trouble)(w, r)
			return
		}
		if r.Header.Get("X-IDENTITY-HEADER") != "secret" || r.FormValue("resource") != "https://storage.azure.com" {
			http.Error(w, "not asked as an app asks", http.StatusBadRequest)
			return
		}
		expires := time.Now().Add(time.Hour).Unix()
		fmt.Fprintf(w, `{"access_token":"for-storage","token_type":"Bearer","resource":%q,"expires_on":"%d"}`,
			r.FormValue("resource"), expires)
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *identityEndpoint) settings() map[string]string {
	return map[string]string{"IDENTITY_ENDPOINT": e.URL + "/msi/token", "IDENTITY_HEADER": "secret"}
}

func answering(status int, body string) *http.HandlerFunc {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	})
	return &h
}

// startEmptyStorage is a Table service over TLS that has nothing and takes the token
// that startIdentity gives. The variable makes a program trust it.
func startEmptyStorage(t *testing.T) (address string, trust string) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer for-storage" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"value":[]}`)
	}))
	t.Cleanup(s.Close)
	trust = filepath.Join(t.TempDir(), "storage.pem")
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	require.NoError(t, os.WriteFile(trust, cert, 0o600))
	return s.URL, trust
}

// When the identity endpoint fails, a request is told so soon, and its line in the log
// has the cause: storage was not even asked.
func TestIdentityInTrouble(t *testing.T) {
	hang := func(t *testing.T) *http.HandlerFunc {
		over := make(chan struct{})
		t.Cleanup(func() { close(over) })
		h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-over:
			case <-r.Context().Done():
			}
		})
		return &h
	}
	for _, tt := range []struct {
		name     string
		trouble  func(*testing.T) *http.HandlerFunc // nil: nobody listens
		cause    string
		recovers bool
	}{
		{"500", func(*testing.T) *http.HandlerFunc { return answering(500, "out of order") }, "out of order", true},
		{"no such identity", func(*testing.T) *http.HandlerFunc { return answering(400, `{"error":"no_identity"}`) }, "no_identity", true},
		{"no JSON", func(*testing.T) *http.HandlerFunc { return answering(200, "<html>") }, "invalid character", true},
		{"hangs", hang, "the identity endpoint has not answered for", false},
		{"refuses the connection", nil, "connection refused", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tenant, identity := startTenant(t), startIdentity(t)
			endpoint, trust := startEmptyStorage(t)
			env := settings(tenant, "")
			env["TABLES_ENDPOINT"], env["SSL_CERT_FILE"] = endpoint, trust
			for name, value := range identity.settings() {
				env[name] = value
			}
			if tt.trouble != nil {
				identity.trouble.Store(tt.trouble(t))
			} else {
				env["IDENTITY_ENDPOINT"] = "http://127.0.0.1:" + freePort(t) + "/msi/token"
			}
			p := startProgram(t, env)
			token, err := tenant.AccessToken(entratest.TokenRequest{})
			require.NoError(t, err)

			ask := func(method, body string) (int, string, time.Duration, error) {
				return identityCall(method, p.url+"/api/items", token, body)
			}
			const parallel = 16
			type outcome struct {
				status int
				body   string
				took   time.Duration
				err    error
			}
			outcomes := make([]outcome, 2*parallel)
			var wg sync.WaitGroup
			for i := range outcomes {
				wg.Go(func() {
					o := &outcomes[i]
					if i%2 == 0 {
						o.status, o.body, o.took, o.err = ask("GET", "")
					} else {
						o.status, o.body, o.took, o.err = ask("POST", itemstest.Text("Milk"))
					}
				})
			}
			wg.Wait()
			longest := time.Duration(0)
			for _, o := range outcomes {
				require.NoError(t, o.err)
				require.Equal(t, 503, o.status, o.body)
				require.Contains(t, o.body, `"code":"storage.unavailable"`)
				require.Contains(t, o.body, `"retryAfter"`)
				require.NotContains(t, o.body, "outcome", "nothing was sent to storage")
				longest = max(longest, o.took)
			}
			t.Logf("longest of %d: %s", len(outcomes), longest)
			require.Eventually(t, func() bool { // a line is written after its answer
				return len(requestLines(p.output.String())) == len(outcomes)
			}, 20*time.Second, 5*time.Millisecond)
			for _, line := range requestLines(p.output.String()) {
				require.Contains(t, line["error"], tt.cause)
				require.NotContains(t, line["error"], "secret")
				require.EqualValues(t, 0, line["storage_calls"])
				require.Less(t, line["ms"], 8000.0, "the whole time of a request was spent")
			}
			if tt.recovers {
				identity.trouble.Store(nil)
				require.Eventually(t, func() bool {
					status, _, _, err := ask("GET", "")
					return err == nil && status == 200
				}, 20*time.Second, 50*time.Millisecond)
				require.Less(t, identity.asked.Load(), int64(20), "one question for all")
			}
		})
	}
}

// A slow identity endpoint is asked once, and its answer serves those that come later.
func TestSlowIdentity(t *testing.T) {
	tenant, identity := startTenant(t), startIdentity(t)
	endpoint, trust := startEmptyStorage(t)
	arrived, answer := make(chan struct{}, 10), make(chan struct{})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	slow := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-answer
		fmt.Fprintf(w, `{"access_token":"for-storage","token_type":"Bearer","expires_on":"%d"}`, time.Now().Add(time.Hour).Unix())
	})
	identity.trouble.Store(&slow)
	env := settings(tenant, "")
	env["TABLES_ENDPOINT"], env["SSL_CERT_FILE"] = endpoint, trust
	for name, value := range identity.settings() {
		env[name] = value
	}
	p := startProgram(t, env)
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	select {
	case <-arrived:
	case <-time.After(20 * time.Second):
		require.Fail(t, "the identity is asked at the start")
	}
	status, body, _, err := identityCall("GET", p.url+"/api/items", token, "")
	require.NoError(t, err)
	require.Equal(t, 503, status, body)
	release()
	require.Eventually(t, func() bool {
		status, _, _, err := identityCall("GET", p.url+"/api/items", token, "")
		return err == nil && status == 200
	}, 20*time.Second, 10*time.Millisecond)
	require.EqualValues(t, 1, identity.asked.Load())
}

// identityCall may run on any goroutine.
func identityCall(method, url, token, body string) (status int, answer string, took time.Duration, err error) {
	start := time.Now()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	client := http.Client{Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", 0, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), time.Since(start), err
}

// requestLines are the lines of requests in a handler's log.
func requestLines(log string) []map[string]any {
	var lines []map[string]any
	for line := range strings.Lines(log) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == "request" {
			lines = append(lines, m)
		}
	}
	return lines
}
