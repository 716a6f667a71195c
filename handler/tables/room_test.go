package tables_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
)

// large is content as large as it can be, three bytes for each UTF-16 unit.
func large(i int) items.Draft { return itemstest.Draft(itemstest.LargeContent(i, "€")) }

// watched is a context under which rooms are counted.
func watched(ctx context.Context) (context.Context, *atomic.Int64) {
	rooms := new(atomic.Int64)
	return items.WithRoom(ctx, func(context.Context, int64) error { rooms.Add(1); return nil }), rooms
}

// testRoom: an answer ends before it holds more than items.MaxPage, whatever was asked
// for, and room is made for what is more than a little.
func testRoom(t *testing.T, s items.Store) {
	owner := someone("hoarder")
	ctx := t.Context()
	n := 60
	for n*large(0).Bytes() < 5<<20 {
		n++
	}
	var made []items.Item // newest first
	for i := range n {
		one, _, err := keep(ctx, s, owner, []items.Draft{large(i)}, nil)
		require.NoError(t, err)
		made = append(one, made...)
	}

	t.Run("list", func(t *testing.T) {
		for _, q := range []items.Query{{Limit: 200}, {Limit: 200, Filters: filters(prefix(""))}} {
			var got []items.Item
			for pages := 1; ; pages++ {
				ctx, rooms := watched(ctx)
				page, err := s.List(ctx, owner, q)
				require.NoError(t, err)
				require.Positive(t, rooms.Load())
				bytes := 0
				for _, item := range page.Items {
					bytes += item.Bytes()
				}
				require.LessOrEqual(t, bytes, items.MaxPage)
				got = append(got, page.Items...)
				if page.Next == "" {
					require.Equal(t, 3, pages)
					break
				}
				require.Greater(t, bytes, items.MaxPage-100<<10, "as much as fits")
				q.After = page.Next
			}
			require.Equal(t, made, got)
		}
	})
	t.Run("little", func(t *testing.T) {
		owner := someone("minimalist")
		item := create(t, s, owner, "small")
		ctx, rooms := watched(ctx)
		_, err := s.Get(ctx, owner, item.ID)
		require.NoError(t, err)
		_, err = s.List(ctx, owner, items.Query{Limit: 200})
		require.NoError(t, err)
		require.Zero(t, rooms.Load())
	})

	first, err := s.Delta(ctx, owner, "", 200)
	require.NoError(t, err)
	require.True(t, first.More)
	for first.More {
		first, err = s.Delta(ctx, owner, first.Next, 200)
		require.NoError(t, err)
	}
	// Every third, so that some are read in a range and some one by one; two go.
	want := map[string]items.Change{}
	for i := 0; i < len(made); i += 3 {
		made[i], err = update(ctx, s, owner, made[i].ID, items.Match{Any: true}, edit{replacing(large(1000 + i)), ""})
		require.NoError(t, err)
		want[made[i].ID] = items.Change{Item: made[i]}
	}
	for _, i := range []int{1, 30} {
		gone, err := drop(ctx, s, owner, made[i].ID, items.Match{Any: true})
		require.NoError(t, err)
		want[gone.ID] = goneFrom(gone)
	}
	for i := 2; i < len(made); i += 6 {
		made[i], err = update(ctx, s, owner, made[i].ID, items.Match{Any: true}, edit{replacing(large(2000 + i)), ""})
		require.NoError(t, err)
		want[made[i].ID] = items.Change{Item: made[i]}
	}
	for _, limit := range []int{200, 7, 1} {
		t.Run(fmt.Sprintf("delta, %d at a time", limit), func(t *testing.T) {
			got := map[string]items.Change{}
			position, parts := first.Next, 0
			for {
				ctx, rooms := watched(ctx)
				d, err := s.Delta(ctx, owner, position, limit)
				require.NoError(t, err)
				bytes := 0
				for _, c := range d.Changes {
					bytes += c.Bytes()
					got[c.ID] = c
				}
				require.LessOrEqual(t, bytes, items.MaxPage)
				if bytes > 64<<10 && len(d.Changes) > 1 {
					require.Positive(t, rooms.Load())
				}
				position = d.Next
				parts++
				if !d.More {
					break
				}
			}
			require.Equal(t, want, got)
			if limit == 200 {
				require.Equal(t, 2, parts)
			}
		})
	}

	t.Run("no room", func(t *testing.T) {
		full := items.WithRoom(ctx, func(context.Context, int64) error { return items.ErrNoRoom })
		full, calls := items.CountCalls(full)
		_, err := s.List(full, owner, items.Query{Limit: 200})
		require.ErrorIs(t, err, items.ErrNoRoom)
		require.EqualValues(t, 1, calls.Load(), "another attempt would not help")
		_, err = s.Delta(full, owner, first.Next, 200)
		require.ErrorIs(t, err, items.ErrNoRoom)
	})
}
