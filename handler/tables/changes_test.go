package tables_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
)

func someone(name string) items.Owner { return items.Owner{Tenant: alice.Tenant, Subject: name} }

func key(value, request string) *items.Key {
	k := &items.Key{Value: value}
	copy(k.Request[:], request)
	return k
}

// draft is valid content with that text, and textOf an item's.
func draft(text string) items.Draft { return itemstest.Draft(itemstest.Text(text)) }

func textOf(item items.Item) string {
	b, err := json.Marshal(item)
	if err != nil {
		panic(err)
	}
	return itemstest.TextOf(b)
}

// drafts are so many different contents.
func drafts(n int) []items.Draft {
	all := make([]items.Draft, n)
	for i := range all {
		all[i] = itemstest.Draft(itemstest.Content(i))
	}
	return all
}

// edit is an edit, and what its repeat shares.
type edit struct {
	items.Edit
	request string
}

// rewrite is an edit that replaces an item's content by one with that text.
func rewrite(text string) edit { return edit{replacing(draft(text)), text} }

func replacing(d items.Draft) items.Edit {
	return items.Edit{Blind: true, Apply: func(items.Item) (items.Draft, error) { return d, nil }}
}

// apply makes one change.
func apply(ctx context.Context, s items.Store, owner items.Owner, op items.Op, request string) (items.Change, error) {
	copy(op.Request[:], request)
	made, _, err := s.Apply(ctx, owner, []items.Op{op}, nil)
	if err != nil {
		return items.Change{}, err
	}
	return made[0], nil
}

// keep creates items, update changes one, and drop deletes one.
func keep(ctx context.Context, s items.Store, owner items.Owner, drafts []items.Draft, key *items.Key) (made []items.Item, replayed bool, err error) {
	ops := make([]items.Op, len(drafts))
	for i := range drafts {
		ops[i].Create = &drafts[i]
	}
	changes, replayed, err := s.Apply(ctx, owner, ops, key)
	for _, c := range changes {
		made = append(made, c.Item)
	}
	return made, replayed, err
}

func update(ctx context.Context, s items.Store, owner items.Owner, id string, m items.Match, e edit) (items.Item, error) {
	made, err := apply(ctx, s, owner, items.Op{ID: id, Match: m, Edit: &e.Edit}, e.request)
	return made.Item, err
}

func drop(ctx context.Context, s items.Store, owner items.Owner, id string, m items.Match) (items.Tombstone, error) {
	made, err := apply(ctx, s, owner, items.Op{ID: id, Match: m, Delete: true}, "")
	if err != nil {
		return items.Tombstone{}, err
	}
	return *made.Gone, nil
}

// goneFrom is what a delta tells of an item that was deleted.
func goneFrom(t items.Tombstone) items.Change {
	return items.Change{Item: items.Item{ID: t.ID}, Gone: &t}
}

func version(tags ...string) items.Match { return items.Match{Tags: tags} }

var anyVersion = items.Match{Any: true}

// list lists all items, which are as many as the summary says.
func list(t testing.TB, s items.Store, owner items.Owner) []items.Item {
	page, err := s.List(t.Context(), owner, items.Query{Limit: 1000})
	require.NoError(t, err)
	require.Empty(t, page.Next)
	sum, err := s.Summary(t.Context(), owner)
	require.NoError(t, err)
	require.EqualValues(t, len(page.Items), sum.Count)
	return page.Items
}

// sync reads a delta to its end and returns what it told and where the next begins.
func delta(t testing.TB, s items.Store, owner items.Owner, after string, limit int) (told []items.Change, next string) {
	for range 1000 {
		d, err := s.Delta(t.Context(), owner, after, limit)
		require.NoError(t, err)
		require.LessOrEqual(t, len(d.Changes), limit)
		told = append(told, d.Changes...)
		after = d.Next
		if !d.More {
			return told, after
		}
	}
	t.Fatal("the delta does not end")
	return nil, ""
}

func ids(changes []items.Change) (ids []string) {
	for _, c := range changes {
		ids = append(ids, c.ID)
	}
	return ids
}

