package entratest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636, appendix B

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request is a good authorization request for a code; changes are pairs of
// name and value, and the value "-" leaves the parameter out.
func request(changes ...string) url.Values {
	q := url.Values{
		"client_id": {entratest.ClientID}, "response_type": {"code"}, "redirect_uri": {page},
		"scope": {scopes("read", "write")}, "state": {"a state/with=odd&signs"}, "nonce": {"a-nonce"},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == "-" {
			q.Del(changes[i])
		} else {
			q.Set(changes[i], changes[i+1])
		}
	}
	return q
}

func authorize(s *entratest.Server, changes ...string) string {
	return at(s, entratest.PolicySignUpSignIn, "/authorize") + "?" + request(changes...).Encode()
}

func TestSignInPage(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	got := b.get(authorize(s, "state", `"><script>alert(1)</script>`))
	require.Equal(t, http.StatusOK, got.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", got.Header.Get("Content-Type"))
	require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	require.Equal(t, "DENY", got.Header.Get("X-Frame-Options"))
	policy := got.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.NotContains(t, policy, "form-action", "it would stop the redirect after the form")
	require.NotContains(t, got.body, "<script")
	require.Contains(t, got.body, "not Azure")

	form := readForm(t, got.body)
	var buttons, boxes []string
	for _, c := range form.buttons {
		buttons = append(buttons, c.text)
	}
	for _, c := range form.boxes {
		require.True(t, c.checked)
		boxes = append(boxes, c.value)
	}
	require.Equal(t, []string{"alice", "bob", "Cancel", "Forgot password", "Sign up", "Nobody we know"}, buttons)
	require.Equal(t, []string{"read", "write"}, boxes)

	t.Run("loads nothing from elsewhere", func(t *testing.T) {
		for _, m := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(got.body, -1) {
			require.Contains(t, []string{"data:,", "/style.css", "/"}, m[1])
		}
		css := b.get(s.URL() + "/style.css")
		require.Equal(t, "text/css; charset=utf-8", css.Header.Get("Content-Type"))
		require.NotContains(t, css.body, "url(")
	})
	t.Run("sign up stays on the page", func(t *testing.T) {
		again := b.click(got, "Sign up")
		require.Contains(t, again.body, "There is no signing up here")
		uri, params := b.click(again, "alice", "read").location(t)
		require.Equal(t, page, uri)
		require.NotEmpty(t, params.Get("code"))
	})
}

func TestCodeFlow(t *testing.T) {
	for name, endpoints := range map[string]string{
		"policy in the path, as MSAL spells it": "/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0",
		"tfp":                                   "/tfp/" + entratest.TenantID + "/B2C_1_signupsignin/oauth2/v2.0",
	} {
		t.Run(name, func(t *testing.T) { codeFlow(t, endpoints, "?") })
	}
	t.Run("policy in the query", func(t *testing.T) {
		codeFlow(t, "/contoso.onmicrosoft.com/oauth2/v2.0", "?p=B2C_1_signupsignin&")
	})
}

func codeFlow(t *testing.T, endpoints, query string) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	// What MSAL.js sends besides must not matter.
	q := request("response_mode", "fragment", "client_info", "1", "clidata", "1", "pocd", "1", "claims", `{"id_token":{}}`,
		"x-client-SKU", "msal.js.browser")
	signIn := b.get(s.URL() + endpoints + "/authorize" + query + q.Encode())
	done := b.click(signIn, "bob", "read", "write")

	require.True(t, strings.HasPrefix(done.Header.Get("Location"), page+"#code="), done.Header.Get("Location"))
	_, params := done.location(t)
	require.Equal(t, "a state/with=odd&signs", params.Get("state"))
	bob := entratest.Users()[1]
	info, err := base64.RawURLEncoding.DecodeString(params.Get("client_info"))
	require.NoError(t, err)
	require.JSONEq(t, `{"uid":"`+bob.ObjectID+`-b2c_1_signupsignin","utid":"`+entratest.TenantID+`"}`, string(info))

	code := params.Get("code")
	segments := strings.Split(code, ".")
	require.Len(t, segments, 5)
	header, err := base64.RawURLEncoding.DecodeString(segments[0])
	require.NoError(t, err)
	require.JSONEq(t, `{"kid":"cpimcore_09252015","ver":"1.0","zip":"Deflate","ser":"1.0"}`, string(header))
	require.Empty(t, segments[1])

	got := b.send(http.MethodPost, s.URL()+endpoints+"/token"+query+"client-request-id=x", url.Values{
		"client_id": {entratest.ClientID}, "redirect_uri": {page}, "scope": q["scope"], "code": {code},
		"code_verifier": {verifier},
		"grant_type":    {"authorization_code"}, "client_info": {"1"}, "X-AnchorMailbox": {"Oid:x"},
	}, "Origin", "http://localhost:9912")
	require.Equal(t, http.StatusOK, got.StatusCode, got.body)
	require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	require.Equal(t, "http://localhost:9912", got.Header.Get("Access-Control-Allow-Origin"))

	answer := got.json(t)
	access, err := verify(t, s, answer["access_token"].(string), jwt.WithAudience(entratest.APIClientID))
	require.NoError(t, err)
	require.Equal(t, "read write", access["scp"])
	require.Equal(t, "a-nonce", access["nonce"])
	require.Equal(t, bob.ObjectID, access["oid"])
	require.Equal(t, "B2C_1_signupsignin", access["tfp"])
	require.NotContains(t, access, "auth_time")

	id, err := verify(t, s, answer["id_token"].(string), jwt.WithAudience(entratest.ClientID))
	require.NoError(t, err)
	require.Equal(t, "a-nonce", id["nonce"])
	sum := sha256.Sum256([]byte(answer["access_token"].(string)))
	require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:16]), id["at_hash"])
	require.Contains(t, id, "auth_time")

	require.Equal(t, "Bearer", answer["token_type"])
	require.Equal(t, 3600.0, answer["expires_in"])
	require.Equal(t, access["exp"], answer["expires_on"])
	require.Equal(t, access["nbf"], answer["not_before"])
	require.Equal(t, entratest.APIClientID, answer["resource"])
	require.Equal(t, 3600.0, answer["id_token_expires_in"])
	require.Equal(t, 86400.0, answer["refresh_token_expires_in"])
	require.Equal(t, params.Get("client_info"), answer["client_info"])
	require.Equal(t, scopes("read", "write"), answer["scope"], "MSAL looks tokens up by the full values")
	require.Len(t, answer, 13)

	profile, err := base64.RawURLEncoding.DecodeString(answer["profile_info"].(string))
	require.NoError(t, err)
	require.True(t, json.Valid(profile))
}

