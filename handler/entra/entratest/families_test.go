package entratest_test

import (
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

const (
	externalDomain  = entratest.ExternalTenantDomain
	externalID      = entratest.ExternalTenantID
	workforceDomain = entratest.WorkforceTenantDomain
	metadataPath    = "/v2.0/.well-known/openid-configuration"
)

// The tenant has one issuer, whatever host it is asked at, but for the wrong one; keys are
// at the host that was asked.
func TestDoors(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	own := strings.Replace(s.URL(), "http:", "https:", 1) + "/" + externalID + "/v2.0"
	require.Equal(t, own, s.IssuerOf(entratest.External))
	newest := kids(t, b, s.URL()+"/"+externalDomain+"/discovery/v2.0/keys")
	require.Len(t, newest, 2)
	for _, door := range []string{
		"", "/contosocustomers.ciamlogin.com", "/" + externalID + ".ciamlogin.com", "/" + entratest.ExternalCustomHost,
		"/login.microsoftonline.com",
	} {
		for _, tenant := range []string{externalDomain, externalID} {
			m := b.get(s.URL() + door + "/" + tenant + metadataPath).json(t)
			keys := m["jwks_uri"].(string)
			require.Equal(t, s.URL()+door+"/"+tenant+"/discovery/v2.0/keys", keys)
			if door == "/login.microsoftonline.com" {
				require.Equal(t, "https://login.microsoftonline.com/"+externalID+"/v2.0", m["issuer"])
				require.Equal(t, newest[:1], kids(t, b, keys), "the newest is missing there")
			} else {
				require.Equal(t, own, m["issuer"])
				require.Equal(t, newest, kids(t, b, keys))
			}
			require.NotContains(t, m, "code_challenge_methods_supported")
		}
	}
	// Without /v2.0 the external tenant has nothing, the workforce tenant version 1.
	require.Equal(t, 404, b.get(s.URL()+"/"+externalDomain+"/.well-known/openid-configuration").StatusCode)
	require.Equal(t, 404, b.get(s.URL()+"/fabrikam.onmicrosoft.com"+metadataPath).StatusCode)
	m := b.get(s.URL() + "/" + workforceDomain + "/.well-known/openid-configuration").json(t)
	require.Equal(t, "https://sts.windows.net/"+entratest.WorkforceTenantID+"/", m["issuer"])
	for _, key := range b.get(m["jwks_uri"].(string)).json(t)["keys"].([]any) {
		require.NotContains(t, key, "issuer")
	}
	// The address of all tenants has a template, and a key for Microsoft accounts alone.
	m = b.get(s.URL() + "/login.microsoftonline.com/common" + metadataPath).json(t)
	require.Contains(t, m["issuer"], "/{tenantid}/v2.0")
	keys := b.get(m["jwks_uri"].(string)).json(t)["keys"].([]any)
	require.Equal(t, m["issuer"], keys[0].(map[string]any)["issuer"])
	require.Contains(t, keys[1].(map[string]any)["issuer"], "9188040d-6c67-4c5b-b112-36a304b66dad")
}

func kids(t *testing.T, b *browser, address string) (list []string) {
	for _, key := range b.get(address).json(t)["keys"].([]any) {
		list = append(list, key.(map[string]any)["kid"].(string))
	}
	return list
}

// A key goes by its certificate, and the API's own is published under its ID alone.
func TestKeysHaveCertificates(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		tenant, api := externalDomain, entratest.ExternalAPIClientID
		if family == entratest.Workforce {
			tenant, api = workforceDomain, entratest.WorkforceAPIClientID
		}
		address := s.URL() + "/" + tenant + "/discovery/v2.0/keys"
		for _, key := range b.get(address).json(t)["keys"].([]any) {
			k := key.(map[string]any)
			require.Len(t, k["x5c"], 1)
			der, err := base64.StdEncoding.DecodeString(k["x5c"].([]any)[0].(string))
			require.NoError(t, err)
			sum := sha1.Sum(der)
			require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), k["kid"])
			require.Equal(t, k["kid"], k["x5t"])
			require.Equal(t, s.IssuerOf(family), k["issuer"])
			require.NotContains(t, k, "alg")
			require.NotContains(t, k, "nbf")
		}
		before := kids(t, b, address)
		s.UseOwnKey(family, true)
		header, _ := decode(t, s.Token("alice"))
		require.Len(t, header["kid"], 43, "B2C has nothing to do with it")
		token, err := s.AccessToken(entratest.TokenRequest{Family: family})
		require.NoError(t, err)
		header, _ = decode(t, token)
		require.Equal(t, before, kids(t, b, address))
		m := b.get(s.URL() + "/" + tenant + metadataPath + "?appid=" + api).json(t)
		require.Equal(t, append(before, header["kid"].(string)), kids(t, b, m["jwks_uri"].(string)))
		require.Equal(t, before, kids(t, b, address+"?appid="+entratest.ClientID), "not another's")
		s.UseOwnKey(family, false)
		s.Rollover(string(family), false)
		require.Len(t, kids(t, b, address), 1)
		key, kid := s.PrivateKey(string(family))
		token, err = s.AccessToken(entratest.TokenRequest{Family: family, User: "bob"})
		require.NoError(t, err)
		header, _ = decode(t, token)
		require.Equal(t, kid, header["kid"])
		_, err = jwt.Parse(token, func(*jwt.Token) (any, error) { return &key.PublicKey, nil })
		require.NoError(t, err)
	}
}

