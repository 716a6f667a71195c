package tables_test

import (
	"context"
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

// copyOf applies deltas as a client does.
type copyOf map[string]items.Change

func (c copyOf) apply(told []items.Change) {
	for _, change := range told {
		if change.Gone != nil {
			delete(c, change.ID)
		} else {
			c[change.ID] = change
		}
	}
}

func (c copyOf) requireComplete(t testing.TB, s items.Store, owner items.Owner) {
	there := copyOf{}
	for _, item := range list(t, s, owner) {
		there[item.ID] = items.Change{Item: item}
	}
	require.Equal(t, there, c)
}

type held struct {
	arrived chan struct{}
	release chan struct{}
	once    sync.Once
}

// RoundTrip holds the first transaction before it is sent.
func (h *held) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/$batch") {
		h.once.Do(func() {
			close(h.arrived)
			select {
			case <-h.release:
			case <-r.Context().Done():
			}
		})
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestDeltaWhateverTheClocksSay has one instance whose clock is five minutes
// ahead, one whose clock is as much behind, and one that has read the last number
// and is then held for two minutes, by the clocks of the others, before it sends.
func TestDeltaWhateverTheClocksSay(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		var passed atomic.Int64 // since the writer was held
		clock := func(off time.Duration) func(*tables.Config) {
			return func(c *tables.Config) {
				c.Now = func() time.Time { return time.Now().Add(off + time.Duration(passed.Load())) }
			}
		}
		table := newTable()
		ahead := open(t, connectionString, in(table), clock(5*time.Minute))
		behind := open(t, connectionString, in(table), clock(-5*time.Minute))
		for _, do := range []string{"create", "update", "delete"} {
			t.Run(do, func(t *testing.T) {
				owner := someone("clock " + do)
				h := &held{arrived: make(chan struct{}), release: make(chan struct{})}
				frozen := time.Now()
				writer := open(t, connectionString, in(table), func(c *tables.Config) {
					c.Transport, c.Now = h, func() time.Time { return frozen }
				})
				item := create(t, ahead, owner, "its author's clock is ahead")
				seen, position := copyOf{}, ""
				sync := func(s items.Store) {
					var told []items.Change
					told, position = delta(t, s, owner, position, 3)
					seen.apply(told)
				}
				sync(behind)

				done := make(chan error, 1)
				go func() {
					var err error
					switch do {
					case "create":
						_, _, err = keep(context.Background(), writer, owner, []items.Draft{draft("held")}, key("held", "held"))
					case "update":
						_, err = update(context.Background(), writer, owner, item.ID, version(item.ETag), rewrite("held"))
					case "delete":
						_, err = drop(context.Background(), writer, owner, item.ID, version(item.ETag))
					}
					done <- err
				}()
				waittest.For(t, h.arrived)
				for i := range 12 {
					passed.Add(int64(10 * time.Second))
					s := []*tables.Store{ahead, behind}[i%2]
					made := create(t, s, owner, fmt.Sprint(i))
					if i%3 == 0 {
						_, err := update(t.Context(), s, owner, made.ID, version(made.ETag), rewrite("again"))
						require.NoError(t, err)
					}
					if i%4 == 0 {
						sync(s)
					}
				}
				sync(ahead)
				seen.requireComplete(t, behind, owner)
				before := position
				close(h.release)
				require.NoError(t, waittest.For(t, done))
				sync(behind)
				seen.requireComplete(t, ahead, owner)
				told, _ := delta(t, ahead, owner, before, 100)
				require.Len(t, told, 1, "what the held writer changed, which has the lowest time and the highest number")
			})
		}
	})
}

// What is kept only for repeats and deltas goes after a while, a bounded number
// at a time; items stay, and who was away for so long is told to start again.
func TestCleaning(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		s := open(t, connectionString)
		owner := someone("long gone")
		_, start := delta(t, s, owner, "", 10)
		var kept []items.Item
		for i := range 50 {
			made, _, err := keep(t.Context(), s, owner, []items.Draft{draft(fmt.Sprint(i))}, key(fmt.Sprint("k", i), "r"))
			require.NoError(t, err)
			if i%2 == 0 {
				_, err = drop(t.Context(), s, owner, made[0].ID, anyVersion)
				require.NoError(t, err)
			} else {
				kept = append(kept, made[0])
			}
		} // 75 changes
		_, position := delta(t, s, owner, "", 10)
		told, _ := delta(t, s, owner, start, 100)
		require.Len(t, told, 50)

		s.SetLogLife(-time.Minute) // even what is of now is too old
		rounds := 0
		for ; ; rounds++ {
			_, err := s.Delta(t.Context(), owner, start, 10)
			if rounds == 0 {
				require.NoError(t, err)
			} else if err != nil {
				require.ErrorIs(t, err, items.ErrResync)
				break
			}
			require.Less(t, rounds, 20)
			kept = append(kept, create(t, s, owner, "another"))
		}
		for range 16 { // the rest goes with the next sixteenth change
			kept = append(kept, create(t, s, owner, "another"))
		}
		_, err := s.Delta(t.Context(), owner, position, 10)
		require.ErrorIs(t, err, items.ErrResync)
		require.Len(t, list(t, s, owner), len(kept))
		_, replayed, err := keep(t.Context(), s, owner, []items.Draft{draft("0")}, key("k0", "r"))
		require.NoError(t, err)
		require.False(t, replayed, "the key was forgotten")

		// The log goes on where it was.
		told, position = delta(t, s, owner, "", 100)
		require.Len(t, told, len(kept)+1)
		last := create(t, s, owner, "last")
		told, _ = delta(t, s, owner, position, 10)
		require.Equal(t, []items.Change{{Item: last}}, told)
	})
}

