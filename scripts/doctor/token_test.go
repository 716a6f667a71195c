package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/scripts/internal/report"
)

var groups = []string{"request", "form", "kind", "header", "family", "keys", "issuer", "key", "audience", "time", "caller", "scope"}

func accessToken(t testing.TB, w *world, r entratest.TokenRequest) string {
	token, err := w.tenant.AccessToken(r)
	require.NoError(t, err)
	return token
}

func TestGoodToken(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "token.txt")
	require.NoError(t, os.WriteFile(path, []byte(accessToken(t, w, entratest.TokenRequest{})+"\n"), 0o600))
	for _, scope := range []string{"read", "write"} {
		r, status := w.json(t, "-token", path, "-scope", scope)
		require.Equal(t, 0, status, r.Checks)
		for _, group := range groups {
			require.Len(t, r.with("token, "+group), 1, group)
			require.Equal(t, report.StatusOK, r.with("token, " + group)[0].Status, group)
		}
		require.Contains(t, r.with("token, scope")[0].Detail, "has "+scope)
	}
	stdout, _, status := w.run(t, "-token", path)
	require.Equal(t, 0, status)
	require.Regexp(t, `(?m)^ok    pasted +a token: eyJ\S{7}… \(\d+ characters\)$`, stdout)

	require.NoError(t, os.WriteFile(path, []byte(accessToken(t, w, entratest.TokenRequest{Scopes: []string{"read"}})), 0o600))
	r, status := w.json(t, "-token", path, "-scope", "write")
	require.Equal(t, 1, status)
	require.Equal(t, "scope.missing", r.with("token, scope")[0].Code)
}

// Every broken token of the stand-in is named by its code, with what, and how to
// mend it; and no line says that something is right which is not.
func TestBrokenTokens(t *testing.T) {
	for _, code := range entra.Codes() {
		if strings.HasPrefix(code, "auth.") && code != "auth.token_empty" {
			continue // no token alone causes it
		}
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.env["B2C_POLICIES"] += "," + entratest.PolicyROPC
			b, err := w.tenant.Broken(code)
			require.NoError(t, err)
			require.NotEmpty(t, b.Token)
			if b.NeedsFault {
				w.tenant.Inject(b.Fault)
			}
			for _, name := range []string{"EXTERNAL", "ENTRA"} {
				if string(b.Untrusted) == strings.ToLower(name) {
					continue
				}
				for _, setting := range []string{"_TENANT", "_API_CLIENT_ID", "_ALLOWED_CLIENTS", "_METADATA_URL"} {
					w.env[name+setting] = families(w)[name+setting]
				}
			}
			if b.Applications {
				w.env["APPLICATIONS"] = "accept"
			}
			if b.Untrusted == entratest.B2C {
				maps.DeleteFunc(w.env, func(name, _ string) bool { return strings.HasPrefix(name, "B2C_") })
				w.write(t, "local.settings.json", `{"IsEncrypted":false,"Values":{}}`)
			}
			w.stdin = b.Token
			r, status := w.json(t, "-token", "-")
			require.Equal(t, 1, status)
			var failed []report.Check
			for _, c := range r.Checks {
				if c.Status == report.StatusFail {
					failed = append(failed, c)
				}
			}
			require.NotEmpty(t, failed)
			require.Equal(t, code, failed[0].Code)
			require.NotEmpty(t, failed[0].Detail)
			require.NotEmpty(t, failed[0].Fix)
			for _, group := range groups {
				require.NotEmpty(t, r.with("token, "+group), group)
			}

			var said struct{ Alg, Aud, Scp, Tfp, Tid string }
			for _, part := range strings.Split(b.Token, ".")[:min(2, strings.Count(b.Token, "."))] {
				_ = json.Unmarshal(decode(part), &said)
			}
			right := func(group string) bool { return r.with("token, " + group)[0].Status == report.StatusOK }
			apis := []string{entratest.APIClientID, entratest.ExternalAPIClientID, entratest.WorkforceAPIClientID}
			require.False(t, right("audience") && !slices.Contains(apis, said.Aud))
			require.False(t, right("scope") && !strings.Contains(" "+said.Scp+" ", " read "))
			require.False(t, right("header") && said.Alg != "RS256")
			require.False(t, right("family") && said.Tfp == "" && said.Tid == "")
		})
	}
}

