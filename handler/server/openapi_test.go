package server_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items"
	"itemsapi/handler/server"
	"itemsapi/handler/server/openapitest"
)

// described is the description as the tests read it.
var described = sync.OnceValues(func() (*openapitest.Document, error) {
	text, err := server.Config{Collection: config.Collection, ReadScope: "read", WriteScope: "write"}.Description()
	if err != nil {
		return nil, err
	}
	return openapitest.Load(text)
})

// conforms holds an exchange against the description.
func conforms(t testing.TB, req *http.Request, sent []byte, r reply) {
	d, err := described()
	require.NoError(t, err)
	require.NoError(t, d.Check(req, sent, r.Response, r.body))
}

func TestDescription(t *testing.T) {
	signIn := server.SignIn{AuthorizationURL: "https://sign.in/authorize", TokenURL: "https://sign.in/token", AppIDURI: entratest.AppIDURI}
	w := newWorld(t, func(c *server.Config) { c.SignIn = signIn })
	r := w.send(t, "GET", "/api/openapi.json", "", "")
	require.Equal(t, 200, r.StatusCode)
	doc := loaded(t, r.body)
	require.Equal(t, "/api", doc.Servers[0].URL)
	flow := doc.Components.SecuritySchemes["signIn"].Value.Flows.AuthorizationCode
	require.Equal(t, signIn.AuthorizationURL, flow.AuthorizationURL)
	require.Equal(t, signIn.TokenURL, flow.TokenURL)
	require.Contains(t, flow.Scopes, "https://contoso.onmicrosoft.com/b2capi/read")
	require.Contains(t, flow.Scopes, "https://contoso.onmicrosoft.com/b2capi/write")
	require.Equal(t, []string{"https://contoso.onmicrosoft.com/b2capi/read"}, (*doc.Paths.Find("/" + config.Collection).Get.Security)[0]["signIn"])
	require.Equal(t, 304, w.send(t, "GET", "/api/openapi.json", "", "", "If-None-Match", r.Header.Get("ETag")).StatusCode)
	require.Equal(t, 405, w.send(t, "POST", "/api/openapi.json", "", "{}").StatusCode)

	var codes []string
	for _, code := range doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Extensions["x-extensible-enum"].([]any) {
		codes = append(codes, code.(string))
	}
	for _, code := range append(entra.Codes(), server.Codes()...) {
		require.Contains(t, codes, code, "the code is not described")
	}
	require.Len(t, codes, len(entra.Codes())+len(server.Codes()))
	var plain any
	require.NoError(t, json.Unmarshal(r.body, &plain))
}

// loaded is a description that is whole: nothing is left to be filled in.
func loaded(t *testing.T, text []byte) *openapi3.T {
	filled := regexp.MustCompile(`\{[A-Za-z]+\}`).FindAllString(strings.ReplaceAll(string(text), "/{id}", ""), -1)
	require.Empty(t, filled, "left to be filled in")
	doc, err := openapi3.NewLoader().LoadFromData(text)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	return doc
}

func TestDescriptionOfOtherContents(t *testing.T) {
	const filter = `{"description":"d","schema":{"type":"boolean"}}`
	for _, tt := range []struct {
		name, schema              string
		members, required, params []string
	}{
		{"as it is", items.Schema, nil, nil, nil},
		{"no member", `{"properties":{}}`, []string{}, nil, nil},
		{"nothing required, no filters", `{"properties":{"a":{"type":"string"}}}`, []string{"a"}, nil, nil},
		{"empty lists", `{"required":[],"properties":{"a":{"type":"string"}},"x-filters":{}}`, []string{"a"}, nil, nil},
		{
			"several", `{"required":["b","a"],"properties":{"a":{"type":"string"},"b":{"type":"boolean"}},"x-filters":{"b":` + filter + `,"a":` + filter + `}}`,
			[]string{"a", "b"},
			[]string{"b", "a"},
			[]string{"a", "b"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			members := append(append([]string{"id"}, tt.members...), "createdAt", "updatedAt", "etag")
			text, err := server.DescribeContent(tt.schema, members)
			require.NoError(t, err)
			settings := regexp.MustCompile(`\{(authorizationURL|tokenURL|appIDURI|readScope|writeScope)\}`)
			text = strings.ReplaceAll(text, "{collection}", config.Collection)
			doc := loaded(t, settings.ReplaceAll([]byte(text), []byte("https://x")))
			if tt.members == nil {
				return
			}
			schemas := doc.Components.Schemas
			names := func(s *openapi3.Schema) []string { return slices.Sorted(maps.Keys(s.Properties)) }
			require.ElementsMatch(t, members, names(schemas["Item"].Value))
			require.ElementsMatch(t, append([]string{"id", "createdAt", "updatedAt", "etag"}, tt.required...), schemas["Item"].Value.Required)
			require.ElementsMatch(t, tt.members, names(schemas["Draft"].Value))
			require.ElementsMatch(t, tt.required, schemas["Draft"].Value.Required)
			require.ElementsMatch(t, tt.members, names(schemas["Replacement"].Value))
			require.ElementsMatch(t, tt.required, schemas["Replacement"].Value.Required)
			require.ElementsMatch(t, members, names(schemas["PartialItem"].Value))
			require.ElementsMatch(t, members, names(schemas["Saved"].Value))
			require.ElementsMatch(t, append([]string{"deleted", "deletedAt"}, members...), names(schemas["DeltaEntry"].Value))
			for _, list := range []*openapi3.Operation{doc.Paths.Find("/" + config.Collection).Get, doc.Paths.Find("/" + config.Collection).Head} {
				var params []string
				for _, p := range list.Parameters {
					if p.Value.In == "query" {
						params = append(params, p.Value.Name)
					}
				}
				require.ElementsMatch(t, append([]string{"limit", "cursor", "select", "count", "created_after", "created_before"}, tt.params...), params)
			}
		})
	}
	for _, wrong := range []string{``, `[]`, `{"properties":{"a":}}`} {
		_, err := server.DescribeContent(wrong, nil)
		require.Error(t, err, wrong)
	}
}
