package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The local world trusts a tenant of each family, and has a token of each.
func TestTokenOfEachFamily(t *testing.T) {
	curl(t)
	path := filepath.Join(checkout(t), "dev")
	script := `for family in b2c external entra; do
		token=$("` + path + `" token -family $family -user bob -scope read)
		curl -s -o /dev/null -w "%{http_code}\\n" -H "Authorization: Bearer $token" "$API_URL/api/items"
		curl -s -o /dev/null -w "%{http_code}\\n" -H "Authorization: Bearer $token" -d '{"name":"x"}' "$API_URL/api/items"
	done
	"` + path + `" token -broken token.b2c | cut -c1-3
	"` + path + `" token -family okta || echo refused`
	stdout, stderr, status := finish(t, dev(t, "exec", "--", "sh", "-c", script))
	require.Equal(t, 0, status, stderr)
	require.Equal(t, []string{"200", "403", "200", "403", "200", "403", "eyJ", "refused"}, strings.Fields(stdout))
	require.Contains(t, stderr, "only an API that does not trust the family b2c answers token.b2c")
	require.Contains(t, stderr, "there are b2c, external and entra")
}

// A program's token is a command away, and the world admits programs where it is told to.
func TestTokenOfAProgram(t *testing.T) {
	curl(t)
	path := filepath.Join(checkout(t), "dev")
	script := `for family in b2c external entra; do
		for scope in read,write write; do
			token=$("` + path + `" token -application -family $family -scope $scope)
			curl -s -H "Authorization: Bearer $token" "$API_URL/api/items" | grep -o '"code":"[^"]*"' || echo admitted
		done
	done
	"` + path + `" token -application -user alice || echo refused
	"` + path + `" token -application -scope user_impersonation || echo refused
	token=$("` + path + `" token -broken role.missing)
	curl -s -H "Authorization: Bearer $token" "$API_URL/api/items" | grep -o '"code":"[^"]*"'`
	for setting, want := range map[string][]string{
		"accept": {
			"admitted", `"code":"scope.missing"`, "admitted", `"code":"role.missing"`, "admitted", `"code":"role.missing"`,
			"refused", "refused", `"code":"role.missing"`,
		},
		"": {
			"admitted", `"code":"scope.missing"`, `"code":"caller.application"`, `"code":"caller.application"`,
			`"code":"caller.application"`, `"code":"caller.application"`,
			"refused", "refused", `"code":"caller.application"`,
		},
	} {
		t.Setenv("APPLICATIONS", setting)
		stdout, stderr, status := finish(t, dev(t, "exec", "--", "sh", "-c", script))
		require.Equal(t, 0, status, stderr)
		require.Equal(t, want, strings.Fields(stdout), setting)
		require.Contains(t, stderr, "only an API that admits programs answers role.missing")
		require.Contains(t, stderr, `no app role "user_impersonation"`)
	}
}
