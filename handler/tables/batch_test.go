package tables_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

// newID is an ID as a client makes it.
func newID() string { return uuid.Must(uuid.NewV7()).String() }

// newIDAt is one of that time.
func newIDAt(at time.Time) string {
	id := uuid.Must(uuid.NewV7())
	for i, ms := 0, at.UnixMilli(); i < 6; i++ {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id.String()
}

func createAs(id, text string) items.Op {
	d := draft(text)
	return items.Op{ID: id, Create: &d}
}

func createNew(text string) items.Op { return createAs("", text) }

func editTo(item items.Item, m items.Match, text string) items.Op {
	e := rewrite(text).Edit
	return items.Op{ID: item.ID, Match: m, Edit: &e}
}

// patchTo is an edit for which the item has to be read.
func patchTo(item items.Item, m items.Match, text string) items.Op {
	e := items.Edit{Apply: func(items.Item) (items.Draft, error) { return draft(text), nil }}
	return items.Op{ID: item.ID, Match: m, Edit: &e}
}

func deleteOf(item items.Item, m items.Match) items.Op {
	return items.Op{ID: item.ID, Match: m, Delete: true}
}

// asking gives ops the request that they are of.
func asking(request string, ops ...items.Op) []items.Op {
	for i := range ops {
		copy(ops[i].Request[:], request)
	}
	return ops
}

// failed are the ops of a batch that failed.
func failed(t testing.TB, err error) map[int]error {
	var batch *items.OpsError
	require.ErrorAs(t, err, &batch)
	all := map[int]error{}
	for _, f := range batch.Failed {
		all[f.Index] = f.Err
	}
	return all
}

// testBatches is the part of the contract about several changes at once, and testIDs that
// about IDs of the client's own; the stores are two instances over the same table.
func testBatches(t *testing.T, s, other items.Store) {
	ctx := t.Context()
	t.Run("a batch of changes of all kinds", func(t *testing.T) {
		owner := someone("mixed batcher")
		a, b, c, d := create(t, s, owner, "a"), create(t, s, owner, "b"), create(t, other, owner, "c"), create(t, s, owner, "d")
		_, position := delta(t, s, owner, "", 10)
		id := newID()
		ops := asking("mixed", createNew("new"), createAs(id, "own"), editTo(a, version(a.ETag), "a2"), patchTo(b, version(b.ETag), "b2"),
			deleteOf(c, version(c.ETag)), editTo(d, anyVersion, "d2"))
		made, replayed, err := s.Apply(ctx, owner, ops, key("k", "mixed"))
		require.NoError(t, err)
		require.False(t, replayed)
		require.Len(t, made, len(ops))
		require.Equal(t, id, made[1].ID)
		for i, text := range []string{"new", "own", "a2", "b2", "", "d2"} {
			if i == 4 {
				require.Equal(t, c.ID, made[4].Gone.ID)
				continue
			}
			require.Equal(t, text, textOf(made[i].Item))
			got, err := other.Get(ctx, owner, made[i].ID)
			require.NoError(t, err)
			require.Equal(t, made[i].Item, got)
		}
		require.Len(t, list(t, s, owner), 5)
		for _, limit := range []int{1, 4, 10} {
			told, _ := delta(t, other, owner, position, limit)
			require.ElementsMatch(t, made, told)
		}

		// Again with its key: what each is by its ID and version, whatever became of it.
		_, err = drop(ctx, s, owner, id, anyVersion)
		require.NoError(t, err)
		again, replayed, err := other.Apply(ctx, owner, ops, key("k", "mixed"))
		require.NoError(t, err)
		require.True(t, replayed)
		for i := range made {
			require.Equal(t, made[i].ID, again[i].ID)
			require.Equal(t, made[i].ETag, again[i].ETag)
			require.Equal(t, made[i].Gone, again[i].Gone)
		}
		_, _, err = other.Apply(ctx, owner, ops, key("k", "another"))
		require.ErrorIs(t, err, items.ErrKeyReused)
		require.Len(t, list(t, s, owner), 4)
	})

	t.Run("all or none, and each that fails is named", func(t *testing.T) {
		owner := someone("failing batcher")
		a, b, c, d := create(t, s, owner, "a"), create(t, s, owner, "b"), create(t, s, owner, "c"), create(t, s, owner, "d")
		_, err := update(ctx, s, owner, b.ID, version(b.ETag), rewrite("b2"))
		require.NoError(t, err)
		_, err = drop(ctx, s, owner, c.ID, version(c.ETag))
		require.NoError(t, err)
		before := list(t, s, owner)
		invalid := &items.InvalidError{Problems: []items.Problem{{Pointer: "/x", Detail: "y"}}}
		wrong := items.Edit{Apply: func(items.Item) (items.Draft, error) { return items.Draft{}, invalid }}
		ops := asking("failing", createNew("new"), editTo(a, version(a.ETag), "a2"), deleteOf(b, version(b.ETag)), patchTo(b, version(`"x"`), "b3"),
			deleteOf(c, anyVersion), createAs(c.ID, "c again"), createAs(a.ID, "a again"), items.Op{ID: d.ID, Match: anyVersion, Edit: &wrong},
			editTo(items.Item{ID: "x"}, anyVersion, "x"))
		ops = slicesDelete(ops, 3) // it is about b a second time
		for _, k := range []*items.Key{nil, key("failing", "failing")} {
			_, _, err = other.Apply(ctx, owner, ops, k)
			all := failed(t, err)
			require.Len(t, all, 6)
			require.ErrorIs(t, err, items.ErrChanged, "the first")
			require.ErrorIs(t, all[2], items.ErrChanged)
			require.ErrorIs(t, all[4], items.ErrDeleted)
			require.ErrorIs(t, all[5], items.ErrExists)
			require.ErrorAs(t, all[6], &invalid)
			require.ErrorIs(t, all[7], items.ErrNotFound)
		}
		require.Equal(t, before, list(t, s, owner))
		// The key was not used up.
		_, replayed, err := s.Apply(ctx, owner, asking("ok", createNew("ok")), key("failing", "ok"))
		require.NoError(t, err)
		require.False(t, replayed)
	})

	t.Run("a repeat without a key is one of the whole", func(t *testing.T) {
		owner := someone("repeating batcher")
		a, b := create(t, s, owner, "a"), create(t, s, owner, "b")
		ops := asking("repeat", editTo(a, version(a.ETag), "a2"), deleteOf(b, version(b.ETag)), createAs(newID(), "own"))
		made, _, err := s.Apply(ctx, owner, ops, nil)
		require.NoError(t, err)
		again, replayed, err := other.Apply(ctx, owner, ops, nil)
		require.NoError(t, err)
		require.False(t, replayed)
		require.Equal(t, made, again)
		// With something new in it, it is another request, and makes nothing twice.
		_, _, err = other.Apply(ctx, owner, append(ops, asking("repeat", createNew("new"))...), nil)
		all := failed(t, err)
		require.ErrorIs(t, all[0], items.ErrChanged)
		require.ErrorIs(t, all[1], items.ErrNotFound)
		require.ErrorIs(t, all[2], items.ErrExists)
		require.Len(t, list(t, s, owner), 2)
	})

	t.Run("nothing is sent of what is too large", func(t *testing.T) {
		owner := someone("large batcher")
		create(t, s, owner, "warm")
		var ops []items.Op
		for i := 0; i < 40 || i*ops[0].Create.Bytes()*6 < 5<<20; i++ {
			d := itemstest.Draft(itemstest.LargeContent(i, "<"))
			ops = append(ops, items.Op{ID: newID(), Create: &d})
		}
		ctx, calls := items.CountCalls(ctx)
		_, _, err := s.Apply(ctx, owner, ops, nil)
		require.ErrorIs(t, err, items.ErrTooLarge)
		require.Zero(t, calls.Load())
	})

	t.Run("forty of the largest kind fit", func(t *testing.T) {
		owner := someone("forty")
		var ops []items.Op
		for range 40 {
			ops = append(ops, deleteOf(create(t, s, owner, "x"), anyVersion))
		}
		made, _, err := s.Apply(ctx, owner, ops, key("forty", "forty"))
		require.NoError(t, err)
		require.Len(t, made, 40)
		require.Empty(t, list(t, s, owner))
	})
}

func slicesDelete(ops []items.Op, i int) []items.Op { return append(ops[:i:i], ops[i+1:]...) }

func testIDs(t *testing.T, s, other items.Store) {
	ctx := t.Context()
	one := func(s items.Store, owner items.Owner, request string, op items.Op) (items.Item, error) {
		made, err := apply(ctx, s, owner, op, request)
		return made.Item, err
	}

	t.Run("an item has the ID that its client made", func(t *testing.T) {
		owner := someone("ID maker")
		for _, at := range []time.Duration{0, -30 * 24 * time.Hour, 5 * time.Minute} {
			id := newIDAt(time.Now().Add(at))
			made, err := one(s, owner, "r", createAs(id, "x"))
			require.NoError(t, err)
			require.Equal(t, id, made.ID)
			require.WithinDuration(t, time.Now().Add(at), made.CreatedAt, time.Minute)
			require.False(t, made.UpdatedAt.Before(made.CreatedAt))
			got, err := other.Get(ctx, owner, id)
			require.NoError(t, err)
			require.Equal(t, made, got)

			// The same request is told the same, another one is not.
			again, err := one(other, owner, "r", createAs(id, "x"))
			require.NoError(t, err)
			require.Equal(t, made, again)
			_, err = one(other, owner, "another", createAs(id, "y"))
			require.ErrorIs(t, err, items.ErrExists)
			changed, err := update(ctx, other, owner, id, version(made.ETag), rewrite("z"))
			require.NoError(t, err)
			require.True(t, changed.UpdatedAt.After(made.UpdatedAt))
			_, err = one(s, owner, "r", createAs(id, "x"))
			require.ErrorIs(t, err, items.ErrExists, "it is not what that request made any more")
			_, err = drop(ctx, s, owner, id, anyVersion)
			require.NoError(t, err)
			for _, request := range []string{"r", "another"} {
				_, err = one(other, owner, request, createAs(id, "x"))
				require.ErrorIs(t, err, items.ErrDeleted)
			}
			// To others it is as if it had never been.
			_, err = one(s, someone("another ID maker"), "r", createAs(id, "x"))
			require.NoError(t, err)
		}
		made := create(t, s, owner, "under the store's own")
		_, err := one(other, owner, "r", createAs(made.ID, "x"))
		require.ErrorIs(t, err, items.ErrExists)
		require.Len(t, list(t, s, owner), 1)
	})

	t.Run("of many that create under one ID one succeeds", func(t *testing.T) {
		owner := someone("ID crowd")
		for round := range 10 {
			id := newID()
			var errs [12]error
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() {
					_, errs[i] = one([]items.Store{s, other}[i%2], owner, fmt.Sprint(i), createAs(id, fmt.Sprint(i)))
				})
			}
			wg.Wait()
			made := 0
			for _, err := range errs {
				if err == nil {
					made++
				} else {
					require.ErrorIs(t, err, items.ErrExists)
				}
			}
			require.Equal(t, 1, made)
			require.Len(t, list(t, s, owner), round+1)
		}
	})

	t.Run("changing hands between two instances", func(t *testing.T) {
		// Each has seen the partition last in another state.
		owner := someone("ID taker")
		for range 20 {
			id := newID()
			made, err := one(s, owner, "s", createAs(id, "s"))
			require.NoError(t, err)
			_, err = one(other, owner, "other", createAs(id, "other"))
			require.ErrorIs(t, err, items.ErrExists)
			_, err = drop(ctx, other, owner, id, version(made.ETag))
			require.NoError(t, err)
			_, err = one(s, owner, "s", createAs(id, "s"))
			require.ErrorIs(t, err, items.ErrDeleted)
		}
		require.Empty(t, list(t, s, owner))
	})
}

