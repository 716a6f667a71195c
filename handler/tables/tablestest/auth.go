package tablestest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const maxSkew = 15 * time.Minute

var accountKey, _ = base64.StdEncoding.DecodeString(AccountKey)

// versions are the values of x-ms-version that have JSON (Microsoft, "Versioning for Azure Storage").
var versions = []string{
	"2013-08-15", "2014-02-14", "2015-02-21", "2015-04-05", "2015-07-08", "2015-12-11", "2016-05-31", "2017-04-17",
	"2017-07-29", "2017-11-09", "2018-03-28", "2018-11-09", "2019-02-02", "2019-07-07", "2019-10-10", "2019-12-12",
	"2020-02-10", "2020-04-08", "2020-06-12", "2020-08-04", "2020-10-02", "2020-12-06", "2021-02-12", "2021-04-10",
	"2021-06-08", "2021-08-06", "2021-10-04", "2021-12-02", "2022-11-02", "2023-01-03", "2023-05-03", "2023-08-03",
	"2023-11-03", "2024-02-04", "2024-05-04", "2024-08-04", "2024-11-04", "2025-01-05", "2025-05-05", "2025-07-05",
	"2025-11-05", "2026-02-06", "2026-04-06", "2026-06-06",
}

// authenticate checks a request's date, its SharedKey or SharedKeyLite signature (Microsoft,
// "Authorize with Shared Key") or its bearer token, and its version.
func (s *Server) authenticate(r *http.Request) *serviceError {
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme == "Bearer" { // the token has times, so the request needs none
		if refusal := s.checkToken(r, credential); refusal != nil {
			return refusal
		}
		return checkVersion(r)
	}
	date := r.Header.Get("x-ms-date")
	if date == "" {
		date = r.Header.Get("Date")
	}
	sent, err := http.ParseTime(date)
	if err != nil {
		return authenticationFailed("neither x-ms-date nor Date is a date")
	}
	if skew := s.now().Sub(sent).Abs(); skew > maxSkew {
		return authenticationFailed(fmt.Sprintf("the request's date is %s off", skew.Round(time.Second)))
	}

	account, signature, _ := strings.Cut(credential, ":")
	given, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || account != AccountName {
		return authenticationFailed(
			"the Authorization header is not of the form SharedKeyLite " + AccountName + ":signature",
		)
	}
	var toSign string
	switch scheme {
	case "SharedKeyLite":
		toSign = date + "\n" + canonicalResource(r)
	case "SharedKey":
		toSign = strings.Join(
			[]string{r.Method, r.Header.Get("Content-MD5"), r.Header.Get("Content-Type"), date, canonicalResource(r)},
			"\n",
		)
	default:
		return authenticationFailed("the scheme is neither SharedKey nor SharedKeyLite")
	}
	mac := hmac.New(sha256.New, accountKey)
	mac.Write([]byte(toSign))
	if !hmac.Equal(mac.Sum(nil), given) {
		return authenticationFailed(fmt.Sprintf("the signature is not that of %q", toSign))
	}
	return checkVersion(r)
}

func checkVersion(r *http.Request) *serviceError {
	if version := r.Header.Get("x-ms-version"); !slices.Contains(versions, version) {
		return &serviceError{
			http.StatusBadRequest,
			"InvalidHeaderValue",
			"The value for one of the HTTP headers is not in the correct format. (x-ms-version)",
		}
	}
	return nil
}

// canonicalResource is the account, the path as it was sent, and of the query comp alone.
func canonicalResource(r *http.Request) string {
	path, query, _ := strings.Cut(r.RequestURI, "?")
	if u, err := url.Parse(path); err == nil && u.Host != "" {
		path = u.EscapedPath()
	}
	resource := "/" + AccountName + path
	if values, err := url.ParseQuery(query); err == nil && values.Has("comp") {
		resource += "?comp=" + values.Get("comp")
	}
	return resource
}

// checkToken checks a bearer token as Azure Storage does, but for its signature: whose it
// is, that it is for Azure Storage, and its time (Microsoft, "Authorize with Microsoft
// Entra ID").
func (s *Server) checkToken(r *http.Request, token string) *serviceError {
	if r.TLS == nil {
		return authenticationFailed("Authentication scheme Bearer is not allowed with HTTP.")
	}
	var claims struct {
		jwt.RegisteredClaims
		Audience string `json:"aud"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
		return invalidToken("the token cannot be read: " + err.Error())
	}
	now := s.now()
	switch {
	case !strings.HasPrefix(claims.Issuer, "https://sts.windows.net/"):
		return invalidToken("Issuer validation failed.")
	case strings.TrimSuffix(claims.Audience, "/") != "https://storage.azure.com":
		return invalidToken("Audience validation failed.")
	case claims.NotBefore == nil || now.Before(claims.NotBefore.Time):
		return invalidToken("Lifetime validation failed. The token is not yet valid.")
	case claims.ExpiresAt == nil || !now.Before(claims.ExpiresAt.Time):
		return invalidToken("Lifetime validation failed. The token is expired.")
	}
	return nil
}

func invalidToken(message string) *serviceError {
	return &serviceError{http.StatusUnauthorized, "InvalidAuthenticationInfo", message}
}
