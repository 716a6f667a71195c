package tables_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

// TestCostsAtScale counts storage's operations where there are many items, as
// docs/limits.md states them.
func TestCostsAtScale(t *testing.T) {
	service := strictService(t)
	s := open(t, service.ConnectionString())
	owner := someone("scale")
	var made []items.Item
	for range 18 {
		several, _, err := keep(t.Context(), s, owner, drafts(50), nil)
		require.NoError(t, err)
		made = append(made, several...)
	}
	last := create(t, s, owner, "the newest")
	made = append(made, last)

	// whole follows a delta to its end, and counts its operations.
	whole := func(after string) (told []items.Change, next string, operations int64) {
		ctx, calls := counted(t)
		for more := true; more; {
			d, err := s.Delta(ctx, owner, after, 200)
			require.NoError(t, err)
			require.LessOrEqual(t, len(d.Changes), 200)
			told, after, more = append(told, d.Changes...), d.Next, d.More
		}
		return told, after, calls.Load()
	}
	copied := copyOf{}
	told, position, first := whole("")
	copied.apply(told)
	require.EqualValues(t, 1+5, first, "the head, and a page of 200 each")

	scattered := func(n int) (some []items.Item) {
		for _, i := range rand.Perm(len(made))[:n] {
			some = append(some, made[i])
		}
		return some
	}
	edit := func(item items.Item) {
		_, err := update(t.Context(), s, owner, item.ID, anyVersion, rewrite("changed"))
		require.NoError(t, err)
	}

	for n := range 60 {
		edit(made[15*n])
	}
	told, position, operations := whole(position)
	require.Len(t, told, 60)
	require.LessOrEqual(t, operations, int64(1+1+2+3), "they are read in ranges, and the last few by themselves")
	copied.apply(told)
	copied.requireComplete(t, s, owner)

	const changed, dropped = 130, 30
	for i, item := range scattered(changed) {
		if i >= dropped {
			edit(item)
			continue
		}
		_, err := drop(t.Context(), s, owner, item.ID, anyVersion)
		require.NoError(t, err)
	}
	before := position
	told, position, operations = whole(before)
	require.Len(t, told, len(made), "a tenth changed: all items, and then what is gone")
	for i, c := range told {
		require.Equal(t, i >= len(made)-dropped, c.Gone != nil)
	}
	require.EqualValues(t, 1+1+5+1, operations)
	copied.apply(told)
	copied.requireComplete(t, s, owner)
	told, _, operations = whole(position)
	require.Empty(t, told)
	require.EqualValues(t, 1, operations)

	// What changes while it is told is told by the next one.
	d, err := s.Delta(t.Context(), owner, before, 200)
	require.NoError(t, err)
	require.True(t, d.More)
	late := copyOf{}
	late.apply(d.Changes)
	gone, err := drop(t.Context(), s, owner, d.Changes[0].ID, anyVersion)
	require.NoError(t, err)
	create(t, s, owner, "late")
	told, position, _ = whole(d.Next)
	late.apply(told)
	require.Contains(t, late, gone.ID)
	told, _, _ = whole(position)
	late.apply(told)
	late.requireComplete(t, s, owner)

	// A list by content stops when it has enough.
	for range 8 {
		_, _, err := keep(t.Context(), s, owner, drafts(50), nil)
		require.NoError(t, err)
	}
	newest := create(t, s, owner, "needle")
	create(t, s, owner, "another")
	ctx, calls := counted(t)
	page, err := s.List(ctx, owner, items.Query{Limit: 1, Filters: filters(is("needle"))})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Equal(t, newest.ID, page.Items[0].ID)
	require.NotEmpty(t, page.Next)
	require.EqualValues(t, 1, calls.Load())
	for after := page.Next; after != ""; { // one request, but for a busy machine
		rest, err := s.List(ctx, owner, items.Query{Limit: 1, After: after, Filters: filters(is("needle"))})
		require.NoError(t, err)
		require.Empty(t, rest.Items)
		after = rest.Next
	}
}

// However many items there are, a list by content has each match once.
func TestSelectiveListStopsInTheRightPlace(t *testing.T) {
	s := open(t, strictService(t).ConnectionString())
	for n := range 6 {
		owner := someone(fmt.Sprint("selective ", n))
		for range n {
			create(t, s, owner, "needle")
		}
		for limit := 1; limit <= n+1; limit++ {
			found, after := 0, ""
			for more := true; more; more = after != "" {
				page, err := s.List(context.Background(), owner, items.Query{Limit: limit, After: after, Filters: filters(is("needle"))})
				require.NoError(t, err)
				found += len(page.Items)
				after = page.Next
			}
			require.Equal(t, n, found)
		}
		page, err := s.List(t.Context(), owner, items.Query{Limit: max(n, 1), Filters: filters(is("needle"))})
		require.NoError(t, err)
		require.Empty(t, page.Next, "it has seen the last row")
	}
}
