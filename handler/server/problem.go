package server

import (
	"errors"
	"net/http"
	"time"

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
	"method.not_allowed":       {http.StatusMethodNotAllowed, "Method not allowed"},
	"rate.limited":             {http.StatusTooManyRequests, "Too many requests of this caller"},
	"accept.unsupported":       {http.StatusNotAcceptable, "The client does not accept JSON"},
	"parameter.unknown":        {http.StatusBadRequest, "Unknown parameter"},
	"parameter.invalid":        {http.StatusBadRequest, "Invalid parameter"},
	"cursor.invalid":           {http.StatusBadRequest, "The cursor was not issued by this API"},
	"cursor.expired":           {http.StatusGone, "The cursor is too old"},
	"delta.resync":             {http.StatusGone, "The delta token is too old"},
	"if_match.required":        {http.StatusPreconditionRequired, "The request does not say which version it is for"},
	"content_type.unsupported": {http.StatusUnsupportedMediaType, "The body is not declared as JSON"},
	"request.timeout":          {http.StatusRequestTimeout, "The body did not come in time"},
	"body.too_large":           {http.StatusRequestEntityTooLarge, "The body is too large"},
	"request.malformed":        {http.StatusBadRequest, "The body cannot be read"},
	"item.invalid":             {http.StatusUnprocessableEntity, "The item is not valid"},
	"idempotency.key_reused":   {http.StatusUnprocessableEntity, "The key was used for another request"},
	"item.not_found":           {http.StatusNotFound, "There is no such item"},
	"item.exists":              {http.StatusPreconditionFailed, "The item exists already"},
	"item.deleted":             {http.StatusGone, "The ID was used before"},
	"item.changed":             {http.StatusPreconditionFailed, "The item has changed"},
	"overloaded":               {http.StatusServiceUnavailable, "Too many requests in progress"},
	"storage.unavailable":      {http.StatusServiceUnavailable, "The storage is unavailable"},
	"storage.timeout":          {http.StatusGatewayTimeout, "The storage did not answer in time"},
	"internal":                 {http.StatusInternalServerError, "Internal error"},
}

// storageRetry is when to try again after trouble with storage.
const storageRetry = 2 * time.Second

// problem is what a route's function returns as an error for a fault of the request.
type problem struct {
	Code     string
	Detail   string
	Errors   []fault
	Outcome  string // "unknown" where a change may have been kept
	ErasedAt string // when what is asked about was erased

	header     http.Header
	retryAfter time.Duration
}

// fault is one thing wrong with one member of a body, or with one change of a batch.
type fault struct {
	Pointer string `json:"pointer"` // RFC 6901
	Code    string `json:"code,omitzero"`
	Detail  string `json:"detail"`
}

func faultsOf(problems []items.Problem) []fault {
	faults := make([]fault, len(problems))
	for i, p := range problems {
		faults[i] = fault{Pointer: p.Pointer, Detail: p.Detail}
	}
	return faults
}

func (p *problem) Error() string { return p.Code + ": " + p.Detail }

// problemOf is the one place where an error becomes a status. Package entra does it
// for refusals, and writes the document of all of them.
func (s *server) problemOf(c *call, err error) *entra.Problem {
	if refusal, refused := errors.AsType[*entra.Refusal](err); refused {
		document := refusal.Problem()
		document.Instance = c.invocation
		return document
	}
	var p *problem
	var invalid *items.InvalidError
	var erased *items.ErasedError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &invalid):
		p = &problem{
			Code:   "item.invalid",
			Detail: "See errors for what is wrong with which member.",
			Errors: faultsOf(invalid.Problems),
		}
	case errors.Is(err, items.ErrNotFound):
		p = &problem{Code: "item.not_found", Detail: "The caller has no item with this ID."}
	case errors.Is(err, items.ErrChanged):
		p = &problem{
			Code: "item.changed",
			Detail: "None of the ETags in If-Match matches the item. Read it again, make the change to what it is " +
				"now, and send that with its etag.",
		}
	case errors.Is(err, items.ErrExists):
		p = &problem{
			Code: "item.exists",
			Detail: "The caller has an item with this ID, and the request is only for none, or for another version. " +
				"Read the item, and change it with If-Match and its etag.",
		}
	case errors.Is(err, items.ErrDeleted):
		p = &problem{
			Code:   "item.deleted",
			Detail: "An item with this ID was deleted. To have it again, create one with another ID.",
		}
	case errors.Is(err, items.ErrKeyReused):
		p = &problem{
			Code: "idempotency.key_reused",
			Detail: "This Idempotency-Key came with another body before. A repeat sends the same body; a new " +
				"request needs a new key.",
		}
	case errors.Is(err, items.ErrTooLarge):
		p = &problem{
			Code: "body.too_large",
			Detail: "Together the items are more than storage takes at once, 4 MiB in its own encoding. Send them " +
				"in several batches.",
		}
	case errors.Is(err, items.ErrPosition): // a cursor made by hand
		p = cursorInvalid()
	case errors.As(err, &erased):
		p = deltaResync(erased.At)
	case errors.Is(err, items.ErrResync):
		p = deltaResync(time.Time{})
	case errors.Is(err, items.ErrBusy):
		p = limited("Too many changes of this caller wait for each other, as they are made one after the other.")
	case errors.Is(err, items.ErrNoRoom):
		p = &problem{
			Code: "overloaded", retryAfter: time.Second,
			Detail: "Other requests hold all the memory that there is for large bodies and large pages.",
		}
	case errors.Is(err, items.ErrTimeout):
		p = &problem{
			Code:       "storage.timeout",
			Detail:     "The storage did not answer within the time that a request may take.",
			retryAfter: storageRetry,
		}
	case errors.Is(err, items.ErrUnavailable):
		p = &problem{
			Code:       "storage.unavailable",
			Detail:     "The storage cannot be reached or does not work. The log has the cause.",
			retryAfter: storageRetry,
		}
	default:
		p = &problem{Code: "internal"}
	}
	if errors.Is(err, items.ErrOutcomeUnknown) {
		p.Outcome = "unknown"
		p.Detail += " The change may have been kept: send the same request again, with the same Idempotency-Key or " +
			"If-Match, to learn it."
	}
	document := &entra.Problem{
		Type: entra.ProblemType(s.Realm, p.Code), Title: kinds[p.Code].title, Status: kinds[p.Code].status,
		Code: p.Code, Detail: p.Detail, Instance: c.invocation, Header: p.header, More: map[string]any{},
		RetryAfter: int((p.retryAfter + time.Second - 1) / time.Second),
	}
	if p.Errors != nil {
		document.More["errors"] = p.Errors
	}
	if p.Outcome != "" {
		document.More["outcome"] = p.Outcome
	}
	if p.ErasedAt != "" {
		document.More["erasedAt"] = p.ErasedAt
	}
	return document
}

// answerTo is a problem's answer.
func answerTo(p *entra.Problem) *answer {
	status, header, body := p.Answer()
	return &answer{status: status, header: header, body: body}
}
