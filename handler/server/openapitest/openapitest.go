// Package openapitest holds HTTP exchanges against an OpenAPI document, for tests.
package openapitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// Document is a description that has been read.
type Document struct{ router routers.Router }

// Load reads a document.
func Load(text []byte) (*Document, error) {
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("route the OpenAPI document: %w", err)
	}
	return &Document{router}, nil
}

// Check returns an error that says where a request with that body, or the answer
// to it, is not as described. A request that was refused may be as it likes.
func (d *Document) Check(req *http.Request, sent []byte, resp *http.Response, body []byte) error {
	route, params, err := d.router.FindRoute(req)
	if req.URL.Path == "/" || req.Method == http.MethodOptions {
		return nil // the host's alone
	}
	if err != nil {
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusMethodNotAllowed {
			return nil
		}
		return fmt.Errorf("%s %s is not described", req.Method, req.URL.Path)
	}
	again := req.Clone(context.Background())
	again.Body = io.NopCloser(bytes.NewReader(sent))
	options := &openapi3filter.Options{
		AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
		IncludeResponseStatus: true,
		MultiError:            true,
	}
	input := &openapi3filter.RequestValidationInput{Request: again, PathParams: params, Route: route, Options: options}
	if resp.StatusCode < http.StatusMultipleChoices {
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			return fmt.Errorf("%s %s was accepted: %w", req.Method, req.URL, err)
		}
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input,
		Status:                 resp.StatusCode,
		Header:                 resp.Header,
		Options:                options,
	}
	if req.Method == http.MethodHead || resp.StatusCode == http.StatusNotModified ||
		resp.Header.Get("Content-Encoding") != "" {
		output.Options = &openapi3filter.Options{
			ExcludeResponseBody:   true,
			IncludeResponseStatus: true,
			AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
		}
	}
	output.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(context.Background(), output); err != nil {
		return fmt.Errorf("%s %s: %d %s: %w", req.Method, req.URL, resp.StatusCode, body, err)
	}
	response := route.Operation.Responses.Status(resp.StatusCode)
	if response == nil {
		return errors.New("the status is not described")
	}
	for name := range resp.Header {
		// The transport's, and CORS, which is the host's.
		if slices.Contains([]string{"Content-Type", "Content-Length", "Date", "Connection", "Server"}, name) ||
			strings.HasPrefix(name, "Access-Control-") {
			continue
		}
		known := false
		for described := range response.Value.Headers {
			known = known || strings.EqualFold(described, name)
		}
		if !known {
			return fmt.Errorf(
				"the header %s of %s %s, %d, is not described",
				name,
				req.Method,
				req.URL.Path,
				resp.StatusCode,
			)
		}
	}
	return nil
}
