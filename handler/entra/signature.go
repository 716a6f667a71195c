package entra

import "github.com/golang-jwt/jwt/v5"

// verifySignature checks an RS256 signature (RFC 7518, section 3.3) with the
// key that keyfunc finds for the token's key ID. That alg is RS256 and kid a
// string has been seen before; golang-jwt's parser would read the token again,
// and less strictly.
func verifySignature(key jwt.Keyfunc, t *token) bool {
	k, err := key(&jwt.Token{Header: map[string]any{"alg": t.alg, "kid": t.kid}})
	return err == nil && jwt.SigningMethodRS256.Verify(t.signed, t.signature, k) == nil
}
