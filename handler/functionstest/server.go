package functionstest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"itemsapi/handler/loopbacktest"
)

const (
	keepAlive   = 130 * time.Second // a client's idle connection
	headTime    = 30 * time.Second  // for a request's head
	hostVersion = "4.1037.0.0"
)

var (
	errGone      = errors.New("the client is gone")
	errBodyLimit = errors.New("the request body is over the limit")
)

// request is a client's request.
type request struct {
	message
	c       *conn
	method  string
	path    string // decoded once
	query   string // as sent, with its question mark
	oneZero bool   // HTTP/1.0
	peer    string
	framing framing
	body    []byte    // of a request with a Content-Length, once read
	stream  io.Reader // of a chunked one
	last    bool      // the connection ends after the answer, and the answer says so
	unread  bool      // part of the body may still be on the connection
	expects bool      // the client waits for "100 Continue"
}

func (h *Host) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if isClosed(h.stopping) {
				return
			}
			h.logf("accept a client: %v", err)
			select {
			case <-h.stopping:
			case <-time.After(100 * time.Millisecond): // out of file descriptors, perhaps
			}
			continue
		}
		c := newConn(nc)
		h.mu.Lock()
		if isClosed(h.stopping) {
			h.mu.Unlock()
			c.Close()
			continue
		}
		h.conns[c] = false
		h.calls.Add(1)
		h.mu.Unlock()
		go func() {
			defer h.calls.Done()
			h.serve(c)
			h.mu.Lock()
			delete(h.conns, c)
			h.mu.Unlock()
			c.Close()
		}()
	}
}

// setBusy marks a connection as being in a call or between two. It fails when the
// host stops and no further call may begin.
func (h *Host) setBusy(c *conn, busy bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = busy
	return !isClosed(h.stopping)
}

// busy is the number of calls in progress.
func (h *Host) busy() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, busy := range h.conns {
		if busy {
			n++
		}
	}
	return n
}

func (h *Host) serve(c *conn) {
	for {
		_ = c.SetReadDeadline(time.Now().Add(keepAlive))
		if _, err := c.r.Peek(1); err != nil {
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(headTime))
		m, err := readMessage(c.r, requestLimits)
		_ = c.SetReadDeadline(time.Time{})
		r := &request{message: m, c: c}
		var status int
		switch {
		case err == nil:
			status, err = r.parse()
		case errors.Is(err, errFirstTooLong):
			status = http.StatusRequestURITooLong
		case errors.Is(err, errHeaderTooLarge):
			status = http.StatusRequestHeaderFieldsTooLarge
		case errors.Is(err, errMalformed):
			status = http.StatusBadRequest
		default: // the client left
			return
		}
		if !h.setBusy(c, true) {
			r.last = true
		}
		if err != nil {
			r.last, r.unread = true, true
			h.refuse(r, status, err.Error())
		} else {
			h.handle(r)
		}
		if r.unread && r.expects { // and, not having been told to, may never send it
			r.last = true
		}
		if r.unread && !r.last {
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			_, err := io.CopyN(io.Discard, r.framing.body(c.r), h.app.bodyLimit)
			r.unread, r.last = err != io.EOF, err != io.EOF
		}
		if r.last {
			if r.unread {
				c.finish()
			}
			return
		}
		if !h.setBusy(c, false) {
			return
		}
	}
}

