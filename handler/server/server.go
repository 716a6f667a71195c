// Package server is the HTTP surface: one table of routes, each with the scope
// that it needs (below); decode, call, encode (items.go, batch.go); and the one place
// where an error becomes a status and a problem document (problem.go).
//
// It decides nothing about tokens (package entra) and keeps nothing (an
// items.Store does). It sets no CORS headers: those are the Functions host's.
// Every request ends in an answer, as the host sends a request again, up to 40
// times, when the handler closes the connection without one.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"itemsapi/handler/entra"
	"itemsapi/handler/items"
)

const (
	// bodyTimeout is how long a body may take to come.
	bodyTimeout = 15 * time.Second
	// workTimeout is how long the work may take once the body is there.
	workTimeout = 10 * time.Second
	// writeTimeout is how long an answer may take to be read, by a host that
	// passes on the pace of a slow client.
	writeTimeout = 2 * time.Minute
)

// Config says what the API is made of. All fields are required but for Log and
// CallerRate.
type Config struct {
	// Verify says who calls, outside of tests the method of a entra.Verifier.
	Verify func(context.Context, entra.Credentials, ...entra.Need) (*entra.Caller, error)
	Store  items.Store
	// ReadScope and WriteScope are what tokens call the scopes, for the description.
	ReadScope, WriteScope string
	// SignIn is told to clients by GET /api/openapi.json. It may be zero.
	SignIn SignIn
	// Realm is what the API is called in the types of its problems, as in entra.Config.
	Realm string
	// Collection is what the routes call the items: /api/{Collection}.
	Collection string
	// CallerConcurrency is how many requests of one caller are worked on at a time, and
	// CallerRate how many of them may come a second, twice as many in a burst; 0: no limit.
	CallerConcurrency, CallerRate int
	// Stopping ends when the process is asked to stop: bodies that have not come by then
	// are waited for no longer. Nil never ends.
	Stopping context.Context
	// Log gets one line a request. Nil discards it.
	Log *slog.Logger
}

// route is one line of the table of routes.
type route struct {
	method  string // GET serves HEAD too
	pattern string // {id} stands for one segment that no pattern before it has
	scope   string // by its name for package entra; empty: anybody may call
	handle  func(*call) (*answer, error)
}

// server is the API as an http.Handler.
type server struct {
	Config
	routes    []route
	admission *admission
	described func() ([]byte, error) // once, as it takes a fifth of a start
}

