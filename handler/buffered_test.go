package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/waittest"
)

// Lines of many requests that come while the host has not read the first go out in one
// write: whole, once each, and in the order of each request.
func TestLinesGoOutTogether(t *testing.T) {
	const requests, each = 20, 50
	host, out := io.Pipe()
	b := newBuffered(out)
	_, err := b.Write([]byte("first\n"))
	require.NoError(t, err)
	buf := make([]byte, 1<<16)
	n, err := host.Read(buf[:1])
	require.NoError(t, err)
	require.Equal(t, "f", string(buf[:n]), "the rest is still being written")
	var wg sync.WaitGroup
	for r := range requests {
		wg.Go(func() {
			for i := range each {
				_, _ = fmt.Fprintf(b, "%d %d\n", r, i)
			}
		})
	}
	wg.Wait()
	n, err = host.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "irst\n", string(buf[:n]))
	n, err = host.Read(buf)
	require.NoError(t, err)
	b.flush()
	lines := strings.Split(strings.TrimSuffix(string(buf[:n]), "\n"), "\n")
	require.Len(t, lines, requests*each)
	next := make([]int, requests)
	for _, line := range lines {
		var r, i int
		_, err := fmt.Sscanf(line, "%d %d", &r, &i)
		require.NoError(t, err, line)
		require.Equal(t, next[r], i)
		next[r]++
	}
}

// A host that does not read holds up those who log, once so much waits. A pipe that is
// broken holds up nobody.
func TestBufferedIsBounded(t *testing.T) {
	host, out, err := os.Pipe()
	require.NoError(t, err)
	b := newBuffered(out)
	line := bytes.Repeat([]byte("x"), 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4 * mostBuffered / len(line) {
			_, _ = b.Write(line)
		}
	}()
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.lines) >= mostBuffered
	}, 10*time.Second, time.Millisecond)
	select {
	case <-done:
		require.Fail(t, "nobody waited")
	case <-time.After(20 * time.Millisecond):
	}
	b.mu.Lock()
	require.Less(t, len(b.lines), mostBuffered+len(line))
	b.mu.Unlock()

	require.NoError(t, host.Close())
	waittest.For(t, done)
	b.flush()
	require.NoError(t, out.Close())
}

// What the handler says last is written when it ends.
func TestLastLinesAreWritten(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	env := settings(startTenant(t), startStorage(t).ConnectionString())
	env["FUNCTIONS_CUSTOMHANDLER_PORT"] = freePort(t)
	var stdout bytes.Buffer
	require.NoError(t, run(ctx, nil, environment(env), &stdout, io.Discard))
	require.Contains(t, stdout.String(), `"msg":"stopping"`)
}
