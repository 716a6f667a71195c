package entra

// The token's own JSON reader. It is here for speed: reading a token takes 3 % of a
// verification, where github.com/go-json-experiment/json, strict in the same way, takes
// 9 %, all of it before the signature was checked. FuzzScan holds it against that one.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep a token's JSON may nest; a claim of a custom policy can be an
// object. Only the token's size bounds the number of members: a user of B2C can have
// 100 custom attributes.
const maxDepth = 8

var (
	errJSON  = errors.New("not one JSON object with unique member names, in UTF-8")
	errDepth = fmt.Errorf("nested deeper than %d levels", maxDepth)
)

// value is one JSON value in a token. Its text is the token's own bytes.
type value struct {
	kind byte // one of { [ " 0 t n: object, array, string, number, boolean, null
	text string
}

// scanObject reads data, which must be one JSON object (RFC 8259) and nothing
// else, and calls visit with each member of the outermost level. It refuses
// what two readers could understand differently: invalid UTF-8, lone
// surrogates, and names that are twice in an object, escapes resolved (RFC
// 8725, section 2.6, tells why). Nothing is matched without regard to case.
func scanObject(data string, visit func(name string, v value)) error {
	if !utf8.ValidString(data) {
		return errJSON
	}
	s := scanner{data: data, plain: !hasControl(data) && strings.IndexByte(data, '\\') < 0}
	s.space()
	if !s.object(1, visit) {
		if s.tooDeep {
			return errDepth
		}
		return errJSON
	}
	s.space()
	if s.pos != len(data) {
		return errJSON
	}
	return nil
}

// hasControl reports whether there are control characters, which no string may have. It
// looks at eight bytes at a time: one that is below 0x20 borrows when that is taken from it.
func hasControl(data string) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	rest := bytesOf(data)
	for ; len(rest) >= 8; rest = rest[8:] {
		if x := binary.LittleEndian.Uint64(rest); (x-0x20*each)&^x&high != 0 {
			return true
		}
	}
	for _, c := range rest {
		if c < 0x20 {
			return true
		}
	}
	return false
}

type scanner struct {
	data    string
	plain   bool // no string can have an escape or anything that is not allowed in one
	pos     int
	tooDeep bool
}

func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *scanner) object(depth int, visit func(name string, v value)) bool {
	if s.tooDeep = depth > maxDepth; s.tooDeep || !s.take('{') {
		return false
	}
	var names nameSet
	s.space()
	if s.take('}') {
		return true
	}
	for {
		s.space()
		raw, ok := s.text()
		if !ok {
			return false
		}
		name := unescape(raw)
		if !names.add(name) {
			return false
		}
		s.space()
		if !s.take(':') {
			return false
		}
		v, ok := s.value(depth)
		if !ok {
			return false
		}
		if visit != nil {
			visit(name, v)
		}
		s.space()
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// nameSet is the names of one object. Comparing each with all others would let a
// token of thousands of names take milliseconds.
type nameSet struct {
	seen uint64 // a bit for each length, so that most names are compared with few
	few  [32]string
	n    int
	many map[string]struct{}
}

// add reports false where the name is there already.
func (s *nameSet) add(name string) bool {
	if s.n < len(s.few) {
		bit := uint64(1) << (len(name) % 64)
		if s.seen&bit != 0 && slices.Contains(s.few[:s.n], name) {
			return false
		}
		s.seen |= bit
		s.few[s.n] = name
		s.n++
		return true
	}
	if s.many == nil {
		s.many = make(map[string]struct{}, 2*len(s.few))
		for _, one := range s.few {
			s.many[one] = struct{}{}
		}
	}
	before := len(s.many)
	s.many[name] = struct{}{}
	return len(s.many) > before
}

func (s *scanner) array(depth int) bool {
	if s.tooDeep = depth > maxDepth; s.tooDeep || !s.take('[') {
		return false
	}
	s.space()
	if s.take(']') {
		return true
	}
	for {
		if _, ok := s.value(depth); !ok {
			return false
		}
		s.space()
		if s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) value(depth int) (value, bool) {
	s.space()
	start := s.pos
	switch c := s.peek(); c {
	case '{':
		ok := s.object(depth+1, nil)
		return value{'{', s.data[start:s.pos]}, ok
	case '[':
		ok := s.array(depth + 1)
		return value{'[', s.data[start:s.pos]}, ok
	case '"':
		raw, ok := s.text()
		return value{'"', raw}, ok
	case 't':
		return value{'t', ""}, s.word("true")
	case 'f':
		return value{'t', ""}, s.word("false")
	case 'n':
		return value{'n', ""}, s.word("null")
	default:
		ok := s.number()
		return value{'0', s.data[start:s.pos]}, ok
	}
}

func (s *scanner) word(w string) bool {
	if !strings.HasPrefix(s.data[s.pos:], w) {
		return false
	}
	s.pos += len(w)
	return true
}

func (s *scanner) number() bool {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return false
	}
	if s.take('.') && !s.digits() {
		return false
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.pos
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.pos++
	}
	return s.pos > start
}

// text reads a string and returns what stands between its quotes, escapes and
// all. unescape cannot fail on what text let through.
func (s *scanner) text() (string, bool) {
	if !s.take('"') {
		return "", false
	}
	start := s.pos
	if s.plain {
		end := strings.IndexByte(s.data[start:], '"')
		if end < 0 {
			return "", false
		}
		s.pos = start + end + 1
		return s.data[start : start+end], true
	}
	for i := start; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			s.pos = i + 1
			return s.data[start:i], true
		case c < 0x20:
			return "", false
		case c == '\\':
			if s.pos = i; !s.escape() {
				return "", false
			}
			i = s.pos - 1
		}
	}
	return "", false
}

func (s *scanner) escape() bool {
	if s.pos+1 >= len(s.data) {
		return false
	}
	switch s.data[s.pos+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos += 2
		return true
	case 'u':
		r, ok := hex4(s.data[s.pos+2:])
		if !ok || r >= 0xDC00 && r <= 0xDFFF {
			return false
		}
		s.pos += 6
		if r < 0xD800 || r > 0xDBFF {
			return true
		}
		low := s.data[s.pos:]
		if len(low) < 6 || low[0] != '\\' || low[1] != 'u' {
			return false
		}
		r, ok = hex4(low[2:])
		if !ok || r < 0xDC00 || r > 0xDFFF {
			return false
		}
		s.pos += 6
		return true
	}
	return false
}

func hex4(digits string) (rune, bool) {
	if len(digits) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range []byte(digits[:4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// unescape resolves the escapes of a string that text has checked. Without
// escapes, which is B2C's every string, it returns raw itself.
func unescape(raw string) string {
	i := strings.IndexByte(raw, '\\')
	if i < 0 {
		return raw
	}
	out := append(make([]byte, 0, len(raw)), raw[:i]...)
	for i < len(raw) {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			i++
			continue
		}
		switch c := raw[i+1]; c {
		case 'u':
			r, _ := hex4(raw[i+2:])
			i += 6
			if r >= 0xD800 && r <= 0xDBFF {
				low, _ := hex4(raw[i+2:])
				r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
				i += 6
			}
			out = utf8.AppendRune(out, r)
			continue
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		default:
			out = append(out, c)
		}
		i += 2
	}
	return string(out)
}
