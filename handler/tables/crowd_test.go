package tables_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
)

// member is one of many who change one owner's items at once, each some of its own.
type member struct {
	name   string
	rng    *rand.Rand
	stores []*tables.Store
	owner  items.Owner
	known  map[string]items.Item
	made   int
	shared int // transactions that it paid nothing for
}

// ask makes changes until there is an answer, as a client does that was told to try again.
func (m *member) ask(key *items.Key, ops ...items.Op) ([]items.Change, bool, error) {
	m.made++
	request := fmt.Sprint(m.name, " ", m.made)
	if key != nil {
		key.Value = request
		copy(key.Request[:], request)
	}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+m.rng.IntN(2000))*time.Millisecond)
		ctx, calls := items.CountCalls(ctx)
		made, replayed, err := m.stores[m.rng.IntN(len(m.stores))].Apply(ctx, m.owner, asking(request, ops...), key)
		cancel()
		if err == nil && calls.Load() == 0 {
			m.shared++
		}
		if !errors.Is(err, items.ErrUnavailable) && !errors.Is(err, items.ErrTimeout) && !errors.Is(err, items.ErrBusy) {
			return made, replayed, err
		}
	}
}

// step changes something, and notes what became of it.
func (m *member) step() error {
	text := fmt.Sprint(m.name, " text ", m.made)
	ids := slices.Sorted(maps.Keys(m.known))
	m.rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	var ops []items.Op
	var key *items.Key
	switch what := m.rng.IntN(6); {
	case what == 0 || len(ids) == 0:
		ops, key = []items.Op{createNew(text)}, &items.Key{}
	case what == 1:
		ops = []items.Op{createAs(newID(), text)}
	case what == 2:
		ops = []items.Op{editTo(m.known[ids[0]], version(m.known[ids[0]].ETag), text)}
	case what == 3:
		ops = []items.Op{deleteOf(m.known[ids[0]], version(m.known[ids[0]].ETag))}
	default:
		ops, key = []items.Op{createNew(text), createAs(newID(), text)}, &items.Key{}
		for _, id := range ids[:min(len(ids), 3)] {
			item := m.known[id]
			match := version(item.ETag)
			ops = append(ops, []items.Op{editTo(item, match, text), patchTo(item, match, text), deleteOf(item, anyVersion)}[m.rng.IntN(3)])
		}
	}
	made, replayed, err := m.ask(key, ops...)
	if err != nil {
		return fmt.Errorf("%d changes: %w", len(ops), err)
	}
	for _, c := range made {
		if c.Gone != nil {
			delete(m.known, c.ID)
			continue
		}
		if replayed { // of an edit there is no more than its tag
			got, err := m.get(c.ID)
			if err != nil || got.ETag != c.ETag {
				return fmt.Errorf("%s was %s, and is %s: %w", c.ID, c.ETag, got.ETag, err)
			}
			c.Item = got
		}
		m.known[c.ID] = c.Item
	}
	return nil
}

func (m *member) get(id string) (items.Item, error) {
	for {
		got, err := m.stores[0].Get(context.Background(), m.owner, id)
		if !errors.Is(err, items.ErrUnavailable) {
			return got, err
		}
	}
}

// Many change one owner's items at once, on several instances over a storage that fails
// now and then, and leave early. Everything that they were told has happened, once, and
// nothing else; a copy that follows the delta has what the list has; and it is counted.
func TestCrowd(t *testing.T) {
	service := strictService(t)
	var stores []*tables.Store
	for range 3 {
		stores = append(stores, open(t, service.ConnectionString(), in("items")))
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	some := func(percent int) func(*http.Request) bool {
		return func(*http.Request) bool { return rand.IntN(100) < percent }
	}
	for _, remove := range []func(){
		service.Inject(tablestest.Fault{DropReply: true, Match: some(2)}),
		service.Inject(tablestest.Fault{DropRequest: true, Match: some(2)}),
		service.Inject(tablestest.Fault{Status: 503, Code: "ServerBusy", Match: some(2)}),
		service.Inject(tablestest.Fault{Delay: 5 * time.Millisecond, Match: some(50)}),
	} {
		defer remove()
	}
	for round := range 6 {
		owner := someone(fmt.Sprint("crowd ", round))
		var members []*member
		for i := range 16 {
			use := stores[:1+round%3]
			members = append(members, &member{
				name: fmt.Sprint(i), rng: rand.New(rand.NewPCG(seed, uint64(round*100+i))), stores: use, owner: owner,
				known: map[string]items.Item{},
			})
		}
		stores[0].SetManyChanges([]int{1000, 1000, 1}[round%3]) // so that all is told again, or nothing is
		copied, position := copyOf{}, ""
		follow := func() error {
			for more := true; more; {
				d, err := stores[0].Delta(context.Background(), owner, position, 7)
				if errors.Is(err, items.ErrUnavailable) {
					continue
				}
				if err != nil {
					return err
				}
				copied.apply(d.Changes)
				position, more = d.Next, d.More
			}
			return nil
		}
		errs := make([]error, len(members)+1)
		var wg, followed sync.WaitGroup
		for i, m := range members {
			wg.Go(func() {
				for n := 0; n < 12 && errs[i] == nil; n++ {
					errs[i] = m.step()
				}
			})
		}
		done := make(chan struct{})
		followed.Go(func() {
			for errs[len(members)] == nil {
				errs[len(members)] = follow()
				select {
				case <-done:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
		wg.Wait()
		close(done)
		followed.Wait()
		require.NoError(t, errors.Join(errs...))
		require.NoError(t, follow())
		known, shared := copyOf{}, 0
		for _, m := range members {
			for id, item := range m.known {
				known[id] = items.Change{Item: item}
			}
			shared += m.shared
		}
		require.Positive(t, shared, "transactions were shared")
		require.Equal(t, known, copied)
		require.Eventually(t, func() bool { // the storage fails now and then
			sum, err := stores[1].Summary(context.Background(), owner)
			return err == nil && sum.Count == int64(len(known))
		}, 5*time.Second, time.Millisecond)
	}
}