// families are the settings of the external and the workforce tenant.
func families(w *world) map[string]string {
	return map[string]string{
		"EXTERNAL_TENANT":          entratest.ExternalTenantName,
		"EXTERNAL_API_CLIENT_ID":   entratest.ExternalAPIClientID,
		"EXTERNAL_ALLOWED_CLIENTS": entratest.ExternalClientID,
		"EXTERNAL_METADATA_URL":    w.tenant.MetadataTemplateOf(entratest.External),
		"ENTRA_TENANT":             entratest.WorkforceTenantDomain,
		"ENTRA_API_CLIENT_ID":      entratest.WorkforceAPIClientID,
		"ENTRA_ALLOWED_CLIENTS":    entratest.WorkforceClientID + "," + entratest.WorkforceDaemonID,
		"ENTRA_METADATA_URL":       w.tenant.MetadataTemplateOf(entratest.Workforce),
	}
}

func TestKeysUnavailableSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.stdin = accessToken(t, w, entratest.TokenRequest{})
	w.tenant.Inject(entratest.Fault{Status: 502})
	r, status := w.json(t, "-token", "-")
	require.Equal(t, 1, status)
	require.Contains(t, r.with("token, keys")[0].Detail, "502 Bad Gateway")
}

// The clock that finds a token untimely is looked at, too.
func TestUntimelyToken(t *testing.T) {
	w := newWorld(t)
	b, err := w.tenant.Broken("time.not_yet_valid")
	require.NoError(t, err)
	w.stdin = b.Token
	r, status := w.json(t, "-token", "-")
	require.Equal(t, 1, status)
	require.Equal(t, report.StatusOK, r.with("clock")[0].Status)
	w.tenant.Inject(entratest.Fault{Header: http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}})
	r, _ = w.json(t, "-token", "-")
	require.Equal(t, report.StatusFail, r.with("clock")[0].Status)
}

