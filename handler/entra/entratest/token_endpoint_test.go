package entratest_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// form makes a form of pairs; the value "-" leaves a field out.
func form(base url.Values, changes ...string) url.Values {
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == "-" {
			base.Del(changes[i])
		} else {
			base.Set(changes[i], changes[i+1])
		}
	}
	return base
}

// redeem sends the token request of the single-page app for a code.
func redeem(b *browser, s *entratest.Server, changes ...string) answer {
	return b.send(http.MethodPost, at(s, entratest.PolicySignUpSignIn, "/token"), form(url.Values{
		"grant_type": {"authorization_code"}, "client_id": {entratest.ClientID}, "redirect_uri": {page},
		"code_verifier": {verifier},
	}, changes...), "Origin", "http://localhost:9912")
}

func refresh(b *browser, s *entratest.Server, token string, changes ...string) answer {
	return b.send(http.MethodPost, at(s, entratest.PolicySignUpSignIn, "/token"), form(url.Values{
		"grant_type": {"refresh_token"}, "client_id": {entratest.ClientID}, "refresh_token": {token},
	}, changes...), "Origin", "http://localhost:9912")
}

func newCode(b *browser, s *entratest.Server, changes ...string) string {
	b.t.Helper()
	_, params := b.click(b.get(authorize(s, append([]string{"prompt", "login"}, changes...)...)),
		"alice", "read", "write").location(b.t)
	require.NotEmpty(b.t, params.Get("code"), params)
	return params.Get("code")
}

func requireFailure(t *testing.T, got answer, code, kind string) {
	t.Helper()
	require.Equal(t, http.StatusBadRequest, got.StatusCode, got.body)
	require.Equal(t, "application/json; charset=utf-8", got.Header.Get("Content-Type"))
	require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
	failure := got.json(t)
	require.Regexp(t, "^"+code+": .+"+correlation, failure["error_description"])
	require.Equal(t, kind, failure["error"])
	require.Len(t, failure, 2)
}

func TestCodeIsBound(t *testing.T) {
	at := newClock()
	s := start(t, entratest.Options{Now: at.now})
	b := newBrowser(t)
	code := newCode(b, s)
	long := "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

	for _, row := range []struct {
		name, code, kind string
		changes          []string
	}{
		{"no grant type", "AADB2C90083", "invalid_request", []string{"grant_type", "-"}},
		{"no code", "AADB2C90083", "invalid_request", []string{"code", "-"}},
		{"no redirect URI", "AADB2C90083", "invalid_request", []string{"redirect_uri", "-"}},
		{"unknown code", "AADB2C90085", "invalid_grant", []string{"code", "eyJ..a.b.c"}},
		{"no client", "AADB2C90008", "invalid_request", []string{"client_id", "-"}},
		{"unknown client", "AADB2C90018", "unauthorized_client", []string{"client_id", entratest.TenantID}},
		{"another client", "AADB2C90279", "invalid_grant", []string{"client_id", entratest.OtherClientID}},
		{"another redirect URI", "AADB2C90006", "redirect_uri_mismatch", []string{"redirect_uri", "http://localhost:9912/"}},
		{"no verifier", "AADB2C90183", "invalid_grant", []string{"code_verifier", "-"}},
		{"short verifier", "AADB2C90183", "invalid_grant", []string{"code_verifier", "short"}},
		{"wrong verifier", "AADB2C90182", "invalid_grant", []string{"code_verifier", long}},
		{"a secret", "AADB2C90084", "invalid_request", []string{"client_secret", "s"}},
		{
			"a code is not a refresh token", "AADB2C90085", "invalid_grant",
			[]string{"grant_type", "refresh_token", "refresh_token", code},
		},
		{
			"device code", "AADB2C90086", "unsupported_grant_type",
			[]string{"grant_type", "urn:ietf:params:oauth:grant-type:device_code"},
		},
		{
			"client credentials", "AADB2C90086", "unsupported_grant_type",
			[]string{"grant_type", "client_credentials", "client_secret", "s"},
		},
		{
			"password at a sign-in policy", "AADB2C90086", "unsupported_grant_type",
			[]string{"grant_type", "password", "username", "alice", "password", "alice"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			requireFailure(t, redeem(b, s, append([]string{"code", code}, row.changes...)...), row.code, row.kind)
		})
	}
	t.Run("another policy", func(t *testing.T) {
		got := b.send(http.MethodPost, s.URL()+"/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/v2.0/token",
			url.Values{
				"grant_type": {"authorization_code"}, "client_id": {entratest.ClientID}, "redirect_uri": {page},
				"code_verifier": {verifier}, "code": {code},
			}, "Origin", "http://localhost:9912")
		requireFailure(t, got, "AADB2C90088", "invalid_grant")
		require.Contains(t, got.body, "Actual Value : B2C_1_profileedit and Expected Value : B2C_1_signupsignin")
	})
	t.Run("parameters in the URL do not count", func(t *testing.T) {
		got := b.send(http.MethodPost,
			s.URL()+"/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0/token?grant_type=authorization_code", url.Values{},
			"Origin", "http://localhost:9912")
		requireFailure(t, got, "AADB2C90083", "invalid_request")
	})
	t.Run("GET", func(t *testing.T) {
		got := b.get(s.URL() + "/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0/token")
		require.Equal(t, http.StatusMethodNotAllowed, got.StatusCode)
		require.Equal(t, "POST, OPTIONS", got.Header.Get("Allow"))
	})
	t.Run("a body too large", func(t *testing.T) {
		requireFailure(t, redeem(b, s, "code", string(make([]byte, 1<<20))), "AADB2C90083", "invalid_request")
	})

	require.Equal(t, http.StatusOK, redeem(b, s, "code", code).StatusCode, "no mistake used the code up")
	requireFailure(t, redeem(b, s, "code", code), "AADB2C90129", "invalid_grant")

	code = newCode(b, s)
	at.advance(10 * time.Minute)
	got := redeem(b, s, "code", code)
	requireFailure(t, got, "AADB2C90080", "invalid_grant")
	require.Contains(t, got.body,
		"Current time: 1795522200, Grant issued time: 1795521600, Grant expiration time: 1795522200")

	code = newCode(b, s, "code_challenge", verifier, "code_challenge_method", "plain")
	require.Equal(t, http.StatusOK, redeem(b, s, "code", code).StatusCode)
}

