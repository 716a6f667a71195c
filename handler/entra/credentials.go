package entra

import (
	"net/http"
	"strings"
)

// Credentials are what a request carries in place of a token.
type Credentials struct {
	// Authorization has the values of the Authorization header, one a line.
	Authorization []string
	// InQuery says that the query has an access_token, which RFC 6750 allows
	// and RFC 9700, section 4.3.2, forbids.
	InQuery bool
}

// joined reports whether a proxy put two values of the Authorization header into one line:
// RFC 9110, section 5.3, has them joined by commas. A part that is another scheme's
// parameter has a = before any space.
func joined(header string) bool {
	_, rest, _ := strings.Cut(header, ",")
	for part := range strings.SplitSeq(rest, ",") {
		part = strings.TrimLeft(part, " \t")
		if end := strings.IndexAny(part, " \t"); end > 0 && isScheme(part[:end]) {
			if value := strings.TrimLeft(part[end:], " \t"); value != "" && value[0] != '=' {
				return true
			}
		}
	}
	return false
}

func isScheme(s string) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	return strings.IndexByte(letters, s[0]) >= 0 && strings.Trim(s, letters+"0123456789-") == ""
}

// token is the one in the Authorization header (RFC 6750, section 2.1), or what stands in
// its place. It is sound as far as the request goes.
func (c Credentials) token() (raw string, s shape) {
	var header string
	if len(c.Authorization) > 0 {
		header = strings.Trim(c.Authorization[0], " \t")
	}
	switch {
	case len(c.Authorization) > 1, header != "" && c.InQuery, joined(header):
		return "", severalTokens
	case header == "" && c.InQuery:
		return "", tokenInQuery
	case header == "":
		return "", noToken
	}
	scheme, rest := header, ""
	if i := strings.IndexAny(header, " \t"); i >= 0 {
		scheme, rest = header[:i], header[i:]
	}
	if !strings.EqualFold(scheme, "Bearer") {
		if strings.HasPrefix(scheme, "eyJ") {
			return "", noScheme
		}
		return "", otherScheme
	}
	raw = strings.TrimLeft(rest, " ")
	switch {
	case raw == "", isPlaceholder(raw):
		return raw, emptyToken
	case strings.IndexByte(raw, ' ') >= 0 || strings.IndexByte(raw, '\t') >= 0:
		return raw, severalWords
	}
	return raw, sound
}

// isPlaceholder reports whether s is what programs print for a value that is not there, or
// what stood in place of one that was to be filled in.
func isPlaceholder(s string) bool {
	if strings.HasPrefix(s, "eyJ") && strings.IndexByte(s, '.') > 0 { // a token's
		return false
	}
	switch s {
	case "undefined", "null", "None", "nil", "NaN":
		return true
	}
	for _, around := range [...][2]string{
		{"[object ", "]"}, {"<", ">"}, {"{{", "}}"}, {"${", "}"}, {"$(", ")"}, {"%", "%"}, {"$", ""},
	} {
		if strings.HasPrefix(s, around[0]) && strings.HasSuffix(s, around[1]) {
			return true
		}
	}
	// YOUR_TOKEN, access_token, your-token-here
	return len(s) <= 40 && !strings.ContainsAny(s, "0123456789.") && strings.Contains(strings.ToLower(s), "token")
}

// CredentialsOf are what a request carries.
func CredentialsOf(r *http.Request) Credentials {
	return Credentials{
		Authorization: r.Header.Values("Authorization"),
		InQuery:       strings.Contains(r.URL.RawQuery, "access_token") && r.URL.Query().Has("access_token"),
	}
}
