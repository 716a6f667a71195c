package config_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
)

func TestMisspeltSettings(t *testing.T) {
	for name, near := range map[string]string{
		"B2C_ALLOWED_CLIENT":       "B2C_ALLOWED_CLIENTS",
		"B2C_POLICY":               "B2C_POLICIES",
		"B2C_CLIENTS_ALLOWED":      "B2C_ALLOWED_CLIENTS",
		"EXTERNAL_TENANTS":         "EXTERNAL_TENANT",
		"EXTERNAL_CLIENT_API_ID":   "EXTERNAL_API_CLIENT_ID",
		"ENTRA_TENNANT":            "ENTRA_TENANT",
		"TABLES_CONNECTIONSTRING":  "TABLES_CONNECTION_STRING",
		"TABLES_STRING_CONNECTION": "TABLES_CONNECTION_STRING",
		"ITEMS_TABLES":             "ITEMS_TABLE",
		"AUTH_EXPLAN":              "AUTH_EXPLAIN",
		"AUTH_EXPALIN":             "AUTH_EXPLAIN",
		"b2c_tenant":               "B2C_TENANT",
	} {
		_, err := config.Load(right(nil), name)
		var e *config.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, []string{name + " is not a setting; it looks like " + near + ", misspelt"}, e.Problems)
	}

	var known []string
	for _, s := range config.Settings {
		known = append(known, s.Name)
	}
	known = append(known, "B2C_AUTHORITY", "B2C_CLIENT_ID", "B2C_SCOPE_READ", "B2C_SCOPE_WRITE")
	c, err := config.Load(right(nil), append(known, "PATH", "AzureWebJobsStorage", "WEBSITE_AUTH_ENABLED", "XB2C_TENAN")...)
	require.NoError(t, err)
	require.Empty(t, c.Warnings)

	c, err = config.Load(right(nil), "B2C_LOGO_COLOUR", "ITEMS_PER_PAGE")
	require.NoError(t, err)
	require.Equal(t, []string{"B2C_LOGO_COLOUR is not a setting", "ITEMS_PER_PAGE is not a setting"}, c.Warnings)

	c, err = config.Load(right(map[string]string{"B2C_ALLOWED_CLIENTS": "ECFB57AF-c76a-49a0-b48f-37311846956f"}))
	require.NoError(t, err)
	require.Len(t, c.Warnings, 1)
	require.True(t, strings.HasPrefix(c.Warnings[0], "B2C_ALLOWED_CLIENTS has the API's own ID"), c.Warnings[0])
}
