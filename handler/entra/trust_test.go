package entra_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// TestNewRefuses: half a configuration is an error, and never a verifier that admits
// too much.
func TestNewRefuses(t *testing.T) {
	trust := func(change func(*entra.Trust)) func(*entra.Config) {
		return func(c *entra.Config) { change(&c.Trust[0]) }
	}
	policies := func(names ...string) func(*entra.Config) {
		return func(c *entra.Config) {
			was := c.Trust[0]
			c.Trust[0] = entra.B2C("contoso", names...)
			c.Trust[0].Audience, c.Trust[0].AppIDURI, c.Trust[0].Scopes = was.Audience, was.AppIDURI, was.Scopes
		}
	}
	family := func(x entra.Trust, change ...func(*entra.Trust)) func(*entra.Config) {
		return func(c *entra.Config) {
			x.Audience, x.AppIDURI, x.Scopes = c.Trust[0].Audience, c.Trust[0].AppIDURI, c.Trust[0].Scopes
			for _, f := range change {
				f(&x)
			}
			c.Trust = append(c.Trust, x)
		}
	}
	former := func(tenant, claim string) func(*entra.Trust) {
		return func(x *entra.Trust) { x.FormerTenant, x.FormerIDClaim = tenant, claim }
	}
	for _, tt := range []struct {
		name   string
		change func(*entra.Config)
		says   string
	}{
		{"no trust", func(c *entra.Config) { c.Trust = nil }, "there is no Trust"},
		{
			"a trust of no family", func(c *entra.Config) { c.Trust[0] = entra.Trust{Audience: entratest.APIClientID} },
			"not made by B2C",
		},
		{"no realm", func(c *entra.Config) { c.Realm = "" }, `Realm ""`},
		{"a realm that breaks out of the challenge", func(c *entra.Config) { c.Realm = `x", error="y` }, "Realm"},
		{"a realm that breaks out of the URN", func(c *entra.Config) { c.Realm = "x:y" }, "Realm"},
		{"no tenant", func(c *entra.Config) { c.Trust[0] = entra.B2C("", "B2C_1_x") }, "not the name of a tenant"},
		{
			"a domain for the tenant", func(c *entra.Config) { c.Trust[0] = entra.B2C("contoso.onmicrosoft.com", "B2C_1_x") },
			"not the name of a tenant",
		},
		{"half a former tenant", family(entra.ExternalID("x"), former("", "extn.id")), "go together"},
		{"the other half", family(entra.ExternalID("x"), former(entratest.TenantID, "")), "go together"},
		{"a former tenant of zeros", family(entra.ExternalID("x"), former(strings.Repeat("0", 36), "extn.id")), "not the GUID"},
		{"a former tenant by name", family(entra.ExternalID("x"), former("contoso", "extn.id")), "not the GUID"},
		{"a user's claim", family(entra.ExternalID("x"), former(entratest.TenantID, "email")), "not the name of a directory"},
		{
			"a former ID in a workforce tenant", family(entra.Workforce("x.com"), former(entratest.TenantID, "extn.id")),
			"only an external tenant",
		},
		{"a former ID in B2C", trust(former(entratest.TenantID, "extn.id")), "only an external tenant"},
		{
			"a former tenant that is the present one",
			family(entra.ExternalID(entratest.TenantID), former(strings.ToUpper(entratest.TenantID), "extn.id")),
			"present ID",
		},
		{"no policy", policies(), "there is no policy"},
		{"an empty policy", policies(""), "not the name of a policy"},
		{"an empty policy beside another", policies("B2C_1_x", ""), "not the name of a policy"},
		{"a policy with a path in it", policies("B2C_1_x/../y"), "not the name of a policy"},
		{"a policy twice", policies("B2C_1_x", "b2c_1_X"), "is there twice"},
		{"no audience", trust(func(x *entra.Trust) { x.Audience = "" }), `Audience ""`},
		{
			"the App ID URI for the audience", trust(func(x *entra.Trust) { x.Audience = entratest.AppIDURI }),
			"not an application ID",
		},
		{"no App ID URI", trust(func(x *entra.Trust) { x.AppIDURI = "" }), `AppIDURI ""`},
		{"an App ID URI with a query", trust(func(x *entra.Trust) { x.AppIDURI += "?x" }), "AppIDURI"},
		{"no scopes", trust(func(x *entra.Trust) { x.Scopes = nil }), "Scopes is empty"},
		{
			"a scope without a name in " +
				"tokens", trust(func(x *entra.Trust) { x.Scopes = map[string]string{"read": ""} }),
			`Scopes["read"] is ""`,
		},
		{"a scope without a name", trust(func(x *entra.Trust) { x.Scopes = map[string]string{"": "read"} }), `Scopes[""]`},
		{
			"two scopes in one", trust(func(x *entra.Trust) { x.Scopes = map[string]string{"read": "read write"} }),
			"not the short name",
		},
		{
			"a full scope value",
			trust(func(x *entra.Trust) { x.Scopes = map[string]string{"read": entratest.AppIDURI + "/read"} }),
			"not the short name",
		},
		{"a client that is none", trust(func(x *entra.Trust) { x.Clients = []string{"B2CTest"} }), "Clients"},
		{"an empty client", trust(func(x *entra.Trust) { x.Clients = []string{""} }), "Clients"},
		{"a host with a path", trust(func(x *entra.Trust) { x.Host = "login.contoso.com/x" }), "Host"},
		{
			"metadata by http", trust(func(x *entra.Trust) { x.MetadataURL = "http://login.contoso.com/{policy}" }),
			"neither https nor http on loopback",
		},
		{
			"metadata by http at the host", trust(func(x *entra.Trust) { x.MetadataURL = "http://{host}/{policy}" }),
			"neither https nor http on loopback",
		},
		{
			"metadata by http that looks like loopback",
			trust(func(x *entra.Trust) { x.MetadataURL = "http://localhost.contoso.com/{policy}" }),
			"neither https nor http on loopback",
		},
		{
			"metadata in a file", trust(func(x *entra.Trust) { x.MetadataURL = "file://localhost/{policy}" }),
			"neither https nor http on loopback",
		},
		{
			"metadata with a password", trust(func(x *entra.Trust) { x.MetadataURL = "https://a:b@login.contoso.com/{policy}" }),
			"not a valid URL",
		},
		{
			"metadata for no policy", trust(func(x *entra.Trust) { x.MetadataURL = "https://login.contoso.com/x" }),
			"lacks {policy}",
		},
		{
			"metadata with another placeholder",
			trust(func(x *entra.Trust) { x.MetadataURL = "https://login.contoso.com/{policy}/{tid}" }), "only the placeholders",
		},
		{"a tenant of many", family(entra.Workforce("Common")), "stands for many tenants"},
		{"all organizations", family(entra.Workforce("organizations")), "stands for many tenants"},
		{"all consumers", family(entra.ExternalID("consumers")), "stands for many tenants"},
		{
			"all Microsoft accounts", family(entra.Workforce("9188040D-6C67-4C5B-B112-36A304B66DAD")), "stands for many tenants",
		},
		{"a workforce tenant by name", family(entra.Workforce("contoso")), "not a GUID or a verified domain"},
		{"a workforce tenant by URL", family(entra.Workforce("https://contoso.com")), "not a GUID or a verified " +
			"domain"},
		{"an external tenant by domain", family(entra.ExternalID("contoso.onmicrosoft.com")), "not the name of a tenant"},
		{"no external tenant", family(entra.ExternalID("")), "not the name of a tenant"},
		{
			"a host of a workforce tenant",
			family(entra.Workforce("contoso.com"), func(x *entra.Trust) { x.Host = "login.contoso.com" }),
			"no Host of its own",
		},
		{
			"extra issuers of another family",
			family(entra.ExternalID("contoso"), func(x *entra.Trust) { x.ExtraIssuers = []string{"https://x/"} }), "only B2C",
		},
		{
			"a policy of another family",
			family(entra.ExternalID("contoso"), func(x *entra.Trust) { x.MetadataURL = "https://login.contoso.com/{policy}" }),
			"only the placeholders {host} and {tenant}",
		},
		{
			"another family's metadata by http",
			family(entra.Workforce("contoso.com"), func(x *entra.Trust) { x.MetadataURL = "http://{host}/{tenant}" }),
			"neither https nor http on loopback",
		},
		{"one tenant of two families", func(c *entra.Config) {
			family(entra.ExternalID(entratest.ExternalTenantID))(c)
			family(entra.Workforce(strings.ToUpper(entratest.ExternalTenantID)))(c)
		}, "the same tenant is there as one of External ID"},
		{"the same policy in two entries", func(c *entra.Config) {
			c.Trust = append(c.Trust, c.Trust[0])
		}, "is there twice"},
		{"two entries of different scopes", func(c *entra.Config) {
			other := c.Trust[0]
			other.Host, other.Scopes = "login.contoso.com", map[string]string{"read": "read"}
			c.Trust = append(c.Trust, other)
		}, "other names than Trust[0]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := entra.Config{Trust: []entra.Trust{entra.B2C("contoso", "B2C_1_x")}, Realm: "notes"}
			c.Trust[0].Audience, c.Trust[0].AppIDURI = entratest.APIClientID, entratest.AppIDURI
			c.Trust[0].Scopes = map[string]string{"read": "read", "write": "write"}
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // nothing is to be fetched
			_, err := entra.New(ctx, c)
			require.NoError(t, err, "but for the change it is right")
			tt.change(&c)
			v, err := entra.New(ctx, c)
			require.ErrorContains(t, err, tt.says)
			require.Nil(t, v)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		_, err := entra.New(t.Context(), entra.Config{Trust: []entra.Trust{entra.B2C("contoso")}})
		for _, says := range []string{"Realm", "policy", "Audience", "AppIDURI", "Scopes"} {
			require.ErrorContains(t, err, says)
		}
	})
}

