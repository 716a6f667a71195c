package entratest_test

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// decode reads a token without checking it.
func decode(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3, token)
	for i, into := range []*map[string]any{&header, &claims} {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, into))
	}
	return header, claims
}

// publishedKeys are those of the policy's key endpoint.
func publishedKeys(t *testing.T, s *entratest.Server, policy string) map[string]*rsa.PublicKey {
	t.Helper()
	got := newBrowser(t).get(s.URL() + "/" + entratest.TenantDomain + "/" + policy + "/discovery/v2.0/keys")
	require.Equal(t, http.StatusOK, got.StatusCode)
	var set struct {
		Keys []struct{ Kid, E, N string }
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &set))
	keys := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		n, err := base64.RawURLEncoding.DecodeString(k.N)
		require.NoError(t, err)
		require.Equal(t, "AQAB", k.E)
		keys[k.Kid] = &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}
	}
	return keys
}

// verify checks a token with an independent implementation and the keys that
// its policy publishes.
func verify(t *testing.T, s *entratest.Server, token string, options ...jwt.ParserOption) (jwt.MapClaims, error) {
	t.Helper()
	claims := jwt.MapClaims{}
	options = append([]jwt.ParserOption{
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(s.Issuer()),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithStrictDecoding(),
	}, options...)
	_, err := jwt.ParseWithClaims(token, claims, func(tok *jwt.Token) (any, error) {
		key, ok := publishedKeys(t, s, claims["tfp"].(string))[tok.Header["kid"].(string)]
		if !ok {
			return nil, errors.New("the key is not published")
		}
		return key, nil
	}, options...)
	return claims, err
}

func TestAccessToken(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	s := start(t, entratest.Options{Now: func() time.Time { return now }})
	alice, bob := entratest.Users()[0], entratest.Users()[1]
	claims := func(change func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"iss": s.Issuer(), "aud": entratest.APIClientID, "azp": entratest.ClientID, "scp": "read write",
			"tfp": "B2C_1_signupsignin",
			"oid": alice.ObjectID, "sub": alice.ObjectID, "name": alice.DisplayName, "emails": []any{alice.Email}, "ver": "1.0",
			"iat": float64(now.Unix()), "nbf": float64(now.Unix()), "exp": float64(now.Add(time.Hour).Unix()),
		}
		change(c)
		return c
	}

	for _, row := range []struct {
		name    string
		request entratest.TokenRequest
		change  func(jwt.MapClaims)
	}{
		{
			"the article's",
			entratest.TokenRequest{Scopes: []string{"user_impersonation", "read", "write"}},
			func(c jwt.MapClaims) { c["scp"] = "user_impersonation read write" },
		},
		{"as it comes", entratest.TokenRequest{}, func(jwt.MapClaims) {}},
		{"another user", entratest.TokenRequest{User: "bob"}, func(c jwt.MapClaims) {
			c["oid"], c["sub"], c["name"], c["emails"] = bob.ObjectID, bob.ObjectID, bob.DisplayName, []any{bob.Email}
		}},
		{
			"another policy, in lower case",
			entratest.TokenRequest{Policy: "b2c_1_profileedit"},
			func(c jwt.MapClaims) { c["tfp"] = "B2C_1_profileedit" },
		},
		{
			"another client",
			entratest.TokenRequest{Client: entratest.OtherClientID},
			func(c jwt.MapClaims) { c["azp"] = entratest.OtherClientID },
		},
		{"no scopes", entratest.TokenRequest{Scopes: []string{}}, func(c jwt.MapClaims) { delete(c, "scp") }},
		{
			"another life",
			entratest.TokenRequest{Lifetime: time.Minute},
			func(c jwt.MapClaims) { c["exp"] = float64(now.Add(time.Minute).Unix()) },
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			token, err := s.AccessToken(row.request)
			require.NoError(t, err)
			got, err := verify(t, s, token, jwt.WithTimeFunc(func() time.Time { return now }),
				jwt.WithAudience(entratest.APIClientID))
			require.NoError(t, err)
			require.Equal(t, claims(row.change), got)

			header, _ := decode(t, token)
			_, kid := s.PrivateKey(got["tfp"].(string))
			require.Equal(t, map[string]any{"alg": "RS256", "kid": kid, "typ": "JWT"}, header)
		})
	}

	t.Run("expired", func(t *testing.T) {
		token, err := s.AccessToken(entratest.TokenRequest{Lifetime: -time.Hour})
		require.NoError(t, err)
		_, err = verify(t, s, token, jwt.WithTimeFunc(func() time.Time { return now }))
		require.ErrorIs(t, err, jwt.ErrTokenExpired)
		_, err = verify(t, s, token, jwt.WithTimeFunc(func() time.Time { return now.Add(-90 * time.Minute) }))
		require.NoError(t, err)
	})

	for name, request := range map[string]entratest.TokenRequest{
		"B2C_1_signupsignin, B2C_1_profileedit, B2C_1_ropc, B2C_1_passwordreset": {Policy: "B2C_1_nosuch"},
		"alice and bob":            {User: "carol"},
		"B2CTest (47840c35-e986-4": {Client: entratest.APIClientID},
	} {
		_, err := s.AccessToken(request)
		require.ErrorContains(t, err, name)
		_, err = s.IDToken(request)
		require.ErrorContains(t, err, name)
		require.Nil(t, s.Claims(request))
	}
}

