package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"itemsapi/handler/items"
)

// This file bounds what an instance holds and does at a time, of which a small one
// has 512 MB in all. A request reads its body, takes a place, and works; only then may
// it cost anybody else anything.

const (
	// concurrent is how many requests are worked on at a time; more wait for
	// placeTimeout and are turned away then.
	concurrent   = 256
	placeTimeout = 100 * time.Millisecond

	// maxSmall is how many bytes are held of what bodies begin with, up to smallBody of
	// each, and maxLarge how many of what follows: large bodies that do not come to
	// their end keep no small one out. maxPages is how many are held of what is read
	// from storage, made of bodies, and written for answers. What does not fit waits
	// for roomTimeout.
	maxSmall    = 16 << 20
	maxLarge    = 48 << 20
	maxPages    = 64 << 20
	roomTimeout = 2 * time.Second

	// bodyRoom is what work on a body takes for each of its bytes: its members, its
	// items, their rows, and the transaction. A small body's is not counted.
	bodyRoom  = 6
	smallBody = 64 << 10

	// maxDiscard is how much of a body is read to be thrown away: the host passes on
	// no more.
	maxDiscard = 100 << 20
)

// admission has the places and the room of an instance.
type admission struct {
	places              chan struct{}
	small, large, pages *semaphore.Weighted
}

func newAdmission() *admission {
	return &admission{
		places: make(chan struct{}, concurrent),
		small:  semaphore.NewWeighted(maxSmall),
		large:  semaphore.NewWeighted(maxLarge),
		pages:  semaphore.NewWeighted(maxPages),
	}
}

// hold is what one request holds of an admission.
type hold struct {
	*admission
	smallBytes, largeBytes int64
	place                  bool
	stop                   context.CancelFunc // of the work

	mu        sync.Mutex
	pageBytes int64
}

// release gives everything back.
func (h *hold) release() {
	if h.stop != nil {
		h.stop()
	}
	h.small.Release(h.smallBytes)
	h.large.Release(h.largeBytes)
	h.pages.Release(h.pageBytes)
	if h.place {
		<-h.places
	}
	h.stop, h.smallBytes, h.largeBytes, h.pageBytes, h.place = nil, 0, 0, 0, false
}

// leave gives back all but what the answer takes, which a slow client may leave
// unread for long.
func (h *hold) leave(answer int) {
	answering := min(h.pageBytes, int64(answer))
	h.pages.Release(h.pageBytes - answering)
	h.pageBytes = 0
	h.release()
	h.pageBytes = answering
}

// body makes room for a body of so many bytes, in place of what it had.
func (h *hold) body(ctx context.Context, bytes int64) error {
	small := min(bytes, smallBody)
	if err := makeRoom(ctx, h.small, small-h.smallBytes); err != nil {
		return err
	}
	h.smallBytes = small
	if err := makeRoom(ctx, h.large, bytes-small-h.largeBytes); err != nil {
		return err
	}
	h.largeBytes = bytes - small
	return nil
}

// page makes sure of room for so many bytes of pages. It is how a store asks for it.
func (h *hold) page(ctx context.Context, bytes int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bytes <= h.pageBytes {
		return nil
	}
	if err := makeRoom(ctx, h.pages, bytes-h.pageBytes); err != nil {
		return err
	}
	h.pageBytes = bytes
	return nil
}

func makeRoom(ctx context.Context, room *semaphore.Weighted, bytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	if err := room.Acquire(ctx, bytes); err != nil {
		return fmt.Errorf("wait for room: %w: %w", items.ErrNoRoom, err)
	}
	return nil
}

// begin takes a place among the requests that are worked on, and starts the clock.
func (c *call) begin() error {
	ctx, cancel := context.WithTimeout(c.Context(), workTimeout)
	c.Request, c.hold.stop = c.WithContext(ctx), cancel
	if err := c.hold.enter(ctx); err != nil {
		return err
	}
	c.hold.place = true
	return nil
}

func (h *hold) enter(ctx context.Context) error {
	select {
	case h.places <- struct{}{}:
		return nil
	default:
	}
	queue := time.NewTimer(placeTimeout)
	defer queue.Stop()
	select {
	case h.places <- struct{}{}:
		return nil
	case <-queue.C:
	case <-ctx.Done():
	}
	detail := fmt.Sprintf("%d requests are being worked on, and none was finished in time.", concurrent)
	return &problem{Code: "overloaded", Detail: detail, retryAfter: time.Second}
}

// readBody reads a body of at most limit bytes, and makes room for it as it comes: one
// that is announced and does not come takes nothing.
func (c *call) readBody(limit int64) ([]byte, error) {
	size := int64(4 << 10)
	if c.ContentLength >= 0 && c.ContentLength < smallBody {
		size = c.ContentLength + 1 // one more, to see the end
	}
	c.reading = true
	var body []byte
	for {
		size = min(size, limit+1)
		if err := c.hold.body(c.Context(), size); err != nil {
			return nil, err
		}
		body = append(make([]byte, 0, size), body...)
		for len(body) < cap(body) {
			n, err := c.Body.Read(body[len(body):cap(body)])
			body = body[:len(body)+n]
			if err == io.EOF {
				return body, nil
			}
			if err != nil {
				return nil, bodyEnded(err)
			}
		}
		if int64(len(body)) > limit {
			return nil, tooLarge(limit)
		}
		size *= 2
	}
}

// bodyEnded is about a body that is not whole. The host cuts off what it still reads
// when it stops, and a client that can read the answer has not: it may try again.
func bodyEnded(err error) error {
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, io.ErrUnexpectedEOF) {
		return &problem{
			Code: "request.timeout",
			Detail: fmt.Sprintf(
				"The body was not whole after %.0f s, or was cut off. Send the request again.",
				bodyTimeout.Seconds(),
			),
		}
	}
	return &problem{Code: "request.malformed", Detail: "The body cannot be read as HTTP/1.1 frames it."}
}

// discard reads what is left of a body before it is answered. A client that still sends it
// would lose the answer: the host makes an empty 500 of one that comes too early.
func (c *call) discard() {
	if c.Body == nil || c.Body == http.NoBody {
		return
	}
	if strings.EqualFold(c.Header.Get("Expect"), "100-continue") && !c.reading {
		return // it waits to be asked for it
	}
	_, _ = io.CopyN(io.Discard, c.Body, maxDiscard) // until the body's time is up
}
