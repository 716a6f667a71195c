package tables_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/tables/tablestest/azurite"
)

var (
	alice = items.Owner{Tenant: "775527ff-9a37-4307-8b3d-cc311f58d925", Subject: "a11ce000-0000-4000-8000-000000000001"}
	bob   = items.Owner{Tenant: "775527ff-9a37-4307-8b3d-cc311f58d925", Subject: "b0b00000-0000-4000-8000-000000000002"}
)

func strictService(t testing.TB) *tablestest.Server {
	s, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

var tableNames atomic.Int64

func newTable() string { return fmt.Sprintf("items%dx%d", time.Now().UnixNano(), tableNames.Add(1)) }

// open opens a store in a new table; change may alter how.
func open(t testing.TB, connectionString string, change ...func(*tables.Config)) *tables.Store {
	c := tables.Config{ConnectionString: connectionString, Table: newTable()}
	for _, f := range change {
		f(&c)
	}
	s, err := tables.Open(c)
	require.NoError(t, err)
	s.Prepare(t.Context())
	return s
}

// in has a store opened in that table.
func in(table string) func(*tables.Config) { return func(c *tables.Config) { c.Table = table } }

func create(t testing.TB, s items.Store, owner items.Owner, text string) items.Item {
	made, replayed, err := keep(t.Context(), s, owner, []items.Draft{draft(text)}, nil)
	require.NoError(t, err)
	require.False(t, replayed)
	return made[0]
}

// filters select items by their text.
func filters(matches ...func(text string) bool) (all []func(*items.Content) bool) {
	for _, match := range matches {
		all = append(all, func(c *items.Content) bool {
			b, err := jsonv2.Marshal(c)
			return err == nil && match(itemstest.TextOf(b))
		})
	}
	return all
}

func is(text string) func(string) bool { return func(s string) bool { return s == text } }

func prefix(text string) func(string) bool {
	return func(s string) bool { return strings.HasPrefix(s, text) }
}

// TestStore holds the store to what items.Store promises, on the strict Table
// service and on Azurite.
func TestStore(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		table := newTable()
		s, other := open(t, connectionString, in(table)), open(t, connectionString, in(table))
		testStore(t, s)
		testChanges(t, s, other)
		testBatches(t, s, other)
		testIDs(t, s, other)
		testErase(t, s, other)
		t.Run("room", func(t *testing.T) { testRoom(t, s) })
	})
}

// onEach runs a test on the strict Table service and on Azurite.
func onEach(t *testing.T, test func(t *testing.T, connectionString string)) {
	t.Run("strict", func(t *testing.T) { test(t, strictService(t).ConnectionString()) })
	t.Run("Azurite", func(t *testing.T) {
		a, err := azurite.Start(t.Context(), azurite.Options{})
		if errors.Is(err, azurite.ErrNotInstalled) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, a.Close()) })
		test(t, a.ConnectionString())
	})
}

