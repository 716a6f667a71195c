package entra_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// published reads a document that Microsoft, or a tenant, has published. They
// are not part of this repository: B2C_FIXTURES names the folder.
func published(t *testing.T, name string) []byte {
	dir := os.Getenv("B2C_FIXTURES")
	if dir == "" {
		t.Skip("skipped: published documents of B2C (B2C_FIXTURES is not set)")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return b
}

// unsigned makes a token of a published header and payload, whose signature
// nobody has.
func unsigned(t *testing.T, doc []byte) string {
	// One document has its tenant's GUID cut short.
	doc = bytes.ReplaceAll(doc, []byte("c64a4f7d-3091-4c73-a7..."), []byte("c64a4f7d-3091-4c73-a722-7e0b5d1c9f46"))
	var parts struct{ Header, Payload json.RawMessage }
	require.NoError(t, json.Unmarshal(doc, &parts))
	encode := base64.RawURLEncoding.EncodeToString
	return encode(parts.Header) + "." + encode(parts.Payload) + "." + encode(make([]byte, 256))
}

func TestPublishedTokensAreToldApart(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	for _, tt := range []struct {
		file, code string // of the kind group; empty for an access token of B2C
	}{
		{"access-token-userflow-doc.json", ""},
		{"id-token-custompolicy-doc.json", "token.id_token"},
		{"id-token-legacy-acr-doc.json", "token.id_token"},
		{"entra-access-token-v1-doc.json", "token.entra_v1"},
		{"entra-access-token-v2-doc.json", "token.entra"},
		{"swa-injected-token.json", "token.static_web_apps"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			checks, err := v.Examine(t.Context(), bearer(unsigned(t, published(t, tt.file))), entra.Scope("read"))
			require.NoError(t, err)
			require.Equal(t, entra.GroupKind, checks[2].Group)
			require.Empty(t, checks[2].Skipped)
			code := ""
			for _, r := range checks[2].Refusals {
				code += r.Code
			}
			require.Equal(t, tt.code, code)
		})
	}
}

// TestPublishedMetadataAndKeys reads the documents as a verifier would, from the
// addresses that they name.
func TestPublishedMetadataAndKeys(t *testing.T) {
	const host, policy = "https://login.fencing.club/fencing.club/", "b2c_1_signupsignin"
	for _, keys := range []struct{ file, kid string }{
		{"jwks-userflow-shared.json", "X5eXk4xyojNFum1kl2Ytv8dlNP4-c57dO6QGTVBwaNk"},
		{"jwks-custompolicy.json", "AiH1xhuU4Oll1kXhPUKg_nN--iCZvxVC-fxnEhRkO6Y"},
	} {
		t.Run(keys.file, func(t *testing.T) {
			documents := map[string][]byte{
				host + policy + "/v2.0/.well-known/openid-configuration": published(t, "metadata-custom-domain-userflow.json"),
				host + policy + "/discovery/v2.0/keys":                   published(t, keys.file),
			}
			trust := entra.B2C("fencing", policy)
			trust.Audience, trust.AppIDURI = entratest.APIClientID, entratest.AppIDURI
			trust.Scopes = map[string]string{"read": "read"}
			trust.MetadataURL = host + "{policy}/v2.0/.well-known/openid-configuration"
			v := start(t, t.Context(), entra.Config{
				Trust: []entra.Trust{trust}, Realm: "notes",
				Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
					w := httptest.NewRecorder()
					if body, ok := documents[r.URL.String()]; ok {
						_, _ = w.Write(body)
					} else {
						w.WriteHeader(http.StatusNotFound)
					}
					return w.Result(), nil
				}),
			})
			encode := func(v any) string {
				b, err := json.Marshal(v)
				require.NoError(t, err)
				return base64.RawURLEncoding.EncodeToString(b)
			}
			token := encode(map[string]any{"alg": "RS256", "typ": "JWT", "kid": keys.kid}) + "." + encode(map[string]any{
				"iss": "https://login.fencing.club/2570213d-1e98-4c4e-a812-009627feed82/v2.0/", "tfp": "B2C_1_signupsignin",
				"aud": entratest.APIClientID, "exp": time.Now().Unix() + 3600, "sub": "x", "scp": "read",
			}) + "." + strings.Repeat("A", 342)
			_, refusal := check(t.Context(), v, bearer(token), "read")
			require.Equal(t, "sig.invalid", codeOf(refusal), "issuer and key are known, and the signature is none")
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