func TestPlatforms(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	redeemBare := func(changes ...string) answer {
		return b.send(http.MethodPost, at(s, entratest.PolicySignUpSignIn, "/token"), form(url.Values{
			"grant_type": {"authorization_code"}, "client_id": {entratest.ClientID}, "code_verifier": {verifier},
		}, changes...))
	}

	t.Run("single-page app: with Origin alone", func(t *testing.T) {
		code := newCode(b, s)
		requireFailure(t, redeemBare("code", code, "redirect_uri", page), "AADSTS9002327", "invalid_request")
		got := redeem(b, s, "code", code)
		require.Equal(t, http.StatusOK, got.StatusCode)
		token := got.json(t)["refresh_token"].(string)
		requireFailure(t, redeemBare("grant_type", "refresh_token", "refresh_token", token), "AADSTS9002327",
			"invalid_request")
	})
	t.Run("native: without", func(t *testing.T) {
		code := newCode(b, s, "redirect_uri", app)
		requireFailure(t, redeem(b, s, "code", code, "redirect_uri", app), "AADSTS9002326", "invalid_request")
		got := redeemBare("code", code, "redirect_uri", app)
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		require.Equal(t, 1209600.0, got.json(t)["refresh_token_expires_in"])
	})
	t.Run("web: with a secret that nobody has", func(t *testing.T) {
		code := newCode(b, s, "redirect_uri", "https://jwt.ms", "code_challenge", "-")
		requireFailure(t, redeemBare("code", code, "redirect_uri", "https://jwt.ms"), "AADB2C90079", "invalid_request")
		requireFailure(t, redeemBare("code", code, "redirect_uri", "https://jwt.ms", "client_secret", "s"), "AADB2C90081",
			"invalid_client")
	})
	t.Run("extra origins", func(t *testing.T) {
		s := start(t, entratest.Options{SPAOrigins: []string{"http://localhost:40123"}})
		code := newCode(b, s, "redirect_uri", "http://localhost:40123/redirect.html")
		require.Equal(t, http.StatusOK,
			redeem(b, s, "code", code, "redirect_uri", "http://localhost:40123/redirect.html").StatusCode)
	})
}

