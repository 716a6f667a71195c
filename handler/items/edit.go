package items

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
)

// Edit turns an item as it is into what it is to be.
type Edit struct {
	// Request is a hash that a repeat of the edit shares.
	Request [16]byte
	// Blind says that Apply looks at neither Name nor Properties of the item.
	Blind bool
	// Apply returns the item's new content, or an [*InvalidError].
	Apply func(Item) (Draft, error)
}

// Replace is an edit that replaces an item's content. Each value must be valid
// JSON without blanks between tokens, and its objects' names unique. Besides a
// draft's members there may be the server's own, as they were read.
// It returns an [*InvalidError] that lists everything that is wrong.
func Replace(members map[string]json.RawMessage) (Edit, error) {
	content, stated := split(members)
	var draft Draft
	if err := draft.Decode(content); err != nil {
		return Edit{}, err
	}
	return Edit{Blind: true, Apply: func(item Item) (Draft, error) {
		return draft, checkStated(stated, item)
	}}, nil
}

// Patch is an edit that changes an item's content in part, by a JSON merge patch
// (RFC 7396). What holds for the members of [Replace] holds here.
func Patch(members map[string]json.RawMessage) (Edit, error) {
	content, stated := split(members)
	problems := unknownMembers(content)
	for name, raw := range content {
		if depth(raw) > MaxPropertiesDepth {
			problems = append(problems, Problem{Pointer: Pointer(name), Detail: fmt.Sprintf("nested too deep; at most %d levels", MaxPropertiesDepth)})
		}
	}
	if raw, ok := content["name"]; ok && raw[0] == 'n' {
		problems = append(problems, Problem{Pointer: "/name", Detail: "null would remove it; an item has a name. Leave the member out to keep it"})
	}
	if problems != nil {
		return Edit{}, &InvalidError{Problems: problems}
	}
	return Edit{Apply: func(item Item) (Draft, error) {
		if err := checkStated(stated, item); err != nil {
			return Draft{}, err
		}
		name, err := json.Marshal(item.Name)
		if err != nil {
			return Draft{}, fmt.Errorf("encode the name: %w", err)
		}
		merged := map[string]json.RawMessage{"name": name}
		if item.Properties != nil {
			merged["properties"] = item.Properties
		}
		for name, raw := range content {
			switch raw[0] {
			case 'n':
				delete(merged, name)
			default:
				if merged[name], err = mergePatch(merged[name], raw); err != nil {
					return Draft{}, fmt.Errorf("merge %s: %w", name, err)
				}
			}
		}
		var d Draft
		return d, d.Decode(merged)
	}}, nil
}

// split takes the server's members from a client's.
func split(members map[string]json.RawMessage) (content, stated map[string]json.RawMessage) {
	content, stated = maps.Clone(members), map[string]json.RawMessage{}
	for _, name := range []string{"id", "createdAt", "updatedAt", "etag"} {
		if raw, ok := members[name]; ok {
			stated[name] = raw
			delete(content, name)
		}
	}
	return content, stated
}

// checkStated compares the server's members as a client sent them with what they
// are.
func checkStated(stated map[string]json.RawMessage, item Item) error {
	var problems []Problem
	for _, m := range []struct{ name, is string }{
		{"createdAt", item.CreatedAt.Format(time.RFC3339Nano)},
		{"etag", item.ETag},
		{"id", item.ID},
		{"updatedAt", item.UpdatedAt.Format(time.RFC3339Nano)},
	} {
		raw, ok := stated[m.name]
		if !ok {
			continue
		}
		var value string
		same := json.Unmarshal(raw, &value) == nil && value == m.is
		if !same && strings.HasSuffix(m.name, "At") { // another spelling of the same instant
			at, err := time.Parse(time.RFC3339Nano, value)
			same = err == nil && at.UTC().Format(time.RFC3339Nano) == m.is
		}
		if !same {
			problems = append(problems, Problem{Pointer: "/" + m.name, Detail: "the server's alone; it is " + m.is + ". Send it as it was read, or leave it out"})
		}
	}
	if problems != nil {
		return &InvalidError{Problems: problems}
	}
	return nil
}