// The portal's Run now: a URL to paste, and jwt.ms, which reads the fragment.
func TestRunNow(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	api := "https%3A%2F%2Fcontoso.onmicrosoft.com%2Fb2capi%2F"
	runNow := func(scope, responseType string) string {
		return s.URL() + "/contoso.onmicrosoft.com/oauth2/v2.0/authorize?p=B2C_1_signupsignin" +
			"&client_id=" + entratest.ClientID + "&nonce=defaultNonce&redirect_uri=https%3A%2F%2Fjwt.ms" +
			"&scope=" + scope + "&response_type=" + responseType + "&prompt=login"
	}

	t.Run("with the API's scopes", func(t *testing.T) {
		signIn := b.get(runNow("openid%20"+api+"read%20"+api+"write%20"+api+"user_impersonation", "id_token%20token"))
		done := b.click(signIn, "alice", "read", "write", "user_impersonation")
		require.True(t, strings.HasPrefix(done.Header.Get("Location"), "https://jwt.ms#access_token="),
			"the URI is not respelled")
		_, params := done.location(t)
		require.Equal(t, "Bearer", params.Get("token_type"))
		require.Equal(t, "3600", params.Get("expires_in"))
		require.False(t, params.Has("state"), "none was sent")
		require.False(t, params.Has("code"))

		access, err := verify(t, s, params.Get("access_token"))
		require.NoError(t, err)
		require.Equal(t, entratest.APIClientID, access["aud"])
		require.Equal(t, entratest.ClientID, access["azp"])
		require.Equal(t, "read write user_impersonation", access["scp"])
		id, err := verify(t, s, params.Get("id_token"), jwt.WithAudience(entratest.ClientID))
		require.NoError(t, err)
		require.Equal(t, "defaultNonce", id["nonce"])
		require.Contains(t, id, "at_hash")
		require.NotContains(t, id, "c_hash")
	})
	t.Run("without an API: an ID token alone", func(t *testing.T) {
		_, params := b.click(b.get(runNow("openid", "id_token")), "alice").location(t)
		require.False(t, params.Has("access_token"))
		_, err := verify(t, s, params.Get("id_token"), jwt.WithAudience(entratest.ClientID))
		require.NoError(t, err)
	})
	t.Run("the other order", func(t *testing.T) {
		_, params := b.click(b.get(runNow("openid%20"+api+"read", "token+id_token")), "alice", "read").location(t)
		require.True(t, params.Has("access_token") && params.Has("id_token"))
	})
	t.Run("the link on the overview", func(t *testing.T) {
		link := regexp.MustCompile(`href="([^"]*authorize[^"]*)"`).FindStringSubmatch(b.get(s.URL() + "/").body)
		require.NotNil(t, link)
		got := b.get(s.URL() + strings.ReplaceAll(link[1], "&amp;", "&"))
		_, params := b.click(got, "alice", "read", "write", "user_impersonation").location(t)
		require.True(t, params.Has("access_token"))
	})
}

