package config_test

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
)

func right(changes map[string]string) func(string) string {
	env := map[string]string{
		"B2C_TENANT":                   "contoso",
		"B2C_POLICIES":                 "B2C_1_signupsignin",
		"B2C_API_CLIENT_ID":            "ecfb57af-c76a-49a0-b48f-37311846956f",
		"TABLES_ENDPOINT":              "https://contosoitems.table.core.windows.net",
		"FUNCTIONS_CUSTOMHANDLER_PORT": "7072",
	}
	for name, value := range changes {
		env[name] = value
	}
	return func(name string) string { return env[name] }
}

func TestDefaults(t *testing.T) {
	c, err := config.Load(right(nil))
	require.NoError(t, err)
	require.Equal(t, 7072, c.Port)
	require.Equal(t, "contoso.b2clogin.com", c.Host)
	require.Equal(t, "https://contoso.onmicrosoft.com/ecfb57af-c76a-49a0-b48f-37311846956f", c.AppIDURI)
	require.Equal(t, "read", c.ReadScope)
	require.Equal(t, "write", c.WriteScope)
	require.Equal(t, config.Collection, c.Table)
	require.Empty(t, c.AllowedClients)
	require.True(t, c.Explain)
	require.Equal(t, slog.LevelInfo, c.LogLevel)
	require.Equal(t, []config.Policy{{
		Name:        "B2C_1_signupsignin",
		MetadataURL: "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin/v2.0/.well-known/openid-configuration",
	}}, c.Policies)
}

func TestSignInURL(t *testing.T) {
	c, err := config.Load(right(nil))
	require.NoError(t, err)
	require.Equal(t, "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/authorize", c.Policies[0].SignInURL("authorize"))
	require.Empty(t, config.Policy{MetadataURL: "https://login.contoso.com/?p=x"}.SignInURL("token"))
}

func TestEverythingSet(t *testing.T) {
	c, err := config.Load(right(map[string]string{
		"B2C_TENANT":               "Contoso",
		"B2C_POLICIES":             " B2C_1_signupsignin , b2c_1a_Custom.Policy-1,",
		"B2C_APP_ID_URI":           "https://contoso.onmicrosoft.com/b2capi/",
		"B2C_READ_SCOPE":           "tasks.read",
		"B2C_WRITE_SCOPE":          "tasks.write",
		"B2C_ALLOWED_CLIENTS":      "47840C35-E986-468B-8D2C-E25AA02D3D08",
		"B2C_HOST":                 "login.contoso.com",
		"B2C_EXTRA_ISSUERS":        "https://contoso.b2clogin.com/775527ff-9a37-4307-8b3d-cc311f58d925/v2.0/",
		"B2C_METADATA_URL":         "http://localhost:9911/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration",
		"TABLES_ENDPOINT":          "",
		"TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true",
		"AZURE_CLIENT_ID":          "3a4b5c6d-0000-4000-8000-1234567890ab",
		"ITEMS_TABLE":              "tasks",
		"AUTH_EXPLAIN":             "code",
		"LOG_LEVEL":                "debug",
	}))
	require.NoError(t, err)
	require.Equal(t, "contoso", c.Tenant)
	require.Equal(t, "https://contoso.onmicrosoft.com/b2capi", c.AppIDURI)
	require.Equal(t, []string{"47840c35-e986-468b-8d2c-e25aa02d3d08"}, c.AllowedClients)
	require.Equal(t, "login.contoso.com", c.Host)
	require.Len(t, c.ExtraIssuers, 1)
	require.Contains(t, c.TablesConnectionString, "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1")
	require.False(t, c.Explain)
	require.Equal(t, slog.LevelDebug, c.LogLevel)
	require.Equal(t, []config.Policy{
		{"B2C_1_signupsignin", "http://localhost:9911/contoso.onmicrosoft.com/B2C_1_signupsignin/v2.0/.well-known/openid-configuration"},
		{"b2c_1a_Custom.Policy-1", "http://localhost:9911/contoso.onmicrosoft.com/b2c_1a_Custom.Policy-1/v2.0/.well-known/openid-configuration"},
	}, c.Policies)
}

