package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
)

func TestConditionalReads(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	created := w.send(t, "POST", "/api/items", token, itemstest.Text("Milk"))
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
	require.Equal(t, 201, w.send(t, "POST", "/api/items", token, itemstest.Text("Bread")).StatusCode)
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
		location = w.send(t, "POST", "/api/items", token, itemstest.Text(fmt.Sprint(i, strings.Repeat("x", 100)))).Header.Get("Location")
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
		r := w.send(t, "POST", "/api/items", token, itemstest.Text("Milk"), "Prefer", prefer)
		require.Equal(t, 201, r.StatusCode)
		require.Equal(t, "return=minimal", r.Header.Get("Preference-Applied"))
		item := r.json(t)
		require.Len(t, item, 2)
		require.Equal(t, "/api/items/"+item["id"].(string), r.Header.Get("Location"))
		require.Equal(t, r.Header.Get("ETag"), item["etag"])
	}
	for _, prefer := range []string{"return=representation", "minimal", ""} {
		r := w.send(t, "POST", "/api/items", token, itemstest.Text("Milk"), "Prefer", prefer)
		require.Empty(t, r.Header.Get("Preference-Applied"))
		require.Len(t, r.json(t), len(membersOf(t, itemstest.Text("Milk")))+4)
	}
}

// all follows a list to its end.
func (w *world) all(t testing.TB, token, path string) (listed []json.RawMessage) {
	for pages := 0; path != ""; pages++ {
		require.Less(t, pages, 50)
		r := w.send(t, "GET", path, token, "")
		require.Equal(t, 200, r.StatusCode, "%s", r.body)
		var page struct {
			Value    []json.RawMessage
			NextLink string
		}
		require.NoError(t, json.Unmarshal(r.body, &page))
		listed = append(listed, page.Value...)
		if path = page.NextLink; path != "" {
			require.Equal(t, "<"+path+`>; rel="next"`, r.Header.Get("Link"))
		} else {
			require.Empty(t, r.Header.Get("Link"))
		}
	}
	return listed
}

func TestFilters(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	good := len(itemstest.Load().Good)
	var created []string // the oldest first
	for i := range 3 * good {
		r := w.send(t, "POST", "/api/items", token, itemstest.Content(i%good))
		require.Equal(t, 201, r.StatusCode, "%s", r.body)
		created = append(created, strings.TrimSpace(string(r.body)))
	}
	selected := func(path string) (listed []string) {
		for _, item := range w.all(t, token, path) {
			listed = append(listed, string(item))
		}
		return listed
	}
	newestFirst := func(items ...string) []string {
		slices.Reverse(items)
		return items
	}
	for name, filter := range itemstest.Load().Filters {
		n := filter.Selects
		want := newestFirst(created[n], created[n+good], created[n+2*good])
		query := url.Values{name: {filter.Value}}.Encode()
		require.Equal(t, want, selected("/api/items?limit=1&"+query), name)
		require.Equal(t, want, selected("/api/items?"+query), name)
	}
	timeOf := func(item string) (at struct{ CreatedAt string }) {
		require.NoError(t, json.Unmarshal([]byte(item), &at))
		return at
	}
	at := url.QueryEscape(timeOf(created[good]).CreatedAt)
	require.NotContains(t, selected("/api/items?limit=2&created_after="+at), created[0])
	require.NotContains(t, selected("/api/items?created_before="+at), created[3*good-1])
	require.NotContains(t, selected("/api/items?created_before="+at), created[good], "the instant is not part of it")
	soon := url.QueryEscape(time.Now().Add(time.Hour).Format(time.RFC3339))
	require.Equal(t, newestFirst(slices.Clone(created)...), selected("/api/items?limit=2&created_before="+soon))

	// A cursor belongs to its filters, not to its limit or its members.
	cursor := func(path string) string {
		link, _ := w.send(t, "GET", path, token, "").json(t)["nextLink"].(string)
		return url.Values{"cursor": {mustQuery(t, link).Get("cursor")}}.Encode()
	}
	plain := cursor("/api/items?limit=2&select=id")
	require.Equal(t, 200, w.send(t, "GET", "/api/items?limit=1&"+plain, token, "").StatusCode)
	filters := []string{"created_before=" + soon}
	for name, filter := range itemstest.Load().Filters {
		filters = append(filters, url.Values{name: {filter.Value}}.Encode())
	}
	for _, filter := range filters {
		require.Equal(t, "cursor.invalid", w.send(t, "GET", "/api/items?"+filter+"&"+plain, token, "").code(t), filter)
		filtered := cursor("/api/items?limit=1&" + filter)
		require.Equal(t, 200, w.send(t, "GET", "/api/items?"+filter+"&"+filtered, token, "").StatusCode, filter)
		require.Equal(t, "cursor.invalid", w.send(t, "GET", "/api/items?"+filtered, token, "").code(t), filter)
	}
}

// A semicolon is an ordinary character of a query, percent-encoded or not: a host that
// forwards decodes it.
func TestSemicolon(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	for name := range itemstest.Load().Filters {
		for _, value := range []string{"a;b", "a%3Bb", ";", "%3b"} {
			path := "/api/items?limit=1&" + name + "=" + value
			r := w.send(t, "GET", path, token, "")
			decoded, err := url.QueryUnescape(strings.ReplaceAll(value, ";", "%3B"))
			require.NoError(t, err)
			if _, err := items.Filters[name](decoded); err != nil {
				require.Equal(t, 400, r.StatusCode, path)
				continue
			}
			require.Equal(t, 200, r.StatusCode, "%s: %s", path, r.body)
		}
	}
	r := w.send(t, "GET", "/api/items?limit=1;count=true", token, "")
	require.Equal(t, "parameter.invalid", r.code(t))
	require.Contains(t, string(r.body), "limit must be", "it separates nothing")
}

func TestSelect(t *testing.T) {
	w := newWorld(t)
	token := w.token(t, "alice")
	var created []map[string]json.RawMessage // the oldest first
	for i := range itemstest.Load().Good {
		created = append(created, membersOf(t, string(w.send(t, "POST", "/api/items", token, itemstest.Content(i)).body)))
	}
	for _, selected := range append(slices.Collect(slices.Chunk(items.Members, 1)), items.Members, []string{"etag", textMember()}) {
		listed := w.all(t, token, "/api/items?limit=2&select="+strings.Join(selected, ","))
		require.Len(t, listed, len(created))
		for i, item := range listed {
			want := "{"
			for _, name := range items.Members { // what is not there cannot be selected
				if value, ok := created[len(created)-1-i][name]; ok && slices.Contains(selected, name) {
					want += fmt.Sprintf(`%q:%s,`, name, value)
				}
			}
			require.Equal(t, strings.TrimSuffix(want, ",")+"}", string(item), selected)
		}
	}
	r := w.send(t, "GET", "/api/items?limit=2&select="+textMember()+"&select=id,etag&select=id", token, "")
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	require.Equal(t, r.json(t)["value"], w.send(t, "GET", "/api/items?limit=2&select=etag,id,"+textMember(), token, "").json(t)["value"])
	require.Equal(t, "parameter.invalid", w.send(t, "GET", "/api/items?select=id&select=", token, "").code(t))
	next := w.send(t, "GET", "/api/items?limit=2&select="+textMember()+",etag", token, "").json(t)["nextLink"].(string)
	require.Contains(t, next, "select="+textMember()+"%2Cetag")
	require.Contains(t, next, "limit=2")
}

func mustJSON(t testing.TB, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func mustQuery(t *testing.T, link string) url.Values {
	u, err := url.Parse(link)
	require.NoError(t, err)
	return u.Query()
}
