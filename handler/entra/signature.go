package entra

import "github.com/golang-jwt/jwt/v5"

// verifySignature checks an RS256 signature (RFC 7518, section 3.3) with the key of the
// token's key ID. That alg is RS256 has been checked before; golang-jwt's parser would
// read the token again, and less strictly.
func verifySignature(key any, t *token) bool {
	return jwt.SigningMethodRS256.Verify(t.signed, t.signature, key) == nil
}
