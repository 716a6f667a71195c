package entratest_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

func TestMetadataAndKeysInEveryForm(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	const wellKnown = "/.well-known/openid-configuration"
	_, kid := s.PrivateKey(entratest.PolicyProfileEdit)

	for _, row := range []struct{ name, metadata, authorize, token, logout, keys string }{
		{
			"policy in the path", "/contoso.onmicrosoft.com/B2C_1_profileedit/v2.0" + wellKnown,
			"/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/v2.0/authorize",
			"/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/v2.0/token",
			"/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/v2.0/logout",
			"/contoso.onmicrosoft.com/b2c_1_profileedit/discovery/v2.0/keys",
		},
		{
			"policy in the query", "/contoso.onmicrosoft.com/v2.0" + wellKnown + "?p=B2C_1_profileedit",
			"/contoso.onmicrosoft.com/oauth2/v2.0/authorize?p=b2c_1_profileedit",
			"/contoso.onmicrosoft.com/oauth2/v2.0/token?p=b2c_1_profileedit",
			"/contoso.onmicrosoft.com/oauth2/v2.0/logout?p=b2c_1_profileedit",
			"/contoso.onmicrosoft.com/discovery/v2.0/keys?p=b2c_1_profileedit",
		},
		{
			"tfp", "/tfp/contoso.onmicrosoft.com/B2C_1_profileedit/v2.0" + wellKnown,
			"/tfp/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/v2.0/authorize",
			"/tfp/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/v2.0/token",
			"/tfp/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/v2.0/logout",
			"/tfp/contoso.onmicrosoft.com/b2c_1_profileedit/discovery/v2.0/keys",
		},
		{
			"tenant GUID", "/" + strings.ToUpper(entratest.TenantID) + "/b2c_1_PROFILEEDIT/v2.0" + wellKnown,
			"/" + entratest.TenantID + "/b2c_1_profileedit/oauth2/v2.0/authorize",
			"/" + entratest.TenantID + "/b2c_1_profileedit/oauth2/v2.0/token",
			"/" + entratest.TenantID + "/b2c_1_profileedit/oauth2/v2.0/logout",
			"/" + entratest.TenantID + "/b2c_1_profileedit/discovery/v2.0/keys",
		},
		{
			"without v2.0, any case", "/Contoso.OnMicrosoft.com/b2c_1_ProfileEdit" + wellKnown,
			"/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/authorize",
			"/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/token",
			"/contoso.onmicrosoft.com/b2c_1_profileedit/oauth2/logout",
			"/contoso.onmicrosoft.com/b2c_1_profileedit/discovery/keys",
		},
		{
			"tfp, GUID, query, without v2.0", "/TFP/" + entratest.TenantID + wellKnown + "?p=b2c_1_profileedit",
			"/tfp/" + entratest.TenantID + "/oauth2/authorize?p=b2c_1_profileedit",
			"/tfp/" + entratest.TenantID + "/oauth2/token?p=b2c_1_profileedit",
			"/tfp/" + entratest.TenantID + "/oauth2/logout?p=b2c_1_profileedit",
			"/tfp/" + entratest.TenantID + "/discovery/keys?p=b2c_1_profileedit",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := b.get(s.URL() + row.metadata)
			require.Equal(t, http.StatusOK, got.StatusCode, got.body)
			require.Equal(t, "application/json; charset=utf-8", got.Header.Get("Content-Type"))
			m := got.json(t)
			require.Equal(t, s.Issuer(), m["issuer"])
			require.Equal(t, s.URL()+row.authorize, m["authorization_endpoint"])
			require.Equal(t, s.URL()+row.token, m["token_endpoint"])
			require.Equal(t, s.URL()+row.logout, m["end_session_endpoint"])
			require.Equal(t, s.URL()+row.keys, m["jwks_uri"])

			keys := b.get(m["jwks_uri"].(string))
			require.Equal(t, http.StatusOK, keys.StatusCode)
			key := keys.json(t)["keys"].([]any)[0].(map[string]any)
			require.Equal(t, kid, key["kid"])

			require.Equal(t, http.StatusBadRequest, b.get(m["authorization_endpoint"].(string)).StatusCode,
				"it is there, and asks for a client ID")
			require.Equal(t, http.StatusBadRequest,
				b.send(http.MethodPost, m["token_endpoint"].(string), map[string][]string{}).StatusCode)
			require.Equal(t, http.StatusOK, b.get(m["end_session_endpoint"].(string)).StatusCode)
		})
	}

	for name, path := range map[string]string{
		"no policy":             "/contoso.onmicrosoft.com/v2.0" + wellKnown,
		"unknown policy":        "/contoso.onmicrosoft.com/B2C_1_other/v2.0" + wellKnown,
		"unknown tenant":        "/fabrikam.onmicrosoft.com/B2C_1_ropc/v2.0" + wellKnown,
		"keys without policy":   "/contoso.onmicrosoft.com/discovery/v2.0/keys",
		"one part too many":     "/contoso.onmicrosoft.com/x/B2C_1_ropc/v2.0" + wellKnown,
		"another version":       "/contoso.onmicrosoft.com/B2C_1_ropc/v3.0" + wellKnown,
		"tenant alone":          "/contoso.onmicrosoft.com",
		"no OAuth endpoint":     "/contoso.onmicrosoft.com/B2C_1_ropc/oauth2/v2.0/userinfo",
		"metadata as OAuth one": "/contoso.onmicrosoft.com/B2C_1_ropc/oauth2/v2.0/metadata",
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, http.StatusNotFound, b.get(s.URL()+path).StatusCode)
		})
	}

	t.Run("names the host that was asked", func(t *testing.T) {
		other := strings.Replace(s.URL(), "localhost", "127.0.0.1", 1)
		m := b.get(other + "/contoso.onmicrosoft.com/B2C_1_ropc/v2.0" + wellKnown).json(t)
		require.Equal(t, other+"/contoso.onmicrosoft.com/b2c_1_ropc/discovery/v2.0/keys", m["jwks_uri"])
		require.Equal(t, s.Issuer(), m["issuer"])
	})

	t.Run("changes nothing", func(t *testing.T) {
		for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, "G"} {
			require.Equal(t, http.StatusMethodNotAllowed,
				b.send(method, s.URL()+"/contoso.onmicrosoft.com/B2C_1_ropc/discovery/v2.0/keys", nil).StatusCode)
		}
	})
}

