package entra_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// tenant starts a stand-in and ends it with the test.
func tenant(t testing.TB, o entratest.Options) *entratest.Server {
	s, err := entratest.Start(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// configFor is how an API is configured that belongs to the tenant. Without policies
// it accepts them all.
func configFor(s *entratest.Server, policies ...string) entra.Config {
	if policies == nil {
		policies = []string{entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit, entratest.PolicyROPC}
	}
	trust := entra.B2C(entratest.TenantName, policies...)
	trust.Audience, trust.AppIDURI = entratest.APIClientID, entratest.AppIDURI
	trust.Scopes = map[string]string{"read": "read", "write": "write"}
	trust.Clients = []string{entratest.ClientID}
	trust.MetadataURL = s.MetadataTemplate()
	return entra.Config{Trust: []entra.Trust{trust}, Realm: "notes"}
}

// configForAll is how an API is configured that belongs to the tenants of all families.
func configForAll(s *entratest.Server) entra.Config {
	c := configFor(s)
	for _, f := range []struct {
		family                    entratest.Family
		trust                     entra.Trust
		api, uri, client, program string
	}{
		{
			entratest.External, entra.ExternalID(entratest.ExternalTenantName), entratest.ExternalAPIClientID,
			entratest.ExternalAppIDURI, entratest.ExternalClientID, entratest.ExternalDaemonID,
		},
		{
			entratest.Workforce, entra.Workforce(entratest.WorkforceTenantDomain), entratest.WorkforceAPIClientID,
			entratest.WorkforceAppIDURI, entratest.WorkforceClientID, entratest.WorkforceDaemonID,
		},
	} {
		f.trust.Audience, f.trust.AppIDURI, f.trust.Scopes = f.api, f.uri, c.Trust[0].Scopes
		f.trust.Clients = []string{f.client, f.program}
		f.trust.MetadataURL = s.MetadataTemplateOf(f.family)
		c.Trust = append(c.Trust, f.trust)
	}
	return c
}

// configForOne is configForAll with the tenant of one family alone, for B2C with one policy.
func configForOne(s *entratest.Server, family entratest.Family) entra.Config {
	if family == entratest.B2C {
		return configFor(s, entratest.PolicySignUpSignIn)
	}
	c := configForAll(s)
	c.Trust = slices.DeleteFunc(c.Trust, func(x entra.Trust) bool { return x.Family() != entra.Family(family) })
	return c
}

// settled waits until all keys were read.
func settled(t testing.TB, v *entra.Verifier) {
	eventually(t, func() bool { return v.Ready() == nil }, "the keys are there")
}

// start starts a verifier that ends with ctx.
func start(t testing.TB, ctx context.Context, c entra.Config) *entra.Verifier {
	v, err := entra.New(ctx, c)
	require.NoError(t, err)
	return v
}

// check is what a verifier says of a call that needs a scope: who calls, or why not.
func check(
	ctx context.Context, v *entra.Verifier, c entra.Credentials, scope string,
) (*entra.Caller, *entra.Refusal) {
	caller, err := v.Verify(ctx, c, entra.Scope(scope))
	var refusal *entra.Refusal
	if err != nil && !errors.As(err, &refusal) {
		panic(err)
	}
	return caller, refusal
}

func bearer(token string) entra.Credentials {
	return entra.Credentials{Authorization: []string{"Bearer " + token}}
}

func accessToken(t testing.TB, s *entratest.Server, r entratest.TokenRequest) string {
	token, err := s.AccessToken(r)
	require.NoError(t, err)
	return token
}

// with is the claims of an access token with some changed; nil removes one.
func with(s *entratest.Server, changes map[string]any) map[string]any {
	claims := s.Claims(entratest.TokenRequest{})
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	return claims
}

// changed is an access token with some claims changed.
func changed(s *entratest.Server, changes map[string]any) entra.Credentials {
	return bearer(s.Sign(entratest.PolicySignUpSignIn, nil, with(s, changes)))
}

func payload(t testing.TB, claims map[string]any) string {
	b, err := json.Marshal(claims)
	require.NoError(t, err)
	return string(b)
}

func codeOf(r *entra.Refusal) string {
	if r == nil {
		return ""
	}
	return r.Code
}

func TestGoodTokenIsAdmitted(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	alice := entratest.Users()[0]
	for _, policy := range []string{entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit, entratest.PolicyROPC} {
		caller, refusal := check(t.Context(), v, bearer(accessToken(t, s, entratest.TokenRequest{Policy: policy})), "read")
		require.Nil(t, refusal, codeOf(refusal))
		require.WithinDuration(t, time.Now().Add(time.Hour), caller.Expires, time.Minute)
		caller.Expires = time.Time{}
		require.Equal(t, &entra.Caller{
			Family: entra.FamilyB2C, Tenant: entratest.TenantID, Subject: strings.ToLower(alice.ObjectID),
			Client: entratest.ClientID, Policy: policy, Scopes: []string{"read", "write"},
		}, caller)
	}
	// RFC 9110, section 11.1: schemes are matched without regard to case.
	_, refusal := check(t.Context(), v,
		entra.Credentials{Authorization: []string{"bEARER  " + accessToken(t, s, entratest.TokenRequest{})}}, "write")
	require.Nil(t, refusal)
	// The policy's name too.
	_, refusal = check(t.Context(), v, changed(s, map[string]any{"tfp": nil, "acr": "b2c_1_SIGNUPSIGNIN"}), "read")
	require.Nil(t, refusal)
}

// TestLargeTokensAreAdmitted: B2C lets a user have 100 custom attributes, and Entra
// puts up to 200 groups into a token.
func TestLargeTokensAreAdmitted(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	attributes := func(n, length int) map[string]any {
		m := map[string]any{}
		for i := range n {
			m[fmt.Sprintf("extension_Attribute%03d", i)] = strings.Repeat("x", length)
		}
		return m
	}
	groups := make([]string, 200)
	for i := range groups {
		groups[i] = fmt.Sprintf("9f1b1c53-4a0e-4d4e-8f0a-%012d", i)
	}
	many := map[string]any{}
	for i := range 1000 {
		many[fmt.Sprint(i)] = 0
	}
	for _, tt := range []struct {
		name   string
		claims map[string]any
	}{
		{"100 custom attributes", attributes(100, 3)},
		{"100 custom attributes of 60 characters", attributes(100, 60)},
		{"200 groups", map[string]any{"groups": groups}},
		{"1,000 members", many},
		{"1,000 members in a member", map[string]any{"extension_Profile": many}},
		{"8 levels", map[string]any{"extension_Profile": json.RawMessage(strings.Repeat("[", 7) + strings.Repeat("]", 7))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := s.Sign(entratest.PolicySignUpSignIn, nil, with(s, tt.claims))
			_, refusal := check(t.Context(), v, bearer(token), "read")
			require.Nil(t, refusal, "%d bytes: %s", len(token), codeOf(refusal))
		})
	}
}

// TestUnreadableTokensAreTold: what is wrong with a token's bytes is said in a
// sentence that is true of it, a bound with its number.
func TestUnreadableTokensAreTold(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	claims := func(changes map[string]any) string {
		return s.Sign(entratest.PolicySignUpSignIn, nil, with(s, changes))
	}
	good := strings.Split(claims(nil), ".")
	raw := func(payload string) string {
		return s.SignRaw(entratest.PolicySignUpSignIn, []byte(`{"alg":"RS256","kid":"k","typ":"JWT"}`), []byte(payload))
	}
	many := &strings.Builder{}
	for i := range 1000 {
		fmt.Fprintf(many, `,"%d":0`, i)
	}
	for _, tt := range []struct{ name, token, code, detail string }{
		{"too large", strings.Repeat("a", 16<<10+1), "token.too_large", "The token has 16385 bytes; at most 16384 " +
			"are read."},
		{
			"header", good[0] + "=." + good[1] + "." + good[2], "token.malformed",
			"The token's header is not base64url without padding.",
		},
		{
			"payload", good[0] + "." + good[1] + "+." + good[2], "token.malformed",
			"The token's payload is not base64url without padding.",
		},
		{
			"signature", good[0] + "." + good[1] + ".!", "token.malformed",
			"The token's signature is not base64url without padding.",
		},
		{
			"no object", raw(`[]`), "token.malformed",
			"The token's payload is not one JSON object with unique member names, in UTF-8.",
		},
		{
			"a name twice", raw(`{"aud":"a","aud":"b"}`), "token.malformed",
			"The token's payload is not one JSON object with unique member names, in UTF-8.",
		},
		{
			"a name twice among many", raw(`{"aud":"a"` + many.String() + `,"700":1}`), "token.malformed",
			"The token's payload is not one JSON object with unique member names, in UTF-8.",
		},
		{
			"deep", claims(map[string]any{"x": json.RawMessage(strings.Repeat("[", 8) + strings.Repeat("]", 8))}),
			"token.malformed", "The token's payload is nested deeper than 8 levels.",
		},
		{
			"a list", claims(map[string]any{"aud": []string{entratest.APIClientID}}), "token.malformed",
			"The claim aud is not a string.",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, refusal := check(t.Context(), v, bearer(tt.token), "read")
			require.Equal(t, tt.code, codeOf(refusal))
			require.Equal(t, tt.detail, refusal.Explain().Detail)
		})
	}
}

// TestAttackCatalogue sends what is known to have got past other verifiers. Rows that
// try the same thing have the same number.
func TestAttackCatalogue(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	const policy = entratest.PolicySignUpSignIn
	key, kid := s.PrivateKey(policy)
	good := accessToken(t, s, entratest.TokenRequest{})
	header := fmt.Sprintf(`{"alg":"RS256","kid":%q,"typ":"JWT"}`, kid)
	claims := payload(t, s.Claims(entratest.TokenRequest{}))
	now := time.Now().Unix()

	sign := func(header, payload string) entra.Credentials {
		return bearer(s.SignRaw(policy, []byte(header), []byte(payload)))
	}
	head := func(changes map[string]any) entra.Credentials {
		return bearer(s.Sign(policy, changes, s.Claims(entratest.TokenRequest{})))
	}
	claim := func(name string, value any) entra.Credentials {
		return bearer(s.Sign(policy, nil, with(s, map[string]any{name: value})))
	}
	rawClaim := func(name, value string) entra.Credentials {
		return sign(header, strings.Replace(payload(t, with(s, map[string]any{name: "@"})), `"@"`, value, 1))
	}
	extra := func(members string) entra.Credentials {
		return sign(header, strings.TrimSuffix(claims, "}")+","+members+"}")
	}
	raw := func(values ...string) entra.Credentials { return entra.Credentials{Authorization: values} }
	other := func(alg jwt.SigningMethod, key any) entra.Credentials {
		token := jwt.NewWithClaims(alg, jwt.MapClaims(s.Claims(entratest.TokenRequest{})))
		token.Header["kid"] = kid
		signed, err := token.SignedString(key)
		require.NoError(t, err)
		return bearer(signed)
	}
	parts := strings.Split(good, ".")
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	resigned := func(change func([]byte) []byte) entra.Credentials {
		forged := change(append([]byte(nil), signature...))
		return bearer(parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(forged))
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)})
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	nonCanonical := func() string {
		// The last character of a 256-byte signature has four bits to spare.
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		i := strings.IndexByte(alphabet, good[len(good)-1])
		return good[:len(good)-1] + string(alphabet[i|1])
	}()

	const (
		a0 = "Bearer realm=\"notes\""
		a1 = a0 + `, error="invalid_request"`
		a2 = a0 + `, error="invalid_token"`
		a3 = a0 + `, error="insufficient_scope", scope="https://contoso.onmicrosoft.com/b2capi/read"`
	)
	status := map[string]int{a0: 401, a1: 400, a2: 401, a3: 403}

	for _, tt := range []struct {
		name      string
		sent      entra.Credentials
		code      string
		challenge string // or how it begins
	}{
		{"nothing", raw(), "auth.missing", a0},
		{"empty header", raw(""), "auth.missing", a0},
		{"Basic", raw("Basic eHg6eQ=="), "auth.scheme", a0},
		{"Digest, whose parameters have commas", raw(`Digest username="x", realm="y", nonce="z"`), "auth.scheme", a0},
		{"no scheme", raw(good), "auth.bearer_prefix_missing", a0},
		{"colon", raw("Bearer: " + good), "auth.scheme", a0},
		{"two headers", raw("Bearer "+good, "Bearer "+good), "auth.malformed", a1},
		{"joined by a proxy", raw("Bearer " + good + ", Bearer " + good), "auth.malformed", a1},
		{"joined with another scheme", raw("Bearer " + good + ", Basic eHg6eQ=="), "auth.malformed", a1},
		{"joined, good one last", raw("Basic eHg6eQ==,Bearer " + good), "auth.malformed", a1},
		{"Bearer alone", raw("Bearer"), "auth.token_empty", a2},
		{"undefined", raw("Bearer undefined"), "auth.token_empty", a2},
		{"null", raw("Bearer null"), "auth.token_empty", a2},
		{"object", raw("Bearer [object Object]"), "auth.token_empty", a2},
		{"promise", raw("Bearer [object Promise]"), "auth.token_empty", a2},
		{"placeholder", raw("Bearer <access token>"), "auth.token_empty", a2},
		{"name", raw("Bearer YOUR_ACCESS_TOKEN"), "auth.token_empty", a2},
		{"template", raw("Bearer {{access_token}}"), "auth.token_empty", a2},
		{"name that begins as a token", raw("Bearer eyJ_YOUR_TOKEN"), "auth.token_empty", a2},
		{"commas", raw("Bearer " + strings.Repeat(",a ", 5<<10)), "auth.malformed", a1},
		{"two parts", raw("Bearer a b"), "auth.malformed", a1},
		{"Bearer twice", raw("Bearer Bearer " + good), "auth.malformed", a1},
		{"tab", raw("Bearer\t" + good), "auth.malformed", a1},
		{"query", entra.Credentials{InQuery: true}, "auth.token_in_query", a0},
		{
			"query and header",
			entra.Credentials{InQuery: true, Authorization: []string{"Bearer " + good}},
			"auth.malformed",
			a1,
		},
		{"UTF-8", raw("Bearer " + good + "é"), "token.malformed", a2},
		{"over 16 KiB", bearer(strings.Repeat("a", 16<<10+1)), "token.too_large", a2},
		{"16 KiB of one part", bearer(strings.Repeat("a", 16<<10)), "token.opaque", a2},

		{"none", head(map[string]any{"alg": "none"}), "token.algorithm", a2},
		{
			"none without signature",
			bearer(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT","kid":"x"}`)) + "." + parts[1] + "."),
			"token.algorithm", a2,
		},
		{"None", head(map[string]any{"alg": "None"}), "token.algorithm", a2},
		{"nOnE", head(map[string]any{"alg": "nOnE"}), "token.algorithm", a2},
		{"missing", sign(`{"kid":"`+kid+`","typ":"JWT"}`, claims), "token.algorithm", a2},
		{"array", head(map[string]any{"alg": []string{"RS256"}}), "token.algorithm", a2},
		{"rs256", head(map[string]any{"alg": "rs256"}), "token.algorithm", a2},
		{"HS256 by the key in DER", other(jwt.SigningMethodHS256, public), "token.algorithm", a2},
		{"HS256 by the key in PEM", other(jwt.SigningMethodHS256, pkcs1), "token.algorithm", a2},
		{"HS256 by n", other(jwt.SigningMethodHS256, key.N.Bytes()), "token.algorithm", a2},
		{"HMAC that says RS256", func() entra.Credentials {
			mac := hmac.New(sha256.New, public)
			mac.Write([]byte(parts[0] + "." + parts[1]))
			return bearer(parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
		}(), "sig.invalid", a2},
		{"RS384", other(jwt.SigningMethodRS384, key), "token.algorithm", a2},
		{"RS512", other(jwt.SigningMethodRS512, key), "token.algorithm", a2},
		{"PS256", other(jwt.SigningMethodPS256, key), "token.algorithm", a2},
		{"PSS that says RS256", func() entra.Credentials {
			sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
			pss, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], nil)
			require.NoError(t, err)
			return bearer(parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(pss))
		}(), "sig.invalid", a2},
		{"kid missing", sign(`{"alg":"RS256","typ":"JWT"}`, claims), "token.header", a2},
		{"kid empty", head(map[string]any{"kid": ""}), "token.header", a2},
		{"kid number", head(map[string]any{"kid": 1}), "token.header", a2},
		{"kid null", head(map[string]any{"kid": nil}), "token.header", a2},
		{"kid 257 bytes", head(map[string]any{"kid": strings.Repeat("k", 257)}), "token.header", a2},
		{"kid 20 kB", head(map[string]any{"kid": strings.Repeat("k", 20_000)}), "token.too_large", a2},
		{"kid path", head(map[string]any{"kid": "../../../../etc/passwd"}), "key.unknown", a2},
		{"kid SQL", head(map[string]any{"kid": "' or 1=1 --"}), "key.unknown", a2},
		{"kid URL", head(map[string]any{"kid": "http://127.0.0.1/keys"}), "key.unknown", a2},
		{"kid newline", head(map[string]any{"kid": "a\nb"}), "key.unknown", a2},
		{"jku", head(map[string]any{"jku": "https://evil.example/keys"}), "token.header", a2},
		{"x5u", head(map[string]any{"x5u": "https://evil.example/cert"}), "token.header", a2},
		{"x5c", head(map[string]any{"x5c": []string{"MII"}}), "token.header", a2},
		{"jwk", head(map[string]any{"jwk": map[string]any{"kty": "RSA", "n": "AQAB", "e": "AQAB"}}), "token.header", a2},
		{"crit", head(map[string]any{"crit": []string{"exp"}}), "token.header", a2},
		{"crit empty", head(map[string]any{"crit": []string{}}), "token.header", a2},
		{"b64", head(map[string]any{"b64": false}), "token.header", a2},
		{"zip", head(map[string]any{"zip": "DEF"}), "token.header", a2},
		{"enc", head(map[string]any{"enc": "A256GCM"}), "token.header", a2},
		{"nested", head(map[string]any{"cty": "JWT"}), "token.header", a2},
		{"five parts", bearer("eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d"), "token.malformed", a2},
		{"JSON serialization", raw(`Bearer {"payload":"` + parts[1] + `","signatures":[]}`), "token.opaque", a2},
		{"detached payload", bearer(parts[0] + ".." + parts[2]), "token.malformed", a2},
		{"typ JWE", head(map[string]any{"typ": "JWE"}), "token.header", a2},
		{"typ logout+jwt", head(map[string]any{"typ": "logout+jwt"}), "token.header", a2},
		{"typ missing", sign(`{"alg":"RS256","kid":"`+kid+`"}`, claims), "token.header", a2},
		{"ID token", func() entra.Credentials {
			id, err := s.IDToken(entratest.TokenRequest{})
			require.NoError(t, err)
			return bearer(id)
		}(), "token.id_token", a2},
		{
			"ID token with the API's audience",
			bearer(s.Sign(policy, nil, with(s, map[string]any{"scp": nil, "azp": nil, "auth_time": now}))), "token.id_token",
			a2,
		},
		{"policy that is not listed", claim("tfp", "B2C_1_passwordreset"), "policy.not_allowed", a2},
		{"policy missing", claim("tfp", nil), "policy.missing", a2},
		{"tfp and acr disagree", claim("acr", entratest.PolicyProfileEdit), "policy.not_allowed", a2},
		{
			"tfp and issuer disagree",
			claim("iss", "https://contoso.b2clogin.com/tfp/"+entratest.TenantID+"/b2c_1_profileedit/v2.0/"),
			"policy.not_allowed", a2,
		},
		{
			"one policy's key, another's name",
			bearer(s.Sign(entratest.PolicyProfileEdit, nil, s.Claims(entratest.TokenRequest{}))), "key.unknown", a2,
		},
		{
			"one policy's name, key ID of another",
			bearer(s.Sign(entratest.PolicyProfileEdit, map[string]any{"kid": kid}, s.Claims(entratest.TokenRequest{}))),
			"sig.invalid", a2,
		},
		{"Kelvin sign in the policy", claim("tfp", "B2C_1_signupsignin\u212a"), "policy.not_allowed", a2},
		{"no slash", claim("iss", strings.TrimSuffix(s.Issuer(), "/")), "iss.slash_or_case", a2},
		{"case", claim("iss", strings.ToUpper(s.Issuer())), "iss.slash_or_case", a2},
		{"http", claim("iss", strings.Replace(s.Issuer(), "https:", "http:", 1)), "iss.unknown", a2},
		{"other host", claim("iss", "https://contoso.b2clogin.com/"+entratest.TenantID+"/v2.0/"), "iss.other_host", a2},
		{
			"legacy host", claim("iss", "https://login.microsoftonline.com/"+entratest.TenantID+"/v2.0/"), "iss.legacy_host",
			a2,
		},
		{
			"tfp form",
			claim("iss", strings.Replace(s.Issuer(), entratest.TenantID, "tfp/"+entratest.TenantID+"/"+policy, 1)), "iss.form",
			a2,
		},
		{
			"other tenant",
			claim("iss", strings.Replace(s.Issuer(), entratest.TenantID, "00000000-0000-4000-8000-000000000000", 1)),
			"iss.other_tenant", a2,
		},
		{"NUL", claim("iss", s.Issuer()+"\x00"), "token.foreign", a2},
		{"array", claim("iss", []string{s.Issuer()}), "token.malformed", a2},
		{"missing", claim("iss", nil), "iss.unknown", a2},
		{"other API", claim("aud", "11111111-1111-4111-8111-111111111111"), "aud.wrong", a2},
		{"the client", claim("aud", entratest.ClientID), "aud.is_client", a2},
		{"App ID URI", claim("aud", entratest.AppIDURI), "aud.is_uri", a2},
		{"array", claim("aud", []string{entratest.APIClientID}), "token.malformed", a2},
		{"array with a number", claim("aud", []any{entratest.APIClientID, 1}), "token.malformed", a2},
		{"object", claim("aud", map[string]any{"a": entratest.APIClientID}), "token.malformed", a2},
		{"upper case", claim("aud", strings.ToUpper(entratest.APIClientID)), "aud.wrong", a2},
		{"two in one", claim("aud", entratest.APIClientID+" x"), "aud.wrong", a2},
		{"missing", claim("aud", nil), "aud.wrong", a2},
		{"exp missing", claim("exp", nil), "time.malformed", a2},
		{"exp null", rawClaim("exp", "null"), "time.malformed", a2},
		{"exp 0", claim("exp", 0), "time.malformed", a2},
		{"exp negative", claim("exp", -1), "time.malformed", a2},
		{"exp string", claim("exp", fmt.Sprint(now+3600)), "time.malformed", a2},
		{"exp fraction", rawClaim("exp", fmt.Sprint(now+3600)+".5"), "time.malformed", a2},
		{"exp exponent", rawClaim("exp", "9e9"), "time.malformed", a2},
		{"exp 1e400", rawClaim("exp", "1e400"), "time.malformed", a2},
		{"exp NaN", rawClaim("exp", "NaN"), "token.malformed", a2},
		{"exp true", claim("exp", true), "time.malformed", a2},
		{"exp 2^63", rawClaim("exp", "9223372036854775808"), "time.malformed", a2},
		{"expired", claim("exp", now-61), "time.expired", a2 + `, error_description="The token has expired"`},
		{"nbf ahead", claim("nbf", now+120), "time.not_yet_valid", a2},
		{"iat ahead", claim("iat", now+120), "time.not_yet_valid", a2},
		{"nbf 1e300", rawClaim("nbf", "1e300"), "time.malformed", a2},
		{"nbf 2^63-1", rawClaim("nbf", "9223372036854775807"), "time.malformed", a2},
		{"exp twice", extra(fmt.Sprintf(`"exp":%d`, now+3600)), "token.malformed", a2},
		{"iss twice, once escaped", extra(`"\u0069ss":"https://evil.example/"`), "token.malformed", a2},
		{"alg twice", sign(`{"alg":"none","alg":"RS256","kid":"`+kid+`","typ":"JWT"}`, claims), "token.malformed", a2},
		{"twice in a nested object", extra(`"x":{"a":1,"a":2}`), "token.malformed", a2},
		{"ISS alone", sign(header, strings.Replace(claims, `"iss"`, `"ISS"`, 1)), "iss.unknown", a2},
		{"Exp alone", sign(header, strings.Replace(claims, `"exp"`, `"Exp"`, 1)), "time.malformed", a2},
		{"SCP alone", sign(header, strings.Replace(claims, `"scp"`, `"SCP"`, 1)), "scope.none", a3},
		{"depth 9", extra(`"x":` + strings.Repeat("[", 8) + strings.Repeat("]", 8)), "token.malformed", a2},
		{"many members", extra(func() string {
			var b strings.Builder
			for i := range 10_000 {
				fmt.Fprintf(&b, `"m%d":1,`, i)
			}
			return strings.TrimSuffix(b.String(), ",")
		}()), "token.too_large", a2},
		{"invalid UTF-8", extra("\"x\":\"\xff\""), "token.malformed", a2},
		{"lone surrogate", extra(`"x":"\ud800"`), "token.malformed", a2},
		{"BOM", sign(header, "\ufeff"+claims), "token.malformed", a2},
		{"trailing data", sign(header, claims+"{}"), "token.malformed", a2},
		{"null", sign(header, "null"), "token.malformed", a2},
		{"array", sign(header, "[]"), "token.malformed", a2},
		{"string", sign(header, `"x"`), "token.malformed", a2},
		{"header null", sign("null", claims), "token.malformed", a2},
		{"padding", bearer(good + "=="), "token.malformed", a2},
		{"standard alphabet", bearer(parts[0] + "." + parts[1] + ".+/" + parts[2][2:]), "token.malformed", a2},
		{"line end", bearer(good + "\n"), "token.malformed", a2},
		{"line end inside", bearer(parts[0] + ".\r\n" + parts[1] + "." + parts[2]), "token.malformed", a2},
		{"bits to spare", bearer(nonCanonical), "token.malformed", a2},
		{"leading zero", resigned(func(b []byte) []byte { return append([]byte{0}, b...) }), "sig.invalid", a2},
		{"truncated", resigned(func(b []byte) []byte { return b[:255] }), "sig.invalid", a2},
		{"one bit", resigned(func(b []byte) []byte { b[17] ^= 1; return b }), "sig.invalid", a2},
		{"empty", resigned(func([]byte) []byte { return nil }), "sig.invalid", a2},
		{"foreign key, known kid", other(jwt.SigningMethodRS256, foreign), "sig.invalid", a2},
		{"scp empty", claim("scp", ""), "scope.none", a3},
		{"scp missing", claim("scp", nil), "scope.none", a3},
		{"scp array", claim("scp", []string{"read"}), "token.malformed", a2},
		{"write only", claim("scp", "write"), "scope.missing", a3},
		{"tab", claim("scp", "read\twrite"), "scope.missing", a3},
		{"comma", claim("scp", "read,write"), "scope.missing", a3},
		{"NBSP", claim("scp", "read\u00a0write"), "scope.missing", a3},
		{"longer word", claim("scp", "readall"), "scope.missing", a3},
		{"case", claim("scp", "Read"), "scope.missing", a3},
		{"full value", claim("scp", entratest.AppIDURI+"/read"), "scope.missing", a3},
		{
			"roles",
			bearer(s.Sign(policy, nil,
				with(s, map[string]any{"scp": "write", "roles": []string{"read"}, "scope": "read", "extension_scp": "read"}))),
			"scope.missing", a3,
		},
		{
			"subject missing", bearer(s.Sign(policy, nil, with(s, map[string]any{"oid": nil, "sub": nil}))), "subject.missing",
			a2,
		},
		{
			"subject is B2C's sentence",
			bearer(s.Sign(policy, nil, with(s, map[string]any{"oid": nil, "sub": "Not supported currently. Use oid " +
				"claim."}))),
			"subject.missing", a2,
		},
		{
			"client that is not admitted",
			bearer(accessToken(t, s, entratest.TokenRequest{Client: entratest.OtherClientID, Scopes: []string{"read"}})),
			"azp.not_allowed", a0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, refusal := check(t.Context(), v, tt.sent, "read")
			require.Equal(t, tt.code, codeOf(refusal))
			base, _, _ := strings.Cut(tt.challenge, ", error_description")
			if tt.code == "azp.not_allowed" {
				require.Equal(t, http.StatusForbidden, refusal.Status)
			} else {
				require.Equal(t, status[base], refusal.Status)
			}
			if tt.challenge == a0 {
				require.Equal(t, a0, refusal.Challenge())
			} else {
				require.True(t, strings.HasPrefix(refusal.Challenge(), tt.challenge), refusal.Challenge())
			}
			x := refusal.Explain()
			require.NotEmpty(t, x.Detail)
			require.NotEmpty(t, x.Fix)
			require.NotContains(t, x.Also, refusal.Code)
		})
	}
	// Spaces around scopes do no harm.
	_, refusal := check(t.Context(), v, claim("scp", " read "), "read")
	require.Nil(t, refusal)
	// Floods of unknown keys, and keys that cannot be read or are bad, are in keys_test.go.
}

