package tables

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"

	"itemsapi/handler/items"
)

// A partition has rows of these kinds. All keys of a kind come before the prefix
// with '.' for '-', the character after it.
//
//	i-<ID complemented>-<change>  an item, in the version that the change made
//	c-<number>                    what a change changed: the log that deltas read
//	t-<ID>                        the tombstone of an item
//	k-<hash of the key>           what a client's Idempotency-Key was used for
//	m-head                        the last number; every change replaces it
//
// The version is part of an item's key, so that a transaction which deletes the
// row of the version it is meant for fails if that is not the item's any more:
// Azure's own entity tags would have to be read first.
const (
	itemPrefix = "i-"
	logPrefix  = "c-"
	headKey    = "m-head"
)

// itemRow is the row of an item. Times are in its key rather than in Azure's
// Timestamp, which is not the same on every attempt to write.
type itemRow struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	// Shape is what package items calls the form of the content, which is in as many
	// columns as Columns says.
	Shape   string `json:"shape"`
	Columns int    `json:"columns"`
	C0      string `json:"c0"`
	C1      string `json:"c1,omitempty"`
	C2      string `json:"c2,omitempty"`
	C3      string `json:"c3,omitempty"`
	C4      string `json:"c4,omitempty"`
	C5      string `json:"c5,omitempty"`
	// Prior is the version that the last change replaced, and Request the hash of
	// the request for it: how a repeat of it is recognised.
	Prior   string `json:"prior,omitempty"`
	Request string `json:"request,omitempty"`
}

// itemMembers are asked for; the partition is known.
const itemMembers = "RowKey,shape,columns,c0,c1,c2,c3,c4,c5,prior,request"

// columnUnits is how many UTF-16 units a string column holds (64 KiB).
const columnUnits = 32_768

func (e *itemRow) columns() [6]*string { return [...]*string{&e.C0, &e.C1, &e.C2, &e.C3, &e.C4, &e.C5} }

// setContent spreads content over as many columns as it takes. No character is split,
// and yet items.MaxContent fits: one of two units that leaves the last unit of a column
// free has four bytes.
func (e *itemRow) setContent(d items.Draft) {
	var text string
	text, e.Shape = d.Stored()
	for _, column := range e.columns() {
		if text == "" {
			break
		}
		end, units := len(text), 0
		if end > columnUnits { // no text has more units than bytes
			end = 0
		}
		for end < len(text) {
			r, size := utf8.DecodeRuneInString(text[end:])
			if units += utf16.RuneLen(r); units > columnUnits {
				break
			}
			end += size
		}
		*column, text = text[:end], text[end:]
		e.Columns++
	}
}

// content puts the columns together. A row of another form, such as one from before
// there were columns, is an error with its name: half of an item would be worse.
func (e *itemRow) content() (items.Draft, []string, error) {
	text := e.C0
	whole := e.Shape != "" && e.Columns >= 1 && e.Columns <= len(e.columns())
	for i, column := range e.columns() {
		whole = whole && (*column != "") == (i < e.Columns)
		if i > 0 {
			text += *column
		}
	}
	if !whole {
		err := fmt.Errorf("the row %s is not of the form that this version writes: %w", e.RowKey, items.ErrUnavailable)
		return items.Draft{}, nil, err
	}
	d, leftOut, err := items.FromStore(text, e.Shape)
	if err != nil {
		err = fmt.Errorf("the row %s: %w: %w", e.RowKey, items.ErrUnavailable, err)
	}
	return d, leftOut, err
}

// change names a change: 48 bits of its time (milliseconds since 1970) and 80
// random ones, in hexadecimal. In quotes it is the entity tag of the items that
// it made what they are, and how its author recognises it when the reply is lost.
type change string

// changeAt makes a change of that time. Of one item, each change is later than
// the one before, so that a query which reads its rows while they are replaced
// meets the newer one at least.
func changeAt(t time.Time) change {
	var b [16]byte
	putTime(&b, t)
	_, _ = rand.Read(b[6:]) // it never fails
	return change(hex.EncodeToString(b[:]))
}

// changeOf is the change that an entity tag names, or false if it can be none.
func changeOf(tag string) (change, bool) {
	c := change(strings.TrimSuffix(strings.TrimPrefix(tag, `"`), `"`))
	return c, len(tag) == len(c)+len(`""`) && c.valid()
}

// valid reports whether it is 128 bits in lower-case hexadecimal.
func (c change) valid() bool {
	return len(c) == 32 && strings.Trim(string(c), "0123456789abcdef") == ""
}

func (c change) tag() string { return `"` + string(c) + `"` }

func (c change) time() time.Time {
	var b [6]byte
	_, _ = hex.Decode(b[:], []byte(c[:12])) // a change is hexadecimal
	return timeOf(b[:])
}

// clock tells the time of changes and makes IDs. One process's IDs are in the
// order in which they were made.
type clock struct {
	now  func() time.Time
	mu   sync.Mutex
	last int64 // 4096ths of a millisecond since 1970
}

