package tablestest_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/tables/tablestest/azurite"
)

func TestContract(t *testing.T) {
	s, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	testTableService(t, s.ConnectionString(), false)
}

func TestContractOfAzurite(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := azurite.Start(ctx, azurite.Options{})
	if errors.Is(err, azurite.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	testTableService(t, s.ConnectionString(), true)
}

// client talks to a table service through aztables, and by signed requests of its own for what aztables cannot ask.
type client struct {
	*aztables.ServiceClient
	endpoint string
}

func newClient(t *testing.T, connectionString string) *client {
	t.Helper()
	options := &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}}}
	service, err := aztables.NewServiceClientFromConnectionString(connectionString, options)
	require.NoError(t, err)
	return &client{service, regexp.MustCompile(`TableEndpoint=([^;]+)`).FindStringSubmatch(connectionString)[1]}
}

// request is one that aztables cannot send. The zero fields are what a well-behaved client sends.
type request struct {
	method, path, query, body string
	header                    map[string]string // "" removes one
	date                      time.Time
	scheme, key               string
}

func (c *client) new(t testing.TB, q request) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), q.method, c.endpoint+q.path+"?"+q.query, strings.NewReader(q.body))
	require.NoError(t, err)
	if q.date.IsZero() {
		q.date = time.Now()
	}
	r.Header.Set("x-ms-date", q.date.UTC().Format(http.TimeFormat))
	r.Header.Set("x-ms-version", "2019-02-02")
	r.Header.Set("Accept", "application/json;odata=minimalmetadata")
	if q.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, v := range q.header {
		r.Header.Set(name, v)
		if v == "" {
			r.Header.Del(name)
		}
	}
	if q.key == "" {
		q.key = tablestest.AccountKey
	}
	toSign := r.Header.Get("x-ms-date") + "\n/" + tablestest.AccountName + r.URL.EscapedPath()
	if q.scheme == "SharedKey" {
		toSign = r.Method + "\n\n" + r.Header.Get("Content-Type") + "\n" + toSign
	} else if q.scheme == "" {
		q.scheme = "SharedKeyLite"
	}
	key, err := base64.StdEncoding.DecodeString(q.key)
	require.NoError(t, err)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(toSign))
	r.Header.Set("Authorization", q.scheme+" "+tablestest.AccountName+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	return r
}

type reply struct {
	status int
	header http.Header
	body   string
}

func (c *client) do(t *testing.T, q request) reply {
	t.Helper()
	resp, err := http.DefaultClient.Do(c.new(t, q))
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return reply{resp.StatusCode, resp.Header, string(b)}
}

var (
	innerStatus = regexp.MustCompile(`(?m)^HTTP/1.1 (\d+)`)
	errorBody   = regexp.MustCompile(`(?s)\{"odata.error":.*?\}\}\}`)
)

// outcome is the status and error code of an answer, of a transaction's first part where there is one.
func (r reply) outcome() (status int, code, message string) {
	status = r.status
	if m := innerStatus.FindStringSubmatch(r.body); m != nil {
		status, _ = strconv.Atoi(m[1])
	}
	var e struct {
		Error struct {
			Code    string
			Message struct{ Value string }
		} `json:"odata.error"`
	}
	_ = json.Unmarshal([]byte(errorBody.FindString(r.body)), &e)
	message, _, _ = strings.Cut(e.Error.Message.Value, "\n")
	return status, e.Error.Code, message
}

func outcomeOf(err error) (status int, code, message string) {
	var e *azcore.ResponseError
	if !errors.As(err, &e) {
		return 0, "", fmt.Sprint(err)
	}
	b, _ := io.ReadAll(e.RawResponse.Body)
	status, code, message = reply{status: e.StatusCode, body: string(b)}.outcome()
	return status, code, message
}

// batch is the body of a transaction whose operations are as given.
func batch(operations ...string) request {
	var b strings.Builder
	b.WriteString("--batch_1\r\nContent-Type: multipart/mixed; boundary=changeset_1\r\n\r\n")
	for _, op := range operations {
		b.WriteString("--changeset_1\r\nContent-Transfer-Encoding: binary\r\nContent-Type: application/http\r\n\r\n" + op + "\r\n")
	}
	b.WriteString("--changeset_1--\r\n\r\n--batch_1--\r\n")
	return request{method: "POST", path: "/$batch", body: b.String(), header: map[string]string{"Content-Type": "multipart/mixed; boundary=batch_1"}}
}

func (c *client) insertion(table, body string) string {
	return fmt.Sprintf("POST %s/%s HTTP/1.1\r\nAccept: application/json;odata=minimalmetadata\r\nContent-Length: %d\r\nContent-Type: application/json\r\nDataserviceversion: 3.0\r\nPrefer: return-no-content\r\nX-Ms-Version: 2019-02-02\r\n\r\n%s", c.endpoint, table, len(body), body)
}

func insert(table, body string) request {
	return request{method: "POST", path: "/" + table, body: body}
}

func entityWith(properties string) string {
	return `{"PartitionKey":"p","RowKey":"` + strconv.FormatInt(time.Now().UnixNano(), 36) + `",` + properties + `}`
}

func query(table, options string) request {
	return request{method: "GET", path: "/" + table + "()", query: options}
}

func filter(table, f string) request { return query(table, "$filter="+url.QueryEscape(f)) }

func comparisons(n int) string {
	return strings.Repeat("a eq 1 or ", n-1) + "a eq 1"
}