func TestAnswerFitsTheScopes(t *testing.T) {
	s := start(t, entratest.Options{AccessTokenLifetime: 5 * time.Minute})
	b := newBrowser(t)
	answerFor := func(scope string) map[string]any {
		got := redeem(b, s, "code", newCode(b, s, "scope", scope))
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		return got.json(t)
	}

	t.Run("openid alone: no access token", func(t *testing.T) {
		got := answerFor("openid")
		require.NotContains(t, got, "access_token")
		require.NotContains(t, got, "expires_in")
		require.NotContains(t, got, "refresh_token")
		require.Equal(t, 300.0, got["id_token_expires_in"])
		id, err := verify(t, s, got["id_token"].(string))
		require.NoError(t, err)
		require.NotContains(t, id, "at_hash")
	})
	t.Run("the API alone: no ID token", func(t *testing.T) {
		got := answerFor(entratest.AppIDURI + "/read")
		require.Contains(t, got, "access_token")
		require.Equal(t, 300.0, got["expires_in"])
		require.NotContains(t, got, "id_token")
		require.NotContains(t, got, "profile_info")
		require.NotContains(t, got, "refresh_token")
		require.NotContains(t, got, "client_info", "not asked for")
	})
	t.Run("MSAL's scopes", func(t *testing.T) {
		scope := entratest.AppIDURI + "/read openid profile offline_access"
		require.Equal(t, scope, answerFor(scope)["scope"])
	})
}

func TestRefreshToken(t *testing.T) {
	at := newClock()
	s := start(t, entratest.Options{Now: at.now})
	b := newBrowser(t)
	begin := func(changes ...string) string {
		got := redeem(b, s, "code", newCode(b, s, changes...))
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		return got.json(t)["refresh_token"].(string)
	}
	renew := func(token string, changes ...string) map[string]any {
		got := refresh(b, s, token, changes...)
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		return got.json(t)
	}
	granted := func(answer map[string]any) any {
		access, err := verify(t, s, answer["access_token"].(string), jwt.WithTimeFunc(at.now))
		require.NoError(t, err)
		return access["scp"]
	}

	t.Run("rotates, and lives a day in all", func(t *testing.T) {
		token := begin()
		at.advance(time.Hour)
		next := renew(token)
		require.NotEqual(t, token, next["refresh_token"])
		require.Equal(t, 82800.0, next["refresh_token_expires_in"])
		require.Equal(t, "read write", granted(next))
		requireFailure(t, refresh(b, s, token), "AADB2C90129", "invalid_grant")

		at.advance(23*time.Hour - time.Second)
		last := renew(next["refresh_token"].(string))
		at.advance(time.Second)
		requireFailure(t, refresh(b, s, last["refresh_token"].(string)), "AADB2C90080", "invalid_grant")
	})
	t.Run("a scope of the API that was not asked for before", func(t *testing.T) {
		token := begin("scope", entratest.AppIDURI+"/read openid profile offline_access")
		next := renew(token, "scope", entratest.AppIDURI+"/write openid profile offline_access")
		require.Equal(t, "write", granted(next))
		require.Contains(t, next, "id_token")
		next = renew(next["refresh_token"].(string))
		require.Equal(t, "read", granted(next), "without scope it is that of the sign-in")
	})
	t.Run("what was unticked stays so", func(t *testing.T) {
		_, params := b.click(b.get(authorize(s, "prompt", "login")), "alice", "read").location(t)
		token := redeem(b, s, "code", params.Get("code")).json(t)["refresh_token"].(string)
		requireFailure(t, refresh(b, s, token, "scope", scopes("write")), "AADB2C90205", "invalid_request")
		require.Equal(t, "read", granted(renew(token, "scope", scopes("read", "write"))))
	})
	t.Run("the client's own ID after the API", func(t *testing.T) {
		next := renew(begin(), "scope", entratest.ClientID)
		access, err := verify(t, s, next["access_token"].(string), jwt.WithTimeFunc(at.now),
			jwt.WithAudience(entratest.ClientID))
		require.NoError(t, err)
		require.NotContains(t, access, "scp")
		require.Equal(t, entratest.ClientID, next["resource"])
	})
	t.Run("mistakes do not use it up", func(t *testing.T) {
		token := begin()
		requireFailure(t, refresh(b, s, ""), "AADB2C90083", "invalid_request")
		requireFailure(t, refresh(b, s, "nonsense"), "AADB2C90085", "invalid_grant")
		requireFailure(t, refresh(b, s, token, "client_id", entratest.OtherClientID), "AADB2C90279", "invalid_grant")
		requireFailure(t, refresh(b, s, token, "client_secret", "s"), "AADB2C90084", "invalid_request")
		requireFailure(t, refresh(b, s, token, "scope", "openid read"), "AADB2C90117", "invalid_request")
		other := b.send(http.MethodPost, s.URL()+"/contoso.onmicrosoft.com/oauth2/v2.0/token?p=b2c_1_profileedit",
			url.Values{"grant_type": {"refresh_token"}, "client_id": {entratest.ClientID}, "refresh_token": {token}}, "Origin",
			"http://localhost:9912")
		requireFailure(t, other, "AADB2C90088", "invalid_grant")
		renew(token)
	})
	t.Run("native: 14 days from each renewal, 90 in all", func(t *testing.T) {
		bare := func(changes ...string) map[string]any {
			got := b.send(http.MethodPost, s.URL()+"/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0/token",
				form(url.Values{"client_id": {entratest.ClientID}}, changes...))
			require.Equal(t, http.StatusOK, got.StatusCode, got.body)
			return got.json(t)
		}
		next := bare("grant_type", "authorization_code", "code", newCode(b, s, "redirect_uri", app), "redirect_uri", app,
			"code_verifier", verifier)
		for day := 0; day < 80; day += 10 {
			require.Equal(t, 1209600.0, next["refresh_token_expires_in"], day)
			at.advance(10 * 24 * time.Hour)
			next = bare("grant_type", "refresh_token", "refresh_token", next["refresh_token"].(string))
		}
		require.Equal(t, 864000.0, next["refresh_token_expires_in"])
	})
	t.Run("a session of yesterday gives a new day", func(t *testing.T) {
		begin()
		at.advance(23 * time.Hour)
		_, params := b.get(authorize(s, "prompt", "none")).location(t)
		got := redeem(b, s, "code", params.Get("code"))
		require.Equal(t, 86400.0, got.json(t)["refresh_token_expires_in"])
	})
	t.Run("a removed account", func(t *testing.T) {
		token := begin()
		require.NoError(t, s.RemoveUser("alice"))
		requireFailure(t, refresh(b, s, token), "AADB2C90128", "invalid_grant")
	})
}

