package server_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items"
	"itemsapi/handler/server"
	"itemsapi/handler/tables/tablestest"
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
	id, etag, item := w.made(t, alice, `{"name":"Milk","properties":{"a":1.0}}`)
	path := "/api/items/" + id

	// Exactly as it was read.
	asRead := w.send(t, "GET", path, alice, "")
	r := w.send(t, "PUT", path, alice, string(asRead.body), "If-Match", etag)
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	put := r.json(t)
	require.Equal(t, put["etag"], r.Header.Get("ETag"))
	require.NotEqual(t, etag, put["etag"])
	require.Contains(t, string(r.body), `"properties":{"a":1.0}`)
	for _, name := range []string{"id", "name", "createdAt"} {
		require.Equal(t, item[name], put[name])
	}
	require.Equal(t, string(r.body), string(w.send(t, "GET", path, alice, "").body))

	// Sent again it says the same; another request for the old version is refused.
	again := w.send(t, "PUT", path, alice, " "+string(asRead.body), "If-Match", etag)
	require.Equal(t, 200, again.StatusCode)
	require.Equal(t, string(r.body), string(again.body))
	r = w.send(t, "PUT", path, alice, `{"name":"Bread"}`, "If-Match", etag)
	require.Equal(t, 412, r.StatusCode)
	require.Equal(t, "item.changed", r.code(t))

	r = w.send(t, "PUT", path, alice, `{"name":"Bread"}`, "If-Match", `"nonsense", `+put["etag"].(string), "Prefer", "return=minimal")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "return=minimal", r.Header.Get("Preference-Applied"))
	require.Equal(t, map[string]any{"id": id, "etag": r.Header.Get("ETag")}, r.json(t))
	require.NotContains(t, w.send(t, "GET", path, alice, "").json(t), "properties")
	require.Equal(t, 200, w.send(t, "PUT", path, alice, `{"name":"Tea"}`, "If-Match", "*", "If-None-Match", "*").StatusCode, "If-None-Match is for reading")

	r = w.send(t, "PUT", path, alice, `{"name":"x","etag":"\"other\"","id":"`+id+`"}`, "If-Match", "*")
	require.Equal(t, 422, r.StatusCode)
	require.Equal(t, "/etag", r.json(t)["errors"].([]any)[0].(map[string]any)["pointer"])
}

