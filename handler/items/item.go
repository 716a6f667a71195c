// Package items is the domain: what an item is, what makes its content valid, and what
// the API needs of a store.
//
// content.go, with its schema and samples, is the one thing to replace by your own;
// the rest is mechanics, the same for every content: identifiers, times and versions
// (this file), reading content strictly (form.go), changing it (edit.go, merge.go),
// and the [Store].
//
// It does no I/O and has nothing of HTTP or Azure in it.
package items

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Item is one item as a store keeps it and as clients see it.
type Item struct {
	// ID is a UUIDv7 (RFC 9562, section 5.7) in lower case, made by the store or by the
	// client.
	ID string
	Draft
	// CreatedAt is the time in the ID: UTC, whole milliseconds.
	CreatedAt time.Time
	// UpdatedAt is the time of the last change: UTC, whole milliseconds.
	UpdatedAt time.Time
	// ETag is a strong entity tag (RFC 9110, section 8.8.3), quotes included.
	// Every change gives the item another.
	ETag string
}

// Members are the names of an item's members, in the order in which they are shown:
// the server's own and those of [Content].
var Members = slices.Concat([]string{"id"}, contentForm.names(), []string{"createdAt", "updatedAt", "etag"})

// serverMembers are the server's own, of which a client may repeat what it read.
var serverMembers = []string{"id", "createdAt", "updatedAt", "etag"}

// AppendJSON appends the item as clients see it.
func (i Item) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, i.ID...)
	b = append(b, '"')
	if len(i.content) > len("{}") {
		b = append(b, ',')
		b = append(b, i.content[1:len(i.content)-1]...)
	}
	b = append(b, `,"createdAt":`...)
	b = appendTime(b, i.CreatedAt)
	b = append(b, `,"updatedAt":`...)
	b = appendTime(b, i.UpdatedAt)
	b = append(b, `,"etag":`...)
	b, _ = jsontext.AppendQuote(b, i.ETag) // it is ASCII
	return append(b, '}')
}

// MarshalJSONTo writes what AppendJSON appends.
func (i Item) MarshalJSONTo(enc *jsontext.Encoder) error { return enc.WriteValue(i.AppendJSON(nil)) }

// appendTime writes a time of UTC as RFC 3339 has it, always with three digits of fraction,
// so that times sort as text.
func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339) // far faster than timeFormat
	ms := t.Nanosecond() / 1e6
	b = append(b[:len(b)-len("Z")], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	return append(b, 'Z', '"')
}

// FormatTime writes a time as an item's are written.
func FormatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// Tombstone is what is left of an item that was deleted.
type Tombstone struct {
	ID string
	// DeletedAt is UTC, in whole milliseconds.
	DeletedAt time.Time
}

// AppendJSON appends the tombstone as clients see it.
func (t Tombstone) AppendJSON(b []byte) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, t.ID...)
	b = append(b, `","deleted":true,"deletedAt":`...)
	b = appendTime(b, t.DeletedAt)
	return append(b, '}')
}

// Change is what a delta tells of one item: how it is now, or that it is gone.
type Change struct {
	Item
	// Gone is nil unless the item was deleted; Item then has only its ID.
	Gone *Tombstone
}

// AppendJSON appends the item or its tombstone.
func (c Change) AppendJSON(b []byte) []byte {
	if c.Gone != nil {
		return c.Gone.AppendJSON(b)
	}
	return c.Item.AppendJSON(b)
}

// MarshalJSONTo writes what AppendJSON appends.
func (c Change) MarshalJSONTo(enc *jsontext.Encoder) error { return enc.WriteValue(c.AppendJSON(nil)) }
