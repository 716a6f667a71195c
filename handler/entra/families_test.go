package entra_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/waittest"
)

// registered is what the stand-in has registered in each tenant.
var registered = map[entratest.Family]struct {
	signer, tenant, api, client string
}{
	entratest.B2C: {
		entratest.PolicySignUpSignIn, entratest.TenantID, entratest.APIClientID, entratest.ClientID,
	},
	entratest.External: {
		string(entratest.External), entratest.ExternalTenantID, entratest.ExternalAPIClientID, entratest.ExternalClientID,
	},
	entratest.Workforce: {
		string(entratest.Workforce), entratest.WorkforceTenantID, entratest.WorkforceAPIClientID,
		entratest.WorkforceClientID,
	},
}

// ofFamily is the claims of a family's token with some changed; nil removes one.
func ofFamily(s *entratest.Server, family entratest.Family, changes map[string]any) map[string]any {
	claims := s.Claims(entratest.TokenRequest{Family: family})
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

func changedOf(s *entratest.Server, family entratest.Family, changes map[string]any) entra.Credentials {
	return bearer(s.Sign(registered[family].signer, nil, ofFamily(s, family, changes)))
}

// One verifier admits a user of each family, and tells them apart.
func TestFamilies(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configForAll(s))
	seen := map[string]bool{}
	for _, family := range families {
		for _, user := range []string{"alice", "bob", "carol"} {
			if user == "carol" && family == entratest.B2C {
				continue // who is a guest of the other two
			}
			token := accessToken(t, s, entratest.TokenRequest{Family: family, User: user, Scopes: []string{"read"}})
			caller, refusal := check(t.Context(), v, bearer(token), "read")
			require.Nil(t, refusal, codeOf(refusal))
			require.Equal(t, entra.Family(family), caller.Family)
			require.Equal(t, registered[family].tenant, caller.Tenant)
			require.Equal(t, registered[family].client, caller.Client)
			require.Equal(t, []string{"read"}, caller.Scopes)
			require.Equal(t, family == entratest.B2C, caller.Policy != "")
			require.NotContains(t, seen, caller.Tenant+caller.Subject)
			seen[caller.Tenant+caller.Subject] = true
		}
	}
	// A user's roles are beside the scopes, and stand for none.
	_, refusal := check(t.Context(), v,
		changedOf(s, entratest.Workforce, map[string]any{"roles": []string{"admin"}}), "read")
	require.Nil(t, refusal, codeOf(refusal))
	_, refusal = check(t.Context(), v,
		changedOf(s, entratest.Workforce, map[string]any{"scp": "write", "roles": []string{"read"}}), "read")
	require.Equal(t, "scope.missing", codeOf(refusal))
	require.NotContains(t, refusal.Explain().Fix, "app role")
}

// Every mixture of families is refused with the code that it owes, also where the
// families publish the same keys.
func TestMatrix(t *testing.T) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared keys %t", shared), func(t *testing.T) {
			s := tenant(t, entratest.Options{})
			if shared {
				share(t, s)
			}
			v := start(t, t.Context(), configForAll(s))
			settled(t, v)
			admitted := 0
			for _, shape := range families {
				for _, key := range families {
					for _, iss := range families {
						for _, aud := range families {
							for _, tid := range append([]entratest.Family{""}, families...) {
								claims := ofFamily(s, shape, map[string]any{"iss": s.IssuerOf(iss), "aud": registered[aud].api})
								delete(claims, "tid")
								if tid != "" {
									claims["tid"] = registered[tid].tenant
								}
								want := ""
								switch {
								case iss == entratest.B2C && shape != entratest.B2C:
									want = "policy.missing"
								case iss != entratest.B2C && tid != "" && tid != iss:
									want = "tenant.mismatch"
								case key != iss && !shared:
									want = "key.unknown"
								case aud != iss:
									want = "aud.wrong"
								case shape != iss:
									want = "azp.not_allowed"
								}
								token := bearer(s.Sign(registered[key].signer, nil, claims))
								caller, refusal := check(t.Context(), v, token, "read")
								cell := fmt.Sprintf("shape %s, key %s, iss %s, aud %s, tid "+
									"%s", shape, key, iss, aud, tid)
								require.Equal(t, want, codeOf(refusal), cell)
								if want == "" {
									admitted++
									require.Equal(t, registered[iss].tenant, caller.Tenant, cell)
									require.Equal(t, entra.Family(iss), caller.Family, cell)
								}
							}
						}
					}
				}
			}
			// The diagonal: B2C's tenant with any tid or none, the others with theirs or none.
			diagonal := 4 + 2 + 2
			if shared {
				diagonal *= 3
			}
			require.Equal(t, diagonal, admitted)
		})
	}
}

