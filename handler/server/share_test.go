package server_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

// everybody is who he says he is: the token is his name.
func everybody(c *server.Config) {
	c.Verify = func(_ context.Context, credentials entra.Credentials, _ ...entra.Need) (*entra.Caller, error) {
		return &entra.Caller{Tenant: "tenant", Subject: credentials.Authorization[0]}, nil
	}
}

var fair = flag.Bool("fair", false, "measure for longer what one caller costs others")

// Whatever one caller does, or somebody without a token, another on the same instance is
// never refused. How much longer it takes is said, not judged: this machine has other work.
func TestOneCallerLeavesRoomForOthers(t *testing.T) {
	const flood = 300
	each := 20 // of alice's requests
	if *fair {
		each = 400
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: flood}}
	t.Cleanup(client.CloseIdleConnections)
	large := `{"items":[` + itemstest.LargeContent(0, "x") + `]}`
	again := func(method, path, token, body string) func(context.Context, *world) int {
		return func(ctx context.Context, w *world) int {
			req, err := http.NewRequestWithContext(ctx, method, w.url+path, nil)
			if err != nil {
				return 0
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := client.Do(req)
			if err != nil {
				return 0
			}
			defer resp.Body.Close()
			_, _ = io.Copy(io.Discard, resp.Body)
			return resp.StatusCode
		}
	}
	for _, tt := range []struct {
		name string
		// hog starts what goes on until its context ends, and returns a request of the kind.
		hog      func(t *testing.T, w *world) func(context.Context, *world) int
		statuses []int // what it may be answered; 0 where it was cut off, 504 on a busy machine
	}{
		{"300 requests in flight", func(t *testing.T, w *world) func(context.Context, *world) int {
			bob := w.token(t, "bob")
			for range 4 {
				require.Equal(t, 201, w.send(t, "POST", "/api/items/batch", bob, many(50)).StatusCode)
			}
			return again("GET", "/api/items?limit=200", bob, "")
		}, []int{0, 200, 429, 504}},
		{"a flood of forged tokens", func(t *testing.T, w *world) func(context.Context, *world) int {
			token := w.token(t, "bob")
			return again("GET", "/api/items", token[:len(token)-4]+"AAAA", "")
		}, []int{0, 401}},
		{"300 stalled bodies", func(t *testing.T, w *world) func(context.Context, *world) int {
			bob := w.token(t, "bob")
			for range flood {
				w.raw(t, head("POST", "/api/items", bob, "Content-Type: application/json", "Transfer-Encoding: chunked")+"1\r\n{\r\n")
				w.raw(t, head("POST", "/api/items/batch", bob, "Content-Type: application/json", "Content-Length: 2000000")+`{"items":[`)
			}
			return nil
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, func(c *server.Config) { c.CallerRate = 50 })
			alice := w.token(t, "alice")
			// As far away as Azure's is, so that the processor is not all that there is to share.
			defer w.storage.Inject(tablestest.Fault{Delay: 15 * time.Millisecond})()
			slow := time.NewTicker(20 * time.Millisecond) // within alice's rate
			defer slow.Stop()
			spent := func(n int) (took []time.Duration) {
				for range n {
					<-slow.C
					start := time.Now()
					r := w.send(t, "GET", "/api/items?limit=1", alice, "")
					took = append(took, time.Since(start))
					require.Equal(t, 200, r.StatusCode, "%s", r.body)
				}
				require.Equal(t, 201, w.send(t, "POST", "/api/items", alice, itemstest.Text("x")).StatusCode)
				require.Equal(t, 201, w.send(t, "POST", "/api/items/batch", alice, large).StatusCode)
				slices.Sort(took)
				return took
			}
			spent(5) // connections and keys are there
			quiet := spent(each)

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			pace := time.NewTicker(5 * time.Millisecond) // four times the rate that one caller may have
			defer pace.Stop()
			answered := make([]map[int]int, flood)
			var wg sync.WaitGroup
			if request := tt.hog(t, w); request != nil {
				for i := range flood {
					answered[i] = map[int]int{}
					wg.Go(func() {
						for ctx.Err() == nil {
							answered[i][request(ctx, w)]++
							select {
							case <-pace.C:
							case <-ctx.Done():
							}
						}
					})
				}
			}
			busy := spent(each)
			cancel()
			wg.Wait()
			counts := map[int]int{}
			for _, one := range answered {
				for status, n := range one {
					counts[status] += n
					require.Contains(t, tt.statuses, status)
				}
			}
			p99 := each * 99 / 100
			t.Logf("p99 is %.1f times the quiet one (%v, %v; the hog got %v)",
				float64(busy[p99])/float64(quiet[p99]), quiet[p99], busy[p99], counts)
		})
	}
}

