package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// settle waits until the table was made, which a start does not wait for.
func (p *program) settle(t testing.TB, token string) {
	require.Eventually(t, func() bool {
		status, _, _ := send(t, "GET", p.url+"/api/items", token, "")
		return status == 200
	}, 20*time.Second, 5*time.Millisecond, "items are listed")
}

// One handler that trusts a tenant of each family admits a user of each, and keeps their
// items apart: the alices are three people.
func TestThreeFamilies(t *testing.T) {
	tenant, storage := startTenant(t), startStorage(t)
	p := startProgram(t, settings(tenant, storage.ConnectionString()))
	p.settle(t, tenant.Token("alice"))
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
	p.settle(t, external)
	status, _, body := send(t, "GET", p.url+"/api/items", tenant.Token("alice"), "")
	require.Equal(t, 401, status)
	require.Contains(t, body, `"code":"token.b2c"`)
	status, _, body = send(t, "GET", p.url+"/api/openapi.json", "", "")
	require.Equal(t, 200, status)
	require.Contains(t, body, entratest.ExternalAppIDURI+"/read")
	require.Contains(t, body, entratest.ExternalTenantDomain+"/oauth2/v2.0/token")
}

// A program is told from a user where that is certain, and refused, or admitted by its app
// roles. B2C's cannot be told, and come in by what B2C wrote into scp. An ID token passes
// for nobody's access token.
func TestPrograms(t *testing.T) {
	tenant, storage := startTenant(t), startStorage(t)
	token := func(family entratest.Family, roles ...string) string {
		token, err := tenant.AccessToken(entratest.TokenRequest{Family: family, Application: true, Scopes: roles})
		require.NoError(t, err)
		return token
	}
	for _, word := range []string{"", "refuse", "accept"} {
		env := settings(tenant, storage.ConnectionString())
		env["B2C_ALLOWED_CLIENTS"] += "," + entratest.DaemonID
		env["APPLICATIONS"] = word
		p := startProgram(t, env)
		p.settle(t, tenant.Token("alice"))
		code := func(method, token string) (int, string, string) {
			status, header, body := send(t, method, p.url+"/api/items", token, `{"name":"x"}`)
			var problem struct{ Code string }
			require.NoError(t, json.Unmarshal([]byte(body), &problem))
			return status, problem.Code, header.Get("WWW-Authenticate")
		}
		for family, uri := range map[entratest.Family]string{
			entratest.B2C: "", entratest.External: entratest.ExternalAppIDURI, entratest.Workforce: entratest.WorkforceAppIDURI,
		} {
			told := family != entratest.B2C
			status, got, challenge := code("GET", token(family, "read"))
			if told && word != "accept" {
				require.Equal(t, 403, status)
				require.Equal(t, "caller.application", got)
				require.Equal(t, `Bearer realm="itemsapi"`, challenge)
			} else {
				require.Equal(t, 200, status, got)
				status, got, challenge = code("POST", token(family, "read"))
				require.Equal(t, 403, status)
				require.Equal(t, map[bool]string{true: "role.missing", false: "scope.missing"}[told], got)
				if told {
					require.Contains(t, challenge, `scope="`+uri+`/.default"`)
				}
				status, got, _ = code("POST", token(family, "read", "write"))
				require.Equal(t, 201, status, got)
			}
			id, err := tenant.IDToken(entratest.TokenRequest{Family: family})
			require.NoError(t, err)
			_, got, _ = code("GET", id)
			require.Equal(t, "token.id_token", got)
		}
		// An ID token that says all that a program's token says, but for the client.
		claims := tenant.Claims(entratest.TokenRequest{Family: entratest.External, Application: true, Scopes: []string{"read"}})
		delete(claims, "azp")
		delete(claims, "idtyp")
		claims["nonce"] = "x"
		_, got, _ := code("GET", tenant.Sign(string(entratest.External), nil, claims))
		require.Equal(t, "token.id_token", got)
	}
}