// share has all tenants publish the same keys.
func share(t *testing.T, s *entratest.Server) {
	var all []map[string]any
	for _, family := range families {
		w := &world{tenant: s, family: family, signer: registered[family].signer}
		var set struct{ Keys []map[string]any }
		require.NoError(t, json.Unmarshal([]byte(w.published(t)), &set))
		for _, key := range set.Keys {
			delete(key, "issuer") // which would tell them apart
			all = append(all, key)
		}
	}
	body, err := json.Marshal(map[string]any{"keys": all})
	require.NoError(t, err)
	s.Inject(entratest.Fault{Match: keysEndpoint, Body: string(body)})
}

// A caller of Entra's families is known by oid alone.
func TestOwnersOfEntrasFamilies(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configForAll(s))
	const id = "EA11CE00-7C39-4B52-8D16-0F4E93A7C2B5"
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		for _, tt := range []struct {
			oid, sub any
			subject  string
		}{
			{id, "Abc", strings.ToLower(id)},
			{id, nil, strings.ToLower(id)},
			{nil, id, ""},
			{nil, nil, ""},
			{"", "Abc", ""},
			{" " + id, "Abc", ""},
			{"alice", "Abc", ""},
			{"00000000-0000-0000-0000-000000000000", "Abc", ""},
		} {
			caller, refusal := check(t.Context(), v,
				changedOf(s, family, map[string]any{"oid": tt.oid, "sub": tt.sub}), "read")
			if tt.subject == "" {
				require.Equal(t, "subject.no_oid", codeOf(refusal), "%v", tt)
				require.Contains(t, refusal.Explain().Fix, "profile")
				continue
			}
			require.Nil(t, refusal, codeOf(refusal))
			require.Equal(t, tt.subject, caller.Subject)
		}
	}
}

// Programs that signed in as themselves are told by certain signs, users are not taken
// for one.
func TestApplications(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configForAll(s))
	const oid = someone
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		for _, tt := range []struct {
			name    string
			changes map[string]any
			code    string
		}{
			{"idtyp", map[string]any{"idtyp": "app"}, "caller.application"},
			{"without scopes", map[string]any{"scp": nil, "oid": oid, "sub": oid}, "caller.application"},
			{"with roles", map[string]any{"scp": nil, "oid": oid, "sub": oid, "roles": []string{"read"}}, "caller.application"},
			{"an agent", map[string]any{"scp": "/", "oid": oid, "sub": oid, "idtyp": "app"}, "caller.application"},
			{"an agent without idtyp", map[string]any{"scp": "", "oid": oid, "sub": oid}, "caller.application"},
			{"a user without scopes", map[string]any{"scp": nil}, "scope.none"},
			{"a user with an empty list", map[string]any{"scp": "/"}, "scope.none"},
			{"a user who says so", map[string]any{"idtyp": "user"}, ""},
		} {
			_, refusal := check(t.Context(), v, changedOf(s, family, tt.changes), "read")
			require.Equal(t, tt.code, codeOf(refusal), "%s, %s", family, tt.name)
			if tt.code == "caller.application" {
				require.Equal(t, http.StatusForbidden, refusal.Status)
				require.Equal(t, `Bearer realm="notes"`, refusal.Challenge())
				require.Empty(t, refusal.Explain().Also)
				require.NotContains(t, refusal.Explain().Fix, ".default", "a user does not ask for that")
			}
		}
		// An ID token is never a program's, though it has no scopes.
		_, refusal := check(t.Context(), v,
			changedOf(s, family, map[string]any{"scp": nil, "azp": nil, "oid": oid, "sub": oid}), "read")
		require.Equal(t, "token.id_token", codeOf(refusal))
		require.Empty(t, refusal.Explain().Also)
	}
}

// programToken is the token of a family's daemon, which has the app role read, changed.
func programToken(s *entratest.Server, family entratest.Family, changes map[string]any) entra.Credentials {
	claims := s.Claims(entratest.TokenRequest{Family: family, Application: true, Scopes: []string{"read"}})
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return bearer(s.Sign(registered[family].signer, nil, claims))
}

