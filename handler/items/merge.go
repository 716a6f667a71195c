package items

import (
	"encoding/json"
	"fmt"
	"strings"
)

// node is a JSON value. An object's members stay in their order; what is no
// object stays as it was written, so that numbers keep their digits.
type node struct {
	raw     string // if it is no object
	object  bool
	names   []name
	members map[string]*node // by what their names say
}

// name is an object's name: as it was written, and what it says.
type name struct{ raw, says string }

// mergePatch applies a merge patch to a value (RFC 7396, section 2). The target
// may be nil, for there is none. Both are valid JSON without blanks between
// tokens, in which no object has a name twice; so is the result.
func mergePatch(target, patch json.RawMessage) (json.RawMessage, error) {
	t := &node{raw: "null"}
	var err error
	if target != nil {
		if t, _, err = parse(string(target)); err != nil {
			return nil, fmt.Errorf("read the value: %w", err)
		}
	}
	p, _, err := parse(string(patch))
	if err != nil {
		return nil, fmt.Errorf("read the patch: %w", err)
	}
	return json.RawMessage(t.merge(p).append(nil)), nil
}

func (n *node) merge(patch *node) *node {
	if !patch.object {
		return patch
	}
	if !n.object {
		n = &node{object: true, members: map[string]*node{}}
	}
	for _, name := range patch.names {
		value := patch.members[name.says]
		old, known := n.members[name.says]
		switch {
		case value.raw == "null":
			delete(n.members, name.says)
		case known:
			n.members[name.says] = old.merge(value)
		default:
			n.names = append(n.names, name)
			n.members[name.says] = (&node{raw: "null"}).merge(value)
		}
	}
	return n
}

func (n *node) append(b []byte) []byte {
	if !n.object {
		return append(b, n.raw...)
	}
	b = append(b, '{')
	for _, name := range n.names {
		value, ok := n.members[name.says]
		if !ok {
			continue // it was removed
		}
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(b, name.raw...), ':')
		b = value.append(b)
	}
	return append(b, '}')
}

// parse reads the value that s begins with, and returns what follows it. The
// standard decoder would read a nested value once for each level.
func parse(s string) (n *node, rest string, err error) {
	if !strings.HasPrefix(s, "{") {
		end := valueEnd(s)
		return &node{raw: s[:end]}, s[end:], nil
	}
	n = &node{object: true, members: map[string]*node{}}
	for rest = s[1:]; !strings.HasPrefix(rest, "}"); rest = strings.TrimPrefix(rest, ",") {
		end := valueEnd(rest)
		name := name{raw: rest[:end]}
		if err := json.Unmarshal([]byte(name.raw), &name.says); err != nil || !strings.HasPrefix(rest[end:], ":") {
			return nil, "", fmt.Errorf("%.20q is no member", rest)
		}
		var value *node
		if value, rest, err = parse(rest[end+1:]); err != nil {
			return nil, "", err
		}
		n.names = append(n.names, name)
		n.members[name.says] = value
	}
	return n, rest[1:], nil
}

// valueEnd is where the value ends that s begins with: before the comma, the
// brace or the bracket after it that is not its own.
func valueEnd(s string) int {
	level, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
		case level == 0 && (c == ',' || c == ':' || c == '}' || c == ']'):
			return i
		case c == '}' || c == ']':
			level--
		}
	}
	return len(s)
}