// testChanges is the part of the contract about changes; the stores are two
// instances over the same table.
func testChanges(t *testing.T, s, other items.Store) {
	ctx := t.Context()

	t.Run("several are created in order", func(t *testing.T) {
		owner := someone("batcher")
		made, _, err := keep(ctx, s, owner, drafts(50), key("fifty", "fifty"))
		require.NoError(t, err)
		require.Len(t, made, 50)
		stored := list(t, s, owner)
		slices.Reverse(stored)
		require.Equal(t, made, stored)
	})

	t.Run("a key works once", func(t *testing.T) {
		owner := someone("key holder")
		drafts := drafts(2)
		made, replayed, err := keep(ctx, s, owner, drafts, key("k", "r"))
		require.NoError(t, err)
		require.False(t, replayed)
		for _, instance := range []items.Store{s, other} {
			again, replayed, err := keep(ctx, instance, owner, drafts, key("k", "r"))
			require.NoError(t, err)
			require.True(t, replayed)
			require.Equal(t, made, again)
			_, _, err = keep(ctx, instance, owner, drafts, key("k", "another"))
			require.ErrorIs(t, err, items.ErrKeyReused)
		}
		require.Len(t, list(t, s, owner), 2)

		// The first answer comes again whatever became of the items.
		_, err = update(ctx, s, owner, made[0].ID, version(made[0].ETag), rewrite("changed"))
		require.NoError(t, err)
		_, err = drop(ctx, s, owner, made[1].ID, anyVersion)
		require.NoError(t, err)
		again, replayed, err := keep(ctx, other, owner, drafts, key("k", "r"))
		require.NoError(t, err)
		require.True(t, replayed)
		require.Equal(t, made, again)
		left := list(t, s, owner)
		require.Len(t, left, 1)
		require.Equal(t, "changed", textOf(left[0]))

		// It is the caller's own.
		_, replayed, err = keep(ctx, s, someone("another key holder"), drafts, key("k", "another"))
		require.NoError(t, err)
		require.False(t, replayed)
		for _, k := range []string{"K", "'", "k'", " ", strings.Repeat("~", 255)} {
			_, replayed, err := keep(ctx, s, owner, drafts, key(k, "r"))
			require.NoError(t, err)
			require.False(t, replayed, k)
		}
	})

	t.Run("twelve at once with one key make one item", func(t *testing.T) {
		owner := someone("impatient")
		const n = 12
		var made [n][]items.Item
		var replayed [n]bool
		var errs [n]error
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				made[i], replayed[i], errs[i] = keep(ctx, []items.Store{s, other}[i%2], owner, drafts(1), key("k", "r"))
			})
		}
		wg.Wait()
		first := 0
		for i := range n {
			require.NoError(t, errs[i])
			require.Equal(t, made[0], made[i])
			if !replayed[i] {
				first++
			}
		}
		require.Equal(t, 1, first)
		require.Len(t, list(t, s, owner), 1)
	})

	t.Run("an update needs the version", func(t *testing.T) {
		owner := someone("editor")
		first := create(t, s, owner, "one")
		second, err := update(ctx, s, owner, first.ID, version(first.ETag), rewrite("two"))
		require.NoError(t, err)
		require.Equal(t, "two", textOf(second))
		require.NotEqual(t, first.ETag, second.ETag)
		require.Equal(t, first.CreatedAt, second.CreatedAt)
		require.Greater(t, second.UpdatedAt, first.UpdatedAt)
		for _, instance := range []items.Store{s, other} {
			got, err := instance.Get(ctx, owner, first.ID)
			require.NoError(t, err)
			require.Equal(t, second, got)
			require.Equal(t, []items.Item{second}, list(t, instance, owner))
			for _, m := range []items.Match{{}, version(first.ETag), version(`"x"`), version(`"*"`), version("*"), version(strings.Trim(second.ETag, `"`)), version(strings.ToUpper(second.ETag)), version(first.ETag, `"x"`), version(`"` + strings.Repeat("'", 32) + `"`)} {
				_, err := update(ctx, instance, owner, first.ID, m, rewrite("three"))
				require.ErrorIs(t, err, items.ErrChanged, "%v", m)
				_, err = drop(ctx, instance, owner, first.ID, m)
				require.ErrorIs(t, err, items.ErrChanged, "%v", m)
				_, err = update(ctx, instance, bob, first.ID, m, rewrite("three"))
				require.ErrorIs(t, err, items.ErrNotFound, "%v", m)
			}
		}
		third, err := update(ctx, other, owner, first.ID, version(`"x"`, second.ETag), rewrite("three"))
		require.NoError(t, err)
		fourth, err := update(ctx, s, owner, first.ID, anyVersion, rewrite("four"))
		require.NoError(t, err)
		require.Greater(t, fourth.UpdatedAt, third.UpdatedAt)
		require.Equal(t, []items.Item{fourth}, list(t, s, owner))
		for _, id := range []string{"", "x", "0199a5a0-0000-7000-8000-000000000000", strings.ToUpper(first.ID)} {
			for _, m := range []items.Match{{}, anyVersion, version(fourth.ETag)} {
				_, err := update(ctx, s, owner, id, m, rewrite("x"))
				require.ErrorIs(t, err, items.ErrNotFound)
				_, err = drop(ctx, s, owner, id, m)
				require.ErrorIs(t, err, items.ErrNotFound)
			}
		}
	})

	t.Run("an update made again is the same update", func(t *testing.T) {
		owner := someone("repeater")
		first := create(t, s, owner, "one")
		second, err := update(ctx, s, owner, first.ID, version(first.ETag), rewrite("two"))
		require.NoError(t, err)
		for _, m := range []items.Match{version(first.ETag), version(`"x"`, first.ETag)} {
			again, err := update(ctx, other, owner, first.ID, m, rewrite("two"))
			require.NoError(t, err)
			require.Equal(t, second, again)
		}
		_, err = update(ctx, s, owner, first.ID, version(first.ETag), rewrite("another"))
		require.ErrorIs(t, err, items.ErrChanged)
		_, err = update(ctx, s, owner, first.ID, version(second.ETag), rewrite("three"))
		require.NoError(t, err)
		_, err = update(ctx, s, owner, first.ID, version(first.ETag), rewrite("two"))
		require.ErrorIs(t, err, items.ErrChanged, "it was changed since by another request")
	})

	t.Run("an edit in part sees the item", func(t *testing.T) {
		owner := someone("patcher")
		for i, d := range drafts(2 * len(itemstest.Load().Good)) {
			made, _, err := keep(ctx, s, owner, []items.Draft{d}, nil)
			require.NoError(t, err)
			e := edit{items.Edit{Apply: func(item items.Item) (items.Draft, error) { return item.Draft, nil }}, "same"}
			item, err := update(ctx, other, owner, made[0].ID, version(made[0].ETag), e)
			require.NoError(t, err)
			require.Equal(t, d, item.Draft, "content %d", i)
			require.NotEqual(t, made[0].ETag, item.ETag)
		}
	})

	t.Run("of many changes for one version one is made", func(t *testing.T) {
		owner := someone("crowd")
		item := create(t, s, owner, "x")
		var errs [12]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = update(ctx, []items.Store{s, other}[i%2], owner, item.ID, version(item.ETag), rewrite(fmt.Sprint(i)))
			})
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			if err == nil {
				made++
			} else {
				require.ErrorIs(t, err, items.ErrChanged)
			}
		}
		require.Equal(t, 1, made)
		for i := range errs {
			wg.Go(func() { _, errs[i] = update(ctx, other, owner, item.ID, anyVersion, rewrite("any")) })
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs[:]...))
		require.Len(t, list(t, s, owner), 1)
	})

	t.Run("what is deleted is gone, and a repeat is told so", func(t *testing.T) {
		owner := someone("deleter")
		item := create(t, s, owner, "x")
		gone, err := drop(ctx, s, owner, item.ID, version(item.ETag))
		require.NoError(t, err)
		require.Equal(t, item.ID, gone.ID)
		require.Greater(t, gone.DeletedAt, item.UpdatedAt)
		_, err = other.Get(ctx, owner, item.ID)
		require.ErrorIs(t, err, items.ErrNotFound)
		require.Empty(t, list(t, other, owner))
		for _, m := range []items.Match{version(item.ETag), version(`"x"`, item.ETag)} {
			again, err := drop(ctx, other, owner, item.ID, m)
			require.NoError(t, err)
			require.Equal(t, gone, again)
		}
		for _, m := range []items.Match{{}, anyVersion, version(`"x"`)} {
			_, err = drop(ctx, s, owner, item.ID, m)
			require.ErrorIs(t, err, items.ErrNotFound, "%v", m)
		}
		for _, m := range []items.Match{{}, anyVersion, version(item.ETag)} {
			_, err = update(ctx, s, owner, item.ID, m, rewrite("back"))
			require.ErrorIs(t, err, items.ErrNotFound)
			_, err = drop(ctx, s, bob, item.ID, m)
			require.ErrorIs(t, err, items.ErrNotFound)
		}
		item = create(t, s, owner, "y")
		gone, err = drop(ctx, s, owner, item.ID, anyVersion)
		require.NoError(t, err)
		again, err := drop(ctx, other, owner, item.ID, anyVersion)
		require.NoError(t, err)
		require.Equal(t, gone, again)
		_, err = drop(ctx, other, owner, item.ID, version(item.ETag))
		require.ErrorIs(t, err, items.ErrNotFound)
	})

	t.Run("a delta tells everything that changed", func(t *testing.T) {
		for _, limit := range []int{1, 3, 200} {
			owner := someone(fmt.Sprint("syncer ", limit))
			told, start := delta(t, s, owner, "", limit)
			require.Empty(t, told)
			told, _ = delta(t, s, owner, start, limit)
			require.Empty(t, told)

			a, b := create(t, s, owner, "a"), create(t, other, owner, "b")
			batch, _, err := keep(ctx, s, owner, drafts(5), nil)
			require.NoError(t, err)
			all := []string{a.ID, b.ID}
			for _, item := range batch {
				all = append(all, item.ID)
			}
			for _, after := range []string{"", start} {
				told, _ := delta(t, other, owner, after, limit)
				require.ElementsMatch(t, all, ids(told))
			}
			_, position := delta(t, s, owner, "", limit)
			told, same := delta(t, s, owner, position, limit)
			require.Empty(t, told)
			require.Equal(t, position, same)

			a2, err := update(ctx, other, owner, a.ID, version(a.ETag), rewrite("a2"))
			require.NoError(t, err)
			a3, err := update(ctx, s, owner, a.ID, version(a2.ETag), rewrite("a3"))
			require.NoError(t, err)
			gone, err := drop(ctx, s, owner, batch[1].ID, anyVersion)
			require.NoError(t, err)
			told, next := delta(t, s, owner, position, limit)
			require.Contains(t, told, items.Change{Item: a3})
			require.Contains(t, told, goneFrom(gone))
			require.NotContains(t, ids(told), b.ID)
			if limit == 200 {
				require.Equal(t, []items.Change{{Item: a3}, goneFrom(gone)}, told, "each once in a page")
			}
			// From the very beginning: what was deleted is told as such.
			told, _ = delta(t, s, owner, start, limit)
			require.Contains(t, told, goneFrom(gone))
			require.Subset(t, ids(told), all)
			told, _ = delta(t, s, owner, "", limit)
			require.NotContains(t, ids(told), batch[1].ID, "a first delta lists what there is")
			require.Len(t, told, 6)
			told, _ = delta(t, s, owner, next, limit)
			require.Empty(t, told)
		}
	})

	t.Run("a delta finds items that lie far from each other", func(t *testing.T) {
		owner := someone("scatterer")
		var made []items.Item
		for range 4 {
			several, _, err := keep(ctx, s, owner, drafts(50), nil)
			require.NoError(t, err)
			made = append(made, several...)
		}
		_, position := delta(t, s, owner, "", 200)
		want := map[string]items.Item{}
		for _, i := range []int{0, 3, 60, 61, 120, 121, 122, 198} {
			item, err := update(ctx, other, owner, made[i].ID, version(made[i].ETag), rewrite("changed"))
			require.NoError(t, err)
			want[item.ID] = item
		}
		for _, i := range []int{61, 198} { // and it says so of those that are gone
			_, err := drop(ctx, other, owner, made[i].ID, anyVersion)
			require.NoError(t, err)
			delete(want, made[i].ID)
		}
		for _, limit := range []int{3, 5, 200} {
			told, _ := delta(t, s, owner, position, limit)
			got := map[string]items.Item{}
			deleted := 0
			for _, change := range told {
				if change.Gone != nil {
					deleted++
					continue
				}
				got[change.ID] = change.Item
			}
			require.Equal(t, want, got, "limit %d", limit)
			require.Equal(t, 2, deleted)
		}
	})

	t.Run("a position is one of the store's", func(t *testing.T) {
		owner := someone("positioner")
		create(t, s, owner, "x")
		create(t, s, owner, "y")
		_, err := s.Delta(ctx, owner, "", 1)
		require.NoError(t, err)
		for _, p := range []string{"x", "....", "e.0..0", "e.1.x.0.0", "e.0..1.0", "e.-1..0.0", strings.Repeat("9", 5000)} {
			_, err := s.Delta(ctx, owner, p, 1)
			require.ErrorIs(t, err, items.ErrPosition, "%q", p)
		}
		_, err = s.Delta(ctx, owner, "cafecafe.1..1.0", 1)
		require.ErrorIs(t, err, items.ErrResync, "another epoch")
		_, err = s.Delta(ctx, owner, ".f..f.0", 1)
		require.ErrorIs(t, err, items.ErrResync, "a number that never was")
		_, err = s.Delta(ctx, owner, ".ff..f.0", 1)
		require.ErrorIs(t, err, items.ErrResync, "an entry that never was")
	})

	t.Run("too much for one transaction is not sent", func(t *testing.T) {
		// Storage takes 4 MiB of JSON, and the SDK writes < in six bytes.
		var large []items.Draft
		for i := 0; i < 50 || i*large[0].Bytes()*6 < 5<<20; i++ {
			large = append(large, itemstest.Draft(itemstest.LargeContent(i, "<")))
		}
		owner := someone("packer")
		create(t, s, owner, "warm")
		ctx, calls := items.CountCalls(ctx)
		_, _, err := keep(ctx, s, owner, large, nil)
		require.ErrorIs(t, err, items.ErrTooLarge)
		require.Zero(t, calls.Load())
		require.Len(t, list(t, s, owner), 1)
		create(t, s, owner, "and it goes on")
	})
}
