package items_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
)

func membersOf(t testing.TB, body string) map[string]jsontext.Value {
	var m map[string]jsontext.Value
	require.NoError(t, json.Unmarshal([]byte(body), &m))
	for name, value := range m {
		require.NoError(t, value.Compact())
		m[name] = value
	}
	return m
}

// schema is content.schema.json.
func schema(t testing.TB) (names, required, filters []string, s *openapi3.Schema) {
	var members struct {
		Required   []string                  `json:"required"`
		Properties map[string]jsontext.Value `json:"properties"`
		Additional jsontext.Value            `json:"additionalProperties"`
		Filters    map[string]jsontext.Value `json:"x-filters"`
	}
	require.NoError(t, json.Unmarshal([]byte(items.Schema), &members))
	require.Equal(t, "false", string(members.Additional), "content.schema.json: an unknown member is refused")
	for name := range members.Properties {
		names = append(names, name)
	}
	for name := range members.Filters {
		filters = append(filters, name)
	}
	s = &openapi3.Schema{}
	require.NoError(t, s.UnmarshalJSON([]byte(items.Schema)))
	return names, members.Required, filters, s
}

// A Validate of another form would never be called.
var _ interface{ Validate() []items.Problem } = (*items.Content)(nil)

// What a member is stands in three files: the type, its schema and its samples. One that
// is in one of them and not in another is named here.
func TestContentSchemaAndSamplesAgree(t *testing.T) {
	names, required := items.ContentMembers()
	inSchema, requiredInSchema, filtersInSchema, _ := schema(t)
	samples := itemstest.Load()
	inSamples := map[string]bool{}
	for i, sample := range samples.Good {
		for name := range membersOf(t, string(sample)) {
			inSamples[name] = true
			require.Contains(t, names, name, "content.samples.json: good sample %d has the member %q, which content.go lacks", i, name)
		}
	}
	for _, name := range names {
		require.Contains(t, inSchema, name, "content.schema.json lacks the member %q of content.go", name)
		require.True(t, inSamples[name], "content.samples.json: no good sample has the member %q of content.go", name)
		require.Equal(t, slices.Contains(required, name), slices.Contains(requiredInSchema, name),
			"content.schema.json: %q is required there, or in content.go (no omitzero), but not in both", name)
		require.NotContains(t, []string{"id", "createdAt", "updatedAt", "etag", "deleted", "deletedAt", "merge"}, name,
			"content.go: the member's name %q is the server's own", name)
	}
	for _, name := range inSchema {
		require.Contains(t, names, name, "content.schema.json has the member %q, which content.go lacks", name)
	}
	for name := range items.Filters {
		require.Contains(t, filtersInSchema, name, "content.schema.json: x-filters lacks %q of content.go", name)
		require.Contains(t, samples.Filters, name, "content.samples.json: filters lacks %q of content.go", name)
		require.NotContains(t, []string{"limit", "cursor", "select", "count", "token", "created_after", "created_before"}, name,
			"content.go: the filter's name %q is the server's own", name)
	}
	for _, name := range filtersInSchema {
		require.Contains(t, items.Filters, name, "content.schema.json: x-filters has %q, which content.go lacks", name)
	}
	for name, f := range samples.Filters {
		filter, err := items.Filters[name](f.Value)
		require.NoError(t, err, "content.samples.json: filters: %s", name)
		for i := range samples.Good {
			c, err := itemstest.Draft(itemstest.Content(i)).Typed()
			require.NoError(t, err)
			require.Equal(t, i == f.Selects, filter(&c), "content.samples.json: filters: %s, good sample %d", name, i)
		}
	}
}

func TestSamples(t *testing.T) {
	_, _, _, s := schema(t)
	conforms := func(content jsontext.Value) error {
		var v any
		require.NoError(t, json.Unmarshal(content, &v))
		return s.VisitJSON(v)
	}
	samples := itemstest.Load()
	require.GreaterOrEqual(t, len(samples.Good), 3, "content.samples.json: good")
	seen := map[string]bool{}
	for i := range 3 * len(samples.Good) {
		content := itemstest.Content(i)
		d := itemstest.Draft(content)
		require.False(t, seen[d.Shown()], "content %d is another's", i)
		seen[d.Shown()] = true
		require.NoError(t, conforms(jsontext.Value(content)), "content.schema.json refuses the good sample %s", content)
		for name := range membersOf(t, content) {
			require.Contains(t, membersOf(t, d.Shown()), name, "the member %q of the good sample %d is lost", name, i)
		}
	}
	for i, bad := range samples.Bad {
		_, err := items.Read(membersOf(t, string(bad.Content)))
		var invalid *items.InvalidError
		require.ErrorAs(t, err, &invalid, "content.go takes the bad sample %d", i)
		require.Equal(t, bad.Pointer, invalid.Problems[0].Pointer, "bad sample %d: %v", i, err)
		if bad.Schema == nil || *bad.Schema {
			require.Error(t, conforms(bad.Content), "content.schema.json takes the bad sample %d", i)
		}
	}
	require.Equal(t, "some text", itemstest.TextOf([]byte(itemstest.Text("some text"))))
	itemstest.Draft(itemstest.Text(strings.Repeat("x", samples.Longest)))
	_, err := items.Read(membersOf(t, itemstest.Text(strings.Repeat("x", samples.Longest+1))))
	require.ErrorContains(t, err, samples.Text, "content.samples.json: longest")
	large := itemstest.Draft(itemstest.LargeContent(1, "€"))
	require.LessOrEqual(t, large.Bytes(), items.MaxContent)
}

