package tablestest_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/tables/tablestest"
)

func TestAddr(t *testing.T) {
	t.Run("localhost is both loopback addresses", func(t *testing.T) {
		s, err := tablestest.Start(tablestest.Options{Addr: "localhost:0"})
		require.NoError(t, err)
		defer s.Close()
		port := strings.TrimSuffix(s.URL()[strings.LastIndex(s.URL(), ":")+1:], "/"+tablestest.AccountName)
		hosts := []string{"127.0.0.1"}
		if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
			require.NoError(t, l.Close())
			hosts = append(hosts, "::1")
		}
		for _, host := range hosts {
			resp, err := http.Get("http://" + net.JoinHostPort(host, port) + "/")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, 403, resp.StatusCode, "an unsigned request")
		}
	})
	t.Run("loopback only", func(t *testing.T) {
		for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:0", "nonsense"} {
			_, err := tablestest.Start(tablestest.Options{Addr: addr})
			require.Error(t, err, addr)
		}
	})
	t.Run("busy port", func(t *testing.T) {
		s, err := tablestest.Start(tablestest.Options{})
		require.NoError(t, err)
		defer s.Close()
		addr := strings.TrimSuffix(strings.TrimPrefix(s.URL(), "http://"), "/"+tablestest.AccountName)
		_, err = tablestest.Start(tablestest.Options{Addr: addr})
		require.ErrorContains(t, err, addr)
		_, err = tablestest.Start(tablestest.Options{Addr: strings.Replace(addr, "127.0.0.1", "localhost", 1)})
		require.Error(t, err)
	})
	t.Run("closed", func(t *testing.T) {
		s, err := tablestest.Start(tablestest.Options{})
		require.NoError(t, err)
		s.Close()
		s.Close()
		_, err = http.Get(s.URL())
		require.Error(t, err)
	})
}

func TestHostMustBeLoopback(t *testing.T) {
	_, c := startWith(t, 0)
	for _, row := range []struct {
		host   string
		status int
	}{
		{"localhost", 200},
		{"LOCALHOST:10002", 200},
		{"127.0.0.1", 200},
		{"[::1]:10002", 200},
		{"[::1]", 200},
		{"127.1.2.3:80", 200},
		{"example.org", 403},
		{"localhost.example.org:10002", 403},
		{"192.168.0.1", 403},
		{"0.0.0.0", 403},
		{"127.0.0.1.example.org", 403},
	} {
		t.Run(row.host, func(t *testing.T) {
			r := c.new(t, query("items", ""))
			r.Host = row.host
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, row.status, resp.StatusCode)
		})
	}
}

func TestRequestsAndOperations(t *testing.T) {
	s, c := startWith(t, 1)
	entity := "/items(PartitionKey='p',RowKey='0')"
	always := map[string]string{"If-Match": "*"}
	for _, row := range []struct {
		ask request
		op  string
	}{
		{request{method: "POST", path: "/Tables", body: `{"TableName":"more"}`}, tablestest.OpCreateTable},
		{request{method: "GET", path: "/Tables"}, tablestest.OpQueryTables},
		{request{method: "DELETE", path: "/Tables('more')"}, tablestest.OpDeleteTable},
		{insert("items", `{"PartitionKey":"p","RowKey":"1"}`), tablestest.OpInsertEntity},
		{request{method: "GET", path: entity}, tablestest.OpGetEntity},
		{query("items", "$top=5"), tablestest.OpQueryEntities},
		{request{method: "PUT", path: entity, body: `{}`, header: always}, tablestest.OpUpdateEntity},
		{request{method: "PUT", path: entity, body: `{}`}, tablestest.OpInsertOrReplaceEntity},
		{request{method: "PATCH", path: entity, body: `{}`, header: always}, tablestest.OpMergeEntity},
		{request{method: "MERGE", path: entity, body: `{}`}, tablestest.OpInsertOrMergeEntity},
		{batch(c.insertion("items", `{"PartitionKey":"p","RowKey":"2"}`)), tablestest.OpTransaction},
		{request{method: "DELETE", path: entity, header: always}, tablestest.OpDeleteEntity},
		{request{method: "GET", path: "/"}, ""},
		{request{method: "GET", path: "/items(nonsense)"}, ""},
	} {
		s.ResetRequests()
		got := c.do(t, row.ask)
		if row.op != "" {
			require.Less(t, got.status, 300, "%s\n%s", row.op, got.body)
		} else {
			require.GreaterOrEqual(t, got.status, 400)
		}
		requests := s.Requests()
		require.Len(t, requests, 1)
		require.Equal(t, row.op, requests[0].Op)
		require.Equal(t, row.ask.method, requests[0].Method)
		require.Equal(t, "/"+tablestest.AccountName+row.ask.path, requests[0].Path)
		require.Equal(t, "2019-02-02", requests[0].Header.Get("x-ms-version"))
		if row.op == tablestest.OpQueryEntities {
			require.Equal(t, "5", requests[0].Query.Get("$top"))
		}
	}
}