func TestResponseModes(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	for _, row := range []struct{ name, responseType, mode, separator string }{
		{"code: query", "code", "-", "?"},
		{"code, fragment", "code", "fragment", "#"},
		{"token: fragment", "token", "-", "#"},
		{"hybrid: fragment", "code id_token", "-", "#"},
	} {
		t.Run(row.name, func(t *testing.T) {
			done := b.click(b.get(authorize(s, "response_type", row.responseType, "response_mode", row.mode, "prompt", "login")),
				"alice", "read", "write")
			require.True(t, strings.HasPrefix(done.Header.Get("Location"), page+row.separator), done.Header.Get("Location"))
		})
	}
	t.Run("hybrid has c_hash", func(t *testing.T) {
		_, params := b.click(b.get(authorize(s, "response_type", "code id_token", "prompt", "login")),
			"alice", "read").location(t)
		id, err := verify(t, s, params.Get("id_token"))
		require.NoError(t, err)
		sum := sha256.Sum256([]byte(params.Get("code")))
		require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:16]), id["c_hash"])
		require.NotContains(t, id, "at_hash")
	})
	t.Run("form_post", func(t *testing.T) {
		done := b.click(b.get(authorize(s, "response_mode", "form_post", "prompt", "login")), "alice", "read")
		require.Equal(t, http.StatusOK, done.StatusCode)
		form := readForm(t, done.body)
		require.Equal(t, page, form.action)
		require.NotEmpty(t, form.hidden.Get("code"))
		require.Equal(t, "a state/with=odd&signs", form.hidden.Get("state"))
		nonce := regexp.MustCompile(`<script nonce="([^"]+)">`).FindStringSubmatch(done.body)
		require.NotNil(t, nonce)
		require.Contains(t, done.Header.Get("Content-Security-Policy"), "script-src 'nonce-"+nonce[1]+"'")
	})
	t.Run("form_post of an error", func(t *testing.T) {
		form := readForm(t, b.get(authorize(s, "response_mode", "form_post", "prompt", "x")).body)
		require.Equal(t, "invalid_request", form.hidden.Get("error"))
	})
	t.Run("the request itself by POST", func(t *testing.T) {
		signIn := b.send(http.MethodPost, at(s, entratest.PolicySignUpSignIn, "/authorize"), request("prompt", "login"),
			"Origin", "http://localhost:9912", "Sec-Fetch-Site", "same-site")
		_, params := b.click(signIn, "alice", "read").location(t)
		require.NotEmpty(t, params.Get("code"))
	})
}

var correlation = `\r\nCorrelation ID: [0-9a-f]{8}-[0-9a-f-]{27}\r\nTimestamp: \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\r\n$`