func TestPassword(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	ask := func(changes ...string) answer {
		return b.send(http.MethodPost, at(s, entratest.PolicyROPC, "/token"), form(url.Values{
			"grant_type": {"password"}, "client_id": {entratest.ClientID}, "username": {"alice@contoso.example"},
			"password": {"alice"},
			"scope":    {scopes("read")}, "response_type": {"token id_token"},
		}, changes...))
	}

	t.Run("gives tokens", func(t *testing.T) {
		got := ask()
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		access, err := verify(t, s, got.json(t)["access_token"].(string), jwt.WithAudience(entratest.APIClientID))
		require.NoError(t, err)
		require.Equal(t, "B2C_1_ropc", access["tfp"])
		require.Equal(t, "read", access["scp"])
		require.NotContains(t, access, "nonce")
		require.Contains(t, got.json(t), "id_token")

		token := got.json(t)["refresh_token"].(string)
		again := b.send(http.MethodPost, at(s, entratest.PolicyROPC, "/token"),
			url.Values{"grant_type": {"refresh_token"}, "client_id": {entratest.ClientID}, "refresh_token": {token}})
		require.Equal(t, http.StatusOK, again.StatusCode, again.body)
	})
	t.Run("for the client itself", func(t *testing.T) {
		got := ask("scope", "openid "+entratest.ClientID+" offline_access", "username", "bob", "password", "bob")
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		access, err := verify(t, s, got.json(t)["access_token"].(string), jwt.WithAudience(entratest.ClientID))
		require.NoError(t, err)
		require.Equal(t, entratest.Users()[1].ObjectID, access["oid"])
	})

	for _, row := range []struct {
		name, code, kind string
		changes          []string
	}{
		{"wrong password", "AADB2C90225", "access_denied", []string{"password", "wrong"}},
		{"unknown user", "AADB2C90225", "access_denied", []string{"username", "carol", "password", "carol"}},
		{"no user", "AADB2C90083", "invalid_request", []string{"username", "-"}},
		{"no password", "AADB2C90083", "invalid_request", []string{"password", "-"}},
		{"no scope", "AADB2C90010", "invalid_request", []string{"scope", "-"}},
		{"short scope", "AADB2C90117", "invalid_request", []string{"scope", "openid read"}},
		{"two resources", "AADB2C90146", "invalid_request", []string{"scope", scopes("read") + " " + entratest.ClientID}},
		{"ID token without openid", "AADB2C90107", "invalid_request", []string{"scope", entratest.AppIDURI + "/read"}},
		{"nothing", "AADB2C90055", "invalid_request", []string{"scope", "offline_access", "response_type", "-"}},
		{"a secret", "AADB2C90084", "invalid_request", []string{"client_secret", "s"}},
		{"not enabled", "AADB2C90224", "unauthorized_client", []string{"client_id", entratest.OtherClientID}},
		{"the API as client", "AADB2C90224", "unauthorized_client", []string{"client_id", entratest.APIClientID}},
	} {
		t.Run(row.name, func(t *testing.T) {
			requireFailure(t, ask(row.changes...), row.code, row.kind)
		})
	}
}

