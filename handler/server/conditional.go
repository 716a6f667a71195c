package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"itemsapi/handler/items"
)

// compressAbove is the size, in bytes, from which compressing a list pays.
const compressAbove = 1 << 10

// maxIfMatch is how long If-Match may be, in bytes.
const maxIfMatch = 4 << 10

// finish does what an answer's content decides: a list's entity tag, the preconditions
// of a read, and compression.
func finish(c *call, a *answer) (*answer, error) {
	if a.status != http.StatusOK || c.route == "/" || c.Method != http.MethodGet && c.Method != http.MethodHead {
		return a, nil
	}
	if a.collection {
		// Weak: the bytes differ by encoding, the list does not (RFC 9110, 8.8.1).
		sum := sha256.Sum256(a.body)
		a.header["Etag"] = []string{`W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		a.header.Set("Vary", "Authorization, Accept, Accept-Encoding")
	}
	// In the order of RFC 9110, section 13.2.2.
	tag := a.header.Get("ETag")
	if err := precondition(c, tag); err != nil {
		return nil, err
	}
	if ifNoneMatch(c.Header).Matches(strings.TrimPrefix(tag, "W/")) {
		a.header.Del("Content-Type")
		a.header.Del("Link") // the client has it
		return &answer{status: http.StatusNotModified, header: a.header}, nil
	}
	if a.collection && len(a.body) > compressAbove && acceptsGzip(c.Header.Values("Accept-Encoding")) {
		a.body = compress(a.body)
		a.header.Set("Content-Encoding", "gzip")
	}
	return a, nil
}

// compressors are used again, as making one takes ten times as long as compressing a list.
// A higher level saves a twentieth of the bytes, for up to half as much time again.
var compressors = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return z
}}

func compress(body []byte) []byte {
	z := compressors.Get().(*gzip.Writer)
	defer compressors.Put(z)
	var b bytes.Buffer
	z.Reset(&b)
	_, _ = z.Write(body) // memory does not fail
	_ = z.Close()
	z.Reset(io.Discard) // so that it keeps no answer
	return b.Bytes()
}

// entityTags reads the values of If-Match or If-None-Match (RFC 9110, sections 13.1.1 and
// 13.1.2): a list of entity tags, or *. ok is false if they are neither; the tags before
// that place are returned all the same.
func entityTags(values []string) (strong, weak []string, any, ok bool) {
	list := strings.TrimSpace(strings.Join(values, ","))
	if list == "*" {
		return nil, nil, true, true
	}
	for found := false; ; found = true {
		list = strings.TrimLeft(list, " \t,")
		if list == "" {
			return strong, weak, false, found
		}
		tag, isWeak := strings.CutPrefix(list, "W/")
		end := strings.IndexByte(strings.TrimPrefix(tag, `"`), '"')
		if !strings.HasPrefix(tag, `"`) || end < 0 ||
			strings.ContainsFunc(tag[1:end+1], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return strong, weak, false, false
		}
		if isWeak {
			weak = append(weak, tag[:end+2])
		} else {
			strong = append(strong, tag[:end+2])
		}
		list = strings.TrimLeft(tag[end+2:], " \t")
		if list != "" && list[0] != ',' {
			return strong, weak, false, false
		}
	}
}

// ifMatch reads If-Match, whose tags are compared strongly: a weak one matches nothing.
func ifMatch(h http.Header) (m items.Match, given bool, err error) {
	values := h.Values("If-Match")
	if strings.TrimSpace(strings.Join(values, "")) == "" {
		return m, false, nil
	}
	var ok bool
	m.Tags, _, m.Any, ok = entityTags(values)
	if !ok || len(strings.Join(values, ",")) > maxIfMatch {
		return m, false, &problem{
			Code:   "parameter.invalid",
			Detail: `If-Match must be *, or ETags in double quotes with commas between them.`,
		}
	}
	return m, true, nil
}

// ifNoneMatch reads If-None-Match, whose tags are compared weakly. What is no list matches
// nothing, so that the client gets the answer.
func ifNoneMatch(h http.Header) (m items.Match) {
	strong, weak, any, _ := entityTags(h.Values("If-None-Match"))
	return items.Match{Any: any, Tags: append(strong, weak...)}
}

// changing reads which versions a change is meant for, and for which it is not.
func changing(h http.Header) (match, unless items.Match, err error) {
	match, given, err := ifMatch(h)
	if err == nil && !given {
		err = &problem{
			Code: "if_match.required",
			Detail: "Send If-Match with the item's etag as it was read, quotes included, or * if its version does " +
				"not matter. PUT with If-None-Match: * creates an item.",
		}
	}
	return match, ifNoneMatch(h), err
}

// precondition holds If-Match of a read against the tag of what was read.
func precondition(c *call, tag string) error {
	match, given, err := ifMatch(c.Header)
	if err != nil || !given || match.Matches(tag) { // a weak tag is none of those in match
		return err
	}
	detail := "None of the ETags in If-Match is that of the item as it is now, " + tag + "."
	if strings.HasPrefix(tag, "W/") {
		detail = "The ETag of a list is weak, and If-Match is about strong ones (RFC 9110, section 13.1.1): of a " +
			"list it can be * alone."
	}
	return &problem{Code: "item.changed", Detail: detail}
}

// createsOnly reports whether a request is only to create (RFC 9110, section 13.1.2).
func createsOnly(h http.Header) bool {
	return len(h.Values("If-Match")) == 0 && strings.TrimSpace(strings.Join(h.Values("If-None-Match"), ",")) == "*"
}

// acceptsGzip reads Accept-Encoding (RFC 9110, section 12.5.3). Without the
// header nothing is compressed.
func acceptsGzip(values []string) bool {
	accepted := false
	for part := range strings.SplitSeq(strings.Join(values, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		coding = strings.ToLower(strings.TrimSpace(coding))
		if coding != "gzip" && coding != "*" {
			continue
		}
		accepted = quality(params) > 0
		if coding == "gzip" {
			return accepted
		}
	}
	return accepted
}

// quality is the weight among the parameters of a media range or a coding (RFC
// 9110, section 12.4.2): 1 where there is none, 0 where it cannot be read.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(param)), "q="); ok {
			weight, err := strconv.ParseFloat(q, 64)
			if err != nil {
				return 0
			}
			return weight
		}
	}
	return 1
}

// prefersMinimal reads Prefer (RFC 7240, section 4.2).
func prefersMinimal(h http.Header) bool {
	for part := range strings.SplitSeq(strings.Join(h.Values("Prefer"), ","), ",") {
		preference, _, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.ReplaceAll(strings.TrimSpace(preference), " ", ""), "return=minimal") {
			return true
		}
	}
	return false
}
