package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/clients/spa"
	"itemsapi/handler/config"
	"itemsapi/scripts/register/graphtest"
)

type object = map[string]any

// An external and a workforce tenant get what their tokens need, and the files say so.
func TestFreshTenantOfEachFamily(t *testing.T) {
	for _, tt := range []struct {
		family, prefix, tenant, granted, signIn string
	}{
		{
			"external", "EXTERNAL_", "contoso", "openid offline_access",
			"https://contoso.ciamlogin.com/contoso.onmicrosoft.com",
		},
		{
			"entra", "ENTRA_", "contoso.onmicrosoft.com", "openid offline_access profile",
			"https://login.microsoftonline.com/contoso.onmicrosoft.com",
		},
	} {
		t.Run(tt.family, func(t *testing.T) {
			s, dir := directory(t), project(t)
			s.AddFlow("flow", "Sign up")
			s.Delay, s.BusyEvery = 3, 7
			out, err := register(s, dir, "-family", tt.family, "-origin", "https://app.contoso.com")
			require.NoError(t, err, out)
			apps := s.All("applications")
			require.Len(t, apps, 2)
			api, client := apps[0], apps[1]
			id := api["appId"].(string)
			require.Equal(t, "AzureADMyOrg", api["signInAudience"])
			require.Equal(t, "AzureADMyOrg", client["signInAudience"])
			require.Equal(t, []any{"api://" + id}, api["identifierUris"])
			of := api["api"].(object)
			require.Equal(t, 2.0, of["requestedAccessTokenVersion"])
			scopes, roles := of["oauth2PermissionScopes"].([]any), api["appRoles"].([]any)
			require.Len(t, scopes, 2)
			require.Len(t, roles, 2)
			for i := range scopes {
				scope, role := scopes[i].(object), roles[i].(object)
				require.Equal(t, "Admin", scope["type"])
				require.Equal(t, scope["id"], role["id"])
				require.Equal(t, scope["value"], role["value"])
				require.Equal(t, []any{"Application"}, role["allowedMemberTypes"])
			}
			claims := api["optionalClaims"].(object)["accessToken"].([]any)
			require.Equal(t, "idtyp", claims[0].(object)["name"])
			grants := s.All("oauth2PermissionGrants")
			require.Equal(t, "read write", grants[0]["scope"])
			require.Equal(t, tt.granted, grants[1]["scope"])
			linked := []any{}
			if tt.family == "external" {
				linked = append(linked, client["appId"])
			}
			require.Equal(t, linked, s.Linked("flow"))
			require.Contains(t, out, tt.signIn)
			require.Contains(t, out, "api://"+id+"/read")
			require.NotContains(t, out, "Run now")
			require.NotContains(t, out, graphtest.Token)

			// The handler takes what was written.
			text, err := os.ReadFile(filepath.Join(dir, "local.settings.json"))
			require.NoError(t, err)
			var local struct{ Values map[string]string }
			require.NoError(t, json.Unmarshal(text, &local))
			local.Values["FUNCTIONS_CUSTOMHANDLER_PORT"] = "7072"
			c, err := config.Load(func(name string) string { return local.Values[name] })
			require.NoError(t, err)
			require.Empty(t, c.B2C.Tenant, "the local world's B2C tenant is not waited for")
			trust := map[string]config.Trust{"external": c.External, "entra": c.Entra}[tt.family]
			require.Equal(t, tt.tenant, trust.Tenant)
			require.Equal(t, id, trust.APIClientID)
			require.Equal(t, "api://"+id, trust.AppIDURI)
			require.Equal(t, []string{client["appId"].(string)}, trust.AllowedClients)

			// And so does the single-page app.
			var app spa.Config
			require.NoError(t, json.Unmarshal([]byte(appConfig(t, dir)), &app))
			require.Equal(t, tt.signIn, app.Authority)
			require.Equal(t, client["appId"], app.ClientID)
			require.Equal(t, "api://"+id+"/write", app.Scopes.Write)
			require.Equal(t, "http://localhost:7071/api", app.API)
			require.Empty(t, app.LocalMetadata)
			require.NotContains(t, appConfig(t, dir), "policies", "these families have none")

			before := state(t, s)
			s.Writes()
			for _, args := range [][]string{nil, {"-check"}, {"-dry-run"}} {
				out, err = register(s, dir, append(args, "-family", tt.family, "-origin", "https://app.contoso.com")...)
				require.NoError(t, err, out)
				require.Contains(t, out, "everything is as it should be")
			}
			require.Empty(t, s.Writes())
			require.Equal(t, before, state(t, s))
		})
	}
}

