package entra_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// reported is a file of tokens as people reported them, or as their issuers document
// them, and of what the API makes of each.
type reported struct {
	Bases map[string]map[string]any // claims to start with
	Cases []struct {
		Name, About, Source string
		// A token: the claims of Bases[Base] with Claims put over them, null taking one
		// away, and so many custom attributes or groups; the header, else alg, kid and typ;
		// the key that signs, of the user flows, of the custom policies, or of nobody we
		// know; and what stands before it, else "Bearer ".
		Base, Key             string
		Claims, Header        map[string]any
		Attributes, OfLength  int
		Groups                int
		Prefix, Authorization *string // or the whole value of the header
		Want                  []wanted
	}
}

// wanted is an answer, for a configuration.
type wanted struct {
	ExtraIssuers []string
	Form         string // of the issuer in the metadata: tfp, or empty
	Status       int
	Code         string
	Also         []string
	Text, NotIn  []string // regular expressions for detail and fix
}

const reportedTenant = "0b5f0000-1111-4222-8333-444455556666"

// TestReported sends what people have sent.
func TestReported(t *testing.T) {
	b, err := os.ReadFile("testdata/reported.json")
	require.NoError(t, err)
	var file reported
	require.NoError(t, json.Unmarshal(b, &file))
	require.Greater(t, len(file.Cases), 40)
	keys := map[string]*rsa.PrivateKey{}
	for _, name := range []string{"user", "custom", "none"} {
		keys[name], err = rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
	}
	for _, c := range file.Cases {
		for _, want := range c.Want {
			t.Run(c.Name+" "+want.Code, func(t *testing.T) {
				v := start(t, t.Context(), reportedConfig(keys, want))
				settled(t, v)
				var sent string
				if c.Authorization != nil {
					sent = *c.Authorization
				} else {
					claims := map[string]any{}
					for _, from := range []map[string]any{file.Bases[c.Base], c.Claims} {
						for name, value := range from {
							claims[name] = value
							if value == nil {
								delete(claims, name)
							}
						}
					}
					for i := range c.Attributes {
						claims[fmt.Sprintf("extension_Attribute%03d", i)] = strings.Repeat("x", c.OfLength)
					}
					if c.Groups > 0 {
						groups := make([]string, c.Groups)
						for i := range groups {
							groups[i] = fmt.Sprintf("%08x-0000-4000-8000-000000000000", i)
						}
						claims["groups"] = groups
					}
					header := c.Header
					if header == nil {
						header = map[string]any{"alg": "RS256", "kid": "@KID", "typ": "JWT"}
					}
					sent = "Bearer "
					if c.Prefix != nil {
						sent = *c.Prefix
					}
					sent += signWith(t, keys[c.Key], filled(t, header, c.Key), filled(t, claims, c.Key))
				}
				caller, refusal := check(t.Context(), v, entra.Credentials{Authorization: []string{sent}}, "read")
				require.Equal(t, want.Code, codeOf(refusal))
				if refusal == nil {
					require.Equal(t, 200, want.Status)
					require.Equal(t, reportedTenant, caller.Tenant)
					return
				}
				require.Equal(t, want.Status, refusal.Status)
				x := refusal.Explain()
				require.Equal(t, want.Also, x.Also)
				text := refusal.Title + " " + x.Detail + " " + x.Fix
				for _, pattern := range want.Text {
					require.Regexp(t, pattern, text)
				}
				for _, pattern := range want.NotIn {
					require.NotRegexp(t, pattern, text)
				}
				if strings.HasPrefix(want.Code, "token.") && want.Code != "token.malformed" {
					require.NotRegexp(t, "cut long lines|User flows", text, "somebody else's token is not a faulty "+
						"one of B2C's")
				}
			})
		}
	}
}

// filled puts values in the place of what stands for them: @TID the tenant's GUID, @API
// and @CLIENT the two applications, @ISS the issuer, @KID the key ID, "@now+N" the time in
// N seconds as a number.
func filled(t *testing.T, members map[string]any, key string) []byte {
	b, err := json.Marshal(members)
	require.NoError(t, err)
	text := strings.NewReplacer(
		"@TID", reportedTenant, "@API", entratest.APIClientID, "@CLIENT", entratest.ClientID, "@KID", key,
		"@ISS", "https://contoso.b2clogin.com/"+reportedTenant+"/v2.0/",
	).Replace(string(b))
	text = regexp.MustCompile(`"@(text|raw)? ?(now)?\+?([^"]*)"`).ReplaceAllStringFunc(text, func(match string) string {
		m := regexp.MustCompile(`"@(text|raw)? ?(now)?\+?([^"]*)"`).FindStringSubmatch(match)
		value := m[3]
		if m[2] == "now" {
			var ahead int64
			_, _ = fmt.Sscan(value, &ahead)
			value = fmt.Sprint(time.Now().Unix() + ahead)
		}
		if m[1] == "text" {
			return `"` + value + `"`
		}
		return value
	})
	return []byte(text)
}

func signWith(t *testing.T, key *rsa.PrivateKey, header, payload []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode(header) + "." + encode(payload)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	require.NoError(t, err)
	return signed + "." + encode(signature)
}

// reportedConfig trusts the tenant at B2C's own addresses, which are served here.
func reportedConfig(keys map[string]*rsa.PrivateKey, want wanted) entra.Config {
	trust := entra.B2C("contoso", "B2C_1_signupsignin", "B2C_1_ropc", "B2C_1A_signup_signin")
	trust.Audience, trust.AppIDURI = entratest.APIClientID, entratest.AppIDURI
	trust.Scopes = map[string]string{"read": "read", "write": "write"}
	trust.Clients = []string{entratest.ClientID}
	for _, extra := range want.ExtraIssuers {
		trust.ExtraIssuers = append(trust.ExtraIssuers, strings.ReplaceAll(extra, "@TID", reportedTenant))
	}
	return entra.Config{
		Trust: []entra.Trust{trust}, Realm: "notes",
		Hints: entra.Hints{B2C: entra.Settings{Host: "NOTES_HOST", ExtraIssuers: "NOTES_ISSUERS"}},
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			policy := strings.Split(r.URL.Path, "/")[2]
			name := "user"
			if strings.HasPrefix(policy, "B2C_1A_") {
				name = "custom"
			}
			if strings.HasSuffix(r.URL.Path, "/keys") {
				public := keys[name].PublicKey
				fmt.Fprintf(w, `{"keys":[{"kid":%q,"nbf":1,"use":"sig","kty":"RSA","e":"AQAB","n":%q}]}`, name,
					base64.RawURLEncoding.EncodeToString(new(big.Int).Set(public.N).Bytes()))
				return w.Result(), nil
			}
			path := reportedTenant
			if want.Form == "tfp" {
				path = "tfp/" + reportedTenant + "/" + strings.ToLower(policy)
			}
			base := "https://" + r.URL.Host
			fmt.Fprintf(w, `{"issuer":"%s/%s/v2.0/","jwks_uri":"%s/contoso.onmicrosoft.com/%s/discovery/v2.0/keys"}`,
				base, path, base, policy)
			return w.Result(), nil
		}),
	}
}