// The documents that B2C published are kept outside the repository.
func TestShapesAreThePublishedOnes(t *testing.T) {
	dir := os.Getenv("B2C_FIXTURES")
	if dir == "" {
		t.Skip("B2C_FIXTURES names no folder with documents that B2C published")
	}
	published := func(name string) (v map[string]any) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &v))
		return v
	}
	members := func(v map[string]any) []string {
		var names []string
		for name := range v {
			names = append(names, name)
		}
		return names
	}
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	base := s.URL() + "/contoso.onmicrosoft.com/b2c_1_signupsignin"

	theirs, ours := published("metadata-custom-domain-userflow.json"),
		b.get(base+"/v2.0/.well-known/openid-configuration").json(t)
	require.ElementsMatch(t, members(theirs), members(ours))
	for _, same := range []string{
		"response_modes_supported", "response_types_supported", "scopes_supported",
		"subject_types_supported", "id_token_signing_alg_values_supported", "token_endpoint_auth_methods_supported",
	} {
		require.Equal(t, theirs[same], ours[same], same)
	}

	firstKey := func(v map[string]any) map[string]any { return v["keys"].([]any)[0].(map[string]any) }
	their, our := firstKey(published("jwks-userflow-shared.json")), firstKey(b.get(base+"/discovery/v2.0/keys").json(t))
	require.ElementsMatch(t, members(their), members(our))
	require.Len(t, our["kid"], len(their["kid"].(string)))
	require.Len(t, our["n"], len(their["n"].(string)))

	doc := published("access-token-userflow-doc.json")
	token, err := s.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	header, claims := decode(t, token)
	require.ElementsMatch(t, members(doc["header"].(map[string]any)), members(header))
	// The sample was asked for with a nonce, and its policy gives no emails.
	require.ElementsMatch(t, append(members(doc["payload"].(map[string]any)), "emails"), append(members(claims), "nonce"))
}

func TestCORS(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	base := s.URL() + "/contoso.onmicrosoft.com/b2c_1_signupsignin"
	readable := []string{
		base + "/v2.0/.well-known/openid-configuration", base + "/discovery/v2.0/keys",
		base + "/oauth2/v2.0/token",
	}

	for origin, allowed := range map[string]bool{
		"http://localhost:9912":       true,
		"http://127.0.0.1:5173":       true,
		"https://localhost":           true,
		"http://[::1]:1":              true,
		"https://attacker.example":    false,
		"http://localhost.attacker":   false,
		"null":                        false,
		"chrome-extension://abcdef":   false,
		"http://127.0.0.1.attacker:1": false,
	} {
		want := ""
		if allowed {
			want = origin
		}
		for _, target := range readable {
			got := b.send(http.MethodOptions, target, nil, "Origin", origin, "Access-Control-Request-Method", "GET",
				"Access-Control-Request-Headers", "x-client-sku")
			require.Equal(t, http.StatusNoContent, got.StatusCode)
			require.Equal(t, want, got.Header.Get("Access-Control-Allow-Origin"), "%s at %s", origin, target)
			require.Equal(t, "Origin", got.Header.Get("Vary"))
			require.Equal(t, "*", got.Header.Get("Access-Control-Allow-Headers"))
		}
		require.Equal(t, want, b.get(readable[1], "Origin", origin).Header.Get("Access-Control-Allow-Origin"))
	}
	for _, closed := range []string{
		"/", "/dev/token",
		"/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0/authorize",
	} {
		require.Empty(t, b.get(s.URL()+closed, "Origin", "http://localhost:9912").Header.Get("Access-Control-Allow-Origin"),
			closed)
	}
}
