package config_test

import (
	"log/slog"
	"slices"
	"strings"
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

// all is right, with a tenant of each family.
func all(changes map[string]string) func(string) string {
	more := map[string]string{
		"EXTERNAL_TENANT": "contosocustomers", "EXTERNAL_API_CLIENT_ID": "e1a91000-3d5e-4c92-b7f8-6a04e2d9c135",
		"ENTRA_TENANT": "contosoworkforce.onmicrosoft.com", "ENTRA_API_CLIENT_ID": "3aa91000-8f16-4d7c-a0b5-24e9c7d3f608",
	}
	for name, value := range changes {
		more[name] = value
	}
	return right(more)
}

func TestFamilies(t *testing.T) {
	c, err := config.Load(all(map[string]string{"EXTERNAL_HOST": "Login.Contoso.com", "ENTRA_APP_ID_URI": "https://contoso.com/api/"}))
	require.NoError(t, err)
	require.Equal(t, "https://login.contoso.com/contosocustomers.onmicrosoft.com/v2.0/.well-known/openid-configuration", c.External.Policies[0].MetadataURL)
	require.Equal(t, "https://login.contoso.com/contosocustomers.onmicrosoft.com/oauth2/v2.0/token", c.External.Policies[0].SignInURL("token"))
	require.Equal(t, "api://e1a91000-3d5e-4c92-b7f8-6a04e2d9c135", c.External.AppIDURI)
	require.Equal(t, "https://login.microsoftonline.com/contosoworkforce.onmicrosoft.com/v2.0/.well-known/openid-configuration", c.Entra.Policies[0].MetadataURL)
	require.Equal(t, "https://contoso.com/api", c.Entra.AppIDURI)
	require.Equal(t, c.B2C, c.First())

	const id = "C0574C57-0E2D-4F6B-A1D3-5B8E9F20C714"
	c, err = config.Load(all(map[string]string{
		"B2C_TENANT": "", "B2C_POLICIES": "", "B2C_API_CLIENT_ID": "", "ENTRA_TENANT": "", "ENTRA_API_CLIENT_ID": "", "EXTERNAL_TENANT": id,
	}))
	require.NoError(t, err, "a family needs no other")
	require.Equal(t, c.External, c.First())
	lower := strings.ToLower(id)
	require.Equal(t, "https://"+lower+".ciamlogin.com/"+lower+"/v2.0/.well-known/openid-configuration", c.External.Policies[0].MetadataURL)

	for name, tt := range map[string]struct {
		changes map[string]string
		want    string
	}{
		"settings without their tenant": {map[string]string{"EXTERNAL_TENANT": ""}, "EXTERNAL_TENANT is not set, and these mean nothing without it: EXTERNAL_API_CLIENT_ID."},
		"B2C's, too":                    {map[string]string{"B2C_TENANT": ""}, "B2C_TENANT is not set, and these mean nothing without it: B2C_POLICIES, B2C_API_CLIENT_ID."},
		"a tenant without the API":      {map[string]string{"ENTRA_API_CLIENT_ID": ""}, "ENTRA_API_CLIENT_ID is not set"},
		"one tenant as two":             {map[string]string{"EXTERNAL_TENANT": id, "ENTRA_TENANT": id}, "name the same tenant"},
		"one tenant as two, by name":    {map[string]string{"ENTRA_TENANT": "contosocustomers.onmicrosoft.com"}, "name the same tenant"},
		"half a former tenant":          {map[string]string{"EXTERNAL_FORMER_TENANT": formerTenant}, "go together: set both or neither"},
		"the other half":                {map[string]string{"EXTERNAL_FORMER_ID_CLAIM": "extn.id"}, "go together: set both or neither"},
		"the external tenant as its former one": {
			map[string]string{"EXTERNAL_TENANT": id, "EXTERNAL_FORMER_TENANT": lower, "EXTERNAL_FORMER_ID_CLAIM": "extn.id"},
			"EXTERNAL_FORMER_TENANT is a tenant whose users come by their present ID",
		},
		"the workforce tenant as the former one": {
			map[string]string{"ENTRA_TENANT": lower, "EXTERNAL_FORMER_TENANT": id, "EXTERNAL_FORMER_ID_CLAIM": "extn.id"},
			"EXTERNAL_FORMER_TENANT is a tenant whose users come by their present ID",
		},
		"a former tenant by name":        {map[string]string{"EXTERNAL_FORMER_TENANT": "contoso", "EXTERNAL_FORMER_ID_CLAIM": "extn.id"}, "not the GUID of a tenant"},
		"a former tenant of zeros":       {map[string]string{"EXTERNAL_FORMER_TENANT": "00000000-0000-0000-0000-000000000000", "EXTERNAL_FORMER_ID_CLAIM": "extn.id"}, "not the GUID of a tenant"},
		"a former ID that anybody sets":  {map[string]string{"EXTERNAL_FORMER_TENANT": formerTenant, "EXTERNAL_FORMER_ID_CLAIM": "email"}, "may be the user's to choose"},
		"a former ID without its tenant": {map[string]string{"EXTERNAL_TENANT": "", "EXTERNAL_API_CLIENT_ID": "", "EXTERNAL_FORMER_TENANT": formerTenant}, "mean nothing without it"},
		"local metadata": {
			map[string]string{"ENTRA_METADATA_URL": "http://localhost:9911/{tenant}"}, "ENTRA_METADATA_URL points to this machine",
		},
	} {
		_, err := config.Load(all(tt.changes))
		require.ErrorContains(t, err, tt.want, name)
	}
}

const formerTenant = "775527ff-9a37-4307-8b3d-cc311f58d925"

func TestFormerTenant(t *testing.T) {
	c, err := config.Load(all(map[string]string{
		"EXTERNAL_FORMER_TENANT": strings.ToUpper(formerTenant), "EXTERNAL_FORMER_ID_CLAIM": "extension_0a1b2c_B2CObjectId",
	}))
	require.NoError(t, err)
	require.Equal(t, formerTenant, c.External.FormerTenant)
	require.Equal(t, "extension_0a1b2c_B2CObjectId", c.External.FormerIDClaim)
}

func TestDefaults(t *testing.T) {
	c, err := config.Load(right(nil))
	require.NoError(t, err)
	require.Equal(t, 7072, c.Port)
	require.Equal(t, "contoso.b2clogin.com", c.B2C.Host)
	require.Equal(t, config.Trust{ReadScope: "read", WriteScope: "write", MetadataURL: c.Entra.MetadataURL}, c.Entra)
	require.Equal(t, "https://contoso.onmicrosoft.com/ecfb57af-c76a-49a0-b48f-37311846956f", c.B2C.AppIDURI)
	require.Equal(t, "read", c.B2C.ReadScope)
	require.Equal(t, "write", c.B2C.WriteScope)
	require.Equal(t, config.Collection, c.Table)
	require.Empty(t, c.B2C.AllowedClients)
	require.True(t, c.Explain)
	require.Equal(t, 32, c.CallerConcurrency)
	require.Equal(t, 50, c.CallerRate)
	require.Equal(t, slog.LevelInfo, c.LogLevel)
	require.Equal(t, []config.Policy{{
		Name:        "B2C_1_signupsignin",
		MetadataURL: "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin/v2.0/.well-known/openid-configuration",
	}}, c.B2C.Policies)
}

func TestSignInURL(t *testing.T) {
	c, err := config.Load(right(nil))
	require.NoError(t, err)
	require.Equal(t, "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/authorize", c.B2C.Policies[0].SignInURL("authorize"))
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
		"CALLER_CONCURRENCY":       "256",
		"CALLER_RATE":              "0",
		"ITEMS_TABLE":              "tasks",
		"APPLICATIONS":             "accept",
		"AUTH_EXPLAIN":             "code",
		"LOG_LEVEL":                "debug",
	}))
	require.NoError(t, err)
	require.Equal(t, "contoso", c.B2C.Tenant)
	require.Equal(t, "https://contoso.onmicrosoft.com/b2capi", c.B2C.AppIDURI)
	require.Equal(t, []string{"47840c35-e986-468b-8d2c-e25aa02d3d08"}, c.B2C.AllowedClients)
	require.Equal(t, "login.contoso.com", c.B2C.Host)
	require.Len(t, c.B2C.ExtraIssuers, 1)
	require.Contains(t, c.TablesConnectionString, "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1")
	require.False(t, c.Explain)
	require.Equal(t, 256, c.CallerConcurrency)
	require.Zero(t, c.CallerRate)
	require.Equal(t, slog.LevelDebug, c.LogLevel)
	require.Equal(t, []config.Policy{
		{"B2C_1_signupsignin", "http://localhost:9911/contoso.onmicrosoft.com/B2C_1_signupsignin/v2.0/.well-known/openid-configuration"},
		{"b2c_1a_Custom.Policy-1", "http://localhost:9911/contoso.onmicrosoft.com/b2c_1a_Custom.Policy-1/v2.0/.well-known/openid-configuration"},
	}, c.B2C.Policies)
}

