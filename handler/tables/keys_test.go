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
