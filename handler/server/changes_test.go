package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

func aliceOwner() items.Owner {
	return items.Owner{Tenant: entratest.TenantID, Subject: strings.ToLower(entratest.Users()[0].ObjectID)}
}

// made creates an item and returns its members.
func (w *world) made(t testing.TB, token, body string) (id, etag string, item map[string]any) {
	r := w.send(t, "POST", "/api/items", token, body)
	require.Equal(t, 201, r.StatusCode, "%s", r.body)
	item = r.json(t)
	return item["id"].(string), item["etag"].(string), item
}

func TestPut(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, etag, item := w.made(t, alice, itemstest.Whole())
	path := "/api/items/" + id

	// Exactly as it was read.
	asRead := w.send(t, "GET", path, alice, "")
	r := w.send(t, "PUT", path, alice, string(asRead.body), "If-Match", etag)
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	put := r.json(t)
	require.Equal(t, put["etag"], r.Header.Get("ETag"))
	require.NotEqual(t, etag, put["etag"])
	require.Len(t, put, len(item))
	for name := range item {
		if name != "etag" && name != "updatedAt" {
			require.Equal(t, item[name], put[name], name)
		}
	}
	require.Equal(t, string(r.body), string(w.send(t, "GET", path, alice, "").body))

	// Sent again it says the same; another request for the old version is refused.
	again := w.send(t, "PUT", path, alice, " "+string(asRead.body), "If-Match", etag)
	require.Equal(t, 200, again.StatusCode)
	require.Equal(t, string(r.body), string(again.body))
	r = w.send(t, "PUT", path, alice, itemstest.Text("Bread"), "If-Match", etag)
	require.Equal(t, 412, r.StatusCode)
	require.Equal(t, "item.changed", r.code(t))

	r = w.send(t, "PUT", path, alice, itemstest.Text("Bread"), "If-Match", `"nonsense", `+put["etag"].(string), "Prefer", "return=minimal")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "return=minimal", r.Header.Get("Preference-Applied"))
	require.Equal(t, map[string]any{"id": id, "etag": r.Header.Get("ETag")}, r.json(t))
	r = w.send(t, "GET", path, alice, "")
	require.Equal(t, "Bread", itemstest.TextOf(r.body))
	require.Equal(t, slices.Sorted(maps.Keys(w.send(t, "POST", "/api/items", alice, itemstest.Text("Bread")).json(t))),
		slices.Sorted(maps.Keys(r.json(t))), "what the new content lacks is gone")
	require.Equal(t, 200, w.send(t, "PUT", path, alice, itemstest.Text("Tea"), "If-Match", "*", "If-None-Match", etag).StatusCode)

	r = w.send(t, "PUT", path, alice, plus(itemstest.Text("x"), `"etag":"\"other\"","id":"`+id+`"`), "If-Match", "*")
	require.Equal(t, 422, r.StatusCode)
	require.Equal(t, "/etag", r.json(t)["errors"].([]any)[0].(map[string]any)["pointer"])
}

// textMember is the member that has the text of itemstest, or that the text is in.
func textMember() string { return strings.Split(itemstest.Load().Text, "/")[1] }

// plus is content with more members.
func plus(content, members string) string {
	return strings.TrimSuffix(content, "}") + "," + members + "}"
}

// membersOf are the members of content.
func membersOf(t testing.TB, content string) (members map[string]json.RawMessage) {
	require.NoError(t, json.Unmarshal([]byte(content), &members))
	return members
}

