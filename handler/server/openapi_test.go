package server_test

import (
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/server"
	"itemsapi/handler/server/openapitest"
)

// described is the description as the tests read it.
var described = sync.OnceValues(func() (*openapitest.Document, error) {
	text, err := os.ReadFile("openapi.json")
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
	doc, err := openapi3.NewLoader().LoadFromData(r.body)
	require.NoError(t, err)
	require.Equal(t, "/api", doc.Servers[0].URL)
	flow := doc.Components.SecuritySchemes["b2c"].Value.Flows.AuthorizationCode
	require.Equal(t, signIn.AuthorizationURL, flow.AuthorizationURL)
	require.Equal(t, signIn.TokenURL, flow.TokenURL)
	require.Contains(t, flow.Scopes, "https://contoso.onmicrosoft.com/b2capi/read")
	require.Contains(t, flow.Scopes, "https://contoso.onmicrosoft.com/b2capi/write")
	require.Equal(t, []string{"https://contoso.onmicrosoft.com/b2capi/read"}, (*doc.Paths.Find("/items").Get.Security)[0]["b2c"])
	require.NotContains(t, string(r.body), "URL}")
	require.Equal(t, 304, w.send(t, "GET", "/api/openapi.json", "", "", "If-None-Match", r.Header.Get("ETag")).StatusCode)
	require.Equal(t, 405, w.send(t, "POST", "/api/openapi.json", "", "{}").StatusCode)

	var codes []string
	for _, code := range doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		codes = append(codes, code.(string))
	}
	for _, code := range append(entra.Codes(), server.Codes()...) {
		require.Contains(t, codes, code, "the code is not described")
	}
	require.Len(t, codes, len(entra.Codes())+len(server.Codes()))
	var plain any
	require.NoError(t, json.Unmarshal(r.body, &plain))
}
