package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// One handler that trusts a tenant of each family admits a user of each, and keeps their
// items apart: the alices are three people.
func TestThreeFamilies(t *testing.T) {
	tenant, storage := startTenant(t), startStorage(t)
	p := startProgram(t, settings(tenant, storage.ConnectionString()))
	families := []entratest.Family{entratest.B2C, entratest.External, entratest.Workforce}
	token := func(family entratest.Family, scopes ...string) string {
		token, err := tenant.AccessToken(entratest.TokenRequest{Family: family, Scopes: scopes})
		require.NoError(t, err)
		return token
	}
	for _, family := range families {
		status, _, body := send(t, "POST", p.url+"/api/items", token(family), `{"name":"of `+string(family)+`"}`)
		require.Equal(t, 201, status, body)
	}
	for _, family := range families {
		status, _, body := send(t, "GET", p.url+"/api/items", token(family, "read"), "")
		require.Equal(t, 200, status, body)
		var list struct{ Value []struct{ ID, Name string } }
		require.NoError(t, json.Unmarshal([]byte(body), &list))
		require.Len(t, list.Value, 1)
		require.Equal(t, "of "+string(family), list.Value[0].Name)
		for _, other := range families {
			status, _, _ := send(t, "GET", p.url+"/api/items/"+list.Value[0].ID, token(other), "")
			require.Equal(t, other == family, status == 200, "%s of %s", other, family)
		}
		// The challenge names the scope as that tenant has it.
		status, header, _ := send(t, "POST", p.url+"/api/items", token(family, "read"), `{"name":"x"}`)
		require.Equal(t, 403, status)
		require.Contains(t, header.Get("WWW-Authenticate"), map[entratest.Family]string{
			entratest.B2C: entratest.AppIDURI, entratest.External: entratest.ExternalAppIDURI,
			entratest.Workforce: entratest.WorkforceAppIDURI,
		}[family]+"/write")
	}
}

// A handler may trust one family alone, which need not be B2C.
func TestOneFamilyAlone(t *testing.T) {
	tenant, storage := startTenant(t), startStorage(t)
	env := settings(tenant, storage.ConnectionString())
	for _, name := range []string{
		"B2C_TENANT", "B2C_POLICIES", "B2C_API_CLIENT_ID", "B2C_APP_ID_URI", "B2C_ALLOWED_CLIENTS", "B2C_METADATA_URL",
		"ENTRA_TENANT", "ENTRA_API_CLIENT_ID", "ENTRA_ALLOWED_CLIENTS", "ENTRA_METADATA_URL",
	} {
		env[name] = ""
	}
	p := startProgram(t, env)
	external, err := tenant.AccessToken(entratest.TokenRequest{Family: entratest.External})
	require.NoError(t, err)
	status, _, body := send(t, "GET", p.url+"/api/items", external, "")
	require.Equal(t, 200, status, body)
	status, _, body = send(t, "GET", p.url+"/api/items", tenant.Token("alice"), "")
	require.Equal(t, 401, status)
	require.Contains(t, body, `"code":"token.b2c"`)
	status, _, body = send(t, "GET", p.url+"/api/openapi.json", "", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, entratest.ExternalAppIDURI+"/read")
	require.Contains(t, body, entratest.ExternalTenantDomain+"/oauth2/v2.0/token")
}
