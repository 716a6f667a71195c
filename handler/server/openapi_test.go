package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/b2c"
	"itemsapi/handler/b2c/b2ctest"
	"itemsapi/handler/server"
)

// described is the description as the tests read it.
var described = sync.OnceValues(func() (routers.Router, error) {
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	return gorillamux.NewRouter(doc)
})

// conforms holds an exchange against the description. What the description does
// not know (another path, another method) it has nothing to say of.
func conforms(t testing.TB, req *http.Request, sent []byte, r reply) {
	router, err := described()
	require.NoError(t, err)
	route, params, err := router.FindRoute(req)
	if req.URL.Path == "/" {
		return // the host's alone
	}
	if err != nil {
		require.Contains(t, []int{404, 405}, r.StatusCode, "%s %s is not described", req.Method, req.URL.Path)
		return
	}
	again := req.Clone(context.Background())
	again.Body = io.NopCloser(bytes.NewReader(sent))
	input := &openapi3filter.RequestValidationInput{
		Request: again, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true},
	}
	if r.StatusCode < 300 {
		require.NoError(t, openapi3filter.ValidateRequest(context.Background(), input), "%s %s was accepted", req.Method, req.URL)
	}
	output := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: r.StatusCode, Header: r.Header, Options: input.Options}
	if req.Method == http.MethodHead || r.StatusCode == http.StatusNotModified || r.Header.Get("Content-Encoding") != "" {
		output.Options = &openapi3filter.Options{ExcludeResponseBody: true, IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}
	}
	output.SetBodyBytes(r.body)
	require.NoError(t, openapi3filter.ValidateResponse(context.Background(), output), "%s %s: %d %s", req.Method, req.URL, r.StatusCode, r.body)

	response := route.Operation.Responses.Status(r.StatusCode)
	require.NotNil(t, response)
	for name := range r.Header {
		if slices.Contains([]string{"Content-Type", "Content-Length", "Date", "Connection"}, name) {
			continue
		}
		known := false
		for described := range response.Value.Headers {
			known = known || strings.EqualFold(described, name)
		}
		require.True(t, known, "the header %s of %s %s, %d, is not described", name, req.Method, req.URL.Path, r.StatusCode)
	}
}

func TestDescription(t *testing.T) {
	signIn := server.SignIn{AuthorizationURL: "https://sign.in/authorize", TokenURL: "https://sign.in/token", AppIDURI: b2ctest.AppIDURI}
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
	for _, code := range append(b2c.Codes(), server.Codes()...) {
		require.Contains(t, codes, code, "the code is not described")
	}
	require.Len(t, codes, len(b2c.Codes())+len(server.Codes()))
	var plain any
	require.NoError(t, json.Unmarshal(r.body, &plain))
}
