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
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

// gate is a transport that counts transactions, and holds each until it is let go.
type gate struct {
	transactions atomic.Int64
	largest      atomic.Int64 // in bytes
	closed       atomic.Bool
	refusing     atomic.Bool // instead of the service, which would take long to read it
	arrived      chan struct{}
	let          chan struct{}
}

func newGate() *gate { return &gate{arrived: make(chan struct{}), let: make(chan struct{})} }

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/$batch") {
		g.transactions.Add(1)
		g.largest.Store(max(g.largest.Load(), r.ContentLength))
		if g.refusing.Load() {
			return &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody, Header: http.Header{}, Request: r}, nil
		}
		if g.closed.Load() {
			select {
			case g.arrived <- struct{}{}:
				select {
				case <-g.let:
				case <-time.After(time.Minute):
				}
			case <-r.Context().Done():
			}
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

func through(g *gate) func(*tables.Config) { return func(c *tables.Config) { c.Transport = g } }

// holdUp begins a change and has it wait within its transaction, until go on is called.
func holdUp(t *testing.T, g *gate, s *tables.Store, owner items.Owner) (goOn func()) {
	g.closed.Store(true)
	done := make(chan error, 1)
	go func() {
		_, _, err := keep(context.Background(), s, owner, []items.Draft{draft("first")}, nil)
		done <- err
	}()
	waittest.For(t, g.arrived)
	g.closed.Store(false)
	return func() {
		g.let <- struct{}{}
		require.NoError(t, waittest.For(t, done))
	}
}

// waiting waits until so many changes wait, or are under way.
func waiting(t *testing.T, s *tables.Store, owner items.Owner, n int) {
	require.Eventually(t, func() bool { return s.Waiting(owner) == n }, 10*time.Second, time.Millisecond)
}

// What waits goes in one transaction. What is wrong with one change is nothing to the
// others, and each has its own number.
func TestTogether(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		g := newGate()
		s := open(t, connectionString, through(g))
		owner := someone("together")
		changed, deleted, stale := create(t, s, owner, "changed"), create(t, s, owner, "deleted"), create(t, s, owner, "stale")
		_, err := update(t.Context(), s, owner, stale.ID, version(stale.ETag), rewrite("newer"))
		require.NoError(t, err)
		_, _, err = keep(t.Context(), s, owner, drafts(2), key("used", "r"))
		require.NoError(t, err)
		_, position := delta(t, s, owner, "", 100)

		goOn := holdUp(t, g, s, owner)
		before := g.transactions.Load()
		var wg sync.WaitGroup
		var made [16]items.Item
		errs := map[string]error{}
		var mu sync.Mutex
		n := 1
		do := func(name string, f func() error) {
			n++
			wg.Go(func() {
				err := f()
				mu.Lock()
				defer mu.Unlock()
				errs[name] = err
			})
		}
		for i := range made {
			do(fmt.Sprint("create ", i), func() error {
				m, _, err := keep(t.Context(), s, owner, []items.Draft{draft(fmt.Sprint(i))}, key(fmt.Sprint(i), "r"))
				if err == nil {
					made[i] = m[0]
				}
				return err
			})
		}
		var changedTo items.Item
		var gone items.Tombstone
		do("update", func() (err error) {
			changedTo, err = update(t.Context(), s, owner, changed.ID, version(changed.ETag), rewrite("changed again"))
			return err
		})
		do("delete", func() (err error) {
			gone, err = drop(t.Context(), s, owner, deleted.ID, version(deleted.ETag))
			return err
		})
		do("stale", func() error {
			_, err := drop(t.Context(), s, owner, stale.ID, version(stale.ETag))
			return err
		})
		do("used key", func() error {
			_, _, err := keep(t.Context(), s, owner, drafts(1), key("used", "another"))
			return err
		})
		do("absent", func() error {
			_, err := drop(t.Context(), s, owner, "0199a5a0-0000-7000-8000-000000000000", version(stale.ETag))
			return err
		})
		waiting(t, s, owner, n)
		goOn()
		wg.Wait()
		require.ErrorIs(t, errs["stale"], items.ErrChanged)
		require.ErrorIs(t, errs["used key"], items.ErrKeyReused)
		require.ErrorIs(t, errs["absent"], items.ErrNotFound)
		for name, err := range errs {
			if name != "stale" && name != "used key" && name != "absent" {
				require.NoError(t, err, name)
			}
		}
		require.EqualValues(t, 4, g.transactions.Load()-before, "one for each that was refused, and one for all the others")

		told, _ := delta(t, s, owner, position, 100)
		require.Len(t, told, 1+len(made)+2)
		require.Contains(t, told, items.Change{Item: changedTo})
		require.Contains(t, told, goneFrom(gone))
		for _, item := range made {
			require.Contains(t, told, items.Change{Item: item})
		}
	})
}

