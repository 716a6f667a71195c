package server

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

// FuzzCursor: no cursor makes openCursor panic, and what it opens it could have
// sealed.
func FuzzCursor(f *testing.F) {
	owner := items.Owner{Tenant: "t", Subject: "s"}
	now := time.Unix(1_800_000_000, 0)
	f.Add(sealCursor(listCursor, "position", owner, "filters", now))
	f.Add("")
	f.Add("AQ")
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, 40)))
	f.Fuzz(func(t *testing.T, cursor string) {
		position, err := openCursor(cursor, listCursor, owner, "filters", now)
		if err == nil {
			require.NotEmpty(t, position)
			_, err := openCursor(cursor, listCursor, items.Owner{Tenant: "t", Subject: "other"}, "filters", now)
			require.Error(t, err)
			_, err = openCursor(cursor, listCursor, owner, "", now)
			require.Error(t, err)
		}
	})
}
