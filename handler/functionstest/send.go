package functionstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The host's HTTP client, .NET's SocketsHttpHandler, keeps connections to the
// handler for reuse and sends a request again when it thinks that safe; the proxying
// host does so once more around it. Handlers see both.

const (
	clientTries    = 4  // of a request without content whose connection the handler closed
	proxyTries     = 10 // of any request that got no answer, in proxy mode
	firstDelay     = 50 * time.Millisecond
	continueWait   = time.Second // for "100 Continue"
	idleConnection = time.Minute
)

var (
	errClosed   = errors.New("the handler closed the connection without an answer")
	errNoAnswer = errors.New("the handler gave no answer")
	errEarly    = errors.New("it answered before it had read the request's body")
	errSilent   = errors.New("the handler was silent for too long")
)

// outgoing is a request as the handler is to see it.
type outgoing struct {
	message
	method string
	body   []byte    // with a Content-Length
	stream io.Reader // chunked, from client
	client *conn
	// content: .NET attaches a body, if an empty one. Its client sends only requests
	// without one again by itself.
	content bool
	spent   bool // the body was sent, wholly or in part, and cannot be sent again
}

func (o *outgoing) hasBody() bool { return len(o.body) > 0 || o.stream != nil }

func (o *outgoing) expect() bool {
	return o.hasBody() && o.header.hasToken("Expect", "100-continue")
}

// answer is the head of the handler's answer with its body still to come. end must
// be called once, and says whether the body was read to its end.
type answer struct {
	message
	status  int
	framing framing
	none    bool // no body belongs to it, whatever its header says
	body    io.Reader
	end     func(whole bool)
}

// tooMuch: a 204 that announces a body.
func (a *answer) tooMuch() bool { return a.status == 204 && a.framing.length > 0 }

func (a *answer) reason() string {
	_, rest, _ := strings.Cut(a.first, " ")
	_, reason, _ := strings.Cut(rest, " ")
	return reason
}