func TestPatch(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, etag, _ := w.made(t, alice, `{"name":"Milk","properties":{"n":9007199254740993,"d":1.0,"gone":true}}`)
	path := "/api/items/" + id
	const merge = "application/merge-patch+json"
	r := w.send(t, "PATCH", path, alice, `{"properties":{"gone":null,"new":{"x":null}}}`, "If-Match", etag, "Content-Type", merge)
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	require.Contains(t, string(r.body), `"properties":{"n":9007199254740993,"d":1.0,"new":{}}`)
	again := w.send(t, "PATCH", path, alice, `{"properties":{"new":{"x":null},"gone":null}}`, "If-Match", etag, "Content-Type", merge)
	require.Equal(t, string(r.body), string(again.body), "the order of members is nothing")
	etag = r.Header.Get("ETag")
	r = w.send(t, "PATCH", path, alice, `{"name":"Bread","properties":null}`, "If-Match", etag, "Content-Type", "application/json; charset=UTF-8")
	require.Equal(t, 200, r.StatusCode)
	require.Equal(t, "Bread", r.json(t)["name"])
	require.NotContains(t, r.json(t), "properties")

	for _, tt := range []struct {
		body   string
		status int
		code   string
	}{
		{`[1]`, 400, "request.malformed"},
		{`"x"`, 400, "request.malformed"},
		{`null`, 400, "request.malformed"},
		{`{"name":null}`, 422, "item.invalid"},
		{`{"name":"` + strings.Repeat("x", 201) + `"}`, 422, "item.invalid"},
		{`{"properties":{"p":"` + strings.Repeat("x", 32_768) + `"}}`, 422, "item.invalid"},
		{`{"colour":"red"}`, 422, "item.invalid"},
	} {
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
	id, etag, _ := w.made(t, alice, `{"name":"Milk"}`)
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
	require.Equal(t, 404, w.send(t, "PUT", path, alice, `{"name":"x"}`, "If-Match", etag).StatusCode)
	require.Equal(t, 404, w.send(t, "PATCH", path, alice, `{"name":"x"}`, "If-Match", "*").StatusCode)
}

func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, etag, _ := w.made(t, alice, `{"name":"Milk"}`)
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
				body = `{"name":"x"}`
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
	require.Equal(t, 404, w.send(t, "PUT", "/api/items/x", alice, `{"name":"x"}`, "If-Match", `"x"`).StatusCode)
	require.Equal(t, 403, w.send(t, "PUT", "/api/items/"+id, w.token(t, "alice", "read"), `{"name":"x"}`).StatusCode)
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	body := `{"name":"Milk","properties":{"n":1.0,"m":[1,2]}}`
	first := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", "one")
	require.Equal(t, 201, first.StatusCode)
	require.Empty(t, first.Header.Get("Idempotency-Replayed"))
	for _, same := range []string{body, " { \"properties\" :{\"m\":[1, 2],\"n\":1.0}, \"name\":\"\\u004dilk\"}\n"} {
		for _, key := range []string{"one", `"one"`} {
			again := w.send(t, "POST", "/api/items", alice, same, "Idempotency-Key", key)
			require.Equal(t, 201, again.StatusCode, "%s", again.body)
			require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
			require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
			require.Equal(t, first.Header.Get("ETag"), again.Header.Get("ETag"))
			require.JSONEq(t, string(first.body), string(again.body))
		}
	}
	for _, other := range []string{`{"name":"Milk","properties":{"n":1,"m":[1,2]}}`, `{"name":"Milk","properties":{"n":1.0,"m":[2,1]}}`, `{"name":"milk"}`} {
		r := w.send(t, "POST", "/api/items", alice, other, "Idempotency-Key", "one")
		require.Equal(t, 422, r.StatusCode)
		require.Equal(t, "idempotency.key_reused", r.code(t))
	}
	r := w.send(t, "POST", "/api/items/batch", alice, `{"items":[`+body+`]}`, "Idempotency-Key", "one")
	require.Equal(t, "idempotency.key_reused", r.code(t))
	require.Equal(t, "item.invalid", w.send(t, "POST", "/api/items", alice, `{}`, "Idempotency-Key", "one").code(t))
	minimal := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", "one", "Prefer", "return=minimal")
	require.Equal(t, map[string]any{"id": first.json(t)["id"], "etag": first.Header.Get("ETag")}, minimal.json(t))
	require.Len(t, w.send(t, "GET", "/api/items", alice, "").json(t)["value"], 1)
	require.Empty(t, w.send(t, "POST", "/api/items", bob, body, "Idempotency-Key", "one").Header.Get("Idempotency-Replayed"))

	// Numbers that a float64 cannot tell apart are different requests.
	require.Equal(t, 201, w.send(t, "POST", "/api/items", alice, `{"name":"n","properties":{"n":9007199254740993}}`, "Idempotency-Key", "digits").StatusCode)
	require.Equal(t, 422, w.send(t, "POST", "/api/items", alice, `{"name":"n","properties":{"n":9007199254740992}}`, "Idempotency-Key", "digits").StatusCode)

	for _, key := range []string{`""`, "a b", "ü", strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`} {
		r := w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", key)
		require.Equal(t, 400, r.StatusCode, key)
		require.Equal(t, "parameter.invalid", r.code(t))
	}
	require.Equal(t, 201, w.send(t, "POST", "/api/items", alice, body, "Idempotency-Key", `"`+strings.Repeat("~", 255)+`"`).StatusCode)
	log := w.log.String()
	require.NotContains(t, log, "digits", "a key is the client's")
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	var each []string
	for i := range 50 {
		each = append(each, fmt.Sprintf(`{"name":"n%d","properties":{"i":%d.0}}`, i, i))
	}
	batch := func(items ...string) string { return `{"items":[` + strings.Join(items, ",") + `]}` }
	first := w.send(t, "POST", "/api/items/batch", alice, batch(each...), "Idempotency-Key", "b")
	require.Equal(t, 201, first.StatusCode, "%s", first.body)
	made := first.json(t)["value"].([]any)
	require.Len(t, made, 50)
	for i, item := range made {
		require.Equal(t, fmt.Sprintf("n%d", i), item.(map[string]any)["name"])
	}
	require.Contains(t, string(first.body), `{"i":7.0}`)
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
		batch(each[0], `{"name":7}`, each[1], `{"name":"","colour":1}`, `[]`, `null`): {"/items/1/name", "/items/3/colour", "/items/3/name", "/items/4", "/items/5"},
		`{"items":[{"name":"x"}],"a/b":1}`:                                            {"/a~1b"},
	} {
		r := w.send(t, "POST", "/api/items/batch", alice, body)
		require.Equal(t, 422, r.StatusCode, body)
		var got []string
		for _, e := range r.json(t)["errors"].([]any) {
			got = append(got, e.(map[string]any)["pointer"].(string))
		}
		require.Equal(t, pointers, got, body)
	}
	require.Equal(t, "request.malformed", w.send(t, "POST", "/api/items/batch", alice, `{"items":[{"name":"x","name":"y"}]}`).code(t))
	require.Equal(t, "body.too_large", w.send(t, "POST", "/api/items/batch", alice, `{"items":["`+strings.Repeat("x", 2<<20)+`"]}`).code(t))
	// Within 2 MiB, and yet more than storage takes as it writes it.
	large := fmt.Sprintf(`{"name":"x","properties":{"p":"%s"}}`, strings.Repeat("<", 32_000))
	before := len(w.storage.Requests())
	r := w.send(t, "POST", "/api/items/batch", alice, batch(strings.Split(strings.Repeat(large+"\n", 50), "\n")[:50]...))
	require.Equal(t, 413, r.StatusCode, "%s", r.body)
	require.Equal(t, "body.too_large", r.code(t))
	require.Len(t, w.storage.Requests(), before, "nothing was sent")
	require.Len(t, w.send(t, "GET", "/api/items?limit=200", alice, "").json(t)["value"], 51)

	r = w.send(t, "GET", "/api/items/batch", alice, "")
	require.Equal(t, 405, r.StatusCode)
	require.Equal(t, "POST", r.Header.Get("Allow"))
	r = w.send(t, "POST", "/api/items/"+made[0].(map[string]any)["id"].(string), alice, "{}")
	require.Equal(t, "GET, HEAD, PUT, PATCH, DELETE", r.Header.Get("Allow"))
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
	id, etag, item := w.made(t, alice, `{"name":"Milk","properties":{"n":1.0}}`)
	gone, goneTag, _ := w.made(t, alice, `{"name":"gone"}`)
	r := w.send(t, "DELETE", "/api/items/"+gone, alice, "", "If-Match", goneTag)
	deletion := r.json(t)

	told, _ = w.sync(t, alice, empty)
	require.Equal(t, []map[string]any{item, deletion}, told)
	told, link := w.sync(t, alice, "/api/items/delta?limit=1")
	require.Equal(t, []map[string]any{item}, told)
	require.Contains(t, link, "limit=1")
	told, _ = w.sync(t, alice, link)
	require.Empty(t, told)
	w.send(t, "PATCH", "/api/items/"+id, alice, `{"name":"Bread"}`, "If-Match", etag)
	w.made(t, alice, `{"name":"new"}`)
	told, _ = w.sync(t, alice, link)
	require.Len(t, told, 2)
	require.Equal(t, "Bread", told[0]["name"])

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
		{"/api/items/delta?name=x", alice, "parameter.unknown"},
		{"/api/items/delta?token=" + server.SealToken("c0ffee00.9..0.0", aliceOwner(), time.Now()), alice, "delta.resync"},
		{"/api/items/delta?token=" + server.SealToken("nonsense", aliceOwner(), time.Now()), alice, "cursor.invalid"},
		{"/api/items/delta?token=" + server.SealToken(".0..0.0", aliceOwner(), time.Now().Add(-30*24*time.Hour-2*time.Hour)), alice, "delta.resync"},
	} {
		require.Equal(t, tt.code, w.send(t, "GET", tt.path, tt.token, "").code(t), tt.path)
	}
	require.Equal(t, 200, w.send(t, "GET", "/api/items/delta?token="+server.SealToken(".0..0.0", aliceOwner(), time.Now().Add(-30*24*time.Hour+time.Hour)), alice, "").StatusCode)

	w.send(t, "POST", "/api/items", alice, `{"name":"`+strings.Repeat("long ", 30)+`","properties":{"p":"`+strings.Repeat("x", 2000)+`"}}`)
	r = w.send(t, "GET", empty, alice, "", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
	z, err := gzip.NewReader(bytes.NewReader(r.body))
	require.NoError(t, err)
	plain, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Contains(t, string(plain), "deltaLink")
}

func TestOddNames(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	for _, tt := range []struct {
		body   string
		status int
		code   string
	}{
		{`{"name":"a\u0000b"}`, 422, "item.invalid"},
		{"{\"name\":\"a\x00b\"}", 400, "request.malformed"},
		{`{"name":"a\ud800b"}`, 400, "request.malformed"},
		{`{"name":"a\udc00\ud800b"}`, 400, "request.malformed"},
		{"{\"name\":\"a\xed\xa0\x80b\"}", 400, "request.malformed"},
		{`{"name":"` + strings.Repeat(`\ud83d\ude00`, 200) + `"}`, 201, ""},
		{`{"name":"` + strings.Repeat("😀", 201) + `"}`, 422, "item.invalid"},
	} {
		r := w.send(t, "POST", "/api/items", alice, tt.body)
		require.Equal(t, tt.status, r.StatusCode, "%s: %s", tt.body, r.body)
		if tt.code != "" {
			require.Equal(t, tt.code, r.code(t))
			continue
		}
		require.Equal(t, strings.Repeat("😀", 200), r.json(t)["name"])
	}
}

// A change of which nobody can tell whether it was kept says so, and what to do;
// sent again, it is not made twice.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	transaction := func(r *http.Request) bool { return tablestest.Operation(r) == tablestest.OpTransaction }
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, etag, _ := w.made(t, alice, `{"name":"Milk"}`)
	for _, tt := range []struct{ method, path, body, header, value string }{
		{"POST", "/api/items", `{"name":"x"}`, "Idempotency-Key", "k"},
		{"POST", "/api/items/batch", `{"items":[{"name":"x"},{"name":"y"}]}`, "Idempotency-Key", "b"},
		{"PUT", "/api/items/" + id, `{"name":"put"}`, "If-Match", etag},
		{"PATCH", "/api/items/" + id, `{"name":"patched"}`, "If-Match", ""},
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
	r := w.send(t, "POST", "/api/items", alice, `{"name":"x"}`)
	require.Equal(t, 503, r.StatusCode)
	require.NotContains(t, r.json(t), "outcome")
	busy()
}

// A caller's changes are made one after the other, and only so many wait.
func TestOneCallersChangesWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	w.made(t, alice, `{"name":"warm"}`)
	entered, release := make(chan struct{}), make(chan struct{})
	var first sync.Once
	defer w.storage.Inject(tablestest.Fault{Match: func(r *http.Request) bool {
		if tablestest.Operation(r) == tablestest.OpTransaction {
			first.Do(func() {
				close(entered)
				<-release
			})
		}
		return false
	}})()
	codes := make(chan int, 100)
	post := func() {
		codes <- w.send(t, "POST", "/api/items", alice, `{"name":"x"}`).StatusCode
	}
	go post()
	<-entered
	for range 70 {
		go post()
	}
	for range 7 { // 64 are in line
		require.Equal(t, 503, <-codes)
	}
	close(release)
	for range 64 {
		require.Equal(t, 201, <-codes)
	}
	require.Equal(t, 201, w.send(t, "POST", "/api/items", bob, `{"name":"x"}`).StatusCode)
}
