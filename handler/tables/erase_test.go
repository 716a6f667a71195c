package tables_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

// eraseAll erases until there is no more, and returns how many items that were.
func eraseAll(t testing.TB, s items.Store, owner items.Owner) (erased int64) {
	for range 100 {
		n, more, err := s.Erase(t.Context(), owner)
		require.NoError(t, err)
		if erased += n; !more {
			return erased
		}
	}
	t.Fatal("there is always more")
	return 0
}

// fill gives an owner items, keys, and tombstones of others.
func fill(t testing.TB, s items.Store, owner items.Owner, kept, deleted int) {
	for n := 0; n < kept+deleted; n += 40 {
		made, _, err := keep(t.Context(), s, owner, drafts(min(40, kept+deleted-n)), key(fmt.Sprint(n), "r"))
		require.NoError(t, err)
		var ops []items.Op
		for _, item := range made[:min(len(made), max(0, n+len(made)-kept))] {
			ops = append(ops, deleteOf(item, anyVersion))
		}
		if ops != nil {
			_, _, err = s.Apply(t.Context(), owner, ops, key(fmt.Sprint("deleted ", n), "r"))
			require.NoError(t, err)
		}
	}
}

// testErase is the part of the contract about erasing; the stores are two instances over
// the same table.
func testErase(t *testing.T, s, other items.Store) {
	ctx := t.Context()
	resynced := func(owner items.Owner, position string) (at time.Time) {
		_, err := other.Delta(ctx, owner, position, 10)
		var erased *items.ErasedError
		require.ErrorAs(t, err, &erased)
		require.ErrorIs(t, err, items.ErrResync)
		return erased.At
	}
	t.Run("what is erased is gone, and positions with it", func(t *testing.T) {
		owner := someone("leaver")
		_, empty := delta(t, s, owner, "", 10)
		create(t, other, owner, "x")
		_, one := delta(t, s, owner, "", 10)
		fill(t, s, owner, 30, 25)
		_, all := delta(t, s, owner, "", 200)
		part, err := s.Delta(ctx, owner, one, 3)
		require.NoError(t, err)
		newest := newIDAt(time.Now().Add(4 * time.Minute))
		_, err = apply(ctx, s, owner, createAs(newest, "x"), "r")
		require.NoError(t, err)
		gone, err := drop(ctx, s, owner, newest, anyVersion)
		require.NoError(t, err)

		before := time.Now()
		require.EqualValues(t, 31, eraseAll(t, s, owner))
		require.Empty(t, list(t, other, owner))
		for _, position := range []string{empty, one, all, part.Next} {
			require.WithinRange(t, resynced(owner, position), before.Add(-time.Second), time.Now().Add(time.Second))
		}
		sum, err := other.Summary(ctx, owner)
		require.NoError(t, err)
		require.Equal(t, resynced(owner, all), sum.ErasedAt)
		require.True(t, sum.Known)
		told, position := delta(t, s, owner, "", 10)
		require.Empty(t, told)

		// It goes on, but not under IDs that are not newer.
		for _, id := range []string{newID(), gone.ID, newIDAt(time.Now().Add(3 * time.Minute))} {
			_, err = apply(ctx, other, owner, createAs(id, "x"), "r")
			require.ErrorIs(t, err, items.ErrDeleted)
		}
		made, err := apply(ctx, other, owner, createAs(newIDAt(time.Now().Add(4*time.Minute+30*time.Second)), "x"), "r")
		require.NoError(t, err)
		second := create(t, s, owner, "y")
		_, replayed, err := keep(ctx, s, owner, drafts(40), key("0", "r"))
		require.NoError(t, err)
		require.False(t, replayed, "the key is forgotten")
		told, _ = delta(t, other, owner, position, 100)
		require.Len(t, told, 42)
		require.Contains(t, told, made)
		require.Contains(t, told, items.Change{Item: second})
		require.Len(t, list(t, s, owner), 42)

		// Erased again, what was told since is out of date, too.
		_, position = delta(t, s, owner, "", 100)
		require.EqualValues(t, 42, eraseAll(t, other, owner))
		require.True(t, resynced(owner, position).After(sum.ErasedAt))
		require.Empty(t, list(t, s, owner))
	})

	t.Run("of nobody nothing is erased, and nothing comes of it", func(t *testing.T) {
		owner := someone("nobody")
		require.Zero(t, eraseAll(t, s, owner))
		sum, err := s.Summary(ctx, owner)
		require.NoError(t, err)
		require.Zero(t, sum)
	})

	t.Run("others keep theirs", func(t *testing.T) {
		owner, neighbour := someone("eraser"), someone("neighbour")
		create(t, s, owner, "x")
		fill(t, s, neighbour, 3, 2)
		before := list(t, s, neighbour)
		require.EqualValues(t, 1, eraseAll(t, s, owner))
		require.Equal(t, before, list(t, s, neighbour))
	})

	t.Run("while others write", func(t *testing.T) {
		owner := someone("busy eraser")
		fill(t, s, owner, 300, 100)
		var wg sync.WaitGroup
		var errs [4]error
		for i := range errs {
			wg.Go(func() {
				for n := 0; n < 20 && errs[i] == nil; n++ {
					var made []items.Item
					made, _, errs[i] = keep(ctx, []items.Store{s, other}[i%2], owner, drafts(1), nil)
					if errs[i] == nil && n%3 == 0 {
						_, errs[i] = drop(ctx, other, owner, made[0].ID, anyVersion)
						if errors.Is(errs[i], items.ErrNotFound) {
							errs[i] = nil // it was erased
						}
					}
				}
			})
		}
		eraseAll(t, s, owner)
		wg.Wait()
		require.NoError(t, errors.Join(errs[:]...))
		list(t, s, owner) // as many as are counted
		eraseAll(t, other, owner)
		require.Empty(t, list(t, s, owner))
	})
}

