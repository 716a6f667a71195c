package items

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// This file derives from the type Content what its members are, and reads them.

// form is what there is to know of a content's Go type.
type form struct {
	goType  reflect.Type
	members []member
	// shape names all that decides how the type's JSON looks.
	shape string
}

type member struct {
	name     string
	field    int
	required bool
}

var contentForm = formOf(reflect.TypeFor[Content]())

// formOf panics where the type is not as Content has to be.
func formOf(t reflect.Type) *form {
	f := &form{goType: t}
	h := fnv.New32a()
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" || name == "-" || !field.IsExported() {
			panic(fmt.Sprintf("items: the field %s of %s needs an exported name and a JSON name", field.Name, t))
		}
		optional := slices.Contains(strings.Split(options, ","), "omitzero")
		f.members = append(f.members, member{name, i, !optional})
		fmt.Fprintf(h, "%s %s %v\n", name, field.Tag, field.Type)
	}
	f.shape = hex.EncodeToString(binary.BigEndian.AppendUint32(nil, h.Sum32()))
	return f
}

// Draft is valid content on its way to a store, or as it comes from there.
type Draft struct {
	// content is the JSON object of a Content, as clients see it, and shape its form's.
	content jsontext.Value
	shape   string
	// kept are stored members that Content lacks: an earlier version of it had them.
	// Answers leave them out; a patch keeps them, a replacement does not.
	kept jsontext.Value
}

// Read makes a draft of the members of a client's JSON object. Each value must be
// valid JSON without insignificant whitespace, in which no object has a name twice. It
// returns an [*InvalidError] that lists everything that is wrong.
func Read(members map[string]jsontext.Value) (Draft, error) { return contentForm.read(members) }

func (f *form) read(members map[string]jsontext.Value) (Draft, error) {
	problems := f.unknown(members)
	v := reflect.New(f.goType)
	wrong := map[string]bool{} // pointers of members about which enough is said
	report := func(name, pointer, detail string) {
		problems = append(problems, Problem{Pointer(name) + pointer, detail})
		wrong[Pointer(name)] = true
	}
	for _, m := range f.members {
		raw, ok := members[m.name]
		field := v.Elem().Field(m.field)
		switch {
		case !ok && m.required:
			report(m.name, "", "required: "+wanted(field.Type()))
		case !ok:
		case raw.Kind() == 'n':
			detail := "must be " + wanted(field.Type()) + ", not null"
			if !m.required {
				detail += "; leave the member out where there is none"
			}
			report(m.name, "", detail)
		default:
			if err := checkTree(raw, maxDepth); err != nil {
				report(m.name, "", err.Error())
				continue
			}
			if err := json.Unmarshal(raw, field.Addr().Interface(), json.RejectUnknownMembers(true)); err != nil {
				pointer, detail := mismatch(err)
				report(m.name, pointer, detail)
			}
		}
	}
	if c, ok := v.Interface().(interface{ Validate() []Problem }); ok {
		for _, p := range c.Validate() {
			first, _, _ := strings.Cut(strings.TrimPrefix(p.Pointer, "/"), "/")
			if !wrong["/"+first] {
				problems = append(problems, p)
			}
		}
	}
	if problems != nil {
		return Draft{}, &InvalidError{Problems: problems}
	}
	content, err := json.Marshal(v.Interface())
	if err != nil {
		return Draft{}, fmt.Errorf("encode the content: %w", err)
	}
	if len(content) > MaxContent {
		detail := fmt.Sprintf("has %d bytes as JSON; at most %d are kept", len(content), MaxContent)
		return Draft{}, &InvalidError{Problems: []Problem{{"", detail}}}
	}
	return Draft{content: content, shape: f.shape}, nil
}

// MaxContent is the most bytes of JSON that an item's content may have.
const MaxContent = 192 << 10

// maxDepth is how deep a member's value may nest: Go's reader of JSON gives up at 10,000
// levels, and every part of this package that goes down must come up again.
const maxDepth = 100

func (f *form) unknown(members map[string]jsontext.Value) (problems []Problem) {
	names := f.names()
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(names, name) {
			detail := "unknown member; an item has " + strings.Join(names, ", ")
			problems = append(problems, Problem{Pointer(name), detail})
		}
	}
	return problems
}

func (f *form) names() []string {
	var names []string
	for _, m := range f.members {
		names = append(names, m.name)
	}
	return names
}

// mismatch says where and why a value does not fit its Go type.
func mismatch(err error) (pointer, detail string) {
	semantic, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return "", "cannot be read: " + err.Error()
	}
	pointer = string(semantic.JSONPointer)
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return pointer, "unknown member"
	case semantic.GoType == nil || wantedKind(semantic.GoType) == kind(semantic.JSONKind):
		cause := semantic.Err
		if cause == nil {
			cause = errors.New("not one that fits")
		}
		return pointer, "must be " + wanted(semantic.GoType) + ": " + cause.Error()
	}
	return pointer, "must be " + wanted(semantic.GoType) + ", not " + kindName(semantic.JSONKind)
}

// wanted names the JSON that a Go type takes.
func wanted(t reflect.Type) string {
	if t == nil {
		return "of another form"
	}
	switch t {
	case reflect.TypeFor[time.Time]():
		return "a time as in RFC 3339, such as 2026-11-24T20:26:31.543Z"
	case reflect.TypeFor[jsontext.Value]():
		return "JSON"
	}
	return map[jsontext.Kind]string{
		'"': "a string", 't': "true or false", '0': numberName(t), '[': "an array", '{': "an object", 0: "JSON",
	}[wantedKind(t)]
}

func numberName(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Float32 || t.Kind() == reflect.Float64 {
		return "a number"
	}
	return fmt.Sprintf("a whole number (%s)", t.Kind())
}