func TestTokensOfFamilies(t *testing.T) {
	s := start(t, entratest.Options{})
	claims := s.Claims(entratest.TokenRequest{Family: entratest.External, User: "carol"})
	require.Equal(t, externalID, claims["tid"])
	require.Equal(t, "2.0", claims["ver"])
	require.Equal(t, "google.com", claims["idp"], "a guest")
	require.Equal(t, entratest.ExternalClientID, claims["azp"])
	require.Len(t, claims["sub"], 43)
	require.NotEqual(t, claims["oid"], claims["sub"])
	require.NotContains(t, claims, "tfp")
	life := claims["exp"].(int64) - claims["iat"].(int64)
	require.True(t, life >= 65*60 && life <= 95*60, life)
	for _, name := range []string{"rh", "uti", "aio", "xms_ftd", "sid"} {
		require.NotEmpty(t, claims[name], name)
	}

	// The manifest of the API says which version its tokens have.
	s.SetTokenVersion(entratest.Workforce, 1)
	token, err := s.AccessToken(entratest.TokenRequest{Family: entratest.Workforce})
	require.NoError(t, err)
	header, claims := decode(t, token)
	require.Equal(t, header["kid"], header["x5t"])
	require.Equal(t, "https://sts.windows.net/"+entratest.WorkforceTenantID+"/", claims["iss"])
	require.Equal(t, entratest.WorkforceAppIDURI, claims["aud"])
	require.Equal(t, entratest.WorkforceClientID, claims["appid"])
	require.Equal(t, "1", claims["acr"])
	require.NotContains(t, claims, "azp")
	s.SetTokenVersion(entratest.Workforce, 2)
	require.Equal(t, "2.0", s.Claims(entratest.TokenRequest{Family: entratest.Workforce})["ver"])

	for _, r := range []entratest.TokenRequest{
		{Family: "okta"},
		{Family: entratest.External, Policy: entratest.PolicyROPC},
		{User: "carol"},
		{Family: entratest.External, Client: entratest.ClientID},
	} {
		_, err := s.AccessToken(r)
		require.Error(t, err, "%+v", r)
	}
}

// The sign-in of a tenant without policies: who the user is, a client must ask for.
func TestSignInOfFamilies(t *testing.T) {
	s := start(t, entratest.Options{})
	for _, tt := range []struct{ domain, client, uri, issuer string }{
		{externalDomain, entratest.ExternalClientID, entratest.ExternalAppIDURI, s.IssuerOf(entratest.External)},
		{
			"contosocustomers.ciamlogin.com/" + externalDomain, entratest.ExternalClientID, entratest.ExternalAppIDURI,
			s.IssuerOf(entratest.External),
		},
		{
			"login.microsoftonline.com/" + externalDomain, entratest.ExternalClientID, entratest.ExternalAppIDURI,
			"https://login.microsoftonline.com/" + externalID + "/v2.0",
		},
		{workforceDomain, entratest.WorkforceClientID, entratest.WorkforceAppIDURI, s.IssuerOf(entratest.Workforce)},
	} {
		for _, scope := range []string{"openid profile offline_access", "offline_access"} {
			b := newBrowser(t)
			q := request("client_id", tt.client, "scope", scope+" "+tt.uri+"/read "+tt.uri+"/write", "redirect_uri", page)
			endpoints := s.URL() + "/" + tt.domain + "/oauth2/v2.0/"
			signIn := b.get(endpoints + "authorize?" + q.Encode())
			require.NotContains(t, signIn.body, "Forgot password")
			require.NotContains(t, signIn.body, "B2C")
			_, params := b.click(signIn, "alice", "read").location(t)
			code := params.Get("code")
			require.True(t, strings.HasPrefix(code, "1.A"), params)
			answer := b.send(http.MethodPost, endpoints+"token", url.Values{
				"grant_type": {"authorization_code"}, "client_id": {tt.client}, "code": {code}, "redirect_uri": {page},
				"code_verifier": {verifier},
			}, "Origin", "http://localhost:9912")
			require.Equal(t, http.StatusOK, answer.StatusCode, answer.body)
			tokens := answer.json(t)
			require.NotContains(t, tokens, "profile_info")
			_, claims := decode(t, tokens["access_token"].(string))
			require.Equal(t, tt.issuer, claims["iss"])
			require.Equal(t, "read", claims["scp"])
			require.NotContains(t, claims, "nonce")
			asked := strings.Contains(scope, "profile")
			require.Equal(t, asked, claims["oid"] != nil)
			require.Equal(t, asked, tokens["id_token"] != nil)
			again := b.send(http.MethodPost, endpoints+"token", url.Values{
				"grant_type": {"refresh_token"}, "client_id": {tt.client}, "refresh_token": {tokens["refresh_token"].(string)},
			}, "Origin", "http://localhost:9912").json(t)
			_, claims = decode(t, again["access_token"].(string))
			require.Equal(t, tt.issuer, claims["iss"])
		}
	}
}

