package entra

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
)

// verifySignature checks an RS256 signature (RFC 7518, section 3.3) with the key of the
// token's key ID, and tells the hash of the whole token. That alg is RS256 has been checked
// before. golang-jwt's method does the same, but for the hash, which would be half made
// again.
func verifySignature(key any, raw string, t *token) (ok bool, hash tokenHash) {
	public, isRSA := key.(*rsa.PublicKey)
	if !isRSA {
		return false, hash
	}
	h, signed := sha256.New(), len(t.signed)
	h.Write(bytesOf(raw[:signed]))
	var sum [sha256.Size]byte
	ok = rsa.VerifyPKCS1v15(public, crypto.SHA256, h.Sum(sum[:0]), t.signature) == nil
	h.Write(bytesOf(raw[signed:]))
	h.Sum(hash[:0])
	return ok, hash
}
