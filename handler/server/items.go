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
	"unicode/utf8"

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
	if err := c.parameters("limit", "cursor", "select", "name", "name_prefix", "created_after", "created_before"); err != nil {
		return nil, err
	}
	q, err := listQuery(c.query)
	if err != nil {
		return nil, err
	}
	members, err := selection(c.query)
	if err != nil {
		return nil, err
	}
	// What is selected is part of a cursor; how much of it, and which members, not.
	filters := url.Values{}
	for _, name := range []string{"name", "name_prefix", "created_after", "created_before"} {
		if c.query.Has(name) {
			filters.Set(name, c.query.Get(name))
		}
	}
	if c.query.Has("cursor") {
		if q.After, err = openCursor(c.query.Get("cursor"), listCursor, c.owner(), filters.Encode(), time.Now()); err != nil {
			return nil, err
		}
	}
	page, err := s.Store.List(c.Context(), c.owner(), q)
	if errors.Is(err, items.ErrNotFound) { // a cursor made by hand, with a position that is none
		return nil, errCursorInvalid()
	}
	if err != nil {
		return nil, err
	}
	var body struct {
		Value    any    `json:"value"`
		NextLink string `json:"nextLink,omitzero"`
	}
	body.Value = page.Items
	if members != nil {
		body.Value = pick(page.Items, members)
	}
	if page.Next != "" {
		next := filters
		next.Set("cursor", sealCursor(listCursor, page.Next, c.owner(), filters.Encode(), time.Now()))
		for _, name := range []string{"limit", "select"} {
			if c.query.Has(name) {
				next.Set(name, c.query.Get(name))
			}
		}
		body.NextLink = "/api/items?" + next.Encode()
	}
	a, err := jsonAnswer(http.StatusOK, body, "")
	if err != nil {
		return nil, err
	}
	if body.NextLink != "" {
		a.header.Set("Link", "<"+body.NextLink+`>; rel="next"`) // RFC 8288
	}
	a.collection = true
	return a, nil
}

// listQuery reads what is listed.
func listQuery(query url.Values) (items.Query, error) {
	q := items.Query{Limit: defaultLimit, Name: query.Get("name"), NamePrefix: query.Get("name_prefix")}
	if query.Has("limit") {
		n, err := strconv.Atoi(query.Get("limit"))
		if err != nil || n < 1 || n > maxLimit {
			return q, &problem{Code: "parameter.invalid", Detail: fmt.Sprintf("limit must be a whole number from 1 to %d.", maxLimit)}
		}
		q.Limit = n
	}
	for _, name := range []string{"name", "name_prefix"} {
		if value := query.Get(name); query.Has(name) && (value == "" || !utf8.ValidString(value) || utf8.RuneCountInString(value) > items.MaxNameLength) {
			return q, &problem{Code: "parameter.invalid", Detail: fmt.Sprintf("%s must have 1 to %d characters in UTF-8.", name, items.MaxNameLength)}
		}
	}
	for name, field := range map[string]*time.Time{"created_after": &q.CreatedAfter, "created_before": &q.CreatedBefore} {
		if !query.Has(name) {
			continue
		}
		at, err := time.Parse(time.RFC3339, query.Get(name))
		if err != nil {
			return q, &problem{Code: "parameter.invalid", Detail: name + " must be a time as in RFC 3339, such as 2026-11-24T20:26:31.543Z."}
		}
		*field = at
	}
	return q, nil
}

// members are what a client may select of an item.
var members = []string{"id", "name", "properties", "createdAt", "updatedAt", "etag"}

// selection reads select, a comma list of members; nil means all.
func selection(query url.Values) ([]string, error) {
	if !query.Has("select") {
		return nil, nil
	}
	selected := strings.Split(query.Get("select"), ",")
	for _, name := range selected {
		if !slices.Contains(members, name) {
			return nil, &problem{Code: "parameter.invalid", Detail: fmt.Sprintf("select must be a comma list of %s; %.80q is none of them.", strings.Join(members, ", "), name)}
		}
	}
	return selected, nil
}

// pick leaves of each item the members that were selected.
func pick(all []items.Item, selected []string) []items.Item {
	picked := make([]items.Item, len(all))
	for i, item := range all {
		for _, name := range selected {
			switch name {
			case "id":
				picked[i].ID = item.ID
			case "name":
				picked[i].Name = item.Name
			case "properties":
				picked[i].Properties = item.Properties
			case "createdAt":
				picked[i].CreatedAt = item.CreatedAt
			case "updatedAt":
				picked[i].UpdatedAt = item.UpdatedAt
			case "etag":
				picked[i].ETag = item.ETag
			}
		}
	}
	return picked
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
	var body any = item
	minimal := prefersMinimal(c.Header)
	if minimal { // the members that a browser cannot read from headers
		body = items.Item{ID: item.ID, ETag: item.ETag}
	}
	a, err := jsonAnswer(http.StatusCreated, body, item.ETag)
	if err != nil {
		return nil, err
	}
	if minimal {
		a.header.Set("Preference-Applied", "return=minimal")
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
	a := &answer{status: status, header: http.Header{
		"Content-Type":  {"application/json"},
		"Cache-Control": {"private, no-cache"},
		"Vary":          {"Authorization, Accept"},
	}, body: append(body, '\n')}
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