// What one has in the clipboard.
func TestPastes(t *testing.T) {
	w := newWorld(t)
	good := accessToken(t, w, entratest.TokenRequest{})
	id, err := w.tenant.IDToken(entratest.TokenRequest{})
	require.NoError(t, err)
	code, err := w.tenant.Broken("token.code_or_refresh")
	require.NoError(t, err)
	body := func(members map[string]any) string {
		b, err := json.Marshal(members)
		require.NoError(t, err)
		return string(b)
	}
	for _, tt := range []struct {
		name, text string
		code       string // "" if the token is right
		says       string
	}{
		{"token", good, "", "a token"},
		{"token, line end and byte order mark", "\ufeff" + good + "\r\n", "", "a token"},
		{"token in quotes", `"` + good + `"`, "", "a token"},
		{"Bearer", "Bearer " + good, "", "after the word Bearer"},
		{"header line", "Authorization: Bearer " + good, "", "the Authorization header"},
		{"header line of curl -v", "> GET / HTTP/1.1\n> authorization: bearer " + good + "\n>", "", "the Authorization header"},
		{"curl command", "curl -i -H 'Authorization: Bearer " + good + "' http://localhost:7071/api/items", "", "the Authorization header"},
		{"two header lines", "Authorization: Bearer " + good + "\nAuthorization: Bearer " + good, "auth.malformed", "several Authorization values"},
		{"header without Bearer", "Authorization: " + good, "auth.bearer_prefix_missing", "the word Bearer"},
		{"header with Basic", "Authorization: Basic YWxpY2U6c2VjcmV0", "auth.scheme", "scheme"},
		{"token response", body(map[string]any{"access_token": good, "id_token": id, "token_type": "Bearer", "expires_in": "3600"}), "", "access_token of a token response"},
		{"MSAL's result", body(map[string]any{"accessToken": good, "idToken": id}), "", "access_token of a token response"},
		{"MSAL's result, empty", body(map[string]any{"accessToken": "", "scopes": []string{}}), "auth.token_empty", "access token"},
		{"response with an ID token alone", body(map[string]any{"id_token": id, "scope": "openid"}), "token.id_token", "for no API"},
		{"response with a refresh token alone", body(map[string]any{"refresh_token": code.Token}), "token.code_or_refresh", "Redeem it"},
		{"error response", body(map[string]any{"error": "invalid_grant", "error_description": "AADB2C90080: The provided grant has expired."}), "AADB2C90080", "Sign in again"},
		{"headers as JSON", body(map[string]any{"Authorization": "Bearer " + good}), "", "the Authorization header"},
		{"other JSON", `{"hello":"world"}`, "", "neither access_token"},
		{"half a response", `{"access_token":"` + good[:40], "token.malformed", "it was cut"},
		{"redirect with a token", "https://jwt.ms/#access_token=" + good + "&token_type=Bearer&id_token=" + id, "", "access_token of a redirect"},
		{"fragment alone", "#state=1&access_token=" + good, "", "access_token of a redirect"},
		{"redirect with an ID token alone", "https://jwt.ms/#id_token=" + id, "token.id_token", "Run now"},
		{"redirect with a code", "http://localhost:9912/?state=1&code=" + code.Token, "token.code_or_refresh", "Redeem it"},
		{"redirect of an app", "msal47840c35://auth?code=" + code.Token, "token.code_or_refresh", "Redeem it"},
		{"redirect with an error", "https://jwt.ms/#error=invalid_request&error_description=AADB2C90117%3a+The+scope+%27read%27+provided+in+the+request+is+not+supported.%0d%0aCorrelation+ID%3a+1", "AADB2C90117", "Expose an API"},
		{"redirect with an error in the query", "http://localhost:9912/?error=access_denied&error_description=AADB2C90205", "AADB2C90205", "API permissions"},
		{"error without a code", "https://jwt.ms/#error=server_error&error_description=oops", "", "server_error: oops"},
		{"error with an unknown code", "https://jwt.ms/#error=x&error_description=AADB2C00000", "", "AADB2C00000"},
		{"error text", "AADB2C90057: The provided application is not configured to allow the 'OAuth' Implicit flow.", "AADB2C90057", "mplicit"},
		{"redirect with nothing", "https://jwt.ms/#state=1", "", "neither access_token"},
		{"another URL", "https://contoso.onmicrosoft.com/b2capi/read", "", "neither a token"},
		{"token in the API's URL", "http://localhost:7071/api/items?access_token=" + good, "auth.token_in_query", "leaked"},
		{"code", code.Token, "token.code_or_refresh", "Redeem it"},
		{"opaque", "0123456789abcdef0123456789abcdef", "token.opaque", "three parts"},
		{"undefined", "Bearer undefined", "auth.token_empty", "placeholder"},
		{"nothing", " \n", "", "There is nothing"},
		{"a cut token", good[:len(good)/2], "token.malformed", "three parts"},
		{"a token without its end", good[:len(good)-102], "sig.invalid", "was cut off"},
		{"a token without its end, in the middle of a byte", good[:len(good)-105], "token.malformed", "was cut off"},
		{"an edited token", good[:len(good)-8] + "AAAAAAAA", "sig.invalid", "edited"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.stdin = tt.text
			r, status := w.json(t, "-token", "-")
			said := ""
			for _, c := range r.Checks {
				said += c.Name + " " + c.Code + " " + c.Detail + " " + c.Fix + "\n"
			}
			require.Contains(t, said, tt.says)
			if tt.code == "" {
				if len(r.with("token, scope")) == 1 && r.with("token, scope")[0].Status == report.StatusOK {
					require.Equal(t, 0, status, said)
				} else {
					require.Equal(t, 1, status, said)
				}
				return
			}
			require.Equal(t, 1, status)
			require.Contains(t, said, " "+tt.code+" ")
		})
	}
}

// An error needs no settings to be explained.
func TestSignInErrorWithoutSettings(t *testing.T) {
	w := &world{app: t.TempDir(), stdin: "https://jwt.ms/#error=x&error_description=AADB2C90117"}
	r, status := w.json(t, "-token", "-")
	require.Equal(t, 1, status)
	require.Equal(t, []string{"sign-in"}, r.status(report.StatusFail))
}

// runNow is the portal's URL, as it should be.
func runNow() url.Values {
	return url.Values{
		"p": {entratest.PolicySignUpSignIn}, "client_id": {entratest.ClientID}, "nonce": {"defaultNonce"},
		"redirect_uri": {"http://localhost:9912/"}, "scope": {"openid " + entratest.AppIDURI + "/read " + entratest.AppIDURI + "/write"},
		"response_type": {"id_token token"}, "prompt": {"login"},
	}
}

