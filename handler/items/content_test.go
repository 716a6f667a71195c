package items_test

// What is tested here is the domain's own: it is replaced with content.go. That the
// samples are taken and refused as they say is tested in form_test.go.

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

func TestContent(t *testing.T) {
	properties := func(units int) string { // 😀 is two units and four bytes; {"p":""} is eight of each
		return `{"name":"x","properties":{"p":"` + strings.Repeat("😀", (units-8)/2) + `"}}`
	}
	levels := func(n int) string {
		return `{"name":"x","properties":{"]\\\"[":` + strings.Repeat("[", n-1) + `"[[{"` + strings.Repeat("]", n-1) + `}}`
	}
	type problems = []items.Problem
	for _, tt := range []struct {
		name, body string
		want       problems
	}{
		{"200 code points, not bytes", `{"name":"` + strings.Repeat("ü", 200) + `"}`, nil},
		{"a long name", `{"name":"` + strings.Repeat("x", 201) + `"}`, problems{{"/name", "has 201 characters; at most 200 are allowed"}}},
		{"an empty name", `{"name":""}`, problems{{"/name", "must have 1 to 200 characters"}}},
		{"a control character", `{"name":"a\u0085b"}`, problems{{"/name", "must not contain control characters, such as U+0085"}}},
		{"properties of another type", `{"name":"x","properties":[1]}`, problems{{"/properties", "must be an object, not an array"}}},
		{"32,768 units", properties(32_768), nil},
		{"32,770 units", properties(32_770), problems{{"/properties", "has 32770 UTF-16 units without whitespace; at most 32768 are allowed"}}},
		{"32 levels", levels(32), nil},
		{"33 levels", levels(33), problems{{"/properties", "nested too deep; at most 32 levels are allowed"}}},
		{"the greatest number", `{"name":"x","properties":{"a":1.7976931348623157e308,"b":-1.7976931348623157E+308}}`, nil},
		{"a greater one", `{"name":"x","properties":{"a":[-1e400]}}`, problems{{"/properties", "has a number, -1e400, beyond the greatest that most readers take, some 1.8e308"}}},
		{"a greater one without an exponent", `{"name":"x","properties":{"a":1` + strings.Repeat("0", 309) + `}}`, problems{{"/properties", "has a number, 10000000000000000000…, beyond the greatest that most readers take, some 1.8e308"}}},
		{"a long one that is not", `{"name":"x","properties":{"a":0.` + strings.Repeat("0", 400) + `1}}`, nil},
		{"everything at once", `{"Name":"x","a/b~c":1,"properties":"p"}`, problems{
			{"/Name", "unknown member; an item has name, properties"},
			{"/a~1b~0c", "unknown member; an item has name, properties"},
			{"/name", "required: a string"},
			{"/properties", "must be an object, not a string"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := items.Read(membersOf(t, tt.body))
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			var invalid *items.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.Equal(t, tt.want, invalid.Problems)
		})
	}
}