// ids makes n UUIDv7 (RFC 9562, section 5.7; 6.2, method 3).
func (c *clock) ids(n int) []uuid.UUID {
	now := c.now()
	c.mu.Lock()
	first := max(now.UnixMilli()<<12|int64(now.Nanosecond()%1e6)<<12/1e6, c.last+1)
	c.last = first + int64(n) - 1
	c.mu.Unlock()
	made := make([]uuid.UUID, n)
	for i := range made {
		id := &made[i]
		tick := first + int64(i)
		_, _ = rand.Read(id[8:]) // it never fails
		putTime((*[16]byte)(id), time.UnixMilli(tick>>12))
		id[6] = 0x70 | byte(tick>>8)&0x0f
		id[7] = byte(tick)
		id[8] = 0x80 | id[8]&0x3f
	}
	return made
}

// newItem is the first version of an item.
func newItem(d items.Draft, id uuid.UUID, made change) items.Item {
	return items.Item{ID: id.String(), Draft: d, CreatedAt: createdAt(id), UpdatedAt: made.time(), ETag: made.tag()}
}

func rowOf(partition string, item items.Item) itemRow {
	row := itemRow{PartitionKey: partition, RowKey: itemKey(item)}
	row.setContent(item.Draft)
	return row
}

// itemKey is the row key of an item in the version that it has.
func itemKey(item items.Item) string {
	prefix, _ := rowPrefix(item.ID)
	made, _ := changeOf(item.ETag)
	return prefix + string(made)
}

// item makes an item of its row.
func (s *Store) item(e *itemRow) (items.Item, error) {
	id, made, ok := readItemKey(e.RowKey)
	if !ok {
		return items.Item{}, fmt.Errorf("the row key %.80q is not an item's: %w", e.RowKey, items.ErrUnavailable)
	}
	d, leftOut, err := e.content()
	if err != nil {
		return items.Item{}, err
	}
	if leftOut != nil {
		s.leftOut.Do(func() {
			s.log.Warn(
				"stored content has members that this version does not show",
				"row",
				e.RowKey,
				"members",
				leftOut,
			)
		})
	}
	return newItem(d, id, made), nil
}

// Partition is the name of the partition with the items of a subject of a tenant
// (items.Owner). It is a hash, which a log may have.
func Partition(tenant, subject string) string {
	return partitionKey(items.Owner{Tenant: tenant, Subject: subject})
}

// partitionKey is the partition of an owner.
func partitionKey(owner items.Owner) string { return owner.Pseudonym() }

// rowPrefix is what the row keys of an item's versions begin with, or false if
// id is none: a UUIDv7 in lower case. A UUIDv7 begins with its time, so the
// complement of its bits sorts the newest first, and an item is found without a
// look-up.
func rowPrefix(id string) (string, bool) {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 || u.String() != id {
		return "", false
	}
	for i := range u {
		u[i] = ^u[i]
	}
	return itemPrefix + hex.EncodeToString(u[:]) + "-", true
}

// readItemKey takes the row key of an item apart.
func readItemKey(key string) (id uuid.UUID, made change, ok bool) {
	const turned = len(itemPrefix) + 2*len(id)
	if len(key) < turned || key[:len(itemPrefix)] != itemPrefix {
		return id, "", false
	}
	version, ok := strings.CutPrefix(key[turned:], "-")
	if made = change(version); !ok || !made.valid() {
		return id, "", false
	}
	if _, err := hex.Decode(id[:], []byte(key[len(itemPrefix):turned])); err != nil {
		return id, "", false
	}
	for i := range id {
		id[i] = ^id[i]
	}
	return id, made, true
}

// after is the end of the range of keys with that prefix.
func after(prefix string) string { return strings.TrimSuffix(prefix, "-") + "." }

// rowRange gives the row keys between which a query's items are, neither of them
// included, or false if its position is not an ID. Later items have smaller keys.
func rowRange(q items.Query) (first, last string, ok bool) {
	first, last = itemPrefix, after(itemPrefix)
	if !q.CreatedBefore.IsZero() {
		// The last key of the millisecond: all its other bits are zero in the ID.
		first = timeKey(q.CreatedBefore.Add(time.Millisecond-1), 0)
	}
	if !q.CreatedAfter.IsZero() {
		last = timeKey(q.CreatedAfter, 0xff)
	}
	if q.After != "" {
		position, ok := rowPrefix(q.After)
		if !ok {
			return "", "", false
		}
		first = max(first, after(position))
	}
	return first, last, true
}

// timeKey is the row key of an ID with that time and fill in all bytes after it.
// No item has that ID, as version and variant of a UUID have bits of both kinds.
func timeKey(t time.Time, fill byte) string {
	key := [16]byte(bytes.Repeat([]byte{fill}, 16))
	putTime(&key, t)
	for i := range key {
		key[i] = ^key[i]
	}
	return itemPrefix + hex.EncodeToString(key[:])
}

// createdAt is the time in a UUIDv7.
func createdAt(id uuid.UUID) time.Time { return timeOf(id[:6]) }

// timeOf reads milliseconds since 1970 from six bytes, and putTime writes them.
func timeOf(b []byte) time.Time {
	var ms int64
	for _, b := range b[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

func putTime(b *[16]byte, t time.Time) {
	ms := max(t.UnixMilli(), 0)
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
}
