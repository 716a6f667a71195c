package server

import (
	"maps"
	"net/http"
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

// AddFaults adds routes whose answers cannot be made.
func AddFaults(h http.Handler) {
	s := h.(*server)
	add := func(path string, f func(*call) (*answer, error)) {
		s.routes = append(s.routes, route{http.MethodGet, path, "", f})
	}
	add("/no-answer", func(*call) (*answer, error) { return nil, nil })
	add("/no-kind", func(*call) (*answer, error) { return nil, &problem{Code: "no.such_kind"} })
	add("/no-json", func(*call) (*answer, error) {
		return nil, &problem{Code: "item.invalid", Errors: []fault{{Detail: "\xff"}}}
	})
	add("/no-function", nil)
}

// DescribeContent fills a content's schema into the description.
var DescribeContent = describeContent

// Shares are what callers may have of an instance.
type Shares struct{ *shares }

// NewShares are of an API with these settings.
func NewShares(concurrency, rate int) Shares { return Shares{newShares(concurrency, rate)} }

// Join is the begin of a request, and what it returns its end; nil if it is turned away.
func (s Shares) Join(subject string) (end func()) {
	one, err := s.join(items.Owner{Tenant: "tenant", Subject: subject})
	if err != nil {
		return nil
	}
	return func() {
		s.answered(one)
		s.leave(one)
	}
}

// Len is how many callers are remembered.
func (s Shares) Len() int { return len(s.of) }
