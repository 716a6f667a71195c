package items

import (
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

// Form is the mechanics for another type than Content.
type Form struct{ *form }

// FormOf is Content's part played by T.
func FormOf[T any]() Form { return Form{formOf(reflect.TypeFor[T]())} }

func (f Form) Read(members map[string]jsontext.Value) (Draft, error) { return f.read(members) }

func (f Form) Patch(members map[string]jsontext.Value) (Edit, error) { return f.patch(members) }

func (f Form) FromStore(text, shape string) (Draft, []string, error) { return f.fromStore(text, shape) }

func (f Form) Names() []string { return f.names() }

// ContentMembers are the names of Content's members, and Required those of them that
// must be there.
func ContentMembers() (names, required []string) {
	for _, m := range contentForm.members {
		names = append(names, m.name)
		if m.required {
			required = append(required, m.name)
		}
	}
	return names, required
}

// Shown is the draft as clients see it, and Kept what they do not.
func (d Draft) Shown() string { return string(d.content) }
func (d Draft) Kept() string  { return string(d.kept) }

func MergePatch(target, patch jsontext.Value) (jsontext.Value, error) {
	return mergePatch(target, patch)
}
