package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/clients/spa"
	"itemsapi/scripts/register/graphtest"
)

func directory(t *testing.T) *graphtest.Server {
	s := graphtest.Start("contoso.onmicrosoft.com")
	t.Cleanup(s.Close)
	return s
}

// project is a folder with the files that are written to, and more.
func project(t *testing.T, more ...string) string {
	dir := t.TempDir()
	for _, name := range append(more, "local.settings.sample.json", "clients/spa/config.json") {
		text, err := os.ReadFile(filepath.Join("../..", name))
		require.NoError(t, err)
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	return dir
}

func register(s *graphtest.Server, dir string, args ...string) (string, error) {
	var out bytes.Buffer
	err := run(context.Background(), append([]string{"-tenant", "contoso", "-graph", s.URL(), "-dir", dir}, args...), func(name string) string {
		return map[string]string{"GRAPH_TOKEN": graphtest.Token}[name]
	}, &out)
	return out.String(), err
}

// state is the directory without its random IDs.
func state(t *testing.T, s *graphtest.Server) string {
	all := map[string]any{}
	names := []string{}
	for _, collection := range []string{
		"applications", "servicePrincipals", "oauth2PermissionGrants", "identity/authenticationEventsFlows",
	} {
		objects := s.All(collection)
		all[collection] = objects
		for _, o := range objects {
			for _, member := range []string{"id", "appId"} {
				if id, ok := o[member].(string); ok && id != graphtest.GraphAppID {
					names = append(names, id, collection+"-"+member)
				}
			}
		}
	}
	text, err := json.MarshalIndent(all, "", " ")
	require.NoError(t, err)
	return strings.NewReplacer(names...).Replace(string(text))
}

func TestFreshTenant(t *testing.T) {
	s, dir := directory(t), project(t)
	s.Delay, s.BusyEvery = 3, 7
	out, err := register(s, dir, "-origin", "https://app.contoso.com", "-api-url", "https://func.azurewebsites.net")
	require.NoError(t, err, out)
	apps := s.All("applications")
	require.Len(t, apps, 2)
	api, client := apps[0], apps[1]
	require.Equal(t, []any{"https://contoso.onmicrosoft.com/b2capi"}, api["identifierUris"])
	require.Equal(t, 2.0, api["api"].(map[string]any)["requestedAccessTokenVersion"])
	require.Equal(t, []any{"https://app.contoso.com/", "https://app.contoso.com/redirect.html"}, client["spa"].(map[string]any)["redirectUris"])
	require.Len(t, s.All("servicePrincipals"), 3)
	grants := s.All("oauth2PermissionGrants")
	require.Len(t, grants, 2)
	require.Equal(t, "read write", grants[0]["scope"])
	require.Equal(t, "openid offline_access", grants[1]["scope"])
	require.NotContains(t, out, graphtest.Token)
	require.Contains(t, out, "B2C_1_signupsignin, of the kind")

	// What was written.
	text, err := os.ReadFile(filepath.Join(dir, "local.settings.json"))
	require.NoError(t, err)
	var local struct {
		Values map[string]string
		Host   map[string]any
	}
	require.NoError(t, json.Unmarshal(text, &local))
	require.Equal(t, api["appId"], local.Values["B2C_API_CLIENT_ID"])
	require.Equal(t, client["appId"], local.Values["B2C_ALLOWED_CLIENTS"])
	require.Empty(t, local.Values["B2C_METADATA_URL"], "the local world's no more")
	require.Equal(t, "UseDevelopmentStorage=true", local.Values["TABLES_CONNECTION_STRING"], "the rest stays")
	require.Contains(t, local.Host, "CORS")
	var c spa.Config
	require.NoError(t, json.Unmarshal([]byte(appConfig(t, dir)), &c))
	require.Equal(t, client["appId"], c.ClientID)
	require.Equal(t, "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin", c.Authority)
	require.Empty(t, c.LocalMetadata)
	require.Equal(t, "https://contoso.onmicrosoft.com/b2capi/write", c.Scopes.Write)
	require.Equal(t, "https://func.azurewebsites.net/api", c.API)

	// A second run changes nothing, and says so.
	before := state(t, s)
	s.Writes()
	for _, args := range [][]string{nil, {"-check"}, {"-dry-run"}} {
		out, err = register(s, dir, append(args, "-origin", "https://app.contoso.com")...)
		require.NoError(t, err, out)
		require.Contains(t, out, "everything is as it should be")
	}
	require.Empty(t, s.Writes())
	require.Equal(t, before, state(t, s))
}

// The mobile app is registered with the scheme that its manifest has, beside what others
// registered.
func TestMobileApp(t *testing.T) {
	s, dir := directory(t), project(t, "clients/mobile/app.json", "clients/mobile/config.json")
	out, err := register(s, dir)
	require.NoError(t, err, out)
	text, err := os.ReadFile(filepath.Join(dir, "clients", "mobile", "config.json"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "passwordReset", "the local world's")
	out, err = register(s, dir, "-policies", "B2C_1_signupsignin,B2C_1_profileedit,B2C_1_reset")
	require.NoError(t, err, out)
	client := s.All("applications")[1]
	require.Equal(t, []any{"com.example.items://oauth2redirect"}, client["publicClient"].(map[string]any)["redirectUris"])
	text, err = os.ReadFile(filepath.Join(dir, "clients", "mobile", "config.json"))
	require.NoError(t, err)
	var c spa.Config
	require.NoError(t, json.Unmarshal(text, &c))
	require.Equal(t, client["appId"], c.ClientID)
	require.Empty(t, c.LocalMetadata)
	require.Equal(t, "B2C_1_reset", c.Policies.PasswordReset)

	out, err = register(s, dir, "-native", "com.example.other://auth", "-policies", "B2C_1_signupsignin")
	require.NoError(t, err, out)
	client = s.All("applications")[1]
	require.Equal(t, []any{"com.example.items://oauth2redirect", "com.example.other://auth"}, client["publicClient"].(map[string]any)["redirectUris"])
	text, err = os.ReadFile(filepath.Join(dir, "clients", "mobile", "config.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), "B2C_1_reset", "what is the tenant's stays")
}

func TestTellingChangesNothing(t *testing.T) {
	s, dir := directory(t), project(t)
	out, err := register(s, dir, "-check")
	require.ErrorContains(t, err, "6 things differ")
	require.Contains(t, out, "the API's application, B2CAPI, is missing")
	out, err = register(s, dir, "-dry-run")
	require.NoError(t, err)
	require.Contains(t, out, "PATCH /applications(uniqueName='itemsapi-b2capi')")
	require.Contains(t, out, `"resourceAppId": "(application ID of B2CAPI)"`)
	require.Contains(t, out, "POST /oauth2PermissionGrants")
	require.Empty(t, s.Writes())
	require.NoFileExists(t, filepath.Join(dir, "local.settings.json"))
}

// Each kind of drift is told, repaired by a run, and gone after it; what is others'
// stays.
func TestDrift(t *testing.T) {
	type object = map[string]any
	scope := func(value, kind string, enabled bool) object {
		return object{"id": "1f0a5a52-8f0e-4a3a-9c5e-3a8c7d1f2e60"[:35] + value[:1], "value": value, "type": kind, "isEnabled": enabled, "adminConsentDisplayName": value, "adminConsentDescription": value}
	}
	api := func(version any, scopes ...any) object {
		return object{"id": "api", "appId": "api-app", "displayName": "Made by hand", "identifierUris": []any{"https://contoso.onmicrosoft.com/b2capi"}, "api": object{"requestedAccessTokenVersion": version, "oauth2PermissionScopes": scopes}}
	}
	client := func(spa ...any) object {
		return object{"id": "client", "appId": "client-app", "displayName": "B2CTest", "spa": object{"redirectUris": spa}, "requiredResourceAccess": []any{
			object{"resourceAppId": "others", "resourceAccess": []any{object{"id": "x", "type": "Role"}}},
		}}
	}
	for _, tt := range []struct {
		name   string
		api    object
		client object
		says   string
	}{
		{"version 1", api(nil, scope("read", "Admin", true), scope("write", "Admin", true)), client(), "Made by hand issues tokens of version 1"},
		{"no scope", api(2, scope("read", "Admin", true)), client(), "has no scope write"},
		{"a disabled scope", api(2, scope("read", "Admin", true), scope("write", "Admin", false)), client(), "has the scope write disabled"},
		{"a scope for users", api(2, scope("read", "User", true), scope("write", "Admin", true), scope("admin", "User", true)), client(), "disabled to be changed"},
		{"redirect URIs", api(2, scope("read", "Admin", true), scope("write", "Admin", true)), client("https://jwt.ms/", "http://localhost:9912/"), "lacks the single-page app redirect URI http://localhost:9912/redirect.html"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, dir := directory(t), project(t)
			s.Add("applications", object{"id": "foreign", "appId": "f", "displayName": "Somebody else's"})
			s.Add("applications", tt.api)
			s.Add("applications", tt.client)
			foreign := s.All("applications")[0]
			out, err := register(s, dir, "-check")
			require.ErrorContains(t, err, "things differ")
			require.Contains(t, out, tt.says)
			require.Empty(t, s.Writes())
			out, err = register(s, dir)
			require.NoError(t, err, out)
			out, err = register(s, dir, "-check")
			require.NoError(t, err, out)
			apps := s.All("applications")
			require.Len(t, apps, 3)
			require.Equal(t, foreign, apps[0])
			text, err := json.Marshal(apps)
			require.NoError(t, err)
			require.Contains(t, string(text), `{"resourceAccess":[{"id":"x","type":"Role"}],"resourceAppId":"others"}`)
			if tt.name == "redirect URIs" {
				require.Contains(t, string(text), "https://jwt.ms/")
			}
			if tt.name == "a scope for users" {
				require.Contains(t, string(text), `"value":"admin"`)
			}
		})
	}

	t.Run("consent", func(t *testing.T) {
		s, dir := directory(t), project(t)
		_, err := register(s, dir)
		require.NoError(t, err)
		fresh := directory(t)
		for _, collection := range []string{"applications", "servicePrincipals"} {
			for _, o := range s.All(collection) {
				if o["appId"] != graphtest.GraphAppID || collection == "applications" {
					fresh.Add(collection, o)
				}
			}
		}
		var clientPrincipal, apiPrincipal any
		for _, o := range s.All("servicePrincipals") {
			switch o["appId"] {
			case s.All("applications")[1]["appId"]:
				clientPrincipal = o["id"]
			case s.All("applications")[0]["appId"]:
				apiPrincipal = o["id"]
			}
		}
		fresh.Add("oauth2PermissionGrants", object{"id": "g", "clientId": clientPrincipal, "resourceId": apiPrincipal, "consentType": "AllPrincipals", "scope": "read others"})
		out, err := register(fresh, dir)
		require.NoError(t, err)
		require.Contains(t, out, "B2CTest was not granted write of B2CAPI by an administrator")
		require.Equal(t, "read others write", fresh.All("oauth2PermissionGrants")[0]["scope"], "a union")
	})
}

// A run that breaks off at any call leaves what the next one completes.
func TestBrokenOff(t *testing.T) {
	for _, family := range []string{"b2c", "external", "entra"} {
		t.Run(family, func(t *testing.T) {
			fresh := func() *graphtest.Server {
				s := directory(t)
				s.AddFlow("flow", "Sign up")
				return s
			}
			clean := fresh()
			_, err := register(clean, project(t), "-family", family)
			require.NoError(t, err)
			want := state(t, clean)
			for n := 1; ; n++ {
				s, dir := fresh(), project(t)
				s.DenyFrom(n)
				_, err := register(s, dir, "-family", family)
				s.DenyFrom(0)
				if err == nil {
					require.Greater(t, n, 10)
					return
				}
				require.ErrorContains(t, err, "Authorization_RequestDenied")
				require.NotContains(t, err.Error(), graphtest.Token)
				out, err := register(s, dir, "-family", family)
				require.NoError(t, err, "after the call %d was refused: %s", n, out)
				require.Equal(t, want, state(t, s), "after the call %d was refused", n)
				s.Writes()
				out, err = register(s, dir, "-family", family)
				require.NoError(t, err)
				require.Contains(t, out, "everything is as it should be")
				require.Empty(t, s.Writes())
			}
		})
	}
}

func TestRefused(t *testing.T) {
	other := graphtest.Start("fabrikam.onmicrosoft.com")
	t.Cleanup(other.Close)
	_, err := register(other, project(t))
	require.ErrorContains(t, err, "the token is for the tenant of fabrikam.onmicrosoft.com, not for contoso.onmicrosoft.com")
	require.Empty(t, other.Writes())

	s := directory(t)
	_, err = register(s, project(t), "-client-id", "nobody")
	require.ErrorContains(t, err, "no application nobody")
	for _, args := range [][]string{
		{"-tenant", "https://contoso"},
		{"-origin", "https://app.contoso.com/"},
		{"-origin", "http://app.contoso.com"},
		{"-graph", "https://evil.example/v1.0"},
		{"-graph", "http://graph.microsoft.com/v1.0"},
		{"extra"},
		{"-family", "okta"},
		{"-family", "external", "-policies", "B2C_1_x"},
		{"-family", "entra", "-api-url", "https://x"},
		{"-flow", "Sign up"},
		{"-api-id", "nobody"},
		{"-nonsense"},
	} {
		_, err := register(s, project(t), args...)
		require.Error(t, err, args)
	}
	t.Setenv("PATH", "")
	err = run(context.Background(), []string{"-tenant", "contoso"}, func(string) string { return "" }, &bytes.Buffer{})
	require.ErrorContains(t, err, "no GRAPH_TOKEN")

	dir := project(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "local.settings.json"), []byte("{}"), 0o600))
	out, err := register(s, dir)
	require.ErrorContains(t, err, `local.settings.json: it has no "Values"`)
	require.Contains(t, out, "B2C_API_CLIENT_ID=", "the values are shown all the same")
}