// appConfig is the single-page app's config.json.
func appConfig(t *testing.T, dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "clients", "spa", "config.json"))
	require.NoError(t, err)
	return string(text)
}

// A real B2C tenant that is set already stays, as people move from it.
func TestRealB2CStays(t *testing.T) {
	s, dir := directory(t), project(t)
	_, err := register(s, dir)
	require.NoError(t, err)
	app := appConfig(t, dir)
	s.AddFlow("flow", "Sign up")
	out, err := register(s, dir, "-family", "external")
	require.NoError(t, err)
	require.Contains(t, out, "clients/spa/config.json stays")
	require.Equal(t, app, appConfig(t, dir))
	text, err := os.ReadFile(filepath.Join(dir, "local.settings.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"B2C_TENANT": "contoso"`)
	require.Contains(t, string(text), `"EXTERNAL_TENANT": "contoso"`)
	require.Len(t, s.All("applications"), 4, "B2C's registrations cannot be used by External ID")
}

func TestTellingOfExternalChangesNothing(t *testing.T) {
	s, dir := directory(t), project(t)
	s.AddFlow("flow", "Sign up")
	out, err := register(s, dir, "-family", "external", "-check")
	require.ErrorContains(t, err, "8 things differ")
	require.Contains(t, out, "itemsapi-client is not linked to the user flow Sign up")
	out, err = register(s, dir, "-family", "external", "-dry-run")
	require.NoError(t, err)
	require.Contains(t, out, `"api://(application ID of itemsapi)"`)
	require.Contains(t, out, "POST /identity/authenticationEventsFlows/flow/conditions/applications/includeApplications")
	require.Empty(t, s.Writes())
	require.NoFileExists(t, filepath.Join(dir, "local.settings.json"))
}

// Each kind of drift is told, repaired by a run, and gone after it; what others put in
// stays.
func TestDriftOfExternal(t *testing.T) {
	const shared = "1f0a5a52-8f0e-4a3a-9c5e-3a8c7d1f2e6"
	scope := func(value, kind string, enabled bool) object {
		return object{
			"id": shared + value[:1], "value": value, "type": kind, "isEnabled": enabled,
			"adminConsentDisplayName": value + " them", "adminConsentDescription": value,
			"userConsentDisplayName": "as a user",
		}
	}
	role := func(value string, enabled bool, members ...any) object {
		return object{
			"id": shared + value[:1], "value": value, "isEnabled": enabled, "displayName": value + " them",
			"description": value, "allowedMemberTypes": members,
		}
	}
	right := func() (api, client object) {
		api = object{
			"id": "api", "appId": "api-app", "displayName": "itemsapi", "signInAudience": "AzureADMyOrg",
			"identifierUris": []any{"https://contoso.onmicrosoft.com/others", "api://api-app"},
			"api": object{
				"requestedAccessTokenVersion": 2,
				"oauth2PermissionScopes":      []any{scope("read", "Admin", true), scope("write", "Admin", true)},
			},
			"appRoles": []any{
				role("read", true, "Application"), role("write", true, "Application", "User"), role("others", true, "User"),
			},
			"optionalClaims": object{
				"idToken":     []any{object{"name": "email", "essential": true}},
				"accessToken": []any{object{"name": "xms_cc"}, object{"name": "idtyp"}}, "saml2Token": []any{},
			},
		}
		client = object{
			"id": "client", "appId": "client-app", "displayName": "itemsapi-client", "signInAudience": "AzureADMyOrg",
			"spa": object{"redirectUris": []any{}},
		}
		return api, client
	}
	for _, tt := range []struct {
		name, says string
		change     func(api, client object)
	}{
		{"nothing but the rest", "lacks permissions", func(api, client object) {}},
		{"the API for many", "itemsapi is not for this directory alone", func(api, _ object) {
			api["signInAudience"] = "AzureADMultipleOrgs"
		}},
		{"the client for many", "itemsapi-client is not for this directory alone", func(_, client object) {
			client["signInAudience"] = "AzureADandPersonalMicrosoftAccount"
		}},
		{"no App ID URI", "lacks the App ID URI api://api-app", func(api, _ object) {
			api["identifierUris"] = []any{"https://contoso.onmicrosoft.com/others"}
		}},
		{"version 1", "issues tokens of version 1", func(api, _ object) {
			api["api"].(object)["requestedAccessTokenVersion"] = nil
		}},
		{"no idtyp", "does not put idtyp into access tokens", func(api, _ object) {
			api["optionalClaims"].(object)["accessToken"] = []any{object{"name": "xms_cc"}}
		}},
		{"no app role", "has no app role read for programs", func(api, _ object) {
			api["appRoles"] = []any{role("write", true, "Application"), role("others", true, "User")}
		}},
		{"an app role for users", "has an app role read that is not for programs", func(api, _ object) {
			api["appRoles"].([]any)[0] = role("read", true, "User")
		}},
		{"a scope that users consent to", "lets users consent to write", func(api, _ object) {
			api["api"].(object)["oauth2PermissionScopes"].([]any)[1] = scope("write", "User", true)
		}},
		{"disabled", "has the scope read disabled", func(api, _ object) {
			api["api"].(object)["oauth2PermissionScopes"].([]any)[0] = scope("read", "Admin", false)
			api["appRoles"].([]any)[0] = role("read", false, "Application")
		}},
		{"a role without its scope", "has no scope read", func(api, _ object) {
			api["api"].(object)["oauth2PermissionScopes"] = []any{scope("write", "Admin", true)}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, dir := directory(t), project(t)
			s.AddFlow("another", "Another")
			s.AddFlow("flow", "Sign up")
			api, client := right()
			tt.change(api, client)
			s.Add("applications", object{"id": "foreign", "appId": "f", "displayName": "Somebody else's"})
			s.Add("applications", api)
			s.Add("applications", client)
			foreign := s.All("applications")[0]
			out, err := register(s, dir, "-family", "external", "-flow", "sign UP", "-check")
			require.ErrorContains(t, err, "things differ")
			require.Contains(t, out, tt.says)
			require.Empty(t, s.Writes())
			out, err = register(s, dir, "-family", "external", "-flow", "sign UP")
			require.NoError(t, err, out)
			out, err = register(s, dir, "-family", "external", "-check")
			require.NoError(t, err, out)
			apps := s.All("applications")
			require.Len(t, apps, 3)
			require.Equal(t, foreign, apps[0])
			require.Equal(t, []any{"client-app"}, s.Linked("flow"))
			require.Empty(t, s.Linked("another"))
			text, err := json.Marshal(apps[1])
			require.NoError(t, err)
			for _, others := range []string{
				`"https://contoso.onmicrosoft.com/others"`, `"value":"others"`, `{"essential":true,"name":"email"}`,
				`{"name":"xms_cc"}`, `"userConsentDisplayName":"as a user"`,
			} {
				require.Contains(t, string(text), others)
			}
		})
	}
}

// What a person has to decide, or to do, about the user flow is said; the IDs are written
// all the same.
func TestUserFlow(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(*graphtest.Server)
		args    []string
		says    string
	}{
		"none":    {func(*graphtest.Server) {}, nil, "the tenant has no user flow; make one"},
		"several": {func(s *graphtest.Server) { s.AddFlow("2", "Two") }, nil, "say with -flow which user flow the client is for: One, Two"},
		"unknown": {func(*graphtest.Server) {}, []string{"-flow", "Three"}, "has no user flow Three; there are One"},
		"another's": {func(s *graphtest.Server) {
			s.Add("applications", object{
				"id": "client", "appId": "client-app", "displayName": "itemsapi-client", "signInAudience": "AzureADMyOrg",
			})
			s.AddFlow("2", "Two", "client-app")
		}, []string{"-flow", "One"}, "itemsapi-client is linked to the user flow Two"},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := directory(t), project(t)
			if name != "none" {
				s.AddFlow("1", "One")
			}
			tt.prepare(s)
			out, err := register(s, dir, append(tt.args, "-family", "external")...)
			require.ErrorContains(t, err, tt.says)
			require.Contains(t, out, "EXTERNAL_API_CLIENT_ID=")
			require.FileExists(t, filepath.Join(dir, "local.settings.json"))
			_, err = register(s, dir, append(tt.args, "-family", "external", "-check")...)
			require.ErrorContains(t, err, tt.says)
		})
	}
	// Azure CLI's token may do all but this.
	s, dir := directory(t), project(t)
	s.AddFlow("1", "One")
	_, err := register(s, dir, "-family", "external")
	require.NoError(t, err)
	calls := 0
	for n := 1; calls == 0; n++ {
		s.DenyFrom(n)
		_, err := register(s, dir, "-family", "external")
		s.DenyFrom(0)
		require.Error(t, err)
		if strings.Contains(err.Error(), "authenticationEventsFlows") {
			require.ErrorContains(t, err, "EventListener.ReadWrite.All")
			require.ErrorContains(t, err, "Add application")
			calls = n
		}
	}
}
