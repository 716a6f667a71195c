package tables_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/tables"
)

// stored makes a draft of any text, as a store would find it, whatever Content is.
func stored(t testing.TB, text string) items.Draft {
	_, shape := itemstest.Draft(itemstest.Content(0)).Stored()
	d, leftOut, err := items.FromStore(text, shape)
	require.NoError(t, err)
	require.Empty(t, leftOut)
	return d
}

// objectOf is a JSON object of so many bytes, of that character after some ASCII.
func objectOf(bytes, ascii int, character string) string {
	const frame = len(`{"t":""}`)
	text := strings.Repeat("a", ascii)
	text += strings.Repeat(character, (bytes-frame-len(text))/len(character))
	return `{"t":"` + text + strings.Repeat("z", bytes-frame-len(text)) + `"}`
}

// TestColumns: content comes back whole whatever its length and characters, also where
// a character of two units would lie on the border of two columns.
func TestColumns(t *testing.T) {
	const column = 32_768
	var contents []string
	for _, character := range []string{"a", "é", "€", "😀"} {
		contents = append(contents, objectOf(items.MaxContent, 0, character), objectOf(items.MaxContent, 1, character))
		for columns := range 3 {
			for off := -2; off <= 2; off++ {
				units := len(utf16.Encode([]rune(character)))
				bytes := ((columns+1)*column + off) / units * len(character)
				contents = append(contents, objectOf(bytes, 0, character), objectOf(bytes, 1, character))
			}
		}
	}
	_, shape := itemstest.Draft(itemstest.Content(0)).Stored()
	for _, content := range contents {
		columns, again, err := tables.ColumnsOf(content, shape)
		require.NoError(t, err)
		require.Equal(t, content, again)
		for _, c := range columns {
			require.LessOrEqual(t, len(utf16.Encode([]rune(c))), column)
			require.True(t, strings.ToValidUTF8(c, "") == c, "a character was split")
		}
	}
	onEach(t, func(t *testing.T, connectionString string) {
		s := open(t, connectionString)
		for i, content := range contents {
			owner := someone(fmt.Sprint("columnist ", i))
			made, _, err := keep(t.Context(), s, owner, []items.Draft{stored(t, content)}, nil)
			require.NoError(t, err)
			got, err := s.Get(t.Context(), owner, made[0].ID)
			require.NoError(t, err)
			require.True(t, got.Draft.Bytes() == len(content), "%d bytes of %d", got.Draft.Bytes(), len(content))
			text, _ := got.Stored()
			require.True(t, text == content)
		}
	})
}

// find returns a row whose key is as asked for.
func find(t *testing.T, client *aztables.Client, like func(key string) bool) (row map[string]any) {
	pager := client.NewListEntitiesPager(nil)
	for pager.More() {
		page, err := pager.NextPage(t.Context())
		require.NoError(t, err)
		for _, raw := range page.Entities {
			var r map[string]any
			require.NoError(t, json.Unmarshal(raw, &r))
			if key, _ := r["RowKey"].(string); like(key) {
				row = r
			}
		}
	}
	return row
}

// A row that this version did not write is told by its name, and never half read.
func TestRowsOfAnotherForm(t *testing.T) {
	onEach(t, func(t *testing.T, connectionString string) {
		var log strings.Builder
		table := newTable()
		s := open(t, connectionString, in(table), func(c *tables.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		service, err := aztables.NewServiceClientFromConnectionString(connectionString, nil)
		require.NoError(t, err)
		client := service.NewClient(table)
		for i, change := range []map[string]any{
			{"shape": nil, "columns": nil, "c0": nil, "name": "Milk", "properties": "{}"}, // from before there were columns
			{"shape": ""},
			{"columns": 0},
			{"columns": 2},
			{"columns": 7},
			{"c1": "more"},
			{"c0": ""},
			{"c0": "{", "shape": "of another type"},
			{"c0": "{"},
			{"c0": `{"name":"x",}`},
			{"c0": `"x"`},
			{"c0": ` {"name":"x"}`},
			{"c0": `{ }`},
			{"c0": `{"name":"x","id":"y"}`},
			{"c0": `{"etag":"\"x\"","name":"x"}`},
		} {
			owner := someone(fmt.Sprint("reader ", i))
			item := create(t, s, owner, "x")
			row := find(t, client, func(key string) bool { return strings.HasSuffix(key, strings.Trim(item.ETag, `"`)) })
			require.NotNil(t, row)
			key := row["RowKey"].(string)
			for name, value := range change {
				if row[name] = value; value == nil {
					delete(row, name)
				}
			}
			delete(row, "odata.etag")
			changed, err := json.Marshal(row)
			require.NoError(t, err)
			_, err = client.UpdateEntity(t.Context(), changed, &aztables.UpdateEntityOptions{UpdateMode: aztables.UpdateModeReplace})
			require.NoError(t, err)

			_, err = s.Get(t.Context(), owner, item.ID)
			require.ErrorIs(t, err, items.ErrUnavailable, "%v", change)
			require.ErrorContains(t, err, key, "%v", change)
			_, err = s.List(t.Context(), owner, items.Query{Limit: 10})
			require.ErrorIs(t, err, items.ErrUnavailable, "%v", change)
			require.ErrorContains(t, err, key, "%v", change)
			_, err = s.Delta(t.Context(), owner, "", 10)
			require.ErrorIs(t, err, items.ErrUnavailable, "%v", change)
		}
		require.NotContains(t, log.String(), "does not show")

		// So is a head, by everything that needs it.
		owner := someone("counter")
		item := create(t, s, owner, "x")
		row := find(t, client, func(key string) bool { return key == "m-head" })
		for row["PartitionKey"] != tables.PartitionKey(owner) {
			_, err := client.DeleteEntity(t.Context(), row["PartitionKey"].(string), "m-head", nil)
			require.NoError(t, err)
			row = find(t, client, func(key string) bool { return key == "m-head" })
		}
		delete(row, "count")
		delete(row, "odata.etag")
		changed, err := json.Marshal(row)
		require.NoError(t, err)
		_, err = client.UpdateEntity(t.Context(), changed, &aztables.UpdateEntityOptions{UpdateMode: aztables.UpdateModeReplace})
		require.NoError(t, err)
		_, errCount := s.Summary(t.Context(), owner)
		_, errDelta := s.Delta(t.Context(), owner, "", 10)
		_, _, errCreate := keep(t.Context(), s, owner, drafts(1), nil)
		_, errDelete := drop(t.Context(), s, owner, item.ID, anyVersion)
		for _, err := range []error{errCount, errDelta, errCreate, errDelete} {
			require.ErrorIs(t, err, items.ErrUnavailable)
			require.NotErrorIs(t, err, items.ErrOutcomeUnknown)
			require.ErrorContains(t, err, "m-head")
		}

		// Content that another type had is read as far as it goes, with one warning.
		old := itemstest.Draft(itemstest.Content(0))
		text, _ := old.Stored()
		earlier, leftOut, err := items.FromStore(text[:len(text)-1]+`,"past":1}`, "of another type")
		require.NoError(t, err)
		require.Equal(t, []string{"past"}, leftOut)
		owner = someone("reader of the past")
		for range 3 {
			_, _, err := keep(t.Context(), s, owner, []items.Draft{earlier}, nil)
			require.NoError(t, err)
		}
		for _, item := range list(t, s, owner) {
			require.Equal(t, earlier, item.Draft)
		}
		require.Equal(t, 1, strings.Count(log.String(), "does not show"))
	})
}