func testStore(t *testing.T, s items.Store) {
	ctx := t.Context()

	t.Run("an item comes back as it was created", func(t *testing.T) {
		all := append(drafts(2*len(itemstest.Load().Good)), itemstest.Draft(itemstest.LargeContent(0, "é")))
		for _, d := range all {
			made, _, err := keep(ctx, s, alice, []items.Draft{d}, nil)
			require.NoError(t, err)
			created := made[0]
			require.Equal(t, d, created.Draft)
			require.WithinDuration(t, time.Now(), created.CreatedAt, time.Minute)
			require.Equal(t, created.CreatedAt, created.UpdatedAt)
			require.Regexp(t, `^"[0-9a-f]{32}"$`, created.ETag)
			got, err := s.Get(ctx, alice, created.ID)
			require.NoError(t, err)
			require.Equal(t, created, got)
		}
	})

	t.Run("an absent item is not found", func(t *testing.T) {
		mine := create(t, s, alice, "mine")
		for _, id := range []string{
			"0199a5a0-0000-7000-8000-000000000000", // nobody's
			strings.ToUpper(mine.ID), "{" + mine.ID + "}", "urn:uuid:" + mine.ID, strings.ReplaceAll(mine.ID, "-", ""),
			"", "x", "i-" + mine.ID, "47840c35-e986-468b-8d2c-e25aa02d3d08", mine.ID + "'", "a'b", "\x00", strings.Repeat("x", 5000),
		} {
			_, err := s.Get(ctx, alice, id)
			require.ErrorIs(t, err, items.ErrNotFound, "%q", id)
		}
		_, err := s.Get(ctx, bob, mine.ID)
		require.ErrorIs(t, err, items.ErrNotFound)
	})

	t.Run("a list is newest first and pages without gaps", func(t *testing.T) {
		owner := items.Owner{Tenant: alice.Tenant, Subject: "lister"}
		var want []string
		for i := range 25 {
			want = append([]string{create(t, s, owner, fmt.Sprint(i)).ID}, want...)
		}
		for _, limit := range []int{1, 5, 7, 24, 25, 26, 200} {
			var got []string
			q := items.Query{Limit: limit}
			for {
				page, err := s.List(ctx, owner, q)
				require.NoError(t, err)
				for _, item := range page.Items {
					got = append(got, item.ID)
				}
				if page.Next == "" {
					break
				}
				require.Len(t, page.Items, limit, "more only after a full page")
				q.After = page.Next
			}
			require.Equal(t, want, got, "limit %d", limit)
		}
		page, err := s.List(ctx, owner, items.Query{Limit: 5, After: want[3]})
		require.NoError(t, err)
		require.Equal(t, want[4], page.Items[0].ID)
		_, err = s.List(ctx, owner, items.Query{Limit: 5, After: "' or PartitionKey ne '"})
		require.ErrorIs(t, err, items.ErrPosition)
	})

	t.Run("a list selects by content and time", func(t *testing.T) {
		owner := items.Owner{Tenant: alice.Tenant, Subject: "selector"}
		var made []items.Item
		for i := range 12 {
			made = append(made, create(t, s, owner, fmt.Sprintf("%s %d", []string{"milk", "Milk", "mil", "bread"}[i%4], i)))
		}
		all := func(q items.Query) (texts []string) {
			for {
				page, err := s.List(ctx, owner, q)
				require.NoError(t, err)
				require.LessOrEqual(t, len(page.Items), q.Limit)
				for _, item := range page.Items {
					texts = append(texts, textOf(item))
				}
				if page.Next == "" {
					return texts
				}
				q.After = page.Next
			}
		}
		for _, limit := range []int{1, 2, 200} {
			require.Equal(t, []string{"milk 8", "milk 4", "milk 0"}, all(items.Query{Limit: limit, Filters: filters(prefix("milk"))}))
			require.Equal(t, []string{"Milk 5"}, all(items.Query{Limit: limit, Filters: filters(is("Milk 5"))}))
			require.Empty(t, all(items.Query{Limit: limit, Filters: filters(is("Milk 5"), prefix("milk"))}))
			require.Empty(t, all(items.Query{Limit: limit, Filters: filters(is("' or '1' eq '1"))}))
		}
		// Items of one millisecond are together before or after an instant.
		for _, pivot := range []int{0, 5, 11} {
			at := made[pivot].CreatedAt
			var before, after, later []string
			for i := len(made) - 1; i >= 0; i-- {
				switch {
				case made[i].CreatedAt.Before(at):
					before = append(before, textOf(made[i]))
				case made[i].CreatedAt.After(at):
					after = append(after, textOf(made[i]))
				}
				if !made[i].CreatedAt.After(at) {
					later = append(later, textOf(made[i]))
				}
			}
			require.Equal(t, before, all(items.Query{Limit: 5, CreatedBefore: at}))
			require.Equal(t, after, all(items.Query{Limit: 5, CreatedAfter: at}))
			require.Equal(t, later, all(items.Query{Limit: 5, CreatedBefore: at.Add(time.Nanosecond)}), "an instant within the millisecond")
			require.Empty(t, all(items.Query{Limit: 5, CreatedAfter: at, CreatedBefore: at}))
		}
		require.Empty(t, all(items.Query{Limit: 5, CreatedBefore: time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC)}))
		require.Len(t, all(items.Query{Limit: 5, CreatedAfter: time.Unix(0, 0), CreatedBefore: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}), 12)
	})

	t.Run("nobody lists another's items", func(t *testing.T) {
		for _, stranger := range []items.Owner{bob, {Tenant: "other", Subject: alice.Subject}, {Tenant: alice.Tenant + "\n" + alice.Subject}} {
			page, err := s.List(ctx, stranger, items.Query{Limit: 10})
			require.NoError(t, err)
			require.Empty(t, page.Items)
			require.NotNil(t, page.Items)
			require.Empty(t, page.Next)
		}
	})

	t.Run("many at once", func(t *testing.T) {
		owner := items.Owner{Tenant: alice.Tenant, Subject: "busy"}
		var errs [40]error
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { _, _, errs[i] = keep(ctx, s, owner, []items.Draft{draft("x")}, nil) })
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs[:]...))
		page, err := s.List(ctx, owner, items.Query{Limit: 200})
		require.NoError(t, err)
		require.Len(t, page.Items, 40)
	})

	t.Run("a context that has ended", func(t *testing.T) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err := s.List(ended, alice, items.Query{Limit: 1})
		require.ErrorIs(t, err, items.ErrTimeout)
	})
}