// Two changes about the same row cannot go together.
func TestTogetherAboutTheSame(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		g := newGate()
		s := open(t, connectionString, through(g))
		owner := someone("same")
		item := create(t, s, owner, "x")
		goOn := holdUp(t, g, s, owner)
		var errs [6]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				switch i % 3 {
				case 0:
					_, errs[i] = update(t.Context(), s, owner, item.ID, version(item.ETag), rewrite(fmt.Sprint(i)))
				case 1:
					_, errs[i] = drop(t.Context(), s, owner, item.ID, version(item.ETag))
				case 2:
					_, _, errs[i] = keep(t.Context(), s, owner, drafts(1), key("same", "same"))
				}
			})
		}
		waiting(t, s, owner, 7)
		goOn()
		wg.Wait()
		kept := 0
		for i, err := range errs {
			switch {
			case i%3 == 2:
				require.NoError(t, err)
			case err == nil:
				kept++
			default:
				require.True(t, errors.Is(err, items.ErrChanged) || errors.Is(err, items.ErrNotFound), "%v", err)
			}
		}
		require.Positive(t, kept, "an update, or deletions of one version, which are the same")

		goOn = holdUp(t, g, s, owner)
		id := newID()
		for i := range errs {
			wg.Go(func() { _, errs[i] = apply(t.Context(), s, owner, createAs(id, fmt.Sprint(i)), fmt.Sprint(i)) })
		}
		waiting(t, s, owner, 7)
		goOn()
		wg.Wait()
		kept = 0
		for _, err := range errs {
			if err == nil {
				kept++
			} else {
				require.ErrorIs(t, err, items.ErrExists)
			}
		}
		require.Equal(t, 1, kept)
	})
}

// However much waits, no transaction has more bytes or rows than the service takes.
func TestTogetherWithinBounds(t *testing.T) {
	service := strictService(t)
	g := newGate()
	s := open(t, service.ConnectionString(), through(g))
	for _, character := range []string{"<", "a", "\u2028", "é"} {
		owner := someone("bounds " + character)
		goOn := holdUp(t, g, s, owner)
		before := g.transactions.Load()
		var errs [24]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				content := []items.Draft{itemstest.Draft(itemstest.LargeContent(i, character))}
				_, _, errs[i] = keep(t.Context(), s, owner, content, key(fmt.Sprint(i), "r"))
			})
		}
		waiting(t, s, owner, 25)
		g.refusing.Store(true)
		goOn()
		wg.Wait()
		g.refusing.Store(false)
		for _, err := range errs {
			require.ErrorIs(t, err, items.ErrUnavailable)
			require.NotErrorIs(t, err, items.ErrOutcomeUnknown)
		}
		require.LessOrEqual(t, g.transactions.Load()-before, int64(3))
	}
	require.LessOrEqual(t, g.largest.Load(), int64(4<<20))
	// The SDK writes < in six bytes.
	if itemstest.Draft(itemstest.LargeContent(0, "<")).Bytes()*6*24 > 5<<20 {
		require.Greater(t, g.largest.Load(), int64(3<<20), "as much as fits")
	}
}

