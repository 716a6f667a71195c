package tablestest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

// startWith starts a server whose table "items" holds n entities of the partition p.
func startWith(t *testing.T, n int) (*tablestest.Server, *client) {
	t.Helper()
	s, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	c := newClient(t, s.ConnectionString())
	_, err = c.CreateTable(t.Context(), "items", nil)
	require.NoError(t, err)
	for i := range n {
		got := c.do(t, insert("items", fmt.Sprintf(`{"PartitionKey":"p","RowKey":"%d"}`, i)))
		require.Equal(t, 201, got.status, got.body)
	}
	s.ResetRequests()
	return s, c
}

// try sends a request on a connection of its own: Go repeats a GET by itself when a kept one is closed on it.
func (c *client) try(t testing.TB, q request) (reply, error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(c.new(t, q))
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(b)}, err
}

func is(op string) func(*http.Request) bool {
	return func(r *http.Request) bool { return tablestest.Operation(r) == op }
}

func TestFaultStatus(t *testing.T) {
	s, c := startWith(t, 0)
	for _, row := range []struct {
		name  string
		fault tablestest.Fault
		code  string
	}{
		{"given code", tablestest.Fault{Status: 500, Code: "OperationTimedOut"}, "OperationTimedOut"},
		{"usual code", tablestest.Fault{Status: 503, RetryAfter: 7}, "ServerBusy"},
	} {
		t.Run(row.name, func(t *testing.T) {
			remove := s.Inject(row.fault)
			defer remove()
			got := c.do(t, insert("items", `{"PartitionKey":"p","RowKey":"r"}`))
			_, code, _ := got.outcome()
			require.Equal(t, row.fault.Status, got.status)
			require.Equal(t, row.code, code)
			require.NotEmpty(t, got.header.Get("x-ms-request-id"))
			if row.fault.RetryAfter != 0 {
				require.Equal(t, "7", got.header.Get("Retry-After"))
			}
			require.Empty(t, s.Entities("items"), "not executed")
		})
	}
	require.Equal(t, 201, c.do(t, insert("items", `{"PartitionKey":"p","RowKey":"r"}`)).status, "removed")
}

func TestFaultIsRetriedByTheSDK(t *testing.T) {
	s, _ := startWith(t, 0)
	s.Inject(tablestest.Fault{Match: is(tablestest.OpInsertEntity), Times: 1, DropReply: true})
	options := &aztables.ClientOptions{}
	options.Retry.RetryDelay = time.Millisecond
	service, err := aztables.NewServiceClientFromConnectionString(s.ConnectionString(), options)
	require.NoError(t, err)
	_, err = service.NewClient("items").AddEntity(t.Context(), []byte(`{"PartitionKey":"p","RowKey":"r"}`), nil)
	status, code, _ := outcomeOf(err)
	require.Equal(t, 409, status, "the retry meets the write whose reply was lost")
	require.Equal(t, "EntityAlreadyExists", code)
	require.Len(t, s.Entities("items"), 1)
}

func TestFaultMatchTimesAndOrder(t *testing.T) {
	s, c := startWith(t, 1)
	s.Inject(tablestest.Fault{Match: is(tablestest.OpQueryEntities), Times: 2, Status: 500})
	s.Inject(tablestest.Fault{Match: func(r *http.Request) bool {
		b, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(b), "poison")
	}, Times: 1, Status: 502})
	remove := s.Inject(tablestest.Fault{Match: is(tablestest.OpQueryEntities), Status: 503})

	require.Equal(t, 201, c.do(t, insert("items", `{"PartitionKey":"q","RowKey":"1"}`)).status, "matched by none")
	require.Equal(t, 502, c.do(t, insert("items", `{"PartitionKey":"q","RowKey":"poison"}`)).status)
	require.Equal(t, 201, c.do(t, insert("items", `{"PartitionKey":"q","RowKey":"poison"}`)).status, "used up, and the body was left to read")
	for _, want := range []int{500, 500, 503, 503} {
		require.Equal(t, want, c.do(t, query("items", "")).status)
	}
	remove()
	remove()
	require.Equal(t, 200, c.do(t, query("items", "")).status)
}

func TestFaultDelay(t *testing.T) {
	s, c := startWith(t, 0)
	s.Inject(tablestest.Fault{Delay: 50 * time.Millisecond})
	began := time.Now()
	require.Equal(t, 201, c.do(t, insert("items", `{"PartitionKey":"p","RowKey":"r"}`)).status)
	require.GreaterOrEqual(t, time.Since(began), 50*time.Millisecond)
}

