package items

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// This file is the one to replace with your own domain, with content.schema.json and
// content.samples.json beside it: what an item is about, its bounds, and the filters
// of the list. Everything else that depends on a member takes it from here; docs/your-own-domain.md
// shows how.

// Content is what clients say of an item. Each field has a JSON name. One without
// omitzero is required when an item is created or replaced, and always shown.
type Content struct {
	// Name has 1 to 200 code points and no control characters.
	Name string `json:"name"`
	// Properties is any JSON object of up to 32,768 UTF-16 units, not counting
	// insignificant whitespace, and 32 levels. Its numbers keep their digits.
	Properties jsontext.Value `json:"properties,omitzero"`
}

const (
	maxNameLength       = 200
	maxPropertiesLength = 32_768
	maxPropertiesDepth  = 32
)

// Validate returns what is wrong with content whose members have the right types.
func (c *Content) Validate() (problems []Problem) {
	if detail := checkName(c.Name); detail != "" {
		problems = append(problems, Problem{"/name", detail})
	}
	if c.Properties != nil {
		if detail := checkProperties(c.Properties); detail != "" {
			problems = append(problems, Problem{"/properties", detail})
		}
	}
	return problems
}

// Filters are the parameters of the list that select items by their content. Each
// reads its value, and returns what an item must be like.
var Filters = map[string]func(value string) (func(*Content) bool, error){
	"name": func(value string) (func(*Content) bool, error) {
		return func(c *Content) bool { return c.Name == value }, checkNameFilter(value)
	},
	"name_prefix": func(value string) (func(*Content) bool, error) {
		return func(c *Content) bool { return strings.HasPrefix(c.Name, value) }, checkNameFilter(value)
	},
}

func checkName(name string) string {
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return fmt.Sprintf("must have 1 to %d characters", maxNameLength)
	case n > maxNameLength:
		return fmt.Sprintf("has %d characters; at most %d are allowed", n, maxNameLength)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Sprintf("must not contain control characters, such as %U", r)
		}
	}
	return ""
}

func checkNameFilter(value string) error {
	if n := utf8.RuneCountInString(value); n == 0 || n > maxNameLength {
		return fmt.Errorf("must have 1 to %d characters", maxNameLength)
	}
	return nil
}

func checkProperties(properties jsontext.Value) string {
	if properties.Kind() != '{' {
		return "must be an object, not " + kindOf(properties)
	}
	if n := utf16Length(properties); n > maxPropertiesLength {
		return fmt.Sprintf("has %d UTF-16 units without whitespace; at most %d are allowed", n, maxPropertiesLength)
	}
	if err := checkTree(properties, maxPropertiesDepth); err != nil {
		return err.Error()
	}
	return ""
}