// An ID is taken in the very moment in which another instance looks whether it is free.
func TestIDTakenMeanwhile(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		table := newTable()
		g := newGate()
		s, other := open(t, connectionString, in(table), through(g)), open(t, connectionString, in(table))
		for _, then := range []string{"", "changed", "deleted"} {
			owner := someone("moment " + then)
			create(t, s, owner, "warm")
			id := newID()
			g.closed.Store(true)
			done := make(chan error, 1)
			go func() {
				_, err := apply(context.Background(), s, owner, createAs(id, "late"), "late")
				done <- err
			}()
			waittest.For(t, g.arrived) // it has looked, and found nothing
			g.closed.Store(false)
			made, err := apply(t.Context(), other, owner, createAs(id, "early"), "early")
			require.NoError(t, err)
			want := items.ErrExists
			switch then {
			case "changed":
				_, err = update(t.Context(), other, owner, id, version(made.ETag), rewrite("changed"))
			case "deleted":
				_, err = drop(t.Context(), other, owner, id, version(made.ETag))
				want = items.ErrDeleted
			}
			require.NoError(t, err)
			g.let <- struct{}{}
			require.ErrorIs(t, waittest.For(t, done), want)
		}
	})
}

// A creation under a client's ID whose reply is lost is made once.
func TestIDsInTrouble(t *testing.T) {
	service := strictService(t)
	s := open(t, service.ConnectionString())
	for _, fault := range []string{"reply", "request", "error"} {
		owner := someone("trouble " + fault)
		id := newID()
		remove := service.Inject(faultOn(fault))
		made, err := apply(t.Context(), s, owner, createAs(id, "x"), "r")
		remove()
		if err != nil {
			require.True(t, errors.Is(err, items.ErrUnavailable), "%v", err)
			made, err = apply(t.Context(), s, owner, createAs(id, "x"), "r")
			require.NoError(t, err)
		}
		require.Equal(t, []items.Item{made.Item}, list(t, s, owner))
	}
}

func faultOn(kind string) tablestest.Fault {
	f := tablestest.Fault{Times: 1, Match: func(r *http.Request) bool { return tablestest.Operation(r) == tablestest.OpTransaction }}
	switch kind {
	case "reply":
		f.DropReply = true
	case "request":
		f.DropRequest = true
	default:
		f.Status, f.Times = 500, 3
	}
	return f
}