func TestAuthorizeErrorsAtTheClient(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	const graph = "https://graph.microsoft.com/User.Read"
	for _, row := range []struct {
		name, code, kind string
		changes          []string
	}{
		{"response type of nobody", "AADB2C90013", "unsupported_response_type", []string{"response_type", "device_code"}},
		{"response type twice", "AADB2C90013", "unsupported_response_type", []string{"response_type", "code code"}},
		{"no response type", "AADB2C90083", "invalid_request", []string{"response_type", "-"}},
		{"response mode of nobody", "AADB2C90014", "invalid_request", []string{"response_mode", "web_message"}},
		{
			"tokens in the query", "AADB2C90014", "invalid_request",
			[]string{"response_mode", "query", "response_type", "token"},
		},
		{"prompt of nobody", "AADB2C90043", "invalid_request", []string{"prompt", "please"}},
		{"no scope", "AADB2C90010", "invalid_request", []string{"scope", "-"}},
		{"blank scope", "AADB2C90010", "invalid_request", []string{"scope", "  "}},
		{"short scope", "AADB2C90117", "invalid_request", []string{"scope", "openid read"}},
		{"Graph's short scope", "AADB2C90117", "invalid_request", []string{"scope", "openid user.read"}},
		{"Graph's full scope", "AADB2C90117", "invalid_request", []string{"scope", "openid " + graph}},
		{"scope in another case", "AADB2C90117", "invalid_request", []string{"scope", scopes("Read")}},
		{"unpublished scope", "AADB2C90117", "invalid_request", []string{"scope", scopes("delete")}},
		{"App ID URI alone", "AADB2C90117", "invalid_request", []string{"scope", "openid " + entratest.AppIDURI}},
		{"the API's own ID", "AADB2C90117", "invalid_request", []string{"scope", "openid " + entratest.APIClientID}},
		{"a quote in the scope", "AADB2C99005", "invalid_request", []string{"scope", `openid "read"`}},
		{"two resources, Graph's", "AADB2C90146", "invalid_request", []string{"scope", scopes("read") + " " + graph}},
		{
			"two resources, the client's", "AADB2C90146", "invalid_request",
			[]string{"scope", scopes("read") + " " + entratest.ClientID},
		},
		{
			"token without resource", "AADB2C90055", "invalid_request",
			[]string{"response_type", "id_token token", "scope", "openid profile"},
		},
		{
			"ID token without openid", "AADB2C90110", "invalid_request",
			[]string{"response_type", "id_token", "scope", entratest.AppIDURI + "/read"},
		},
		{"code for nothing", "AADB2C90115", "invalid_request", []string{"scope", "offline_access"}},
		{
			"implicit switched off", "AADB2C90057", "unauthorized_client",
			[]string{"client_id", entratest.OtherClientID, "response_type", "id_token token"},
		},
		{"no challenge", "AADB2C99059", "invalid_request", []string{"code_challenge", "-"}},
		{"no challenge, native", "AADB2C99059", "invalid_request", []string{"code_challenge", "-", "redirect_uri", app}},
		{"challenge method", "AADB2C90184", "invalid_request", []string{"code_challenge_method", "S512"}},
		{
			"no permission", "AADB2C90205", "invalid_request",
			[]string{"client_id", entratest.OtherClientID, "scope", scopes("write")},
		},
		{"no session", "AADB2C90077", "interaction_required", []string{"prompt", "none"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			uri, params := b.get(authorize(s, row.changes...)).location(t)
			require.Contains(t, []string{page, app}, uri)
			require.Equal(t, row.kind, params.Get("error"))
			require.Regexp(t, "^"+row.code+": .+"+correlation, params.Get("error_description"))
			require.Equal(t, "a state/with=odd&signs", params.Get("state"))
			require.Len(t, params, 3)
		})
	}

	t.Run("password policy has no page", func(t *testing.T) {
		_, params := b.get(at(s, entratest.PolicyROPC, "/authorize") + "?" + request().Encode()).location(t)
		require.Contains(t, params.Get("error_description"), "AADB2C90013")
	})
	t.Run("the client's correlation ID", func(t *testing.T) {
		_, params := b.get(authorize(s, "prompt", "x", "client-request-id",
			"9B2F5C1E-0000-4000-8000-123456789ABC")).location(t)
		require.Contains(t, params.Get("error_description"), "\r\nCorrelation ID: "+
			"9b2f5c1e-0000-4000-8000-123456789abc\r\n")
	})
	t.Run("the scope is named", func(t *testing.T) {
		_, params := b.get(authorize(s, "scope", "openid read")).location(t)
		require.Contains(t, params.Get("error_description"), "The scope 'read' provided in the request is not "+
			"supported.")
	})
	t.Run("buttons", func(t *testing.T) {
		for button, row := range map[string][2]string{
			"Cancel": {"AADB2C90091: The user has cancelled entering self-asserted " +
				"information.", "access_denied"},
			"Forgot password": {"AADB2C90118: The user has forgotten their password.", "access_denied"},
			"Nobody we know":  {"AADB2C99002: User does not exist.", "access_denied"},
		} {
			_, params := b.click(b.get(authorize(s)), button).location(t)
			require.Contains(t, params.Get("error_description"), row[0])
			require.Equal(t, row[1], params.Get("error"))
		}
	})
}