func TestProblems(t *testing.T) {
	const secret = "c2VjcmV0"
	for _, tt := range []struct {
		name, setting, value, want string
	}{
		{"tenant as domain", "B2C_TENANT", "contoso.onmicrosoft.com", `expects just the name: "contoso"`},
		{"tenant as URL", "B2C_TENANT", "https://contoso.onmicrosoft.com", `expects just the name: "contoso"`},
		{"tenant as its sign-in", "B2C_TENANT", "https://contoso.b2clogin.com/", `expects just the name: "contoso"`},
		{"tenant as another host", "B2C_TENANT", "login.contoso.com", "not a tenant name"},
		{"external tenant as its sign-in", "EXTERNAL_TENANT", "contosocustomers.ciamlogin.com", `expects just the name: "contosocustomers"`},
		{"audience all zero", "B2C_API_CLIENT_ID", "00000000-0000-0000-0000-000000000000", "is a placeholder"},
		{"client all zero", "B2C_ALLOWED_CLIENTS", "00000000-0000-0000-0000-000000000000", "is a placeholder"},
		{"endpoint of blobs", "TABLES_ENDPOINT", "https://contosoitems.blob.core.windows.net", `"https://contosoitems.table.core.windows.net"`},
		{"policy without prefix", "B2C_POLICIES", "signupsignin", "starts with B2C_1_"},
		{"policy twice", "B2C_POLICIES", "B2C_1_a,b2c_1_A", "twice"},
		{"only commas", "B2C_POLICIES", ",,", "names no policy"},
		{"audience as URI", "B2C_API_CLIENT_ID", "https://contoso.onmicrosoft.com/b2capi", "is an App ID URI"},
		{"audience no GUID", "B2C_API_CLIENT_ID", "b2capi", "which is a GUID"},
		{"App ID URI without scheme", "B2C_APP_ID_URI", "b2capi", "starts with https:// or api://"},
		{"full scope", "B2C_READ_SCOPE", "https://contoso.onmicrosoft.com/b2capi/read", `the short name, "read"`},
		{"two scopes", "B2C_WRITE_SCOPE", "read write", "not a scope name"},
		{"client no GUID", "B2C_ALLOWED_CLIENTS", "B2CTest", "which is a GUID"},
		{"external tenant as domain", "EXTERNAL_TENANT", "contosocustomers.onmicrosoft.com", `expects just the name: "contosocustomers"`},
		{"external tenant of many", "EXTERNAL_TENANT", "Common", "stands for many tenants"},
		{"workforce tenant by its name", "ENTRA_TENANT", "contosoworkforce", "neither a GUID nor a domain"},
		{"workforce tenant of many", "ENTRA_TENANT", "organizations", "stands for many tenants"},
		{"Microsoft accounts", "ENTRA_TENANT", "9188040D-6C67-4C5B-B112-36A304B66DAD", "stands for many tenants"},
		{"external audience as URI", "EXTERNAL_API_CLIENT_ID", "api://e1a91000-3d5e-4c92-b7f8-6a04e2d9c135", "is an App ID URI"},
		{"external full scope", "EXTERNAL_READ_SCOPE", "api://e1a91000-3d5e-4c92-b7f8-6a04e2d9c135/read", `the short name, "read"`},
		{"external metadata with a policy", "EXTERNAL_METADATA_URL", "https://{host}/{tenant}/{policy}", "only"},
		{"workforce metadata over http", "ENTRA_METADATA_URL", "http://{host}/{tenant}", "must start with https://"},
		{"host as URL", "B2C_HOST", "https://login.contoso.com", "not a host name"},
		{"issuer without scheme", "B2C_EXTRA_ISSUERS", "contoso.b2clogin.com", "not an issuer"},
		{"metadata without policy", "B2C_METADATA_URL", "https://contoso.b2clogin.com/x", "must contain {policy}"},
		{"metadata with another placeholder", "B2C_METADATA_URL", "https://{hots}/{policy}", "only"},
		{"metadata over http", "B2C_METADATA_URL", "http://{host}/{policy}", "must start with https://"},
		{"endpoint over http", "TABLES_ENDPOINT", "http://contosoitems.table.core.windows.net", "must be the https URL"},
		{"endpoint with a table", "TABLES_ENDPOINT", "https://contosoitems.table.core.windows.net/items", "without path"},
		{"table name", "ITEMS_TABLE", "my-items", "not a table name"},
		{"applications", "APPLICATIONS", "yes", "neither accept nor refuse"},
		{"explain", "AUTH_EXPLAIN", "yes", "neither full nor code"},
		{"log level", "LOG_LEVEL", "verbose", "not debug"},
		{"no request at a time", "CALLER_CONCURRENCY", "0", "from 1 to 256"},
		{"more than an instance has", "CALLER_CONCURRENCY", "257", "from 1 to 256"},
		{"rate in words", "CALLER_RATE", "50/s", "not a whole number"},
		{"rate below none", "CALLER_RATE", "-1", "from 0 to 10000"},
		{"port", "FUNCTIONS_CUSTOMHANDLER_PORT", "0", "not a port"},
		{"identity", "AZURE_CLIENT_ID", "me", "which is a GUID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := config.Load(all(map[string]string{tt.setting: tt.value}))
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
	require.Len(t, e.Problems, 3)
	require.EqualError(t, err, `The settings have 3 problems:
  - B2C_TENANT, EXTERNAL_TENANT or ENTRA_TENANT must be set, or several of them: whose tokens are accepted. Example: B2C_TENANT=contoso
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
		case "EXTERNAL_FORMER_TENANT":
			changes["EXTERNAL_FORMER_ID_CLAIM"] = "extn.id"
		case "EXTERNAL_FORMER_ID_CLAIM":
			changes["EXTERNAL_FORMER_TENANT"] = formerTenant
		case "B2C_METADATA_URL", "EXTERNAL_METADATA_URL", "ENTRA_METADATA_URL":
			changes["TABLES_ENDPOINT"], changes["TABLES_CONNECTION_STRING"] = "", "UseDevelopmentStorage=true"
		}
		_, err := config.Load(all(changes))
		require.NoError(t, err, "the example of %s", s.Name)
	}
}

// The names that messages mention are settings.
func TestNamesAreSettings(t *testing.T) {
	var names []string
	for _, n := range []config.Names{config.B2CNames, config.ExternalNames, config.EntraNames} {
		names = append(names, n.Tenant, n.Policies, n.Audience, n.Clients, n.Host, n.ExtraIssuers, n.Scopes["read"], n.Scopes["write"])
	}
	for _, name := range names {
		if name == "" {
			continue // the family has none
		}
		require.True(t, slices.ContainsFunc(config.Settings, func(s config.Setting) bool { return s.Name == name }), name)
	}
}

// Where the items are can be read without the rest.
func TestLoadStorage(t *testing.T) {
	load := func(env map[string]string) (config.Config, error) {
		return config.LoadStorage(func(name string) string { return env[name] })
	}
	c, err := load(map[string]string{"TABLES_ENDPOINT": "https://contosoitems.table.core.windows.net/", "B2C_TENANT": "?"})
	require.NoError(t, err)
	require.Equal(t, config.Config{TablesEndpoint: "https://contosoitems.table.core.windows.net", Table: config.Collection}, c)
	c, err = load(map[string]string{"TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true", "ITEMS_TABLE": "notes"})
	require.NoError(t, err)
	require.Equal(t, "notes", c.Table)
	_, err = load(map[string]string{"ITEMS_TABLE": "7"})
	require.ErrorContains(t, err, "ITEMS_TABLE")
	require.ErrorContains(t, err, "TABLES_ENDPOINT or TABLES_CONNECTION_STRING must be set")
	require.NotContains(t, err.Error(), "B2C")
}
