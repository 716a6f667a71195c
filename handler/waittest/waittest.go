// Package waittest has a test wait for what another goroutine sends, for so long and no
// longer: a fault then fails the test, where a bare receive would hang it. For tests.
package waittest

import (
	"testing"
	"time"
)

// limit is far longer than anything that a test waits for takes, on a busy machine too.
const limit = time.Minute

// For receives from c, or fails the test. It also returns when c is closed. Call it on
// the test's own goroutine.
func For[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	return within(t, c, limit)
}

func within[T any](t testing.TB, c <-chan T, limit time.Duration) (received T) {
	t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case received = <-c:
	case <-timer.C:
		t.Fatalf("nothing came within %v", limit)
	}
	return received
}
