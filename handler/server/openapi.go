package server

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strings"
)

// description is the API's description, OpenAPI 3.1, written by hand. Every
// exchange of this package's tests is held against it. What depends on the
// settings stands in braces.
//
//go:embed openapi.json
var description string

// SignIn is what the description tells clients about getting tokens. Nothing in
// it decides who may call.
type SignIn struct {
	AuthorizationURL, TokenURL string
	AppIDURI                   string // prefix of the full scope values
}

// describe fills the settings into the description.
func (c *Config) describe() []byte {
	quoted := func(s string) string {
		b, _ := json.Marshal(s) // a string cannot fail
		return strings.Trim(string(b), `"`)
	}
	return []byte(strings.NewReplacer(
		"{authorizationURL}", quoted(c.SignIn.AuthorizationURL),
		"{tokenURL}", quoted(c.SignIn.TokenURL),
		"{appIDURI}", quoted(c.SignIn.AppIDURI),
		"{readScope}", quoted(c.ReadScope),
		"{writeScope}", quoted(c.WriteScope),
	).Replace(description))
}

// openAPI answers with the description, which is nobody's secret.
func (s *server) openAPI(*call) (*answer, error) {
	return &answer{status: http.StatusOK, header: http.Header{
		"Content-Type":  {"application/json"},
		"Cache-Control": {"no-cache"},
	}, body: s.described, collection: true}, nil
}