// counted has the storage's calls counted.
func counted(t testing.TB) (context.Context, *atomic.Int64) { return items.CountCalls(t.Context()) }

func TestStorageTrouble(t *testing.T) {
	type call struct {
		name string
		do   func(ctx context.Context, s items.Store) error
	}
	read := call{"list", func(ctx context.Context, s items.Store) error {
		page, err := s.List(ctx, alice, items.Query{Limit: 10})
		if err == nil && len(page.Items) != 3 {
			return fmt.Errorf("%d items instead of 3", len(page.Items))
		}
		return err
	}}
	write := call{"create", func(ctx context.Context, s items.Store) error {
		_, _, err := keep(ctx, s, alice, []items.Draft{draft("x")}, nil)
		return err
	}}
	for _, tt := range []struct {
		name  string
		fault tablestest.Fault
		calls []call
		want  error
		tries int64
	}{
		{"503 once", tablestest.Fault{Times: 1, Status: 503, Code: "ServerBusy"}, []call{read, write}, nil, 2},
		{"500 twice", tablestest.Fault{Times: 2, Status: 500, Code: "InternalError"}, []call{read, write}, nil, 3},
		{"500 for ever", tablestest.Fault{Status: 500, Code: "InternalError"}, []call{read, write}, items.ErrUnavailable, 3},
		{"429 once, with a Retry-After that fits", tablestest.Fault{Times: 1, Status: 429, Code: "TooManyRequests", RetryAfter: 1}, []call{read, write}, nil, 2},
		{"503 with a Retry-After that does not", tablestest.Fault{Status: 503, Code: "ServerBusy", RetryAfter: 30}, []call{read, write}, items.ErrUnavailable, 1},
		{"request dropped once", tablestest.Fault{Times: 1, DropRequest: true, Reset: true}, []call{write}, nil, 2},
		{"reply dropped once", tablestest.Fault{Times: 1, DropReply: true}, []call{write}, nil, 3}, // the third reads what is there
		{"reply reset once", tablestest.Fault{Times: 1, DropReply: true, Reset: true}, []call{write}, nil, 3},
		{"page cut short once", tablestest.Fault{Times: 1, TruncateBody: 100}, []call{read}, nil, 2},
		{"page cut short for ever", tablestest.Fault{TruncateBody: 100}, []call{read}, items.ErrUnavailable, 3},
		{"garbage", tablestest.Fault{Garbage: "<html>"}, []call{read}, items.ErrUnavailable, 1},
		{"two empty pages first", tablestest.Fault{EmptyPages: 2}, []call{read}, nil, 3},
		{"pages of one", tablestest.Fault{PageSize: 1}, []call{read}, nil, 3},
		{"no permission", tablestest.Fault{Status: 403, Code: "AuthorizationPermissionMismatch"}, []call{read, write}, items.ErrUnavailable, 1},
		{"no table", tablestest.Fault{Status: 404, Code: "TableNotFound"}, []call{read, write}, items.ErrUnavailable, 1},
	} {
		for _, c := range tt.calls {
			t.Run(tt.name+", "+c.name, func(t *testing.T) {
				t.Parallel()
				service := strictService(t)
				s := open(t, service.ConnectionString())
				for range 3 {
					create(t, s, alice, "x")
				}
				service.Inject(tt.fault)
				ctx, calls := counted(t)
				err := c.do(ctx, s)
				if tt.want == nil {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, tt.want)
				}
				tries := tt.tries
				if c.name == "create" && tt.fault.Status == 500 && tt.fault.Times == 0 {
					tries += 3 // it asks for what became of it
				}
				require.Equal(t, tries, calls.Load())
				if c.name == "create" && tt.want != nil {
					require.Equal(t, tt.fault.Status == 500, errors.Is(err, items.ErrOutcomeUnknown))
				}
			})
		}
	}
}

