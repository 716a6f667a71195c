package items

import (
	"bytes"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// object is a JSON object whose members stay in their order and as they were written,
// so that numbers keep their digits.
type object struct{ members []namedValue }

type namedValue struct {
	name  string
	value jsontext.Value
}

// objectOf takes a JSON object apart.
func objectOf(v jsontext.Value) (o object, err error) {
	dec := jsontext.NewDecoder(bytes.NewReader(v))
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return o, fmt.Errorf("not an object")
	}
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return o, err
		}
		said := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return o, err
		}
		o.members = append(o.members, namedValue{said, value.Clone()})
	}
	if _, err := dec.ReadToken(); err != nil {
		return o, err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return o, fmt.Errorf("something follows the object")
	}
	return o, nil
}

func (o *object) index(name string) int {
	for i := range o.members {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

// take removes a member, and returns its value, or nil.
func (o *object) take(name string) jsontext.Value {
	i := o.index(name)
	if i < 0 {
		return nil
	}
	value := o.members[i].value
	o.members = append(o.members[:i], o.members[i+1:]...)
	return value
}

func (o *object) set(name string, value jsontext.Value) {
	if i := o.index(name); i >= 0 {
		o.members[i].value = value
		return
	}
	o.members = append(o.members, namedValue{name, value})
}

func (o *object) value() jsontext.Value {
	b := jsontext.Value("{")
	for i, m := range o.members {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, m.name) // it was read from valid JSON
		b = append(append(b, ':'), m.value...)
	}
	return append(b, '}')
}

// mergePatch applies a merge patch to a value (RFC 7396, section 2). The target may be
// nil, which means that there is no value yet. Both are valid JSON, without
// insignificant whitespace and of bounded depth, as each level is read once for each
// level above it; so is the result.
func mergePatch(target, patch jsontext.Value) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		return patch, nil
	}
	p, err := objectOf(patch)
	if err != nil {
		return nil, fmt.Errorf("read the patch: %w", err)
	}
	var o object
	if target != nil && target.Kind() == '{' {
		if o, err = objectOf(target); err != nil {
			return nil, fmt.Errorf("read the value: %w", err)
		}
	}
	return o.merge(p)
}

func (o *object) merge(patch object) (jsontext.Value, error) {
	// Looking each name up in a long list would take the square of its length.
	place := make(map[string]int, len(o.members))
	for i, m := range o.members {
		place[m.name] = i
	}
	for _, m := range patch.members {
		i, known := place[m.name]
		var old jsontext.Value
		if known {
			old = o.members[i].value
		}
		var merged jsontext.Value
		if m.value.Kind() != 'n' {
			var err error
			if merged, err = mergePatch(old, m.value); err != nil {
				return nil, err
			}
		}
		switch {
		case known:
			o.members[i].value = merged
		case merged != nil:
			o.members = append(o.members, namedValue{m.name, merged})
		}
	}
	left := o.members[:0]
	for _, m := range o.members {
		if m.value != nil {
			left = append(left, m)
		}
	}
	o.members = left
	return o.value(), nil
}
