package waittest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recorder is a test that fails without an end.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Fail()                 { r.failed = true }
func (r *recorder) Errorf(string, ...any) {}
func (r *recorder) Fatalf(string, ...any) { r.failed = true }

func TestFor(t *testing.T) {
	c := make(chan int, 1)
	c <- 7
	require.Equal(t, 7, For(t, c))

	r := &recorder{TB: t}
	within(r, c, time.Millisecond)
	require.True(t, r.failed)

	close(c)
	require.Zero(t, For(t, c))
}

func TestAside(t *testing.T) {
	r := &recorder{TB: t}
	ended := make(chan bool, 1)
	go func() {
		survived := false
		defer func() { ended <- !survived }()
		require.True(Aside(r), false)
		survived = true
	}()
	require.True(t, For(t, ended))
	require.True(t, r.failed)
}
