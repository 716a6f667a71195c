package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/tables/tablestest"
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// with puts members before those of an object.
func with(members, object string) string {
	if object == "{}" {
		return "{" + members + "}"
	}
	return "{" + members + "," + object[1:]
}

func pointersIn(t testing.TB, r reply) (all []any) {
	for _, e := range r.json(t)["errors"].([]any) {
		all = append(all, e.(map[string]any)["pointer"])
	}
	return all
}

func changes(each ...string) string { return `{"changes":[` + strings.Join(each, ",") + `]}` }

func values(t testing.TB, r reply) (all []map[string]any) {
	for _, v := range r.json(t)["value"].([]any) {
		all = append(all, v.(map[string]any))
	}
	return all
}

func TestBatchOfChanges(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	var ids, tags []string
	for i := range 4 {
		id, tag, _ := w.made(t, alice, itemstest.Content(i))
		ids, tags = append(ids, id), append(tags, fmt.Sprintf("%q", tag))
	}
	id := newID()
	body := changes(
		`{"create":`+itemstest.Text("new")+`}`,
		`{"create":`+with(`"id":"`+id+`"`, itemstest.Text("own"))+`}`,
		`{"replace":`+with(`"id":"`+ids[0]+`","etag":`+tags[0], itemstest.Text("replaced"))+`}`,
		`{"patch":{"id":"`+ids[1]+`","etag":`+tags[1]+`,"merge":`+itemstest.PatchText("patched")+`}}`,
		`{"delete":{"id":"`+ids[2]+`","etag":`+tags[2]+`}}`,
		`{"delete":{"id":"`+ids[3]+`","etag":"*"}}`,
	)
	r := w.send(t, "POST", "/api/items/batch", alice, body, "Idempotency-Key", "k")
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	made := values(t, r)
	require.Len(t, made, 6)
	require.Equal(t, id, made[1]["id"])
	for i, text := range []string{"new", "own", "replaced", "patched"} {
		got := w.send(t, "GET", "/api/items/"+made[i]["id"].(string), alice, "")
		require.Equal(t, made[i], got.json(t))
		require.Equal(t, text, itemstest.TextOf(got.body))
	}
	require.Equal(t, true, made[4]["deleted"])
	require.Equal(t, ids[3], made[5]["id"])
	require.EqualValues(t, 4, w.send(t, "GET", "/api/items?count=true", alice, "").json(t)["count"])

	// Again with its key: id and etag of then, and deletions whole.
	w.send(t, "DELETE", "/api/items/"+id, alice, "", "If-Match", "*")
	again := w.send(t, "POST", "/api/items/batch", alice, body, "Idempotency-Key", "k")
	require.Equal(t, 200, again.StatusCode, "%s", again.body)
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	require.Empty(t, again.Header.Get("Preference-Applied"))
	for i, v := range values(t, again) {
		if i < 4 {
			require.Equal(t, map[string]any{"id": made[i]["id"], "etag": made[i]["etag"]}, v)
		} else {
			require.Equal(t, made[i], v)
		}
	}
	require.Equal(t, "idempotency.key_reused", w.send(t, "POST", "/api/items/batch", alice, changes(`{"create":`+itemstest.Text("x")+`}`), "Idempotency-Key", "k").code(t))

	r = w.send(t, "POST", "/api/items/batch", alice, changes(`{"create":`+itemstest.Text("x")+`}`, `{"delete":{"id":"`+ids[0]+`","etag":"*"}}`), "Prefer", "return=minimal")
	require.Equal(t, "return=minimal", r.Header.Get("Preference-Applied"))
	require.Len(t, values(t, r)[0], 2)
	require.Len(t, values(t, r)[1], 3)
}

