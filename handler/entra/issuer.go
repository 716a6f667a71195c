package entra

import "strings"

// issuerParts are what an issuer of the Microsoft identity platform is made of.
// B2C's forms are https://{host}/{tenant GUID}/v2.0/ and, with the policy,
// https://{host}/tfp/{tenant GUID}/{policy}/v2.0/.
type issuerParts struct {
	host, tenant, policy string
	slash                bool // the path ends with a slash
	version              bool // the path has /v2.0
}

// splitIssuer takes an issuer apart. Each part is empty where it is missing.
func splitIssuer(iss string) (p issuerParts) {
	rest, ok := strings.CutPrefix(iss, "https://")
	if !ok {
		if rest, ok = strings.CutPrefix(iss, "http://"); !ok {
			return p
		}
	}
	p.slash = strings.HasSuffix(rest, "/")
	host, path, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	p.host = strings.ToLower(host)
	if after, ok := strings.CutSuffix(path, "/v2.0"); ok {
		p.version, path = true, after
	}
	if after, ok := strings.CutPrefix(path, "tfp/"); ok {
		path, p.policy, _ = strings.Cut(after, "/")
	}
	if isGUID(path) {
		p.tenant = strings.ToLower(path)
	}
	return p
}

// isB2CIssuer reports whether an issuer has one of B2C's two forms.
func isB2CIssuer(iss string) bool {
	p := splitIssuer(iss)
	return strings.HasPrefix(iss, "https://") && p.tenant != "" && p.version && p.slash
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// equalFoldASCII compares without regard to the case of ASCII letters.
// Unicode's folding would let K (the Kelvin sign) pass for k.
func equalFoldASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