func TestEntities(t *testing.T) {
	s, c := startWith(t, 0)
	require.Nil(t, s.Entities("missing"))
	require.Equal(t, []map[string]any{}, s.Entities("items"))
	body := `{"PartitionKey":"p","RowKey":"b","s":"x","i":1,"d":1.5,"yes":true,"l":"5","l@odata.type":"Edm.Int64",
		"g":"4185404A-5818-48C3-B9BE-F217DF0DBA6F","g@odata.type":"Edm.Guid","x":"AP8=","x@odata.type":"Edm.Binary",
		"t":"2024-01-01T01:00:00.1234567+01:00","t@odata.type":"Edm.DateTime"}`
	got := c.do(t, insert("items", body))
	require.Equal(t, 201, got.status)
	require.Equal(t, 201, c.do(t, insert("items", `{"PartitionKey":"p","RowKey":"a"}`)).status)
	all := s.Entities("ITEMS")
	require.Len(t, all, 2)
	require.Equal(t, "a", all[0]["RowKey"])
	e := all[1]
	require.WithinDuration(t, time.Now(), e["Timestamp"].(time.Time), time.Minute)
	delete(e, "Timestamp")
	require.Equal(t, map[string]any{
		"PartitionKey": "p", "RowKey": "b", "odata.etag": got.header.Get("ETag"), "s": "x", "i": int32(1), "d": 1.5, "yes": true, "l": int64(5),
		"g": "4185404a-5818-48c3-b9be-f217df0dba6f", "x": []byte{0, 255}, "t": time.Date(2024, 1, 1, 0, 0, 0, 123456700, time.UTC),
	}, e)
}