func TestPatch(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, etag, item := w.made(t, alice, itemstest.Whole())
	path := "/api/items/" + id
	const merge = "application/merge-patch+json"
	patch := itemstest.PatchText("Tea")
	r := w.send(t, "PATCH", path, alice, plus(patch, `"id":"`+id+`"`), "If-Match", etag, "Content-Type", merge)
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	require.Equal(t, "Tea", itemstest.TextOf(r.body))
	patched := r.json(t)
	require.Len(t, patched, len(item))
	for name := range item {
		if !slices.Contains([]string{"etag", "updatedAt", textMember()}, name) {
			require.Equal(t, item[name], patched[name], name)
		}
	}
	again := w.send(t, "PATCH", path, alice, `{"id":"`+id+`",`+patch[1:], "If-Match", etag, "Content-Type", merge)
	require.Equal(t, string(r.body), string(again.body), "the order of members is nothing")

	// null removes what may be missing.
	etag = r.Header.Get("ETag")
	patch = itemstest.PatchText("Bread")
	least := membersOf(t, itemstest.Content(0))
	for name := range membersOf(t, itemstest.Whole()) {
		if _, required := least[name]; !required {
			patch = plus(patch, fmt.Sprintf(`%q:null`, name))
		}
	}
	r = w.send(t, "PATCH", path, alice, patch, "If-Match", etag, "Content-Type", "application/json; charset=UTF-8")
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	require.Equal(t, "Bread", itemstest.TextOf(r.body))
	require.Len(t, r.json(t), len(least)+4, "%s", r.body)

	type wrong struct {
		body   string
		status int
		code   string
	}
	all := []wrong{
		{`[1]`, 400, "request.malformed"},
		{`"x"`, 400, "request.malformed"},
		{`null`, 400, "request.malformed"},
		{fmt.Sprintf(`{%q:null}`, textMember()), 422, "item.invalid"},
		{`{"no-such-member":"x"}`, 422, "item.invalid"},
		{`{"no-such-member":null}`, 422, "item.invalid"},
	}
	for _, bad := range itemstest.Load().Bad {
		member := strings.Split(bad.Pointer, "/")[1]
		value := membersOf(t, string(bad.Content))[member]
		if len(value) > 0 && value[0] != 'n' && value[0] != '{' { // whatever it is merged with, it is as wrong
			all = append(all, wrong{fmt.Sprintf(`{%q:%s}`, member, value), 422, "item.invalid"})
		}
	}
	require.Greater(t, len(all), 6)
	for _, tt := range all {
		r := w.send(t, "PATCH", path, alice, tt.body, "If-Match", "*", "Content-Type", merge)
		require.Equal(t, tt.status, r.StatusCode, tt.body)
		require.Equal(t, tt.code, r.code(t), tt.body)
	}
	r = w.send(t, "PATCH", path, alice, `x`, "If-Match", "*", "Content-Type", "application/json-patch+json")
	require.Equal(t, 415, r.StatusCode)
	require.Equal(t, "application/merge-patch+json, application/json", r.Header.Get("Accept-Patch"))
	r = w.send(t, "PUT", path, alice, `x`, "If-Match", "*", "Content-Type", merge)
	require.Equal(t, 415, r.StatusCode)
	require.Equal(t, "application/json", r.Header.Get("Accept"))
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	id, etag, _ := w.made(t, alice, itemstest.Text("Milk"))
	path := "/api/items/" + id
	require.Equal(t, 404, w.send(t, "DELETE", path, bob, "", "If-Match", etag).StatusCode)
	require.Equal(t, 404, w.send(t, "DELETE", path, bob, "", "If-Match", "*").StatusCode)
	require.Equal(t, "item.changed", w.send(t, "DELETE", path, alice, "", "If-Match", `"x"`).code(t))
	require.Equal(t, "item.changed", w.send(t, "DELETE", path, alice, "", "If-Match", "W/"+etag).code(t), "a weak tag never matches")
	r := w.send(t, "DELETE", path, alice, "", "If-Match", etag, "X-Azure-Functions-InvocationId", "0a1b")
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	require.Empty(t, r.Header.Get("ETag"))
	gone := r.json(t)
	require.Len(t, gone, 3)
	require.Equal(t, id, gone["id"])
	require.Equal(t, true, gone["deleted"])
	for _, again := range []reply{
		w.send(t, "DELETE", path, alice, "", "If-Match", etag, "X-Azure-Functions-InvocationId", "0a1b"),
		w.send(t, "DELETE", path, alice, "", "If-Match", `"a" ,`+etag),
	} {
		require.Equal(t, 200, again.StatusCode)
		require.Equal(t, string(r.body), string(again.body))
	}
	require.Equal(t, 404, w.send(t, "DELETE", path, alice, "", "If-Match", "*").StatusCode)
	require.Equal(t, 404, w.send(t, "GET", path, alice, "").StatusCode)
	require.Equal(t, 404, w.send(t, "PUT", path, alice, itemstest.Text("x"), "If-Match", etag).StatusCode)
	require.Equal(t, 404, w.send(t, "PATCH", path, alice, itemstest.Text("x"), "If-Match", "*").StatusCode)
}