// TestClockSkew is how far clocks may be apart, to the second.
func TestClockSkew(t *testing.T) {
	s := tenant(t, entratest.Options{})
	now := time.Now()
	c := configFor(s)
	c.Now = func() time.Time { return now }
	v := start(t, t.Context(), c)
	for _, tt := range []struct {
		claim string
		at    int64 // from now
		code  string
	}{
		{"exp", -59, ""},
		{"exp", -60, "time.expired"},
		{"nbf", 60, ""},
		{"nbf", 61, "time.not_yet_valid"},
		{"iat", 60, ""},
		{"iat", 61, "time.not_yet_valid"},
	} {
		token := s.Sign(entratest.PolicySignUpSignIn, nil, with(s, map[string]any{tt.claim: now.Unix() + tt.at}))
		_, refusal := check(t.Context(), v, bearer(token), "read")
		require.Equal(t, tt.code, codeOf(refusal), "%s %d", tt.claim, tt.at)
	}
}

// Every code of the catalogue can be caused, by the stand-in's means.
func TestEveryCodeCanBeCaused(t *testing.T) {
	s := tenant(t, entratest.Options{})
	require.ElementsMatch(t, entra.Codes(), entratest.BrokenCodes())
	for _, code := range entra.Codes() {
		t.Run(code, func(t *testing.T) {
			broken, err := s.Broken(code)
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			config := configForAll(s)
			config.Applications = broken.Applications
			config.Trust = slices.DeleteFunc(config.Trust, func(x entra.Trust) bool {
				return x.Family() == entra.Family(broken.Untrusted)
			})
			v := start(t, ctx, config)
			settled(t, v)
			if broken.NeedsFault {
				_, refusal := check(ctx, v, bearer(accessToken(t, s, entratest.TokenRequest{Policy: entratest.PolicyROPC})), "read")
				require.Nil(t, refusal)
				defer s.Inject(entratest.Fault{Status: http.StatusServiceUnavailable})()
			}
			var c entra.Credentials
			c.InQuery = strings.Contains(broken.Query, "access_token=")
			for i, arg := range broken.Curl {
				if arg == "-H" {
					if value, ok := strings.CutPrefix(broken.Curl[i+1], "Authorization: "); ok {
						c.Authorization = append(c.Authorization, value)
					}
				}
			}
			_, refusal := check(ctx, v, c, "read")
			require.Equal(t, code, codeOf(refusal), broken.Why)
			require.Equal(t, isVerified(code), refusal.Verified)
		})
	}
}

