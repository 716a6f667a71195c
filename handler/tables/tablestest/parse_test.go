package tablestest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestFilterPositions(t *testing.T) {
	for _, row := range []struct{ filter, want string }{
		{"aaa bbb ccc", "Syntax error at position 7 in 'aaa bbb ccc'."},
		{"a eq 'open", "Syntax error at position 10 in 'a eq 'open'."},
		{"(a eq 1", "Syntax error at position 7 in '(a eq 1'."},
		{"a eq 1)", "Syntax error at position 7 in 'a eq 1)'."},
		{"a eq 1and b eq 2", "Syntax error at position 9 in 'a eq 1and b eq 2'."},
		{"a eq 'x'and b eq 2", "Syntax error at position 8 in 'a eq 'x'and b eq 2'."},
		{"eq eq 1", "Syntax error at position 2 in 'eq eq 1'."},
		{"a eq b", "Syntax error at position 6 in 'a eq b'."},
		{"a eq -", "Syntax error at position 6 in 'a eq -'."},
		{"a eq 1.5.5", "Syntax error at position 10 in 'a eq 1.5.5'."},
		{"a eq X'0'", "Syntax error at position 9 in 'a eq X'0''."},
		{"not", "Syntax error at position 3 in 'not'."},
		{"a eq 1 or", "Syntax error at position 9 in 'a eq 1 or'."},
		{"  ", "Syntax error at position 2 in '  '."},
	} {
		t.Run(row.filter, func(t *testing.T) {
			_, refusal := parseFilter(row.filter)
			require.NotNil(t, refusal)
			require.Equal(t, "InvalidInput", refusal.code)
			require.Equal(t, row.want, refusal.message)
		})
	}
}

func TestFilterDepth(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("(", n) + "a eq 1" + strings.Repeat(")", n) }
	_, refusal := parseFilter(nested(maxDepth - 1))
	require.Nil(t, refusal)
	_, refusal = parseFilter(nested(100_000))
	require.NotNil(t, refusal)
	_, refusal = parseFilter(strings.Repeat("not ", 100_000) + "(a eq 1)")
	require.NotNil(t, refusal)
}

func TestFilterKeyRanges(t *testing.T) {
	for _, row := range []struct {
		filter string
		pk, rk keys
	}{
		{filter: "PartitionKey eq 'p'", pk: keys{"p", "p", true}},
		{filter: "PartitionKey eq 'p' and (RowKey gt 'a' and RowKey lt 'c')", pk: keys{"p", "p", true}, rk: keys{"a", "c", true}},
		{filter: "RowKey ge 'a' and RowKey gt 'b' and RowKey le 'y' and RowKey lt 'z'", rk: keys{"b", "y", true}},
		{filter: "PartitionKey eq 'p' or RowKey eq 'r'"},
		{filter: "not (PartitionKey eq 'p')"},
		{filter: "PartitionKey ne 'p'"},
		{filter: "PartitionKey eq 5"},
	} {
		t.Run(row.filter, func(t *testing.T) {
			f, refusal := parseFilter(row.filter)
			require.Nil(t, refusal)
			require.Equal(t, row.pk, f.partitionKeys)
			require.Equal(t, row.rk, f.rowKeys)
		})
	}
}

// FuzzFilter checks that no filter crashes the parser and that whatever matches lies within the filter's key ranges.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"", "PartitionKey eq 'p' and RowKey gt 'a' and RowKey lt 'b'", "not (a eq 1) or (b ne 2L and c lt 1.5e3)", "a eq 'O''Brien'",
		"t ge datetime'2024-01-01T00:00:00.1234567Z'", "g eq guid'4185404a-5818-48c3-b9be-f217df0dba6f'", "x eq X'00ff' or x eq binary'00'",
		"b eq true", "not not ((a eq null))", "startswith(a,'b')", "a eq 'open", "ä eq '\xff'", "RowKey le 'b' and not (RowKey eq 'a')",
	} {
		f.Add(seed)
	}
	entities := []*entity{}
	for _, pk := range []string{"", "p", "q"} {
		for _, rk := range []string{"", "a", "ab", "b", "😀"} {
			entities = append(entities, newEntity(pk, rk, []property{newProperty("a", value{edm: edmInt32, number: 1})}, 0))
		}
	}
	f.Fuzz(func(t *testing.T, source string) {
		parsed, refusal := parseFilter(source)
		if refusal != nil {
			require.Nil(t, parsed)
			require.Contains(t, []int{400, 501}, refusal.status)
			return
		}
		for _, e := range entities {
			if parsed.matches(e) {
				require.GreaterOrEqual(t, compareKeys(e.partitionKey, parsed.partitionKeys.from("")), 0)
				require.False(t, parsed.partitionKeys.isPast(e.partitionKey))
				require.GreaterOrEqual(t, compareKeys(e.rowKey, parsed.rowKeys.from("")), 0)
				require.False(t, parsed.rowKeys.isPast(e.rowKey))
			}
		}
	})
}

