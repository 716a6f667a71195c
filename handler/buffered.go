package main

import (
	"io"
	"sync"
	"time"
)

const (
	// bufferedFor is how long a line may wait for others. With many requests in flight, a
	// write to the host's pipe for each would be a fifth of what a refusal costs. A process
	// that is killed loses what waits.
	bufferedFor = 200 * time.Microsecond
	// mostBuffered is how many bytes wait, if the host reads slowly. Further writers wait.
	mostBuffered = 256 << 10
	// flushTimeout is how long flush waits for a host that does not read.
	flushTimeout = time.Second
)

// buffered is a writer of lines that writes those of a short time at once.
type buffered struct {
	w io.Writer

	mu      sync.Mutex
	changed sync.Cond // of mu: there is room again, or all is written
	lines   []byte
	spare   []byte // room for the next
	writing bool   // or about to
}

func newBuffered(w io.Writer) *buffered {
	b := &buffered{w: w}
	b.changed.L = &b.mu
	return b
}

// Write never fails: nobody could be told that the log cannot be written.
func (b *buffered) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.lines) >= mostBuffered {
		b.changed.Wait()
	}
	b.lines = append(b.lines, line...)
	if !b.writing {
		b.writing = true
		time.AfterFunc(bufferedFor, b.write)
	}
	return len(line), nil
}

func (b *buffered) write() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.lines) > 0 {
		lines := b.lines
		b.lines = b.spare[:0]
		b.changed.Broadcast()
		b.mu.Unlock()
		_, _ = b.w.Write(lines)
		b.mu.Lock()
		b.spare = lines
	}
	b.writing = false
	b.changed.Broadcast()
}

// flush returns once all lines are written, or after flushTimeout.
func (b *buffered) flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	late := false
	timer := time.AfterFunc(flushTimeout, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		late = true
		b.changed.Broadcast()
	})
	defer timer.Stop()
	for b.writing && !late {
		b.changed.Wait()
	}
}
