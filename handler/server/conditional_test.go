package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConditionalReads(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	created := w.send(t, "POST", "/api/items", token, `{"name":"Milk"}`)
	item := created.Header.Get("Location")
	tag := created.Header.Get("ETag")
	require.Regexp(t, `^"[^"]+"$`, tag, "an item's is strong")
	list := w.send(t, "GET", "/api/items", token, "").Header.Get("ETag")
	require.Regexp(t, `^W/"[^"]+"$`, list, "a list's is weak")

	for _, tt := range []struct {
		name, path, sent string
		status           int
	}{
		{"the item's own", item, tag, 304},
		{"weakly compared", item, "W/" + tag, 304},
		{"any", item, "*", 304},
		{"one of several", item, `"x", W/"y",` + tag, 304},
		{"another", item, `"x"`, 200},
		{"a part of it", item, tag[:5] + `"`, 200},
		{"without quotes", item, strings.Trim(tag, `"`), 200},
		{"not closed", item, `"x`, 200},
		{"nonsense before it", item, "x," + tag, 200},
		{"empty", item, " ", 200},
		{"the list's own", "/api/items", list, 304},
		{"strongly spelt", "/api/items", strings.TrimPrefix(list, "W/"), 304},
		{"another list's", "/api/items", `W/"x"`, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, method := range []string{"GET", "HEAD"} {
				r := w.send(t, method, tt.path, token, "", "If-None-Match", tt.sent)
				require.Equal(t, tt.status, r.StatusCode)
				require.NotEmpty(t, r.Header.Get("ETag"))
				require.Equal(t, "private, no-cache", r.Header.Get("Cache-Control"))
				require.Contains(t, r.Header.Get("Vary"), "Authorization")
				if tt.status == 304 {
					require.Empty(t, r.body)
					require.Empty(t, r.Header.Get("Content-Type"))
				}
			}
		})
	}
	require.Equal(t, 201, w.send(t, "POST", "/api/items", token, `{"name":"Bread"}`).StatusCode)
	require.Equal(t, 200, w.send(t, "GET", "/api/items", token, "", "If-None-Match", list).StatusCode, "the list has changed")
	require.Equal(t, 404, w.send(t, "GET", "/api/items/x", token, "", "If-None-Match", "*").StatusCode)
}

func TestCompression(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	get := func(path, accept string) reply {
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Accept-Encoding", accept) // ours, so that net/http unpacks nothing
		return do(t, req)
	}
	require.Empty(t, get("/api/items", "gzip").Header.Get("Content-Encoding"), "a short list is not worth it")
	location := ""
	for i := range 10 {
		location = w.send(t, "POST", "/api/items", token, fmt.Sprintf(`{"name":"%d","properties":{"note":"%s"}}`, i, strings.Repeat("x", 200))).Header.Get("Location")
	}
	plain := get("/api/items", "identity")
	require.Empty(t, plain.Header.Get("Content-Encoding"))
	for accept, packed := range map[string]bool{
		"gzip": true, "GZIP": true, "br, gzip;q=0.5": true, "*": true, "gzip;q=0, *": false, "*;q=0": false, "br": false, "gzip;q=0": false, "gzip;q=x": false, "*;q=0, gzip": true,
	} {
		r := get("/api/items", accept)
		require.Contains(t, r.Header.Get("Vary"), "Accept-Encoding")
		require.Equal(t, plain.Header.Get("ETag"), r.Header.Get("ETag"))
		if !packed {
			require.Empty(t, r.Header.Get("Content-Encoding"), accept)
			require.Equal(t, plain.body, r.body)
			continue
		}
		require.Equal(t, "gzip", r.Header.Get("Content-Encoding"), accept)
		require.Less(t, len(r.body), len(plain.body)/3)
		require.Equal(t, fmt.Sprint(len(r.body)), r.Header.Get("Content-Length"))
		z, err := gzip.NewReader(bytes.NewReader(r.body))
		require.NoError(t, err)
		unpacked, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, plain.body, unpacked)
	}
	require.Empty(t, get(location, "gzip").Header.Get("Content-Encoding"), "an item's entity tag is strong, so an item is never compressed")
}