// TestErrorIsNil: the error of a good token is nil, and not a nil pointer in an error.
func TestErrorIsNil(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	verify := func(need ...entra.Need) error {
		_, err := v.Verify(t.Context(), bearer(accessToken(t, s, entratest.TokenRequest{Scopes: []string{"read"}})), need...)
		return err
	}
	require.True(t, verify(entra.Scope("read")) == nil)
	require.True(t, verify() == nil, "any scope will do where none is needed")
	err := verify(entra.Scope("read"), entra.Scope("write"))
	var refusal *entra.Refusal
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "scope.missing", refusal.Code)
	require.Contains(t, refusal.Challenge(), `scope="`+entratest.AppIDURI+`/read `+entratest.AppIDURI+`/write"`)

	err = verify(entra.Scope("raed"))
	require.ErrorContains(t, err, `"raed"`)
	require.False(t, errors.As(err, &refusal), "whoever wrote the code made this mistake, not the caller")
	require.Error(t, verify(entra.Scope("")))

	_, err = v.Verify(t.Context(), bearer(accessToken(t, s, entratest.TokenRequest{Scopes: []string{}})))
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "scope.none", refusal.Code)
}

// TestScopesHaveNamesOfTheirOwn: what the API calls a scope is not what tokens call it.
func TestScopesHaveNamesOfTheirOwn(t *testing.T) {
	s := tenant(t, entratest.Options{})
	c := configFor(s)
	c.Trust[0].Scopes = map[string]string{"list": "read", "change": "write"}
	c.Hints.B2C = entra.Settings{Scopes: map[string]string{"list": "NOTES_LIST_SCOPE"}}
	v := start(t, t.Context(), c)
	caller, refusal := check(t.Context(), v, bearer(accessToken(t, s, entratest.TokenRequest{})), "change")
	require.Nil(t, refusal)
	require.Equal(t, []string{"change", "list"}, caller.Scopes)
	_, refusal = check(t.Context(), v, changed(s, map[string]any{"scp": "READ list"}), "list")
	require.Equal(t, "scope.missing", codeOf(refusal))
	require.Equal(t, "scp has READ, this call needs read: scopes are case-sensitive.", refusal.Explain().Detail)
	require.Contains(t, refusal.Explain().Fix, "(NOTES_LIST_SCOPE)")
}

