package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"itemsapi/handler/items"
)

// list answers with a page of the caller's items.
func (s *server) list(c *call) (*answer, error) {
	if err := c.parameters(append([]string{"limit", "cursor", "select", "count"}, listFilters...)...); err != nil {
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
	// A cursor is bound to the filters, not to limit or select.
	filters := url.Values{}
	for _, name := range listFilters {
		if c.query.Has(name) {
			filters.Set(name, c.query.Get(name))
		}
	}
	if c.query.Has("cursor") {
		cursor := c.query.Get("cursor")
		if q.After, err = openCursor(cursor, listCursor, c.owner(), filters.Encode(), time.Now()); err != nil {
			return nil, err
		}
	}
	counted, err := wantsCount(c.query, len(filters) > 0)
	if err != nil {
		return nil, err
	}
	page, err := s.Store.List(c.Context(), c.owner(), q)
	if err != nil {
		return nil, err
	}
	var rest struct {
		Count    *int64 `json:"count,omitzero"`
		NextLink string `json:"nextLink,omitzero"`
		Cursor   string `json:"cursor,omitzero"` // the one in nextLink
	}
	if counted {
		sum, err := s.Store.Summary(c.Context(), c.owner())
		if err != nil {
			return nil, err
		}
		rest.Count = &sum.Count
	}
	if page.Next != "" {
		next := filters
		rest.Cursor = sealCursor(listCursor, page.Next, c.owner(), filters.Encode(), time.Now())
		next.Set("cursor", rest.Cursor)
		for _, name := range []string{"limit", "select"} {
			if c.query.Has(name) {
				next.Set(name, c.query.Get(name))
			}
		}
		rest.NextLink = s.path() + "?" + next.Encode()
	}
	if members != nil {
		picked, err := pick(page.Items, members)
		if err != nil {
			return nil, err
		}
		return collectionAnswer(picked, rest, rest.NextLink)
	}
	return collectionAnswer(page.Items, rest, rest.NextLink)
}

// appender writes itself as a client sees it.
type appender interface{ AppendJSON(b []byte) []byte }

// collectionAnswer answers with values and the members beside them. The values are valid
// JSON already, so nothing reads them once more.
func collectionAnswer[value appender](values []value, rest any, nextLink string) (*answer, error) {
	const likely = 384 // bytes of an item
	body := append(make([]byte, 0, likely*(1+len(values))), `{"value":[`...)
	for i, one := range values {
		if i > 0 {
			body = append(body, ',')
		}
		body = one.AppendJSON(body)
	}
	body = append(body, ']')
	members, err := jsonv2.Marshal(rest)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	if len(members) > len("{}") {
		body = append(body, ',')
	}
	a := jsonAnswer(http.StatusOK, append(body, members[1:]...), "")
	if nextLink != "" {
		a.header.Set("Link", "<"+nextLink+`>; rel="next"`) // RFC 8288
	}
	a.collection = true
	return a, nil
}

// picked is an item of which only the members are left that were selected.
type picked jsontext.Value

func (p picked) AppendJSON(b []byte) []byte { return append(b, p...) }

// pick returns the members of each item that were selected.
func pick(all []items.Item, selected []string) ([]picked, error) {
	left := make([]picked, len(all))
	for i, item := range all {
		var members map[string]jsontext.Value
		if err := jsonv2.Unmarshal(item.AppendJSON(nil), &members); err != nil {
			return nil, fmt.Errorf("pick members of an item: %w", err)
		}
		b := picked("{")
		for _, name := range items.Members {
			if value, ok := members[name]; ok && slices.Contains(selected, name) {
				if len(b) > 1 {
					b = append(b, ',')
				}
				b, _ = jsontext.AppendQuote(b, name)
				b = append(append(b, ':'), value...)
			}
		}
		left[i] = append(b, '}')
	}
	return left, nil
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
	return answerOf(http.StatusOK, item, item.ETag), nil
}

// delta answers with a part of what changed since a token, or of all items.
func (s *server) delta(c *call) (*answer, error) {
	if err := c.parameters("limit", "cursor", "token"); err != nil {
		return nil, err
	}
	limit, err := limit(c.query)
	if err != nil {
		return nil, err
	}
	after := ""
	switch {
	case c.query.Has("cursor") && c.query.Has("token"):
		return nil, &problem{
			Code:   "parameter.invalid",
			Detail: "A request has a cursor, from nextLink, or a token, from deltaLink, and not both.",
		}
	case c.query.Has("cursor"):
		after, err = openCursor(c.query.Get("cursor"), deltaCursor, c.owner(), "", time.Now())
	case c.query.Has("token"):
		after, err = openCursor(c.query.Get("token"), deltaToken, c.owner(), "", time.Now())
	}
	if p, ok := errors.AsType[*problem](err); ok && p.Code == "delta.resync" {
		sum, err := s.Store.Summary(c.Context(), c.owner())
		if err != nil {
			return nil, err
		}
		return nil, deltaResync(sum.ErasedAt)
	}
	if err != nil {
		return nil, err
	}
	d, err := s.Store.Delta(c.Context(), c.owner(), after, limit)
	if err != nil {
		return nil, err
	}
	var rest struct {
		NextLink  string `json:"nextLink,omitzero"`
		Cursor    string `json:"cursor,omitzero"` // the one in nextLink
		DeltaLink string `json:"deltaLink,omitzero"`
		Token     string `json:"token,omitzero"` // the one in deltaLink
	}
	link := url.Values{}
	if c.query.Has("limit") {
		link.Set("limit", c.query.Get("limit"))
	}
	if d.More {
		rest.Cursor = sealCursor(deltaCursor, d.Next, c.owner(), "", time.Now())
		link.Set("cursor", rest.Cursor)
		rest.NextLink = s.path() + "/delta?" + link.Encode()
	} else {
		rest.Token = sealCursor(deltaToken, d.Next, c.owner(), "", time.Now())
		link.Set("token", rest.Token)
		rest.DeltaLink = s.path() + "/delta?" + link.Encode()
	}
	return collectionAnswer(d.Changes, rest, rest.NextLink)
}

// create keeps a new item.
func (s *server) create(c *call) (*answer, error) {
	key, members, _, err := c.creation(maxBody)
	if err != nil {
		return nil, err
	}
	draft, err := items.Read(members)
	if err != nil {
		return nil, err
	}
	made, replayed, err := s.Store.Apply(c.Context(), c.owner(), []items.Op{{Create: &draft}}, key)
	if err != nil {
		return nil, err
	}
	a := c.itemAnswer(http.StatusCreated, made[0].Item)
	// Relative: behind the host the handler does not know its public name.
	a.header.Set("Location", s.path()+"/"+made[0].ID)
	if replayed {
		a.header.Set("Idempotency-Replayed", "true")
	}
	return a, nil
}

// replace gives an item new content, or creates one under the client's own ID.
func (s *server) replace(c *call) (*answer, error) {
	if createsOnly(c.Header) {
		return s.createAs(c)
	}
	return s.edit(c, items.Replace, "application/json")
}

// patch changes an item's content in part.
func (s *server) patch(c *call) (*answer, error) {
	return s.edit(c, items.Patch, "application/merge-patch+json", "application/json")
}

func (s *server) edit(
	c *call,
	decode func(map[string]jsontext.Value) (items.Edit, error),
	media ...string,
) (*answer, error) {
	if err := c.parameters(); err != nil {
		return nil, err
	}
	match, unless, err := changing(c.Header)
	if err != nil {
		return nil, err
	}
	members, sum, err := c.object(maxBody, media...)
	if err != nil {
		return nil, err
	}
	edit, err := decode(members)
	if err != nil {
		return nil, err
	}
	op := items.Op{ID: c.id, Match: match, Unless: unless, Edit: &edit, Request: [16]byte(sum[:])}
	made, _, err := s.Store.Apply(c.Context(), c.owner(), []items.Op{op}, nil)
	if err != nil {
		return nil, err
	}
	return c.itemAnswer(http.StatusOK, made[0].Item), nil
}

// delete deletes an item.
func (s *server) delete(c *call) (*answer, error) {
	if err := c.parameters(); err != nil {
		return nil, err
	}
	match, unless, err := changing(c.Header)
	if err != nil {
		return nil, err
	}
	op := items.Op{ID: c.id, Match: match, Unless: unless, Delete: true}
	made, _, err := s.Store.Apply(c.Context(), c.owner(), []items.Op{op}, nil)
	if err != nil {
		return nil, err
	}
	return answerOf(http.StatusOK, made[0], ""), nil
}

// saved is what a client needs of an item that it changed, and cannot know.
type saved struct{ id, etag string }

func (s saved) AppendJSON(b []byte) []byte {
	b = append(append(b, `{"id":"`...), s.id...)
	b, _ = jsontext.AppendQuote(append(b, `","etag":`...), s.etag) // it is ASCII
	return append(b, '}')
}

// itemAnswer answers a change with what the item is now.
func (c *call) itemAnswer(status int, item items.Item) *answer {
	if !prefersMinimal(c.Header) {
		return answerOf(status, item, item.ETag)
	}
	a := answerOf(status, saved{item.ID, item.ETag}, item.ETag)
	a.header.Set("Preference-Applied", "return=minimal")
	return a
}

// answerOf is an answer that shows what is valid JSON already.
func answerOf(status int, shows appender, etag string) *answer {
	return jsonAnswer(status, shows.AppendJSON(nil), etag)
}

func jsonAnswer(status int, body []byte, etag string) *answer {
	a := &answer{status: status, header: http.Header{
		"Content-Type":  {"application/json"},
		"Cache-Control": {"private, no-cache"},
		"Vary":          {"Authorization, Accept"},
	}, body: append(body, '\n')}
	if etag != "" {
		a.header["Etag"] = []string{etag}
	}
	return a
}
