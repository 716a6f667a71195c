package server

import (
	"time"

	"itemsapi/handler/items"
)

// SealCursor makes a cursor of a list, as somebody who knows its form could.
func SealCursor(position string, owner items.Owner, issued time.Time) string {
	return sealCursor(listCursor, position, owner, "", issued)
}
