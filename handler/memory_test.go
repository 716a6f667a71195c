//go:build linux

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/tables/tablestest"
)

// peak is the most memory that a process has had at a time, in MiB.
func peak(t *testing.T, pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, m)
	kB, err := strconv.Atoi(string(m[1]))
	require.NoError(t, err)
	return kB >> 10
}

// startRepeater stands before a Table service and repeats its answers to the same
// question, some at a time: the race detector makes 300 answers at once a matter of
// minutes. It returns a connection string.
func startRepeater(t *testing.T, storage *tablestest.Server) string {
	account, target, ok := strings.Cut(storage.ConnectionString(), "TableEndpoint=")
	require.True(t, ok)
	endpoint, err := url.Parse(strings.TrimSuffix(target, ";"))
	require.NoError(t, err)
	type kept struct {
		header http.Header
		body   []byte
	}
	var mu sync.Mutex
	answers := map[string]kept{}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: endpoint.Scheme, Host: endpoint.Host})
	proxy.ModifyResponse = func(resp *http.Response) error {
		if resp.Request.Method != http.MethodGet || resp.StatusCode != http.StatusOK {
			return nil
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		defer mu.Unlock()
		answers[resp.Request.URL.RequestURI()] = kept{resp.Header.Clone(), body}
		return nil
	}
	turns := make(chan struct{}, 16)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		turns <- struct{}{}
		defer func() { <-turns }()
		mu.Lock()
		if r.Method != http.MethodGet {
			clear(answers)
		}
		a, known := answers[r.URL.RequestURI()]
		mu.Unlock()
		if !known {
			proxy.ServeHTTP(w, r)
			return
		}
		maps.Copy(w.Header(), a.header)
		_, _ = w.Write(a.body)
	}))
	t.Cleanup(s.Close)
	return account + "TableEndpoint=" + s.URL + endpoint.Path + ";"
}

