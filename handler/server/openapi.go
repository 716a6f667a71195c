package server

import (
	_ "embed"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"itemsapi/handler/items"
)

// description is the API's description, OpenAPI 3.1, written by hand. Every
// exchange of this package's tests is held against it. What depends on the
// settings, and what the content of an item decides, stands in braces.
//
//go:embed openapi.json
var description string

// SignIn is what the description tells clients about getting tokens. Nothing in
// it decides who may call.
type SignIn struct {
	AuthorizationURL, TokenURL string
	AppIDURI                   string // prefix of the full scope values
}

// Description returns the API's description with the settings and the content's schema
// filled in. Of c it needs Collection, SignIn and the scopes.
func (c Config) Description() ([]byte, error) {
	filled, err := describeContent(items.Schema, items.Members)
	if err != nil {
		return nil, err
	}
	text := jsontext.Value(strings.NewReplacer(
		"{authorizationURL}", inString(c.SignIn.AuthorizationURL),
		"{tokenURL}", inString(c.SignIn.TokenURL),
		"{appIDURI}", inString(c.SignIn.AppIDURI),
		"{collection}", c.Collection,
		"{readScope}", inString(c.ReadScope),
		"{writeScope}", inString(c.WriteScope),
	).Replace(filled))
	if err := text.Indent(jsontext.WithIndent("  ")); err != nil { // YAML has no tabs
		return nil, fmt.Errorf("fill in the description: %w", err)
	}
	return append(text, '\n'), nil
}

// describeContent is the description with a content's schema filled in, and the names
// of an item's members.
func describeContent(contentSchema string, members []string) (string, error) {
	var schema struct {
		Required   []string                  `json:"required"`
		Properties jsontext.Value            `json:"properties"`
		Filters    map[string]jsontext.Value `json:"x-filters"`
	}
	if err := jsonv2.Unmarshal([]byte(contentSchema), &schema); err != nil {
		return "", fmt.Errorf("read the content's schema: %w", err)
	}
	content, named, err := nameObjects(schema.Properties)
	if err != nil {
		return "", fmt.Errorf("read the content's properties: %w", err)
	}
	text := jsontext.Value(description)
	if err := text.Compact(); err != nil {
		return "", fmt.Errorf("read the description: %w", err)
	}
	var filters, references []string
	for _, name := range slices.Sorted(maps.Keys(schema.Filters)) {
		parameter := schema.Filters[name]
		if err := parameter.Compact(); err != nil {
			return "", fmt.Errorf("read the filter %s: %w", name, err)
		}
		filters = append(filters, fmt.Sprintf(`%[1]q:{"name":%[1]q,"in":"query",%[2]s`, name, parameter[1:]))
		references = append(references, fmt.Sprintf(`{"$ref":"#/components/parameters/%s"}`, name))
	}
	filled := string(text)
	for mark, elements := range map[string][]string{
		`"{content}":{}`: content,
		`"{named}":{}`:   named,
		`"{required}"`:   quote(schema.Required...),
		`"{members}"`:    quote(members...),
		`"{filters}":{}`: filters,
		`"{filterRefs}"`: references,
	} {
		if len(elements) == 0 {
			filled = strings.NewReplacer(mark+",", "", ","+mark, "", mark, "").Replace(filled)
		}
		filled = strings.ReplaceAll(filled, mark, strings.Join(elements, ","))
	}
	return filled, nil
}

// nameObjects makes a schema of its own of each member that is an object, as generators
// make a type of each place where a schema stands without a name.
func nameObjects(properties jsontext.Value) (members, named []string, err error) {
	if err := properties.Compact(); err != nil {
		return nil, nil, err
	}
	dec := jsontext.NewDecoder(strings.NewReader(string(properties)))
	if _, err := dec.ReadToken(); err != nil {
		return nil, nil, err
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, nil, err
		}
		name := token.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, nil, err
		}
		schema := string(value)
		var is struct {
			Type any `json:"type"`
		}
		if err := jsonv2.Unmarshal(value, &is); err != nil {
			return nil, nil, err
		}
		if is.Type == "object" && name != "" {
			title := "Item" + strings.ToUpper(name[:1]) + name[1:]
			// The two mean the same, and NSwag makes a dictionary of the second alone.
			schema = strings.ReplaceAll(schema, `"additionalProperties":true`, `"additionalProperties":{}`)
			named = append(named, quote(title)[0]+":"+schema)
			schema = `{"$ref":` + quote("#/components/schemas/" + title)[0] + `}`
		}
		members = append(members, quote(name)[0]+":"+schema)
	}
	return members, named, nil
}

// quote makes JSON strings.
func quote(texts ...string) []string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = `"` + inString(text) + `"`
	}
	return quoted
}

// inString is a text as it stands within a JSON string.
func inString(text string) string {
	quoted, _ := jsontext.AppendQuote(nil, text) // settings are in UTF-8
	return string(quoted[1 : len(quoted)-1])
}

// openAPI answers with the description, which is nobody's secret.
func (s *server) openAPI(*call) (*answer, error) {
	described, err := s.described()
	if err != nil {
		return nil, err // the files of this repository are wrong, which tests tell
	}
	return &answer{status: http.StatusOK, header: http.Header{
		"Content-Type":  {"application/json"},
		"Cache-Control": {"no-cache"},
	}, body: described, collection: true}, nil
}
