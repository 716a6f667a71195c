package main

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/waittest"
)

const formerClaim = "extension_0a1b2c3d4e5f46788990a1b2c3d4e5f6_B2CObjectId"

// movedTenant is a stand-in with users who were moved, and a handler for it.
func movedTenant(t *testing.T, o entratest.Options, changes map[string]string) (*entratest.Server, *program) {
	tenant, err := entratest.Start(o)
	require.NoError(t, err)
	t.Cleanup(tenant.Close)
	env := settings(tenant, startStorage(t).ConnectionString())
	maps.Copy(env, changes)
	p := startProgram(t, env)
	p.settle(t, tenant.Token("alice"))
	return tenant, p
}

// names are what the items of whoever has the token are called.
func names(t *testing.T, p *program, token string) []string {
	status, _, body := send(t, "GET", p.url+"/api/items", token, "")
	require.Equal(t, 200, status, body)
	var list struct{ Value []struct{ Name string } }
	require.NoError(t, json.Unmarshal([]byte(body), &list))
	found := []string{}
	for _, item := range list.Value {
		found = append(found, item.Name)
	}
	return found
}

func create(t *testing.T, p *program, token, name string) {
	status, _, body := send(t, "POST", p.url+"/api/items", token, `{"name":"`+name+`"}`)
	require.Equal(t, 201, status, body)
}

// In External ID's hybrid mode the directory stays: alice creates by B2C and finds by
// External ID, and the reverse. No setting has to say so.
func TestSameDirectory(t *testing.T) {
	tenant, p := movedTenant(t, entratest.Options{SameDirectory: true}, nil)
	token := func(family entratest.Family, user string) string {
		token, err := tenant.AccessToken(entratest.TokenRequest{Family: family, User: user})
		require.NoError(t, err)
		return token
	}
	require.NotEqual(t, tenant.IssuerOf(entratest.B2C), tenant.IssuerOf(entratest.External))
	create(t, p, token(entratest.B2C, "alice"), "from B2C")
	require.Equal(t, []string{"from B2C"}, names(t, p, token(entratest.External, "alice")))
	create(t, p, token(entratest.External, "alice"), "from External ID")
	require.Equal(t, []string{"from External ID", "from B2C"}, names(t, p, token(entratest.B2C, "alice")))
	require.Empty(t, names(t, p, token(entratest.External, "bob")))
	require.Empty(t, names(t, p, token(entratest.Workforce, "alice")))
	// One directory, but the tokens of one family are not the other's.
	claims := tenant.Claims(entratest.TokenRequest{Family: entratest.External})
	claims["aud"] = entratest.APIClientID
	_, _, body := send(t, "GET", p.url+"/api/items", tenant.Sign(string(entratest.External), nil, claims), "")
	require.Contains(t, body, `"code":"aud.wrong"`)
	claims["iss"] = tenant.IssuerOf(entratest.B2C)
	_, _, body = send(t, "GET", p.url+"/api/items", tenant.Sign(string(entratest.External), nil, claims), "")
	require.Contains(t, body, `"code":"policy.missing"`)
}