// An error about the client or its redirect URI goes nowhere but to a page.
func TestAuthorizeErrorsOnThePage(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	for _, row := range []struct {
		name, code, text string
		changes          []string
	}{
		{"no client", "AADB2C90008", "client id", []string{"client_id", "-"}},
		{"unknown client", "AADB2C90018", entratest.ClientID, []string{"client_id", "11111111-2222-3333-4444-555555555555"}},
		{"the API as client", "AADB2C90007", entratest.ClientID, []string{"client_id", entratest.APIClientID}},
		{"no redirect URI", "AADB2C90083", "redirect_uri", []string{"redirect_uri", "-"}},
		{"foreign redirect URI", "AADB2C90006", page, []string{"redirect_uri", "https://attacker.example/"}},
		{"another case", "AADB2C90006", page, []string{"redirect_uri", "http://localhost:9912/Redirect.html"}},
		{"one slash more", "AADB2C90006", page, []string{"redirect_uri", page + "/"}},
		{"a query more", "AADB2C90006", page, []string{"redirect_uri", page + "?x=1"}},
		{"https", "AADB2C90006", page, []string{"redirect_uri", "https://localhost:9912/redirect.html"}},
		{"jwt.ms below a path", "AADB2C90006", page, []string{"redirect_uri", "https://jwt.ms/x"}},
		{"jwt.ms as a part", "AADB2C90006", page, []string{"redirect_uri", "https://jwt.ms.attacker.example/"}},
		{
			"jwt.ms of another client", "AADB2C90006", page,
			[]string{"client_id", entratest.OtherClientID, "redirect_uri", "https://jwt.ms"},
		},
		{"script", "AADB2C90006", page, []string{"redirect_uri", "javascript:alert(1)"}},
		{"data", "AADB2C90006", page, []string{"redirect_uri", "data:text/html,x"}},
		{"own scheme without domain", "AADB2C90006", page, []string{"redirect_uri", "myapp://auth"}},
		{
			"another app's MSAL scheme", "AADB2C90006", page,
			[]string{"redirect_uri", "msal" + entratest.OtherClientID + "://auth"},
		},
		{"another's page for desktop apps", "AADB2C90006", page, []string{"redirect_uri", "https://fabrikam.b2clogin.com/oauth2/nativeclient"}},
		{"below the page for desktop apps", "AADB2C90006", page, []string{"redirect_uri", "https://contoso.b2clogin.com/oauth2/nativeclient/x"}},
		{"Expo Go nowhere", "AADB2C90006", page, []string{"redirect_uri", "exp:/callback"}},
		{"Capacitor elsewhere", "AADB2C90006", page, []string{"redirect_uri", "capacitor://attacker.example/"}},
		{"loopback by name", "AADB2C90006", page, []string{"redirect_uri", "http://localhost.attacker.example:1/"}},
		{"user info", "AADB2C90287", page, []string{"redirect_uri", "http://localhost:1@attacker.example/"}},
		{"fragment", "AADB2C90287", page, []string{"redirect_uri", page + "#x"}},
		{"line end", "AADB2C90287", page, []string{"redirect_uri", "com.example.app:/x\r\nSet-Cookie: a=b"}},
		{"not a URI", "AADB2C90287", page, []string{"redirect_uri", "/redirect.html"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := b.get(authorize(s, row.changes...))
			require.Equal(t, http.StatusBadRequest, got.StatusCode)
			require.Empty(t, got.Header.Get("Location"))
			require.Contains(t, got.body, ">"+row.code+"<")
			require.Contains(t, got.body, row.text, "the page says what would be right")
			require.Contains(t, got.body, "Correlation ID")
			require.NotContains(t, got.body, "<script")
		})
	}
}

