package entratest_test

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/waittest"
)

func TestFaults(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	base := s.URL() + "/contoso.onmicrosoft.com/B2C_1_signupsignin"
	keys, metadata := base+"/discovery/v2.0/keys", base+"/v2.0/.well-known/openid-configuration"

	t.Run("status for all documents, until removed", func(t *testing.T) {
		remove := s.Inject(entratest.Fault{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"7"}}})
		for range 3 {
			require.Equal(t, http.StatusServiceUnavailable, b.get(keys).StatusCode)
			require.Equal(t, "7", b.get(metadata).Header.Get("Retry-After"))
		}
		require.Equal(t, http.StatusOK, b.get(s.URL()+"/").StatusCode)
		remove()
		remove()
		require.Equal(t, http.StatusOK, b.get(keys).StatusCode)
	})

	t.Run("body, so many times", func(t *testing.T) {
		defer s.Inject(entratest.Fault{Times: 2, Body: "not keys", ContentType: "text/plain"})()
		for range 2 {
			got := b.get(keys)
			require.Equal(t, http.StatusOK, got.StatusCode)
			require.Equal(t, "not keys", got.body)
			require.Equal(t, "text/plain", got.Header.Get("Content-Type"))
		}
		require.Contains(t, b.get(keys).body, `"kid"`)
	})

	t.Run("match", func(t *testing.T) {
		defer s.Inject(entratest.Fault{
			Match:  func(r *http.Request) bool { return r.URL.Path == "/" },
			Status: http.StatusTeapot,
		})()
		require.Equal(t, http.StatusTeapot, b.get(s.URL()+"/").StatusCode)
		require.Equal(t, http.StatusOK, b.get(keys).StatusCode)
	})

	t.Run("handler, and the first one injected strikes", func(t *testing.T) {
		defer s.Inject(entratest.Fault{
			Times:   1,
			Handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "first") },
		})()
		defer s.Inject(entratest.Fault{Body: "second"})()
		require.Equal(t, "first", b.get(keys).body)
		require.Equal(t, "second", b.get(keys).body)
	})

	t.Run("drop", func(t *testing.T) {
		defer s.Inject(entratest.Fault{Drop: true})()
		_, err := http.Get(keys)
		require.ErrorIs(t, err, io.EOF)
	})

	t.Run("delay, then as usual", func(t *testing.T) {
		defer s.Inject(entratest.Fault{Delay: 50 * time.Millisecond})()
		begun := time.Now()
		require.Contains(t, b.get(keys).body, `"kid"`)
		require.GreaterOrEqual(t, time.Since(begun), 50*time.Millisecond)
	})

	t.Run("hang, until the client goes, the fault is removed or the server closed", func(t *testing.T) {
		s := start(t, entratest.Options{})
		keys := s.URL() + "/contoso.onmicrosoft.com/B2C_1_ropc/discovery/v2.0/keys"
		var arrived atomic.Int32
		hang := entratest.Fault{Hang: true, Match: func(*http.Request) bool { arrived.Add(1); return true }}
		fetch := func(ctx context.Context) <-chan error {
			done := make(chan error, 1)
			go func() {
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, keys, nil)
				resp, err := http.DefaultClient.Do(req)
				if err == nil {
					resp.Body.Close()
				}
				done <- err
			}()
			return done
		}
		waitFor := func(n int32) {
			require.Eventually(t, func() bool { return arrived.Load() == n }, 10*time.Second, time.Millisecond)
		}

		remove := s.Inject(hang)
		ctx, cancel := context.WithCancel(t.Context())
		done := fetch(ctx)
		waitFor(1)
		cancel()
		require.ErrorIs(t, waittest.For(t, done), context.Canceled)

		done = fetch(t.Context())
		waitFor(2)
		require.Empty(t, done)
		remove()
		require.ErrorIs(t, waittest.For(t, done), io.EOF)

		s.Inject(hang)
		done = fetch(t.Context())
		waitFor(3)
		s.Close()
		require.Error(t, waittest.For(t, done))
	})
}

func TestFetches(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	base := s.URL() + "/contoso.onmicrosoft.com"
	count := func(policy string) [2]int {
		metadata, keys := s.Fetches(policy)
		return [2]int{metadata, keys}
	}

	b.get(base + "/B2C_1_ropc/v2.0/.well-known/openid-configuration")
	b.get(base + "/discovery/keys?p=b2c_1_ropc")
	b.get(base + "/b2c_1_nosuch/discovery/v2.0/keys")
	remove := s.Inject(entratest.Fault{Status: http.StatusInternalServerError})
	b.get(base + "/B2C_1_ropc/discovery/v2.0/keys")
	remove()
	require.Equal(t, [2]int{1, 2}, count(entratest.PolicyROPC))
	require.Equal(t, [2]int{0, 0}, count(entratest.PolicySignUpSignIn))

	s.ResetFetches()
	require.Equal(t, [2]int{0, 0}, count(entratest.PolicyROPC))
}
