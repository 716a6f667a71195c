package server_test

// What is tested here is this domain's own, seen over HTTP: it is replaced with
// content.go.

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNumbersKeepTheirDigits(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	const merge = "application/merge-patch+json"
	id, etag, _ := w.made(t, alice, `{"name":"Milk","properties": { "fat": 3.50, "n":9007199254740993, "gone" : ["a", "b"] } }`)
	path := "/api/items/" + id
	has := func(body []byte, properties string) {
		require.Contains(t, string(body), `"properties":`+properties+`,"createdAt"`)
	}
	r := w.send(t, "GET", path, alice, "")
	has(r.body, `{"fat":3.50,"n":9007199254740993,"gone":["a","b"]}`)
	has(w.send(t, "GET", "/api/items", alice, "").body, `{"fat":3.50,"n":9007199254740993,"gone":["a","b"]}`)
	r = w.send(t, "PUT", path, alice, string(r.body), "If-Match", etag)
	has(r.body, `{"fat":3.50,"n":9007199254740993,"gone":["a","b"]}`)
	patch := `{"properties":{"gone":null,"new":{"x":null,"y":1.0}}}`
	r = w.send(t, "PATCH", path, alice, patch, "If-Match", r.Header.Get("ETag"), "Content-Type", merge)
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	has(r.body, `{"fat":3.50,"n":9007199254740993,"new":{"y":1.0}}`)
	r = w.send(t, "PATCH", path, alice, `{"properties":null}`, "If-Match", "*", "Content-Type", merge)
	require.NotContains(t, r.json(t), "properties")
	r = w.send(t, "POST", "/api/items/batch", alice, `{"items":[{"name":"a"},{"name":"b","properties":{"i":7.0}}]}`)
	has(r.body, `{"i":7.0}`)

	// Numbers that a float64 cannot tell apart are different requests, as are 1 and 1.0.
	for i, numbers := range [][2]string{{"9007199254740993", "9007199254740992"}, {"1.0", "1"}, {"[1,2]", "[2,1]"}} {
		for n, want := range []int{201, 422} {
			body := fmt.Sprintf(`{"name":"n","properties":{"n":%s}}`, numbers[n])
			r := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", fmt.Sprint("digits-", i))
			require.Equal(t, want, r.StatusCode, "%s: %s", body, r.body)
		}
	}
}

func TestBoundsOfContent(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	properties := func(p string) string { return `{"name":"x","properties":{"p":` + p + `}}` }
	for _, tt := range []struct{ body, says string }{
		{`{"name":"` + strings.Repeat("x", 201) + `"}`, "201 characters"},
		{`{"name":"` + strings.Repeat("😀", 201) + `"}`, "201 characters"},
		{`{"name":"a\u0000b"}`, "U+0000"},
		{properties(`"` + strings.Repeat("x", 32_768-7) + `"`), "32769"},
		{properties(strings.Repeat("[", 32) + strings.Repeat("]", 32)), "at most 32 levels"},
		{properties("1e400"), "1.8e308"},
	} {
		for _, method := range []string{"POST", "PATCH"} {
			path := "/api/items"
			if method == "PATCH" {
				id, _, _ := w.made(t, alice, `{"name":"x"}`)
				path += "/" + id
			}
			r := w.send(t, method, path, alice, tt.body, "If-Match", "*")
			require.Equal(t, 422, r.StatusCode, "%.80s: %s", tt.body, r.body)
			require.Contains(t, string(r.body), tt.says)
		}
	}
	for _, body := range []string{
		`{"name":"` + strings.Repeat(`\ud83d\ude00`, 200) + `"}`,
		properties(`"` + strings.Repeat("x", 32_768-8) + `"`),
		properties(strings.Repeat("[", 31) + strings.Repeat("]", 31)),
	} {
		r := w.send(t, "POST", "/api/items", alice, body)
		require.Equal(t, 201, r.StatusCode, "%.80s: %s", body, r.body)
	}
}

func TestNameFilters(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	for _, name := range []string{"milk 1", "bread", "milk 2", "Milk 3", "milk 4", "a & b; c"} {
		w.made(t, token, fmt.Sprintf(`{"name":%q}`, name))
	}
	names := func(query string) (names []string) {
		for _, item := range w.all(t, token, "/api/items?"+query) {
			var read struct{ Name string }
			require.NoError(t, json.Unmarshal(item, &read))
			names = append(names, read.Name)
		}
		return names
	}
	require.Equal(t, []string{"milk 4", "milk 2", "milk 1"}, names("limit=1&name_prefix=milk"))
	require.Equal(t, []string{"milk 4"}, names("name_prefix=milk&name="+url.QueryEscape("milk 4")))
	require.Equal(t, []string{"a & b; c"}, names("name="+url.QueryEscape("a & b; c")))
	require.Empty(t, names("name=milk"))
	for _, query := range []string{"name=", "name_prefix=", "name_prefix=" + strings.Repeat("x", 201)} {
		r := w.send(t, "GET", "/api/items?"+query, token, "")
		require.Equal(t, 400, r.StatusCode, query)
		require.Equal(t, "parameter.invalid", r.code(t))
		require.Contains(t, r.json(t)["detail"], "1 to 200")
	}
}

// A batch of at most 2 MiB, and yet more than storage takes as it writes it.
func TestABatchThatGrows(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	w.made(t, alice, `{"name":"x"}`)
	large := fmt.Sprintf(`{"name":"x","properties":{"p":"%s"}}`, strings.Repeat("<", 32_000))
	before := len(w.storage.Requests())
	r := w.send(t, "POST", "/api/items/batch", alice, `{"items":[`+strings.Repeat(large+",", 49)+large+`]}`)
	require.Equal(t, 413, r.StatusCode, "%s", r.body)
	require.Equal(t, "body.too_large", r.code(t))
	require.Len(t, w.storage.Requests(), before, "nothing was sent")
	require.Len(t, w.send(t, "GET", "/api/items", alice, "").json(t)["value"], 1)
}
