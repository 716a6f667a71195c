package items

import (
	"errors"
	"fmt"
	"strings"
	"time"
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
	// ErrBusy says that too many of the owner's changes wait for each other.
	ErrBusy = errors.New("too many changes of one owner at once")
	// ErrNoRoom says that other requests hold all the memory that there is for
	// what is read from the storage.
	ErrNoRoom = errors.New("no room in memory")
	// ErrOutcomeUnknown is wrapped beside one of the three above where the change
	// may have been kept all the same.
	ErrOutcomeUnknown = errors.New("the change may have been kept")
	// ErrChanged says that the item is there, but not in a version that the
	// change is meant for.
	ErrChanged = errors.New("the item has changed")
	// ErrExists says that an item is there already under the ID of a new one.
	ErrExists = errors.New("there is such an item")
	// ErrDeleted says that an item was there before under the ID of a new one.
	ErrDeleted = errors.New("the ID was used before")
	// ErrKeyReused says that the key was used for another request.
	ErrKeyReused = errors.New("the key was used for another request")
	// ErrTooLarge says that a change is more than the storage takes at once.
	ErrTooLarge = errors.New("too large for one transaction")
	// ErrPosition says that a position in a list or a delta is none.
	ErrPosition = errors.New("no such position")
	// ErrResync says that the log no longer reaches back to a position.
	ErrResync = errors.New("the position is too old")
)

// ErasedError is an ErrResync of an owner whose items were erased once.
type ErasedError struct {
	// At is when.
	At time.Time
}

func (e *ErasedError) Error() string {
	return fmt.Sprintf("%v: items were erased at %s", ErrResync, e.At.Format(time.RFC3339))
}

func (e *ErasedError) Unwrap() error { return ErrResync }

// OpsError says which changes of several could not be made. None was.
type OpsError struct {
	// Failed are those, in their order, at least one.
	Failed []FailedOp
}

// FailedOp is a change that could not be made.
type FailedOp struct {
	// Index is its place among the changes.
	Index int
	Err   error
}

func (e *OpsError) Error() string {
	first := e.Failed[0]
	return fmt.Sprintf("change %d: %v (%d failed in all)", first.Index, first.Err, len(e.Failed))
}

// Unwrap is the error of the first.
func (e *OpsError) Unwrap() error { return e.Failed[0].Err }

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

// Pointer is the JSON Pointer (RFC 6901) of a member of the outermost object.
func Pointer(member string) string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(member)
}