// task is content of another domain, with members of most types.
type task struct {
	Text  string         `json:"text"`
	Done  bool           `json:"done"`
	Due   time.Time      `json:"due,omitzero"`
	Steps []step         `json:"steps,omitzero"`
	Count int8           `json:"count,omitzero"`
	Free  jsontext.Value `json:"free,omitzero"`
	Maybe *float64       `json:"maybe,omitzero"`
}

type step struct {
	Name string `json:"name"`
}

func (c *task) Validate() (problems []items.Problem) {
	if len(c.Text) > 5 {
		problems = append(problems, items.Problem{Pointer: "/text", Detail: "too long"})
	}
	for _, s := range c.Steps {
		if s.Name == "" {
			problems = append(problems, items.Problem{Pointer: "/steps/0/name", Detail: "empty"})
		}
	}
	return problems
}

func TestRead(t *testing.T) {
	tasks := items.FormOf[task]()
	for _, tt := range []struct{ name, body, want, err string }{
		{"the least", `{"text":"a","done":false}`, `{"text":"a","done":false}`, ""},
		{"false is shown", `{"done":false,"text":""}`, `{"text":"","done":false}`, ""},
		{
			"all", `{"text":"a","done":true,"due":"2026-11-27T10:00:00Z","steps":[{"name":"b"}],"count":-7,"free":{"x":1.50},"maybe":0}`,
			`{"text":"a","done":true,"due":"2026-11-27T10:00:00Z","steps":[{"name":"b"}],"count":-7,"free":{"x":1.50},"maybe":0}`, "",
		},
		{"missing", `{"text":"a"}`, "", "/done: required: true or false"},
		{"null", `{"text":null,"done":true}`, "", "/text: must be a string, not null"},
		{"null where it may be missing", `{"text":"a","done":true,"due":null}`, "", "/due: must be a time as in RFC 3339, such as 2026-11-24T20:26:31.543Z, not null; leave the member out where there is none"},
		{"a number for a string", `{"text":1,"done":true}`, "", "/text: must be a string, not a number"},
		{"a string for a boolean", `{"text":"a","done":"true"}`, "", "/done: must be true or false, not a string"},
		{"no time", `{"text":"a","done":true,"due":"tomorrow"}`, "", "/due: must be a time as in RFC 3339"},
		{"too large a number", `{"text":"a","done":true,"count":1000}`, "", "/count: must be a whole number (int8)"},
		{"a fraction", `{"text":"a","done":true,"count":1.5}`, "", "/count: must be a whole number (int8)"},
		{"in the depth", `{"text":"a","done":true,"steps":[{"name":1}]}`, "", "/steps/0/name: must be a string, not a number"},
		{"unknown in the depth", `{"text":"a","done":true,"steps":[{"nom":"x"}]}`, "", "/steps/0/nom: unknown member"},
		{"unknown", `{"text":"a","done":true,"Text":"b"}`, "", "/Text: unknown member; an item has text, done, due, steps, count, free, maybe"},
		{"too deep", `{"text":"a","done":true,"free":` + strings.Repeat("[", 101) + strings.Repeat("]", 101) + `}`, "", "/free: nested too deep; at most 100 levels are allowed"},
		{"its own bounds", `{"text":"abcdef","done":1}`, "", "/done: must be true or false, not a number; /text: too long"},
		{"said once", `{"text":"a","done":true,"steps":[{"name":1}]}`, "", "invalid item; /steps/0/name: must be a string, not a number"},
		{"too large", `{"text":"a","done":true,"free":"` + strings.Repeat("x", items.MaxContent) + `"}`, "", "has 196642 bytes as JSON; at most 196608 are kept"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := tasks.Read(membersOf(t, tt.body))
			if tt.err != "" {
				var invalid *items.InvalidError
				require.ErrorAs(t, err, &invalid)
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, d.Shown())
		})
	}
}

