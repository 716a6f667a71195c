// Package itemstest gives tests, and scripts that need an example, contents that package
// items takes, whatever its type Content is: they come from content.samples.json, which
// is replaced together with content.go.
//
// It is never part of the deployed binary.
package itemstest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"itemsapi/handler/items"
)

// Samples are what content.samples.json has.
type Samples struct {
	// Good are valid contents. The first has as little as possible.
	Good []jsontext.Value `json:"good"`
	Bad  []Bad            `json:"bad"`
	// Text points to a required string member that may be any short text, of up to
	// Longest characters.
	Text    string `json:"text"`
	Longest int    `json:"longest"`
	Large   Large  `json:"large"`
	// Filters has for each parameter that selects by content a value.
	Filters map[string]Filter `json:"filters"`
}

// Bad is content that is refused.
type Bad struct {
	Content jsontext.Value `json:"content"`
	// Pointer is where the refusal says that it is wrong.
	Pointer string `json:"pointer"`
	// Schema says that the schema refuses it, too; nil means that it does.
	Schema *bool `json:"schema"`
}

// Large is content that can be made long.
type Large struct {
	Content jsontext.Value `json:"content"`
	// Fill points to a string of at most Characters, at one UTF-16 unit each.
	Fill       string `json:"fill"`
	Characters int    `json:"characters"`
}

// Filter is a value that selects one of the good samples and no other.
type Filter struct {
	Value   string `json:"value"`
	Selects int    `json:"selects"`
}

// Load reads the samples. It panics where they cannot be read.
var Load = sync.OnceValue(func() Samples {
	var s struct {
		Samples
		Description string `json:"description"`
	}
	// A bad sample may be one that has a name twice.
	err := json.Unmarshal([]byte(items.Samples), &s, json.RejectUnknownMembers(true))
	if err != nil {
		panic(fmt.Errorf("content.samples.json: %w", err))
	}
	for i := range s.Good {
		if err := s.Good[i].Compact(); err != nil {
			panic(err)
		}
	}
	return s.Samples
})

// Content is the nth valid content as JSON. All are different.
func Content(n int) string {
	s := Load()
	if n < len(s.Good) {
		return string(s.Good[n])
	}
	return Variant(n, fmt.Sprintf("sample %d", n))
}

// Whole is the valid content with the most members.
func Whole() string {
	count := func(content jsontext.Value) int {
		var members map[string]jsontext.Value
		if err := json.Unmarshal(content, &members); err != nil {
			panic(err)
		}
		return len(members)
	}
	return string(slices.MaxFunc(Load().Good, func(a, b jsontext.Value) int { return count(a) - count(b) }))
}

// Text is valid content, as little as possible, with that text, short, in the member
// that takes any.
func Text(text string) string { return Variant(0, text) }

// Variant is one of the good samples, chosen by n, with that text.
func Variant(n int, text string) string {
	s := Load()
	return set(s.Good[n%len(s.Good)], s.Text, text)
}

// PatchText is a merge patch that changes the text.
func PatchText(text string) string { return set(jsontext.Value("{}"), Load().Text, text) }

// TextOf is the text of an item, or of content, as JSON.
func TextOf(item []byte) string {
	var text string
	if json.Unmarshal(at(item, Load().Text), &text) != nil {
		return ""
	}
	return text
}

// LargeContent is valid content as large as it can be, or some bytes less: its string
// is filled with a character, of one UTF-16 unit. All n are different.
func LargeContent(n int, character string) string {
	l := Load().Large
	return set(l.Content, l.Fill, fmt.Sprintf("%06d", n)+strings.Repeat(character, l.Characters-6))
}

// Draft makes a draft of content as JSON. It panics if that is not valid.
func Draft(content string) items.Draft {
	var members map[string]jsontext.Value
	if err := json.Unmarshal([]byte(content), &members); err != nil {
		panic(err)
	}
	for name, value := range members {
		if err := value.Compact(); err != nil {
			panic(err)
		}
		members[name] = value
	}
	d, err := items.Read(members)
	if err != nil {
		panic(fmt.Errorf("%.200s: %w", content, err))
	}
	return d
}

// at is the value at a JSON Pointer (RFC 6901) into objects, or nil.
func at(v jsontext.Value, pointer string) jsontext.Value {
	for token := range jsontext.Pointer(pointer).Tokens() {
		var members map[string]jsontext.Value
		if json.Unmarshal(v, &members) != nil {
			return nil
		}
		v = members[token]
	}
	return v
}

// set is an object with a text at a JSON Pointer into objects.
func set(v jsontext.Value, pointer, text string) string {
	tokens := slices.Collect(jsontext.Pointer(pointer).Tokens())
	quoted, err := jsontext.AppendQuote(nil, text)
	if err != nil {
		panic(err)
	}
	return string(setAt(v, tokens, quoted))
}

func setAt(v jsontext.Value, tokens []string, value jsontext.Value) jsontext.Value {
	if len(tokens) == 0 {
		return value
	}
	members := map[string]jsontext.Value{}
	if v != nil {
		if err := json.Unmarshal(v, &members); err != nil {
			panic(err)
		}
	}
	members[tokens[0]] = setAt(members[tokens[0]], tokens[1:], value)
	b := jsontext.Value("{")
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if len(b) > 1 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, name)
		b = append(append(b, ':'), members[name]...)
	}
	return append(b, '}')
}
