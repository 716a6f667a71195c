package functionstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// timeoutGrace is how long a call goes on after functionTimeout has killed the
// handler under it: long enough to be sent to the next one.
const timeoutGrace = 2500 * time.Millisecond

// notProxied are the headers that proxy mode drops in both directions.
var notProxied = []string{
	"ALPN", "Alt-Svc", "Close", "Connection", "HTTP2-Settings", "Keep-Alive", "Proxy-Authenticate",
	"Proxy-Authentication-Info", "Proxy-Authorization", "Proxy-Connection", "Proxy-Features", "Proxy-Instruction",
	"Security-Scheme", "TE", "Transfer-Encoding", "Upgrade", "Upgrade-Insecure-Requests",
}

// proxy is enableProxyingHttpRequest: the request goes to the handler and the answer
// to the client as they come, and a client that leaves ends the handler's call.
func (h *Host) proxy(r *request, w *worker) {
	ctx, cancel := context.WithCancelCause(h.ctx)
	defer cancel(nil)
	defer time.AfterFunc(h.app.functionTimeout, func() { h.restart(w) }).Stop()
	defer time.AfterFunc(saturate(h.app.functionTimeout, timeoutGrace), func() { cancel(errFunctionTimeout) }).Stop()

	stopWatch := func() {}
	watch := func() {
		quiet := r.c.watch(func(err error) {
			if err != nil {
				cancel(errGone)
			}
		})
		stopWatch = func() { quiet() }
	}
	if r.framing.chunked {
		r.stream = h.uploadBody(r, watch, cancel)
	} else {
		watch()
	}

	id := newGUID()
	a, err := h.sendProxy(ctx, h.proxyRequest(r, id))
	var begun bool
	if err == nil {
		begun, err = h.proxyAnswer(r, a)
	}
	stopWatch()
	if r.unread { // somewhere in a chunked body
		r.last = true
	}
	switch {
	case err == nil:
	case context.Cause(ctx) == errGone:
		r.last = true
	case begun:
		h.logf("%s: cut off, invocation %s: %v", r, id, err)
		r.last, r.unread = true, false
		r.c.reset()
	default:
		h.fail(r, fmt.Sprintf("invocation %s: %v", id, err))
	}
}

// saturate adds two durations of which one may be without end.
func saturate(a, b time.Duration) time.Duration { return max(a, a+b) }

// uploadBody reads a chunked body and tells how it ends.
func (h *Host) uploadBody(r *request, whole func(), broken func(error)) io.Reader {
	body, left := r.framing.body(r.c.r), h.app.bodyLimit
	return readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		if left -= int64(n); left < 0 {
			err = errBodyLimit
			broken(err)
			return 0, err
		}
		switch {
		case err == io.EOF:
			r.unread = false
			whole()
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded): // that is abandon, not the client
			broken(errGone)
		}
		return n, err
	})
}

func (h *Host) proxyRequest(r *request, id string) *outgoing {
	o := &outgoing{method: r.method, body: r.body, stream: r.stream, client: r.c}
	o.first = r.method + " " + proxyTarget(r.path, r.query) + " HTTP/1.1"
	o.header.add("Host", h.pool.addr)
	o.content = o.hasBody()
	for _, name := range r.header.names() {
		switch {
		case containsFold(notProxied, name), strings.EqualFold(name, "Host"), strings.EqualFold(name, "Forwarded"),
			strings.EqualFold(name, "X-Forwarded-Prefix"):
			continue
		case containsFold(contentHeaders, name):
			o.content = true
		}
		o.header.add(name, joinRequest(name, r.header.values(name)))
	}
	o.header.set("X-Azure-Functions-HostVersion", hostVersion)
	o.header.set("X-Azure-Functions-InvocationId", id)
	o.header.set("x-ms-invocation-id", id)
	o.header.set("X-Forwarded-For", r.peer)
	o.header.set("X-Forwarded-Host", r.header.get("Host"))
	o.header.set("X-Forwarded-Proto", "http")
	h.addTrace(o)
	switch {
	case o.stream != nil:
		o.header.add("Transfer-Encoding", "chunked")
	case !o.header.has("Content-Length") && (o.content || sendsLength(r.method)):
		o.header.add("Content-Length", "0")
	}
	return o
}

// proxyAnswer passes an answer on. begun says whether the client has got any of it.
func (h *Host) proxyAnswer(r *request, a *answer) (begun bool, err error) {
	ended := false
	end := func(whole bool) {
		if !ended {
			ended = true
			a.end(whole)
		}
	}
	defer end(false)
	switch {
	case !a.header.ascii():
		return false, errors.New("a header of the handler's answer is not ASCII")
	case a.tooMuch():
		return false, errors.New("the handler sent a body with 204")
	}
	out := &reply{status: a.status, reason: a.reason()}
	for _, f := range a.header {
		if !containsFold(notProxied, f.name) && !strings.EqualFold(f.name, "Strict-Transport-Security") {
			out.header = append(out.header, f)
		}
	}
	h.traced(out)
	sized, chunked := a.none || !a.framing.chunked && a.framing.length >= 0, false
	if !sized {
		out.header.del("Content-Length")
	}

	// The head waits for the first bytes of the body, or for its end.
	buffer := make([]byte, 32<<10)
	for {
		n, err := a.body.Read(buffer)
		if n == 0 && err != nil && err != io.EOF {
			return begun, err
		}
		var piece []byte
		if !begun {
			out.streamed = n > 0 || err != io.EOF
			if chunked = out.streamed && !sized && !r.oneZero; chunked {
				out.header.add("Transfer-Encoding", "chunked")
			}
			piece = h.head(r, out)
			begun = true
		}
		if n > 0 && chunked {
			piece = fmt.Appendf(piece, "%x\r\n%s\r\n", n, buffer[:n])
		} else {
			piece = append(piece, buffer[:n]...)
		}
		if err == io.EOF {
			if chunked {
				piece = append(piece, lastChunk...)
			}
			// Before the client has all, so that its next request finds the
			// connection free.
			end(true)
		}
		if _, writeErr := r.c.Write(piece); writeErr != nil {
			return true, errGone
		}
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return true, err
		}
	}
}

// addTrace: with Application Insights configured the host gives every call a trace.
func (h *Host) addTrace(o *outgoing) {
	if h.app.insights && !o.header.has("traceparent") {
		o.header.add("traceparent", "00-"+randomHex(16)+"-"+randomHex(8)+"-00")
	}
}

func (h *Host) traced(a *reply) {
	if h.app.insights {
		a.header.set("Request-Context", "appId=")
	}
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// newGUID returns a random UUID (RFC 9562, version 4).
func newGUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