// A program signs in as itself, at the token endpoint of its tenant.
func TestClientCredentials(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	for _, tt := range []struct {
		endpoint, id, secret, uri string
		scopeRefused              string
	}{
		{at(s, entratest.PolicySignUpSignIn, "/token"), entratest.DaemonID, "B2CDaemon", entratest.AppIDURI, "AADB2C99068"},
		{
			s.URL() + "/" + entratest.ExternalTenantDomain + "/oauth2/v2.0/token", entratest.ExternalDaemonID, "Daemon",
			entratest.ExternalAppIDURI, "AADSTS1002012",
		},
		{
			s.URL() + "/" + entratest.WorkforceTenantDomain + "/oauth2/v2.0/token", entratest.WorkforceDaemonID, "Daemon",
			entratest.WorkforceAppIDURI, "AADSTS1002012",
		},
	} {
		ask := func(changes ...string) answer {
			q := url.Values{
				"grant_type": {"client_credentials"}, "client_id": {tt.id}, "client_secret": {tt.secret},
				"scope": {tt.uri + "/.default"},
			}
			for i := 0; i < len(changes); i += 2 {
				q.Set(changes[i], changes[i+1])
			}
			return b.send(http.MethodPost, tt.endpoint, q)
		}
		got := ask()
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		answered := got.json(t)
		require.NotContains(t, answered, "refresh_token")
		require.NotContains(t, answered, "id_token")
		_, claims := decode(t, answered["access_token"].(string))
		require.Equal(t, tt.id, claims["azp"])
		if tt.uri == entratest.AppIDURI {
			require.Equal(t, "read write", claims["scp"])
			require.NotContains(t, claims, "oid")
		} else {
			require.Equal(t, []any{"read", "write"}, claims["roles"])
			require.Equal(t, "app", claims["idtyp"])
			require.Equal(t, claims["sub"], claims["oid"])
			require.NotContains(t, claims, "scp")
		}
		basic := base64.StdEncoding.EncodeToString([]byte(tt.id + ":" + tt.secret))
		got = b.send(http.MethodPost, tt.endpoint, url.Values{
			"grant_type": {"client_credentials"}, "scope": {tt.uri + "/.default"},
		}, "Authorization", "Basic "+basic)
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)

		for code, changes := range map[string][]string{
			tt.scopeRefused:                {"scope", tt.uri + "/read"},
			"AADB2C90081|AADSTS7000215":    {"client_secret", "x"},
			"AADB2C90079|AADSTS7000218":    {"client_secret", ""},
			"AADB2C90010|AADSTS900144":     {"scope", ""},
			"AADB2C90018|AADSTS700016":     {"client_id", "00000000-0000-0000-0000-000000000001"},
			"(AADB2C90086|AADSTS90013): .": {"client_id", clientOf(tt.id)},
		} {
			got := ask(changes...)
			require.Equal(t, http.StatusBadRequest, got.StatusCode, got.body)
			require.Regexp(t, code, got.json(t)["error_description"], changes)
		}
	}
}

// clientOf is the client of users in the tenant of a daemon.
func clientOf(daemon string) string {
	return map[string]string{
		entratest.DaemonID: entratest.ClientID, entratest.ExternalDaemonID: entratest.ExternalClientID,
		entratest.WorkforceDaemonID: entratest.WorkforceClientID,
	}[daemon]
}