// A type that grows, shrinks or changes: nothing stored is lost, and nothing is refused.
func TestStoredContentOfAnotherType(t *testing.T) {
	type before struct {
		Text string `json:"text"`
		Old  int    `json:"old"`
		Done string `json:"done"`
	}
	first, err := items.FormOf[before]().Read(membersOf(t, `{"text":"a","old":1,"done":"yes"}`))
	require.NoError(t, err)
	tasks := items.FormOf[task]()
	now, leftOut, err := tasks.FromStore(first.Stored())
	require.NoError(t, err)
	require.Equal(t, `{"text":"a","done":false}`, now.Shown())
	require.Equal(t, []string{"done", "old"}, leftOut)
	require.Equal(t, `{"old":1}`, now.Kept())

	e, err := tasks.Patch(membersOf(t, `{"done":true}`))
	require.NoError(t, err)
	patched, err := e.Apply(items.Item{Draft: now})
	require.NoError(t, err)
	require.Equal(t, `{"text":"a","done":true}`, patched.Shown())
	again, leftOut, err := items.FormOf[before]().FromStore(patched.Stored())
	require.NoError(t, err)
	require.Equal(t, `{"text":"a","old":1,"done":""}`, again.Shown(), "a patch keeps what the type lacks")
	require.Equal(t, []string{"done"}, leftOut)

	same, leftOut, err := tasks.FromStore(patched.Stored())
	require.NoError(t, err)
	require.Equal(t, patched.Shown(), same.Shown())
	require.Equal(t, []string{"old"}, leftOut)

	_, _, err = tasks.FromStore(`{"text":`, "another")
	require.Error(t, err)
}

// What is kept aside needs room, too: content that no longer fits together is refused,
// as half of it would be kept otherwise.
func TestKeptMembersNeedRoom(t *testing.T) {
	type before struct {
		Old string `json:"old"`
	}
	half := strings.Repeat("x", items.MaxContent/2)
	first, err := items.FormOf[before]().Read(membersOf(t, `{"old":"`+half+`"}`))
	require.NoError(t, err)
	tasks := items.FormOf[task]()
	now, _, err := tasks.FromStore(first.Stored())
	require.NoError(t, err)
	for n, fits := range map[int]bool{1000: true, 100: true, 10: false} {
		e, err := tasks.Patch(membersOf(t, `{"text":"a","free":"`+half[n:]+`"}`))
		require.NoError(t, err)
		patched, err := e.Apply(items.Item{Draft: now})
		if !fits {
			var invalid *items.InvalidError
			require.ErrorAs(t, err, &invalid)
			require.ErrorContains(t, err, "of which 98314 are members from before")
			continue
		}
		require.NoError(t, err)
		text, _ := patched.Stored()
		require.LessOrEqual(t, len(text), items.MaxContent)
	}
}

// Content in the store is accepted exactly where an item is valid JSON with it, which has
// no name twice: none of the server's own, however it is written.
func FuzzStoredContent(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"name":"a"}`, `{"name":"\"","id":1}`, `{"name":"\"}`, `{"name":"\\","etag":1}`, `{"id":1}`, `{"\u0069d":1}`, `{"name":"id"}`,
		`{"properties":{"id":1,"a":["etag",{"b":","}]},"n":"x"}`, `{"a":["id","etag"],"updatedAt":2}`, `{"a":1,"a":2}`,
		`{ "name":"a"}`, `{"name":"a"} `, `["id"]`, `"{\"}"`, `{"name":`, ``, `{"a\"b":1,"id":2}`, `{"a":{"b":1},"etag":[]}`,
	} {
		f.Add(text)
	}
	tasks := items.FormOf[task]()
	first, err := tasks.Read(map[string]jsontext.Value{"text": jsontext.Value(`"a"`), "done": jsontext.Value(`true`)})
	require.NoError(f, err)
	_, shape := first.Stored()
	f.Fuzz(func(t *testing.T, text string) {
		valid := text == "{}"
		if !valid && strings.HasPrefix(text, `{"`) && strings.HasSuffix(text, "}") && jsontext.Value(text).IsValid() {
			valid = jsontext.Value(`{"id":1,"createdAt":1,"updatedAt":1,"etag":1,` + text[1:]).IsValid()
		}
		_, _, err := tasks.FromStore(text, shape)
		require.Equal(t, valid, err == nil)
	})
}
