package functionstest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
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
	o := &outgoing{method: r.method, body: r.body, content: len(r.body) > 0}
	o.first = r.method + " " + forwardTarget(r.path, r.query) + " HTTP/1.1"
	o.header.add("Host", r.header.get("Host"))
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
		types := slices.DeleteFunc(r.header.values("Content-Type"), func(t string) bool { return t == "" })
		if contentType := strings.Join(types, ","); mediaType.MatchString(contentType) {
			o.header.add("Content-Type", contentType)
		} else if contentType != "" {
			return nil, fmt.Errorf("forward mode cannot pass on the Content-Type %q", contentType)
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

// mediaType is what .NET takes for one. A parameter needs no value, and a semicolon
// needs a parameter.
var mediaType = regexp.MustCompile(strings.NewReplacer(
	"TOKEN", "[!#$%&'*+.^_`|~0-9A-Za-z-]+", "QUOTED", `"(?:[^"\\]|\\.)*"`, " ", `[ \t]*`,
).Replace(`^TOKEN / TOKEN (?:; TOKEN (?:= (?:TOKEN|QUOTED) )?)*$`))

func (h *Host) forwardAnswer(r *request, a *answer, body []byte, id string) {
	out := &reply{status: a.status, reason: a.reason(), body: string(body)}
	var ok bool
	out.header, ok = forwardHeader(a.header)
	switch {
	case !ok: // the host's exception replaces the status alone of what was set before it
		h.logf("%s: 500, invocation %s: a header of the handler's answer is not ASCII", r, id)
		h.reply(r, &reply{status: 500, reason: out.reason, header: out.header})
		return
	case a.tooMuch():
		h.fail(r, fmt.Sprintf("invocation %s: the handler sent a body with 204", id))
		return
	case a.none && a.header.has("Content-Length"):
		out.header.add("Content-Length", a.header.get("Content-Length"))
	case r.method != "HEAD":
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

// forwardHeader rebuilds an answer's header, those of the body last. It stops at a
// line that is not ASCII and returns what came before.
func forwardHeader(answer header) (out header, ok bool) {
	names := answer.names()
	slices.SortStableFunc(names, func(a, b string) int { return contentRank(a) - contentRank(b) })
	for _, name := range names {
		values := answer.values(name)
		switch {
		case !isASCII(strings.Join(values, "")):
			return out, false
		case strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding"):
			continue
		case strings.EqualFold(name, "Cache-Control"):
			values = []string{cacheControl(values)}
		case containsFold(commaLists, name):
			values = strings.Split(strings.Join(values, ","), ",")
		}
		for _, value := range values {
			if value = strings.Trim(value, " \t"); value != "" {
				out.add(name, value)
			}
		}
	}
	return out, true
}

func contentRank(name string) int {
	if containsFold(contentHeaders, name) {
		return 1
	}
	return 0
}

// cacheDirectives is the order in which .NET writes what it has read of Cache-Control;
// others come last.
var cacheDirectives = []string{
	"no-store", "no-transform", "only-if-cached", "public", "must-revalidate", "proxy-revalidate", "no-cache",
	"max-age", "s-maxage", "max-stale", "min-fresh", "private",
}

// cacheControl makes one line of all. One with a quoted list in it is left alone.
func cacheControl(values []string) string {
	joined := strings.Join(values, ", ")
	if strings.Contains(joined, `"`) {
		return joined
	}
	var directives []string
	for directive := range strings.SplitSeq(joined, ",") {
		if directive = strings.Trim(directive, " \t"); directive != "" {
			directives = append(directives, directive)
		}
	}
	slices.SortStableFunc(directives, func(a, b string) int { return cacheRank(a) - cacheRank(b) })
	return strings.Join(directives, ", ")
}

func cacheRank(directive string) int {
	name, _, _ := strings.Cut(directive, "=")
	if i := slices.Index(cacheDirectives, strings.ToLower(name)); i >= 0 {
		return i
	}
	return len(cacheDirectives)
}