// A client that leaves is told the truth, and what it leaves behind is nothing to others.
func TestLeaving(t *testing.T) {
	service := strictService(t)
	g := newGate()
	s := open(t, service.ConnectionString(), through(g))
	owner := someone("leaver")
	goOn := holdUp(t, g, s, owner)
	leave := func(text string, n int) (cancel func(), done chan error) {
		ctx, cancel := context.WithCancel(t.Context())
		done = make(chan error, 1)
		go func() {
			_, _, err := keep(ctx, s, owner, []items.Draft{draft(text)}, nil)
			done <- err
		}()
		waiting(t, s, owner, n)
		return cancel, done
	}
	cancel, done := leave("never", 2)
	cancel()
	err := waittest.For(t, done)
	require.ErrorIs(t, err, items.ErrTimeout)
	require.NotErrorIs(t, err, items.ErrOutcomeUnknown, "it was not sent")

	cancel, done = leave("perhaps", 2)
	_, stays := leave("stays", 3)
	g.closed.Store(true)
	goOn()
	waittest.For(t, g.arrived)
	g.closed.Store(false)
	cancel()
	err = waittest.For(t, done)
	require.ErrorIs(t, err, items.ErrTimeout)
	require.ErrorIs(t, err, items.ErrOutcomeUnknown)
	g.let <- struct{}{}
	require.NoError(t, waittest.For(t, stays))
	var texts []string
	for _, item := range list(t, s, owner) {
		texts = append(texts, textOf(item))
	}
	require.ElementsMatch(t, []string{"first", "perhaps", "stays"}, texts)

	// No more than so many wait.
	goOn = holdUp(t, g, s, owner)
	var wg sync.WaitGroup
	for range 63 {
		wg.Go(func() { _, _, _ = keep(t.Context(), s, owner, drafts(1), nil) })
	}
	waiting(t, s, owner, 64)
	_, _, err = keep(t.Context(), s, owner, drafts(1), nil)
	require.ErrorIs(t, err, items.ErrBusy)
	create(t, s, someone("another"), "x")
	goOn()
	wg.Wait()
	require.Len(t, list(t, s, owner), 3+1+63)
}

// A change whose client has left is not tried again, when that may have asked for
// something else since.
func TestLeavingForGood(t *testing.T) {
	service := strictService(t)
	g := newGate()
	s, other := open(t, service.ConnectionString(), in("items"), through(g)), open(t, service.ConnectionString(), in("items"))
	create(t, s, alice, "first")
	ctx, cancel := context.WithCancel(t.Context())
	g.closed.Store(true)
	done := make(chan error, 1)
	go func() {
		_, _, err := keep(ctx, s, alice, []items.Draft{draft("abandoned")}, nil)
		done <- err
	}()
	waittest.For(t, g.arrived)
	g.closed.Store(false)
	create(t, other, alice, "quicker")
	cancel()
	require.ErrorIs(t, waittest.For(t, done), items.ErrOutcomeUnknown)
	g.let <- struct{}{}
	waiting(t, s, alice, 0)
	create(t, s, alice, "last")
	require.Len(t, list(t, s, alice), 3)
}

// When a reply is lost, all who were in the transaction learn what became of it.
func TestTogetherInTrouble(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault tablestest.Fault
		want  error
		kept  bool
		maybe bool
	}{
		{"reply lost", tablestest.Fault{Times: 1, DropReply: true}, nil, true, false},
		{"reply lost, and lost again", tablestest.Fault{DropReply: true, Times: 3}, nil, true, false},
		{"too busy", tablestest.Fault{Status: 503, Code: "ServerBusy"}, items.ErrUnavailable, false, false},
		{"error", tablestest.Fault{Status: 500}, items.ErrUnavailable, false, true},
		{"no permission", tablestest.Fault{Status: 403}, items.ErrUnavailable, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			service := strictService(t)
			g := newGate()
			s := open(t, service.ConnectionString(), through(g))
			goOn := holdUp(t, g, s, alice)
			var errs [10]error
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() { _, _, errs[i] = keep(t.Context(), s, alice, drafts(1), nil) })
			}
			waiting(t, s, alice, 11)
			g.closed.Store(true)
			goOn()
			waittest.For(t, g.arrived)
			g.closed.Store(false)
			tt.fault.Match = func(r *http.Request) bool { return tablestest.Operation(r) == tablestest.OpTransaction }
			service.Inject(tt.fault)
			g.let <- struct{}{}
			wg.Wait()
			for _, err := range errs {
				if tt.want == nil {
					require.NoError(t, err)
					continue
				}
				require.ErrorIs(t, err, tt.want)
				require.Equal(t, tt.maybe, errors.Is(err, items.ErrOutcomeUnknown))
			}
			want := 1
			if tt.kept {
				want += len(errs)
			}
			require.Len(t, list(t, s, alice), want)
		})
	}
}
