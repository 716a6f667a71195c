package entra_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// BenchmarkVerify compares the verification of a token, where a tenant of each family is
// trusted, with its floor, the bare RSA operation, in one run:
//
//	go test ./handler/entra -run xxx -bench Verify
func BenchmarkVerify(b *testing.B) {
	s := tenant(b, entratest.Options{})
	v := start(b, b.Context(), configForAll(s))
	settled(b, v)
	good := accessToken(b, s, entratest.TokenRequest{})
	_, refusal := check(b.Context(), v, bearer(good), "read")
	require.Nil(b, refusal)
	key, _ := s.PrivateKey(entratest.PolicySignUpSignIn)
	dot := strings.LastIndexByte(good, '.')
	signature, err := base64.RawURLEncoding.DecodeString(good[dot+1:])
	require.NoError(b, err)
	sum := sha256.Sum256([]byte(good[:dot]))
	last := byte('A')
	if good[dot+1] == last {
		last = 'B'
	}
	forged := good[:dot+1] + string(last) + good[dot+2:]
	unknown := s.Sign(entratest.PolicySignUpSignIn, map[string]any{"kid": strings.Repeat("k", 43)},
		s.Claims(entratest.TokenRequest{}))
	check(b.Context(), v, bearer(unknown), "read") // uses up the one fetch

	b.Run("floor", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
				b.Fatal("not verified")
			}
		}
	})
	b.Run("hash", func(b *testing.B) { // the floor of a token that was seen before
		b.ReportAllocs()
		token := []byte(good)
		for b.Loop() {
			if sha256.Sum256(token) == sum {
				b.Fatal("of a part only")
			}
		}
	})
	for _, bench := range []struct{ name, token, code string }{
		{"seen", good, ""},
		{"good", good, ""},
		{"external", accessToken(b, s, entratest.TokenRequest{Family: entratest.External}), ""},
		{"entra", accessToken(b, s, entratest.TokenRequest{Family: entratest.Workforce}), ""},
		{"forged", forged, "sig.invalid"},
		{"unknown_kid", unknown, "key.unknown"},
		{
			"foreign", s.Sign(entratest.PolicySignUpSignIn, nil, with(s, map[string]any{"iss": "https://contoso.auth0.com/"})),
			"token.foreign",
		},
		{"garbage", strings.Repeat("x", len(good)), "token.opaque"},
		{
			"garbage_json", strings.Repeat("x", 100) + "." + strings.Repeat("x", len(good)-400) + "." + strings.Repeat("x", 298),
			"token.malformed",
		},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			c := bearer(bench.token)
			forget := v.Forgetting(bench.token)
			for b.Loop() {
				if bench.name != "seen" {
					forget()
				}
				if _, err := v.Verify(b.Context(), c, entra.Scope("read")); err != nil && err.Error() != bench.code ||
					err == nil && bench.code != "" {
					b.Fatal(err)
				}
			}
		})
	}
}
