package entra

import (
	"slices"
	"strings"
)

// issuerParts are what an issuer of the Microsoft identity platform is made of. Its
// forms are https://{host}/{tenant GUID}/v2.0, with a slash at the end for B2C, and,
// for B2C alone, https://{host}/tfp/{tenant GUID}/{policy}/v2.0/.
type issuerParts struct {
	host, tenant, policy string
	tls                  bool // https
	slash                bool // the path ends with a slash
	version              bool // the path has /v2.0
}

// splitIssuer takes an issuer apart. Each part is empty where it is missing.
func splitIssuer(iss string) (p issuerParts) {
	rest, ok := strings.CutPrefix(iss, "https://")
	if p.tls = ok; !ok {
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

// whole reports whether all parts are there that every issuer has.
func (p issuerParts) whole() bool { return p.tls && p.tenant != "" && p.version }

// Hosts of Microsoft's sign-in.
const (
	// legacyHost is where B2C signed people in before each tenant had a host of its own,
	// and where Entra ID does.
	legacyHost = "login.microsoftonline.com"
	// versionOneHost signs for Entra ID's endpoint of version 1.
	versionOneHost = "sts.windows.net"
	ciamSuffix     = ".ciamlogin.com"
)

// sovereignHosts are Entra ID's in national clouds.
var sovereignHosts = []string{
	"login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.chinacloudapi.cn", "sts.chinacloudapi.cn",
	"login.microsoftonline.de",
}

// named is the family that an issuer seems to be of by its host and slash; nil if that
// tells nothing.
func (p issuerParts) named() *family {
	switch {
	case strings.HasSuffix(p.host, ciamSuffix):
		return &externalID
	case p.host == versionOneHost, slices.Contains(sovereignHosts, p.host):
		return &workforce
	case p.tenant == "":
		return nil
	case p.slash || p.policy != "" || strings.Contains(p.host, ".b2clogin."):
		return &b2c
	case p.host == legacyHost:
		return &workforce
	}
	return nil
}

// issuerGUID is the tenant's GUID in the path of an issuer of Entra's families, as it is
// spelled there.
func issuerGUID(iss string) string {
	path, _ := strings.CutSuffix(strings.TrimSuffix(iss, "/"), "/v2.0")
	return path[strings.LastIndexByte(path, '/')+1:]
}

// plain is an issuer without what people get wrong when they write one by hand.
func plain(iss string) string { return strings.ToLower(strings.Trim(iss, " \t\r\n/")) }

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
