// Package items is the domain: what an item is, what makes one valid, and what
// the API needs of whoever keeps items.
//
// It does no I/O and knows neither HTTP nor Azure. This file is the one to
// change when "items" becomes your own thing: the members of an [Item], what a
// client may say of one ([Draft]), and the rules in [Draft.Decode]. Then follow
// the compiler: how an item is stored is handler/tables/entity.go, and what
// comes out as JSON is the struct tags below.
package items

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of an item's members.
const (
	// MaxNameLength is the most code points a name may have.
	MaxNameLength = 200
	// MaxPropertiesLength is the most UTF-16 code units that properties may
	// have as JSON without the blanks between tokens. It is the size of a
	// string property in Azure Table Storage (64 KiB of UTF-16).
	MaxPropertiesLength = 32_768
	// MaxPropertiesDepth is how deep properties may nest. Readers of JSON give up
	// somewhere, Go's at 10,000 levels: an item that was taken at that depth
	// could not be listed, where it stands three levels deeper.
	MaxPropertiesDepth = 1000
)

// Item is one item as clients see it. A zero field is one that a client did not
// select; no stored item has any but Properties.
type Item struct {
	// ID is a UUIDv7 (RFC 9562, section 5.7) in lower case, made by the store.
	ID string `json:"id,omitzero"`
	// Name has 1 to [MaxNameLength] code points and no control characters.
	Name string `json:"name,omitzero"`
	// Properties is a JSON object without blanks between tokens, or nil.
	Properties json.RawMessage `json:"properties,omitzero"`
	// CreatedAt is the time in the ID: UTC, whole milliseconds.
	CreatedAt time.Time `json:"createdAt,omitzero"`
	// UpdatedAt is the time of the last change: UTC, whole milliseconds.
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
	// ETag is a strong entity tag (RFC 9110, section 8.8.3), quotes included.
	// Every change gives the item another.
	ETag string `json:"etag,omitzero"`
}

// Draft is what a client says of an item: everything that is not the server's.
type Draft struct {
	Name       string
	Properties json.RawMessage
}

// Decode fills d from the members of a client's JSON object. Each value must be
// valid JSON without blanks between tokens, and its objects' names unique.
// It returns an [*InvalidError] that lists everything that is wrong.
func (d *Draft) Decode(members map[string]json.RawMessage) error {
	problems := unknownMembers(members)
	report := func(pointer, format string, args ...any) {
		problems = append(problems, Problem{Pointer: pointer, Detail: fmt.Sprintf(format, args...)})
	}

	if raw, ok := members["name"]; !ok {
		report("/name", "required: a string of 1 to %d characters", MaxNameLength)
	} else if raw[0] != '"' {
		report("/name", "must be a string, not %s", kindOf(raw))
	} else if err := json.Unmarshal(raw, &d.Name); err != nil {
		report("/name", "must be a string: %v", err)
	} else if detail := checkName(d.Name); detail != "" {
		report("/name", "%s", detail)
	}

	if raw, ok := members["properties"]; ok {
		if raw[0] != '{' {
			report("/properties", "must be an object, not %s; leave the member out where there is none", kindOf(raw))
		} else if n := utf16Length(raw); n > MaxPropertiesLength {
			report("/properties", "%d UTF-16 units long without blanks; at most %d fit", n, MaxPropertiesLength)
		} else if depth(raw) > MaxPropertiesDepth {
			report("/properties", "nested too deep; at most %d levels", MaxPropertiesDepth)
		} else {
			d.Properties = raw
		}
	}

	if problems != nil {
		return &InvalidError{Problems: problems}
	}
	return nil
}

func unknownMembers(members map[string]json.RawMessage) (problems []Problem) {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name != "name" && name != "properties" {
			problems = append(problems, Problem{Pointer: Pointer(name), Detail: "unknown member; an item has name and properties"})
		}
	}
	return problems
}

func checkName(name string) string {
	n := utf8.RuneCountInString(name)
	switch {
	case n == 0:
		return fmt.Sprintf("must not be empty; 1 to %d characters", MaxNameLength)
	case n > MaxNameLength:
		return fmt.Sprintf("%d characters long; at most %d fit", n, MaxNameLength)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Sprintf("must not contain control characters, such as %U", r)
		}
	}
	return ""
}

func utf16Length(s []byte) int {
	n := 0
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		n += utf16.RuneLen(r)
		s = s[size:]
	}
	return n
}

// depth is how deep valid JSON nests.
func depth(raw json.RawMessage) int {
	deepest, level, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}