func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, etag, _ := w.made(t, alice, itemstest.Text("Milk"))
	for _, method := range []string{"PUT", "PATCH", "DELETE"} {
		for _, tt := range []struct {
			value  string
			status int
			code   string
		}{
			{"", 428, "if_match.required"},
			{" ", 428, "if_match.required"},
			{",", 400, "parameter.invalid"},
			{strings.Trim(etag, `"`), 400, "parameter.invalid"},
			{`"unclosed`, 400, "parameter.invalid"},
			{`"a" "b"`, 400, "parameter.invalid"},
			{`"a b"`, 400, "parameter.invalid"},
			{`"a", *`, 400, "parameter.invalid"},
			{`*, "a"`, 400, "parameter.invalid"},
			{`w/"a"`, 400, "parameter.invalid"},
			{`W/ "a"`, 400, "parameter.invalid"},
			{`'a'`, 400, "parameter.invalid"},
			{`"` + strings.Repeat("a", 5000) + `"`, 400, "parameter.invalid"},
			{`""`, 412, "item.changed"},
			{`"ü"`, 412, "item.changed"},
			{`W/` + etag, 412, "item.changed"},
			{`"a", W/"b",, "c",`, 412, "item.changed"},
		} {
			body := ""
			if method != "DELETE" {
				body = itemstest.Text("x")
			}
			r := w.send(t, method, "/api/items/"+id, alice, body, "If-Match", tt.value)
			require.Equal(t, tt.status, r.StatusCode, "%s %s", method, tt.value)
			require.Equal(t, tt.code, r.code(t), "%s %s", method, tt.value)
		}
	}
	// 428 comes before what is wrong with the body, 412 after.
	require.Equal(t, 428, w.send(t, "PUT", "/api/items/"+id, alice, `x`, "Content-Type", "text/plain").StatusCode)
	require.Equal(t, 422, w.send(t, "PUT", "/api/items/"+id, alice, `{}`, "If-Match", `"x"`).StatusCode)
	require.Equal(t, 422, w.send(t, "PUT", "/api/items/x", alice, `{}`, "If-Match", `"x"`).StatusCode)
	require.Equal(t, 404, w.send(t, "PUT", "/api/items/x", alice, itemstest.Text("x"), "If-Match", `"x"`).StatusCode)
	require.Equal(t, 403, w.send(t, "PUT", "/api/items/"+id, w.token(t, "alice", "read"), itemstest.Text("x")).StatusCode)
}

