package items_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

func TestDecodeDraft(t *testing.T) {
	type problems = []items.Problem
	for _, tt := range []struct {
		name string
		body string
		want items.Draft
		err  problems
	}{
		{name: "name alone", body: `{"name":"Milk"}`, want: items.Draft{Name: "Milk"}},
		{name: "with properties", body: `{"name":"Milk","properties":{"fat":3.50}}`, want: items.Draft{Name: "Milk", Properties: json.RawMessage(`{"fat":3.50}`)}},
		{name: "200 code points, not bytes", body: `{"name":"` + strings.Repeat("ü", 200) + `"}`, want: items.Draft{Name: strings.Repeat("ü", 200)}},
		{name: "no name", body: `{}`, err: problems{{Pointer: "/name", Detail: "required: a string of 1 to 200 characters"}}},
		{name: "empty name", body: `{"name":""}`, err: problems{{Pointer: "/name", Detail: "must not be empty; 1 to 200 characters"}}},
		{name: "long name", body: `{"name":"` + strings.Repeat("x", 201) + `"}`, err: problems{{Pointer: "/name", Detail: "201 characters long; at most 200 fit"}}},
		{name: "control character", body: `{"name":"a\u0085b"}`, err: problems{{Pointer: "/name", Detail: "must not contain control characters, such as U+0085"}}},
		{name: "name of another type", body: `{"name":7}`, err: problems{{Pointer: "/name", Detail: "must be a string, not a number"}}},
		{name: "null name", body: `{"name":null}`, err: problems{{Pointer: "/name", Detail: "must be a string, not null"}}},
		{name: "properties of another type", body: `{"name":"x","properties":[1]}`, err: problems{{Pointer: "/properties", Detail: "must be an object, not an array; leave the member out where there is none"}}},
		{
			name: "everything wrong at once", body: `{"Name":"x","a/b~c":1,"properties":"p"}`,
			err: problems{
				{Pointer: "/Name", Detail: "unknown member; an item has name and properties"},
				{Pointer: "/a~1b~0c", Detail: "unknown member; an item has name and properties"},
				{Pointer: "/name", Detail: "required: a string of 1 to 200 characters"},
				{Pointer: "/properties", Detail: "must be an object, not a string; leave the member out where there is none"},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var members map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(tt.body), &members))
			var d items.Draft
			err := d.Decode(members)
			if tt.err != nil {
				var invalid *items.InvalidError
				require.ErrorAs(t, err, &invalid)
				require.Equal(t, tt.err, invalid.Problems)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, d)
		})
	}
}

func TestPropertiesAreCountedInUTF16Units(t *testing.T) {
	object := func(units int) map[string]json.RawMessage {
		// 😀 is two units and four bytes; {"p":""} is eight of each.
		s := strings.Repeat("😀", (units-8)/2)
		return map[string]json.RawMessage{"name": json.RawMessage(`"x"`), "properties": json.RawMessage(`{"p":"` + s + `"}`)}
	}
	var d items.Draft
	require.NoError(t, d.Decode(object(items.MaxPropertiesLength)))
	require.ErrorContains(t, d.Decode(object(items.MaxPropertiesLength+2)), "32770 UTF-16 units long")
}

func TestPropertiesNestSoDeep(t *testing.T) {
	object := func(levels int) map[string]json.RawMessage {
		return map[string]json.RawMessage{
			"name":       json.RawMessage(`"x"`),
			"properties": json.RawMessage(`{"]\\\"[":` + strings.Repeat("[", levels-1) + `"[[{"` + strings.Repeat("]", levels-1) + `}`),
		}
	}
	var d items.Draft
	require.NoError(t, d.Decode(object(items.MaxPropertiesDepth)))
	require.ErrorContains(t, d.Decode(object(items.MaxPropertiesDepth+1)), "at most 1000 levels")
}
