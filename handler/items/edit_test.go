package items_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

func membersOf(t testing.TB, body string) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(body), &m))
	return m
}

var current = items.Item{
	ID: "019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f50", Name: "Milk", Properties: json.RawMessage(`{"b":1.0,"a":{"x":9007199254740993}}`),
	CreatedAt: time.Date(2026, 11, 26, 17, 0, 0, 120e6, time.UTC), UpdatedAt: time.Date(2026, 11, 26, 18, 0, 0, 0, time.UTC), ETag: `"e"`,
}

const currentStated = `"id":"019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f50","createdAt":"2026-11-26T17:00:00.12Z","updatedAt":"2026-11-26T18:00:00Z","etag":"\"e\""`

func TestEdits(t *testing.T) {
	for _, tt := range []struct {
		name string
		edit func(map[string]json.RawMessage) (items.Edit, error)
		body string
		want items.Draft
		err  string // part of it
	}{
		{"replace", items.Replace, `{"name":"Bread"}`, items.Draft{Name: "Bread"}, ""},
		{"replace an item as read", items.Replace, `{` + currentStated + `,"name":"Milk","properties":{"a":1}}`, items.Draft{Name: "Milk", Properties: json.RawMessage(`{"a":1}`)}, ""},
		{"the same instants", items.Replace, `{"createdAt":"2026-11-26T18:00:00.120+01:00","updatedAt":"2026-11-26T18:00:00.000Z","name":"x"}`, items.Draft{Name: "x"}, ""},
		{"replace without a name", items.Replace, `{"properties":{}}`, items.Draft{}, "/name: required"},
		{"another id", items.Replace, `{"id":"019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f51","name":"x"}`, items.Draft{}, "/id: the server's alone"},
		{"another etag", items.Replace, `{"etag":"e","name":"x"}`, items.Draft{}, "/etag: the server's alone"},
		{"other times", items.Patch, `{"createdAt":"2026-11-26T17:00:00.121Z","updatedAt":7}`, items.Draft{}, "/createdAt: the server's alone"},
		{"null for an id", items.Patch, `{"id":null}`, items.Draft{}, "/id: the server's alone"},

		{"an empty patch", items.Patch, `{}`, items.Draft{Name: "Milk", Properties: current.Properties}, ""},
		{"a patch as read", items.Patch, `{` + currentStated + `}`, items.Draft{Name: "Milk", Properties: current.Properties}, ""},
		{"patch the name", items.Patch, `{"name":"Bread"}`, items.Draft{Name: "Bread", Properties: current.Properties}, ""},
		{"patch properties, digits kept", items.Patch, `{"properties":{"a":{"y":1.50},"c":null}}`, items.Draft{Name: "Milk", Properties: json.RawMessage(`{"b":1.0,"a":{"x":9007199254740993,"y":1.50}}`)}, ""},
		{"remove in the depth", items.Patch, `{"properties":{"a":{"x":null}}}`, items.Draft{Name: "Milk", Properties: json.RawMessage(`{"b":1.0,"a":{}}`)}, ""},
		{"remove properties", items.Patch, `{"properties":null}`, items.Draft{Name: "Milk"}, ""},
		{"nulls in what is new", items.Patch, `{"properties":{"n":{"a":{"b":null,"c":[null,{"d":null}]}}}}`, items.Draft{Name: "Milk", Properties: json.RawMessage(`{"b":1.0,"a":{"x":9007199254740993},"n":{"a":{"c":[null,{"d":null}]}}}`)}, ""},
		{"remove the name", items.Patch, `{"name":null}`, items.Draft{}, "/name: null would remove it"},
		{"a name that is an object", items.Patch, `{"name":{"a":1}}`, items.Draft{}, "/name: must be a string, not an object"},
		{"properties that are none", items.Patch, `{"properties":[]}`, items.Draft{}, "/properties: must be an object, not an array"},
		{"an unknown member", items.Patch, `{"colour":null}`, items.Draft{}, "/colour: unknown member"},
		{"over the limit", items.Patch, `{"properties":{"p":"` + strings.Repeat("x", items.MaxPropertiesLength) + `"}}`, items.Draft{}, "/properties: 32811 UTF-16 units"},
		{"too deep", items.Patch, `{"properties":` + strings.Repeat(`{"a":`, items.MaxPropertiesDepth+1) + `1` + strings.Repeat(`}`, items.MaxPropertiesDepth+1) + `}`, items.Draft{}, "/properties: nested too deep"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, err := tt.edit(membersOf(t, tt.body))
			var got items.Draft
			if err == nil {
				seen := current
				if e.Blind {
					seen.Name, seen.Properties = "not looked at", nil
				}
				got, err = e.Apply(seen)
			}
			if tt.err == "" {
				require.NoError(t, err)
				require.Equal(t, tt.want, got)
				return
			}
			var invalid *items.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.ErrorContains(t, err, tt.err)
		})
	}
}

// patchProperties merges through the only door that there is.
func patchProperties(t testing.TB, target, patch string) (string, error) {
	e, err := items.Patch(map[string]json.RawMessage{"properties": json.RawMessage(patch)})
	if err != nil {
		return "", err
	}
	item := items.Item{Name: "x"}
	if target != "" {
		item.Properties = json.RawMessage(target)
	}
	d, err := e.Apply(item)
	return string(d.Properties), err
}

// The examples of RFC 7396, appendix A, a level deeper, as properties are always
// an object.
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
		{`{"a":"foo"}`, `null`, ``},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		want := `{"p":` + tt[2] + `}`
		if tt[2] == "" {
			want = `{}`
		}
		got, err := patchProperties(t, `{"p":`+tt[0]+`}`, `{"p":`+tt[1]+`}`)
		require.NoError(t, err)
		require.Equal(t, want, got, "%v", tt)
	}
	got, err := patchProperties(t, `{"a\"b":1,"ü":2}`, `{"\u00fc":null,"a\u0022b":{}}`)
	require.NoError(t, err)
	require.Equal(t, `{"a\"b":{}}`, got, "a name may be spelt in several ways")
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
		if !ok1 || !ok2 || len(target)+len(patch) > 10_000 || strings.Count(patch, "{") > 900 {
			return
		}
		got, err := patchProperties(t, target, patch)
		if err != nil {
			require.ErrorContains(t, err, "nested too deep", "%s %s", target, patch)
			return
		}
		var have any
		d := json.NewDecoder(strings.NewReader(got))
		d.UseNumber()
		require.NoError(t, d.Decode(&have), got)
		want := merged(t1, p1)
		require.True(t, reflect.DeepEqual(want, have), fmt.Sprintf("%v\n%v", want, have))
		again, err := patchProperties(t, got, patch)
		require.NoError(t, err)
		require.Equal(t, got, again, "a patch applied twice is one applied once")
	})
}