func TestAuthorizeURL(t *testing.T) {
	w := newWorld(t)
	pkce := func(q url.Values) {
		q.Set("response_type", "code")
		q.Set("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
		q.Set("code_challenge_method", "S256")
	}
	with := func(name, value string) func(url.Values) { return func(q url.Values) { q.Set(name, value) } }
	for _, tt := range []struct {
		name   string
		change func(url.Values)
		check  string // what comes after "sign-in, "; "" if all is well
		says   string
		warn   bool
	}{
		{"as it should be", func(url.Values) {}, "", "", false},
		{"code and PKCE", pkce, "", "", false},
		{"no client", with("client_id", ""), "client_id", "AADB2C90008", false},
		{"the API's own ID", with("client_id", entratest.APIClientID), "client_id", "the API's own ID", false},
		{"no GUID", with("client_id", "B2CTest"), "client_id", "a GUID", false},
		{"client not admitted", with("client_id", entratest.OtherClientID), "client_id", "azp.not_allowed", false},
		{"no scope", with("scope", ""), "scope", "AADB2C90010", false},
		{"short scope name", with("scope", "openid read"), "scope", entratest.AppIDURI + "/read", false},
		{"openid alone", with("scope", "openid offline_access"), "scope", "none of the API's scopes", false},
		{"client as scope", with("scope", "openid "+entratest.ClientID), "scope", "aud.is_client", false},
		{"scope of Graph", with("scope", "openid User.Read"), "scope", "Microsoft Graph", false},
		{"scope of Graph in full", with("scope", "openid https://graph.microsoft.com/User.Read"), "scope", "Microsoft Graph", false},
		{"scope of another resource", with("scope", "openid https://contoso.onmicrosoft.com/other/read"), "scope", "another resource", false},
		{"two resources", with("scope", "openid "+entratest.AppIDURI+"/read https://contoso.onmicrosoft.com/other/read"), "scope", "AADB2C90146", false},
		{"scope in another case", with("scope", "openid "+strings.ToUpper(entratest.AppIDURI)+"/read"), "scope", "in case", false},
		{"default scope", with("scope", entratest.AppIDURI+"/.default"), "scope", "client credentials", false},
		{"scope with a comma", with("scope", "openid,"+entratest.AppIDURI+"/read"), "scope", "comma", false},
		{"scope encoded twice", with("scope", url.QueryEscape("openid "+entratest.AppIDURI+"/read")), "scope", "twice", false},
		{"scope without write", with("scope", "openid "+entratest.AppIDURI+"/user_impersonation"), "scope", "not for read", true},
		{"ID token alone", with("response_type", "id_token"), "response_type", "no access token", false},
		{"no response_type", with("response_type", ""), "response_type", "missing", false},
		{"unknown response_type", with("response_type", "tokens"), "response_type", "AADB2C90013", false},
		{"id_token without openid", with("scope", entratest.AppIDURI+"/read"), "response_type", "AADB2C90110", false},
		{"token in the query", with("response_mode", "query"), "response_mode", "query", false},
		{"unknown response_mode", with("response_mode", "web"), "response_mode", "AADB2C90014", false},
		{"code without PKCE", with("response_type", "code"), "code_challenge", "AADB2C99059", false},
		{"plain PKCE", func(q url.Values) { pkce(q); q.Del("code_challenge_method") }, "code_challenge", "plain", false},
		{"PKCE of no hash", func(q url.Values) { pkce(q); q.Set("code_challenge", "short") }, "code_challenge", "43 characters", false},
		{"PKCE without code", with("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), "code_challenge", "protects nothing", true},
		{"no nonce", with("nonce", ""), "nonce", "AADB2C90083", false},
		{"no redirect_uri", with("redirect_uri", ""), "redirect_uri", "missing", false},
		{"redirect_uri to jwt.ms", with("redirect_uri", "https://jwt.ms"), "redirect_uri", "AADB2C90006", true},
		{"redirect_uri in the open", with("redirect_uri", "http://contoso.com/"), "redirect_uri", "in the open", false},
		{"redirect_uri relative", with("redirect_uri", "/redirect.html"), "redirect_uri", "AADB2C90287", false},
		{"redirect_uri with a fragment", with("redirect_uri", "https://contoso.com/#/in"), "redirect_uri", "fragment", false},
		{"unknown prompt", with("prompt", "always"), "prompt", "AADB2C90043", false},
		{"secret in the URL", with("client_secret", "hush-hush-hush-hush"), "client_secret", "leaked", false},
		{"no policy", func(q url.Values) { q.Del("p") }, "policy", "404", false},
		{"another policy", with("p", "B2C_1_passwordreset"), "policy", "policy.not_allowed", false},
		{"parameter twice", func(q url.Values) { q.Add("scope", "openid") }, "scope", "several times", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := runNow()
			tt.change(q)
			w := *w
			w.stdin = w.tenant.URL() + "/contoso.onmicrosoft.com/oauth2/v2.0/authorize?" + q.Encode()
			w.requireSignIn(t, tt.check, tt.says, tt.warn)
		})
	}

	for _, tt := range []struct{ name, address, check, says string }{
		{"another scheme", strings.Replace(w.tenant.URL(), "http:", "https:", 1) + "/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0/authorize", "host", "http://localhost"},
		{"policy in the path", w.tenant.URL() + "/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0/authorize", "", ""},
		{"tfp and GUID", w.tenant.URL() + "/tfp/" + entratest.TenantID + "/B2C_1_signupsignin/oauth2/v2.0/authorize", "", ""},
		{"old host", "https://login.microsoftonline.com/te/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/authorize", "host", "iss.legacy_host"},
		{"another host", "https://fabrikam.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/authorize", "host", "fabrikam.b2clogin.com"},
		{"another tenant", w.tenant.URL() + "/fabrikam.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/authorize", "tenant", "fabrikam"},
		{"no path", w.tenant.URL(), "policy", "404"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := runNow()
			q.Del("p")
			w := *w
			w.stdin = tt.address + "?" + q.Encode()
			w.requireSignIn(t, tt.check, tt.says, false)
		})
	}
}

// The sign-ins of the other families, which have no policies.
func TestAuthorizeURLOfFamilies(t *testing.T) {
	w := newWorld(t)
	maps.Copy(w.env, families(w))
	delete(w.env, "EXTERNAL_METADATA_URL")
	delete(w.env, "ENTRA_METADATA_URL")
	delete(w.env, "B2C_METADATA_URL")
	const external = "https://contosocustomers.ciamlogin.com/contosocustomers.onmicrosoft.com"
	query := func(client, uri string, changes ...string) string {
		q := url.Values{
			"client_id": {client}, "redirect_uri": {"http://localhost:9912/"}, "scope": {"openid profile " + uri + "/read"}, "response_type": {"code"},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		}
		for i := 0; i < len(changes); i += 2 {
			q.Set(changes[i], changes[i+1])
		}
		return "?" + q.Encode()
	}
	right := query(entratest.ExternalClientID, "api://"+entratest.ExternalAPIClientID)
	for _, tt := range []struct {
		name, address, check, says string
		warn                       bool
	}{
		{"an external tenant's", external + "/oauth2/v2.0/authorize" + right, "", "", false},
		{"by its GUID", "https://" + entratest.ExternalTenantID + ".ciamlogin.com/" + entratest.ExternalTenantID + "/oauth2/v2.0/authorize" + right, "", "", false},
		{"a workforce tenant's", "https://login.microsoftonline.com/" + entratest.WorkforceTenantDomain + "/oauth2/v2.0/authorize" + query(entratest.WorkforceClientID, "api://"+entratest.WorkforceAPIClientID), "", "", false},
		{"with a user flow", external + "/B2C_1_in/oauth2/v2.0/authorize" + right, "policy", "have none", false},
		{"of many tenants", "https://login.microsoftonline.com/common/oauth2/v2.0/authorize" + query(entratest.WorkforceClientID, "api://"+entratest.WorkforceAPIClientID), "tenant", "AADSTS50194", false},
		{"without profile", external + "/oauth2/v2.0/authorize" + query(entratest.ExternalClientID, "api://"+entratest.ExternalAPIClientID, "scope", "openid "+"api://"+entratest.ExternalAPIClientID+"/read"), "scope", "subject.no_oid", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.stdin = tt.address
			w.requireSignIn(t, tt.check, tt.says, tt.warn)
		})
	}
}