func TestCleaningLeavesNothing(t *testing.T) {
	service := strictService(t)
	s := open(t, service.ConnectionString(), in("items"))
	s.SetLogLife(-time.Minute)
	for i := range 160 {
		made, _, err := keep(t.Context(), s, alice, []items.Draft{draft("x")}, key(fmt.Sprint(i), "r"))
		require.NoError(t, err)
		_, err = drop(t.Context(), s, alice, made[0].ID, version(made[0].ETag))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(service.Entities("items")), 1+2*16, "of 320 changes")
	// A clean-up that fails changes nothing for who caused it.
	remove := service.Inject(tablestest.Fault{Status: 500, Match: func(r *http.Request) bool {
		return tablestest.Operation(r) == tablestest.OpQueryEntities
	}})
	for range 32 {
		create(t, s, alice, "x")
	}
	remove()
	for range 160 {
		create(t, s, alice, "x")
	}
	require.Len(t, list(t, s, alice), 192)
	require.LessOrEqual(t, len(service.Entities("items")), 192+1+16)
}

// TestCosts counts storage's operations, as docs/limits.md states them.
func TestCosts(t *testing.T) {
	s := open(t, strictService(t).ConnectionString())
	owner := someone("cost")
	create(t, s, owner, "an instance's first change of a caller reads the last number")
	item := create(t, s, owner, "x")
	fifty := drafts(50)
	batched, _, err := keep(t.Context(), s, owner, drafts(4), nil)
	require.NoError(t, err)
	patch, err := items.Patch(nil)
	require.NoError(t, err)
	_, position := delta(t, s, owner, "", 100)
	for _, tt := range []struct {
		name string
		want int64
		do   func(context.Context) error
	}{
		{"list", 1, func(ctx context.Context) error { _, err := s.List(ctx, owner, items.Query{Limit: 200}); return err }},
		{"get", 1, func(ctx context.Context) error { _, err := s.Get(ctx, owner, item.ID); return err }},
		{"count", 1, func(ctx context.Context) error {
			sum, err := s.Summary(ctx, owner)
			require.EqualValues(t, 6, sum.Count)
			return err
		}},
		{"create", 1, func(ctx context.Context) error { _, _, err := keep(ctx, s, owner, fifty[:1], nil); return err }},
		{"create with a key", 1, func(ctx context.Context) error {
			_, _, err := keep(ctx, s, owner, fifty[:1], key("k", "r"))
			return err
		}},
		{"replayed key", 2, func(ctx context.Context) error {
			_, _, err := keep(ctx, s, owner, fifty[:1], key("k", "r"))
			return err
		}},
		{"batch of 50", 1, func(ctx context.Context) error { _, _, err := keep(ctx, s, owner, fifty, key("b", "r")); return err }},
		{"create under a client's ID", 2 + 1, func(ctx context.Context) error {
			_, err := apply(ctx, s, owner, createAs(newID(), "x"), "r")
			return err
		}},
		{"batch of changes: 1, and 1 for each patch and *, and 2 for each client's ID", 1 + 2 + 2, func(ctx context.Context) error {
			_, _, err := s.Apply(ctx, owner, []items.Op{
				createNew("x"), createAs(newID(), "y"), editTo(batched[0], version(batched[0].ETag), "z"),
				patchTo(batched[1], version(batched[1].ETag), "z"), editTo(batched[2], anyVersion, "z"),
				deleteOf(batched[3], version(batched[3].ETag)),
			}, key("mixed", "r"))
			return err
		}},
		{"PUT", 1, func(ctx context.Context) (err error) {
			item, err = update(ctx, s, owner, item.ID, version(item.ETag), rewrite("y"))
			return err
		}},
		{"PATCH", 2, func(ctx context.Context) (err error) {
			item, err = update(ctx, s, owner, item.ID, version(item.ETag), edit{patch, ""})
			return err
		}},
		{"PUT with *", 2, func(ctx context.Context) (err error) {
			item, err = update(ctx, s, owner, item.ID, anyVersion, rewrite("y"))
			return err
		}},
		{"PUT that is refused", 1 + 1, func(ctx context.Context) error {
			_, err := update(ctx, s, owner, item.ID, version(batched[0].ETag), rewrite("x"))
			require.ErrorIs(t, err, items.ErrChanged)
			return nil
		}},
		{"creation under an ID that is taken", 2 + 1, func(ctx context.Context) error {
			_, err := apply(ctx, s, owner, createAs(item.ID, "x"), "another")
			require.ErrorIs(t, err, items.ErrExists)
			return nil
		}},
		{"DELETE", 1, func(ctx context.Context) error {
			_, err := drop(ctx, s, owner, item.ID, version(item.ETag))
			return err
		}},
		{"delta of 60 items that lie together, of which two are gone", 3, func(ctx context.Context) error {
			d, err := s.Delta(ctx, owner, position, 100)
			require.Len(t, d.Changes, 60)
			position = d.Next
			return err
		}},
		{"delta of two", 2 + 2, func(ctx context.Context) error {
			create(t, s, owner, "x")
			create(t, s, owner, "y")
			d, err := s.Delta(ctx, owner, position, 100)
			require.Len(t, d.Changes, 2)
			position = d.Next
			return err
		}},
		{"delta of nothing", 1, func(ctx context.Context) error { _, err := s.Delta(ctx, owner, position, 100); return err }},
		{"erase: 4 to find the rows, and 1 for up to 99 of them", 4 + 1, func(ctx context.Context) error {
			erased, more, err := s.Erase(ctx, owner)
			require.EqualValues(t, 61, erased)
			require.False(t, more)
			return err
		}},
	} {
		ctx, calls := counted(t)
		require.NoError(t, tt.do(ctx), tt.name)
		require.Equal(t, tt.want, calls.Load(), tt.name)
	}
}