// TestAnswers holds answers against the form of Azure's, of which the SDKs' test recordings are public.
func TestAnswers(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second).Add(910481 * time.Microsecond)
	s, err := tablestest.Start(tablestest.Options{Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer s.Close()
	c := newClient(t, s.ConnectionString())
	got := c.do(t, request{method: "POST", path: "/Tables", body: `{"TableName":"items"}`})
	require.Equal(t, 201, got.status)
	require.Equal(t, s.URL()+"/Tables('items')", got.header.Get("Location"))
	require.JSONEq(t, `{"odata.metadata":"`+s.URL()+`/$metadata#Tables/@Element","TableName":"items"}`, got.body)

	at := now.Format("2006-01-02T15:04:05.9999999Z")
	etag := `W/"datetime'` + strings.ReplaceAll(at, ":", "%3A") + `'"`
	got = c.do(t, insert("items", `{"PartitionKey":"p q","RowKey":"O'B","even":3.0,"n":"5","n@odata.type":"Edm.Int64"}`))
	require.Equal(t, 201, got.status)
	require.Equal(t, etag, got.header.Get("ETag"))
	require.Equal(t, s.URL()+"/items(PartitionKey='p%20q',RowKey='O%27%27B')", got.header.Get("Location"))
	require.Equal(t, "application/json;odata=minimalmetadata;streaming=true;charset=utf-8", got.header.Get("Content-Type"))
	require.Equal(t, "no-cache", got.header.Get("Cache-Control"))
	require.Equal(t, "2019-02-02", got.header.Get("x-ms-version"))
	require.NotEmpty(t, got.header.Get("x-ms-request-id"))
	want := `"odata.etag":` + fmt.Sprintf("%q", strings.ReplaceAll(etag, "'", "`")) + `,"PartitionKey":"p q","RowKey":"O'B","Timestamp":"` + at + `","even":3.0,"n@odata.type":"Edm.Int64","n":"5"}`
	want = strings.ReplaceAll(want, "`", "'")
	require.Equal(t, `{"odata.metadata":"`+s.URL()+`/$metadata#items/@Element",`+want, strings.ReplaceAll(got.body, `\u0027`, "'"))

	got = c.do(t, query("items", "$select=n,%20missing"))
	require.Equal(t, 200, got.status)
	require.JSONEq(t, `{"odata.metadata":"`+s.URL()+`/$metadata#items&$select=n,%20missing","value":[{"odata.etag":`+fmt.Sprintf("%q", etag)+`,"n@odata.type":"Edm.Int64","n":"5","missing":null}]}`, got.body)

	got = c.do(t, request{method: "GET", path: "/items(PartitionKey='p',RowKey='missing')"})
	require.Equal(t, 404, got.status)
	require.Empty(t, got.header.Get("x-ms-error-code"), "the table service names the code in the body alone")
	require.Regexp(t, `^\{"odata\.error":\{"code":"ResourceNotFound","message":\{"lang":"en-US","value":"The specified resource does not exist\.\\nRequestId:[-0-9a-f]{36}\\nTime:[-0-9T:.]+Z"\}\}\}$`, got.body)
}

func TestTimestampsGrowOnAFrozenClock(t *testing.T) {
	now := time.Now()
	s, err := tablestest.Start(tablestest.Options{Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer s.Close()
	c := newClient(t, s.ConnectionString())
	_, err = c.CreateTable(t.Context(), "items", nil)
	require.NoError(t, err)
	var last time.Time
	for range 3 {
		require.Equal(t, 204, c.do(t, request{method: "PUT", path: "/items(PartitionKey='p',RowKey='r')", body: `{}`}).status)
		stamp := s.Entities("items")[0]["Timestamp"].(time.Time)
		require.Greater(t, stamp, last)
		last = stamp
		require.Equal(t, 204, c.do(t, request{method: "DELETE", path: "/items(PartitionKey='p',RowKey='r')", header: map[string]string{"If-Match": "*"}}).status)
	}
}

func TestClockSkew(t *testing.T) {
	s, err := tablestest.Start(tablestest.Options{Now: func() time.Time { return time.Now().Add(time.Hour) }})
	require.NoError(t, err)
	defer s.Close()
	c := newClient(t, s.ConnectionString())
	_, err = c.CreateTable(t.Context(), "items", nil)
	status, code, message := outcomeOf(err)
	require.Equal(t, 403, status)
	require.Equal(t, "AuthenticationFailed", code)
	require.Contains(t, message, "1h0m")
}

func TestContinuationAtAPartitionsStartHasNoRowKey(t *testing.T) {
	_, c := startWith(t, 2)
	require.Equal(t, 201, c.do(t, insert("items", `{"PartitionKey":"q","RowKey":"0"}`)).status)
	got := c.do(t, query("items", "$top=1"))
	require.Equal(t, "1!4!cA--", got.header.Get("x-ms-continuation-NextPartitionKey"))
	require.Equal(t, "1!4!MQ--", got.header.Get("x-ms-continuation-NextRowKey"))
	got = c.do(t, query("items", "$top=1&NextPartitionKey=1!4!cA--&NextRowKey=1!4!MQ--"))
	require.Equal(t, []string{"p1"}, keysIn(t, got.body))
	require.Equal(t, "1!4!cQ--", got.header.Get("x-ms-continuation-NextPartitionKey"))
	require.NotContains(t, got.header, "X-Ms-Continuation-Nextrowkey")
	got = c.do(t, query("items", "$top=1&NextPartitionKey=1!4!cQ--"))
	require.Equal(t, []string{"q0"}, keysIn(t, got.body))
	require.NotContains(t, got.header, "X-Ms-Continuation-Nextpartitionkey")
}

func TestNoContinuationPastTheKeyRange(t *testing.T) {
	_, c := startWith(t, 3)
	got := c.do(t, query("items", "$top=1&$filter=PartitionKey%20eq%20'p'%20and%20RowKey%20le%20'0'"))
	require.Equal(t, []string{"p0"}, keysIn(t, got.body))
	require.NotContains(t, got.header, "X-Ms-Continuation-Nextpartitionkey")
}

func TestAPageMayEndBeforeWhatDoesNotMatch(t *testing.T) {
	_, c := startWith(t, 3)
	got := c.do(t, query("items", "$top=1&$filter=RowKey%20ne%20'1'%20and%20RowKey%20ne%20'2'"))
	require.Equal(t, []string{"p0"}, keysIn(t, got.body))
	require.NotEmpty(t, got.header.Get("x-ms-continuation-NextPartitionKey"), "more was left to look at")
}

func TestAPageEndsAtFourMiB(t *testing.T) {
	_, c := startWith(t, 0)
	var properties []string
	for i := range 15 {
		properties = append(properties, fmt.Sprintf(`"p%d":"%s"`, i, strings.Repeat("ä", 32768))) // 2 bytes each
	}
	for i := range 6 {
		got := c.do(t, insert("items", fmt.Sprintf(`{"PartitionKey":"p","RowKey":"%d",%s}`, i, strings.Join(properties, ","))))
		require.Equal(t, 201, got.status)
	}
	got := c.do(t, query("items", ""))
	require.Equal(t, []string{"p0", "p1", "p2", "p3", "p4"}, keysIn(t, got.body))
	require.NotEmpty(t, got.header.Get("x-ms-continuation-NextRowKey"))
}

func TestConcurrentUse(t *testing.T) {
	s, c := startWith(t, 0)
	tc := c.NewClient("items")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				actions := []aztables.TransactionAction{
					{ActionType: aztables.TransactionTypeAdd, Entity: fmt.Appendf(nil, `{"PartitionKey":"p","RowKey":"%d-%d-a"}`, g, i)},
					{ActionType: aztables.TransactionTypeAdd, Entity: fmt.Appendf(nil, `{"PartitionKey":"p","RowKey":"%d-%d-b"}`, g, i)},
					{ActionType: aztables.TransactionTypeInsertReplace, Entity: fmt.Appendf(nil, `{"PartitionKey":"p","RowKey":"shared","n":%d}`, i)},
				}
				if _, err := tc.SubmitTransaction(t.Context(), actions, nil); err != nil {
					t.Error(err)
				}
				page, err := tc.NewListEntitiesPager(nil).NextPage(t.Context())
				if err != nil {
					t.Error(err)
				} else if len(page.Entities)%2 != 1 {
					t.Error("half a transaction is visible")
				}
			}
		})
	}
	wg.Wait()
	require.Len(t, s.Entities("items"), 8*20*2+1)
}
