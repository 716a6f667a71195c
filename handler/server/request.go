package server

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
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

// This file reads what a request says: its query, its headers and its body. What is
// wrong with one is returned as a problem.

const (
	defaultLimit = 50
	maxLimit     = 200
	maxBody      = 256 << 10
	maxBatchBody = 2 << 20
	maxKey       = 255 // characters of an Idempotency-Key
)

// lists are the parameters that may be repeated.
var lists = []string{"select"}

// parameters parses the query, which may have the known parameters, once each but for
// those that are lists.
func (c *call) parameters(known ...string) error {
	// A semicolon is an ordinary character (RFC 3986, section 3.4), which url.ParseQuery
	// refuses for what it once meant; a host that forwards decodes it.
	query, err := url.ParseQuery(strings.ReplaceAll(c.URL.RawQuery, ";", "%3B"))
	if err != nil {
		return &problem{
			Code:   "parameter.invalid",
			Detail: "The query is not a list of name=value, separated by & and percent-encoded.",
		}
	}
	for name, values := range query {
		if !slices.Contains(known, name) {
			detail := fmt.Sprintf("%.80q is not a parameter of this route; it takes none.", name)
			if len(known) > 0 {
				detail = fmt.Sprintf(
					"%.80q is not a parameter of this route; it takes %s.",
					name,
					strings.Join(known, ", "),
				)
			}
			return &problem{Code: "parameter.unknown", Detail: detail}
		}
		if len(values) > 1 && slices.Contains(lists, name) {
			query.Set(name, strings.Join(values, ","))
		} else if len(values) > 1 {
			return &problem{Code: "parameter.invalid", Detail: name + " is there more than once."}
		}
	}
	c.query = query
	return nil
}

// creation reads what the two routes have in common that take an Idempotency-Key.
func (c *call) creation(
	limit int64,
) (key *items.Key, members map[string]jsontext.Value, sum [sha256.Size]byte, err error) {
	if err := c.parameters(); err != nil {
		return nil, nil, sum, err
	}
	if key, err = idempotencyKey(c.Header); err != nil {
		return nil, nil, sum, err
	}
	if members, sum, err = c.object(limit, "application/json"); err != nil {
		return nil, nil, sum, err
	}
	if key != nil {
		key.Request = sum
	}
	return key, members, sum, nil
}

// idempotencyKey reads Idempotency-Key (draft-ietf-httpapi-idempotency-key-header), a
// string as RFC 8941, section 3.3.3, writes it or, as most clients send it, without quotes.
// Without the header it returns nil.
func idempotencyKey(h http.Header) (*items.Key, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return nil, nil
	}
	key, least, ok := strings.TrimSpace(values[0]), '!', true
	if strings.HasPrefix(key, `"`) {
		key, ok = unquoted(key)
		least = ' '
	}
	if !ok || len(values) > 1 || key == "" || len(key) > maxKey ||
		strings.ContainsFunc(key, func(r rune) bool { return r < least || r > '~' }) {
		return nil, &problem{
			Code: "parameter.invalid",
			Detail: fmt.Sprintf(
				`Idempotency-Key must be one value of 1 to %d visible ASCII characters, such as a UUID; or such a `+
					`string in double quotes, which may have spaces, and \" and \\ for " and \.`,
				maxKey,
			),
		}
	}
	return &items.Key{Value: key}, nil
}

// unquoted is what a string of RFC 8941 stands for; false if it is none.
func unquoted(text string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), i == len(text)-1
		case '\\':
			if i++; i == len(text) || text[i] != '"' && text[i] != '\\' {
				return "", false
			}
		}
		b.WriteByte(text[i])
	}
	return "", false
}