func wantedKind(t reflect.Type) jsontext.Kind {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Time]() {
		return '"'
	}
	if t == reflect.TypeFor[jsontext.Value]() {
		return 0
	}
	switch t.Kind() {
	case reflect.String:
		return '"'
	case reflect.Bool:
		return 't'
	case reflect.Slice, reflect.Array:
		return '['
	case reflect.Struct, reflect.Map:
		return '{'
	case reflect.Interface:
		return 0
	}
	return '0'
}

func kind(k jsontext.Kind) jsontext.Kind {
	if k == 'f' {
		return 't'
	}
	return k
}

func kindOf(v jsontext.Value) string { return kindName(v.Kind()) }

func kindName(k jsontext.Kind) string {
	name, ok := map[jsontext.Kind]string{
		'{': "an object", '[': "an array", '"': "a string", 't': "a boolean", 'f': "a boolean", 'n': "null",
	}[k]
	if !ok {
		return "a number"
	}
	return name
}

// checkTree bounds the depth of valid JSON, and its numbers: one beyond the greatest
// IEEE double would be infinity to most readers.
func checkTree(v jsontext.Value, levels int) error {
	level, quoted := 0, false
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if level++; level > levels {
				return fmt.Errorf("nested too deep; at most %d levels are allowed", levels)
			}
		case c == '}' || c == ']':
			level--
		case c == '-' || '0' <= c && c <= '9':
			end := i + 1
			for end < len(v) && strings.IndexByte("+-.eE0123456789", v[end]) >= 0 {
				end++
			}
			if end-i > 300 || strings.ContainsAny(string(v[i:end]), "eE") {
				var f float64
				if json.Unmarshal(v[i:end], &f) != nil {
					number := string(v[i:end])
					if len(number) > 20 {
						number = number[:20] + "…"
					}
					return fmt.Errorf(
						"has a number, %s, beyond the greatest that most readers take, some 1.8e308",
						number,
					)
				}
			}
			i = end - 1
		}
	}
	return nil
}

func utf16Length(s []byte) int {
	n := 0
	for len(s) > 0 {
		r, size := utf8.DecodeRune(s)
		n += utf16.RuneLen(r)
		s = s[size:]
	}
	return n
}

// Stored returns the draft as text to keep, and the shape that it has.
func (d Draft) Stored() (text, shape string) {
	if d.kept == nil {
		return string(d.content), d.shape
	}
	return string(join(d.content, d.kept)), "kept"
}

// join makes one object of two that have no name in common.
func join(a, b jsontext.Value) jsontext.Value {
	if len(a) == len("{}") {
		return b
	}
	joined := append(slices.Clip(a[:len(a)-1]), ',')
	return append(joined, b[1:]...)
}

// FromStore makes a draft of what [Draft.Stored] returned, now or when Content was
// another type. It does not validate members: what Content lacks is kept aside and named in
// leftOut, what the text lacks, or has in another type, is the zero value.
func FromStore(text, shape string) (d Draft, leftOut []string, err error) {
	return contentForm.fromStore(text, shape)
}

func (f *form) fromStore(text, shape string) (d Draft, leftOut []string, err error) {
	if shape == f.shape {
		content := jsontext.Value(text)
		if !embeds(content) {
			return d, nil, errors.New("stored content is not a JSON object with only the content's members")
		}
		return Draft{content: content, shape: shape}, nil, nil
	}
	stored, err := objectOf(jsontext.Value(text))
	if err != nil {
		return d, nil, fmt.Errorf("read stored content: %w", err)
	}
	v := reflect.New(f.goType)
	for _, m := range f.members {
		if raw := stored.take(m.name); raw != nil {
			field := v.Elem().Field(m.field)
			if json.Unmarshal(raw, field.Addr().Interface()) != nil {
				field.SetZero()
				leftOut = append(leftOut, m.name)
			}
		}
	}
	d.shape = f.shape
	if d.content, err = json.Marshal(v.Interface()); err != nil {
		return d, nil, fmt.Errorf("encode the content: %w", err)
	}
	if len(stored.members) > 0 {
		d.kept = stored.value()
	}
	for _, m := range stored.members {
		leftOut = append(leftOut, m.name)
	}
	return d, leftOut, nil
}

// embeds reports whether an item's own members can stand around those of stored content,
// which [Item.AppendJSON] does without reading it. Only what was written by hand cannot.
func embeds(content jsontext.Value) bool {
	if string(content) == "{}" {
		return true
	}
	if !bytes.HasPrefix(content, []byte(`{"`)) || !bytes.HasSuffix(content, []byte("}")) || !content.IsValid() {
		return false
	}
	for quoted := range quotedNames(content) {
		name := quoted[1 : len(quoted)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name, _ = jsontext.AppendUnquote(nil, quoted) // it is valid
		}
		if slices.Contains(serverMembers, string(name)) {
			return false
		}
	}
	return true
}

// quotedNames are the names of a valid object's members, as they are written.
func quotedNames(object []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		level, named := 0, false
		for i := 0; i < len(object); i++ {
			switch object[i] {
			case '{', '[':
				level++
			case '}', ']':
				level--
			case ',':
				named = named && level > 1
			case '"':
				first := i
				for i++; object[i] != '"'; i++ {
					if object[i] == '\\' {
						i++
					}
				}
				if level == 1 && !named {
					named = true
					if !yield(object[first : i+1]) {
						return
					}
				}
			}
		}
	}
}

// Bytes is how many bytes of content it has.
func (d Draft) Bytes() int { return len(d.content) }

// Typed is the content as Go has it.
func (d Draft) Typed() (c Content, err error) {
	err = json.Unmarshal(d.content, &c)
	return c, err
}