func TestIDToken(t *testing.T) {
	s := start(t, entratest.Options{})
	token, err := s.IDToken(entratest.TokenRequest{})
	require.NoError(t, err)
	claims, err := verify(t, s, token, jwt.WithAudience(entratest.ClientID))
	require.NoError(t, err)
	require.Contains(t, claims, "auth_time")
	require.NotContains(t, claims, "scp")
	require.NotContains(t, claims, "azp")
	require.NotContains(t, claims, "jti")
}

func TestSign(t *testing.T) {
	s := start(t, entratest.Options{})
	claims := s.Claims(entratest.TokenRequest{})
	claims["roles"] = []string{"admin"}

	token := s.Sign(entratest.PolicySignUpSignIn, map[string]any{"typ": nil, "nonce": "n"}, claims)
	got, err := verify(t, s, token)
	require.NoError(t, err)
	require.Equal(t, []any{"admin"}, got["roles"])
	header, _ := decode(t, token)
	_, kid := s.PrivateKey(entratest.PolicySignUpSignIn)
	require.Equal(t, map[string]any{"alg": "RS256", "kid": kid, "nonce": "n"}, header)

	raw := s.SignRaw(entratest.PolicySignUpSignIn, []byte(`{"alg":"RS256" }`), []byte(`{"a":1,"a":2}`))
	parts := strings.Split(raw, ".")
	require.Equal(t, base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256" }`)), parts[0])
	require.Equal(t, base64.RawURLEncoding.EncodeToString([]byte(`{"a":1,"a":2}`)), parts[1])
	key, _ := s.PrivateKey(entratest.PolicySignUpSignIn)
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	require.NoError(t, err)
	require.NoError(t, jwt.SigningMethodRS256.Verify(parts[0]+"."+parts[1], sig, &key.PublicKey))

	require.PanicsWithValue(t,
		`entratest: no policy "B2C_1_x"; there are B2C_1_signupsignin, B2C_1_profileedit, B2C_1_ropc, B2C_1_passwordreset`,
		func() { s.Sign("B2C_1_x", nil, nil) })
}

func TestKeysAreNamedByTheirThumbprint(t *testing.T) {
	s := start(t, entratest.Options{})
	kids := map[string]bool{}
	for _, policy := range []string{entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit, entratest.PolicyROPC} {
		key, kid := s.PrivateKey(policy)
		// RFC 7638, 3.3: the required members, in the order of their names.
		n := base64.RawURLEncoding.EncodeToString(key.N.Bytes())
		sum := sha256.Sum256([]byte(`{"e":"AQAB","kty":"RSA","n":"` + n + `"}`))
		require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), kid)
		require.Equal(t, 2048, key.N.BitLen())
		require.NotNil(t, publishedKeys(t, s, policy)[kid])
		kids[kid] = true
	}
	require.Len(t, kids, 3, "each policy has its own key")
}

func TestRollover(t *testing.T) {
	s := start(t, entratest.Options{})
	policy := entratest.PolicyProfileEdit
	before, err := s.AccessToken(entratest.TokenRequest{Policy: policy})
	require.NoError(t, err)
	_, first := s.PrivateKey(policy)

	s.Rollover(policy, true)
	_, second := s.PrivateKey(policy)
	require.NotEqual(t, first, second)
	require.Len(t, publishedKeys(t, s, policy), 2)
	_, err = verify(t, s, before)
	require.NoError(t, err, "the old key is still published")
	after, err := s.AccessToken(entratest.TokenRequest{Policy: policy})
	require.NoError(t, err)
	header, _ := decode(t, after)
	require.Equal(t, second, header["kid"])

	s.Rollover(policy, false)
	_, third := s.PrivateKey(policy)
	require.NotContains(t, []string{first, second}, third, "no key comes twice")
	require.Len(t, publishedKeys(t, s, policy), 1)
	for _, old := range []string{before, after} {
		_, err = verify(t, s, old)
		require.ErrorContains(t, err, "not published")
	}
	require.Len(t, publishedKeys(t, s, entratest.PolicySignUpSignIn), 1, "other policies keep theirs")
}