// From the audience group on, the signature has been checked.
func isVerified(code string) bool {
	for _, prefix := range []string{"aud.", "time.", "subject.", "azp.", "caller.", "scope.", "role."} {
		if strings.HasPrefix(code, prefix) {
			return true
		}
	}
	return false
}

func TestExtraIssuers(t *testing.T) {
	s := tenant(t, entratest.Options{})
	log := &logged{}
	c := configFor(s, entratest.PolicySignUpSignIn)
	mine := "https://contoso.b2clogin.com/" + entratest.TenantID + "/v2.0/"
	theirs := "https://fabrikam.b2clogin.com/11111111-1111-4111-8111-111111111111/v2.0/"
	formless := strings.TrimSuffix(mine, "/")
	c.Trust[0].ExtraIssuers = []string{mine, theirs, formless}
	c.Log = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	v := start(t, ctx, c)

	own, refusal := check(ctx, v, bearer(accessToken(t, s, entratest.TokenRequest{})), "read")
	require.Nil(t, refusal)
	moved, refusal := check(ctx, v, changed(s, map[string]any{"iss": mine}), "read")
	require.Nil(t, refusal)
	moved.Expires = own.Expires
	require.Equal(t, own, moved, "a tenant that moves finds the same caller")

	// The key is the right one: user flows of unrelated tenants have shared keys.
	_, refusal = check(ctx, v, changed(s, map[string]any{"iss": theirs}), "read")
	require.Equal(t, "iss.other_tenant", codeOf(refusal))
	require.Contains(t, log.String(), "extra issuer refused")
	require.Contains(t, log.String(), theirs)
	_, refusal = check(ctx, v, changed(s, map[string]any{"iss": formless}), "read")
	require.Equal(t, "iss.other_host", codeOf(refusal))
	require.Contains(t, log.String(), "does not have the form")
}