// Of 10,000 items with keys, and as many tombstones, one row is left. Each call is short.
func TestEraseMany(t *testing.T) {
	service := strictService(t)
	g := newGate()
	s := open(t, service.ConnectionString(), in("items"), through(g))
	fill(t, s, alice, 10_000, 2_000)
	create(t, s, bob, "x")
	rows := len(service.Entities("items")) - 3 - 1 // bob's, and the head
	require.Greater(t, rows, 12_000)
	service.Inject(tablestest.Fault{Delay: 25 * time.Millisecond})
	g.transactions.Store(0)
	var erased int64
	calls := 1
	for ; ; calls++ {
		ctx, storageCalls := counted(t)
		n, more, err := s.Erase(ctx, alice)
		require.NoError(t, err)
		require.Less(t, storageCalls.Load(), int64(120), "2 s of 25 ms each")
		erased += n
		if !more {
			break
		}
		require.Less(t, calls, 50)
	}
	require.EqualValues(t, 10_000, erased)
	require.Greater(t, calls, 1)
	require.LessOrEqual(t, g.transactions.Load(), int64(rows/99+rows/1000+4), "99 rows at a time")
	left := service.Entities("items")
	require.Len(t, left, 1+3)
	for _, row := range left {
		if row["PartitionKey"] == tables.PartitionKey(alice) {
			require.Equal(t, "m-head", row["RowKey"])
			require.Equal(t, "0", row["count"])
		}
	}
}

// Wherever it is broken off, the count is right, positions of before are told so, and the
// next call goes on.
func TestEraseBrokenOff(t *testing.T) {
	service := strictService(t)
	for _, kind := range []string{"before", "after"} {
		for after := 0; ; after++ {
			owner := someone(fmt.Sprint("broken off ", kind, after))
			s := open(t, service.ConnectionString(), in("items"))
			fill(t, s, owner, 120, 120)
			_, position := delta(t, s, owner, "", 200)
			var calls atomic.Int64
			fault := tablestest.Fault{Match: func(*http.Request) bool { return calls.Add(1) > int64(after) }}
			if kind == "before" {
				fault.Status, fault.RetryAfter = 503, 30
			} else {
				fault.DropReply = true
			}
			remove := service.Inject(fault)
			_, _, err := s.Erase(t.Context(), owner)
			remove()
			if err == nil {
				require.Greater(t, after, 5)
				break
			}
			require.ErrorIs(t, err, items.ErrUnavailable)
			left := list(t, s, owner) // as many as are counted
			if len(left) < 120 {
				_, err = s.Delta(t.Context(), owner, position, 10)
				require.ErrorIs(t, err, items.ErrResync)
				var between []items.Change
				between, position = delta(t, s, owner, "", 200)
				require.Len(t, between, len(left))
			}
			other := open(t, service.ConnectionString(), in("items"))
			require.EqualValues(t, len(left), eraseAll(t, other, owner))
			_, err = s.Delta(t.Context(), owner, position, 10)
			require.ErrorIs(t, err, items.ErrResync, "whatever was told in between")
			rows := 0
			for _, row := range service.Entities("items") {
				if row["PartitionKey"] == tables.PartitionKey(owner) {
					rows++
					require.False(t, strings.HasPrefix(row["RowKey"].(string), "i-"))
				}
			}
			require.Equal(t, 1, rows)
		}
	}
}

// What was found is gone when it is to be erased.
func TestEraseMeetsADeletion(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		table := newTable()
		g := newGate()
		s, other := open(t, connectionString, in(table), through(g)), open(t, connectionString, in(table))
		owner := someone("eraser and deleter")
		create(t, s, owner, "x")
		item := create(t, s, owner, "y")
		g.closed.Store(true)
		type outcome struct {
			erased int64
			err    error
		}
		done := make(chan outcome, 1)
		go func() {
			n, _, err := s.Erase(context.Background(), owner)
			done <- outcome{n, err}
		}()
		waittest.For(t, g.arrived)
		g.closed.Store(false)
		_, err := drop(t.Context(), other, owner, item.ID, version(item.ETag))
		require.NoError(t, err)
		g.let <- struct{}{}
		require.Equal(t, outcome{1, nil}, waittest.For(t, done))
		require.Empty(t, list(t, other, owner))
	})
}
