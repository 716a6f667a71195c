package paste_test

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"itemsapi/scripts/doctor/paste"
)

// token has the form of one; nobody signed it.
var token = segment(`{"typ":"JWT","alg":"RS256","kid":"k"}`) + "." + segment(`{"iss":"https://contoso.b2clogin.com/"}`) + "." +
	strings.Repeat("c2lnbmF0dXJl", 20)

func segment(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// wrapped is the token as a terminal of 80 columns shows it.
func wrapped(between string) string {
	var lines []string
	for rest := token; rest != ""; {
		n := min(80, len(rest))
		lines, rest = append(lines, rest[:n]), rest[n:]
	}
	return strings.Join(lines, between)
}

const (
	authorize = "https://contoso.b2clogin.com/contoso.onmicrosoft.com/b2c_1_in/oauth2/v2.0/authorize?client_id=1&scope=openid%20x&response_type=code"
	problem   = `{"type":"urn:itemsapi:problem:aud.is_client","status":401,"code":"aud.is_client","detail":"d","fix":"f"}`
)

// What people have in the clipboard.
func TestRecognise(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		kind       paste.Kind
		says       string // in What, Message, Trouble or the body
	}{
		{"token", token, paste.Token, "a token"},
		{"byte order mark and line ends", "\ufeff" + token + "\r\n", paste.Token, "a token"},
		{"quotes", `"` + token + `"`, paste.Token, "a token"},
		{"backticks", "`" + token + "`", paste.Token, "a token"},
		{"a fence of Markdown", "```\n" + token + "\n```", paste.Token, "a token"},
		{"wrapped by a terminal", wrapped("\n"), paste.Token, "a token"},
		{"wrapped and indented", wrapped("\n    "), paste.Token, "a token"},
		{"wrapped for a shell", wrapped("\\\n"), paste.Token, "a token"},
		{"Bearer, wrapped", "Bearer " + wrapped("\n"), paste.Token, "a token"},
		{"header, wrapped", "Authorization: Bearer " + wrapped("\n") + "\nAccept: */*", paste.Token, "header"},
		{"curl", "curl -i -H 'Authorization: Bearer " + token + "' http://localhost:7071/api/items", paste.Token, "header"},
		{"curl on Windows", `curl -H "Authorization: Bearer ` + token + `" http://localhost:7071/api/items`, paste.Token, "header"},
		{"PowerShell", `Invoke-RestMethod -Headers @{"Authorization"="Bearer ` + token + `"} http://localhost`, paste.Token, "header"},
		{"PowerShell, without quotes", `@{ Authorization = "Bearer ` + token + `" }`, paste.Token, "header"},
		{"JavaScript", "fetch(url, { headers: { authorization: `Bearer " + token + "` } })", paste.Token, "header"},
		{"one line of a JSON", `  "access_token": "` + token + `",`, paste.Token, "access_token"},
		{"one line of a JSON, an ID token", `"id_token": "` + token + `",`, paste.IDToken, "id_token"},
		{"an assignment", "export TOKEN=" + token, paste.Token, "in a text"},
		{"a line of a log", "2026-11-27 INFO token is " + token + " and so on", paste.Token, "in a text"},
		{"token response", `{"access_token":"` + token + `","id_token":"x"}`, paste.Token, "access_token of"},
		{"token response of curl -i", "HTTP/1.1 200 OK\nContent-Type: application/json\n\n{\"access_token\":\"" + token + "\"}", paste.Token, "access_token of"},
		{"MSAL's result", `{"accessToken":"` + token + `","account":{}}`, paste.Token, "access_token of"},
		{"redirect", "https://jwt.ms/#access_token=" + token + "&id_token=x", paste.Token, "redirect"},
		{"redirect, wrapped", "https://jwt.ms/#access_token=" + wrapped("\n") + "\n&token_type=Bearer", paste.Token, "redirect"},
		{"fragment", "#state=1&id_token=" + token, paste.IDToken, "redirect"},
		{"opaque", "AQABAAAAAADX8GCi6Js6SK82TsD2Pb7r", paste.Token, "not a JSON Web Token"},
		{"placeholder", "{{access_token}}", paste.Token, "placeholder"},
		{"placeholder with spaces", "Bearer <access token>", paste.Token, "placeholder"},
		{"placeholder of JavaScript", "[object Promise]", paste.Token, "placeholder"},
		{"placeholder of a shell", "$TOKEN", paste.Token, "placeholder"},
		{"placeholder of Python", "None", paste.Token, "placeholder"},

		{"authorize URL", authorize, paste.SignIn, "sign-in"},
		{"over several lines", strings.ReplaceAll(authorize, "&", "\n  &"), paste.SignIn, "sign-in"},
		{"broken anywhere", authorize[:70] + "\n" + authorize[70:], paste.SignIn, "sign-in"},
		{"in angle brackets", "<" + authorize + ">", paste.SignIn, "sign-in"},
		{"with its method", "GET " + authorize + " HTTP/1.1", paste.SignIn, "sign-in"},
		{"out of HTML", strings.ReplaceAll(authorize, "&", "&amp;"), paste.SignIn, "sign-in"},
		{"token request as a URL", "https://contoso.b2clogin.com/contoso.onmicrosoft.com/b2c_1_in/oauth2/v2.0/token?grant_type=password&password=hush", paste.TokenRequest, "as a URL"},
		{"token request of curl", "curl -d 'grant_type=authorization_code&code=1' https://contoso.b2clogin.com/x/oauth2/v2.0/token", paste.TokenRequest, "token endpoint"},
		{"form", "grant_type=refresh_token&client_id=1", paste.TokenRequest, "token endpoint"},

		{"this API's body", problem, paste.Answer, "own answer"},
		{"this API's answer of curl -i", "HTTP/1.1 401 Unauthorized\nContent-Type: application/problem+json\nWWW-Authenticate: Bearer realm=\"itemsapi\"\n\n" + problem, paste.Answer, `"aud.is_client"`},
		{"API Management's body", `{ "statusCode": 401, "message": "x" }`, paste.Answer, "body of an answer"},
		{"Static Web Apps' body", `{"code":401,"message":"IDX10205"}`, paste.Answer, "body of an answer"},
		{"a list", `{"value":[]}`, paste.Answer, "body of an answer"},
		{"challenge", `WWW-Authenticate: Bearer error="invalid_token"`, paste.Answer, "challenge"},
		{"challenge's value", `Bearer realm="itemsapi", error="invalid_token"`, paste.Answer, "challenge"},
		{"a page", "<!DOCTYPE html><html><title>Web App - Unavailable</title>", paste.Answer, "Unavailable"},
		{"a page's sentence", "You do not have permission to view this directory or page.", paste.Answer, "text of an answer"},

		{"B2C's text", "AADB2C90117: The scope 'read'\nis not supported.", paste.Error, "AADB2C90117"},
		{"B2C's redirect", "https://jwt.ms/#error=access_denied&error_description=AADB2C90118%3a+x&state=eyJpZCI6MX0=", paste.Error, "AADB2C90118"},
		{"B2C's fragment, wrapped", "#error=access_denied&error_description=AADB2C90118%3a+the+user\n  +has+forgotten", paste.Error, "the user has forgotten"},
		{"Entra's JSON", `{"error":"invalid_grant","error_description":"AADSTS50076: x","error_codes":[50076]}`, paste.Error, "AADSTS50076"},
		{"MSAL's text", "BrowserAuthError: interaction_in_progress: Interaction is currently in progress.", paste.Error, "interaction_in_progress"},
		{"MSAL's code alone", "interaction_in_progress", paste.Error, "interaction_in_progress"},
		{".NET's text", "IDX10214: Audience validation failed.", paste.Error, "IDX10214"},
		{".NET's other text", "IDW10201: Neither scope nor roles claim was found in the bearer token.", paste.Error, "IDW10201"},
		{"CORS", "Access to fetch at 'https://a/' from origin 'https://b' has been blocked by CORS policy: no", paste.Error, "CORS"},
		{"an error of Graph", `{"error":{"code":"InvalidAuthenticationToken","message":"no"}}`, paste.Error, "InvalidAuthenticationToken"},

		{"nothing", " \n", paste.Unknown, "nothing"},
		{"a sentence", "it does not work", paste.Unknown, "not a token"},
		{"a sentence of Bearer", "Bearer of bad news", paste.Unknown, "not a token"},
		{"two tokens", token + " and " + token[:len(token)-4], paste.Unknown, "2 tokens"},
		{"decoded claims", `{"iss":"x","aud":"y","exp":1}`, paste.Unknown, "decoded"},
		{"decoded claims of jwt.ms", "{\n  \"typ\": \"JWT\"\n}.{\n  \"iss\": \"x\"\n}.[Signature]", paste.Unknown, "decoded"},
		{"a header of a HAR file", `{"name":"authorization","value":"Bearer ` + token + `"}`, paste.Token, "header"},
		{"a refused connection", "curl: (7) Failed to connect to localhost port 7071 after 0 ms", paste.Error, "curl: (7)"},
		{"OAuth's error alone", `{"error":"invalid_grant"}`, paste.Error, "invalid_grant"},
		{"metadata", `{"issuer":"x","jwks_uri":"y"}`, paste.Unknown, "metadata"},
		{"settings", `{"IsEncrypted":false,"Values":{}}`, paste.Unknown, "settings"},
		{"a GUID", "47840c35-e986-468b-8d2c-e25aa02d3d08", paste.Unknown, "GUID"},
		{"a code of this API", "aud.is_client", paste.Unknown, "refusals"},
		{"other JSON", `{"hello":"world"}`, paste.Unknown, "neither access_token"},
		{"half JSON", `{"hello":"wor`, paste.Unknown, "not one whole object"},
		{"an array", `["a"]`, paste.Unknown, "not a token"},
		{"another URL", "https://contoso.onmicrosoft.com/b2capi/read", paste.Unknown, "neither a token"},
		{"a function's URL", "https://contoso-items.azurewebsites.net/api/items?code=abcdefghijklmnop", paste.Unknown, "function key"},
		{"a mail address", "alice@contoso.com", paste.Unknown, "not a token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := paste.Recognise(tt.text)
			require.Equal(t, tt.kind, p.Kind, "%+v", p)
			said := p.What + " " + p.Message + " " + p.Trouble
			if p.Response != nil {
				said += " " + p.Response.Body
			}
			require.Contains(t, said, tt.says)
			if p.Kind == paste.Token && strings.Contains(tt.text, "eyJ") {
				require.Equal(t, []string{"Bearer " + token}, p.Authorization)
				require.False(t, p.Cut)
			}
		})
	}
}