// Entra's families say what is wrong in codes of their own.
func TestErrorsOfFamilies(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	ask := func(changes ...string) answer {
		base := []string{
			"client_id", entratest.ExternalClientID, "redirect_uri", page,
			"scope", "openid " + entratest.ExternalAppIDURI + "/read",
		}
		q := request(append(base, changes...)...)
		return b.get(s.URL() + "/" + externalDomain + "/oauth2/v2.0/authorize?" + q.Encode())
	}
	got := ask("client_id", entratest.ClientID)
	require.Equal(t, http.StatusBadRequest, got.StatusCode)
	require.Contains(t, got.body, "AADSTS700016")
	require.Contains(t, got.body, entratest.ExternalClientID, "which client there is")
	require.Contains(t, ask("redirect_uri", "https://evil.example/").body, "AADSTS50011")
	_, params := ask("scope", "openid "+entratest.ExternalAppIDURI+"/reed").location(t)
	require.Contains(t, params.Get("error_description"), "AADSTS650053")
	_, params = b.click(ask(), "Cancel").location(t)
	require.Equal(t, "access_denied", params.Get("error"))
	require.Contains(t, params.Get("error_description"), "AADSTS65004")

	answer := b.send(http.MethodPost, s.URL()+"/"+workforceDomain+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"authorization_code"}, "client_id": {entratest.WorkforceClientID}, "code": {"1.Ax"},
		"redirect_uri": {page},
	})
	require.Equal(t, http.StatusBadRequest, answer.StatusCode)
	document := answer.json(t)
	require.Equal(t, "invalid_grant", document["error"])
	require.Equal(t, []any{9002313.0}, document["error_codes"])
	for _, name := range []string{"timestamp", "trace_id", "correlation_id"} {
		require.NotEmpty(t, document[name], name)
	}
}

// A session is of one tenant.
func TestSessionIsOfOneTenant(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	b.click(b.get(authorize(s)), "alice", "read")
	require.Equal(t, http.StatusFound, b.get(authorize(s)).StatusCode, "signed in at B2C")
	q := request("client_id", entratest.ExternalClientID, "scope", "openid", "redirect_uri", page)
	require.Equal(t, http.StatusOK, b.get(s.URL()+"/"+externalDomain+"/oauth2/v2.0/authorize?"+q.Encode()).StatusCode)
}

// Who forgot the password is sent to the policy for that.
func TestForgottenPassword(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	_, params := b.click(b.get(authorize(s)), "Forgot password").location(t)
	require.Contains(t, params.Get("error_description"), "AADB2C90118")
	reset := b.get(at(s, entratest.PolicyPasswordReset, "/authorize") + "?" + request().Encode())
	require.Contains(t, reset.body, "Reset a password")
	_, params = b.click(reset, "alice", "read").location(t)
	require.NotEmpty(t, params.Get("code"))
}

func TestRootShowsAllTenants(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	root := b.get(s.URL()).body
	for _, text := range []string{
		entratest.TenantDomain, externalDomain, workforceDomain, externalID, entratest.ExternalClientID,
		entratest.WorkforceAppIDURI, entratest.PolicyPasswordReset, "carol",
	} {
		require.Contains(t, root, text)
	}
	for family, tenant := range map[string]string{"external": externalID, "entra": entratest.WorkforceTenantID} {
		_, claims := decode(t, b.get(s.URL()+"/dev/token?family="+family+"&user=bob&scope=read").body)
		require.Equal(t, tenant, claims["tid"])
		require.Equal(t, "read", claims["scp"])
		before := kids(t, b, s.URL()+"/"+tenant+"/discovery/v2.0/keys")
		got := b.send(http.MethodPost, s.URL()+"/dev/rollover", url.Values{"policy": {family}, "old": {"keep"}})
		require.Equal(t, http.StatusSeeOther, got.StatusCode)
		require.Len(t, kids(t, b, s.URL()+"/"+tenant+"/discovery/v2.0/keys"), len(before)+1)
	}
	require.Equal(t, http.StatusBadRequest, b.get(s.URL()+"/dev/token?family=okta").StatusCode)
}