func TestReturnMinimal(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	for _, prefer := range []string{"return=minimal", "respond-async, return = minimal", "Return=Minimal; x=1"} {
		r := w.send(t, "POST", "/api/items", token, `{"name":"Milk"}`, "Prefer", prefer)
		require.Equal(t, 201, r.StatusCode)
		require.Equal(t, "return=minimal", r.Header.Get("Preference-Applied"))
		item := r.json(t)
		require.Len(t, item, 2)
		require.Equal(t, "/api/items/"+item["id"].(string), r.Header.Get("Location"))
		require.Equal(t, r.Header.Get("ETag"), item["etag"])
	}
	for _, prefer := range []string{"return=representation", "minimal", ""} {
		r := w.send(t, "POST", "/api/items", token, `{"name":"Milk"}`, "Prefer", prefer)
		require.Empty(t, r.Header.Get("Preference-Applied"))
		require.Len(t, r.json(t), 5)
	}
}

func TestSelectAndFilter(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	var created []map[string]any
	for _, name := range []string{"milk 1", "bread", "milk 2", "Milk 3", "milk 4"} {
		created = append(created, w.send(t, "POST", "/api/items", token, fmt.Sprintf(`{"name":%q,"properties":{}}`, name)).json(t))
	}
	names := func(path string) (names []string) {
		for pages := 0; path != ""; pages++ {
			require.Less(t, pages, 10)
			r := w.send(t, "GET", path, token, "")
			require.Equal(t, 200, r.StatusCode, "%s", r.body)
			var page struct {
				Value    []struct{ Name string }
				NextLink string
			}
			require.NoError(t, json.Unmarshal(r.body, &page))
			for _, item := range page.Value {
				names = append(names, item.Name)
			}
			if path = page.NextLink; path != "" {
				require.Equal(t, "<"+path+`>; rel="next"`, r.Header.Get("Link"))
			} else {
				require.Empty(t, r.Header.Get("Link"))
			}
		}
		return names
	}
	require.Equal(t, []string{"milk 4", "milk 2", "milk 1"}, names("/api/items?limit=1&name_prefix=milk"))
	require.Equal(t, []string{"bread"}, names("/api/items?name=bread"))
	at := created[2]["createdAt"].(string)
	require.NotContains(t, names("/api/items?limit=2&created_after="+url.QueryEscape(at)), "bread")
	require.NotContains(t, names("/api/items?created_before="+url.QueryEscape(at)), "milk 4")
	require.Len(t, names("/api/items?limit=2&created_before="+url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))), 5)

	r := w.send(t, "GET", "/api/items?select=name,etag&limit=2", token, "")
	require.JSONEq(t, fmt.Sprintf(`[{"name":"milk 4","etag":%q},{"name":"Milk 3","etag":%q}]`, created[4]["etag"], created[3]["etag"]), mustJSON(t, r.json(t)["value"]))
	next := r.json(t)["nextLink"].(string)
	require.Contains(t, next, "select=name%2Cetag")
	require.Contains(t, next, "limit=2")

	// A cursor belongs to its filters, not to its limit or its members.
	cursor := url.Values{"cursor": {mustQuery(t, next).Get("cursor")}}.Encode()
	require.Equal(t, 200, w.send(t, "GET", "/api/items?limit=1&"+cursor, token, "").StatusCode)
	require.Equal(t, "cursor.invalid", w.send(t, "GET", "/api/items?name=bread&"+cursor, token, "").code(t))
}

func mustJSON(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func mustQuery(t *testing.T, link string) url.Values {
	u, err := url.Parse(link)
	require.NoError(t, err)
	return u.Query()
}