// parse reads the request line and what the server in the host, Kestrel, insists on
// before anything else sees the request.
func (r *request) parse() (status int, err error) {
	bad := func(why string) (int, error) { return http.StatusBadRequest, errors.New(why) }
	var target, protocol string
	parts := strings.Split(r.first, " ")
	if len(parts) != 3 {
		return bad("the request line is malformed")
	}
	r.method, target, protocol = parts[0], parts[1], parts[2]
	switch {
	case !isToken(r.method):
		return bad("the method is malformed")
	case protocol != "HTTP/1.1" && protocol != "HTTP/1.0":
		return http.StatusHTTPVersionNotSupported, errors.New("only HTTP/1.1 is spoken")
	case len(r.header.values("Host")) > 1 || protocol == "HTTP/1.1" && !r.header.has("Host"):
		return bad("a request has exactly one Host header")
	}
	r.oneZero = protocol == "HTTP/1.0"
	r.last = r.header.hasToken("Connection", "close") || r.oneZero
	r.peer, _, _ = net.SplitHostPort(r.c.RemoteAddr().String())

	if rest, ok := strings.CutPrefix(target, "http://"); ok {
		authority, path, _ := strings.Cut(rest, "/")
		if !strings.EqualFold(authority, r.header.get("Host")) {
			return bad("the request target names another host than the Host header")
		}
		target = "/" + path
	}
	if target[:min(1, len(target))] != "/" {
		return bad("the request target is malformed")
	}
	path, query, found := strings.Cut(target, "?")
	if found {
		r.query = "?" + query
	}
	for i := range len(query) {
		if query[i] <= ' ' || query[i] >= 0x7f {
			return bad("the query is not ASCII")
		}
	}
	for _, f := range r.header {
		if !utf8.ValidString(f.value) {
			return bad("a header line is not UTF-8")
		}
	}
	var ok bool
	if r.path, ok = decodePath(path); !ok {
		return bad("the path is malformed")
	}

	if r.framing, err = r.header.framing(0); err != nil {
		return bad("Transfer-Encoding or Content-Length is malformed")
	}
	if r.framing.chunked && r.header.has("Content-Length") {
		lengths := r.header.values("Content-Length")
		r.header.del("Content-Length")
		r.header.add("X-Content-Length", strings.Join(lengths, ", "))
		r.last = true
	}
	r.unread = r.framing.chunked || r.framing.length > 0
	r.expects = r.unread && !r.oneZero && r.header.hasToken("Expect", "100-continue")
	return 0, nil
}

// handle is the host's pipeline.
func (h *Host) handle(r *request) {
	if host := r.header.get("Host"); host != "" && !h.cfg.anyHost && !loopbacktest.IsLoopback(host) {
		h.reply(r, answerOf(http.StatusForbidden,
			"Only localhost and loopback addresses are answered here, and the Host header is neither.\n"))
		return
	}
	if h.cors != nil && r.header.has("Origin") {
		if h.cors.broken() {
			h.fail(r, "CORS cannot allow all origins and credentials at once")
			return
		}
		if isPreflight(r) {
			h.reply(r, &reply{status: http.StatusNoContent, header: h.cors.preflight(r), preflight: true})
			return
		}
	}
	f := h.app.find(r.method, r.path)
	switch {
	case f != nil:
		h.invoke(r)
	case strings.EqualFold(strings.TrimSuffix(r.path, "/"), "/admin/host/ping") &&
		(r.method == "GET" || r.method == "POST"):
		h.hostPing(r)
	case r.path == "/": // by whatever method
		h.reply(r, answerOf(http.StatusOK, h.homepage()))
	default:
		h.reply(r, answerOf(http.StatusNotFound, ""))
	}
}

// homepage is what a browser gets that opens the host's address.
func (h *Host) homepage() string {
	var b strings.Builder
	b.WriteString("The stand-in for the Functions host is running. Its functions:\n")
	for _, f := range h.app.functions {
		fmt.Fprintf(&b, "%s: [%s] %s%s\n", f.name, strings.Join(f.methods, ","), h.url, f.pattern)
	}
	return b.String()
}

// hostPing answers the platform's ping. From a scaler it makes the host ask the
// handler whether it is still there; the outcome changes nothing.
func (h *Host) hostPing(r *request) {
	agent := r.header.get("User-Agent")
	if strings.HasPrefix(agent, "HttpScaleManager") || strings.HasPrefix(agent, "ElasticScaleController") ||
		strings.Contains(r.query, "checkHealth=1") {
		if _, err := h.awaitReady(); err == nil {
			_ = h.ping(h.ctx)
		}
	}
	a := answerOf(http.StatusOK, "")
	a.header.add("Cache-Control", "no-store,no-cache")
	a.header.add("Pragma", "no-cache")
	h.reply(r, a)
}

