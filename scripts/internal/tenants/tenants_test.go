package tenants_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/scripts/internal/tenants"
)

func load(t *testing.T, changes map[string]string) config.Config {
	settings := map[string]string{
		"B2C_TENANT": "contoso", "B2C_POLICIES": "B2C_1_in,B2C_1_edit", "B2C_API_CLIENT_ID": "ecfb57af-c76a-49a0-b48f-37311846956f",
		"EXTERNAL_TENANT": "contosocustomers", "EXTERNAL_API_CLIENT_ID": "e1a91000-3d5e-4c92-b7f8-6a04e2d9c135",
		"ENTRA_TENANT": "contosoworkforce.onmicrosoft.com", "ENTRA_API_CLIENT_ID": "3aa91000-8f16-4d7c-a0b5-24e9c7d3f608",
		"TABLES_CONNECTION_STRING": "UseDevelopmentStorage=true", "FUNCTIONS_CUSTOMHANDLER_PORT": "1",
	}
	for name, value := range changes {
		settings[name] = value
	}
	c, err := config.Load(func(name string) string { return settings[name] })
	require.NoError(t, err)
	return c
}

func TestBase(t *testing.T) {
	for _, tt := range []struct {
		changes   map[string]string
		family    entra.Family
		want      string
		directory string
	}{
		{nil, entra.FamilyB2C, "https://contoso.b2clogin.com/contoso.onmicrosoft.com", "contoso.onmicrosoft.com"},
		{nil, entra.FamilyExternalID, "https://contosocustomers.ciamlogin.com/contosocustomers.onmicrosoft.com", "contosocustomers.onmicrosoft.com"},
		{nil, entra.FamilyWorkforce, "https://login.microsoftonline.com/contosoworkforce.onmicrosoft.com", "contosoworkforce.onmicrosoft.com"},
		{
			map[string]string{"B2C_METADATA_URL": "https://contoso.b2clogin.cn/contoso.partner.onmschina.cn/{policy}/v2.0/.well-known/openid-configuration"},
			entra.FamilyB2C, "https://contoso.b2clogin.cn/contoso.partner.onmschina.cn", "contoso.partner.onmschina.cn",
		},
		{
			map[string]string{"B2C_METADATA_URL": "https://login.contoso.com/tfp/775527ff-9a37-4307-8b3d-cc311f58d925/{policy}/v2.0/.well-known/openid-configuration"},
			entra.FamilyB2C, "https://login.contoso.com/775527ff-9a37-4307-8b3d-cc311f58d925", "775527ff-9a37-4307-8b3d-cc311f58d925",
		},
		{
			map[string]string{"EXTERNAL_METADATA_URL": "http://localhost:9911/{host}/{tenant}/v2.0/.well-known/openid-configuration"},
			entra.FamilyExternalID, "http://localhost:9911/contosocustomers.ciamlogin.com/contosocustomers.onmicrosoft.com", "contosocustomers.onmicrosoft.com",
		},
		{
			map[string]string{"B2C_METADATA_URL": "https://login.contoso.com/x/{policy}"},
			entra.FamilyB2C,
			"https://login.contoso.com/contoso.onmicrosoft.com", "contoso.onmicrosoft.com",
		},
	} {
		c := load(t, tt.changes)
		for _, tenant := range tenants.Of(c) {
			if tenant.Family == tt.family {
				base, _ := tenant.Base()
				require.Equal(t, tt.want, base.String())
				require.Equal(t, tt.directory, tenant.Directory())
				require.Equal(t, tt.family, tenants.At(c, tt.want+"/oauth2/v2.0/authorize").Family)
			}
		}
	}
}

func TestAt(t *testing.T) {
	c := load(t, nil)
	for address, family := range map[string]entra.Family{
		"https://contoso.b2clogin.com/x": entra.FamilyB2C, "https://LOGIN.microsoftonline.com/x": entra.FamilyWorkforce,
		"https://e1a91000-3d5e-4c92-b7f8-6a04e2d9c135.ciamlogin.com/": entra.FamilyExternalID, "https://elsewhere.example/": entra.FamilyB2C, "%": entra.FamilyB2C,
	} {
		require.Equal(t, family, tenants.At(c, address).Family, address)
	}
	require.Equal(t, []string{"B2C_1_in", "B2C_1_edit"}, tenants.Of(c)[0].PolicyNames())
	require.Empty(t, tenants.Of(c)[1].PolicyNames())
	for _, tenant := range tenants.Of(c) {
		require.Len(t, tenants.Of(tenant.Alone(tenant.Policies[0])), 1)
	}
}

func TestIsGraphScope(t *testing.T) {
	for scope, is := range map[string]bool{
		"User.Read": true, "https://graph.microsoft.com/Mail.Send": true, "read": false, "api://x/User.Read": false, "user.readers": false,
	} {
		require.Equal(t, is, tenants.IsGraphScope(scope), scope)
	}
}
