package tables

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"itemsapi/handler/items"
)

// Rows of items have keys from itemPrefix to before itemPrefixEnd: '.' comes
// right after '-'. Rows of other kinds in the same partition have other
// prefixes.
const (
	itemPrefix    = "i-"
	itemPrefixEnd = "i."
)

// entity is the row of an item. Times are in its key and in Updated rather than
// in Azure's Timestamp, which is not the same on every attempt to write.
type entity struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	Name         string `json:"name"`
	Properties   string `json:"properties,omitempty"` // JSON
	Updated      string `json:"updated"`              // RFC 3339 with milliseconds, UTC
	// Change names the change that made the row what it is: 128 random bits. It
	// is the item's entity tag, and how the author of a change whose reply was
	// lost recognises it.
	Change string `json:"change"`
}

// entityMembers are asked for; the partition is known.
const entityMembers = "RowKey,name,properties,updated,change"

const milliseconds = "2006-01-02T15:04:05.000Z"

func newEntity(owner items.Owner, d items.Draft) (items.Item, entity, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return items.Item{}, entity{}, fmt.Errorf("make an ID: %w", err)
	}
	change := rand.Text()
	created := createdAt(id)
	item := items.Item{
		ID: id.String(), Name: d.Name, Properties: d.Properties,
		CreatedAt: created, UpdatedAt: created, ETag: `"` + change + `"`,
	}
	key, _ := rowKey(item.ID)
	return item, entity{
		PartitionKey: partitionKey(owner), RowKey: key,
		Name: d.Name, Properties: string(d.Properties),
		Updated: created.Format(milliseconds), Change: change,
	}, nil
}

func (e *entity) item() (items.Item, error) {
	id, ok := itemID(e.RowKey)
	if !ok {
		return items.Item{}, fmt.Errorf("row key %.80q is no item's", e.RowKey)
	}
	updated, err := time.Parse(milliseconds, e.Updated)
	if err != nil {
		return items.Item{}, fmt.Errorf("row %s: read updated: %w", e.RowKey, err)
	}
	item := items.Item{ID: id.String(), Name: e.Name, CreatedAt: createdAt(id), UpdatedAt: updated, ETag: `"` + e.Change + `"`}
	if e.Properties != "" {
		item.Properties = json.RawMessage(e.Properties)
	}
	return item, nil
}

// partitionKey is the partition of an owner: evenly spread, of harmless
// characters, and of a hash, so that storage has no name of a person.
func partitionKey(owner items.Owner) string {
	sum := sha256.Sum256([]byte(owner.Tenant + "\n" + owner.Subject))
	return "u-" + hex.EncodeToString(sum[:16])
}

// rowKey is the row key of an item's ID, or false if id is none: a UUIDv7 in
// lower case. A UUIDv7 begins with its time, so the complement of its bits sorts
// the newest first, and a key is found without a look-up.
func rowKey(id string) (string, bool) {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 || u.Variant() != uuid.RFC4122 || u.String() != id {
		return "", false
	}
	for i := range u {
		u[i] = ^u[i]
	}
	return itemPrefix + hex.EncodeToString(u[:]), true
}

// itemID turns rowKey round.
func itemID(key string) (uuid.UUID, bool) {
	var u uuid.UUID
	if len(key) != len(itemPrefix)+2*len(u) || key[:len(itemPrefix)] != itemPrefix {
		return u, false
	}
	if _, err := hex.Decode(u[:], []byte(key[len(itemPrefix):])); err != nil {
		return u, false
	}
	for i := range u {
		u[i] = ^u[i]
	}
	return u, true
}

// rowRange gives the row keys between which a query's items are, neither of them
// included, or false if its position is no ID. Later items have smaller keys.
func rowRange(q items.Query) (first, last string, ok bool) {
	first, last = itemPrefix, itemPrefixEnd
	if !q.CreatedBefore.IsZero() {
		// The last key of the millisecond: all its other bits are zero in the ID.
		first = timeKey(q.CreatedBefore.Add(time.Millisecond-1), 0)
	}
	if !q.CreatedAfter.IsZero() {
		last = timeKey(q.CreatedAfter, 0xff)
	}
	if q.After != "" {
		after, ok := rowKey(q.After)
		if !ok {
			return "", "", false
		}
		first = max(first, after)
	}
	return first, last, true
}

// timeKey is the row key of an ID with that time and fill in all bytes after it.
// No item has that ID, as version and variant of a UUID have bits of both kinds.
func timeKey(t time.Time, fill byte) string {
	var key [16]byte
	ms := max(t.UnixMilli(), 0)
	for i := range 6 {
		key[i] = ^byte(ms >> (40 - 8*i))
	}
	for i := 6; i < len(key); i++ {
		key[i] = ^fill
	}
	return itemPrefix + hex.EncodeToString(key[:])
}

// createdAt is the time in a UUIDv7 (RFC 9562, section 5.7): milliseconds since
// 1970 in its first 48 bits.
func createdAt(id uuid.UUID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}
