package tokenpage_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/scripts/internal/tenants"
	"itemsapi/scripts/internal/tokenpage"
)

func start(t *testing.T) (*entratest.Server, config.Config) {
	s, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	settings := map[string]string{
		"B2C_TENANT": entratest.TenantName, "B2C_POLICIES": entratest.PolicySignUpSignIn, "B2C_API_CLIENT_ID": entratest.APIClientID,
		"B2C_APP_ID_URI": entratest.AppIDURI, "B2C_ALLOWED_CLIENTS": entratest.ClientID, "B2C_METADATA_URL": s.MetadataTemplate(),
		"EXTERNAL_TENANT": entratest.ExternalTenantName, "EXTERNAL_API_CLIENT_ID": entratest.ExternalAPIClientID,
		"EXTERNAL_METADATA_URL":    s.MetadataTemplateOf(entratest.External),
		"TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true", "FUNCTIONS_CUSTOMHANDLER_PORT": "1",
	}
	c, err := config.Load(func(name string) string { return settings[name] })
	require.NoError(t, err)
	return s, c
}

func wrong(rows []tokenpage.Row) (claims []string) {
	for _, row := range rows {
		if !row.OK {
			claims = append(claims, row.Claim)
		}
	}
	return claims
}

func TestCompare(t *testing.T) {
	s, c := start(t)
	b2c, external := tenants.Of(c)[0], tenants.Of(c)[1]
	asked := []string{b2c.FullScope("read"), b2c.FullScope("write"), "profile"}
	now := time.Now()
	right := s.Token("alice", "read", "write")
	rows, err := tokenpage.Compare(b2c, s.Issuer(), asked, right, now)
	require.NoError(t, err)
	require.Empty(t, wrong(rows), rows)
	rows, err = tokenpage.Compare(b2c, s.Issuer(), asked, s.Token("alice", "read"), now.Add(2*time.Hour))
	require.NoError(t, err)
	require.Equal(t, []string{"scp", "exp"}, wrong(rows))
	require.Contains(t, rows[2].Otherwise, "write was not granted")

	bad := s.Sign(entratest.PolicySignUpSignIn, nil, map[string]any{
		"aud": entratest.ClientID, "azp": entratest.OtherClientID, "iss": "https://other/", "acr": "B2C_1_x", "exp": now.Unix() - 90,
	})
	rows, err = tokenpage.Compare(b2c, s.Issuer(), asked, bad, now)
	require.NoError(t, err)
	require.Equal(t, []string{"aud", "azp", "scp", "iss", "acr", "exp"}, wrong(rows))
	rows, err = tokenpage.Compare(external, s.IssuerOf(entratest.External), nil, bad, now)
	require.NoError(t, err)
	require.Contains(t, wrong(rows), "oid")
	for _, none := range []string{"", "a.b", "a.!.c", "a.e30x.c", "e30.W10.x"} {
		_, err := tokenpage.Compare(b2c, "", nil, none, now)
		require.Error(t, err, none)
	}

	token, err := s.AccessToken(entratest.TokenRequest{Family: entratest.External})
	require.NoError(t, err)
	require.Equal(t, external.Family, tokenpage.TenantOf(c, token).Family)
	require.Equal(t, b2c.Family, tokenpage.TenantOf(c, right).Family)
	require.Equal(t, b2c.Family, tokenpage.TenantOf(c, "x").Family)
}

func TestHandler(t *testing.T) {
	s, c := start(t)
	server := httptest.NewServer(tokenpage.Handler(c, func(of tenants.Tenant) string { return s.IssuerOf(entratest.Family(of.Family)) }))
	t.Cleanup(server.Close)
	post := func(form url.Values) string {
		resp, err := http.PostForm(server.URL, form)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, "%s", body)
		require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
		return string(body)
	}
	id, err := s.IDToken(entratest.TokenRequest{})
	require.NoError(t, err)
	page := post(url.Values{"access_token": {s.Token("alice", "read", "write")}, "id_token": {id}})
	require.Equal(t, 6, strings.Count(page, ">ok<"))
	require.NotContains(t, page, ">NO<")
	require.Contains(t, page, "&#34;alg&#34;: &#34;RS256&#34;")
	require.Contains(t, post(url.Values{"id_token": {id}}), "There is no access token")
	require.Contains(t, post(url.Values{"access_token": {"<script>"}}), "not a JSON Web Token")
	require.NotContains(t, post(url.Values{"access_token": {"<script>alert(1)</script>"}}), "<script")
	require.Contains(t, post(url.Values{"error": {"access_denied"}, "error_description": {"AADB2C90118: x"}}), "AADB2C90118: The user has forgotten")

	resp, err := http.Get(server.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 405, resp.StatusCode)
}