// many is a batch of so many items.
func many(n int) string {
	return `{"items":[` + itemstest.Text("x") + strings.Repeat(","+itemstest.Text("x"), n-1) + `]}`
}

func TestConcurrencyOfACaller(t *testing.T) {
	t.Parallel()
	release, entered := make(chan struct{}), make(chan struct{}, 10)
	w := newWorld(t, everybody, func(c *server.Config) {
		c.CallerConcurrency, c.CallerRate = 3, 1000
		c.Store = broken{c.Store, func(ctx context.Context) {
			entered <- struct{}{}
			select {
			case <-release:
			case <-ctx.Done():
			}
		}}
	})
	codes := make(chan int, 3)
	var wg sync.WaitGroup
	aside := waittest.Aside(t)
	for range 3 {
		wg.Go(func() { codes <- w.send(aside, "GET", "/api/items", "alice", "").StatusCode })
		waittest.For(t, entered)
	}
	r := w.send(t, "GET", "/api/items?foo=1", "alice", "", "Accept", "text/xml", "X-Azure-Functions-InvocationId", "abc")
	require.Equal(t, 429, r.StatusCode, "before anything that is wrong with the request")
	require.JSONEq(t, `{"type":"urn:itemsapi:problem:rate.limited","title":"Too many requests of this caller","status":429,`+
		`"code":"rate.limited","detail":"3 requests of this caller are being worked on, as many as may be at a time. `+
		`Wait for their answers.","retryAfter":1,"instance":"abc"}`, string(r.body))
	require.Equal(t, "1", r.Header.Get("Retry-After"))
	require.Empty(t, r.Header.Get("RateLimit"), "the rate was kept")
	require.Equal(t, 429, w.send(t, "POST", "/api/items", "alice", itemstest.Text("x")).StatusCode)
	require.Equal(t, 404, w.send(t, "GET", "/api/nothing", "alice", "").StatusCode, "it is before that")
	require.Equal(t, 405, w.send(t, "DELETE", "/api/items", "alice", "").StatusCode)
	require.Equal(t, 200, w.send(t, "GET", "/api/openapi.json", "", "").StatusCode)
	require.Equal(t, 404, w.send(t, "GET", "/api/items/x", "bob", "").StatusCode)
	close(release)
	wg.Wait()
	for range 3 {
		require.Equal(t, 200, waittest.For(t, codes))
	}
	for range 10 {
		require.Equal(t, 200, w.send(t, "GET", "/api/items", "alice", "").StatusCode, "no place was lost")
	}
	require.Contains(t, w.log.String(), `"level":"INFO","msg":"request","invocation":"abc","method":"GET","route":"/api/items","status":429`)
}

func TestRateOfACaller(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everybody, func(c *server.Config) { c.CallerRate = 1 })
	var r reply
	require.Eventually(t, func() bool {
		r = w.send(t, "GET", "/api/items/x", "alice", "")
		return r.StatusCode == 429
	}, 20*time.Second, time.Millisecond)
	require.Equal(t, "rate.limited", r.code(t))
	require.Equal(t, "This caller may make 1 requests a second, and 2 in a burst.", r.json(t)["detail"])
	require.EqualValues(t, 1, r.json(t)["retryAfter"])
	require.Equal(t, "1", r.Header.Get("Retry-After"))
	require.Equal(t, `"caller";q=2;w=2`, r.Header.Get("RateLimit-Policy"))
	require.Equal(t, `"caller";r=0;t=1`, r.Header.Get("RateLimit"))
	require.Equal(t, 404, w.send(t, "GET", "/api/items/x", "bob", "").StatusCode)
	require.Eventually(t, func() bool {
		return w.send(t, "GET", "/api/items/x", "alice", "").StatusCode == 404
	}, 20*time.Second, 100*time.Millisecond)
}

// As many callers as there are over time, few of whom are remembered: nobody gets more by
// being forgotten.
func TestIdleSharesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server.NewShares(1, 5)
		inFlight := s.Join("in flight")
		require.NotNil(t, inFlight)
		for range 10 {
			s.Join("spent")()
		}
		come := func(of string) {
			for i := range 10_000 {
				end := s.Join(fmt.Sprint(of, i))
				require.NotNil(t, end)
				end()
				if i%10 == 9 {
					time.Sleep(time.Millisecond)
				}
			}
		}
		come("first")
		require.Nil(t, s.Join("in flight"))
		for range 5 { // a second has passed
			s.Join("spent")()
		}
		require.Nil(t, s.Join("spent"))
		come("second")
		come("third")
		require.Less(t, s.Len(), 10_000)
		inFlight()
		s.Join("in flight")()
	})
}
