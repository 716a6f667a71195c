// Package waittest is for tests that have other goroutines. With [For] a test waits for
// what one of them sends, for so long and no longer: a fault then fails the test, where a
// bare receive would hang it. With [Aside] one of them checks something itself.
package waittest

import (
	"runtime"
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

// Aside returns t as another goroutine may use it. There FailNow, and with it all of
// testify's require, marks the test as failed and ends that goroutine alone. The test has
// to wait for the goroutine, and to leave room for its absence.
func Aside(t testing.TB) testing.TB { return aside{t} }

type aside struct{ testing.TB }

func (a aside) FailNow() {
	a.Fail()
	runtime.Goexit()
}
