package server_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/items"
	"itemsapi/handler/server"
)

type object = map[string]any

// walk calls see with each object in a value, and with where it is.
func walk(value any, where string, see func(where string, o object)) {
	switch value := value.(type) {
	case object:
		see(where, value)
		for name, member := range value {
			walk(member, where+"/"+name, see)
		}
	case []any:
		for _, element := range value {
			walk(element, where+"/*", see)
		}
	}
}

// TestDescriptionSuitsGenerators holds the description to what generators of clients can
// live with: Kiota, NSwag, ogen, oapi-codegen, openapi-typescript, hey-api and orval differ in
// what they make of anything else, or refuse it.
func TestDescriptionSuitsGenerators(t *testing.T) {
	text, err := server.Config{Collection: config.Collection, ReadScope: "read", WriteScope: "write"}.Description()
	require.NoError(t, err)
	var doc object
	require.NoError(t, json.Unmarshal(text, &doc))
	components := doc["components"].(object)
	schemas := components["schemas"].(object)
	resolve := func(o object) object {
		reference, isReference := o["$ref"].(string)
		if !isReference {
			return o
		}
		target, known := any(doc), true
		for _, name := range strings.Split(strings.TrimPrefix(reference, "#/"), "/") {
			target, known = target.(object)[name]
			require.True(t, known, reference)
		}
		return target.(object)
	}

	for _, name := range []string{
		"Item", "PartialItem", "Saved", "Page", "Delta", "DeltaEntry", "Draft", "Replacement", "Patch", "Batch",
		"BatchChange", "BatchAnswer", "Problem", "FieldError", "ItemMember",
	} {
		require.Contains(t, schemas, name)
	}
	walk(doc, "", func(where string, o object) {
		for _, union := range []string{"anyOf", "oneOf", "allOf", "not", "discriminator", "if"} {
			require.NotContains(t, o, union, "%s: a union", where)
		}
		if _, isList := o["type"].([]any); isList {
			require.Fail(t, "a union of types", where)
		}
		_, isEnum := o["enum"]
		// A named schema is /components/schemas/Name. What the content has is its own.
		named := strings.Count(where, "/") == 3 && strings.HasPrefix(where, "/components/schemas/")
		ofContent := slices.ContainsFunc(items.Members, func(member string) bool {
			return strings.Contains(where, "/properties/"+member) || strings.Contains(where, "/Item"+strings.ToUpper(member[:1])+member[1:])
		})
		if o["type"] == "object" || isEnum {
			require.True(t, named || ofContent || strings.HasPrefix(where, "/components/parameters/"), "%s has no name", where)
		}
		if named {
			require.True(t, ofContent || o["description"] != nil, "%s has no description", where)
			properties, _ := o["properties"].(object)
			for name, property := range properties {
				if !slices.Contains(items.Members, name) {
					require.NotEmpty(t, resolve(property.(object))["description"], "%s of %s", name, where)
				}
			}
		}
	})

	// Bodies are closed, as other members are refused; answers may get more.
	reached := func(from any) (names []string) {
		var visit func(any)
		visit = func(from any) {
			walk(from, "", func(_ string, o object) {
				reference, _ := o["$ref"].(string)
				name, isSchema := strings.CutPrefix(reference, "#/components/schemas/")
				if isSchema && slices.Contains(names, name) {
					return
				}
				if isSchema {
					names = append(names, name)
				}
				if reference != "" {
					visit(resolve(o))
				}
			})
		}
		visit(from)
		return names
	}
	for path, operations := range doc["paths"].(object) {
		require.NotContains(t, operations, "parameters", "%s: they come last then, where NSwag lists them", path)
		for method, operation := range operations.(object) {
			o := operation.(object)
			name := o["operationId"].(string)
			require.NotEmpty(t, o["summary"], name)
			require.NotEmpty(t, o["description"], name)
			require.Len(t, o["tags"], 1, name)
			for _, schema := range reached(o["requestBody"]) {
				s := schemas[schema].(object)
				if _, declares := s["properties"]; declares {
					require.Equal(t, false, s["additionalProperties"], "%s of %s", schema, name)
				}
			}
			responses := o["responses"].(object)
			for _, schema := range reached(responses) {
				require.NotEqual(t, false, schemas[schema].(object)["additionalProperties"], "%s of %s", schema, name)
			}
			for status, response := range responses {
				if method == "head" {
					require.NotContains(t, resolve(response.(object)), "content", "%s %s: HEAD has none", name, status)
				}
			}
			if method == "head" {
				require.NotContains(t, responses, "default", name)
			} else {
				content := resolve(responses["default"].(object))["content"].(object)["application/problem+json"].(object)
				require.Equal(t, object{"$ref": "#/components/schemas/Problem"}, content["schema"], name)
			}
			given, _ := o["parameters"].([]any)
			for _, p := range given {
				require.NotEmpty(t, resolve(p.(object))["description"], "%s: %v", name, p)
			}
			if strings.Contains(path, "{id}") {
				first := resolve(given[0].(object))
				require.Equal(t, "id", first["name"], name)
				require.Equal(t, "uuid", first["schema"].(object)["format"], name)
			}
		}
	}
	require.Empty(t, schemas["Patch"].(object)["properties"], "a typed client would delete what it leaves out")
	problem := schemas["Problem"].(object)["properties"].(object)
	require.Equal(t, true, problem["detail"].(object)["x-ms-primary-error-message"])
	for _, open := range []string{"code", "outcome"} {
		require.NotContains(t, problem[open], "enum")
	}
	require.Equal(t, []string{"signIn"}, slices.Sorted(maps.Keys(components["securitySchemes"].(object))))
	require.NotEmpty(t, doc["servers"].([]any)[0].(object)["description"])
}