func TestSubjectIsOIDElseSub(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	for _, tt := range []struct {
		oid, sub any
		want     string
	}{
		{"AAAA", "bbbb", "aaaa"},
		{nil, "BBBB", "bbbb"},
		{" ", "bbbb", "bbbb"},
		{"not supported currently. use OID claim.", "bbbb", "bbbb"},
	} {
		caller, refusal := check(t.Context(), v, changed(s, map[string]any{"oid": tt.oid, "sub": tt.sub}), "read")
		require.Nil(t, refusal)
		require.Equal(t, tt.want, caller.Subject)
	}
}

func TestAlsoNamesWhatElseIsWrong(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	_, refusal := check(t.Context(), v, changed(s, map[string]any{
		"aud": entratest.ClientID, "scp": nil, "exp": time.Now().Unix() - 3600,
	}), "read")
	require.Equal(t, "aud.is_client", codeOf(refusal))
	x := refusal.Explain()
	require.Equal(t, []string{"time.expired", "scope.none"}, x.Also)
	require.Equal(t, map[string]any{"aud": entratest.APIClientID}, x.Expected)
	require.Equal(t, map[string]any{"aud": entratest.ClientID, "azp": entratest.ClientID}, x.Actual)
	require.Contains(t, x.Fix, "https://contoso.onmicrosoft.com/b2capi/read")
	require.True(t, refusal.Verified)
}

