package items_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

const currentStated = `"id":"019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f50","createdAt":"2026-11-26T17:00:00.120Z",` +
	`"updatedAt":"2026-11-26T18:00:00.000Z","etag":"\"e\""`

func TestEdits(t *testing.T) {
	tasks := items.FormOf[task]()
	stored, err := tasks.Read(membersOf(t, `{"text":"Milk","done":true,"free":{"b":1.0,"a":{"x":9007199254740993}}}`))
	require.NoError(t, err)
	current := items.Item{
		ID: "019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f50", Draft: stored, ETag: `"e"`,
		CreatedAt: time.Date(2026, 11, 26, 17, 0, 0, 120e6, time.UTC), UpdatedAt: time.Date(2026, 11, 26, 18, 0, 0, 0, time.UTC),
	}
	for _, tt := range []struct{ name, body, want, err string }{
		{"an empty patch", `{}`, stored.Shown(), ""},
		{"a patch as read", `{` + currentStated + `}`, stored.Shown(), ""},
		{"the same instants", `{"createdAt":"2026-11-26T18:00:00.12+01:00","updatedAt":"2026-11-26T18:00:00Z"}`, stored.Shown(), ""},
		{"a member", `{"text":"Bread"}`, `{"text":"Bread","done":true,"free":{"b":1.0,"a":{"x":9007199254740993}}}`, ""},
		{"in the depth, digits kept", `{"free":{"a":{"y":1.50},"c":null}}`, `{"text":"Milk","done":true,"free":{"b":1.0,"a":{"x":9007199254740993,"y":1.50}}}`, ""},
		{"remove in the depth", `{"free":{"a":{"x":null}}}`, `{"text":"Milk","done":true,"free":{"b":1.0,"a":{}}}`, ""},
		{"remove a member", `{"free":null}`, `{"text":"Milk","done":true}`, ""},
		{"nulls in what is new", `{"free":{"n":{"a":{"b":null,"c":[null,{"d":null}]}}}}`, `{"text":"Milk","done":true,"free":{"b":1.0,"a":{"x":9007199254740993},"n":{"a":{"c":[null,{"d":null}]}}}}`, ""},
		{"another id", `{"id":"019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f51"}`, "", "/id: belongs to the server; it is 019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f50"},
		{"another etag", `{"etag":"e"}`, "", "/etag: belongs to the server"},
		{"other times", `{"createdAt":"2026-11-26T17:00:00.121Z","updatedAt":7}`, "", "/createdAt: belongs to the server"},
		{"more than a millisecond says", `{"createdAt":"2026-11-26T17:00:00.1201Z"}`, "", "/createdAt: belongs to the server"},
		{"null for an id", `{"id":null}`, "", "/id: belongs to the server"},
		{"remove what is required", `{"text":null}`, "", "/text: null would remove it, and it is required"},
		{"another type", `{"text":{"a":1}}`, "", "/text: must be a string, not an object"},
		{"unknown", `{"colour":null}`, "", "/colour: unknown member"},
		{"over a bound", `{"text":"abcdef"}`, "", "/text: too long"},
		{"too deep", `{"free":` + strings.Repeat(`{"a":`, 101) + `1` + strings.Repeat(`}`, 101) + `}`, "", "/free: nested too deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tasks.Patch(membersOf(t, tt.body))
			var got items.Draft
			if err == nil {
				require.False(t, e.Blind)
				got, err = e.Apply(current)
			}
			if tt.err == "" {
				require.NoError(t, err)
				require.Equal(t, tt.want, got.Shown())
				return
			}
			var invalid *items.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.ErrorContains(t, err, tt.err)
		})
	}
}

// The examples of RFC 7396, appendix A.
func TestMergePatchExamples(t *testing.T) {
	for _, tt := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"a\"b":1,"ü":2}`, `{"\u00fc":null,"a\u0022b":{}}`, `{"a\"b":{}}`}, // a name spelled in several ways
	} {
		got, err := items.MergePatch(jsontext.Value(tt[0]), jsontext.Value(tt[1]))
		require.NoError(t, err)
		require.Equal(t, tt[2], string(got), "%v", tt)
	}
}

// merged is the pseudo-code of RFC 7396, section 2.
func merged(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(t, name)
		} else {
			t[name] = merged(t[name], value)
		}
	}
	return t
}

func FuzzMergePatch(f *testing.F) {
	f.Add(`{"a":{"b":[1,{"c":"\"}"}]},"d":null}`, `{"a":{"b":null,"e":{"f":null}},"g":"{"}`)
	f.Add(`{}`, `{"":{"":{"":null}}}`)
	f.Fuzz(func(t *testing.T, target, patch string) {
		compact := func(s string) (string, any, bool) {
			var v map[string]any
			d := json.NewDecoder(strings.NewReader(s))
			d.UseNumber()
			if d.Decode(&v) != nil || v == nil || d.More() {
				return "", nil, false
			}
			b, err := json.Marshal(v) // also makes names unique
			return string(b), any(v), err == nil
		}
		target, t1, ok1 := compact(target)
		patch, p1, ok2 := compact(patch)
		if !ok1 || !ok2 || len(target)+len(patch) > 10_000 || strings.Count(patch, "{") > 100 {
			return
		}
		got, err := items.MergePatch(jsontext.Value(target), jsontext.Value(patch))
		require.NoError(t, err)
		var have any
		d := json.NewDecoder(strings.NewReader(string(got)))
		d.UseNumber()
		require.NoError(t, d.Decode(&have), string(got))
		want := merged(t1, p1)
		require.True(t, reflect.DeepEqual(want, have), fmt.Sprintf("%v\n%v", want, have))
		again, err := items.MergePatch(got, jsontext.Value(patch))
		require.NoError(t, err)
		require.Equal(t, string(got), string(again), "a patch applied twice is one applied once")
	})
}