func TestParts(t *testing.T) {
	p := paste.Recognise("Bearer " + wrapped("\n"))
	require.True(t, p.Bearer)
	require.Equal(t, 1+len(token)/80, p.Lines)
	require.False(t, paste.Recognise(token).Bearer)
	require.Zero(t, paste.Recognise(token).Lines)

	for _, cut := range []string{token[:30], token[:60], token[:30] + "…", token[:30] + "...", `{"access_token":"` + token[:60]} {
		p := paste.Recognise(cut)
		require.Equal(t, paste.Token, p.Kind, cut)
		require.True(t, p.Cut, cut)
	}

	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		var b []byte
		for _, unit := range utf16.Encode([]rune("\ufeff" + token + "\r\n")) {
			b = order.AppendUint16(b, unit)
		}
		require.Equal(t, []string{"Bearer " + token}, paste.Recognise(string(b)).Authorization, "as Windows PowerShell writes a file")
	}

	p = paste.Recognise(strings.ReplaceAll(authorize, "&", "&amp;"))
	require.True(t, p.Escaped)
	require.Equal(t, "code", p.URL.Query().Get("response_type"))
	p = paste.Recognise("https://h/oauth2/v2.0/authorize?client_id=1&scope=openid https://h/api/read&response_type=code and then it failed")
	require.Equal(t, "openid https://h/api/read", p.URL.Query().Get("scope"))
	require.Equal(t, "code", p.URL.Query().Get("response_type"))

	p = paste.Recognise("> GET /api/items HTTP/1.1\n> Authorization: Bearer " + token + "\n>\n< HTTP/1.1 401 Unauthorized\n< Content-Type: application/problem+json\n<\n" + problem + "\n* Connection #0 left intact")
	require.Equal(t, paste.Token, p.Kind)
	require.Equal(t, 401, p.Response.Status)
	require.Equal(t, "application/problem+json", p.Response.Header.Get("Content-Type"))
	require.Equal(t, problem, p.Response.Body)

	require.Equal(t, []string{"Bearer a", "Bearer b"}, paste.Recognise("Authorization: Bearer a\nAuthorization: Bearer b").Authorization)
}