// In a new tenant everybody has a new ID, and a moved user's token has the old one, too.
func TestFormerID(t *testing.T) {
	tenant, p := movedTenant(t, entratest.Options{FormerIDClaim: formerClaim}, map[string]string{
		"EXTERNAL_FORMER_TENANT": strings.ToUpper(entratest.TenantID), "EXTERNAL_FORMER_ID_CLAIM": formerClaim,
	})
	claimsOf := func(family entratest.Family, user string) map[string]any {
		return tenant.Claims(entratest.TokenRequest{Family: family, User: user})
	}
	signers := map[entratest.Family]string{
		entratest.B2C: entratest.PolicySignUpSignIn, entratest.External: string(entratest.External),
		entratest.Workforce: string(entratest.Workforce),
	}
	sign := func(family entratest.Family, claims map[string]any) string {
		return tenant.Sign(signers[family], nil, claims)
	}
	alice := entratest.Users()[0].ObjectID

	create(t, p, tenant.Token("alice"), "alice's of B2C")
	moved := claimsOf(entratest.External, "alice")
	require.Equal(t, alice, moved[formerClaim])
	require.NotEqual(t, alice, moved["oid"])
	require.Equal(t, []string{"alice's of B2C"}, names(t, p, sign(entratest.External, moved)))
	moved[formerClaim] = strings.ToUpper(alice)
	require.Equal(t, []string{"alice's of B2C"}, names(t, p, sign(entratest.External, moved)), "in any case")
	create(t, p, sign(entratest.External, moved), "made since")
	require.Equal(t, []string{"made since", "alice's of B2C"}, names(t, p, tenant.Token("alice")))
	require.Empty(t, names(t, p, sign(entratest.External, claimsOf(entratest.External, "bob"))))

	// What does not count leaves alice with her new ID.
	delete(moved, formerClaim)
	create(t, p, sign(entratest.External, moved), "alice's of External ID")
	for name, value := range map[string]any{
		"a list":      []string{alice},
		"an object":   map[string]any{"id": alice},
		"a number":    7,
		"true":        true,
		"null":        nil,
		"empty":       "",
		"all zero":    "00000000-0000-0000-0000-000000000000",
		"no GUID":     "alice",
		"more":        alice + " ",
		"in brackets": "{" + alice + "}",
		"no dashes":   strings.ReplaceAll(alice, "-", ""),
	} {
		moved[formerClaim] = value
		require.Equal(t, []string{"alice's of External ID"}, names(t, p, sign(entratest.External, moved)), name)
	}
	delete(moved, formerClaim)
	moved[strings.ToUpper(formerClaim)] = alice
	require.Equal(t, []string{"alice's of External ID"}, names(t, p, sign(entratest.External, moved)), "another claim")

	// The claim of another family is nobody's former ID, and a program has none.
	bob := entratest.Users()[1].ObjectID
	for family, own := range map[entratest.Family]string{entratest.B2C: "alice's of B2C", entratest.Workforce: ""} {
		claims := claimsOf(family, "alice")
		claims[formerClaim] = bob
		create(t, p, sign(family, claims), "by "+string(family))
		require.Contains(t, append(names(t, p, sign(family, claims)), ""), own)
	}
	require.Empty(t, names(t, p, tenant.Token("bob")))
	// Who has no ID now has none from before, either.
	moved = claimsOf(entratest.External, "alice")
	delete(moved, "oid")
	_, _, body := send(t, "GET", p.url+"/api/items", sign(entratest.External, moved), "")
	require.Contains(t, body, `"code":"subject.no_oid"`)

	require.NoError(t, p.cmd.Process.Kill())
	waittest.For(t, p.ended) // and all of its output was read
	var lines []string
	for line := range strings.Lines(p.output.String()) {
		if strings.Contains(line, "before the move") {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 2, "one each for alice and bob: %v", lines)
	for _, line := range lines {
		require.Regexp(t, `"partition":"u-[0-9a-f]{32}"`, line)
		require.NotContains(t, line, alice)
		require.NotContains(t, line, bob)
		require.NotContains(t, line, entratest.TenantID)
	}
}

// The claim is nothing to a handler that was not told of it.
func TestFormerIDNotConfigured(t *testing.T) {
	tenant, p := movedTenant(t, entratest.Options{FormerIDClaim: formerClaim}, nil)
	create(t, p, tenant.Token("alice"), "alice's of B2C")
	moved, err := tenant.AccessToken(entratest.TokenRequest{Family: entratest.External})
	require.NoError(t, err)
	require.Empty(t, names(t, p, moved))
}

// A program's token has no former ID, whatever its claims say.
func TestProgramHasNoFormerID(t *testing.T) {
	tenant, p := movedTenant(t, entratest.Options{FormerIDClaim: formerClaim}, map[string]string{
		"EXTERNAL_FORMER_TENANT": entratest.TenantID, "EXTERNAL_FORMER_ID_CLAIM": formerClaim, "APPLICATIONS": "accept",
	})
	create(t, p, tenant.Token("alice"), "alice's of B2C")
	claims := tenant.Claims(entratest.TokenRequest{Family: entratest.External, Application: true})
	claims[formerClaim] = entratest.Users()[0].ObjectID
	require.Empty(t, names(t, p, tenant.Sign(string(entratest.External), nil, claims)))
}

// A tenant that users come from is none that they come to, whatever it is called.
func TestFormerTenantIsAnother(t *testing.T) {
	for _, id := range []string{entratest.ExternalTenantID, entratest.WorkforceTenantID} {
		tenant, p := movedTenant(t, entratest.Options{FormerIDClaim: formerClaim}, map[string]string{
			"EXTERNAL_FORMER_TENANT": id, "EXTERNAL_FORMER_ID_CLAIM": formerClaim,
		})
		family := map[string]entratest.Family{
			entratest.ExternalTenantID: entratest.External, entratest.WorkforceTenantID: entratest.Workforce,
		}[id]
		token, err := tenant.AccessToken(entratest.TokenRequest{Family: family})
		require.NoError(t, err)
		status, _, body := send(t, "GET", p.url+"/api/items", token, "")
		require.Equal(t, 503, status, body)
		require.Contains(t, body, `"code":"keys.unavailable"`)
		status, _, body = send(t, "GET", p.url+"/api/items", tenant.Token("alice"), "")
		require.Equal(t, 200, status, body)
	}
}