// Where programs are admitted, it is by their app roles alone, which are nothing to a user.
func TestApplicationsAdmitted(t *testing.T) {
	s := tenant(t, entratest.Options{})
	c := configForAll(s)
	c.Applications = true
	v := start(t, t.Context(), c)
	read := []string{"read"}
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		for name, changes := range map[string]map[string]any{
			"as it comes":   nil,
			"without idtyp": {"idtyp": nil},
			"an agent":      {"scp": "/"},
			"more roles":    {"roles": []string{"admin", "read", "Read"}},
			"escaped":       {"roles": json.RawMessage(`[ "x" , "\u0072ead" ]`)},
		} {
			caller, refusal := check(t.Context(), v, programToken(s, family, changes), "read")
			require.Nil(t, refusal, "%s: %s", name, codeOf(refusal))
			require.True(t, caller.Application)
			require.Equal(t, read, caller.Roles)
			require.Empty(t, caller.Scopes)
			require.Equal(t, s.Claims(entratest.TokenRequest{Family: family, Application: true})["oid"], caller.Subject)
		}
		_, refusal := check(t.Context(), v, programToken(s, family, nil), "write")
		require.Equal(t, "role.missing", codeOf(refusal))
		require.Equal(t, http.StatusForbidden, refusal.Status)
		uri := map[entratest.Family]string{
			entratest.External: entratest.ExternalAppIDURI, entratest.Workforce: entratest.WorkforceAppIDURI,
		}[family]
		require.Equal(t, `Bearer realm="notes", error="insufficient_scope", scope="`+uri+
			`/.default", error_description="The token lacks an app role"`, refusal.Challenge())
		x := refusal.Explain()
		require.Equal(t, map[string]any{"roles": "write"}, x.Expected)
		require.Equal(t, map[string]any{"roles": "read"}, x.Actual)
		require.Empty(t, x.Also)
		for _, cure := range []string{uri + "/.default", "/oauth2/v2.0/token", "appRoles", "admin consent", "appRoleAssignments"} {
			require.Contains(t, x.Fix, cure)
		}
		for _, tt := range []struct {
			name    string
			token   entra.Credentials
			code    string
			mention string
		}{
			{"no roles", programToken(s, family, map[string]any{"roles": nil}), "role.missing", "no app roles"},
			{"an empty list", programToken(s, family, map[string]any{"roles": []string{}}), "role.missing", "no app roles"},
			{"a scope", programToken(s, family, map[string]any{"roles": nil, "scp": "read"}), "role.missing", "no app roles"},
			{"one string", programToken(s, family, map[string]any{"roles": "read"}), "role.missing", "no app roles"},
			{"not strings alone", programToken(s, family, map[string]any{"roles": []any{"read", 7}}), "role.missing", ""},
			{"the role's case", programToken(s, family, map[string]any{"roles": []string{"Read"}}), "role.missing", "case-sensitive"},
			{"marks of a user", programToken(s, family, map[string]any{"nonce": "x"}), "role.missing", "a user's sign-in"},
			{
				"a user by the rest", programToken(s, family, map[string]any{"nonce": "x", "idtyp": nil}), "scope.none", "",
			},
			{"a user's role", changedOf(s, family, map[string]any{"scp": nil, "roles": read}), "scope.none", ""},
			{"a user's role beside a scope", changedOf(s, family, map[string]any{"scp": "write", "roles": read}), "scope.missing", ""},
			{
				"an ID token", changedOf(s, family, map[string]any{
					"scp": nil, "azp": nil, "roles": read, "oid": someone, "sub": someone,
				}), "token.id_token", "",
			},
			{"for itself", programToken(s, family, map[string]any{"aud": s.Claims(
				entratest.TokenRequest{Family: family, Application: true})["azp"]}), "aud.is_client", ""},
		} {
			_, refusal := check(t.Context(), v, tt.token, "read")
			require.Equal(t, tt.code, codeOf(refusal), tt.name)
			require.Contains(t, refusal.Explain().Detail, tt.mention)
			if tt.name == "for itself" {
				require.Contains(t, refusal.Explain().Fix, uri+"/.default")
			}
		}
	}
	// Without a need any role will do, but not none.
	_, err := v.Verify(t.Context(), programToken(s, entratest.External, nil))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), programToken(s, entratest.External, map[string]any{"roles": []string{"admin"}}))
	require.EqualError(t, err, "role.missing")
}

const someone = "ed5e0000-4b71-4f93-8a2c-60f7d1c8e35b"

