package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"itemsapi/handler/items"
)

const (
	defaultLimit = 50
	maxLimit     = 200
	maxBody      = 256 << 10
)

// list answers with a page of the caller's items.
func (s *server) list(c *call) (*answer, error) {
	if err := c.parameters("limit", "cursor"); err != nil {
		return nil, err
	}
	q := items.Query{Limit: defaultLimit}
	if c.query.Has("limit") {
		n, err := strconv.Atoi(c.query.Get("limit"))
		if err != nil || n < 1 || n > maxLimit {
			return nil, &problem{Code: "parameter.invalid", Detail: fmt.Sprintf("limit must be a whole number from 1 to %d.", maxLimit)}
		}
		q.Limit = n
	}
	if c.query.Has("cursor") {
		after, err := openCursor(c.query.Get("cursor"), listCursor, c.owner(), "", time.Now())
		if err != nil {
			return nil, err
		}
		q.After = after
	}
	page, err := s.Store.List(c.Context(), c.owner(), q)
	if errors.Is(err, items.ErrNotFound) { // a cursor made by hand, with a position that is none
		return nil, errCursorInvalid()
	}
	if err != nil {
		return nil, err
	}
	var body struct {
		Value    []items.Item `json:"value"`
		NextLink string       `json:"nextLink,omitzero"`
	}
	body.Value = page.Items
	if page.More {
		next := url.Values{"cursor": {sealCursor(listCursor, page.Items[len(page.Items)-1].ID, c.owner(), "", time.Now())}}
		if c.query.Has("limit") {
			next.Set("limit", strconv.Itoa(q.Limit))
		}
		body.NextLink = "/api/items?" + next.Encode()
	}
	return jsonAnswer(http.StatusOK, body, "")
}

// get answers with one item.
func (s *server) get(c *call) (*answer, error) {
	if err := c.parameters(); err != nil {
		return nil, err
	}
	item, err := s.Store.Get(c.Context(), c.owner(), c.id)
	if err != nil {
		return nil, err
	}
	return jsonAnswer(http.StatusOK, item, item.ETag)
}

// create keeps a new item.
func (s *server) create(c *call) (*answer, error) {
	if err := c.parameters(); err != nil {
		return nil, err
	}
	members, err := c.object(maxBody)
	if err != nil {
		return nil, err
	}
	var draft items.Draft
	if err := draft.Decode(members); err != nil {
		return nil, err
	}
	item, err := s.Store.Create(c.Context(), c.owner(), draft)
	if err != nil {
		return nil, err
	}
	a, err := jsonAnswer(http.StatusCreated, item, item.ETag)
	if err != nil {
		return nil, err
	}
	// Relative: behind the host the handler does not know its public name.
	a.header.Set("Location", "/api/items/"+item.ID)
	return a, nil
}

func jsonAnswer(status int, v any, etag string) (*answer, error) {
	body, err := jsonv2.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	a := &answer{status: status, header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"private, no-cache"}}, body: append(body, '\n')}
	if etag != "" {
		a.header["Etag"] = []string{etag}
	}
	return a, nil
}

// parameters parses the query, which may have the known parameters, once each.
func (c *call) parameters(known ...string) error {
	query, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return &problem{Code: "parameter.invalid", Detail: "The query is not a list of name=value, separated by & and percent-encoded."}
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			detail := fmt.Sprintf("%.80q is no parameter here; there is none.", name)
			if len(known) > 0 {
				detail = fmt.Sprintf("%.80q is no parameter here; there are %s.", name, strings.Join(known, ", "))
			}
			return &problem{Code: "parameter.unknown", Detail: detail}
		}
		if len(values) > 1 {
			return &problem{Code: "parameter.invalid", Detail: name + " is there more than once."}
		}
	}
	c.query = query
	return nil
}

// object reads the body: one JSON object, of at most limit bytes, in which no
// object has a name twice. Each member's value has no blanks between tokens.
func (c *call) object(limit int64) (map[string]json.RawMessage, error) {
	media, params, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	charset := params["charset"]
	encoding := c.Header.Get("Content-Encoding")
	switch {
	case err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8"):
		return nil, unsupported("Content-Type must be application/json.")
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return nil, unsupported("Send the body without Content-Encoding.")
	case c.ContentLength > limit:
		return nil, tooLarge(limit)
	}
	body, err := io.ReadAll(io.LimitReader(c.Body, limit+1))
	if err != nil {
		return nil, &problem{Code: "request.malformed", Detail: "The body ended before it was whole."}
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	var values map[string]jsontext.Value
	if err := jsonv2.Unmarshal(body, &values); err != nil || values == nil {
		return nil, &problem{Code: "request.malformed", Detail: "The body must be one JSON object in UTF-8, with each name once: " + trouble(body, err)}
	}
	members := make(map[string]json.RawMessage, len(values))
	for name, value := range values {
		if err := value.Compact(); err != nil {
			return nil, fmt.Errorf("compact %q: %w", name, err)
		}
		members[name] = json.RawMessage(value)
	}
	return members, nil
}

// trouble says where a body is wrong.
func trouble(body []byte, err error) string {
	if len(body) == 0 {
		return "it is empty."
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Sprintf("%v, at byte %d.", syntactic.Err, syntactic.ByteOffset)
	}
	switch {
	case err != nil:
		return "it is something else."
	default:
		return "it is null."
	}
}

func unsupported(detail string) error {
	return &problem{Code: "content_type.unsupported", Detail: detail, header: http.Header{"Accept-Post": {"application/json"}}}
}

func tooLarge(limit int64) error {
	return &problem{Code: "body.too_large", Detail: fmt.Sprintf("The body may have %d bytes.", limit)}
}