func TestBatchOfChangesThatFail(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	id, tag, _ := w.made(t, alice, itemstest.Content(0))
	gone, goneTag, _ := w.made(t, alice, itemstest.Content(1))
	w.send(t, "DELETE", "/api/items/"+gone, alice, "", "If-Match", goneTag)
	other, _, _ := w.made(t, alice, itemstest.Content(2))
	r := w.send(t, "POST", "/api/items/batch", alice, changes(
		`{"create":`+itemstest.Text("new")+`}`,
		`{"delete":{"id":"`+id+`","etag":"\"x\""}}`,
		`{"create":`+with(`"id":"`+gone+`"`, itemstest.Text("own"))+`}`,
		`{"delete":{"id":"`+newID()+`","etag":"*"}}`,
		`{"replace":`+with(`"id":"`+other+`","etag":"*","createdAt":"2020-01-01T00:00:00.000Z"`, itemstest.Text("replaced"))+`}`,
		`{"delete":{"id":"X","etag":"*"}}`,
	))
	require.Equal(t, 412, r.StatusCode, "%s", r.body)
	problem := r.json(t)
	require.Equal(t, "item.changed", problem["code"])
	require.Contains(t, problem["detail"], "Nothing was changed")
	var got [][2]any
	for _, e := range problem["errors"].([]any) {
		e := e.(map[string]any)
		require.NotEmpty(t, e["detail"])
		got = append(got, [2]any{e["pointer"], e["code"]})
	}
	require.Equal(t, [][2]any{
		{"/changes/1", "item.changed"},
		{"/changes/2", "item.deleted"},
		{"/changes/3", "item.not_found"},
		{"/changes/4/replace/createdAt", "item.invalid"},
		{"/changes/5", "item.not_found"},
	}, got)
	require.EqualValues(t, 2, w.send(t, "GET", "/api/items?count=true", alice, "").json(t)["count"])

	// What can be seen before is said of all at once.
	create := `{"create":` + itemstest.Content(0) + `}`
	early := "0199a5a0-0000-7000-8000-000000000000"
	for body, pointers := range map[string][]string{
		`{}`: {"/items"},
		`{"items":[` + itemstest.Content(0) + `],"changes":[` + create + `]}`: {"/changes"},
		`{"changes":{}}`: {"/changes"},
		`{"changes":[]}`: {"/changes"},
		changes(strings.Split(strings.Repeat(create+"\n", 41), "\n")[:41]...):                                                                              {"/changes"},
		changes(create, `7`, `{}`, `{"create":{},"delete":{}}`, `{"upsert":{}}`, `{"create":[]}`):                                                          {"/changes/1", "/changes/2", "/changes/3", "/changes/4", "/changes/5/create"},
		changes(`{"delete":{}}`, `{"delete":{"id":7,"etag":7}}`, `{"delete":{"id":"x","etag":"x","now":1}}`):                                               {"/changes/0/delete/id", "/changes/0/delete/etag", "/changes/1/delete/id", "/changes/1/delete/etag", "/changes/2/delete/etag", "/changes/2/delete/now"},
		changes(`{"patch":{"id":"`+id+`","etag":"*"}}`, `{"patch":{"id":"x","etag":"*","merge":{"nosuch":1}}}`):                                            {"/changes/0/patch/merge", "/changes/1/patch/merge/nosuch"},
		changes(create, `{"create":`+with(`"id":"x"`, itemstest.Text("x"))+`}`, `{"create":`+with(`"id":"`+early+`","nosuch":1`, itemstest.Text("x"))+`}`): {"/changes/1/create/id", "/changes/2/create/id", "/changes/2/create/nosuch"},
		changes(`{"delete":{"id":"`+id+`","etag":"*"}}`, create, `{"delete":{"id":"`+id+`","etag":`+fmt.Sprintf("%q", tag)+`}}`):                           {"/changes/2/delete/id"},
	} {
		r := w.send(t, "POST", "/api/items/batch", alice, body)
		require.Equal(t, 422, r.StatusCode, "%s: %s", body, r.body)
		var got []string
		for _, e := range r.json(t)["errors"].([]any) {
			got = append(got, e.(map[string]any)["pointer"].(string))
		}
		require.Equal(t, pointers, got, body)
	}
	r = w.send(t, "POST", "/api/items/batch", alice, changes(`{"create":`+with(`"id":"`+early+`"`, itemstest.Text("x"))+`}`))
	require.Contains(t, string(r.body), "here it is "+time.Now().UTC().Format("2006-01-02"))
	for i, bad := range itemstest.Load().Bad {
		r := w.send(t, "POST", "/api/items/batch", alice, changes(create, `{"create":`+string(bad.Content)+`}`))
		require.Equal(t, "/changes/1/create"+bad.Pointer, r.json(t)["errors"].([]any)[0].(map[string]any)["pointer"], "bad sample %d", i)
	}
	require.EqualValues(t, 2, w.send(t, "GET", "/api/items?count=true", alice, "").json(t)["count"])
}

