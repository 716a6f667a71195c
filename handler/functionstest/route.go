package functionstest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"
)

// function is one function.json with an httpTrigger.
type function struct {
	name      string
	pattern   string // "/api/items/{*path}"
	segments  []segment
	methods   []string // upper case; never empty
	authLevel string
}

type segment struct {
	literal  string // "" for a parameter
	optional bool
	rest     bool // {*path}: any number of segments
}

// newFunction reads a route template of ASP.NET. Constraints, defaults and segments
// that mix text with parameters are refused.
func newFunction(name, prefix, route string, methods []string) (*function, error) {
	f := &function{name: name, pattern: "/" + strings.Trim(strings.Trim(prefix, "/")+"/"+strings.Trim(route, "/"), "/")}
	for _, method := range methods {
		f.methods = append(f.methods, strings.ToUpper(method))
	}
	if len(f.methods) == 0 {
		f.methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	}
	for part := range strings.SplitSeq(strings.Trim(f.pattern, "/"), "/") {
		inner, open := strings.CutPrefix(part, "{")
		inner, closed := strings.CutSuffix(inner, "}")
		var s segment
		switch {
		case open && closed && strings.Trim(inner, "*") != "":
			inner, s.rest = trimStars(inner)
			inner, s.optional = strings.CutSuffix(inner, "?")
			if strings.ContainsAny(inner, "{}*?:=") {
				return nil, fmt.Errorf("%s: only {name}, {name?} and {*name} are known here", part)
			}
		case part != "" && !strings.ContainsAny(part, "{}*?"):
			s.literal = part
		case f.pattern != "/":
			return nil, fmt.Errorf("%q is not a route segment known here", part)
		}
		f.segments = append(f.segments, s)
	}
	if f.pattern == "/" {
		f.segments = nil
	}
	for i, s := range f.segments {
		if last := i == len(f.segments)-1; !last && (s.rest || s.optional) {
			return nil, fmt.Errorf("%s: only the last segment can be optional or {*name}", route)
		}
	}
	return f, nil
}

func trimStars(name string) (string, bool) {
	trimmed := strings.TrimLeft(name, "*")
	return trimmed, trimmed != name
}

// match compares a decoded path, without regard to case.
func (f *function) match(path string) bool {
	var parts []string
	if path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"); path != "" {
		parts = strings.Split(path, "/")
	}
	for i, part := range parts {
		switch {
		case part == "" || i == len(f.segments): // {*path} may have a double slash inside, not before
			return false
		case f.segments[i].rest:
			return true
		case f.segments[i].literal != "" && !strings.EqualFold(f.segments[i].literal, part):
			return false
		}
	}
	missing := f.segments[len(parts):]
	return len(missing) == 0 || missing[0].optional || missing[0].rest
}

// find returns the first function that answers method on path, nil if there is none.
func (a *app) find(method, path string) *function {
	for _, f := range a.functions {
		if slices.Contains(f.methods, method) && f.match(path) {
			return f
		}
	}
	return nil
}

// decodePath decodes a path as the host's server does before routing: percent
// escapes once, but never %2F, then dot segments. A path that would not be UTF-8
// stays as it is. It fails on %00 and on bytes that a request line cannot hold.
func decodePath(raw string) (string, bool) {
	decoded := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] <= ' ' || raw[i] >= 0x7f {
			return "", false
		}
		c := raw[i]
		if c == '%' && i+2 < len(raw) {
			if n, ok := unhex(raw[i+1], raw[i+2]); ok && n != '/' {
				if n == 0 {
					return "", false
				}
				c = n
				i += 2
			}
		}
		decoded = append(decoded, c)
	}
	path := string(decoded)
	if !utf8.ValidString(path) {
		path = raw
	}
	return removeDotSegments(path), true
}

func removeDotSegments(path string) string {
	parts := strings.Split(path, "/")
	kept := parts[:1]
	for i, part := range parts[1:] {
		last := i == len(parts)-2
		switch part {
		case ".", "..":
			if part == ".." && len(kept) > 1 {
				kept = kept[:len(kept)-1]
			}
			if last {
				kept = append(kept, "")
			}
		default:
			kept = append(kept, part)
		}
	}
	if len(kept) == 1 {
		return "/"
	}
	return strings.Join(kept, "/")
}

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	pathSafe     = alphanumeric + "-._~!$&'()*+,;=:@/"
	urlSafe      = alphanumeric + "-._~!$()*,;@" // of a query value that .NET's UrlEncoder writes
	queryIllegal = "\"<>`{}|^\\#"
)

func escape(text, safe string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; strings.IndexByte(safe, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// proxyTarget is the request target in proxy mode: the decoded path is encoded
// again, so that %2F, which was not decoded, becomes %252F. The query stays but for
// what no URL may hold, and escapes of bytes over 127 come out in upper case.
func proxyTarget(path, query string) string {
	var b strings.Builder
	b.WriteString(escape(path, pathSafe))
	for i := 0; i < len(query); i++ {
		c := query[i]
		bare := c == '%'
		if bare && i+2 < len(query) {
			n, hex := unhex(query[i+1], query[i+2])
			bare = !hex
			if hex && n >= 0x80 {
				c = n
				i += 2
			}
		}
		if bare || c <= ' ' || c >= 0x7f || strings.IndexByte(queryIllegal, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// forwardTarget is the request target in forward mode, where the decoded path is
// read once more as a URL: ? and # cut it, escapes that are left are kept, and the
// query is rebuilt from a dictionary.
func forwardTarget(path, query string) string {
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i]
	}
	path = strings.ReplaceAll(path, `\`, "/")
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if n, ok := unhex(path[i+1], path[i+2]); ok {
				if strings.IndexByte(alphanumeric+"-._~", n) >= 0 {
					b.WriteByte(n)
				} else {
					b.WriteString(path[i : i+3])
				}
				i += 2
				continue
			}
		}
		b.WriteString(escape(path[i:i+1], pathSafe+"[]"))
	}
	return removeDotSegments(b.String()) + forwardQuery(query)
}

// forwardQuery joins the values of a key that comes twice, in any case, by commas. The
// key is spelled as the second time.
func forwardQuery(query string) string {
	type entry struct {
		key    string
		values []string
	}
	var entries []*entry
	for pair := range strings.SplitSeq(strings.TrimPrefix(query, "?"), "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		key, value = queryUnescape(key), queryUnescape(value)
		i := slices.IndexFunc(entries, func(e *entry) bool { return strings.EqualFold(e.key, key) })
		if i < 0 {
			entries = append(entries, &entry{key, []string{value}})
			continue
		}
		e := entries[i]
		if len(e.values) == 1 {
			e.key = key
		}
		e.values = append(e.values, value)
	}
	var b strings.Builder
	separator := byte('?')
	for _, e := range entries {
		b.WriteByte(separator)
		separator = '&'
		b.WriteString(escape(e.key, urlSafe) + "=" + escape(strings.Join(e.values, ","), urlSafe))
	}
	return b.String()
}

func queryUnescape(text string) string {
	text = strings.ReplaceAll(text, "+", " ")
	if decoded, err := url.PathUnescape(text); err == nil {
		text = decoded
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

func unhex(a, b byte) (byte, bool) {
	hi, lo := strings.IndexByte("0123456789abcdef", a|0x20), strings.IndexByte("0123456789abcdef", b|0x20)
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}
