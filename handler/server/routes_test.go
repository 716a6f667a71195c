package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
)

// The collection has its name in one place: everything that is served, described and
// linked to follows it.
func TestCollection(t *testing.T) {
	const other = "other" + config.Collection
	w := newWorld(t, func(c *server.Config) { c.Collection = other })
	token := w.token(t, "alice", "read", "write")
	call := func(method, path, body string) reply {
		req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		return do(t, req)
	}
	for _, r := range (server.Config{Collection: other}).Routes() {
		if r.Path != "/" && r.Path != "/api/openapi.json" {
			require.True(t, strings.HasPrefix(r.Path+"/", "/api/"+other+"/"), r.Path)
		}
	}
	var doc struct{ Paths map[string]any }
	require.NoError(t, json.Unmarshal(call("GET", "/api/openapi.json", "").body, &doc))
	require.Greater(t, len(doc.Paths), 3)
	for path := range doc.Paths {
		require.True(t, strings.HasPrefix(path+"/", "/"+other+"/") || path == "/openapi.json", path)
	}

	for range 2 {
		r := call("POST", "/api/"+other, itemstest.Text("x"))
		require.Equal(t, 201, r.StatusCode)
		require.True(t, strings.HasPrefix(r.Header.Get("Location"), "/api/"+other+"/"))
		require.Equal(t, 200, call("GET", r.Header.Get("Location"), "").StatusCode)
	}
	for _, path := range []string{"?limit=1", "/delta", "/delta?limit=1"} {
		r := call("GET", "/api/"+other+path, "")
		require.Equal(t, 200, r.StatusCode)
		links := 0
		for name, link := range r.json(t) {
			if strings.HasSuffix(name, "Link") {
				links++
				require.True(t, strings.HasPrefix(link.(string), "/api/"+other), link)
			}
		}
		require.Equal(t, 1, links)
	}
	r := call("GET", config.CollectionPath, "")
	require.Equal(t, "route.not_found", r.code(t))
	require.Contains(t, string(r.body), "/api/"+other+".")
}
