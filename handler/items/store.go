package items

import (
	"context"
	"crypto/sha256"
	"time"
)

// Owner is whose items are meant. Two owners never see each other's items.
type Owner struct {
	// Tenant is the GUID of the caller's directory, in lower case.
	Tenant string
	// Subject is the caller's identifier in that directory, in lower case.
	Subject string
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
}

// Match says which versions of an item a change is meant for.
type Match struct {
	// Any stands for every version that there may be.
	Any bool
	// Tags are the ETags of the versions, if it is not any.
	Tags []string
}

// Key makes a creation safe to repeat.
type Key struct {
	// Value is the client's name for the creation.
	Value string
	// Request is a hash of what is to be created. A repeat has the same.
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
// a creation with the same key, any other with the same Match.
type Store interface {
	// List returns the owner's items, newest first. It returns ErrPosition if
	// q.After is none.
	List(ctx context.Context, owner Owner, q Query) (Page, error)
	// Get returns one item, or ErrNotFound if the owner has none with that ID,
	// a string that is no ID included.
	Get(ctx context.Context, owner Owner, id string) (Item, error)
	// Summary tells of the owner's items, exactly, as they are in one moment.
	Summary(ctx context.Context, owner Owner) (Summary, error)
	// Create keeps new items, all or none, and returns them with IDs, times and
	// ETags. With a key that was used before it keeps nothing, returns what it
	// returned then, and replayed is true; the items may have changed since. It
	// returns ErrKeyReused if the key was used for another request, and
	// ErrTooLarge.
	Create(ctx context.Context, owner Owner, drafts []Draft, key *Key) (made []Item, replayed bool, err error)
	// Update changes an item, and returns it as it is then. It returns
	// ErrNotFound, ErrChanged if no version matches, or the edit's error. The same
	// edit for the same version, made again while the item is what it became by
	// it, changes nothing and returns the item.
	Update(ctx context.Context, owner Owner, id string, m Match, e Edit) (Item, error)
	// Delete deletes an item. It returns ErrNotFound, or ErrChanged if no version
	// matches. Deleted again with the same Match, the first answer comes again,
	// for 30 days.
	Delete(ctx context.Context, owner Owner, id string, m Match) (Tombstone, error)
	// Delta returns what changed since a position, which is empty for all items
	// that there are. No change is ever left out; some may come twice. It returns
	// ErrPosition if after is none, and ErrResync if it is older than what is
	// remembered, 30 days at least.
	Delta(ctx context.Context, owner Owner, after string, limit int) (Delta, error)
}
