package server

import (
	"maps"
	"slices"
	"time"

	"itemsapi/handler/items"
)

// SealCursor makes a cursor of a list, as somebody who knows its form could.
func SealCursor(position string, owner items.Owner, issued time.Time) string {
	return sealCursor(listCursor, position, owner, "", issued)
}

// SealToken makes a delta token.
func SealToken(position string, owner items.Owner, issued time.Time) string {
	return sealCursor(deltaToken, position, owner, "", issued)
}

// Codes are the codes of all problems that are not refusals.
func Codes() []string { return slices.Sorted(maps.Keys(kinds)) }