func TestRedirectURIsByteForByte(t *testing.T) {
	s := start(t, entratest.Options{SPAOrigins: []string{"http://localhost:40123"}})
	for _, row := range []struct{ uri, mode, before string }{
		{"http://localhost:9912", "-", "http://localhost:9912?"},
		{"http://localhost:9912/", "-", "http://localhost:9912/?"},
		{"http://127.0.0.1:9912/redirect.html", "fragment", "http://127.0.0.1:9912/redirect.html#"},
		{"http://localhost:40123/redirect.html", "fragment", "http://localhost:40123/redirect.html#"},
		{
			"msauth://com.Example.App/ga0RGNYHvNM5d0SLGQfpQWAPGJ8%3D", "-",
			"msauth://com.Example.App/ga0RGNYHvNM5d0SLGQfpQWAPGJ8%3D?",
		},
		{"msauth.com.example.App://auth", "-", "msauth.com.example.App://auth?"},
		{"com.example.app:/path", "-", "com.example.app:/path?"},
		{app, "-", app + "?"},
		{app + "?a=b", "-", app + "?a=b&"},
		{"msal" + entratest.ClientID + "://auth", "-", "msal" + entratest.ClientID + "://auth?"},
		{"http://127.0.0.1:51234/Callback%2f?x", "-", "http://127.0.0.1:51234/Callback%2f?x&"},
		{"http://[::1]:51234/cb", "-", "http://[::1]:51234/cb?"},
		{"http://localhost:51234", "-", "http://localhost:51234?"},
		{"exp://192.168.1.5:8081/--/oauth2redirect", "-", "exp://192.168.1.5:8081/--/oauth2redirect?"},
		{"capacitor://localhost/callback", "-", "capacitor://localhost/callback?"},
		{
			"https://login.microsoftonline.com/common/oauth2/nativeclient", "-",
			"https://login.microsoftonline.com/common/oauth2/nativeclient?",
		},
		{
			"https://contoso.b2clogin.com/oauth2/nativeclient", "-",
			"https://contoso.b2clogin.com/oauth2/nativeclient?",
		},
	} {
		t.Run(row.uri, func(t *testing.T) {
			b := newBrowser(t)
			done := b.click(b.get(authorize(s, "redirect_uri", row.uri, "response_mode", row.mode)), "alice", "read")
			require.Equal(t, http.StatusFound, done.StatusCode, done.body)
			require.True(t, strings.HasPrefix(done.Header.Get("Location"), row.before+"code="), done.Header.Get("Location"))
		})
	}
}

func TestPartialGrant(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)

	t.Run("what the user unticks", func(t *testing.T) {
		_, params := b.click(b.get(authorize(s, "response_type", "token", "prompt", "consent")), "alice", "write").location(t)
		access, err := verify(t, s, params.Get("access_token"))
		require.NoError(t, err)
		require.Equal(t, "write", access["scp"])
		require.Equal(t, scopes("write"), params.Get("scope"))
	})
	t.Run("everything unticked", func(t *testing.T) {
		_, params := b.click(b.get(authorize(s, "prompt", "consent")), "alice").location(t)
		require.Contains(t, params.Get("error_description"), "AADB2C90205")
	})
	t.Run("what the client has no permission for", func(t *testing.T) {
		signIn := b.get(authorize(s, "client_id", entratest.OtherClientID, "prompt", "login"))
		require.Len(t, readForm(t, signIn.body).boxes, 1, "write is not asked about")
		_, params := b.click(signIn, "alice", "read").location(t)
		got := redeem(b, s, "client_id", entratest.OtherClientID, "code", params.Get("code"))
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		access, err := verify(t, s, got.json(t)["access_token"].(string))
		require.NoError(t, err)
		require.Equal(t, "read", access["scp"])
		require.Equal(t, entratest.OtherClientID, access["azp"])
		require.Equal(t, scopes("read"), got.json(t)["scope"])
	})
	t.Run("more than asked for cannot be ticked", func(t *testing.T) {
		_, params := b.click(b.get(authorize(s, "response_type", "token", "scope", scopes("read"), "prompt", "consent")),
			"alice", "read", "write").location(t)
		access, err := verify(t, s, params.Get("access_token"))
		require.NoError(t, err)
		require.Equal(t, "read", access["scp"])
	})
	t.Run("the client's own ID as scope", func(t *testing.T) {
		_, params := b.click(b.get(authorize(s, "response_type", "token",
			"scope", "openid "+entratest.ClientID, "prompt", "consent")), "alice").location(t)
		access, err := verify(t, s, params.Get("access_token"))
		require.NoError(t, err)
		require.Equal(t, entratest.ClientID, access["aud"])
		require.Equal(t, entratest.ClientID, access["azp"])
		require.NotContains(t, access, "scp")
	})
}

