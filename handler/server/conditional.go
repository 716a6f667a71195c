package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"

	"itemsapi/handler/items"
)

// compressAbove is the size, in bytes, from which compressing a list pays.
const compressAbove = 1 << 10

// maxIfMatch is how long If-Match may be, in bytes.
const maxIfMatch = 4 << 10

// finish does what an answer's content decides: a list's entity tag, 304 where
// the client has the same already, and compression.
func finish(c *call, a *answer) *answer {
	if a.status != http.StatusOK || c.route == "/" || c.Method != http.MethodGet && c.Method != http.MethodHead {
		return a
	}
	if a.collection {
		// Weak: the bytes differ by encoding, the list does not (RFC 9110, 8.8.1).
		sum := sha256.Sum256(a.body)
		a.header["Etag"] = []string{`W/"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
		a.header.Set("Vary", "Authorization, Accept, Accept-Encoding")
	}
	if anyTagMatches(c.Header.Values("If-None-Match"), a.header.Get("ETag")) {
		a.header.Del("Content-Type")
		return &answer{status: http.StatusNotModified, header: a.header}
	}
	if a.collection && len(a.body) > compressAbove && acceptsGzip(c.Header.Values("Accept-Encoding")) {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // the level is valid
		_, _ = z.Write(a.body)                          // memory does not fail
		_ = z.Close()
		a.body = b.Bytes()
		a.header.Set("Content-Encoding", "gzip")
	}
	return a
}

// anyTagMatches reports whether a list of entity tags, or *, has tag by weak
// comparison (RFC 9110, sections 8.8.3.2 and 13.1.2). What is not a list matches
// nothing, so that the client gets the answer.
func anyTagMatches(values []string, tag string) bool {
	list := strings.TrimSpace(strings.Join(values, ","))
	if list == "*" {
		return true
	}
	tag = strings.TrimPrefix(tag, "W/")
	for list != "" {
		list = strings.TrimLeft(list, " \t,")
		list = strings.TrimPrefix(list, "W/")
		if !strings.HasPrefix(list, `"`) {
			return false
		}
		end := strings.IndexByte(list[1:], '"')
		if end < 0 {
			return false
		}
		if list[:end+2] == tag {
			return true
		}
		list = list[end+2:]
	}
	return false
}

// ifMatch reads If-Match (RFC 9110, section 13.1.1), which a change must have. A
// weak tag in it matches nothing.
func ifMatch(h http.Header) (items.Match, error) {
	list := strings.TrimSpace(strings.Join(h.Values("If-Match"), ","))
	if list == "" {
		detail := "Send If-Match with the item's etag as it was read, quotes included, or * if its version does " +
			"not matter."
		return items.Match{}, &problem{
			Code:   "if_match.required",
			Detail: detail + " PUT with If-None-Match: * creates an item.",
		}
	}
	if list == "*" {
		return items.Match{Any: true}, nil
	}
	var m items.Match
	malformed := &problem{
		Code:   "parameter.invalid",
		Detail: `If-Match must be *, or ETags in double quotes with commas between them.`,
	}
	if len(list) > maxIfMatch {
		return m, malformed
	}
	for found := false; ; found = true {
		list = strings.TrimLeft(list, " \t,")
		if list == "" && found {
			return m, nil
		}
		tag, weak := strings.CutPrefix(list, "W/")
		end := strings.IndexByte(strings.TrimPrefix(tag, `"`), '"')
		if !strings.HasPrefix(tag, `"`) || end < 0 ||
			strings.ContainsFunc(tag[1:end+1], func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			return m, malformed
		}
		if !weak {
			m.Tags = append(m.Tags, tag[:end+2])
		}
		list = strings.TrimLeft(tag[end+2:], " \t")
		if list != "" && list[0] != ',' {
			return m, malformed
		}
	}
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