// Near misses are named: what is off by a space, a letter's case, or a form.
func TestNearMissesAreNamed(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	for _, tt := range []struct {
		name         string
		changes      map[string]any
		code, detail string
	}{
		{"policy with a space", map[string]any{"tfp": "B2C_1_signupsignin "}, "policy.not_allowed", "with a space"},
		{"scope of another case", map[string]any{"scp": "Read"}, "scope.missing", "case-sensitive"},
		{"scope as full value", map[string]any{"scp": entratest.AppIDURI + "/read"}, "scope.missing", "short name read"},
		{
			"issuer without its slash",
			map[string]any{"iss": strings.TrimSuffix(s.Issuer(), "/")},
			"iss.slash_or_case",
			"only in a slash",
		},
		{"issuer with a space", map[string]any{"iss": s.Issuer() + " "}, "iss.slash_or_case", "a space"},
		{"audience as App ID URI", map[string]any{"aud": entratest.AppIDURI + "/"}, "aud.is_uri", "App ID URI"},
		{
			"audience as another App ID URI",
			map[string]any{"aud": "api://x/" + entratest.APIClientID},
			"aud.is_uri",
			"App ID URI",
		},
		{
			"a clock that is off",
			map[string]any{"nbf": time.Now().Unix() + 300, "iat": time.Now().Unix() + 300},
			"time.not_yet_valid", "4m5",
		},
		{"long expired", map[string]any{"exp": time.Now().Unix() - 5*86400}, "time.expired", "5 days ago"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, refusal := check(t.Context(), v, changed(s, tt.changes), "read")
			require.Equal(t, tt.code, codeOf(refusal))
			detail := refusal.Explain().Detail
			if tt.detail == "4m5" && strings.Contains(detail, "5m0s") {
				return // the second has just turned
			}
			require.Contains(t, detail, tt.detail)
		})
	}
}