// testTableService is what a table service must do. Where Azurite is laxer than Azure, the row says so: there it must
// accept what the strict server refuses, so that the list of differences stays true. Status codes and error codes are
// those of Azure, of the strict server that is; Azurite's own often differ and are not compared.
func testTableService(t *testing.T, connectionString string, isAzurite bool) {
	c := newClient(t, connectionString)
	ctx := t.Context()
	table := func(t *testing.T, name string) *aztables.Client {
		t.Helper()
		tc := c.NewClient(name)
		_, err := tc.CreateTable(ctx, nil)
		require.NoError(t, err)
		return tc
	}
	add := func(t *testing.T, tc *aztables.Client, entities ...string) {
		t.Helper()
		for _, e := range entities {
			_, err := tc.AddEntity(ctx, []byte(e), nil)
			require.NoError(t, err, e)
		}
	}
	get := func(t *testing.T, tc *aztables.Client, rowKey string) map[string]any {
		t.Helper()
		e, err := tc.GetEntity(ctx, "p", rowKey, nil)
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(e.Value, &m))
		return m
	}

	t.Run("tables", func(t *testing.T) {
		tc := table(t, "tablesA")
		table(t, "tablesB")
		_, err := tc.CreateTable(ctx, nil)
		status, code, _ := outcomeOf(err)
		require.Equal(t, 409, status)
		require.Equal(t, "TableAlreadyExists", code)

		var names []string
		for pager := c.NewListTablesPager(&aztables.ListTablesOptions{Filter: to.Ptr("TableName ge 'tables' and TableName lt 'tablet'")}); pager.More(); {
			page, err := pager.NextPage(ctx)
			require.NoError(t, err)
			for _, p := range page.Tables {
				names = append(names, *p.Name)
			}
		}
		require.Equal(t, []string{"tablesA", "tablesB"}, names)

		_, err = tc.Delete(ctx, nil)
		require.NoError(t, err)
		_, err = tc.Delete(ctx, nil)
		status, code, _ = outcomeOf(err)
		require.Equal(t, 404, status)
		require.Equal(t, "ResourceNotFound", code)
	})

	t.Run("types", func(t *testing.T) {
		tc := table(t, "types")
		at := time.Date(2024, 2, 29, 12, 34, 56, 789_012_300, time.UTC)
		body, err := json.Marshal(aztables.EDMEntity{
			Entity: aztables.Entity{PartitionKey: "p", RowKey: "r"},
			Properties: map[string]any{
				"text": "häi 😀 \"<>&'", "number": int32(-7), "big": aztables.EDMInt64(1 << 60), "ratio": 1.5, "yes": true,
				"at": aztables.EDMDateTime(at), "id": aztables.EDMGUID("4185404a-5818-48c3-b9be-f217df0dba6f"), "bytes": aztables.EDMBinary{0, 1, 255},
			},
		})
		require.NoError(t, err)
		added, err := tc.AddEntity(ctx, body, nil)
		require.NoError(t, err)
		require.Contains(t, string(added.Value), `"odata.metadata"`, "the echo")

		got, err := tc.GetEntity(ctx, "p", "r", nil)
		require.NoError(t, err)
		require.Equal(t, added.ETag, got.ETag)
		require.Regexp(t, `^W/"datetime'\d{4}-\d\d-\d\dT\d\d%3A\d\d%3A\d\d(\.\d{1,7})?Z'"$`, string(got.ETag))
		var e aztables.EDMEntity
		require.NoError(t, json.Unmarshal(got.Value, &e))
		require.Equal(t, map[string]any{
			"text": "häi 😀 \"<>&'", "number": int32(-7), "big": aztables.EDMInt64(1 << 60), "ratio": 1.5, "yes": true,
			"at": aztables.EDMDateTime(at), "id": aztables.EDMGUID("4185404a-5818-48c3-b9be-f217df0dba6f"), "bytes": aztables.EDMBinary{0, 1, 255},
		}, e.Properties)
		require.WithinDuration(t, time.Now(), time.Time(e.Timestamp), time.Minute)
	})

	t.Run("insert without echo", func(t *testing.T) {
		tc := table(t, "echo")
		quiet := policy.WithHTTPHeader(ctx, http.Header{"Prefer": {"return-no-content"}})
		added, err := tc.AddEntity(quiet, []byte(`{"PartitionKey":"p","RowKey":"r"}`), nil)
		require.NoError(t, err)
		require.Equal(t, "null", string(added.Value))
		got, err := tc.GetEntity(ctx, "p", "r", nil)
		require.NoError(t, err)
		require.Equal(t, got.ETag, added.ETag)
	})

	t.Run("metadata levels", func(t *testing.T) {
		tc := table(t, "levels")
		add(t, tc, `{"PartitionKey":"p","RowKey":"r","n":"5","n@odata.type":"Edm.Int64"}`)
		for _, row := range []struct {
			level aztables.MetadataFormat
			want  []string
			not   []string
		}{
			{aztables.MetadataFormatNone, []string{`"n":"5"`}, []string{"odata."}},
			{aztables.MetadataFormatMinimal, []string{`"odata.etag"`, `"n@odata.type":"Edm.Int64"`}, []string{"odata.editLink"}},
			{aztables.MetadataFormatFull, []string{`"odata.etag"`, `"odata.editLink"`, `"odata.id"`, `"odata.type"`, `"n@odata.type":"Edm.Int64"`}, nil},
		} {
			got, err := tc.GetEntity(ctx, "p", "r", &aztables.GetEntityOptions{Format: &row.level})
			require.NoError(t, err)
			for _, want := range row.want {
				require.Contains(t, string(got.Value), want)
			}
			for _, not := range row.not {
				require.NotContains(t, string(got.Value), not)
			}
		}
	})

	t.Run("update, merge, upsert, delete", func(t *testing.T) {
		tc := table(t, "writes")
		added, err := tc.AddEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r","a":1,"b":"x"}`), nil)
		require.NoError(t, err)
		merged, err := tc.UpdateEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r","a":2,"b":null}`),
			&aztables.UpdateEntityOptions{IfMatch: &added.ETag, UpdateMode: aztables.UpdateModeMerge})
		require.NoError(t, err)
		require.NotEqual(t, added.ETag, merged.ETag)
		e := get(t, tc, "r")
		require.EqualValues(t, 2, e["a"])
		require.Equal(t, "x", e["b"], "a merge with null leaves the property")

		_, err = tc.UpdateEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r","a":3}`),
			&aztables.UpdateEntityOptions{IfMatch: &added.ETag, UpdateMode: aztables.UpdateModeReplace})
		status, code, _ := outcomeOf(err)
		require.Equal(t, 412, status)
		require.Equal(t, "UpdateConditionNotSatisfied", code)

		replaced, err := tc.UpdateEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r","a":3}`),
			&aztables.UpdateEntityOptions{IfMatch: &merged.ETag, UpdateMode: aztables.UpdateModeReplace})
		require.NoError(t, err)
		require.NotContains(t, get(t, tc, "r"), "b")

		_, err = tc.DeleteEntity(ctx, "p", "r", &aztables.DeleteEntityOptions{IfMatch: &merged.ETag})
		status, code, _ = outcomeOf(err)
		require.Equal(t, 412, status)
		require.Equal(t, "UpdateConditionNotSatisfied", code)
		_, err = tc.DeleteEntity(ctx, "p", "r", &aztables.DeleteEntityOptions{IfMatch: &replaced.ETag})
		require.NoError(t, err)

		for _, mode := range []aztables.UpdateMode{aztables.UpdateModeMerge, aztables.UpdateModeReplace} {
			_, err = tc.UpdateEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r"}`), &aztables.UpdateEntityOptions{UpdateMode: mode})
			status, code, _ = outcomeOf(err)
			require.Equal(t, 404, status)
			require.Equal(t, "ResourceNotFound", code)
		}
		_, err = tc.DeleteEntity(ctx, "p", "r", nil)
		status, _, _ = outcomeOf(err)
		require.Equal(t, 404, status)
		_, err = tc.GetEntity(ctx, "p", "r", nil)
		status, code, _ = outcomeOf(err)
		require.Equal(t, 404, status)
		require.Equal(t, "ResourceNotFound", code)

		for _, mode := range []aztables.UpdateMode{aztables.UpdateModeMerge, aztables.UpdateModeReplace} {
			upserted, err := tc.UpsertEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"`+string(mode)+`","a":1}`), &aztables.UpsertEntityOptions{UpdateMode: mode})
			require.NoError(t, err)
			require.NotEmpty(t, upserted.ETag)
			_, err = tc.UpsertEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"`+string(mode)+`","b":1}`), &aztables.UpsertEntityOptions{UpdateMode: mode})
			require.NoError(t, err)
		}
		require.Contains(t, get(t, tc, "merge"), "a")
		require.NotContains(t, get(t, tc, "replace"), "a")
	})

	t.Run("tunnelled merge", func(t *testing.T) {
		tc := table(t, "tunnel")
		add(t, tc, `{"PartitionKey":"p","RowKey":"r","a":1}`)
		got := c.do(t, request{
			method: "POST", path: "/tunnel(PartitionKey='p',RowKey='r')", body: `{"b":2}`,
			header: map[string]string{"X-HTTP-Method": "MERGE", "If-Match": "*"},
		})
		require.Equal(t, 204, got.status, got.body)
		require.Contains(t, get(t, tc, "r"), "a")
		require.Contains(t, get(t, tc, "r"), "b")
	})

	t.Run("keys with quotes, percent and plus", func(t *testing.T) {
		tc := table(t, "quotes")
		for _, key := range []string{"O'Brien", "a''b", "100%", "1+1", "ü 😀", "", "(a,b)"} {
			body, err := json.Marshal(map[string]string{"PartitionKey": "p", "RowKey": key, "key": key})
			require.NoError(t, err)
			add(t, tc, string(body))
			require.Equal(t, key, get(t, tc, key)["key"])
			_, err = tc.DeleteEntity(ctx, "p", key, nil)
			require.NoError(t, err)
		}
	})

	t.Run("SharedKey", func(t *testing.T) {
		table(t, "shared")
		q := insert("shared", `{"PartitionKey":"p","RowKey":"r"}`)
		q.scheme = "SharedKey"
		require.Equal(t, 201, c.do(t, q).status)
		q = query("shared", "")
		q.scheme = "SharedKey"
		require.Equal(t, 200, c.do(t, q).status)
	})

	t.Run("missing table", func(t *testing.T) {
		tc := c.NewClient("missing")
		_, err := tc.AddEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"r"}`), nil)
		status, code, _ := outcomeOf(err)
		require.Equal(t, 404, status)
		require.Equal(t, "TableNotFound", code)
		_, err = tc.NewListEntitiesPager(nil).NextPage(ctx)
		status, code, _ = outcomeOf(err)
		require.Equal(t, 404, status)
		require.Equal(t, "TableNotFound", code)
	})

	t.Run("filters", func(t *testing.T) {
		tc := table(t, "filters")
		add(
			t, tc,
			`{"PartitionKey":"p","RowKey":"1","s":"a","i":1,"l":"5","l@odata.type":"Edm.Int64","d":1.5,"b":true,"g":"4185404a-5818-48c3-b9be-f217df0dba6f","g@odata.type":"Edm.Guid","x":"AP8=","x@odata.type":"Edm.Binary","t":"2024-01-01T00:00:00Z","t@odata.type":"Edm.DateTime"}`,
			`{"PartitionKey":"p","RowKey":"2","s":"O'Brien","i":2,"l":"6","l@odata.type":"Edm.Int64","d":-2.5,"b":false,"t":"2024-06-01T00:00:00.5Z","t@odata.type":"Edm.DateTime"}`,
			`{"PartitionKey":"p","RowKey":"3","i":-3}`,
			`{"PartitionKey":"q","RowKey":"1","s":"b"}`,
		)
		for _, row := range []struct {
			name, filter, want string
		}{
			{"everything", "", "p1 p2 p3 q1"},
			{"partition", "PartitionKey eq 'p'", "p1 p2 p3"},
			{"key range", "PartitionKey eq 'p' and RowKey gt '1' and RowKey le '3'", "p2 p3"},
			{"contradiction", "PartitionKey eq 'p' and RowKey gt '2' and RowKey lt '2'", ""},
			{"either partition", "PartitionKey eq 'p' and RowKey eq '3' or PartitionKey eq 'q'", "p3 q1"},
			{"and before or", "s eq 'a' or s eq 'b' and PartitionKey eq 'p'", "p1"},
			{"parentheses", "(s eq 'a' or s eq 'b') and PartitionKey eq 'q'", "q1"},
			{"not", "not (PartitionKey eq 'p')", "q1"},
			{"not before and", "not (s eq 'a') and i eq 2", "p2"},
			{"not finds what lacks the property", "PartitionKey eq 'p' and not (s ge '')", "p3"},
			{"doubled quote", "s eq 'O''Brien'", "p2"},
			{"ne leaves out what lacks the property", "PartitionKey eq 'p' and s ne 'a'", "p2"},
			{"Int32", "i lt 2", "p1 p3"},
			{"negative", "i eq -3", "p3"},
			{"Int64", "l gt 5L", "p2"},
			{"Double", "d ge 1.5", "p1"},
			{"Boolean", "b eq true", "p1"},
			{"Boolean false", "b eq false", "p2"},
			{"Guid", "g eq guid'4185404a-5818-48c3-b9be-f217df0dba6f'", "p1"},
			{"Binary", "x eq X'00ff'", "p1"},
			{"Binary, long form", "x eq binary'00ff'", "p1"},
			{"DateTime", "t gt datetime'2024-03-01T00:00:00Z'", "p2"},
			{"DateTime with a fraction", "t eq datetime'2024-06-01T00:00:00.5000000Z'", "p2"},
			{"Timestamp", "Timestamp gt datetime'2001-01-01T00:00:00Z' and i eq 1", "p1"},
			{"fifteen comparisons", "i eq 1 or " + comparisons(14), "p1"},
			{"other whitespace", "  s   eq 'a'  ", "p1"},
		} {
			t.Run(row.name, func(t *testing.T) {
				got := c.do(t, filter("filters", row.filter))
				require.Equal(t, 200, got.status, got.body)
				require.Equal(t, row.want, strings.Join(keysIn(t, got.body), " "))
			})
		}
	})

	t.Run("order is that of UTF-16 units", func(t *testing.T) {
		tc := table(t, "ordered")
		want := []string{"", "10", "2", "A", "Z", "_", "a", "é", "\U0001F600", "\uFF5E"}
		for _, key := range slices.Backward(want) {
			body, err := json.Marshal(map[string]string{"PartitionKey": "p", "RowKey": key})
			require.NoError(t, err)
			add(t, tc, string(body))
		}
		var got []string
		for _, key := range keysIn(t, c.do(t, query("ordered", "")).body) {
			got = append(got, strings.TrimPrefix(key, "p"))
		}
		require.Equal(t, want, got)
	})

	t.Run("pages", func(t *testing.T) {
		tc := table(t, "pages")
		var want []string
		for i := range 7 {
			for _, p := range []string{"p", "q"} {
				add(t, tc, fmt.Sprintf(`{"PartitionKey":"%s","RowKey":"%d"}`, p, i))
				want = append(want, fmt.Sprintf("%s%d", p, i))
			}
		}
		slices.Sort(want)
		for _, top := range []int32{1, 3, 7, 14} {
			var got []string
			for pager := tc.NewListEntitiesPager(&aztables.ListEntitiesOptions{Top: &top}); pager.More(); {
				page, err := pager.NextPage(ctx)
				require.NoError(t, err)
				require.LessOrEqual(t, len(page.Entities), int(top))
				for _, e := range page.Entities {
					got = append(got, keysIn(t, `{"value":[`+string(e)+`]}`)...)
				}
			}
			require.Equal(t, want, got, "pages of %d", top)
		}
	})

	t.Run("no page has more than 1000", func(t *testing.T) {
		tc := table(t, "thousand")
		for i := 0; i < 1001; {
			var actions []aztables.TransactionAction
			for ; i < 1001 && len(actions) < 100; i++ {
				actions = append(actions, aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: fmt.Appendf(nil, `{"PartitionKey":"p","RowKey":"%04d"}`, i)})
			}
			_, err := tc.SubmitTransaction(ctx, actions, nil)
			require.NoError(t, err)
		}
		pager := tc.NewListEntitiesPager(nil)
		page, err := pager.NextPage(ctx)
		require.NoError(t, err)
		require.Len(t, page.Entities, 1000)
		require.NotEmpty(t, *page.NextPartitionKey)
		page, err = pager.NextPage(ctx)
		require.NoError(t, err)
		require.Len(t, page.Entities, 1)
		require.False(t, pager.More())
	})

	t.Run("select", func(t *testing.T) {
		tc := table(t, "selected")
		add(t, tc, `{"PartitionKey":"p","RowKey":"r","a":1,"l":"5","l@odata.type":"Edm.Int64","c":3}`)
		pager := tc.NewListEntitiesPager(&aztables.ListEntitiesOptions{Select: to.Ptr("RowKey,a,l")})
		page, err := pager.NextPage(ctx)
		require.NoError(t, err)
		require.Len(t, page.Entities, 1)
		require.Contains(t, string(page.Entities[0]), `"RowKey":"r"`)
		require.Contains(t, string(page.Entities[0]), `"l@odata.type":"Edm.Int64"`)
		require.Contains(t, string(page.Entities[0]), `"a":1`)
		require.NotContains(t, string(page.Entities[0]), `"c"`)
		require.NotContains(t, string(page.Entities[0]), "PartitionKey")

		got := c.do(t, request{method: "GET", path: "/selected(PartitionKey='p',RowKey='r')", query: "$select=a"})
		require.Equal(t, 200, got.status)
		require.Contains(t, got.body, `"a":1`)
		require.NotContains(t, got.body, `"c"`)
	})

	t.Run("transaction", func(t *testing.T) {
		tc := table(t, "batches")
		add(t, tc, `{"PartitionKey":"p","RowKey":"update","a":1}`, `{"PartitionKey":"p","RowKey":"merge","a":1}`, `{"PartitionKey":"p","RowKey":"delete"}`)
		current, err := tc.GetEntity(ctx, "p", "update", nil)
		require.NoError(t, err)
		_, err = tc.SubmitTransaction(ctx, []aztables.TransactionAction{
			{ActionType: aztables.TransactionTypeAdd, Entity: []byte(`{"PartitionKey":"p","RowKey":"add","a":1}`)},
			{ActionType: aztables.TransactionTypeUpdateReplace, Entity: []byte(`{"PartitionKey":"p","RowKey":"update","b":1}`), IfMatch: &current.ETag},
			{ActionType: aztables.TransactionTypeUpdateMerge, Entity: []byte(`{"PartitionKey":"p","RowKey":"merge","b":1}`), IfMatch: to.Ptr(azcore.ETagAny)},
			{ActionType: aztables.TransactionTypeInsertReplace, Entity: []byte(`{"PartitionKey":"p","RowKey":"insertreplace","b":1}`)},
			{ActionType: aztables.TransactionTypeInsertMerge, Entity: []byte(`{"PartitionKey":"p","RowKey":"insertmerge","b":1}`)},
			{ActionType: aztables.TransactionTypeDelete, Entity: []byte(`{"PartitionKey":"p","RowKey":"delete"}`)},
		}, nil)
		require.NoError(t, err)
		require.Equal(t, []string{"padd", "pinsertmerge", "pinsertreplace", "pmerge", "pupdate"}, keysIn(t, c.do(t, query("batches", "")).body))
		require.NotContains(t, get(t, tc, "update"), "a")
		require.Contains(t, get(t, tc, "merge"), "a")
	})

	t.Run("failed transaction", func(t *testing.T) {
		tc := table(t, "failed")
		added, err := tc.AddEntity(ctx, []byte(`{"PartitionKey":"p","RowKey":"there","a":1}`), nil)
		require.NoError(t, err)
		for _, row := range []struct {
			name   string
			second aztables.TransactionAction
			status int
			code   string
		}{
			{"conflict", aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: []byte(`{"PartitionKey":"p","RowKey":"there"}`)}, 409, "EntityAlreadyExists"},
			{"absent", aztables.TransactionAction{ActionType: aztables.TransactionTypeUpdateMerge, Entity: []byte(`{"PartitionKey":"p","RowKey":"gone"}`), IfMatch: to.Ptr(azcore.ETagAny)}, 404, "ResourceNotFound"},
			{"stale", aztables.TransactionAction{ActionType: aztables.TransactionTypeUpdateReplace, Entity: []byte(`{"PartitionKey":"p","RowKey":"there"}`), IfMatch: to.Ptr(azcore.ETag(strings.Replace(string(added.ETag), "'20", "'19", 1)))}, 412, "UpdateConditionNotSatisfied"},
		} {
			t.Run(row.name, func(t *testing.T) {
				_, err = tc.SubmitTransaction(ctx, []aztables.TransactionAction{
					{ActionType: aztables.TransactionTypeAdd, Entity: []byte(`{"PartitionKey":"p","RowKey":"first"}`)},
					row.second,
				}, nil)
				var e *azcore.ResponseError
				require.ErrorAs(t, err, &e)
				require.Equal(t, 202, e.StatusCode)
				body, err := io.ReadAll(e.RawResponse.Body)
				require.NoError(t, err)
				require.Len(t, innerStatus.FindAllString(string(body), -1), 1, "one part:\n%s", body)
				status, code, message := reply{body: string(body)}.outcome()
				require.Equal(t, row.status, status)
				require.Equal(t, row.code, code)
				require.Regexp(t, "^1:", message)
				require.Equal(t, []string{"pthere"}, keysIn(t, c.do(t, query("failed", "")).body), "rolled back")
				require.Contains(t, get(t, tc, "there"), "a")
			})
		}
	})

	t.Run("failed transaction of one", func(t *testing.T) {
		tc := table(t, "failedone")
		add(t, tc, `{"PartitionKey":"p","RowKey":"r"}`)
		_, err := tc.SubmitTransaction(ctx, []aztables.TransactionAction{
			{ActionType: aztables.TransactionTypeAdd, Entity: []byte(`{"PartitionKey":"p","RowKey":"r"}`)},
		}, nil)
		var e *azcore.ResponseError
		require.ErrorAs(t, err, &e)
		status, code, message := outcomeOf(err)
		require.Equal(t, 409, status)
		require.Equal(t, "EntityAlreadyExists", code)
		if isAzurite {
			require.Equal(t, "0:The specified entity already exists.", message)
		} else {
			require.Equal(t, "The specified entity already exists.", message, "Azure gives no index then")
		}
	})

	t.Run("refused", func(t *testing.T) {
		tc := table(t, "refused")
		add(t, tc, `{"PartitionKey":"p","RowKey":"r","a":1}`)
		long := func(n int) string { return strings.Repeat("x", n) }
		properties := func(n int) string {
			var b []string
			for i := range n {
				b = append(b, fmt.Sprintf(`"p%d":%d`, i, i))
			}
			return strings.Join(b, ",")
		}
		megabyte := func() string {
			var b []string
			for i := range 17 {
				b = append(b, fmt.Sprintf(`"p%d":"%s"`, i, long(32768)))
			}
			return strings.Join(b, ",")
		}
		adds := func(bodies ...string) request {
			var ops []string
			for _, b := range bodies {
				ops = append(ops, c.insertion("refused", b))
			}
			return batch(ops...)
		}
		many := func(n int) (bodies []string) {
			for i := range n {
				bodies = append(bodies, fmt.Sprintf(`{"PartitionKey":"many","RowKey":"%d"}`, i))
			}
			return bodies
		}
		at := func(header map[string]string) request {
			return request{method: "PUT", path: "/refused(PartitionKey='p',RowKey='r')", body: `{"a":2}`, header: header}
		}
		signed := func(q request, change func(*request)) request {
			change(&q)
			return q
		}
		for _, row := range []struct {
			name         string
			ask          request
			status       int
			code         string
			index        string // of the operation that a transaction fails at
			azuriteLax   bool   // Azurite accepts it
			azuriteFails bool   // Azurite does not store it, but answers 500
		}{
			{name: "table name: too short", ask: request{method: "POST", path: "/Tables", body: `{"TableName":"ab"}`}, status: 400, code: "OutOfRangeInput"},
			{name: "table name: too long", ask: request{method: "POST", path: "/Tables", body: `{"TableName":"` + long(64) + `"}`}, status: 400, code: "OutOfRangeInput"},
			{name: "table name: digit first", ask: request{method: "POST", path: "/Tables", body: `{"TableName":"1abc"}`}, status: 400, code: "InvalidResourceName"},
			{name: "table name: underscore", ask: request{method: "POST", path: "/Tables", body: `{"TableName":"my_table"}`}, status: 400, code: "InvalidResourceName"},
			{name: "table name: reserved", ask: request{method: "POST", path: "/Tables", body: `{"TableName":"Tables"}`}, status: 400, code: "InvalidResourceName"},

			{name: "existing key", ask: insert("refused", `{"PartitionKey":"p","RowKey":"r"}`), status: 409, code: "EntityAlreadyExists"},
			{name: "no partition key", ask: insert("refused", `{"RowKey":"r"}`), status: 400, code: "PropertiesNeedValue"},
			{name: "no row key", ask: insert("refused", `{"PartitionKey":"p"}`), status: 400, code: "PropertiesNeedValue"},
			{name: "key: number", ask: insert("refused", `{"PartitionKey":"p","RowKey":1}`), status: 400, code: "InvalidInput", azuriteFails: true},
			{name: "key: slash", ask: insert("refused", `{"PartitionKey":"p","RowKey":"a/b"}`), status: 400, code: "OutOfRangeInput"},
			{name: "key: backslash", ask: insert("refused", `{"PartitionKey":"p","RowKey":"a\\b"}`), status: 400, code: "OutOfRangeInput"},
			{name: "key: hash", ask: insert("refused", `{"PartitionKey":"a#b","RowKey":"r"}`), status: 400, code: "OutOfRangeInput"},
			{name: "key: question mark", ask: insert("refused", `{"PartitionKey":"p","RowKey":"a?b"}`), status: 400, code: "OutOfRangeInput"},
			{name: "key: control character", ask: insert("refused", `{"PartitionKey":"p","RowKey":"a\u001fb"}`), status: 400, code: "OutOfRangeInput"},
			{name: "key: C1 control character", ask: insert("refused", `{"PartitionKey":"p","RowKey":"a\u009fb"}`), status: 400, code: "OutOfRangeInput"},
			{name: "key: 513 units", ask: insert("refused", `{"PartitionKey":"p","RowKey":"`+long(513)+`"}`), status: 400, code: "PropertyValueTooLarge"},
			{name: "key: 257 surrogate pairs", ask: insert("refused", `{"PartitionKey":"`+strings.Repeat("😀", 257)+`","RowKey":"r"}`), status: 400, code: "PropertyValueTooLarge"},

			{name: "name: dash", ask: insert("refused", entityWith(`"a-b":1`)), status: 400, code: "PropertyNameInvalid", azuriteLax: true},
			{name: "name: space", ask: insert("refused", entityWith(`"a b":1`)), status: 400, code: "PropertyNameInvalid", azuriteLax: true},
			{name: "name: digit first", ask: insert("refused", entityWith(`"1a":1`)), status: 400, code: "PropertyNameInvalid", azuriteLax: true},
			{name: "name: empty", ask: insert("refused", entityWith(`"":1`)), status: 400, code: "PropertyNameInvalid", azuriteLax: true},
			{name: "name: 256 units", ask: insert("refused", entityWith(`"`+long(256)+`":1`)), status: 400, code: "PropertyNameTooLong", azuriteLax: true},
			{name: "253 properties", ask: insert("refused", entityWith(properties(253))), status: 400, code: "TooManyProperties", azuriteLax: true},
			{name: "property twice", ask: insert("refused", entityWith(`"a":1,"a":2`)), status: 400, code: "DuplicatePropertiesSpecified", azuriteLax: true},
			{name: "string of 32769 units", ask: insert("refused", entityWith(`"a":"`+long(32769)+`"`)), status: 400, code: "PropertyValueTooLarge"},
			{name: "string of 16385 surrogate pairs", ask: insert("refused", entityWith(`"a":"`+strings.Repeat("😀", 16385)+`"`)), status: 400, code: "PropertyValueTooLarge"},
			{name: "binary of 64 KiB and 1 byte", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Binary","a":"`+base64.StdEncoding.EncodeToString(make([]byte, 65537))+`"`)), status: 400, code: "PropertyValueTooLarge"},
			{name: "entity over 1 MiB", ask: insert("refused", entityWith(megabyte())), status: 400, code: "EntityTooLarge", azuriteLax: true},
			{name: "body over 4 MiB", ask: insert("refused", entityWith(`"a":"`+long(5<<20)+`"`)), status: 413, code: "RequestBodyTooLarge"},

			{name: "type: Int64 as a number", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Int64","a":5`)), status: 400, code: "InvalidInput"},
			{name: "type: Int64 out of range", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Int64","a":"9223372036854775808"`)), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "type: Int32 out of range", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Int32","a":2147483648`)), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "type: Boolean as a string", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Boolean","a":"yes"`)), status: 400, code: "InvalidInput"},
			{name: "type: malformed Guid", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Guid","a":"123"`)), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "type: malformed Binary", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Binary","a":"*"`)), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "type: malformed DateTime", ask: insert("refused", entityWith(`"a@odata.type":"Edm.DateTime","a":"yesterday"`)), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "type: DateTime without zone", ask: insert("refused", entityWith(`"a@odata.type":"Edm.DateTime","a":"2024-01-01T00:00:00"`)), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "type: DateTime before 1601", ask: insert("refused", entityWith(`"a@odata.type":"Edm.DateTime","a":"1600-12-31T23:59:59Z"`)), status: 400, code: "OutOfRangeInput", azuriteLax: true},
			{name: "type: unknown", ask: insert("refused", entityWith(`"a@odata.type":"Edm.Decimal","a":"1"`)), status: 400, code: "InvalidInput", azuriteFails: true},
			{name: "type: array", ask: insert("refused", entityWith(`"a":[1]`)), status: 400, code: "InvalidInput"},
			{name: "type: object", ask: insert("refused", entityWith(`"a":{}`)), status: 400, code: "InvalidInput"},
			{name: "body: not JSON", ask: insert("refused", `{"PartitionKey":`), status: 400, code: "InvalidInput"},
			{name: "body: not UTF-8", ask: insert("refused", entityWith("\"a\":\"\xff\"")), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "body: not an object", ask: insert("refused", `[]`), status: 400, code: "InvalidInput"},
			{name: "body: Atom", ask: signed(insert("refused", `<entry/>`), func(q *request) { q.header = map[string]string{"Content-Type": "application/atom+xml"} }), status: 415, code: "AtomFormatNotSupported"},

			{name: "If-Match: malformed", ask: at(map[string]string{"If-Match": "abc"}), status: 400, code: "InvalidInput"},
			{name: "If-None-Match", ask: at(map[string]string{"If-None-Match": "*"}), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "delete without If-Match", ask: request{method: "DELETE", path: "/refused(PartitionKey='p',RowKey='missing')"}, status: 400, code: "MissingRequiredHeader"},
			{name: "other keys in the body", ask: signed(at(nil), func(q *request) { q.body = `{"PartitionKey":"other","a":2}` }), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "method", ask: request{method: "DELETE", path: "/refused()"}, status: 405, code: "MethodNotAllowed"},

			{name: "$top 1001", ask: query("refused", "$top=1001"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "$top 0", ask: query("refused", "$top=0"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "$top -1", ask: query("refused", "$top=-1"), status: 400, code: "InvalidInput"},
			{name: "$top not a number", ask: query("refused", "$top=ten"), status: 400, code: "InvalidInput"},
			{name: "$orderby", ask: query("refused", "$orderby=a"), status: 501, code: "NotImplemented", azuriteLax: true},
			{name: "$skip", ask: query("refused", "$skip=1"), status: 501, code: "NotImplemented", azuriteLax: true},
			{name: "$count", ask: query("refused", "$count=true"), status: 501, code: "NotImplemented", azuriteLax: true},
			{name: "unknown option", ask: query("refused", "$fliter=a"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "empty NextRowKey", ask: query("refused", "NextPartitionKey=1!4!cA--&NextRowKey="), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "continuation of raw keys", ask: query("refused", "NextPartitionKey=p&NextRowKey=r"), status: 400, code: "InvalidInput", azuriteLax: true},

			{name: "filter: sixteen comparisons", ask: filter("refused", comparisons(16)), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "filter: open quote", ask: filter("refused", "a eq 'x"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "filter: open parenthesis", ask: filter("refused", "(a eq 1"), status: 400, code: "InvalidInput"},
			{name: "filter: unknown operator", ask: filter("refused", "a is 1"), status: 400, code: "InvalidInput"},
			{name: "filter: three words", ask: filter("refused", "aaa bbb ccc"), status: 400, code: "InvalidInput"},
			{name: "filter: function", ask: filter("refused", "startswith(a,'x')"), status: 501, code: "NotImplemented"},
			{name: "filter: in", ask: filter("refused", "a in (1,2)"), status: 400, code: "InvalidInput"},
			{name: "filter: dangling and", ask: filter("refused", "a eq 1 and"), status: 400, code: "InvalidInput"},
			{name: "filter: two expressions", ask: filter("refused", "a eq 1 b eq 2"), status: 400, code: "InvalidInput"},
			{name: "filter: not without parentheses", ask: filter("refused", "not a eq 1"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "filter: malformed guid", ask: filter("refused", "a eq guid'1'"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "filter: malformed datetime", ask: filter("refused", "a eq datetime'today'"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "filter: Int32 out of range", ask: filter("refused", "a eq 2147483648"), status: 400, code: "InvalidInput", azuriteLax: true},
			{name: "filter: null", ask: filter("refused", "a eq null"), status: 400, code: "InvalidInput", azuriteLax: true},

			{name: "transaction: two partitions", ask: adds(`{"PartitionKey":"one","RowKey":"1"}`, `{"PartitionKey":"two","RowKey":"1"}`), status: 400, code: "CommandsInBatchActOnDifferentPartitions", index: "1", azuriteLax: true},
			{name: "transaction: two tables", ask: batch(c.insertion("refused", `{"PartitionKey":"t","RowKey":"1"}`), c.insertion("refusedtoo", `{"PartitionKey":"t","RowKey":"2"}`)), status: 400, code: "CommandsInBatchActOnDifferentPartitions", index: "1"},
			{name: "transaction: an entity twice", ask: adds(`{"PartitionKey":"twice","RowKey":"1"}`, `{"PartitionKey":"twice","RowKey":"1"}`), status: 400, code: "InvalidDuplicateRow", index: "1"},
			{name: "transaction: 101 operations", ask: adds(many(101)...), status: 400, code: "InvalidInput", index: "99"},
			{name: "transaction: invalid entity", ask: adds(`{"PartitionKey":"bad","RowKey":"1"}`, `{"PartitionKey":"bad","RowKey":"2","a-b":1}`), status: 400, code: "PropertyNameInvalid", index: "1", azuriteLax: true},
			{name: "transaction: missing table", ask: batch(c.insertion("missing", `{"PartitionKey":"t","RowKey":"1"}`), c.insertion("missing", `{"PartitionKey":"t","RowKey":"2"}`)), status: 404, code: "TableNotFound", index: "0"},
			{name: "transaction: over 4 MiB", ask: adds(`{"PartitionKey":"big","RowKey":"1","a":"` + long(4<<20) + `"}`), status: 413, code: "RequestBodyTooLarge"},

			{name: "signature", ask: signed(query("refused", ""), func(q *request) { q.key = "AAAA" }), status: 403, code: "AuthenticationFailed"},
			{name: "scheme", ask: signed(query("refused", ""), func(q *request) { q.scheme = "Bearer" }), status: 403, code: "AuthenticationFailed"},
			{name: "clock 16 minutes behind", ask: signed(query("refused", ""), func(q *request) { q.date = time.Now().Add(-16 * time.Minute) }), status: 403, code: "AuthenticationFailed", azuriteLax: true},
			{name: "clock 16 minutes ahead", ask: signed(query("refused", ""), func(q *request) { q.date = time.Now().Add(16 * time.Minute) }), status: 403, code: "AuthenticationFailed", azuriteLax: true},
			{name: "unknown version", ask: signed(query("refused", ""), func(q *request) { q.header = map[string]string{"x-ms-version": "2019-02-03"} }), status: 400, code: "InvalidHeaderValue", azuriteLax: true},
		} {
			t.Run(row.name, func(t *testing.T) {
				got := c.do(t, row.ask)
				status, code, message := got.outcome()
				if !isAzurite {
					require.Equal(t, row.status, status, got.body)
					require.Equal(t, row.code, code, got.body)
					if row.index != "" {
						require.Equal(t, 202, got.status)
						require.Regexp(t, "^"+row.index+":", message)
					}
				} else if row.azuriteLax {
					require.Less(t, status, 300, "Azurite has become as strict as Azure here:\n%s", got.body)
				} else {
					require.GreaterOrEqual(t, status, 400, "Azurite accepts this: say azuriteLax")
					require.Equal(t, row.azuriteFails, status >= 500, got.body)
				}
			})
		}

		if !isAzurite { // which accepts some of it
			t.Run("nothing of it was stored", func(t *testing.T) {
				require.Equal(t, []string{"pr"}, keysIn(t, c.do(t, query("refused", "")).body))
			})
		}
	})

	t.Run("just within the limits", func(t *testing.T) {
		table(t, "within")
		properties := make([]string, 252)
		for i := range properties {
			properties[i] = fmt.Sprintf(`"p%d":%d`, i, i)
		}
		var fifteen []string // 15 of 64 KiB and one of 63 KiB: under 1 MiB with the overhead
		for i := range 16 {
			n := 32768
			if i == 15 {
				n -= 512
			}
			fifteen = append(fifteen, fmt.Sprintf(`"p%d":"%s"`, i, strings.Repeat("x", n)))
		}
		var hundred []string
		for i := range 100 {
			hundred = append(hundred, c.insertion("within", fmt.Sprintf(`{"PartitionKey":"h","RowKey":"%d"}`, i)))
		}
		for _, row := range []struct {
			name string
			ask  request
		}{
			{"keys of 512 units", insert("within", `{"PartitionKey":"`+strings.Repeat("p", 512)+`","RowKey":"`+strings.Repeat("😀", 256)+`"}`)},
			{"252 properties", insert("within", entityWith(strings.Join(properties, ",")))},
			{"a name of 255 units", insert("within", entityWith(`"`+strings.Repeat("x", 255)+`":1`))},
			{"a name of letters and digits of other scripts", insert("within", entityWith(`"_größe٣":1`))},
			{"a string of 32768 units", insert("within", entityWith(`"a":"`+strings.Repeat("x", 32768)+`"`))},
			{"a binary of 64 KiB", insert("within", entityWith(`"a@odata.type":"Edm.Binary","a":"`+base64.StdEncoding.EncodeToString(make([]byte, 65536))+`"`))},
			{"an entity just under 1 MiB", insert("within", entityWith(strings.Join(fifteen, ",")))},
			{"the first DateTime", insert("within", entityWith(`"a@odata.type":"Edm.DateTime","a":"1601-01-01T00:00:00Z"`))},
			{"the last DateTime", insert("within", entityWith(`"a@odata.type":"Edm.DateTime","a":"9999-12-31T23:59:59.9999999Z"`))},
			{"$top 1000", query("within", "$top=1000")},
			{"100 operations", batch(hundred...)},
			{"a table name of 63", request{method: "POST", path: "/Tables", body: `{"TableName":"a` + strings.Repeat("1", 62) + `"}`}},
		} {
			t.Run(row.name, func(t *testing.T) {
				got := c.do(t, row.ask)
				status, _, _ := got.outcome()
				require.Less(t, status, 300, got.body)
			})
		}
	})
}

// keysIn lists the entities of a query's answer as PartitionKey and RowKey together.
func keysIn(t *testing.T, body string) []string {
	t.Helper()
	var page struct {
		Value []struct{ PartitionKey, RowKey string }
	}
	require.NoError(t, json.NewDecoder(bytes.NewReader([]byte(body))).Decode(&page), body)
	var keys []string
	for _, e := range page.Value {
		keys = append(keys, e.PartitionKey+e.RowKey)
	}
	return keys
}