// New returns the API. It panics if a field that is required is missing, or below 0.
func New(c Config) http.Handler {
	if c.Verify == nil || c.Store == nil || c.ReadScope == "" || c.WriteScope == "" || c.Realm == "" ||
		c.Collection == "" || c.CallerConcurrency < 1 || c.CallerRate < 0 {
		panic("server: Verify, Store, ReadScope, WriteScope, Realm, Collection and CallerConcurrency are required")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Stopping == nil {
		c.Stopping = context.Background()
	}
	s := &server{
		Config: c, admission: newAdmission(c.CallerConcurrency, c.CallerRate),
		described: sync.OnceValues(c.Description),
	}
	s.routes = s.table()
	return s
}

// table is the table of routes.
func (s *server) table() []route {
	const read, write = "read", "write"
	collection := s.path()
	return []route{
		{http.MethodGet, "/", "", s.ping},
		{http.MethodGet, collection, read, s.list},
		{http.MethodPost, collection, write, s.create},
		{http.MethodPost, collection + "/batch", write, s.batch},
		{http.MethodPost, collection + "/erase", write, s.erase},
		{http.MethodGet, collection + "/delta", read, s.delta},
		{http.MethodGet, collection + "/{id}", read, s.get},
		{http.MethodPut, collection + "/{id}", write, s.replace},
		{http.MethodPatch, collection + "/{id}", write, s.patch},
		{http.MethodDelete, collection + "/{id}", write, s.delete},
		{http.MethodGet, "/api/openapi.json", "", s.openAPI},
	}
}

// call is one request on its way to an answer.
type call struct {
	*http.Request
	invocation string
	route      string // the pattern, for the log
	id         string // the segment for {id}
	query      url.Values
	caller     *entra.Caller
	hold       hold
	reading    bool // the body was asked for
	stopping   context.Context
	cutOff     func() // has reading the body fail at once
}

// owner is whose items the call is about: always the caller's own. Neither the
// client nor the issuer's host is part of it, so that a tenant that moves to a
// custom domain finds its items again.
func (c *call) owner() items.Owner {
	return items.Owner{Tenant: c.caller.Tenant, Subject: c.caller.Subject}
}

// answer is a whole answer, built before the first byte is sent, so that a panic
// or an error can still be answered.
type answer struct {
	status int
	header http.Header
	body   []byte
	// collection says that it is a list: weakly tagged, and compressed on request.
	collection bool
}

// ServeHTTP answers a request and logs one line of it: no token, no query, no
// claim that names a person.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	conn := http.NewResponseController(w)
	// Both fail where a test's ResponseWriter has no connection, and do no harm.
	if r.Body != http.NoBody {
		_ = conn.SetReadDeadline(start.Add(bodyTimeout))
	}
	_ = conn.SetWriteDeadline(start.Add(bodyTimeout + workTimeout + writeTimeout))
	ctx, storageCalls := items.CountCalls(r.Context())
	c := &call{Request: r, invocation: invocationID(r.Header), hold: hold{admission: s.admission}}
	c.stopping, c.cutOff = s.Stopping, func() { _ = conn.SetReadDeadline(time.Now()) }
	defer c.hold.release()
	c.Request = r.WithContext(items.WithRoom(ctx, c.hold.page))

	a, code, err := s.respond(c)

	c.hold.leave(len(a.body))
	c.discard()

	header := w.Header()
	for name, values := range a.header {
		header[name] = values
	}
	header.Set("X-Content-Type-Options", "nosniff")
	if a.status != http.StatusNotModified {
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead && a.status != http.StatusNotModified {
		_, _ = w.Write(a.body) // the client is gone if this fails
	}

	if c.route == "/" {
		return // the host's pings would drown the rest
	}
	attributes := append(make([]slog.Attr, 0, 16),
		slog.String("invocation", c.invocation),
		slog.String("method", r.Method),
		slog.String("route", c.route),
		slog.Int("status", a.status),
		slog.Float64("ms", float64(time.Since(start).Microseconds())/1000),
		slog.Int64("storage_calls", storageCalls.Load()),
	)
	if id := traceID(r.Header.Get("Traceparent")); id != "" {
		attributes = append(attributes, slog.String("trace", id))
	}
	attributes = append(attributes, c.origin(err)...)
	level := slog.LevelInfo
	if err != nil {
		attributes = append(attributes, slog.String("code", code))
		if a.status >= 500 {
			level = slog.LevelError
			attributes = append(attributes, slog.String("error", err.Error()))
		}
	}
	if h := s.Log.Handler(); h.Enabled(ctx, level) {
		record := slog.NewRecord(time.Now(), level, "request", 0) // without the place in the code, which is one
		record.AddAttrs(attributes...)
		_ = h.Handle(ctx, record) // there is nowhere else to say it
	}
}

// origin is what the log may have of a token whose signature is right: nothing that names
// a person, and nothing at all of another token, which anybody could write.
func (c *call) origin(err error) []slog.Attr {
	family, policy, client := entra.Family(""), "", ""
	var attributes []slog.Attr
	switch refusal, refused := errors.AsType[*entra.Refusal](err); {
	case c.caller != nil:
		family, policy, client = c.caller.Family, c.caller.Policy, c.caller.Client
		attributes = append(attributes, slog.String("caller", c.owner().Pseudonym()))
	case refused:
		family, policy, client = refusal.Origin()
		attributes = append(attributes, slog.Bool("verified", refusal.Verified))
	}
	for _, a := range []slog.Attr{
		slog.String("family", string(family)), slog.String("policy", policy), slog.String("client", client),
	} {
		if a.Value.String() != "" {
			attributes = append(attributes, a)
		}
	}
	return attributes
}

var traceparent = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}`)
})

// traceID is that of a traceparent (W3C Trace Context, section 3.2), or empty.
func traceID(header string) string {
	if header == "" {
		return ""
	}
	if m := traceparent().FindStringSubmatch(header); m != nil && strings.Trim(m[1], "0") != "" {
		return m[1]
	}
	return ""
}

// respond makes the whole answer, and tells the error and its code for the log. It
// does so whatever panics on the way, be it the making of an answer to an error.
func (s *server) respond(c *call) (a *answer, code string, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
			p := s.problemOf(c, err)
			a, code = answerTo(p), p.Code
		}
	}()
	if a, err = s.answer(c); err == nil {
		a, err = finish(c, a)
	}
	if err == nil {
		return a, "", nil
	}
	p := s.problemOf(c, err)
	return answerTo(p), p.Code, err
}

// answer finds the route, admits the caller, and has the route's function work.
func (s *server) answer(c *call) (*answer, error) {
	rt, err := s.find(c)
	if err != nil {
		return nil, err
	}
	if rt.scope == "" {
		return rt.handle(c)
	}
	caller, err := s.Verify(c.Context(), entra.CredentialsOf(c.Request), entra.Scope(rt.scope))
	if err != nil {
		return nil, err
	}
	c.caller = caller
	if err := c.hold.join(c.owner()); err != nil {
		return nil, err
	}
	if err := acceptsJSON(c.Header.Values("Accept")); err != nil {
		return nil, err
	}
	if !rt.hasBody() {
		if err := c.begin(); err != nil {
			return nil, err
		}
	}
	return rt.handle(c)
}

// hasBody reports whether the route reads a body, and begins its work after that.
func (rt *route) hasBody() bool {
	return rt.method == http.MethodPost || rt.method == http.MethodPut || rt.method == http.MethodPatch
}

// find looks the request up in the table of routes. An http.ServeMux would answer 404
// and 405 by itself, as text, and redirect paths with a double slash.
func (s *server) find(c *call) (*route, error) {
	var allowed []string
	for i := range s.routes {
		rt := &s.routes[i]
		id, ok := match(rt.pattern, c.URL.Path)
		if !ok || c.route != "" && c.route != rt.pattern {
			continue
		}
		if rt.method == c.Method || rt.method == http.MethodGet && c.Method == http.MethodHead {
			c.route, c.id = rt.pattern, id
			return rt, nil
		}
		c.route = rt.pattern
		allowed = append(allowed, rt.method)
		if rt.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	if allowed == nil {
		return nil, &problem{
			Code:   "route.not_found",
			Detail: "There is nothing at this path. The items are at " + s.path() + ".",
		}
	}
	allow := strings.Join(allowed, ", ")
	return nil, &problem{
		Code:   "method.not_allowed",
		Detail: "This path supports " + allow + ".",
		header: http.Header{"Allow": {allow}},
	}
}

// match compares a path with a pattern, and returns the segment that stands
// where the pattern has {id}.
func match(pattern, path string) (id string, ok bool) {
	prefix, _, hasID := strings.Cut(pattern, "{id}")
	if !hasID {
		return "", path == pattern
	}
	id, ok = strings.CutPrefix(path, prefix)
	return id, ok && id != "" && !strings.Contains(id, "/")
}

// invocationID is the host's name for the request. Where it forwards instead of
// proxying, a client's own value comes first in the line and the host's last.
func invocationID(h http.Header) string {
	values := strings.Join(h.Values("X-Azure-Functions-InvocationId"), ",")
	id := strings.TrimSpace(values[strings.LastIndexByte(values, ',')+1:])
	if len(id) > 64 || strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-'
	}) {
		return ""
	}
	return id
}

// ping answers the host, which asks GET / to learn whether the handler is there.
func (s *server) ping(*call) (*answer, error) {
	return &answer{
		status: http.StatusOK,
		header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Cache-Control": {"no-store"}},
		body:   []byte("ok\n"),
	}, nil
}

// acceptsJSON reads the values of Accept (RFC 9110, section 12.5.1).
func acceptsJSON(values []string) error {
	if len(values) == 0 {
		return nil
	}
	ranges := []string{"*/*", "application/*", "application/json"} // the later, the more specific
	// best is the quality of the most specific range that covers application/json.
	best := -1.0
	specific := -1
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		media, params, _ := strings.Cut(part, ";")
		rank := slices.Index(ranges, strings.ToLower(strings.TrimSpace(media)))
		if rank < max(specific, 0) {
			continue
		}
		best, specific = quality(params), rank
	}
	if best > 0 {
		return nil
	}
	return &problem{
		Code:   "accept.unsupported",
		Detail: "Answers are application/json, which the Accept header leaves out.",
	}
}
