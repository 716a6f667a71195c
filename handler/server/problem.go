package server

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"itemsapi/handler/entra"
	"itemsapi/handler/items"
)

// kinds are the problems that are not refusals (those have their own table, in
// package entra): code, status, title. Adding a code is adding a row.
var kinds = map[string]struct {
	status int
	title  string
}{
	"route.not_found":          {http.StatusNotFound, "There is nothing here"},
	"method.not_allowed":       {http.StatusMethodNotAllowed, "This path does not know the method"},
	"accept.unsupported":       {http.StatusNotAcceptable, "The client accepts no JSON"},
	"parameter.unknown":        {http.StatusBadRequest, "Unknown parameter"},
	"parameter.invalid":        {http.StatusBadRequest, "Invalid parameter"},
	"cursor.invalid":           {http.StatusBadRequest, "The cursor is not from here"},
	"cursor.expired":           {http.StatusGone, "The cursor is too old"},
	"delta.resync":             {http.StatusGone, "The delta token is too old"},
	"if_match.required":        {http.StatusPreconditionRequired, "The request does not say which version it is for"},
	"content_type.unsupported": {http.StatusUnsupportedMediaType, "The body is not declared as JSON"},
	"body.too_large":           {http.StatusRequestEntityTooLarge, "The body is too large"},
	"request.malformed":        {http.StatusBadRequest, "The body cannot be read"},
	"item.invalid":             {http.StatusUnprocessableEntity, "The item is not valid"},
	"idempotency.key_reused":   {http.StatusUnprocessableEntity, "The key was used for another request"},
	"item.not_found":           {http.StatusNotFound, "There is no such item"},
	"item.changed":             {http.StatusPreconditionFailed, "The item has changed"},
	"overloaded":               {http.StatusServiceUnavailable, "Too much to do"},
	"storage.unavailable":      {http.StatusServiceUnavailable, "The storage is unavailable"},
	"storage.timeout":          {http.StatusGatewayTimeout, "The storage did not answer in time"},
	"internal":                 {http.StatusInternalServerError, "Internal error"},
}

// storageRetry is when to try again after trouble with storage.
const storageRetry = 2 * time.Second

// problem is a problem document (RFC 9457) on its way out. As an error it is
// what a route's function returns for a fault of the request.
type problem struct {
	Type       string          `json:"type"`
	Title      string          `json:"title"`
	Status     int             `json:"status"`
	Code       string          `json:"code"`
	Detail     string          `json:"detail,omitzero"`
	Errors     []items.Problem `json:"errors,omitzero"`
	Expected   map[string]any  `json:"expected,omitzero"`
	Actual     map[string]any  `json:"actual,omitzero"`
	Fix        string          `json:"fix,omitzero"`
	Verified   *bool           `json:"verified,omitzero"`
	Also       []string        `json:"also,omitzero"`
	RetryAfter int             `json:"retryAfter,omitzero"` // seconds, as the header, which a browser cannot read across origins
	Outcome    string          `json:"outcome,omitzero"`    // "unknown" where a change may have been kept
	Instance   string          `json:"instance,omitzero"`   // the invocation ID

	header     http.Header
	retryAfter time.Duration
}

func (p *problem) Error() string { return p.Code + ": " + p.Detail }

// problemOf is the one place where an error becomes a status.
func (s *server) problemOf(c *call, err error) *problem {
	var p *problem
	var refusal *entra.Refusal
	var invalid *items.InvalidError
	switch {
	case errors.As(err, &refusal):
		p = s.problemOfRefusal(refusal)
	case errors.As(err, &p):
	case errors.As(err, &invalid):
		p = &problem{Code: "item.invalid", Detail: "See errors for what is wrong with which member.", Errors: invalid.Problems}
	case errors.Is(err, items.ErrNotFound):
		p = &problem{Code: "item.not_found", Detail: "The caller has no item with this ID."}
	case errors.Is(err, items.ErrChanged):
		p = &problem{Code: "item.changed", Detail: "No ETag in If-Match is the item's. Read it again, make the change to what it is now, and send that with its etag."}
	case errors.Is(err, items.ErrKeyReused):
		p = &problem{Code: "idempotency.key_reused", Detail: "This Idempotency-Key came with another body before. A repeat sends the same body; a new request needs a new key."}
	case errors.Is(err, items.ErrTooLarge):
		p = &problem{Code: "body.too_large", Detail: "Together the items are more than storage takes at once, 4 MiB in its own encoding. Send them in several batches."}
	case errors.Is(err, items.ErrPosition): // a cursor made by hand
		p = cursorInvalid()
	case errors.Is(err, items.ErrResync):
		p = deltaResync()
	case errors.Is(err, items.ErrBusy):
		p = &problem{Code: "overloaded", Detail: "Too many changes of this caller wait for each other, as they are made one after the other.", retryAfter: time.Second}
	case errors.Is(err, items.ErrTimeout):
		p = &problem{Code: "storage.timeout", Detail: "The storage did not answer within the time that a request may take.", retryAfter: storageRetry}
	case errors.Is(err, items.ErrUnavailable):
		p = &problem{Code: "storage.unavailable", Detail: "The storage cannot be reached or does not work. The log has the cause.", retryAfter: storageRetry}
	default:
		p = &problem{Code: "internal"}
	}
	if errors.Is(err, items.ErrOutcomeUnknown) {
		p.Outcome = "unknown"
		p.Detail += " The change may have been kept: send the same request again, with the same Idempotency-Key or If-Match, to learn it."
	}
	if kind, ok := kinds[p.Code]; ok {
		p.Status, p.Title = kind.status, kind.title
	}
	p.Type = "urn:itemsapi:problem:" + p.Code
	p.Instance = c.invocation
	return p
}

func (s *server) problemOfRefusal(r *entra.Refusal) *problem {
	p := &problem{Code: r.Code, Status: r.Status, Title: r.Title, retryAfter: r.RetryAfter, header: http.Header{}}
	if challenge := r.Challenge(); challenge != "" {
		p.header.Set("WWW-Authenticate", challenge)
	}
	if s.Explain {
		x := r.Explain()
		p.Detail, p.Expected, p.Actual, p.Fix, p.Also = x.Detail, x.Expected, x.Actual, x.Fix, x.Also
		p.Verified = &r.Verified
	}
	return p
}

func (p *problem) answer() *answer {
	a := &answer{status: p.Status, header: http.Header{"Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"}}}
	for name, values := range p.header {
		a.header[name] = values
	}
	if p.retryAfter > 0 {
		p.RetryAfter = int((p.retryAfter + time.Second - 1) / time.Second)
		a.header.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	body, err := jsonv2.Marshal(p, jsonv2.Deterministic(true))
	if err != nil { // no value in a problem can cause it
		body = []byte(`{"type":"urn:itemsapi:problem:internal","title":"Internal error","status":500,"code":"internal"}`)
		a.status = http.StatusInternalServerError
	}
	a.body = append(body, '\n')
	return a
}