// B2C's programs cannot be told from users: what counts is what B2C wrote into scp.
func TestApplicationsOfB2C(t *testing.T) {
	s := tenant(t, entratest.Options{})
	for _, admitted := range []bool{false, true} {
		c := configFor(s)
		c.Applications, c.Trust[0].Clients = admitted, nil
		v := start(t, t.Context(), c)
		caller, refusal := check(t.Context(), v, programToken(s, entratest.B2C, nil), "read")
		require.Nil(t, refusal, codeOf(refusal))
		require.Equal(t, []string{"read"}, caller.Scopes)
		require.False(t, caller.Application)
		_, refusal = check(t.Context(), v, programToken(s, entratest.B2C, nil), "write")
		require.Equal(t, "scope.missing", codeOf(refusal))
		require.Contains(t, refusal.Explain().Fix, "/B2C_1_signupsignin/oauth2/v2.0/token")
		_, refusal = check(t.Context(), v,
			programToken(s, entratest.B2C, map[string]any{"scp": nil, "roles": []string{"read"}, "idtyp": "app"}), "read")
		require.Equal(t, "scope.none", codeOf(refusal))
	}
}

// A program that got its token at another place is told which is the right one.
func TestProgramsAreSentToTheTokenEndpoint(t *testing.T) {
	s := tenant(t, entratest.Options{})
	for _, family := range families {
		v := start(t, t.Context(), configForOne(s, family))
		settled(t, v)
		for _, changes := range []map[string]any{
			{"iss": "https://login.microsoftonline.us/" + entratest.WorkforceTenantID + "/v2.0"},
			{"iss": "https://sts.windows.net/" + entratest.WorkforceTenantID + "/", "azp": nil, "appid": entratest.WorkforceDaemonID},
			{
				"iss": "https://sts.windows.net/" + entratest.WorkforceTenantID + "/", "azp": nil,
				"appid": entratest.WorkforceDaemonID, "aud": "https://graph.microsoft.com",
			},
		} {
			_, refusal := check(t.Context(), v, programToken(s, entratest.Workforce, changes), "read")
			require.NotNil(t, refusal)
			fix := refusal.Explain().Fix
			require.Contains(t, fix, "/oauth2/v2.0/token", refusal.Code)
			require.Contains(t, fix, "/.default", refusal.Code)
		}
	}
}

