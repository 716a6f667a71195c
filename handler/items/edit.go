package items

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Edit turns an item as it is into what it is to be.
type Edit struct {
	// Blind says that Apply does not look at the item's content.
	Blind bool
	// Apply returns the item's new content, or an [*InvalidError].
	Apply func(Item) (Draft, error)
}

// Replace is an edit that replaces an item's content. What holds for the members of
// [Read] holds here; besides a draft's members there may be the server's own, as they
// were read. It returns an [*InvalidError] that lists everything that is wrong.
func Replace(members map[string]jsontext.Value) (Edit, error) {
	content, stated := split(members)
	draft, err := Read(content)
	if err != nil {
		return Edit{}, err
	}
	return Edit{Blind: true, Apply: func(item Item) (Draft, error) {
		return draft, checkStated(stated, item)
	}}, nil
}

// Patch is an edit that changes an item's content in part, by a JSON merge patch
// (RFC 7396). What holds for the members of [Replace] holds here.
func Patch(members map[string]jsontext.Value) (Edit, error) { return contentForm.patch(members) }

func (f *form) patch(members map[string]jsontext.Value) (Edit, error) {
	content, stated := split(members)
	problems := f.unknown(content)
	for _, m := range f.members {
		raw, ok := content[m.name]
		if !ok {
			continue
		}
		if err := checkTree(raw, maxDepth); err != nil {
			problems = append(problems, Problem{Pointer(m.name), err.Error()})
		}
		if m.required && raw.Kind() == 'n' {
			detail := "null would remove it, and it is required; leave it out to keep it"
			problems = append(problems, Problem{Pointer(m.name), detail})
		}
	}
	if problems != nil {
		return Edit{}, &InvalidError{Problems: problems}
	}
	var patch object
	for _, name := range slices.Sorted(maps.Keys(content)) {
		patch.set(name, content[name])
	}
	return Edit{Apply: func(item Item) (Draft, error) {
		if err := checkStated(stated, item); err != nil {
			return Draft{}, err
		}
		return f.patched(item.Draft, patch)
	}}, nil
}

// patched is a draft with a patch applied.
func (f *form) patched(d Draft, patch object) (Draft, error) {
	is, err := objectOf(d.content)
	if err != nil {
		return Draft{}, fmt.Errorf("read the content: %w", err)
	}
	merged, err := is.merge(patch)
	if err != nil {
		return Draft{}, fmt.Errorf("merge the content: %w", err)
	}
	if is, err = objectOf(merged); err != nil {
		return Draft{}, fmt.Errorf("read the merged content: %w", err)
	}
	members := map[string]jsontext.Value{}
	for _, m := range is.members {
		members[m.name] = m.value
	}
	patched, err := f.read(members)
	if err != nil || d.kept == nil {
		return patched, err
	}
	patched.kept = d.kept
	if text, _ := patched.Stored(); len(text) > MaxContent {
		detail := fmt.Sprintf("has %d bytes as JSON, of which %d are members from before that are kept aside; "+
			"at most %d are kept. Replace the item to be rid of them", len(text), len(d.kept), MaxContent)
		return Draft{}, &InvalidError{Problems: []Problem{{"", detail}}}
	}
	return patched, nil
}

// split takes the server's members from a client's.
func split(members map[string]jsontext.Value) (content, stated map[string]jsontext.Value) {
	content, stated = maps.Clone(members), map[string]jsontext.Value{}
	for _, name := range serverMembers {
		if raw, ok := members[name]; ok {
			stated[name] = raw
			delete(content, name)
		}
	}
	return content, stated
}

// checkStated compares the server's members as a client sent them with what they are.
func checkStated(stated map[string]jsontext.Value, item Item) error {
	var problems []Problem
	for _, name := range serverMembers {
		raw, ok := stated[name]
		if !ok {
			continue
		}
		is := map[string]string{
			"id": item.ID, "etag": item.ETag,
			"createdAt": item.CreatedAt.Format(timeFormat), "updatedAt": item.UpdatedAt.Format(timeFormat),
		}[name]
		var value string
		same := json.Unmarshal(raw, &value) == nil && value == is
		if !same && strings.HasSuffix(name, "At") { // another spelling of the same instant
			at, err := time.Parse(time.RFC3339Nano, value)
			same = err == nil && at.UTC().Format(timeFormat) == is && at.Equal(at.Truncate(time.Millisecond))
		}
		if !same {
			detail := "belongs to the server; it is " + is + ". Send it as it was read, or leave it out"
			problems = append(problems, Problem{Pointer(name), detail})
		}
	}
	if problems != nil {
		return &InvalidError{Problems: problems}
	}
	return nil
}