// Signed-in callers cannot end an instance, of which a small one has 512 MB: 300 requests
// at once for the largest page, or with the largest body, stay far below, and what does not
// fit is turned away, not dropped. Two callers take all the memory that there is for them.
func TestMemoryIsBounded(t *testing.T) {
	const atOnce = 300
	const mostBody = 2 << 20
	each := itemstest.LargeContent(0, "x")
	batch := `{"items":[` + each + strings.Repeat(","+each, min(50, (mostBody-20)/(len(each)+1))-1) + `]}`
	tenant, storage := startTenant(t), startStorage(t)
	with := settings(tenant, startRepeater(t, storage))
	with["CALLER_CONCURRENCY"] = "256"
	p := startProgram(t, with)
	var tokens, deltaLinks [2]string
	for n, user := range []string{"alice", "bob"} {
		tokens[n] = tenant.Token(user)
		require.Eventually(t, func() bool {
			status, _, _ := send(t, "GET", p.url+"/api/items", tokens[n], "")
			return status == 200
		}, 20*time.Second, 10*time.Millisecond, "the table is there")
		_, _, start := send(t, "GET", p.url+"/api/items/delta", tokens[n], "")
		var d struct {
			DeltaLink string `json:"deltaLink"`
		}
		require.NoError(t, json.Unmarshal([]byte(start), &d))
		deltaLinks[n] = d.DeltaLink
		for i := range 40 {
			status, _, answer := send(t, "POST", p.url+"/api/items", tokens[n], itemstest.LargeContent(i, "€"))
			require.Equal(t, 201, status, answer)
		}
	}
	type load struct {
		name, method, path, body string
		gzip                     bool
		atLeast, status          int
	}
	loads := []load{
		{"list", "GET", "/api/items?limit=22", "", false, 10, 200},
		{"changes, gzip", "GET", "", "", true, 10, 200},
		{"refused batch", "POST", "/api/items/batch", strings.Repeat("[", mostBody), false, 10, 400},
	}
	if long {
		loads = append(loads,
			load{"batch", "POST", "/api/items/batch", batch, false, 10, 201},
			load{"list, gzip", "GET", "/api/items?limit=22", "", true, 10, 200},
			load{"delta", "GET", "/api/items/delta?limit=22", "", true, 10, 200})
	}
	content, err := itemstest.Draft(itemstest.LargeContent(0, "€")).Typed()
	require.NoError(t, err)
	for name, filter := range itemstest.Load().Filters {
		passes, err := items.Filters[name](filter.Value)
		require.NoError(t, err)
		if long && passes(&content) { // a filter that lets none pass has nothing to hold
			query := url.Values{"limit": {"22"}, name: {filter.Value}}.Encode()
			loads = append(loads, load{"list by " + name, "GET", "/api/items?" + query, "", false, 10, 200})
		}
	}
	for _, tt := range loads {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			var wg sync.WaitGroup
			codes, errs := make([]int, atOnce), make([]error, atOnce)
			for i := range atOnce {
				wg.Go(func() {
					path := tt.path
					if path == "" {
						path = deltaLinks[i%2] + "&limit=22"
					}
					req, err := http.NewRequestWithContext(ctx, tt.method, p.url+path, strings.NewReader(tt.body))
					if err != nil {
						errs[i] = err
						return
					}
					req.Header.Set("Authorization", "Bearer "+tokens[i%2])
					req.Header.Set("Content-Type", "application/json")
					if !tt.gzip {
						req.Header.Set("Accept-Encoding", "identity")
					}
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						errs[i] = err
						return
					}
					defer resp.Body.Close()
					_, errs[i] = io.Copy(io.Discard, resp.Body)
					codes[i] = resp.StatusCode
				})
			}
			wg.Wait()
			counts := map[int]int{}
			for i, code := range codes {
				require.NoError(t, errs[i])
				counts[code]++
			}
			most := peak(t, p.cmd.Process.Pid)
			t.Logf("peak %d MiB, %v", most, counts)
			if counts[504] == 0 { // which is what a machine says that is busy with other things
				require.GreaterOrEqual(t, counts[tt.status], tt.atLeast, "%v", counts)
			}
			require.Equal(t, atOnce, counts[tt.status]+counts[429]+counts[503]+counts[504], "%v", counts)
			require.Less(t, most, 256)
			// And one alone gets its answer then: nothing was left taken, and it is a load that works.
			path := cmp.Or(tt.path, deltaLinks[0]+"&limit=22")
			status, _, answer := send(t, tt.method, p.url+path, tokens[0], tt.body)
			require.Equal(t, tt.status, status, answer[:min(len(answer), 500)])
		})
	}
}

// A refusal of a large body reaches the client through the host, which drops an answer
// that comes while it still sends.
func TestARefusalOfALargeBodyReachesTheClient(t *testing.T) {
	body := strings.Repeat("x", 20<<20)
	for _, forward := range []bool{false, true} {
		t.Run(map[bool]string{false: "proxy", true: "forward"}[forward], func(t *testing.T) {
			tenant, storage := startTenant(t), startStorage(t)
			host, err := functionstest.Start(t.Context(), functionstest.Config{
				Dir: "..", Executable: builtHandler(t), Forward: forward,
				Env: environment(settings(tenant, storage.ConnectionString())),
			})
			require.NoError(t, err)
			t.Cleanup(func() { host.Close() })
			good, err := tenant.AccessToken(entratest.TokenRequest{})
			require.NoError(t, err)
			broken, err := tenant.Broken("time.expired")
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				status, _, _ := send(t, "GET", host.URL()+"/api/items", good, "")
				return status == 200
			}, 30*time.Second, 20*time.Millisecond)

			status, header, answer := send(t, "POST", host.URL()+"/api/items", broken.Token, body)
			require.Equal(t, 401, status)
			require.Contains(t, answer, "time.expired")
			require.Contains(t, header.Get("WWW-Authenticate"), `error="invalid_token"`)
			status, _, answer = send(t, "POST", host.URL()+"/api/items", "", body)
			require.Equal(t, 401, status)
			require.Contains(t, answer, "auth.missing")
			status, _, answer = send(t, "POST", host.URL()+"/api/items/batch", good, body)
			require.Equal(t, 413, status)
			require.Contains(t, answer, "body.too_large")
		})
	}
}