func TestPutCreates(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	id := newID()
	path := "/api/items/" + id
	create := func(token, body string, headers ...string) reply {
		return w.send(t, "PUT", path, token, body, append([]string{"If-None-Match", "*"}, headers...)...)
	}
	r := create(alice, itemstest.Text("x"))
	require.Equal(t, 201, r.StatusCode, "%s", r.body)
	require.Equal(t, path, r.Header.Get("Location"))
	require.Equal(t, r.json(t)["etag"], r.Header.Get("ETag"))
	require.Equal(t, string(r.body), string(w.send(t, "GET", path, alice, "").body))
	again := create(alice, " "+itemstest.Text("x"))
	require.Equal(t, 201, again.StatusCode)
	require.Equal(t, string(r.body), string(again.body))
	minimal := create(alice, itemstest.Text("x"), "Prefer", "return=minimal")
	require.Equal(t, 201, minimal.StatusCode)
	require.Len(t, minimal.json(t), 2)
	other := create(alice, itemstest.Text("y"))
	require.Equal(t, 412, other.StatusCode)
	require.Equal(t, "item.exists", other.code(t))

	changed := w.send(t, "PUT", path, alice, itemstest.Text("z"), "If-Match", r.Header.Get("ETag"))
	require.Equal(t, 200, changed.StatusCode)
	require.Equal(t, "item.exists", create(alice, itemstest.Text("x")).code(t), "it was changed since")
	require.Equal(t, 201, create(bob, with(`"id":"`+id+`"`, itemstest.Text("bob's"))).StatusCode, "as if it did not exist")
	w.send(t, "DELETE", path, alice, "", "If-Match", "*")
	deleted := create(alice, itemstest.Text("x"))
	require.Equal(t, 410, deleted.StatusCode)
	require.Equal(t, "item.deleted", deleted.code(t))

	for _, bad := range []string{"x", strings.ToUpper(newID()), "0199a5a0-0000-7000-8000-000000000000", "47840c35-e986-468b-8d2c-e25aa02d3d08"} {
		r := w.send(t, "PUT", "/api/items/"+bad, alice, itemstest.Text("x"), "If-None-Match", "*")
		require.Equal(t, 422, r.StatusCode, bad)
		require.Equal(t, "/id", r.json(t)["errors"].([]any)[0].(map[string]any)["pointer"])
	}
	path = "/api/items/" + newID()
	for body, pointer := range map[string]string{
		with(`"id":"`+id+`"`, itemstest.Text("x")): "/id",
		with(`"id":7`, itemstest.Text("x")):        "/id",
		with(`"etag":"x"`, itemstest.Text("x")):    "/etag",
	} {
		r := create(alice, body)
		require.Equal(t, 422, r.StatusCode, body)
		require.Equal(t, []any{pointer}, pointersIn(t, r))
	}
	require.Equal(t, 428, w.send(t, "PUT", path, alice, itemstest.Text("x"), "If-None-Match", `"x"`).StatusCode)
	require.Equal(t, 428, w.send(t, "PATCH", path, alice, `{}`, "If-None-Match", "*").StatusCode)
	require.Equal(t, 415, create(alice, `x`, "Content-Type", "text/plain").StatusCode)
	require.Equal(t, 403, create(w.token(t, "alice", "read"), itemstest.Text("x")).StatusCode)
	require.Equal(t, 404, w.send(t, "GET", path, alice, "").StatusCode)
}

func TestCount(t *testing.T) {
	w := newWorld(t)
	alice := w.token(t, "alice")
	require.Zero(t, w.send(t, "GET", "/api/items?count=true", alice, "").json(t)["count"])
	for i := range 3 {
		w.made(t, alice, itemstest.Content(i))
	}
	r := w.send(t, "GET", "/api/items?count=true&limit=2&select=id", alice, "")
	require.EqualValues(t, 3, r.json(t)["count"])
	next := r.json(t)["nextLink"].(string)
	require.NotContains(t, next, "count")
	require.NotContains(t, w.send(t, "GET", next, alice, "").json(t), "count")
	require.EqualValues(t, 3, w.send(t, "GET", next+"&count=true", alice, "").json(t)["count"])
	require.NotContains(t, w.send(t, "GET", "/api/items?count=false", alice, "").json(t), "count")
	for _, query := range []string{"count=1", "count=", "count=TRUE", "count=true&created_after=2026-01-01T00:00:00Z"} {
		require.Equal(t, "parameter.invalid", w.send(t, "GET", "/api/items?"+query, alice, "").code(t), query)
	}
	require.Equal(t, "parameter.unknown", w.send(t, "GET", "/api/items/delta?count=true", alice, "").code(t))
}

