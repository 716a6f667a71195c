package items

import (
	"context"
	"sync/atomic"
)

// MaxPage is how many bytes of content a page of a list, or a part of a delta, has
// at most.
const MaxPage = 2 << 20

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

type roomKey struct{}

// WithRoom returns a context under which a [Store] calls reserve before it holds
// more than a little of what it reads: at most once, and nothing is held if that
// fails. Its error should wrap [ErrNoRoom].
func WithRoom(ctx context.Context, reserve func(context.Context) error) context.Context {
	return context.WithValue(ctx, roomKey{}, reserve)
}

// Room makes room for a whole page, where somebody watches over it.
func Room(ctx context.Context) error {
	if reserve, ok := ctx.Value(roomKey{}).(func(context.Context) error); ok {
		return reserve(ctx)
	}
	return nil
}