// invoke hands the request to the handler.
func (h *Host) invoke(r *request) {
	if r.framing.length > h.app.bodyLimit {
		r.last = true
		h.fail(r, fmt.Sprintf("the request body is over %d bytes, the limit that FUNCTIONS_REQUEST_BODY_SIZE_LIMIT "+
			"sets", h.app.bodyLimit))
		return
	}
	if r.header.get("Host") == "" {
		h.fail(r, "no URL can be made of an empty Host header")
		return
	}
	if h.app.mode == forwardMode && r.framing.chunked {
		h.fail(r, "forward mode cannot pass on a body with Transfer-Encoding: chunked")
		return
	}
	if r.expects {
		if _, err := io.WriteString(r.c, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			r.last = true
			return
		}
		r.expects = false
	}
	if r.framing.length > 0 { // read whole first, in both modes
		var err error
		if r.body, err = io.ReadAll(r.framing.body(r.c.r)); err != nil {
			r.last = true
			return
		}
		r.unread = false
	}
	w, err := h.awaitReady()
	if err != nil {
		h.fail(r, err.Error())
		return
	}
	if h.app.mode == forwardMode {
		h.forward(r, w)
	} else {
		h.proxy(r, w)
	}
}

// String names the request for the log, without its query, which may hold secrets.
func (r *request) String() string { return r.method + " " + escape(r.path, pathSafe) }

// reply is an answer to a client.
type reply struct {
	status    int
	reason    string // "": the usual one
	header    header
	body      string
	streamed  bool // its body is not at hand, but follows
	preflight bool
}

// answerOf is an answer made by the host.
func answerOf(status int, text string) *reply {
	a := &reply{status: status, body: text}
	if text != "" {
		a.header.add("Content-Length", strconv.Itoa(len(text)))
		a.header.add("Content-Type", "text/plain; charset=utf-8")
	}
	return a
}

// fail answers as the host does to whatever goes wrong in it or behind it, and tells
// the log what that was.
func (h *Host) fail(r *request, why string) {
	h.logf("%s: 500, %s", r, why)
	h.reply(r, answerOf(http.StatusInternalServerError, ""))
}

// refuse answers what is not a request that the host can read.
func (h *Host) refuse(r *request, status int, why string) {
	h.logf("request refused with %d: %s", status, why)
	h.reply(r, answerOf(status, ""))
}

func (h *Host) reply(r *request, a *reply) {
	head := h.head(r, a)
	if r.method == "HEAD" {
		a.body = ""
	}
	if _, err := r.c.Write(append(head, a.body...)); err != nil {
		r.last = true
	}
}

// head is the head of an answer as it goes to the client, with what the host adds to
// every one.
func (h *Host) head(r *request, a *reply) []byte {
	if isClosed(h.stopping) {
		r.last = true
	}
	if r.last && !a.header.hasToken("Connection", "close") {
		a.header.set("Connection", "close")
	}
	switch { // .NET's server sees to these itself
	case a.status == http.StatusNoContent:
		a.header.del("Content-Length")
	case !a.streamed && r.method != "HEAD" && a.status != http.StatusNotModified && !a.header.has("Content-Length"):
		a.header.add("Content-Length", "0")
	}
	if !a.header.has("Date") {
		a.header.add("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	if !a.header.has("Server") {
		a.header.add("Server", "Kestrel")
	}
	if h.cors != nil && !h.cors.broken() && r.header.has("Origin") && !a.preflight {
		h.cors.mark(&a.header, originOf(r))
	}
	reason := a.reason
	if reason == "" {
		reason = reasonPhrase(a.status)
	}
	return message{fmt.Sprintf("HTTP/1.1 %d %s", a.status, reason), a.header}.bytes()
}

func reasonPhrase(status int) string {
	if status == http.StatusRequestURITooLong { // where .NET's words are not Go's
		return "URI Too Long"
	}
	return http.StatusText(status)
}
