package items_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

// Times have three digits of fraction whatever they are, so that they sort as text.
func TestItemAsJSON(t *testing.T) {
	at := time.Date(2026, 11, 26, 17, 0, 0, 0, time.UTC)
	draft, err := items.FormOf[task]().Read(membersOf(t, `{"done":false,"text":"a"}`))
	require.NoError(t, err)
	item := items.Item{ID: "the-id", Draft: draft, CreatedAt: at, UpdatedAt: at.Add(127 * time.Millisecond), ETag: `"e"`}
	gone := items.Tombstone{ID: "the-id", DeletedAt: at}
	const (
		itemJSON = `{"id":"the-id","text":"a","done":false,"createdAt":"2026-11-26T17:00:00.000Z","updatedAt":"2026-11-26T17:00:00.127Z","etag":"\"e\""}`
		goneJSON = `{"id":"the-id","deleted":true,"deletedAt":"2026-11-26T17:00:00.000Z"}`
	)
	for _, tt := range []struct {
		value interface{ AppendJSON([]byte) []byte }
		want  string
	}{
		{item, itemJSON},
		{gone, goneJSON},
		{items.Change{Item: item}, itemJSON},
		{items.Change{Item: items.Item{ID: "the-id"}, Gone: &gone}, goneJSON},
	} {
		require.Equal(t, "before "+tt.want, string(tt.value.AppendJSON([]byte("before "))))
	}
	text, err := json.Marshal([]any{item, items.Change{Item: items.Item{ID: "the-id"}, Gone: &gone}})
	require.NoError(t, err)
	require.Equal(t, "["+itemJSON+","+goneJSON+"]", string(text))
}