// What is sent to a token endpoint, as a URL, a form, or a curl line. Nothing is sent.
func TestTokenRequest(t *testing.T) {
	w := newWorld(t)
	endpoint := w.tenant.URL() + "/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/token"
	scope := "&client_id=" + entratest.ClientID + "&scope=openid%20" + url.QueryEscape(entratest.AppIDURI+"/read")
	for _, tt := range []struct{ name, text, check, says string }{
		{"a code, right", "curl -d 'grant_type=authorization_code&code=1234&redirect_uri=http://localhost&code_verifier=x" + scope + "' " + endpoint, "", ""},
		{"a code without its redirect_uri", "grant_type=authorization_code&code=1234&code_verifier=x" + scope, "grant_type", "needs redirect_uri"},
		{"a code without proof", "grant_type=authorization_code&code=1234&redirect_uri=x" + scope, "grant_type", "code_verifier"},
		{"a password in the URL", endpoint + "?grant_type=password&username=alice&password=hush-hush-hush-hush" + scope, "password", "leaked"},
		{"by GET", endpoint + "?grant_type=password&username=alice&password=hush-hush-hush-hush" + scope, "method", "by POST"},
		{"a program by a scope's name", "grant_type=client_credentials&client_secret=hush-hush-hush-hush" + scope, "scope", "AADB2C99068"},
		{"a program, right", "grant_type=client_credentials&client_secret=hush-hush-hush-hush&client_id=" + entratest.ClientID + "&scope=" + entratest.AppIDURI + "/.default", "", ""},
		{"an unknown grant", "grant_type=implicit" + scope, "grant_type", "AADB2C90086"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.stdin = tt.text
			w.requireSignIn(t, tt.check, tt.says, false)
		})
	}
}

