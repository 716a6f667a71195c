package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
)

// canned answers every query with the same page, as fast as bytes can be read.
type canned struct{ page []byte }

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(c.page)), Body: io.NopCloser(bytes.NewReader(c.page)), Request: r,
	}, nil
}

// cannedPage is what storage answers to GET /api/items?limit=100.
func cannedPage(b *testing.B) []byte {
	s, err := tablestest.Start(tablestest.Options{})
	require.NoError(b, err)
	defer s.Close()
	var page []byte
	store, err := tables.Open(tables.Config{ConnectionString: s.ConnectionString(), Table: "items", Transport: transport(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			page, err = io.ReadAll(resp.Body)
			resp.Body = io.NopCloser(bytes.NewReader(page))
		}
		return resp, err
	})})
	require.NoError(b, err)
	store.Prepare(b.Context())
	owner := items.Owner{Tenant: "t", Subject: "s"}
	for i := range 100 {
		draft := itemstest.Draft(itemstest.Variant(i, fmt.Sprintf("Item number %d of a list that somebody keeps", i)))
		_, _, err := store.Apply(b.Context(), owner, []items.Op{{Create: &draft}}, nil)
		require.NoError(b, err)
	}
	_, err = store.List(b.Context(), owner, items.Query{Limit: 100})
	require.NoError(b, err)
	require.Equal(b, 100, bytes.Count(page, []byte(`"RowKey"`)))
	return page
}

// BenchmarkList compares a page of 100 items through the whole handler, storage's
// answer canned, with its floor: decoding and encoding the same bytes.
func BenchmarkList(b *testing.B) {
	page := cannedPage(b)
	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v struct {
				Value []struct {
					PartitionKey, RowKey, Shape, C0, Prior, Request string
					Columns                                         int
				}
			}
			if err := json.Unmarshal(page, &v); err != nil {
				b.Fatal(err)
			}
			if _, err := json.Marshal(v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("handler", func(b *testing.B) {
		h, token := handlerOn(b, canned{page})
		call := func() *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", "/api/items?limit=100", nil)
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		require.Equal(b, 100, strings.Count(call().Body.String(), `"etag"`))
		b.ReportAllocs()
		for b.Loop() {
			if w := call(); w.Code != 200 {
				b.Fatal(w.Code, w.Body)
			}
		}
	})
}

// handlerOn is the whole handler over a storage that is only a transport, with a
// token.
func handlerOn(b *testing.B, storage http.RoundTripper) (http.Handler, string) {
	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(b, err)
	b.Cleanup(tenant.Close)
	store, err := tables.Open(tables.Config{
		ConnectionString: "AccountName=devstoreaccount1;AccountKey=" + tablestest.AccountKey + ";TableEndpoint=http://127.0.0.1:1/devstoreaccount1",
		Table:            "items", Transport: storage,
	})
	require.NoError(b, err)
	verifier, err := entra.New(b.Context(), trusting(tenant))
	require.NoError(b, err)
	h := server.New(server.Config{
		Verify: verifier.Verify,
		Store:  store, ReadScope: "read", WriteScope: "write", Realm: config.Realm, Collection: config.Collection,
		CallerConcurrency: 256,
	})
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(b, err)
	return h, token
}

// accepting answers every transaction as storage does that has carried it out.
type accepting struct{}

func (accepting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		r.Body.Close()
	}
	status, kind, body := 404, "application/json", `{"odata.error":{"code":"ResourceNotFound","message":{"value":"x"}}}`
	switch {
	case strings.HasSuffix(r.URL.Path, "/$batch"):
		status, kind, body = 202, "multipart/mixed; boundary=b", "--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n"
		for range 3 {
			body += "--c\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nHTTP/1.1 204 No Content\r\nETag: W/\"datetime'2026-11-26T18%3A00%3A00.1234567Z'\"\r\n\r\n\r\n"
		}
		body += "--c--\r\n--b--\r\n"
	case r.URL.Query().Has("$filter"):
		status, body = 200, `{"value":[]}`
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {kind}},
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

// BenchmarkCreate compares a creation with an Idempotency-Key to one without,
// through the whole handler, storage's answers canned.
func BenchmarkCreate(b *testing.B) {
	for _, name := range []string{"plain", "key"} {
		b.Run(name, func(b *testing.B) {
			h, token := handlerOn(b, accepting{})
			body := itemstest.Whole()
			n := 0
			call := func() int {
				n++
				r := httptest.NewRequest("POST", "/api/items", strings.NewReader(body))
				r.Header.Set("Authorization", "Bearer "+token)
				r.Header.Set("Content-Type", "application/json")
				if name == "key" {
					r.Header.Set("Idempotency-Key", fmt.Sprint(n))
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				return w.Code
			}
			require.Equal(b, 201, call())
			b.ReportAllocs()
			for b.Loop() {
				if code := call(); code != 201 {
					b.Fatal(code)
				}
			}
		})
	}
}
