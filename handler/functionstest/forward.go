package functionstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
)

// contentHeaders are the headers that .NET keeps with a body and not with the
// request.
var contentHeaders = []string{
	"Allow", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Location",
	"Content-MD5", "Content-Range", "Content-Type", "Expires", "Last-Modified",
}

// commaLists are answer headers whose lists forward mode turns into one line for
// each element.
var commaLists = []string{
	"Accept-Ranges", "Allow", "Connection", "Content-Encoding", "Content-Language", "Pragma", "Trailer", "Upgrade",
	"Vary", "Via",
}

// forward is enableForwardingHttpRequest: the request is rebuilt from what the
// trigger binding read of it, the answer is read whole and rebuilt too. A client
// that leaves is not noticed.
func (h *Host) forward(r *request, w *worker) {
	id := newGUID()
	o, err := h.forwardRequest(r, id)
	if err != nil {
		h.fail(r, err.Error())
		return
	}
	ctx, cancel := context.WithTimeoutCause(h.ctx, h.app.functionTimeout, errFunctionTimeout)
	defer cancel()
	a, err := h.sendClient(ctx, o)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(a.body)
		a.end(err == nil)
	}
	if err != nil {
		if errors.Is(context.Cause(ctx), errFunctionTimeout) {
			err = errFunctionTimeout
			h.restart(w)
		}
		h.fail(r, fmt.Sprintf("invocation %s: %v", id, err))
		return
	}
	h.forwardAnswer(r, a, body, id)
}

var errFunctionTimeout = errors.New("it took longer than functionTimeout")

func (h *Host) forwardRequest(r *request, id string) (*outgoing, error) {
	host := r.header.get("Host")
	if host == "" {
		return nil, errors.New("forward mode cannot make a URL of an empty Host header")
	}
	o := &outgoing{method: r.method, body: r.body, content: len(r.body) > 0}
	o.first = r.method + " " + forwardTarget(r.path, r.query) + " HTTP/1.1"
	o.header.add("Host", host)
	for _, name := range r.header.names() {
		if !containsFold(contentHeaders, name) && !strings.EqualFold(name, "Host") {
			o.header.add(name, joinRequest(name, r.header.values(name)))
		}
	}
	if o.header.hasToken("Connection", "keep-alive") {
		o.header.set("Connection", "keep-alive") // what else it named is lost
	}
	o.append("X-Azure-Functions-HostVersion", ", ", hostVersion)
	o.append("X-Azure-Functions-InvocationId", ", ", id)
	o.append("User-Agent", " ", "Azure-Functions-Host/"+hostVersion)
	h.addTrace(o)
	if len(r.body) > 0 {
		o.header.add("Content-Length", strconv.Itoa(len(r.body)))
		switch types := r.header.values("Content-Type"); {
		case len(types) == 0 || len(types) == 1 && types[0] == "":
		case len(types) > 1 || !isMediaType(types[0]):
			return nil, fmt.Errorf("forward mode cannot pass on the Content-Type %q", strings.Join(types, ", "))
		default:
			o.header.add("Content-Type", types[0])
		}
	} else if sendsLength(r.method) {
		o.header.add("Content-Length", "0")
	}
	return o, nil
}

// append adds value to the one line of a header that the client may have sent too.
func (o *outgoing) append(name, separator, value string) {
	if existing := o.header.get(name); existing != "" {
		value = existing + separator + value
	}
	o.header.set(name, value)
}

// sendsLength: .NET says Content-Length: 0 for methods that usually have a body.
func sendsLength(method string) bool {
	switch method {
	case "GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT":
		return false
	}
	return true
}

// joinRequest makes one line of a header that came in several, as .NET sends it.
func joinRequest(name string, values []string) string {
	switch strings.ToLower(name) {
	case "cookie":
		return strings.Join(values, "; ")
	case "user-agent":
		return strings.Join(values, " ")
	default:
		return strings.Join(values, ", ")
	}
}

// isMediaType is stricter than mime.ParseMediaType: a subtype is needed, and a
// semicolon at the end is an error.
func isMediaType(value string) bool {
	mediaType, _, err := mime.ParseMediaType(value)
	return err == nil && strings.Contains(mediaType, "/") && !strings.HasSuffix(strings.TrimSpace(value), ";")
}

func (h *Host) forwardAnswer(r *request, a *answer, body []byte, id string) {
	if !a.header.ascii() {
		// The exception comes when status and reason are set already, and only the
		// status is set again.
		h.logf("%s: 500, invocation %s: a header of the handler's answer is not ASCII", r, id)
		fail := answerOf(500, "")
		fail.reason = a.reason()
		h.reply(r, fail)
		return
	}
	if a.tooMuch() {
		h.fail(r, fmt.Sprintf("invocation %s: the handler sent a body with 204", id))
		return
	}
	out := &reply{status: a.status, reason: a.reason(), body: string(body)}
	for _, name := range a.header.names() {
		values := a.header.values(name)
		switch {
		case strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding"):
			continue
		case strings.EqualFold(name, "Cache-Control"):
			values = []string{strings.Join(values, ", ")}
		case containsFold(commaLists, name):
			values = strings.Split(strings.Join(values, ","), ",")
		}
		for _, value := range values {
			if value = strings.Trim(value, " \t"); value != "" {
				out.header.add(name, value)
			}
		}
	}
	switch {
	case a.status == 204:
	case a.none && a.header.has("Content-Length"):
		out.header.add("Content-Length", a.header.get("Content-Length"))
	default:
		out.header.add("Content-Length", strconv.Itoa(len(body)))
	}
	h.traced(out)
	h.reply(r, out)
	// The server in the host does not expect these from the code above it, and ends
	// the connection without a word in the answer.
	if a.status == 204 || a.status == 304 || out.header.hasToken("Connection", "close") {
		r.last = true
	}
}