func TestFaultDelayEndsWhenTheClientLeaves(t *testing.T) {
	s, c := startWith(t, 0)
	s.Inject(tablestest.Fault{Delay: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	r := c.new(t, insert("items", `{"PartitionKey":"p","RowKey":"r"}`)).WithContext(ctx)
	left := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(r)
		left <- err
	}()
	require.Eventually(t, func() bool { return len(s.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, waittest.For(t, left), context.Canceled)
	s.Close() // waits for nothing
	require.Empty(t, s.Entities("items"), "not executed")
}

func TestFaultHang(t *testing.T) {
	s, c := startWith(t, 1)
	s.Inject(tablestest.Fault{Hang: true})

	ctx, cancel := context.WithCancel(t.Context())
	r := c.new(t, query("items", "")).WithContext(ctx)
	left := make(chan error)
	go func() {
		_, err := http.DefaultClient.Do(r)
		left <- err
	}()
	require.Eventually(t, func() bool { return len(s.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, waittest.For(t, left), context.Canceled)

	ended := make(chan error)
	aside := waittest.Aside(t)
	go func() {
		_, err := c.try(aside, query("items", ""))
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(s.Requests()) == 2 }, 10*time.Second, time.Millisecond)
	s.Close()
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(10 * time.Second):
		require.Fail(t, "Close left the connection open")
	}
}

func TestFaultDrop(t *testing.T) {
	for _, row := range []struct {
		name   string
		fault  tablestest.Fault
		stored int
	}{
		{"request", tablestest.Fault{DropRequest: true}, 0},
		{"request, with a reset", tablestest.Fault{DropRequest: true, Reset: true}, 0},
		{"reply", tablestest.Fault{DropReply: true}, 1},
		{"reply, with a reset", tablestest.Fault{DropReply: true, Reset: true}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, c := startWith(t, 0)
			s.Inject(row.fault)
			_, err := c.try(t, insert("items", `{"PartitionKey":"p","RowKey":"r"}`))
			if row.fault.Reset {
				require.ErrorIs(t, err, syscall.ECONNRESET)
			} else {
				require.ErrorIs(t, err, io.EOF)
			}
			require.Len(t, s.Entities("items"), row.stored)
			require.Len(t, s.Requests(), 1)
		})
	}
}

func TestFaultTruncateBody(t *testing.T) {
	s, c := startWith(t, 3)
	whole := c.do(t, query("items", "")).body
	s.Inject(tablestest.Fault{TruncateBody: 20})
	got, err := c.try(t, query("items", ""))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Equal(t, 200, got.status)
	require.Equal(t, whole[:20], got.body)
	require.Equal(t, fmt.Sprint(len(whole)), got.header.Get("Content-Length"))

	_, err = c.try(t, insert("items", `{"PartitionKey":"p","RowKey":"r"}`))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.Len(t, s.Entities("items"), 4, "executed")
}

func TestFaultEmptyPages(t *testing.T) {
	for _, n := range []int{0, 3} {
		t.Run(fmt.Sprintf("before %d entities", n), func(t *testing.T) {
			s, c := startWith(t, n)
			s.Inject(tablestest.Fault{EmptyPages: 2, PageSize: 2})
			var sizes []int
			for pager := c.NewClient("items").NewListEntitiesPager(nil); pager.More(); {
				page, err := pager.NextPage(t.Context())
				require.NoError(t, err)
				sizes = append(sizes, len(page.Entities))
			}
			if n == 0 {
				require.Equal(t, []int{0, 0, 0}, sizes)
			} else {
				require.Equal(t, []int{0, 0, 2, 1}, sizes)
			}
		})
	}
}

func TestFaultPageSize(t *testing.T) {
	s, c := startWith(t, 5)
	s.Inject(tablestest.Fault{PageSize: 2})
	var sizes []int
	for pager := c.NewClient("items").NewListEntitiesPager(nil); pager.More(); {
		page, err := pager.NextPage(t.Context())
		require.NoError(t, err)
		sizes = append(sizes, len(page.Entities))
	}
	require.Equal(t, []int{2, 2, 1}, sizes)
}

func TestFaultGarbage(t *testing.T) {
	s, c := startWith(t, 1)
	s.Inject(tablestest.Fault{Garbage: `{"value":[{]}`})
	got := c.do(t, query("items", ""))
	require.Equal(t, 200, got.status)
	require.Equal(t, `{"value":[{]}`, got.body)
	_, err := c.NewClient("items").NewListEntitiesPager(nil).NextPage(t.Context())
	require.Error(t, err)
}

func TestFaultNeedsNoSignature(t *testing.T) {
	s, _ := startWith(t, 0)
	s.Inject(tablestest.Fault{Status: 503})
	resp, err := http.Get(s.URL() + "/items()")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 503, resp.StatusCode)
}