// Passwords and the like are told to be hidden, are flagged where a URL has them, and do not
// stand in what is handed on.
func TestSecrets(t *testing.T) {
	const hush = "hush%2Bhush-hush-hush"
	for _, name := range []string{"password", "client_secret", "code_verifier", "refresh_token", "client_assertion"} {
		p := paste.Recognise("https://h/t/oauth2/v2.0/token?grant_type=password&" + name + "=" + hush)
		require.Equal(t, []string{name}, p.Leaks)
		require.Contains(t, p.Secrets, hush)
		require.Contains(t, p.Secrets, "hush+hush-hush-hush")
	}
	for _, text := range []string{
		"AADB2C90225: failed for grant_type and password=" + hush,
		`AADB2C90081 {"client_secret": "` + hush + `"}`,
		"HTTP/1.1 400 Bad Request\n\nclient_secret=" + hush,
		"AADSTS70000 at https://h/?code=" + hush,
	} {
		p := paste.Recognise(text)
		require.NotContains(t, p.Message, "hush", text)
		if p.Response != nil {
			require.NotContains(t, p.Response.Body, "hush", text)
		}
		require.Contains(t, p.Secrets, hush)
	}
}

// A text is one thing, whatever it is, and the same again without what a clipboard puts
// around it.
func FuzzRecognise(f *testing.F) {
	for _, seed := range []string{
		"", token, "Bearer " + token, wrapped("\n"), "Authorization: Bearer x", `{"access_token":"x"}`, `{"error":"AADB2C90117"}`, problem,
		"https://jwt.ms/#access_token=x", "https://jwt.ms/#error=x", authorize, "#id_token=%zz", `"`, "a:/%", "{", "http://h?access_token=1",
		"HTTP/1.1 401\nA: b\n\n{}", "grant_type=password&password=hush", "WWW-Authenticate: Bearer", "<html>", "[object Promise]", "`", "```", "x:/\n",
		"HTTP/1.1 302 Found\nLocation: https://jwt.ms/#code=1", "https://h/authorize?scope=a b=c", "authorization=", "Authorization: Bearer eyJ\neyJ.a",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := paste.Recognise(text)
		set := map[paste.Kind]bool{
			paste.Token: p.Authorization != nil || p.InQuery, paste.IDToken: p.Authorization != nil, paste.SignIn: p.URL != nil,
			paste.TokenRequest: p.Form != nil, paste.Answer: p.Response != nil, paste.Error: true, paste.Unknown: p.Trouble != "" && p.Fix != "",
		}
		require.True(t, set[p.Kind], "%+v", p)
		require.Equal(t, p.Kind == paste.Unknown, p.Trouble != "")
		if p.Kind != paste.Unknown {
			require.NotEmpty(t, p.What)
		}
		again := paste.Recognise("\ufeff " + text + "\r\n")
		require.Equal(t, p.Kind, again.Kind)
	})
}
