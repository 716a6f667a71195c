package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
)

// The world waits for what passes, and for nothing that will stay as it is.
func TestFirstCall(t *testing.T) {
	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(tenant.Close)
	problem := func(w http.ResponseWriter, status int, code string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"urn:%s:problem:%s","code":"%s"}`, config.Realm, code, code)
	}
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter) // until the third call, which is answered 200
		says   string                      // "" where it waits
	}{
		{"no such route", func(w http.ResponseWriter) { problem(w, 404, "route.not_found") }, "route.not_found"},
		{"a refused token", func(w http.ResponseWriter) { problem(w, 401, "aud.wrong") }, "aud.wrong"},
		{"storage that starts", func(w http.ResponseWriter) { problem(w, 503, "storage.unavailable") }, ""},
		{"too many calls", func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "1")
			problem(w, 429, "caller.rate")
		}, ""},
		{"a host that starts", func(w http.ResponseWriter) { w.WriteHeader(404) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var calls atomic.Int32
			api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1) < 3 {
					tt.answer(w)
				}
			}))
			defer api.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := (&world{tenant: tenant, apiURL: api.URL}).check(ctx)
			if tt.says == "" {
				require.NoError(t, err)
				require.EqualValues(t, 3, calls.Load())
				return
			}
			require.ErrorContains(t, err, tt.says)
			require.EqualValues(t, 1, calls.Load())
		})
	}
}