// object reads the body: one JSON object, of at most limit bytes and one of the
// media types, in which no object has a name twice. Each member's value has no
// whitespace between tokens. sum is a hash of what the body says and what is asked:
// neither whitespace nor the order of members count, digits do.
func (c *call) object(
	limit int64,
	media ...string,
) (members map[string]jsontext.Value, sum [sha256.Size]byte, err error) {
	is, params, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	charset := params["charset"]
	encoding := c.Header.Get("Content-Encoding")
	switch {
	case err != nil || !slices.Contains(media, is) || charset != "" && !strings.EqualFold(charset, "utf-8"):
		return nil, sum, c.unsupported("Content-Type must be "+strings.Join(media, " or ")+".", media)
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return nil, sum, c.unsupported("Send the body without Content-Encoding.", media)
	case c.ContentLength > limit:
		return nil, sum, tooLarge(limit)
	}
	body, err := c.readBody(limit)
	if err != nil {
		return nil, sum, err
	}
	if bytes.HasPrefix(body, []byte{0x1f, 0x8b}) { // the host may have taken Content-Encoding away
		return nil, sum, c.unsupported("The body is compressed, with gzip. Send it as JSON.", media)
	}
	if err := c.begin(); err != nil {
		return nil, sum, err
	}
	if len(body) > smallBody {
		if err := c.hold.page(c.Context(), bodyRoom*int64(len(body))); err != nil {
			return nil, sum, err
		}
	}
	if err := jsonv2.Unmarshal(body, &members); err != nil || members == nil {
		return nil, sum, &problem{
			Code:   "request.malformed",
			Detail: "The body must be one JSON object in UTF-8, with each name once: " + trouble(body, err),
		}
	}
	for name, value := range members {
		if err := value.Compact(); err != nil {
			return nil, sum, fmt.Errorf("compact %q: %w", name, err)
		}
		members[name] = value
	}
	whole := jsontext.Value(body)
	err = whole.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	if err != nil {
		return nil, sum, fmt.Errorf("hash the body: %w", err)
	}
	return members, sha256.Sum256(append([]byte(c.Method+" "+c.route+"\n"), whole...)), nil
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

func (c *call) unsupported(detail string, media []string) error {
	name := map[string]string{
		http.MethodPost: "Accept-Post", http.MethodPatch: "Accept-Patch", http.MethodPut: "Accept",
	}[c.Method]
	return &problem{
		Code:   "content_type.unsupported",
		Detail: detail,
		header: http.Header{name: {strings.Join(media, ", ")}},
	}
}

func tooLarge(limit int64) error {
	return &problem{Code: "body.too_large", Detail: fmt.Sprintf("The body may have %d bytes.", limit)}
}

// listQuery reads what is listed.
func listQuery(query url.Values) (items.Query, error) {
	var q items.Query
	var err error
	if q.Limit, err = limit(query); err != nil {
		return q, err
	}
	for _, name := range contentFilters {
		if !query.Has(name) {
			continue
		}
		value := query.Get(name)
		if !utf8.ValidString(value) {
			return q, &problem{Code: "parameter.invalid", Detail: name + " must be in UTF-8."}
		}
		filter, err := items.Filters[name](value)
		if err != nil {
			return q, &problem{Code: "parameter.invalid", Detail: name + " " + err.Error() + "."}
		}
		q.Filters = append(q.Filters, filter)
	}
	for name, field := range map[string]*time.Time{
		"created_after": &q.CreatedAfter, "created_before": &q.CreatedBefore,
	} {
		if !query.Has(name) {
			continue
		}
		at, err := time.Parse(time.RFC3339, query.Get(name))
		if err != nil {
			return q, &problem{
				Code:   "parameter.invalid",
				Detail: name + " must be a time as in RFC 3339, such as 2026-11-24T20:26:31.543Z.",
			}
		}
		*field = at
	}
	return q, nil
}

// contentFilters are the parameters of the list that select by content, and listFilters
// all that select.
var (
	contentFilters = slices.Sorted(maps.Keys(items.Filters))
	listFilters    = append(slices.Clone(contentFilters), "created_after", "created_before")
)

// limit reads how much of a list a page may hold.
func limit(query url.Values) (int, error) {
	if !query.Has("limit") {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(query.Get("limit"))
	if err != nil || n < 1 || n > maxLimit {
		return 0, &problem{
			Code:   "parameter.invalid",
			Detail: fmt.Sprintf("limit must be a whole number from 1 to %d.", maxLimit),
		}
	}
	return n, nil
}

// selection reads select, a comma list of members; nil means all.
func selection(query url.Values) ([]string, error) {
	if !query.Has("select") {
		return nil, nil
	}
	selected := strings.Split(query.Get("select"), ",")
	for _, name := range selected {
		if !slices.Contains(items.Members, name) {
			detail := fmt.Sprintf(
				"select must be a comma list of %s; %.80q is not one of them.",
				strings.Join(items.Members, ", "),
				name,
			)
			return nil, &problem{Code: "parameter.invalid", Detail: detail}
		}
	}
	return selected, nil
}

// wantsCount reads count, which is of all items.
func wantsCount(query url.Values, filtered bool) (bool, error) {
	switch value := query.Get("count"); {
	case !query.Has("count") || value == "false":
		return false, nil
	case value != "true":
		return false, &problem{Code: "parameter.invalid", Detail: "count must be true or false."}
	case filtered:
		return false, &problem{
			Code:   "parameter.invalid",
			Detail: "count is the number of all items; leave it out where there is a filter.",
		}
	}
	return true, nil
}