func TestProblems(t *testing.T) {
	const secret = "c2VjcmV0"
	for _, tt := range []struct {
		name, setting, value, want string
	}{
		{"tenant as domain", "B2C_TENANT", "contoso.onmicrosoft.com", `wants the name alone, "contoso"`},
		{"tenant as URL", "B2C_TENANT", "https://contoso", "no tenant name"},
		{"policy without prefix", "B2C_POLICIES", "signupsignin", "starts with B2C_1_"},
		{"policy twice", "B2C_POLICIES", "B2C_1_a,b2c_1_A", "twice"},
		{"only commas", "B2C_POLICIES", ",,", "names no policy"},
		{"audience as URI", "B2C_API_CLIENT_ID", "https://contoso.onmicrosoft.com/b2capi", "is an App ID URI"},
		{"audience no GUID", "B2C_API_CLIENT_ID", "b2capi", "which is a GUID"},
		{"App ID URI without scheme", "B2C_APP_ID_URI", "b2capi", "starts with https:// or api://"},
		{"full scope", "B2C_READ_SCOPE", "https://contoso.onmicrosoft.com/b2capi/read", `the short name, "read"`},
		{"two scopes", "B2C_WRITE_SCOPE", "read write", "no scope name"},
		{"client no GUID", "B2C_ALLOWED_CLIENTS", "B2CTest", "which is a GUID"},
		{"host as URL", "B2C_HOST", "https://login.contoso.com", "no host name"},
		{"issuer without scheme", "B2C_EXTRA_ISSUERS", "contoso.b2clogin.com", "no issuer"},
		{"metadata without policy", "B2C_METADATA_URL", "https://contoso.b2clogin.com/x", "must contain {policy}"},
		{"metadata with another placeholder", "B2C_METADATA_URL", "https://{hots}/{policy}", "only"},
		{"metadata over http", "B2C_METADATA_URL", "http://{host}/{policy}", "must start with https://"},
		{"endpoint over http", "TABLES_ENDPOINT", "http://contosoitems.table.core.windows.net", "must be the https URL"},
		{"endpoint with a table", "TABLES_ENDPOINT", "https://contosoitems.table.core.windows.net/items", "without path"},
		{"table name", "ITEMS_TABLE", "my-items", "no table name"},
		{"explain", "AUTH_EXPLAIN", "yes", "neither full nor code"},
		{"log level", "LOG_LEVEL", "verbose", "none of debug"},
		{"port", "FUNCTIONS_CUSTOMHANDLER_PORT", "0", "no port"},
		{"identity", "AZURE_CLIENT_ID", "me", "which is a GUID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Load(right(map[string]string{tt.setting: tt.value}))
			var e *config.Error
			require.ErrorAs(t, err, &e)
			require.Len(t, e.Problems, 1)
			require.Contains(t, e.Problems[0], tt.setting)
			require.Contains(t, e.Problems[0], tt.want)
			require.Contains(t, e.Problems[0], "Example: "+tt.setting+"=")
		})
	}
	for _, value := range []string{
		"AccountKey=" + secret,
		"AccountName=Contoso!;AccountKey=" + secret,
		"AccountName=contoso;AccountKey=" + secret + ";TableEndpoint=http://contoso.example.com",
		"AccountName=contoso;AccountKey=" + secret + ";DefaultEndpointsProtocol=http",
		secret,
	} {
		_, err := config.Load(right(map[string]string{"TABLES_ENDPOINT": "", "TABLES_CONNECTION_STRING": value}))
		require.ErrorContains(t, err, "TABLES_CONNECTION_STRING")
		require.NotContains(t, err.Error(), secret)
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := config.Load(func(string) string { return "" })
	var e *config.Error
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Problems, 5)
	require.EqualError(t, err, `The settings have 5 problems:
  - B2C_TENANT is not set: name of the tenant: contoso means the domain contoso.onmicrosoft.com and the host contoso.b2clogin.com. Example: B2C_TENANT=contoso
  - B2C_POLICIES is not set: comma list of the user flows and custom policies whose tokens are accepted. Example: B2C_POLICIES=B2C_1_signupsignin,B2C_1_profileedit
  - B2C_API_CLIENT_ID is not set: application ID of the API: the one audience accepted. Example: B2C_API_CLIENT_ID=ecfb57af-c76a-49a0-b48f-37311846956f
  - FUNCTIONS_CUSTOMHANDLER_PORT is not set: the port to listen on, set by the Functions host. Example: FUNCTIONS_CUSTOMHANDLER_PORT=7072
  - TABLES_ENDPOINT or TABLES_CONNECTION_STRING must be set. Example: TABLES_ENDPOINT=https://contosoitems.table.core.windows.net in Azure, TABLES_CONNECTION_STRING=UseDevelopmentStorage=true locally`)
}

func TestStorageIsOneOfTwo(t *testing.T) {
	_, err := config.Load(right(map[string]string{"TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true"}))
	require.ErrorContains(t, err, "both set")
}

// A stand-in for the sign-in mints tokens for anybody who asks.
func TestLocalSignInNeedsLocalStorage(t *testing.T) {
	for _, metadata := range []string{
		"http://localhost:9911/{policy}", "http://127.0.0.1:9911/{policy}", "http://[::1]:9911/{policy}", "https://localhost:9911/{policy}",
	} {
		for _, remote := range []map[string]string{
			{},
			{"TABLES_ENDPOINT": "", "TABLES_CONNECTION_STRING": "AccountName=contoso;AccountKey=eA=="},
			{"TABLES_ENDPOINT": "", "TABLES_CONNECTION_STRING": "AccountName=contoso;AccountKey=eA==;TableEndpoint=https://contoso.table.core.windows.net"},
		} {
			remote["B2C_METADATA_URL"] = metadata
			_, err := config.Load(right(remote))
			require.ErrorContains(t, err, "B2C_METADATA_URL points to this machine but the storage does not", metadata)
		}
		_, err := config.Load(right(map[string]string{"B2C_METADATA_URL": metadata, "TABLES_ENDPOINT": "", "TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true"}))
		require.NoError(t, err)
	}
	_, err := config.Load(right(map[string]string{"B2C_HOST": "localhost:9911"}))
	require.ErrorContains(t, err, "points to this machine")
}

func TestSettingsDocumentThemselves(t *testing.T) {
	for _, s := range config.Settings {
		require.NotEmpty(t, s.Meaning, s.Name)
		changes := map[string]string{s.Name: s.Example}
		switch s.Name {
		case "TABLES_CONNECTION_STRING":
			changes["TABLES_ENDPOINT"] = ""
		case "B2C_METADATA_URL":
			changes["TABLES_ENDPOINT"], changes["TABLES_CONNECTION_STRING"] = "", "UseDevelopmentStorage=true"
		}
		_, err := config.Load(right(changes))
		require.NoError(t, err, "the example of %s", s.Name)
	}
}

// The names that messages mention are settings.
func TestNamesAreSettings(t *testing.T) {
	n := config.B2CNames
	names := []string{n.Tenant, n.Policies, n.Audience, n.Clients, n.Host, n.ExtraIssuers, n.Scopes["read"], n.Scopes["write"]}
	for _, name := range names {
		require.True(t, slices.ContainsFunc(config.Settings, func(s config.Setting) bool { return s.Name == name }), name)
	}
}