// sendProxy sends as the proxying host does: ten times at most, and each time as
// sendClient does. A body, once begun, is not sent again, but the tries go on and
// keep the client waiting.
func (h *Host) sendProxy(ctx context.Context, o *outgoing) (*answer, error) {
	delay := firstDelay
	for try := 1; ; try++ {
		a, err := h.sendClient(ctx, o)
		if err == nil || try == proxyTries || ctx.Err() != nil || errors.Is(err, errSilent) {
			return a, err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		delay = min(2*delay, h.cfg.pause)
	}
}

// sendClient sends as .NET's client does: four times at most if the handler closes
// the connection in good order, once otherwise.
func (h *Host) sendClient(ctx context.Context, o *outgoing) (*answer, error) {
	if !o.header.ascii() {
		return nil, fmt.Errorf("%w: a request header is not ASCII", errNoAnswer)
	}
	for try := 1; ; try++ {
		a, err := h.sendOnce(ctx, o)
		if !errors.Is(err, errClosed) || o.content || try == clientTries {
			return a, err
		}
	}
}

func (h *Host) sendOnce(ctx context.Context, o *outgoing) (*answer, error) {
	if o.spent && !o.expect() {
		return nil, fmt.Errorf("%w: it had the request's body and closed the connection", errNoAnswer)
	}
	c, err := h.pool.get(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	release := context.AfterFunc(ctx, func() { c.Close() })
	active := func() {
		if h.app.mode == proxyMode {
			_ = c.SetReadDeadline(time.Now().Add(h.cfg.activity))
		}
	}
	active()
	up := startUpload(c, o, active)

	a, err := readAnswer(c, o.method, up)
	if err == nil && !up.whole(ctx) {
		err = errEarly
	}
	if err != nil {
		release()
		up.abandon()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("%w: %s", errSilent, h.cfg.activity)
		case err == io.EOF:
			return nil, errClosed
		default:
			return nil, fmt.Errorf("%w: %w", errNoAnswer, err)
		}
	}
	body := a.framing.body(c.r)
	if a.none {
		body = framing{}.body(c.r)
	}
	a.body = readerFunc(func(p []byte) (int, error) {
		active()
		return body.Read(p)
	})
	a.end = func(whole bool) {
		reusable := whole && up.complete() && !a.tooMuch() && (a.none || a.framing.chunked || a.framing.length >= 0) &&
			!a.header.hasToken("Connection", "close") && strings.HasPrefix(a.first, "HTTP/1.1")
		if !release() || !reusable {
			up.abandon()
			return
		}
		_ = c.SetReadDeadline(time.Time{})
		h.pool.put(c)
	}
	return a, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// readAnswer reads up to the final answer's head. Interim answers go no further.
func readAnswer(c *conn, method string, up *upload) (*answer, error) {
	for {
		m, err := readMessage(c.r, answerLimits)
		if err != nil {
			return nil, err
		}
		protocol, rest, _ := strings.Cut(m.first, " ")
		code, _, _ := strings.Cut(rest, " ")
		status, err := strconv.Atoi(code)
		if !strings.HasPrefix(protocol, "HTTP/1.") || err != nil || status < 100 || status > 999 || status == 101 {
			return nil, errMalformed
		}
		up.proceed(status == 100)
		if status < 200 {
			continue
		}
		a := &answer{message: m, status: status}
		if a.framing, err = m.header.framing(-1); err != nil {
			return nil, err
		}
		a.none = method == "HEAD" || status == 204 || status == 304
		return a, nil
	}
}

// upload sends a request while its answer is awaited: an interim one may come before
// the body is sent.
type upload struct {
	c     *conn
	o     *outgoing
	go100 chan bool
	done  chan struct{}
	// Valid once done is closed.
	ok       bool // everything was sent
	declined bool // the handler did not want the body
}

func startUpload(c *conn, o *outgoing, active func()) *upload {
	u := &upload{c: c, o: o, go100: make(chan bool, 1), done: make(chan struct{})}
	if o.hasBody() {
		go u.run(active)
		return u
	}
	_, _ = c.Write(o.bytes()) // if it fails, so does reading the answer
	u.ok = true
	close(u.done)
	return u
}

func (u *upload) run(active func()) {
	defer close(u.done)
	if _, err := u.c.Write(u.o.bytes()); err != nil {
		return
	}
	if u.o.expect() {
		select {
		case yes := <-u.go100:
			if !yes {
				u.declined = true
				return
			}
		case <-time.After(continueWait):
		}
	}
	if u.o.spent {
		u.c.Close()
		return
	}
	u.o.spent = true
	if u.o.stream == nil {
		for piece := range slices.Chunk(u.o.body, 64<<10) {
			if _, err := u.c.Write(piece); err != nil {
				return
			}
			active()
		}
		u.ok = true
		return
	}
	buffer := make([]byte, 32<<10)
	for {
		n, err := u.o.stream.Read(buffer)
		if n > 0 {
			if writeChunk(u.c, buffer[:n]) != nil {
				return
			}
			active()
		}
		if err == io.EOF {
			_, err := io.WriteString(u.c, lastChunk)
			u.ok = err == nil
			return
		}
		if err != nil {
			u.c.Close() // the handler must see that the body is not whole
			return
		}
	}
}

// proceed tells an upload that waits for it whether the handler wants the body.
func (u *upload) proceed(yes bool) {
	select {
	case u.go100 <- yes:
	default:
	}
}

// whole waits until the upload is over, and reports whether the answer counts: .NET's
// client writes all of a body before it looks for an answer, and drops one that came
// from a connection to which it could not write any more.
func (u *upload) whole(ctx context.Context) bool {
	select {
	case <-u.done:
		return u.ok || u.declined
	case <-ctx.Done():
		return false
	}
}

func (u *upload) complete() bool {
	select {
	case <-u.done:
		return u.ok
	default:
		return false
	}
}

// abandon closes the connection to the handler and ends the upload.
func (u *upload) abandon() {
	u.c.Close()
	u.proceed(false)
	select {
	case <-u.done:
		return
	default:
	}
	if u.o.stream != nil {
		_ = u.o.client.SetReadDeadline(longAgo)
		defer u.o.client.SetReadDeadline(time.Time{})
	}
	<-u.done
}

// pool keeps idle connections to the handler.
type pool struct {
	addr   string
	mu     sync.Mutex
	idle   []*idleConn
	closed bool
}

type idleConn struct {
	*conn
	quiet  func() bool
	expiry *time.Timer
}

func (p *pool) get(ctx context.Context) (*conn, error) {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 {
			p.mu.Unlock()
			break
		}
		ic := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		ic.expiry.Stop()
		if ic.quiet() {
			return ic.conn, nil
		}
		ic.Close()
	}
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, "tcp4", p.addr)
	if err != nil {
		return nil, err
	}
	return newConn(c), nil
}

func (p *pool) put(c *conn) {
	ic := &idleConn{conn: c}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.Close()
		return
	}
	drop := func() { p.drop(ic) }
	ic.expiry = time.AfterFunc(idleConnection, drop)
	ic.quiet = c.watch(func(error) { drop() })
	p.idle = append(p.idle, ic)
}

func (p *pool) drop(ic *idleConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, ic); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
		ic.expiry.Stop()
		ic.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, ic := range p.idle {
		ic.expiry.Stop()
		ic.Close()
	}
	p.idle = nil
}