func TestErase(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	const confirm = `{"confirm":"erase everything"}`
	r := w.send(t, "POST", "/api/items/erase", alice, confirm)
	require.Equal(t, 200, r.StatusCode, "%s", r.body)
	require.Equal(t, map[string]any{"erased": 0.0, "more": false}, r.json(t))
	id, tag, _ := w.made(t, alice, itemstest.Content(0))
	w.made(t, alice, itemstest.Content(1))
	w.made(t, bob, itemstest.Content(1))
	_, link := w.sync(t, alice, "/api/items/delta")
	for body, status := range map[string]int{
		`{}`: 422, `{"confirm":true}`: 422, `{"confirm":"Erase everything"}`: 422, `{"confirm":"erase everything","now":true}`: 422, `x`: 400, ``: 415,
	} {
		require.Equal(t, status, w.send(t, "POST", "/api/items/erase", alice, body).StatusCode, body)
	}
	require.Equal(t, 403, w.send(t, "POST", "/api/items/erase", w.token(t, "alice", "read"), confirm).StatusCode)
	require.Equal(t, 405, w.send(t, "GET", "/api/items/erase", alice, "").StatusCode)
	require.EqualValues(t, 2, w.send(t, "GET", "/api/items?count=true", alice, "").json(t)["count"])

	before := time.Now().Add(-time.Millisecond)
	r = w.send(t, "POST", "/api/items/erase", alice, confirm)
	require.Equal(t, map[string]any{"erased": 2.0, "more": false}, r.json(t))
	require.Empty(t, values(t, w.send(t, "GET", "/api/items?count=true", alice, "")))
	require.Len(t, values(t, w.send(t, "GET", "/api/items", bob, "")), 1)
	r = w.send(t, "GET", link, alice, "")
	require.Equal(t, 410, r.StatusCode)
	require.Equal(t, "delta.resync", r.code(t))
	at, err := time.Parse(time.RFC3339, r.json(t)["erasedAt"].(string))
	require.NoError(t, err)
	require.WithinRange(t, at, before, time.Now())
	require.Equal(t, 404, w.send(t, "PUT", "/api/items/"+id, alice, itemstest.Text("x"), "If-Match", tag).StatusCode)
	require.Equal(t, "item.deleted", w.send(t, "PUT", "/api/items/"+id, alice, itemstest.Text("x"), "If-None-Match", "*").code(t))
	require.Equal(t, 201, w.send(t, "PUT", "/api/items/"+newID(), alice, itemstest.Text("x"), "If-None-Match", "*").StatusCode)

	// Who comes with a token that has expired learns it, too.
	old := "/api/items/delta?token=" + server.SealToken(".0..0.0", aliceOwner(), time.Now().Add(-31*24*time.Hour))
	require.Equal(t, at.Format(time.RFC3339), mustTime(t, w.send(t, "GET", old, alice, "").json(t)["erasedAt"]).Format(time.RFC3339))

	// A storage that fails in the middle: the next call goes on.
	for i := range 3 {
		w.made(t, alice, itemstest.Content(i))
	}
	remove := w.storage.Inject(tablestest.Fault{Status: 503, RetryAfter: 30, Match: func(r *http.Request) bool {
		return tablestest.Operation(r) == tablestest.OpTransaction
	}})
	r = w.send(t, "POST", "/api/items/erase", alice, confirm)
	require.Equal(t, 503, r.StatusCode)
	remove()
	require.EqualValues(t, 4, w.send(t, "POST", "/api/items/erase", alice, confirm).json(t)["erased"])
}

func mustTime(t testing.TB, v any) time.Time {
	at, err := time.Parse(time.RFC3339, v.(string))
	require.NoError(t, err)
	return at
}