// TestHints: an explanation names settings where they have names, and is whole where
// they have none.
func TestHints(t *testing.T) {
	s := tenant(t, entratest.Options{})
	for _, name := range []string{"", "NOTES_CLIENTS"} {
		c := configFor(s)
		c.Hints.B2C.Clients = name
		v := start(t, t.Context(), c)
		broken, err := s.Broken("azp.not_allowed")
		require.NoError(t, err)
		_, refusal := check(t.Context(), v, bearer(broken.Token), "read")
		require.Equal(t, "azp.not_allowed", codeOf(refusal))
		require.Equal(t, name != "", strings.Contains(refusal.Explain().Fix, "admitted clients ("+name+")."))
		require.Equal(t, name == "", strings.Contains(refusal.Explain().Fix, "admitted clients."))
	}
}

// TestPolicyInACR: acr is a policy only where it looks like one. It may be a level of
// assurance, and is "1" in tokens of Entra's version 1.
func TestPolicyInACR(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	for _, tt := range []struct {
		tfp, acr any
		code     string
	}{
		{entratest.PolicySignUpSignIn, "urn:loa:2", ""},
		{entratest.PolicySignUpSignIn, "1", ""},
		{entratest.PolicySignUpSignIn, "b2c_1_SIGNUPSIGNIN", ""},
		{nil, "b2c_1_signupsignin", ""},
		{nil, "1", "policy.missing"},
		{nil, "B2C_1_", "policy.missing"},
		{nil, "urn:loa:2", "policy.missing"},
		{"", "", "policy.missing"},
		{entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit, "policy.not_allowed"},
		{entratest.PolicySignUpSignIn, "B2C_1A_other", "policy.not_allowed"},
	} {
		t.Run(fmt.Sprint(tt.tfp, " ", tt.acr), func(t *testing.T) {
			token := s.Sign(entratest.PolicySignUpSignIn, nil, with(s, map[string]any{"tfp": tt.tfp, "acr": tt.acr}))
			_, refusal := check(t.Context(), v, bearer(token), "read")
			require.Equal(t, tt.code, codeOf(refusal))
		})
	}
}

