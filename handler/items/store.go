package items

import (
	"context"
	"strings"
	"sync/atomic"
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

	// Name and NamePrefix select by name, where they are not empty; they are
	// compared byte by byte.
	Name, NamePrefix string
	// CreatedAfter and CreatedBefore select by CreatedAt, where they are not
	// zero. Neither instant is part of the selection.
	CreatedAfter, CreatedBefore time.Time
}

// Matches reports whether the query selects an item with that name. The other
// conditions are on CreatedAt, which is in the ID.
func (q Query) Matches(name string) bool {
	return (q.Name == "" || name == q.Name) && strings.HasPrefix(name, q.NamePrefix)
}

// Page is a part of a list. It may hold fewer items than were asked for, or
// none, and still not be the last: a selective query stops on its budget.
type Page struct {
	Items []Item
	// Next is the position after this page, or empty if nothing comes after it.
	Next string
}

// Store keeps items. It is safe for concurrent use. Every method gives up when
// ctx ends, and returns an error that wraps [ErrUnavailable] or [ErrTimeout]
// where the storage is the cause.
type Store interface {
	// List returns the owner's items, newest first.
	List(ctx context.Context, owner Owner, q Query) (Page, error)
	// Get returns one item, or ErrNotFound if the owner has none with that ID,
	// a string that is no ID included.
	Get(ctx context.Context, owner Owner, id string) (Item, error)
	// Create keeps a new item and returns it with its ID, times and ETag.
	Create(ctx context.Context, owner Owner, d Draft) (Item, error)
}

type callsKey struct{}

// CountCalls returns a context under which a [Store] counts its calls to the
// storage, and the count.
func CountCalls(ctx context.Context) (context.Context, *atomic.Int64) {
	n := new(atomic.Int64)
	return context.WithValue(ctx, callsKey{}, n), n
}

// Called counts one call to the storage, where somebody asked for the count.
func Called(ctx context.Context) {
	if n, ok := ctx.Value(callsKey{}).(*atomic.Int64); ok {
		n.Add(1)
	}
}
