// Package openapitest holds HTTP exchanges against an OpenAPI document, for tests.
package openapitest

import (
	"bytes"
	"context"
	"encoding/json"
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
	closeAnswers(doc)
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("route the OpenAPI document: %w", err)
	}
	return &Document{router}, nil
}

// closeAnswers makes strict what the document leaves open for clients: answers have no
// members, and problems no codes, but those that are described.
func closeAnswers(doc *openapi3.T) {
	closed := false
	for _, s := range doc.Components.Schemas {
		if additional := &s.Value.AdditionalProperties; len(s.Value.Properties) > 0 && additional.Schema == nil {
			additional.Has = &closed
		}
		for _, member := range s.Value.Properties {
			if known, ok := member.Value.Extensions["x-extensible-enum"].([]any); ok {
				member.Value.Enum = known
			}
		}
	}
}

// asDescribed is a body without the server's members, which may be repeated as they were
// read, as prose says, so that no typed client has them.
func asDescribed(method string, sent []byte) []byte {
	var body map[string]json.RawMessage
	if json.Unmarshal(sent, &body) != nil {
		return sent
	}
	if method == http.MethodPut {
		for _, name := range []string{"id", "createdAt", "updatedAt", "etag"} {
			delete(body, name)
		}
	}
	var changes []map[string]map[string]json.RawMessage
	if json.Unmarshal(body["changes"], &changes) == nil {
		for _, change := range changes {
			delete(change["replace"], "createdAt")
			delete(change["replace"], "updatedAt")
		}
		body["changes"], _ = json.Marshal(changes) // it was JSON
	}
	less, err := json.Marshal(body)
	if err != nil {
		return sent
	}
	return less
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
	again.Body = io.NopCloser(bytes.NewReader(asDescribed(req.Method, sent)))
	again.GetBody = nil
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