// TestTwoTenants: each has an audience, clients and keys of its own, and a token is
// checked against its own tenant's alone, though the policies have the same names.
func TestTwoTenants(t *testing.T) {
	one, two := tenant(t, entratest.Options{}), tenant(t, entratest.Options{})
	const otherID, otherAudience = "99999999-9999-4999-8999-999999999999", "88888888-8888-4888-8888-888888888888"
	otherIssuer := strings.Replace(two.Issuer(), entratest.TenantID, otherID, 1)
	move := func(s *entratest.Server) {
		s.Inject(entratest.Fault{
			Match: func(r *http.Request) bool {
				return strings.HasPrefix(r.URL.Path, metadataOf(entratest.PolicySignUpSignIn))
			},
			Body: fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, otherIssuer,
				s.URL()+"/"+entratest.TenantDomain+"/"+entratest.PolicySignUpSignIn+"/discovery/v2.0/keys"),
		})
	}
	move(two)
	two.Rollover(entratest.PolicySignUpSignIn, false) // else it would have the same key as one

	c := configFor(one, entratest.PolicySignUpSignIn)
	other := c.Trust[0]
	other.MetadataURL, other.Audience, other.AppIDURI = two.MetadataTemplate(), otherAudience, "api://"+otherAudience
	other.Clients = []string{entratest.OtherClientID}
	c.Trust = append(c.Trust, other)
	v := start(t, t.Context(), c)
	sign := func(s *entratest.Server, changes map[string]any) entra.Credentials {
		return changed(s, changes)
	}
	theirs := func(changes map[string]any) map[string]any {
		m := map[string]any{"iss": otherIssuer, "aud": otherAudience, "azp": entratest.OtherClientID}
		for name, value := range changes {
			m[name] = value
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		sent   entra.Credentials
		code   string
		tenant string
	}{
		{"one's", sign(one, nil), "", entratest.TenantID},
		{"the other's", sign(two, theirs(nil)), "", otherID},
		{"one's issuer, the other's key", sign(two, map[string]any{"iss": one.Issuer()}), "key.unknown", ""},
		{"the other's issuer, one's key", sign(one, theirs(nil)), "key.unknown", ""},
		{"one's, for the other's audience", sign(one, map[string]any{"aud": otherAudience}), "aud.wrong", ""},
		{"the other's, for one's " +
			"audience", sign(two, theirs(map[string]any{"aud": entratest.APIClientID})), "aud.wrong", ""},
		{"one's, of the other's client", sign(one, map[string]any{"azp": entratest.OtherClientID}), "azp.not_allowed", ""},
		{"the other's, of one's client", sign(two, theirs(map[string]any{"azp": entratest.ClientID})), "azp.not_allowed", ""},
		{
			"of a third", sign(one, map[string]any{"iss": "https://x.b2clogin.com/77777777-7777-4777-8777-777777777777/v2.0/"}),
			"iss.other_tenant", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			caller, refusal := check(t.Context(), v, tt.sent, "read")
			require.Equal(t, tt.code, codeOf(refusal))
			if caller != nil {
				require.Equal(t, tt.tenant, caller.Tenant)
			}
		})
	}
	_, refusal := check(t.Context(), v, sign(two, theirs(map[string]any{"scp": "write"})), "read")
	require.Contains(t, refusal.Challenge(), `scope="api://`+otherAudience+`/read"`,
		"it is told of its own tenant's scope")

	// While the metadata of one of them was never read, it may be the token's tenant.
	three := tenant(t, entratest.Options{})
	remove := three.Inject(entratest.Fault{Status: http.StatusServiceUnavailable})
	unread := other
	unread.MetadataURL = three.MetadataTemplate()
	c.Trust = []entra.Trust{c.Trust[0], unread}
	var log logged
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	v = entra.NewWithSleep(t.Context(), c, func(time.Duration) <-chan time.Time { return time.After(time.Millisecond) })
	_, refusal = check(t.Context(), v, sign(one, nil), "read")
	require.Nil(t, refusal, "a token of the tenant that was read does not wait")
	_, refusal = check(t.Context(), v, sign(two, theirs(nil)), "read")
	require.Equal(t, "keys.unavailable", codeOf(refusal))
	require.Error(t, v.Ready())
	require.ErrorContains(t, v.Ready(), "503")
	move(three)
	remove()
	require.Eventually(t, func() bool { return v.Ready() == nil }, 20*time.Second, time.Millisecond)
}