func (w *world) requireSignIn(t testing.TB, name, says string, warn bool) {
	r, status := w.json(t, "-token", "-")
	if name == "" || warn {
		require.Equal(t, 0, status, r.Checks)
	} else {
		require.Equal(t, 1, status, r.Checks)
	}
	if name == "" {
		require.Empty(t, r.status(report.StatusWarn))
		return
	}
	want := report.StatusFail
	if warn {
		want = report.StatusWarn
	}
	said := ""
	for _, c := range r.with("sign-in, " + name) {
		if c.Status == want {
			said += c.Detail + " " + c.Fix + "\n"
		}
	}
	require.Contains(t, said, says, r.Checks)
	for _, c := range r.Checks {
		require.NotContains(t, c.Detail+c.Fix, "hush-hush")
	}
}

func decode(segment string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(segment)
	return b
}

// Whatever is pasted: no panic, nothing of a token or a password on the screen, and no call
// to anybody but the tenant of the settings.
func FuzzPasted(f *testing.F) {
	const password = "kqzx7-hush-9kqzx-hush"
	w := newWorld(f)
	called := client.Transport
	client.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("%s was called", r.URL)
	})
	f.Cleanup(func() { client.Transport = called })
	good := accessToken(f, w, entratest.TokenRequest{})
	for _, seed := range []struct{ before, after string }{
		{"", ""},
		{good, ""},
		{"Bearer ", good},
		{"https://h/t/oauth2/v2.0/token?grant_type=password&", "&scope=a"},
		{"AADB2C90225: ", " x"},
		{`{"error":"invalid_grant","error_description":"AADSTS50126 `, `"}`},
		{"HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer ", "\n\n{}"},
		{"https://jwt.ms/#access_token=", "&id_token=" + good},
		{"Authorization: ", "\nAuthorization: Bearer " + good},
		{"<html>", "</html>"},
		{w.tenant.URL() + "/contoso.onmicrosoft.com/oauth2/v2.0/authorize?client_id=1&", "&p=B2C_1_x"},
	} {
		f.Add(seed.before, seed.after, true)
		f.Add(seed.before, seed.after, false)
	}
	f.Fuzz(func(t *testing.T, before, after string, settings bool) {
		w := *w
		if !settings {
			w.env = nil
		}
		text := before + "password=" + password + after
		if !strings.Contains(text, "password="+password+after) || len(text) > 4096 {
			t.Skip()
		}
		w.stdin = text
		stdout, stderr, _ := w.run(t, "-token", "-")
		require.NotContains(t, stdout+stderr, "kqzx7")
		require.NotContains(t, stdout, " was called")
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
