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
// more than a little of what it reads: with how many bytes it needs in all, and from
// any goroutine. Nothing is held if that fails; its error should wrap [ErrNoRoom].
func WithRoom(ctx context.Context, reserve func(ctx context.Context, bytes int64) error) context.Context {
	return context.WithValue(ctx, roomKey{}, reserve)
}

// Room makes sure of room for so many bytes, where somebody watches over it.
func Room(ctx context.Context, bytes int64) error {
	if reserve, ok := ctx.Value(roomKey{}).(func(context.Context, int64) error); ok {
		return reserve(ctx, bytes)
	}
	return nil
}
