package tables

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// FuzzRowKey: an ID has one key, a key one ID, and later IDs have smaller keys.
func FuzzRowKey(f *testing.F) {
	f.Add("0199a5a0-0000-7000-8000-000000000000", "0199a5a0-0001-7000-8000-000000000000")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		keyA, okA := rowPrefix(a)
		keyB, okB := rowPrefix(b)
		if okA {
			made := changeAt(time.Now())
			id, version, ok := readItemKey(keyA + string(made))
			require.True(t, ok)
			require.Equal(t, a, id.String())
			require.Equal(t, made, version)
			require.Greater(t, keyA, itemPrefix)
			require.Less(t, keyA, after(itemPrefix))
			require.Less(t, keyA+string(made), after(keyA))
		}
		if okA && okB {
			require.Equal(t, a < b, keyA > keyB)
		}
	})
}

func TestIDsOfOneProcessAreInOrder(t *testing.T) {
	c := clock{now: time.Now}
	last := ""
	for range 5_000 {
		for _, id := range c.ids(4) {
			require.EqualValues(t, 7, id.Version())
			require.Equal(t, uuid.RFC4122, id.Variant())
			require.Greater(t, id.String(), last)
			require.WithinDuration(t, time.Now(), createdAt(id), time.Minute)
			last = id.String()
		}
	}
	// Even when the clock goes back.
	c.now = func() time.Time { return time.Unix(0, 0) }
	require.Greater(t, c.ids(1)[0].String(), last)
}

func TestAChangeHasItsTime(t *testing.T) {
	at := time.Date(2026, 11, 26, 17, 6, 22, 123e6, time.UTC)
	made := changeAt(at.Add(999 * time.Microsecond))
	require.Equal(t, at, made.time())
	back, ok := changeOf(made.tag())
	require.True(t, ok)
	require.Equal(t, made, back)
	for _, tag := range []string{"", `"`, `""`, string(made), `W/` + made.tag(), `"` + strings.ToUpper(string(made)) + `"`, `"` + string(made)[1:] + `"`, `"` + string(made)[1:] + `'"`, `"` + string(made) + `0"`} {
		_, ok := changeOf(tag)
		require.False(t, ok, tag)
	}
}

func FuzzReadTransaction(f *testing.F) {
	f.Add("--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 204 No Content\r\nETag: W/\"datetime'2026'\"\r\n\r\n--c--\r\n--b--\r\n")
	f.Add("--b\r\n\r\n--c\r\n\r\nHTTP/1.1 409 Conflict\r\n\r\n{\"odata.error\":{\"code\":\"EntityAlreadyExists\",\"message\":{\"lang\":\"en-US\",\"value\":\"3:The specified entity already exists.\"}}}\r\n--c--\r\n")
	f.Add("HTTP/1.1 500 x\n{\"odata.error\":{}}")
	f.Fuzz(func(t *testing.T, body string) {
		etag, refused, understood := readTransaction([]byte(body))
		require.False(t, !understood && (refused != nil || etag != ""))
		if refused != nil {
			require.GreaterOrEqual(t, refused.status, 400)
			require.True(t, refused.status >= 500 || refused.operation >= 0)
		}
	})
}

func FuzzReadPosition(f *testing.F) {
	f.Add("cafecafe.3f..3f.0")
	f.Add("cafecafe.3f.0199a5a0-0000-7000-8000-000000000000.0.0")
	f.Add(".0..0.31")
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := readPosition(text)
		if !ok {
			return
		}
		require.LessOrEqual(t, p.from, p.to)
		again, ok := readPosition(p.String())
		require.True(t, ok)
		require.Equal(t, p, again)
	})
}