// respelled is content that says the same in other bytes.
func respelled(t testing.TB, content string) string {
	dec := json.NewDecoder(strings.NewReader(content))
	dec.UseNumber()
	var value any
	require.NoError(t, dec.Decode(&value))
	var spell func(value any) string
	spell = func(value any) string {
		var parts []string
		switch value := value.(type) {
		case map[string]any:
			for _, name := range slices.Backward(slices.Sorted(maps.Keys(value))) {
				parts = append(parts, spell(name)+" :"+spell(value[name]))
			}
			return " { " + strings.Join(parts, " ,") + " }"
		case []any:
			for _, element := range value {
				parts = append(parts, spell(element))
			}
			return "[ " + strings.Join(parts, ", ") + "]"
		case string:
			for _, unit := range utf16.Encode([]rune(value)) {
				parts = append(parts, fmt.Sprintf(`\u%04x`, unit))
			}
			return `"` + strings.Join(parts, "") + `"`
		}
		return mustJSON(t, value)
	}
	return spell(value)
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	body := itemstest.Whole()
	first := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", "the-key")
	require.Equal(t, 201, first.StatusCode)
	require.Empty(t, first.Header.Get("Idempotency-Replayed"))
	for _, same := range []string{body, respelled(t, body) + "\n"} {
		for _, key := range []string{"the-key", `"the-key"`} {
			again := w.send(t, "POST", "/api/items", alice, same, "Idempotency-Key", key)
			require.Equal(t, 201, again.StatusCode, "%s", again.body)
			require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
			require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
			require.Equal(t, first.Header.Get("ETag"), again.Header.Get("ETag"))
			require.JSONEq(t, string(first.body), string(again.body))
		}
	}
	for i := range itemstest.Load().Good {
		other := itemstest.Variant(i, itemstest.TextOf([]byte(body))+".")
		r := w.send(t, "POST", "/api/items", alice, other, "Idempotency-Key", "the-key")
		require.Equal(t, 422, r.StatusCode)
		require.Equal(t, "idempotency.key_reused", r.code(t))
	}
	r := w.send(t, "POST", "/api/items/batch", alice, `{"items":[`+body+`]}`, "Idempotency-Key", "the-key")
	require.Equal(t, "idempotency.key_reused", r.code(t))
	require.Equal(t, "item.invalid", w.send(t, "POST", "/api/items", alice, `{}`, "Idempotency-Key", "the-key").code(t))
	minimal := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", "the-key", "Prefer", "return=minimal")
	require.Equal(t, map[string]any{"id": first.json(t)["id"], "etag": first.Header.Get("ETag")}, minimal.json(t))
	require.Len(t, w.send(t, "GET", "/api/items", alice, "").json(t)["value"], 1)
	require.Empty(t, w.send(t, "POST", "/api/items", bob, body, "Idempotency-Key", "the-key").Header.Get("Idempotency-Replayed"))

	// A string of RFC 8941, or what it stands for.
	for _, spellings := range [][]string{
		{`"two words"`},
		{`"a\"b\\c"`, `a"b\c`},
		{`"` + strings.Repeat(`\\`, 255) + `"`, strings.Repeat(`\`, 255)},
	} {
		for i, key := range spellings {
			r := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", key)
			require.Equal(t, 201, r.StatusCode, key)
			require.Equal(t, i > 0, r.Header.Get("Idempotency-Replayed") == "true", key)
		}
	}
	for _, key := range []string{`""`, `"`, `"a`, `"a"b`, `"a"b"`, `"a\b"`, `"a\"`, `"a";x=1`, "\"a\tb\"", "a b", "ü", strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`} {
		r := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", key)
		require.Equal(t, 400, r.StatusCode, key)
		require.Equal(t, "parameter.invalid", r.code(t))
	}
	require.Equal(t, 201, w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", `"`+strings.Repeat("~", 255)+`"`).StatusCode)
	log := w.log.String()
	require.NotContains(t, log, "the-key", "a key is the client's")
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	var each []string
	for i := range 50 {
		each = append(each, itemstest.Variant(i, fmt.Sprintf("n%d", i)))
	}
	batch := func(items ...string) string { return `{"items":[` + strings.Join(items, ",") + `]}` }
	first := w.send(t, "POST", "/api/items/batch", alice, batch(each...), "Idempotency-Key", "b")
	require.Equal(t, 201, first.StatusCode, "%s", first.body)
	made := first.json(t)["value"].([]any)
	require.Len(t, made, 50)
	for i, item := range made {
		for name, value := range membersOf(t, each[i]) {
			require.JSONEq(t, string(value), mustJSON(t, item.(map[string]any)[name]), "%d: %s", i, name)
		}
	}
	again := w.send(t, "POST", "/api/items/batch", alice, batch(each...), "Idempotency-Key", "b")
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	require.Equal(t, string(first.body), string(again.body))
	minimal := w.send(t, "POST", "/api/items/batch", alice, batch(each[0]), "Prefer", "return=minimal").json(t)["value"].([]any)
	require.Len(t, minimal[0], 2)
	require.Len(t, w.send(t, "GET", "/api/items?limit=200", alice, "").json(t)["value"], 51)

	for body, pointers := range map[string][]string{
		`{}`:                            {"/items"},
		`{"items":{}}`:                  {"/items"},
		`{"items":[]}`:                  {"/items"},
		batch(append(each, each[0])...): {"/items"},
		batch(each[0], plus(each[1], `"none":7`), each[2], plus(each[3], `"no":1,"a/b":1`), `[]`, `null`): {"/items/1/none", "/items/3/a~1b", "/items/3/no", "/items/4", "/items/5"},
		`{"items":[` + each[0] + `],"a/b":1}`: {"/a~1b"},
	} {
		r := w.send(t, "POST", "/api/items/batch", alice, body)
		require.Equal(t, 422, r.StatusCode, body)
		var got []string
		for _, e := range r.json(t)["errors"].([]any) {
			got = append(got, e.(map[string]any)["pointer"].(string))
		}
		require.Equal(t, pointers, got, body)
	}
	for i, bad := range itemstest.Load().Bad {
		r := w.send(t, "POST", "/api/items/batch", alice, batch(each[0], string(bad.Content), each[1]))
		require.Equal(t, "item.invalid", r.code(t), "bad sample %d", i)
		require.Equal(t, "/items/1"+bad.Pointer, r.json(t)["errors"].([]any)[0].(map[string]any)["pointer"], "bad sample %d", i)
		require.NotContains(t, string(r.body), "/items/2")
	}
	require.Equal(t, "request.malformed", w.send(t, "POST", "/api/items/batch", alice, `{"items":[{"x":"x","x":"y"}]}`).code(t))
	require.Equal(t, "body.too_large", w.send(t, "POST", "/api/items/batch", alice, `{"items":["`+strings.Repeat("x", 2<<20)+`"]}`).code(t))
	require.Len(t, w.send(t, "GET", "/api/items?limit=200", alice, "").json(t)["value"], 51)

	r := w.send(t, "GET", "/api/items/batch", alice, "")
	require.Equal(t, 405, r.StatusCode)
	require.Equal(t, "POST", r.Header.Get("Allow"))
	r = w.send(t, "POST", "/api/items/"+made[0].(map[string]any)["id"].(string), alice, "{}")
	require.Equal(t, "GET, HEAD, PUT, PATCH, DELETE", r.Header.Get("Allow"))
}

// full is a store that takes nothing.
type full struct{ items.Store }

func (full) Apply(context.Context, items.Owner, []items.Op, *items.Key) ([]items.Change, bool, error) {
	return nil, false, fmt.Errorf("change items: %w", items.ErrTooLarge)
}

func TestMoreThanStorageTakes(t *testing.T) {
	w := newWorld(t, func(c *server.Config) { c.Store = full{c.Store} })
	r := w.send(t, "POST", "/api/items/batch", w.token(t, "alice"), `{"items":[`+itemstest.Content(0)+`]}`)
	require.Equal(t, 413, r.StatusCode, "%s", r.body)
	require.Equal(t, "body.too_large", r.code(t))
	require.Contains(t, r.json(t)["detail"], "4 MiB")
}

// sync follows a delta to its end.
func (w *world) sync(t testing.TB, token, link string) (told []map[string]any, deltaLink string) {
	for range 100 {
		r := w.send(t, "GET", link, token, "")
		require.Equal(t, 200, r.StatusCode, "%s", r.body)
		var body struct {
			Value               []map[string]any
			NextLink, DeltaLink string
		}
		require.NoError(t, json.Unmarshal(r.body, &body))
		told = append(told, body.Value...)
		require.NotEqual(t, body.NextLink == "", body.DeltaLink == "", "one or the other")
		if body.DeltaLink != "" {
			require.Empty(t, r.Header.Get("Link"))
			return told, body.DeltaLink
		}
		require.Equal(t, "<"+body.NextLink+`>; rel="next"`, r.Header.Get("Link"))
		link = body.NextLink
	}
	t.Fatal("the delta does not end")
	return nil, ""
}

func TestDelta(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	told, empty := w.sync(t, alice, "/api/items/delta")
	require.Empty(t, told)
	id, etag, item := w.made(t, alice, itemstest.Whole())
	gone, goneTag, _ := w.made(t, alice, itemstest.Text("gone"))
	r := w.send(t, "DELETE", "/api/items/"+gone, alice, "", "If-Match", goneTag)
	deletion := r.json(t)

	told, _ = w.sync(t, alice, empty)
	require.Equal(t, []map[string]any{item, deletion}, told)
	told, link := w.sync(t, alice, "/api/items/delta?limit=1")
	require.Equal(t, []map[string]any{item}, told)
	require.Contains(t, link, "limit=1")
	told, _ = w.sync(t, alice, link)
	require.Empty(t, told)
	w.send(t, "PATCH", "/api/items/"+id, alice, itemstest.PatchText("Bread"), "If-Match", etag)
	w.made(t, alice, itemstest.Text("new"))
	told, _ = w.sync(t, alice, link)
	require.Len(t, told, 2)
	require.Equal(t, "Bread", itemstest.TextOf([]byte(mustJSON(t, told[0]))))

	// A page that has not changed costs no transfer, also under a day's last token.
	r = w.send(t, "GET", empty, alice, "")
	require.Regexp(t, `^W/"`, r.Header.Get("ETag"))
	if again := w.send(t, "GET", empty, alice, "", "If-None-Match", r.Header.Get("ETag")); time.Now().Truncate(time.Hour).Equal(time.Now().Add(-time.Second).Truncate(time.Hour)) {
		require.Equal(t, 304, again.StatusCode)
	}
	require.Empty(t, w.send(t, "HEAD", empty, alice, "").body)
	require.Equal(t, 405, w.send(t, "DELETE", "/api/items/delta", alice, "").StatusCode)
	require.Equal(t, 403, w.send(t, "GET", empty, w.token(t, "alice", "write"), "").StatusCode)

	r = w.send(t, "GET", "/api/items/delta?limit=1", alice, "")
	next := r.json(t)["nextLink"].(string)
	for _, tt := range []struct {
		path, token string
		code        string
	}{
		{next, bob, "cursor.invalid"},
		{empty, bob, "cursor.invalid"},
		{strings.Replace(next, "cursor=", "token=", 1), alice, "cursor.invalid"},
		{strings.Replace(empty, "token=", "cursor=", 1), alice, "cursor.invalid"},
		{strings.Replace(next, "/delta", "", 1), alice, "cursor.invalid"},
		{next[:len(next)-1], alice, "parameter.invalid"},
		{"/api/items/delta?token=", alice, "cursor.invalid"},
		{next + "&token=x", alice, "parameter.invalid"},
		{"/api/items/delta?limit=0", alice, "parameter.invalid"},
		{"/api/items/delta?created_after=x", alice, "parameter.unknown"},
		{"/api/items/delta?token=" + server.SealToken("c0ffee00.9..0.0", aliceOwner(), time.Now()), alice, "delta.resync"},
		{"/api/items/delta?token=" + server.SealToken("nonsense", aliceOwner(), time.Now()), alice, "cursor.invalid"},
		{"/api/items/delta?token=" + server.SealToken(".0..0.0", aliceOwner(), time.Now().Add(-30*24*time.Hour-2*time.Hour)), alice, "delta.resync"},
	} {
		require.Equal(t, tt.code, w.send(t, "GET", tt.path, tt.token, "").code(t), tt.path)
	}
	require.Equal(t, 200, w.send(t, "GET", "/api/items/delta?token="+server.SealToken(".0..0.0", aliceOwner(), time.Now().Add(-30*24*time.Hour+time.Hour)), alice, "").StatusCode)

	for range 10 {
		w.made(t, alice, itemstest.Text(strings.Repeat("long ", 20)))
	}
	r = w.send(t, "GET", empty, alice, "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
	z, err := gzip.NewReader(bytes.NewReader(r.body))
	require.NoError(t, err)
	plain, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Contains(t, string(plain), "deltaLink")
}

func TestOddText(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	spelled := func(text string) string { return strings.Replace(itemstest.Text("TEXT"), "TEXT", text, 1) }
	for _, text := range []string{"a\x00b", `a\ud800b`, `a\udc00\ud800b`, "a\xed\xa0\x80b", "\xff"} {
		r := w.send(t, "POST", "/api/items", alice, spelled(text))
		require.Equal(t, 400, r.StatusCode, "%q: %s", text, r.body)
		require.Equal(t, "request.malformed", r.code(t))
	}
	r := w.send(t, "POST", "/api/items", alice, spelled(strings.Repeat(`\ud83d\ude00`, 20)))
	require.Equal(t, 201, r.StatusCode, "%s", r.body)
	require.Equal(t, strings.Repeat("😀", 20), itemstest.TextOf(r.body))
}

// A change of which nobody can tell whether it was kept says so, and what to do;
// sent again, it is not made twice.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	transaction := func(r *http.Request) bool { return tablestest.Operation(r) == tablestest.OpTransaction }
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, etag, _ := w.made(t, alice, itemstest.Text("Milk"))
	for _, tt := range []struct{ method, path, body, header, value string }{
		{"POST", "/api/items", itemstest.Text("x"), "Idempotency-Key", "k"},
		{"POST", "/api/items/batch", `{"items":[` + itemstest.Content(0) + `,` + itemstest.Content(1) + `]}`, "Idempotency-Key", "b"},
		{"PUT", "/api/items/" + id, itemstest.Text("put"), "If-Match", etag},
		{"PATCH", "/api/items/" + id, itemstest.PatchText("patched"), "If-Match", ""},
		{"DELETE", "/api/items/" + id, "", "If-Match", ""},
	} {
		if tt.value == "" {
			tt.value = w.send(t, "GET", "/api/items/"+id, alice, "").Header.Get("ETag")
		}
		// All replies are lost, and then storage does not answer questions either.
		lost := w.storage.Inject(tablestest.Fault{DropReply: true, Match: transaction})
		mute := w.storage.Inject(tablestest.Fault{Status: 500, Match: func(r *http.Request) bool { return !transaction(r) && strings.Contains(r.URL.Path, "'c-") }})
		r := w.send(t, tt.method, tt.path, alice, tt.body, tt.header, tt.value)
		require.Equal(t, 503, r.StatusCode, "%s %s", tt.method, r.body)
		require.Equal(t, "unknown", r.json(t)["outcome"])
		require.EqualValues(t, 2, r.json(t)["retryAfter"])
		lost()
		mute()
		before := w.send(t, "GET", "/api/items/delta", alice, "").json(t)["deltaLink"].(string)
		r = w.send(t, tt.method, tt.path, alice, tt.body, tt.header, tt.value)
		require.Less(t, r.StatusCode, 300, "%s %s", tt.method, r.body)
		told, _ := w.sync(t, alice, before)
		require.Empty(t, told, "%s: it had been kept, and is not made again", tt.method)
	}

	// What was certainly not kept does not say so.
	busy := w.storage.Inject(tablestest.Fault{Status: 503, Code: "ServerBusy", Match: transaction})
	r := w.send(t, "POST", "/api/items", alice, itemstest.Text("x"))
	require.Equal(t, 503, r.StatusCode)
	require.NotContains(t, r.json(t), "outcome")
	busy()
}

// A caller's changes are made one after the other, and only so many wait.
func TestOneCallersChangesWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *server.Config) { c.CallerConcurrency = 256 })
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	w.made(t, alice, itemstest.Text("warm"))
	entered, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	defer w.storage.Inject(tablestest.Fault{Match: func(r *http.Request) bool {
		if tablestest.Operation(r) == tablestest.OpTransaction {
			first.Do(func() {
				close(entered)
				waittest.For(t, release)
			})
		}
		return false
	}})()
	codes := make(chan int, 100)
	post := func() {
		codes <- w.send(t, "POST", "/api/items", alice, itemstest.Text("x")).StatusCode
	}
	go post()
	waittest.For(t, entered)
	for range 70 {
		go post()
	}
	for range 7 { // 64 are in line
		require.Equal(t, 429, waittest.For(t, codes))
	}
	close(release)
	for range 64 {
		require.Equal(t, 201, waittest.For(t, codes))
	}
	require.Equal(t, 201, w.send(t, "POST", "/api/items", bob, itemstest.Text("x")).StatusCode)
}
