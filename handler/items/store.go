package items

import (
	"context"
	"sync/atomic"
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
	// After is the ID of the last item that has been seen, or empty to start
	// with the newest. An item with that ID need not exist any more.
	After string
}

// Page is a part of a list.
type Page struct {
	Items []Item
	// More says that there are items after the last of Items.
	More bool
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