func TestLostReplyMakesNoDuplicate(t *testing.T) {
	service := strictService(t)
	s := open(t, service.ConnectionString())
	service.Inject(tablestest.Fault{Times: 1, DropReply: true, Match: func(r *http.Request) bool { return tablestest.Operation(r) == tablestest.OpTransaction }})
	created := create(t, s, alice, "once")
	page, err := s.List(t.Context(), alice, items.Query{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, []items.Item{created}, page.Items)
}

func TestHangingStorageIsGivenUp(t *testing.T) {
	service := strictService(t)
	s := open(t, service.ConnectionString())
	service.Inject(tablestest.Fault{Hang: true})
	for name, call := range map[string]func(context.Context) error{
		"list": func(ctx context.Context) error { _, err := s.List(ctx, alice, items.Query{Limit: 1}); return err },
		"get": func(ctx context.Context) error {
			_, err := s.Get(ctx, alice, "0199a5a0-0000-7000-8000-000000000000")
			return err
		},
		"create": func(ctx context.Context) error {
			_, _, err := keep(ctx, s, alice, []items.Draft{draft("x")}, nil)
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		require.ErrorIs(t, call(ctx), items.ErrTimeout, name)
		cancel()
	}
}

func TestDeadEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l.Close()
	s, err := tables.Open(tables.Config{
		Table:            "items",
		ConnectionString: "AccountName=devstoreaccount1;AccountKey=" + tablestest.AccountKey + ";TableEndpoint=http://" + l.Addr().String() + "/devstoreaccount1",
	})
	require.NoError(t, err)
	ctx, calls := counted(t)
	_, err = s.List(ctx, alice, items.Query{Limit: 1})
	require.ErrorIs(t, err, items.ErrUnavailable)
	require.EqualValues(t, 3, calls.Load())
}

// What storage sees names nobody, and a page costs one call.
func TestWhatIsStored(t *testing.T) {
	service := strictService(t)
	s, err := tables.Open(tables.Config{ConnectionString: service.ConnectionString(), Table: "items"})
	require.NoError(t, err)
	s.Prepare(t.Context())
	s.Prepare(t.Context()) // a table that is there is no error
	item := create(t, s, alice, "Milk")
	rows := service.Entities("items")
	require.Len(t, rows, 3)
	entry, row, head := rows[0], rows[1], rows[2]
	require.Regexp(t, `^u-[0-9a-f]{32}$`, row["PartitionKey"])
	require.Regexp(t, `^i-[0-9a-f]{32}-[0-9a-f]{32}$`, row["RowKey"])
	require.NotContains(t, row, "properties", "absent where there are none")
	require.Equal(t, "c-0000000000000001", entry["RowKey"])
	require.Equal(t, item.ID, entry["items"])
	require.Equal(t, "m-head", head["RowKey"])
	require.NotContains(t, fmt.Sprint(rows), alice.Subject)
	require.NotContains(t, fmt.Sprint(entry, head), "Milk", "only an item's own row has its content")

	ctx, calls := counted(t)
	_, err = s.List(ctx, alice, items.Query{Limit: 200})
	require.NoError(t, err)
	require.EqualValues(t, 1, calls.Load())
}

// A selective list never scans without bound: it stops, and says where to go on.
func TestSelectiveListStopsOnItsBudget(t *testing.T) {
	service := strictService(t)
	s := open(t, service.ConnectionString())
	for range 30 {
		create(t, s, alice, "hay")
	}
	needle := create(t, s, alice, "needle")
	for range 30 {
		create(t, s, alice, "hay")
	}
	service.Inject(tablestest.Fault{PageSize: 10, Delay: 350 * time.Millisecond, Match: func(r *http.Request) bool {
		return tablestest.Operation(r) == tablestest.OpQueryEntities
	}})
	q := items.Query{Limit: 5, Filters: filters(is("needle"))}
	var found []items.Item
	pages := 0
	for pages = 1; ; pages++ {
		page, err := s.List(t.Context(), alice, q)
		require.NoError(t, err)
		found = append(found, page.Items...)
		if page.Next == "" {
			break
		}
		q.After = page.Next
	}
	require.Equal(t, []items.Item{needle}, found)
	require.Greater(t, pages, 1, "it stopped on the way")
}

func TestPrepareWaitsForStorage(t *testing.T) {
	service := strictService(t)
	s, err := tables.Open(tables.Config{ConnectionString: service.ConnectionString(), Table: "items"})
	require.NoError(t, err)
	service.Inject(tablestest.Fault{Times: 4, Status: 500}) // more than one call's attempts
	s.Prepare(t.Context())
	create(t, s, alice, "x")
}

// The same owner has the same partition for ever; these are what deployed data
// has.
func TestKeysAreStable(t *testing.T) {
	service := strictService(t)
	s, err := tables.Open(tables.Config{ConnectionString: service.ConnectionString(), Table: "items"})
	require.NoError(t, err)
	s.Prepare(t.Context())
	create(t, s, alice, "x")
	require.Equal(t, "u-d712c2a7b6b969ba8bc4a3add6edf8c5", service.Entities("items")[0]["PartitionKey"])
}
