package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
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
	// Whatever is held up by a fault fails then.
	defer time.AfterFunc(time.Minute, func() { host.Close() }).Stop()
	defer host.Close()
	b := newBuffered(out)
	_, err := b.Write([]byte("first\n"))
	require.NoError(t, err)
	read := func(most int) string {
		buf := make([]byte, most)
		n, err := host.Read(buf)
		require.NoError(t, err)
		return string(buf[:n])
	}
	require.Equal(t, "f", read(1), "the rest is still being written")
	var wg sync.WaitGroup
	for r := range requests {
		wg.Go(func() {
			for i := range each {
				_, _ = fmt.Fprintf(b, "%d %d\n", r, i)
			}
		})
	}
	wg.Wait()
	require.Equal(t, "irst\n", read(1<<16))
	lines := strings.Split(strings.TrimSuffix(read(1<<16), "\n"), "\n")
	require.Len(t, lines, requests*each, "one write")
	b.flush()
	next := make([]int, requests)
	for _, line := range lines {
		var r, i int
		_, err := fmt.Sscanf(line, "%d %d", &r, &i)
		require.NoError(t, err, line)
		require.Equal(t, next[r], i)
		next[r]++
	}
}

// A host that does not read holds up those who log, once so much waits, and flush for
// flushTimeout. A write that fails holds up nobody.
func TestBufferedIsBounded(t *testing.T) {
	host, out := io.Pipe()
	b := newBuffered(out)
	line := bytes.Repeat([]byte("x"), 1000)
	done, flushed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for range 4 * mostBuffered / len(line) {
			_, _ = b.Write(line)
		}
	}()
	waiting := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.lines)
	}
	require.Eventually(t, func() bool { return waiting() >= mostBuffered }, 10*time.Second, time.Millisecond)
	go func() {
		defer close(flushed)
		b.flush()
	}()
	waittest.For(t, flushed)
	require.Less(t, waiting(), mostBuffered+len(line))
	select {
	case <-done:
		require.Fail(t, "nobody waited")
	default:
	}
	require.NoError(t, host.Close())
	waittest.For(t, done)
	b.flush()
	require.Zero(t, waiting())
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
