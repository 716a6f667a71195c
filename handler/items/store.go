package items

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"
)

// Owner is whose items are meant. Two owners never see each other's items.
type Owner struct {
	// Tenant is the GUID of the caller's directory, in lower case.
	Tenant string
	// Subject is the caller's identifier in that directory, in lower case.
	Subject string
}

// Pseudonym is what storage and logs call the owner: a hash, of 34 harmless characters,
// evenly spread, that names nobody.
func (o Owner) Pseudonym() string {
	sum := sha256.Sum256([]byte(o.Tenant + "\n" + o.Subject))
	return "u-" + hex.EncodeToString(sum[:16])
}

// Query selects a page of a list.
type Query struct {
	// Limit is the most items that the page may hold, at least 1.
	Limit int
	// After is the position where the page begins: the Next of the page before,
	// or empty to begin with the newest.
	After string

	// Filters select by content; an item has to pass them all.
	Filters []func(*Content) bool
	// CreatedAfter and CreatedBefore select by CreatedAt, where they are not
	// zero. Neither instant is part of the selection.
	CreatedAfter, CreatedBefore time.Time
}

// Matches reports whether an item passes the filters. The other conditions are on
// CreatedAt, which is in the ID.
func (q Query) Matches(d Draft) (bool, error) {
	if len(q.Filters) == 0 {
		return true, nil
	}
	c, err := d.Typed()
	for _, passes := range q.Filters {
		if err != nil || !passes(&c) {
			return false, err
		}
	}
	return true, nil
}

// Page is a part of a list. It may hold fewer items than were asked for, or
// none, and still not be the last: it ends before it has [MaxPage] bytes of content,
// and a selective query stops on its budget.
type Page struct {
	Items []Item
	// Next is the position after this page, or empty if nothing comes after it.
	Next string
}

// Summary tells of an owner's items without showing them.
type Summary struct {
	// Count is how many there are.
	Count int64
	// Known says that there is or was something of the owner.
	Known bool
	// ErasedAt is when the last of what was erased was, or zero.
	ErasedAt time.Time
}

// Match says which versions of an item a change is meant for.
type Match struct {
	// Any stands for every version that there may be.
	Any bool
	// Tags are the ETags of the versions, if it is not any.
	Tags []string
}

// Matches reports whether it stands for the version with that ETag.
func (m Match) Matches(tag string) bool { return m.Any || slices.Contains(m.Tags, tag) }

// Op is a change that is asked for, of one item: exactly one of Create, Edit and Delete.
type Op struct {
	// ID is the item's. Where it is empty, Create gets one from the store.
	ID string
	// Create is the content of a new item. If it has an ID, [CheckID] has passed it.
	Create *Draft
	Edit   *Edit
	Delete bool
	// Match says which versions Edit and Delete are meant for.
	Match Match
	// Unless says which versions Edit and Delete are not meant for: such an item is
	// ErrExists, once Match has let it pass.
	Unless Match
	// Request is a hash that a repeat of the request shares.
	Request [16]byte
}

// Key makes changes safe to repeat that have no Match to tell a repeat by.
type Key struct {
	// Value is the client's name for the request.
	Value string
	// Request is a hash of what is asked for. A repeat has the same.
	Request [sha256.Size]byte
}

// Delta is a part of what changed. It may hold fewer changes than were asked
// for, or none, and still not be the last. It ends before it has [MaxPage] bytes of
// content.
type Delta struct {
	Changes []Change
	// Next is the position after this part. Where More is false, everything up
	// to it has been told, and it is where the next delta begins, even much later.
	Next string
	More bool
}

// Store keeps items. It is safe for concurrent use. Every method gives up when
// ctx ends, and returns an error that wraps [ErrUnavailable] or [ErrTimeout]
// where the storage is the cause.
//
// What changes items may also return [ErrBusy], and wraps [ErrOutcomeUnknown]
// where it cannot tell whether the change was kept. A repeat of it is then safe:
// with the same key, or with the same Match.
type Store interface {
	// List returns the owner's items, newest first. It returns ErrPosition if
	// q.After is none.
	List(ctx context.Context, owner Owner, q Query) (Page, error)
	// Get returns one item, or ErrNotFound if the owner has none with that ID,
	// a string that is not an ID included.
	Get(ctx context.Context, owner Owner, id string) (Item, error)
	// Summary tells of the owner's items, exactly, as they are in one moment.
	Summary(ctx context.Context, owner Owner) (Summary, error)
	// Apply makes changes, of different items, all or none, and returns what each item is
	// then. If some cannot be made, the error is an [*OpsError] that names them, each with
	// ErrNotFound, ErrChanged (no version matches), ErrExists, ErrDeleted or what the edit
	// returned. Others are ErrTooLarge, and ErrKeyReused if the key was used for another
	// request.
	//
	// Asked for again with the same key, it changes nothing, returns what it returned then,
	// and replayed is true; the items may have changed since. Of edited items there is no
	// content then. Without a key a repeat is recognised while every item is what the first
	// request made it (for deletions, 30 days long), and gets what that got; otherwise it
	// is taken for another request.
	Apply(ctx context.Context, owner Owner, ops []Op, key *Key) (made []Change, replayed bool, err error)
	// Delta returns what changed since a position, which is empty for all items
	// that there are. No change is ever left out; some may come twice. It returns
	// ErrPosition if after is none, and ErrResync if it is older than what is
	// remembered, 30 days at least, or than an erasure: then as an [*ErasedError].
	Delta(ctx context.Context, owner Owner, after string, limit int) (Delta, error)
	// Erase removes what is kept of the owner: items, and what is remembered of changes.
	// It stops after 2 s, and returns how many items it erased and whether there is more
	// to erase. No item can be created then under an ID that is not newer than all of
	// those. It is safe to repeat.
	Erase(ctx context.Context, owner Owner) (erased int64, more bool, err error)
}