func TestSession(t *testing.T) {
	at := newClock()
	s := start(t, entratest.Options{Now: at.now})
	b := newBrowser(t)
	signIn := b.get(authorize(s))
	done := b.click(signIn, "bob", "read")
	require.Len(t, done.Cookies(), 1)
	cookie := done.Cookies()[0]
	require.True(t, strings.HasPrefix(cookie.Name, "entratest-session-localhost-"), cookie.Name)
	require.True(t, cookie.HttpOnly)
	require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)

	silent := authorize(s, "prompt", "none", "response_type", "id_token token")
	begun := at.now().Unix()
	at.advance(5 * 60 * 1e9)

	_, params := b.get(silent).location(t)
	id, err := verify(t, s, params.Get("id_token"), jwt.WithTimeFunc(at.now))
	require.NoError(t, err)
	require.Equal(t, entratest.Users()[1].ObjectID, id["oid"])
	require.Equal(t, float64(begun), id["auth_time"], "the sign-in is the one before")
	require.Equal(t, float64(at.now().Unix()), id["iat"])

	_, params = b.get(authorize(s)).location(t)
	require.NotEmpty(t, params.Get("code"), "without prompt the session is enough")
	require.Equal(t, http.StatusOK, b.get(authorize(s, "redirect_uri", app)).StatusCode,
		"a browser opens an app only after a click")
	for _, prompt := range []string{"login", "consent", "select_account"} {
		require.Equal(t, http.StatusOK, b.get(authorize(s, "prompt", prompt)).StatusCode, prompt)
	}
	_, params = newBrowser(t).get(silent).location(t)
	require.Equal(t, "interaction_required", params.Get("error"), "another browser")

	t.Run("ends after a day", func(t *testing.T) {
		at.advance(24 * 3600 * 1e9)
		_, params := b.get(silent).location(t)
		require.Equal(t, "interaction_required", params.Get("error"))
	})
	t.Run("foreign pages cannot sign in", func(t *testing.T) {
		for _, header := range [][]string{
			{"Sec-Fetch-Site", "cross-site", "Origin", "https://attacker.example"},
			{"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:1"},
			{"Origin", "https://attacker.example"},
			{"Origin", "null"},
		} {
			got := newBrowser(t).send(http.MethodPost, authorize(s),
				url.Values{"entratest_action": {"alice"}, "entratest_scope": {"read"}}, header...)
			require.Equal(t, http.StatusForbidden, got.StatusCode)
			require.Empty(t, got.Cookies())
		}
	})
	t.Run("a removed account", func(t *testing.T) {
		b := newBrowser(t)
		signIn := b.get(authorize(s))
		b.click(signIn, "bob", "read")
		require.NoError(t, s.RemoveUser("bob"))
		_, params := b.get(silent).location(t)
		require.Equal(t, "interaction_required", params.Get("error"))
		_, params = b.click(signIn, "bob", "read").location(t)
		require.Contains(t, params.Get("error_description"), "AADB2C99002")
		require.NotContains(t, b.get(authorize(s)).body, ">bob<")
		require.ErrorContains(t, s.RemoveUser("carol"), "alice and bob")
	})
}

func TestLogout(t *testing.T) {
	s := start(t, entratest.Options{})
	silent := authorize(s, "prompt", "none")
	logout := at(s, entratest.PolicySignUpSignIn, "/logout")

	for _, row := range []struct {
		name, query string
		status      int
		location    string
	}{
		{
			"back to the app, with state", "?post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A9912%2F&state=s%2F1",
			http.StatusFound, "http://localhost:9912/?state=s%2F1",
		},
		{
			"without state", "?post_logout_redirect_uri=http%3A%2F%2Flocalhost%3A9912", http.StatusFound,
			"http://localhost:9912",
		},
		{"to a native app", "?post_logout_redirect_uri=" + url.QueryEscape(app), http.StatusFound, app},
		{"nowhere", "", http.StatusOK, ""},
		{"somewhere foreign", "?post_logout_redirect_uri=https%3A%2F%2Fattacker.example", http.StatusBadRequest, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBrowser(t)
			b.click(b.get(authorize(s)), "alice", "read")
			_, params := b.get(silent).location(t)
			require.NotEmpty(t, params.Get("code"))

			got := b.get(logout + row.query)
			require.Equal(t, row.status, got.StatusCode)
			require.Equal(t, row.location, got.Header.Get("Location"))

			_, params = b.get(silent).location(t)
			require.Equal(t, "interaction_required", params.Get("error"))
		})
	}
}
