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
// has 512 MB in all. A request takes of its caller's share, reads its body, takes a place,
// and works; only then may it cost anybody else anything.

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

	// callerPart is how much of the room one caller may have: one part in so many.
	callerPart = 2

	// bodyRoom is what work on a body takes for each of its bytes: its members, its
	// items, their rows, and the transaction. A small body's is not counted.
	bodyRoom  = 6
	smallBody = 64 << 10

	// maxDiscard is how much of a body is read to be thrown away: the host passes on
	// no more.
	maxDiscard = 100 << 20
)

// admission has the places and the room of an instance, and its callers' shares.
type admission struct {
	places chan struct{}
	room   *room
	shares *shares
}

func newAdmission(callerConcurrency, callerRate int) *admission {
	return &admission{
		places: make(chan struct{}, concurrent),
		room:   newRoom(1),
		shares: newShares(callerConcurrency, callerRate),
	}
}

// room is how many bytes may be held, of each kind.
type room struct{ small, large, pages *semaphore.Weighted }

// newRoom is one part of an instance's, in so many.
func newRoom(parts int64) *room {
	return &room{
		small: semaphore.NewWeighted(maxSmall / parts),
		large: semaphore.NewWeighted(maxLarge / parts),
		pages: semaphore.NewWeighted(maxPages / parts),
	}
}

func smallOf(r *room) *semaphore.Weighted { return r.small }
func largeOf(r *room) *semaphore.Weighted { return r.large }
func pagesOf(r *room) *semaphore.Weighted { return r.pages }

// hold is what one request holds of an admission.
type hold struct {
	*admission
	share                  *share // of its caller, once that is known
	working                bool   // counts among its caller's requests
	smallBytes, largeBytes int64
	place                  bool
	stop                   context.CancelFunc // of the work

	mu        sync.Mutex
	pageBytes int64
	left      bool
}

// join takes the request into its caller's share.
func (h *hold) join(owner items.Owner) (err error) {
	h.share, err = h.shares.join(owner)
	h.working = err == nil
	return err
}

// release gives everything back.
func (h *hold) release() {
	h.leave(0)
	if h.share != nil {
		h.shares.leave(h.share)
		h.share = nil
	}
}

// leave gives back all but what the answer takes, which a slow client may leave
// unread for long.
func (h *hold) leave(answer int) {
	if h.stop != nil {
		h.stop()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	answering := min(h.pageBytes, int64(answer))
	h.give(smallOf, h.smallBytes)
	h.give(largeOf, h.largeBytes)
	h.give(pagesOf, h.pageBytes-answering)
	if h.place {
		<-h.places
	}
	if h.working {
		h.shares.answered(h.share)
	}
	h.stop, h.smallBytes, h.largeBytes, h.pageBytes, h.place, h.working = nil, 0, 0, answering, false, false
	h.left = true
}

// body makes room for a body of so many bytes, in place of what it had.
func (h *hold) body(ctx context.Context, bytes int64) error {
	small := min(bytes, smallBody)
	if err := h.take(ctx, smallOf, small-h.smallBytes); err != nil {
		return err
	}
	h.smallBytes = small
	if err := h.take(ctx, largeOf, bytes-small-h.largeBytes); err != nil {
		return err
	}
	h.largeBytes = bytes - small
	return nil
}

// page makes sure of room for so many bytes of pages. It is how a store asks for it.
func (h *hold) page(ctx context.Context, bytes int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if bytes <= h.pageBytes || h.left { // others' changes may go on for which it began
		return nil
	}
	if err := h.take(ctx, pagesOf, bytes-h.pageBytes); err != nil {
		return err
	}
	h.pageBytes = bytes
	return nil
}

// take makes room, of the caller's first: who has used up that waits for nobody else.
func (h *hold) take(ctx context.Context, kind func(*room) *semaphore.Weighted, bytes int64) error {
	ctx, cancel := context.WithTimeout(ctx, roomTimeout)
	defer cancel()
	if err := kind(h.share.room).Acquire(ctx, bytes); err != nil {
		const detail = "Other requests of this caller hold all the memory that one caller may have for large bodies " +
			"and large pages."
		return fmt.Errorf("wait for the caller's room: %w: %w: %w", limited(detail), items.ErrNoRoom, err)
	}
	if err := kind(h.room).Acquire(ctx, bytes); err != nil {
		kind(h.share.room).Release(bytes)
		return fmt.Errorf("wait for room: %w: %w", items.ErrNoRoom, err)
	}
	return nil
}

func (h *hold) give(kind func(*room) *semaphore.Weighted, bytes int64) {
	if bytes > 0 {
		kind(h.share.room).Release(bytes)
		kind(h.room).Release(bytes)
	}
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
	defer context.AfterFunc(c.stopping, c.cutOff)()
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
				return nil, c.bodyEnded(err)
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
func (c *call) bodyEnded(err error) error {
	_, network := errors.AsType[net.Error](err)
	if network && c.stopping.Err() != nil {
		detail := "This instance is stopping, and the body had not come yet."
		return &problem{Code: "overloaded", Detail: detail, retryAfter: time.Second}
	}
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
