package tables

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// FuzzRowKey: an ID has one key, a key one ID, and later IDs have smaller keys.
func FuzzRowKey(f *testing.F) {
	f.Add("0199a5a0-0000-7000-8000-000000000000", "0199a5a0-0001-7000-8000-000000000000")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, a, b string) {
		keyA, okA := rowKey(a)
		keyB, okB := rowKey(b)
		if okA {
			id, ok := itemID(keyA)
			require.True(t, ok)
			require.Equal(t, a, id.String())
			require.Greater(t, keyA, itemPrefix)
			require.Less(t, keyA, itemPrefixEnd)
		}
		if okA && okB {
			require.Equal(t, a < b, keyA > keyB)
		}
	})
}

func TestIDsOfOneProcessAreInOrder(t *testing.T) {
	last := ""
	for range 20_000 {
		id, err := uuid.NewV7()
		require.NoError(t, err)
		require.Greater(t, id.String(), last)
		last = id.String()
	}
}