// The forms of issuers that are near a trusted one, and those of others.
func TestIssuersOfFamilies(t *testing.T) {
	s := tenant(t, entratest.Options{})
	all := start(t, t.Context(), configForAll(s))
	settled(t, all)
	only := map[entratest.Family]*entra.Verifier{}
	for _, family := range families {
		only[family] = start(t, t.Context(), configForOne(s, family))
		settled(t, only[family])
	}
	const (
		b2c, external, workforce = entratest.B2C, entratest.External, entratest.Workforce
		ext, wf                  = entratest.ExternalTenantID, entratest.WorkforceTenantID
		other                    = "77777777-7777-4777-8777-777777777777"
	)
	iss := func(family entratest.Family) string { return s.IssuerOf(family) }
	type codes = map[entratest.Family]string
	for _, tt := range []struct {
		shape entratest.Family
		iss   string
		all   string // the code where all families are trusted
		only  codes
	}{
		{
			external, iss(external) + "/", "iss.slash_or_case",
			codes{external: "iss.slash_or_case", b2c: "policy.missing"},
		},
		{external, strings.ToUpper(iss(external)), "iss.slash_or_case", nil},
		{
			external, "https://" + ext + ".ciamlogin.com/" + ext + "/v2.0", "iss.other_host",
			codes{b2c: "token.external_id", workforce: "token.external_id"},
		},
		{
			external, "https://contosocustomers.ciamlogin.com/" + ext + "/v2.0", "iss.ciam_name",
			codes{external: "iss.ciam_name", b2c: "token.external_id"},
		},
		{
			external, "https://contosocustomers.ciamlogin.com/contosocustomers.onmicrosoft.com/v2.0", "iss.ciam_name",
			codes{b2c: "token.external_id"},
		},
		{
			external, "https://" + other + ".ciamlogin.com/" + other + "/v2.0", "iss.other_tenant",
			codes{external: "iss.other_tenant"},
		},
		{
			external, "https://login.microsoftonline.com/" + ext + "/v2.0", "iss.workforce_door",
			codes{external: "iss.workforce_door", b2c: "token.entra", workforce: "iss.other_tenant"},
		},
		{
			external, "https://login.contoso.example/" + ext + "/v2.0", "iss.other_host",
			codes{external: "iss.other_host"},
		},
		{
			external, "https://sts.windows.net/" + ext + "/", "token.entra_v1",
			codes{external: "token.entra_v1", b2c: "token.entra_v1"},
		},
		{
			workforce, "https://login.microsoftonline.com/" + other + "/v2.0", "iss.other_tenant",
			codes{workforce: "iss.other_tenant", external: "token.entra", b2c: "token.entra"},
		},
		{workforce, "https://login.microsoftonline.com/" + wf + "/v2.0", "iss.other_host", nil},
		{
			workforce, "https://login.microsoftonline.us/" + wf + "/v2.0", "token.entra",
			codes{workforce: "token.entra", external: "token.entra", b2c: "token.entra"},
		},
		{workforce, "https://login.partner.microsoftonline.cn/" + wf + "/v2.0", "token.entra", nil},
		{
			b2c, "https://contoso.b2clogin.com/" + entratest.TenantID + "/v2.0/", "iss.other_host",
			codes{external: "token.b2c", workforce: "token.b2c"},
		},
		{
			b2c, "https://login.microsoftonline.com/" + entratest.TenantID + "/v2.0/", "iss.legacy_host",
			codes{external: "token.b2c"},
		},
		{
			b2c, "https://contoso.b2clogin.com/tfp/" + entratest.TenantID + "/b2c_1_signupsignin/v2.0/", "iss.other_host",
			codes{external: "token.b2c"},
		},
		{b2c, strings.TrimSuffix(iss(b2c), "/"), "iss.slash_or_case", codes{b2c: "iss.slash_or_case"}},
		{b2c, strings.Replace(iss(b2c), "https:", "http:", 1), "iss.unknown", nil},
		{b2c, "https://accounts.google.com", "token.upstream_idp", codes{external: "token.upstream_idp"}},
		{
			b2c, "https://contoso.eu.auth0.com/", "token.foreign",
			codes{b2c: "token.foreign", workforce: "token.foreign"},
		},
		{b2c, "https://contoso.okta.com/oauth2/default", "token.foreign", nil},
		{b2c, "https://sso.contoso.com/realms/master", "token.foreign", nil},
		{b2c, "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc", "token.foreign", nil},
		{b2c, "https://contoso.onmicrosoft.com/", "token.foreign", nil},
		{b2c, "https://localhost/v2.0/", "token.foreign", nil},
		{b2c, "contoso", "token.foreign", nil},
	} {
		t.Run(tt.iss, func(t *testing.T) {
			token := changedOf(s, tt.shape, map[string]any{"iss": tt.iss, "tid": nil})
			_, refusal := check(t.Context(), all, token, "read")
			require.Equal(t, tt.all, codeOf(refusal))
			require.NotEmpty(t, refusal.Explain().Detail)
			for family, code := range tt.only {
				_, refusal := check(t.Context(), only[family], token, "read")
				require.Equal(t, code, codeOf(refusal), family)
				x := refusal.Explain()
				require.NotEmpty(t, x.Fix)
				if strings.HasPrefix(code, "token.") {
					require.Empty(t, x.Also, "nothing more is worth saying")
				}
			}
		})
	}
}

// Claims of a type that Microsoft's tokens do not have make its own unreadable, and say
// nothing of others.
func TestForeignTokensAreNamedBeforeTheirClaims(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configForAll(s))
	settled(t, v)
	list := map[string]any{"aud": []string{"a", "b"}, "ver": 1}
	for _, tt := range []struct{ iss, code string }{
		{"https://contoso.eu.auth0.com/", "token.foreign"},
		{"https://contoso.okta.com/oauth2/default", "token.foreign"},
		{"https://accounts.google.com", "token.upstream_idp"},
		{s.IssuerOf(entratest.B2C), "token.malformed"},
		{s.IssuerOf(entratest.External), "token.malformed"},
		{"https://contoso.b2clogin.com/" + entratest.TenantID + "/v2.0/", "token.malformed"},
	} {
		claims := maps.Clone(list)
		claims["iss"] = tt.iss
		_, refusal := check(t.Context(), v, bearer(s.Sign(entratest.PolicySignUpSignIn, nil, claims)), "read")
		require.Equal(t, tt.code, codeOf(refusal), tt.iss)
	}
	// An access token of another service is not called an ID token; an ID token is, too.
	_, refusal := check(t.Context(), v, bearer(s.Sign(entratest.PolicySignUpSignIn, nil, map[string]any{
		"iss": "https://cognito-idp.eu-west-1.amazonaws.com/x", "auth_time": 1, "scope": "openid", "exp": 1,
	})), "read")
	require.Equal(t, []string{"time.expired"}, refusal.Explain().Also)
	_, refusal = check(t.Context(), v, bearer(s.Sign(entratest.PolicySignUpSignIn, nil, map[string]any{
		"iss": "https://securetoken.google.com/x", "auth_time": 1, "exp": time.Now().Unix() + 60,
	})), "read")
	require.Equal(t, []string{"token.id_token"}, refusal.Explain().Also)
}