// FuzzEntity checks that what is accepted is within the limits and reads back the same.
func FuzzEntity(f *testing.F) {
	for _, seed := range []string{
		`{"PartitionKey":"p","RowKey":"r"}`, `{"a":1,"b":1.5,"c":true,"d":null,"e":"x"}`, `{"a@odata.type":"Edm.Int64","a":"5"}`,
		`{"a":"2024-01-01T00:00:00+01:00","a@odata.type":"Edm.DateTime"}`, `{"a":"NaN","a@odata.type":"Edm.Double"}`, `{"a":1e400}`,
		`{"a":"AP8=","a@odata.type":"Edm.Binary"}`, `{"a":[]}`, `{"a":1,"a":2}`, `{} {}`, `[`, `{"a":"\ud800"}`, `{"a@odata.type":5}`,
		`{"a":"4185404A-5818-48c3-b9be-f217df0dba6f","a@odata.type":"Edm.Guid"}`, `{"a":-0.0,"b":1E5,"c":12345678901234567890}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, refusal := readEntity(body)
		if refusal != nil {
			require.Contains(t, []int{400, 413}, refusal.status)
			return
		}
		pk, rk := "p", "r"
		if d.partitionKey != nil {
			pk = *d.partitionKey
		}
		if d.rowKey != nil {
			rk = *d.rowKey
		}
		for _, level := range []metadata{minimalMetadata, fullMetadata} {
			written := append(append([]byte{'{'}, newEntity(pk, rk, d.properties, 0).appendJSON(nil, level, nil, "http://h", "t")...), '}')
			require.True(t, json.Valid(written), "%s", written)
			again, refusal := readEntity(written)
			require.Nil(t, refusal, "%s", written)
			require.Equal(t, pk, *again.partitionKey)
			require.Equal(t, rk, *again.rowKey)
			require.Len(t, again.properties, len(d.properties))
			for i, p := range d.properties {
				require.Equal(t, p.json, again.properties[i].json)
				require.Equal(t, p.value.edm, again.properties[i].value.edm)
			}
		}
	})
}

const batchOfTwo = "--batch_1\r\nContent-Type: multipart/mixed; boundary=changeset_1\r\n\r\n" +
	"--changeset_1\r\nContent-Transfer-Encoding: binary\r\nContent-Type: application/http\r\n\r\n" +
	"POST http://127.0.0.1:10002/devstoreaccount1/items HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 33\r\n\r\n" + `{"PartitionKey":"p","RowKey":"1"}` + "\r\n" +
	"--changeset_1\r\nContent-Transfer-Encoding: binary\r\nContent-Type: application/http\r\n\r\n" +
	"DELETE http://127.0.0.1:10002/devstoreaccount1/items(PartitionKey='p',RowKey='2') HTTP/1.1\r\nIf-Match: *\r\n\r\n\r\n" +
	"--changeset_1--\r\n\r\n--batch_1--\r\n"

func TestBatchRefusals(t *testing.T) {
	edit := func(old, new string) string { return strings.Replace(batchOfTwo, old, new, 1) }
	for _, row := range []struct{ name, contentType, body, want string }{
		{"not multipart", "application/json", batchOfTwo, "not multipart/mixed"},
		{"no boundary", "multipart/mixed", batchOfTwo, "not multipart/mixed"},
		{"other boundary", "multipart/mixed; boundary=other", batchOfTwo, "malformed"},
		{"empty", "", "", "malformed"},
		{"no change set", "", edit("multipart/mixed; boundary=changeset_1", "application/http"), "something else than a change set"},
		{"cut short", "", batchOfTwo[:len(batchOfTwo)-60], "malformed"},
		{"no end of the batch", "", strings.TrimSuffix(batchOfTwo, "--batch_1--\r\n"), "its end is missing"},
		{"empty change set", "", "--batch_1\r\nContent-Type: multipart/mixed; boundary=changeset_1\r\n\r\n--changeset_1--\r\n--batch_1--\r\n", "empty"},
		{"two change sets", "", edit("--batch_1--", "--batch_1\r\nContent-Type: multipart/mixed; boundary=changeset_2\r\n\r\n--changeset_2--\r\n--batch_1--"), "more than one change set"},
		{"part of another type", "", edit("application/http", "text/plain"), "Operation 0 of the change set is malformed"},
		{"part of another encoding", "", edit("Encoding: binary", "Encoding: base64"), "Operation 0 of the change set is malformed"},
		{"no request line", "", edit("POST http://127.0.0.1:10002/devstoreaccount1/items HTTP/1.1\r\n", ""), "Operation 0 of the change set is malformed"},
		{"other protocol", "", edit("items HTTP/1.1", "items HTTP/2"), "Operation 0 of the change set is malformed"},
		{"wrong length", "", edit("Content-Length: 33", "Content-Length: 32"), "Content-Length is 32"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.contentType == "" {
				row.contentType = "multipart/mixed; boundary=batch_1"
			}
			_, refusal := readBatch(row.contentType, []byte(row.body))
			require.NotNil(t, refusal)
			require.Equal(t, 400, refusal.status)
			require.Contains(t, refusal.message, row.want)
		})
	}
	parts, refusal := readBatch("multipart/mixed; boundary=batch_1", []byte(batchOfTwo))
	require.Nil(t, refusal)
	require.Len(t, parts, 2)
	require.Equal(t, "DELETE", parts[1].method)
	require.Equal(t, "*", parts[1].header.Get("If-Match"))
	require.Equal(t, `{"PartitionKey":"p","RowKey":"1"}`, string(parts[0].body))
}

// FuzzBatch checks that no body crashes the reader, and that what it reads can be asked for.
func FuzzBatch(f *testing.F) {
	f.Add("multipart/mixed; boundary=batch_1", []byte(batchOfTwo))
	f.Add("multipart/mixed; boundary=batch_1", []byte(strings.ReplaceAll(batchOfTwo, "\r\n", "\n")))
	f.Add("multipart/mixed; boundary=a", []byte("--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a--\r\n"))
	f.Add("multipart/mixed; boundary=\"", []byte("--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		parts, refusal := readBatch(contentType, body)
		if refusal != nil {
			require.Equal(t, 400, refusal.status)
			return
		}
		require.NotEmpty(t, parts)
		require.LessOrEqual(t, len(parts), maxOperations+1)
		for _, p := range parts {
			require.LessOrEqual(t, len(p.body), len(body))
			_, _, _ = p.change("http://127.0.0.1/" + AccountName)
		}
	})
}

// FuzzPath checks that an entity's link, decoded as net/http does, leads back to it.
func FuzzPath(f *testing.F) {
	f.Add("items", "p", "r", "/devstoreaccount1/items(PartitionKey='p',RowKey='r')")
	f.Add("items", "O'Brien", "''", "/devstoreaccount1/Tables('x')")
	f.Add("items", "a%20b", "ü,RowKey='", "/devstoreaccount1/$batch")
	f.Add("items", "", "1+1", "/other")
	f.Fuzz(func(t *testing.T, table, partitionKey, rowKey, path string) {
		parsePath(path)
		if checkTableName(table) != nil || !utf8.ValidString(partitionKey+rowKey) {
			return
		}
		u, err := url.Parse("http://h/" + AccountName + "/" + entityLink(table, partitionKey, rowKey))
		require.NoError(t, err)
		got, ok := parsePath(u.Path)
		require.True(t, ok, u.Path)
		require.Equal(t, target{entityTarget, table, partitionKey, rowKey}, got)
	})
}

func FuzzContinuation(f *testing.F) {
	f.Add("key", 0, "1!4!a2V5")
	f.Add("p", 3, "1!4!cA--")
	f.Add("", 1, "2!0!")
	f.Add("00~", 0, "1!4!MDB-")
	f.Add("😀", 0, "!!")
	f.Fuzz(func(t *testing.T, key string, emptyPages int, foreign string) {
		_, _ = decodeContinuation(url.Values{"NextRowKey": {foreign}}, "NextRowKey")
		_ = emptyPagesSeen(url.Values{"NextPartitionKey": {foreign}})
		if !utf8.ValidString(key) || emptyPages < 0 || emptyPages > 1000 {
			return
		}
		query := url.Values{"NextPartitionKey": {encodeContinuation(key, emptyPages)}}
		got, refusal := decodeContinuation(query, "NextPartitionKey")
		require.Nil(t, refusal)
		require.Equal(t, key, got)
		require.Equal(t, emptyPages, emptyPagesSeen(query))
	})
}

// FuzzCompareKeys compares with the order of the UTF-16 units themselves.
func FuzzCompareKeys(f *testing.F) {
	f.Add("a", "b")
	f.Add("\U0001F600", "\uFF5E")
	f.Add("\uD7FF", "\U00010000")
	f.Add("é", "z")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !utf8.ValidString(a) || !utf8.ValidString(b) {
			return
		}
		want := slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
		require.Equal(t, want, cmp.Compare(compareKeys(a, b), 0), fmt.Sprintf("%q %q", a, b))
		require.Equal(t, len(utf16.Encode([]rune(a))), utf16Len(a))
	})
}