// No fix tells anybody to put what an unverified token says into a setting.
func TestFixesDoNotTrustTokens(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	const foreign = "evil-value"
	for _, changes := range []map[string]any{
		{"iss": "https://" + foreign + ".b2clogin.com/" + entratest.TenantID + "/v2.0/"},
		{"iss": "https://contoso.b2clogin.com/" + entratest.TenantID + "/" + foreign},
		{"tfp": "B2C_1_" + foreign},
		{"aud": foreign},
		{"azp": foreign, "aud": foreign},
		{"scp": foreign},
	} {
		for _, kid := range []string{"unknown", ""} {
			header := map[string]any{}
			if kid != "" {
				header["kid"] = kid
			}
			_, refusal := check(t.Context(), v, bearer(s.Sign(entratest.PolicySignUpSignIn, header, with(s, changes))), "read")
			require.NotNil(t, refusal)
			if !refusal.Verified {
				require.NotContains(t, refusal.Explain().Fix, foreign)
			}
			require.NotContains(t, refusal.Challenge(), foreign)
		}
	}
}

// What is said to an unverified token must not tell which clients are admitted.
func TestAllowListIsNotProbedWithUnverifiedTokens(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	answers := map[string]bool{}
	for _, client := range []string{entratest.ClientID, entratest.OtherClientID} {
		forged := s.Sign(entratest.PolicyProfileEdit, nil,
			with(s, map[string]any{"azp": "22222222-2222-4222-8222-222222222222", "aud": client}))
		_, refusal := check(t.Context(), v, bearer(forged), "read")
		require.Equal(t, "key.unknown", codeOf(refusal))
		answers[fmt.Sprint(refusal.Explain().Also)] = true
	}
	require.Len(t, answers, 1)
}
