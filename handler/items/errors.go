package items

import (
	"errors"
	"fmt"
	"strings"
)

// What a [Store] reports. The HTTP surface maps each to one status and code.
var (
	// ErrNotFound says that the owner has no such item.
	ErrNotFound = errors.New("no such item")
	// ErrUnavailable says that the storage answered with an error of its own,
	// or not at all, and that trying later is sensible.
	ErrUnavailable = errors.New("the storage is unavailable")
	// ErrTimeout says that the storage did not answer within the time that a
	// request may take.
	ErrTimeout = errors.New("the storage did not answer in time")
)

// Problem is one thing wrong with one member of a client's JSON.
type Problem struct {
	// Pointer names the member (RFC 6901).
	Pointer string `json:"pointer"`
	// Detail says what is wrong and what would be right.
	Detail string `json:"detail"`
}

// InvalidError says what is wrong with an item that a client sent.
type InvalidError struct {
	Problems []Problem
}

func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("invalid item")
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "; %s: %s", p.Pointer, p.Detail)
	}
	return b.String()
}

func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