// The tenants' addresses in Microsoft's world: three doors with one issuer, and what a
// door must not say.
func TestDoors(t *testing.T) {
	const (
		id      = entratest.ExternalTenantID
		own     = "https://" + id + ".ciamlogin.com/" + id + "/v2.0"
		custom  = "https://login.contoso.com/" + id + "/v2.0"
		wf      = "https://login.microsoftonline.com/" + id + "/v2.0"
		another = "77777777-7777-4777-8777-777777777777"
	)
	with := func(trust entra.Trust, change func(*entra.Trust)) entra.Trust {
		if change != nil {
			change(&trust)
		}
		return trust
	}
	atCustom := func(x *entra.Trust) { x.Host = "Login.Contoso.com" }
	for _, tt := range []struct {
		name, issuer string
		trust        entra.Trust
		says         string
	}{
		{"by name", own, entra.ExternalID("Contosocustomers"), ""},
		{"by GUID", own, entra.ExternalID(strings.ToUpper(id)), ""},
		{"custom domain", own, with(entra.ExternalID("contosocustomers"), atCustom), ""},
		{"custom domain in the issuer", custom, with(entra.ExternalID("contosocustomers"), atCustom), ""},
		{"custom domain that is not " +
			"configured", custom, entra.ExternalID("contosocustomers"), "does not have the form"},
		{
			"a name for the GUID", "https://contosocustomers.ciamlogin.com/" + id + "/v2.0", entra.ExternalID(id),
			"does not have the form",
		},
		{
			"two GUIDs", "https://" + another + ".ciamlogin.com/" + id + "/v2.0", entra.ExternalID("contosocustomers"),
			"does not have the form",
		},
		{"the other door", wf, entra.ExternalID("contosocustomers"), "does not have the form"},
		{"a slash", own + "/", entra.ExternalID("contosocustomers"), "does not have the form"},
		{
			"another tenant", "https://" + another + ".ciamlogin.com/" + another + "/v2.0", entra.ExternalID(id),
			"names tenant " + another,
		},
		{"workforce by domain", wf, entra.Workforce("contoso.com"), ""},
		{"workforce by GUID", wf, entra.Workforce(id), ""},
		{"workforce, another tenant", wf, entra.Workforce(another), "names tenant"},
		{
			"all tenants", "https://login.microsoftonline.com/{tenantid}/v2.0", entra.Workforce("contoso.com"),
			"no tenant GUID",
		},
		{"version 1", "https://sts.windows.net/" + id + "/", entra.Workforce("contoso.com"), "does not have the form"},
		{"B2C with another's issuer", own, entra.B2C("contoso", "B2C_1_x"), "does not have the form"},
		{
			"external with B2C's", "https://contoso.b2clogin.com/" + id + "/v2.0/", entra.ExternalID("x"),
			"does not have the form",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tenant(t, entratest.Options{})
			trust := tt.trust
			trust.Audience, trust.AppIDURI = entratest.ExternalAPIClientID, entratest.ExternalAppIDURI
			trust.Scopes = map[string]string{"read": "read"}
			keys := (&world{tenant: s, family: entratest.Workforce}).published(t)
			keys = strings.ReplaceAll(keys, s.IssuerOf(entratest.Workforce), tt.issuer)
			asked := make(chan string, 100)
			v := start(t, t.Context(), entra.Config{
				Trust: []entra.Trust{trust}, Realm: "notes",
				Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
					asked <- r.URL.String()
					w := httptest.NewRecorder()
					if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
						fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"https://%s/%s/discovery/v2.0/keys"}`, tt.issuer, r.URL.Host, id)
					} else {
						fmt.Fprint(w, keys)
					}
					return w.Result(), nil
				}),
			})
			claims := ofFamily(s, entratest.Workforce, map[string]any{
				"iss": tt.issuer, "tid": nil, "aud": entratest.ExternalAPIClientID, "tfp": "B2C_1_x",
			})
			ctx := t.Context()
			if tt.says != "" { // nothing will come
				impatient, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				ctx = impatient
			}
			caller, refusal := check(ctx, v, bearer(s.Sign(string(entratest.Workforce), nil, claims)), "read")
			if tt.says != "" {
				require.Nil(t, caller)
				eventually(t, func() bool { return strings.Contains(v.Ready().Error(), tt.says) }, tt.says)
				return
			}
			require.Nil(t, refusal, codeOf(refusal))
			require.Equal(t, id, caller.Tenant)
			first := waittest.For(t, asked)
			require.True(t, strings.HasSuffix(first, "/openid-configuration?appid="+entratest.ExternalAPIClientID), first)
		})
	}
}

// One tenant is not of two families, whatever it is called.
func TestOneTenantIsOfOneFamily(t *testing.T) {
	s := tenant(t, entratest.Options{})
	c := configForAll(s)
	c.Trust[2].MetadataURL = strings.NewReplacer(
		"{tenant}", entratest.ExternalTenantDomain, "{host}", entratest.ExternalTenantID+".ciamlogin.com",
	).Replace(c.Trust[1].MetadataURL)
	v := start(t, t.Context(), c)
	eventually(t, func() bool {
		return v.Ready() != nil && strings.Contains(v.Ready().Error(), "as one of another family")
	}, "one of the two is refused")
	_, refusal := check(t.Context(), v,
		changedOf(s, entratest.External, map[string]any{"aud": entratest.WorkforceAPIClientID}), "read")
	require.NotNil(t, refusal)
}

// A key of the API's own is found where the application is named, and what fails there
// does not cost the others.
func TestKeysOfTheApplication(t *testing.T) {
	withAppID := func(r *http.Request) bool { return r.URL.Query().Has("appid") }
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		t.Run("own key, "+string(family), func(t *testing.T) {
			w := newWorldOf(t, family)
			ordinary := w.good(t)
			w.tenant.UseOwnKey(family, true)
			own := w.good(t)
			require.Empty(t, w.verify(t.Context(), own))
			require.Empty(t, w.verify(t.Context(), ordinary))
			require.NotContains(t, w.published(t), kidOf(t, own), "it is not among the tenant's")
		})
		for name, fault := range map[string]entratest.Fault{
			"refused":       {Match: withAppID, Status: http.StatusBadRequest},
			"unavailable":   {Match: withAppID, Status: http.StatusServiceUnavailable},
			"not even JSON": {Match: withAppID, Body: "<html>"},
			"keys alone": {
				Match:  func(r *http.Request) bool { return withAppID(r) && keysEndpoint(r) },
				Status: http.StatusNotFound,
			},
		} {
			t.Run(name+", "+string(family), func(t *testing.T) {
				w := newWorldOf(t, family, fault)
				ordinary := w.good(t)
				require.Empty(t, w.verify(t.Context(), ordinary), "the plain address will do")
				w.tenant.UseOwnKey(family, true)
				want := "keys.unavailable" // as the key may be where nothing could be read
				if fault.Status/100 == 4 {
					want = "key.unknown"
				}
				eventually(t, func() bool { return w.verify(t.Context(), w.good(t)) == want }, want)
			})
		}
		t.Run("fails later, "+string(family), func(t *testing.T) {
			w := newWorldOf(t, family)
			w.tenant.UseOwnKey(family, true)
			own := w.good(t)
			require.Empty(t, w.verify(t.Context(), own))
			w.tenant.Inject(entratest.Fault{Match: withAppID, Status: http.StatusServiceUnavailable})
			w.scheduled(t)
			eventually(t, func() bool { return strings.Contains(w.log.String(), "keys not read") }, "logged")
			require.Empty(t, w.verify(t.Context(), own), "the smaller set does not replace it")
		})
	}
}

func kidOf(t *testing.T, token string) string {
	header, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(header)
	require.NoError(t, err)
	var h struct{ Kid string }
	require.NoError(t, json.Unmarshal(b, &h))
	return h.Kid
}

// 256 usable keys are read, with their certificates; what comes after them is counted.
func TestManyKeys(t *testing.T) {
	eachFamily(t, "many", func(t *testing.T, family entratest.Family) {
		w := newWorldOf(t, family)
		good := w.good(t)
		require.Empty(t, w.verify(t.Context(), good))
		var set struct{ Keys []map[string]any }
		require.NoError(t, json.Unmarshal([]byte(w.published(t)), &set))
		key := set.Keys[slices.IndexFunc(set.Keys, func(k map[string]any) bool { return k["kid"] == kidOf(t, good) })]
		for _, tt := range []struct {
			keys, at int // how many, and where the one that signs is
			code     string
		}{{256, 255, ""}, {300, 0, ""}, {301, 255, ""}, {302, 256, "key.unknown"}} {
			published := make([]map[string]any, tt.keys)
			for i := range published {
				one := maps.Clone(key)
				one["kid"], one["n"] = fmt.Sprintf("another-%d", i), modulus(t)
				one["x5c"] = []string{strings.Repeat("MIIC", 300)}
				published[i] = one
			}
			published[tt.at] = key
			body, err := json.Marshal(map[string]any{"keys": published})
			require.NoError(t, err)
			require.Greater(t, len(body), 400<<10)
			remove := w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Body: string(body)})
			before := w.fetches()
			w.scheduled(t)
			eventually(t, func() bool { return w.fetches() > before && w.verifier.Skipped() == tt.keys-256 }, "they are read")
			require.Equal(t, tt.code, w.verify(t.Context(), good))
			remove()
		}
		require.Contains(t, w.log.String(), "there are 256 usable keys before it")
		_, refusal := check(t.Context(), w.verifier, bearer(good), "read")
		x := refusal.Explain()
		require.Contains(t, x.Detail, "256 usable keys before it")
		require.NotContains(t, x.Fix, "appid")
	})
}

func modulus(t *testing.T) string {
	b := make([]byte, 256)
	_, err := rand.Read(b)
	require.NoError(t, err)
	b[0] |= 0x80
	b[255] |= 1
	return base64.RawURLEncoding.EncodeToString(new(big.Int).SetBytes(b).Bytes())
}

// A key may be for one issuer alone.
func TestIssuerOfAKey(t *testing.T) {
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		for _, tt := range []struct {
			name   string
			issuer any
			code   string
		}{
			{"none", nil, ""},
			{"blank", " ", ""},
			{"no string", 7, ""},
			{"a template", "https://{host}/{tenantid}/v2.0", ""},
			{"a template of another host", "https://login.microsoftonline.com/{tenantid}/v2.0", "key.unknown"},
			{
				"of Microsoft accounts", "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
				"key.unknown",
			},
			{"with a slash", "https://{host}/{tenantid}/v2.0/", "key.unknown"},
		} {
			t.Run(string(family)+", "+tt.name, func(t *testing.T) {
				s := tenant(t, entratest.Options{})
				w := &world{tenant: s, family: family}
				host, _, _ := strings.Cut(strings.TrimPrefix(s.IssuerOf(family), "https://"), "/")
				var set struct{ Keys []map[string]any }
				require.NoError(t, json.Unmarshal([]byte(w.published(t)), &set))
				for _, key := range set.Keys {
					if key["issuer"] = tt.issuer; tt.issuer == nil {
						delete(key, "issuer")
					}
					if text, ok := tt.issuer.(string); ok {
						key["issuer"] = strings.ReplaceAll(text, "{host}", host)
					}
				}
				set.Keys = append(set.Keys, map[string]any{"kty": "RSA", "kid": "usable", "e": "AQAB", "n": modulus(t)})
				body, err := json.Marshal(map[string]any{"keys": set.Keys})
				require.NoError(t, err)
				s.Inject(entratest.Fault{Match: keysEndpoint, Body: string(body)})
				var log logged
				c := configForOne(s, family)
				c.Log = slog.New(slog.NewTextHandler(&log, nil))
				v := start(t, t.Context(), c)
				settled(t, v)
				_, refusal := check(t.Context(), v, bearer(accessToken(t, s, entratest.TokenRequest{Family: family})), "read")
				require.Equal(t, tt.code, codeOf(refusal))
				if refusal != nil {
					x := refusal.Explain()
					require.Contains(t, x.Detail, "its issuer is")
					require.NotContains(t, x.Fix, "appid")
					require.NotContains(t, x.Fix, "login.microsoftonline.com")
					require.Contains(t, log.String(), "keys skipped")
				}
			})
		}
	}
}

// A token whose key is unknown is told where else keys are.
func TestUnknownKeyOfEntrasFamilies(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configForAll(s))
	settled(t, v)
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		token := s.Sign(string(family), map[string]any{"kid": "x"}, ofFamily(s, family, nil))
		_, refusal := check(t.Context(), v, bearer(token), "read")
		require.Equal(t, "key.unknown", codeOf(refusal))
		fix := refusal.Explain().Fix
		require.Contains(t, fix, "?appid=")
		require.Contains(t, fix, "ciamlogin.com")
	}
	// The newest key is missing at the other door.
	c := configForOne(s, entratest.External)
	c.Trust[0].Host = "login.microsoftonline.com"
	v = start(t, t.Context(), c)
	throughIt, err := s.Broken("iss.workforce_door")
	require.NoError(t, err)
	_, refusal := check(t.Context(), v, bearer(throughIt.Token), "read")
	require.Equal(t, "key.unknown", codeOf(refusal))
}
