package entra

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Family is a kind of tenant: what its tokens look like, and where its keys are.
type Family string

// FamilyB2C is Azure AD B2C.
const FamilyB2C Family = "b2c"

// family is what all tenants of a kind have in common.
type family struct {
	name        Family
	host        string // with {tenant} to fill in
	metadataURL string // with {host}, {tenant} and {policy} to fill in
	// form reports whether an issuer has the family's form.
	form func(iss string) bool
	// subjectInSub says that sub names the user where there is no oid. A family whose
	// sub differs from application to application must not have it.
	subjectInSub bool
}

var b2c = family{
	name:         FamilyB2C,
	host:         "{tenant}.b2clogin.com",
	metadataURL:  "https://{host}/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration",
	form:         isB2CIssuer,
	subjectInSub: true,
}

// Trust is a tenant whose tokens are accepted. [B2C] makes one; Audience, AppIDURI and
// Scopes must be set then.
type Trust struct {
	// Audience is the API's application ID in the tenant, the one aud accepted.
	Audience string
	// AppIDURI is the prefix of the full scope values that clients ask for.
	AppIDURI string
	// Scopes says what the scopes that [Scope] names are called in the tenant's tokens:
	// their short names. All entries of Config.Trust have the same keys.
	Scopes map[string]string
	// Clients are the application IDs that may call (azp). Empty means any.
	Clients []string
	// Host is where people sign in. Empty means {tenant}.b2clogin.com.
	Host string
	// MetadataURL is a template, {host}, {tenant} and {policy}, of the address of the
	// OpenID Connect metadata. http is for loopback only. Empty means the address that
	// the tenant has at Host.
	MetadataURL string
	// ExtraIssuers are accepted besides each policy's own, while clients move to another
	// host. Those of another tenant, or not of B2C's form, are refused and logged.
	ExtraIssuers []string

	family   *family
	tenant   string
	policies []string
}

// B2C trusts an Azure AD B2C tenant by its name, contoso for contoso.onmicrosoft.com,
// and those of its user flows and custom policies (B2C_1_…, B2C_1A_…) that may issue
// tokens for the API. Each policy has metadata and keys of its own.
func B2C(tenant string, policies ...string) Trust {
	return Trust{family: &b2c, tenant: strings.ToLower(tenant), policies: slices.Clone(policies)}
}

var (
	realmForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,30}[A-Za-z0-9]$`)
	tenantForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	policyForm = regexp.MustCompile(`(?i)^b2c_1a?_[0-9a-z._-]+$`)
	scopeForm  = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
	hostForm   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
)

// check finds everything that would admit too much, or nobody.
func (c *Config) check() error {
	var problems []error
	if !realmForm.MatchString(c.Realm) {
		problems = append(problems, fmt.Errorf("the Realm %q is not 2 to 32 letters, digits and dashes", c.Realm))
	}
	if len(c.Trust) == 0 {
		problems = append(problems, errors.New("there is no Trust"))
	}
	addresses := map[string]bool{}
	for i, t := range c.Trust {
		if t.family == nil {
			problems = append(problems, fmt.Errorf("the entry Trust[%d] was not made by B2C", i))
			continue
		}
		found := t.check()
		if !maps.EqualFunc(t.Scopes, c.Trust[0].Scopes, func(string, string) bool { return true }) {
			found = append(found, errors.New("its Scopes have other names than Trust[0]"))
		}
		for policy, address := range t.addresses() {
			if addresses[address] {
				found = append(found, fmt.Errorf("the metadata of %s, %s, is there twice", policy, address))
			}
			addresses[address] = true
		}
		for _, problem := range found {
			problems = append(problems, fmt.Errorf("in Trust[%d], %s %s: %w", i, t.family.name, t.tenant, problem))
		}
	}
	return errors.Join(problems...)
}

func (t *Trust) check() (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !tenantForm.MatchString(t.tenant) {
		wrong("%q is not the name of a tenant (letters, digits and dashes)", t.tenant)
	}
	if len(t.policies) == 0 {
		wrong("there is no policy")
	}
	for i, policy := range t.policies {
		same := func(other string) bool { return equalFoldASCII(policy, other) }
		switch {
		case !policyForm.MatchString(policy):
			wrong("%q is not the name of a policy, which starts with B2C_1_ or B2C_1A_", policy)
		case slices.ContainsFunc(t.policies[:i], same):
			wrong("the policy %s is there twice", policy)
		}
	}
	if !isGUID(t.Audience) {
		wrong("Audience %q is not an application ID, which is a GUID", t.Audience)
	}
	if u, err := url.Parse(t.AppIDURI); err != nil || u.Scheme != "https" && u.Scheme != "api" || u.Host == "" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		wrong("AppIDURI %q is not an App ID URI, which starts with https:// or api://", t.AppIDURI)
	}
	if len(t.Scopes) == 0 {
		wrong("Scopes is empty")
	}
	for _, name := range slices.Sorted(maps.Keys(t.Scopes)) {
		if name == "" || !scopeForm.MatchString(t.Scopes[name]) {
			wrong("Scopes[%q] is %q, which is not the short name of a scope", name, t.Scopes[name])
		}
	}
	for _, client := range t.Clients {
		if !isGUID(client) {
			wrong("Clients has %q, which is not an application ID, a GUID", client)
		}
	}
	if t.Host != "" && !hostForm.MatchString(t.Host) {
		wrong("Host %q is not the name of a host (no scheme, no path)", t.Host)
	}
	if err := t.checkMetadataURL(); err != nil && problems == nil {
		problems = append(problems, err)
	}
	return problems
}

func (t *Trust) checkMetadataURL() error {
	if t.MetadataURL != "" && !strings.Contains(t.MetadataURL, "{policy}") {
		return errors.New("MetadataURL lacks {policy}; each policy has its own metadata")
	}
	for _, address := range t.addresses() {
		u, err := url.Parse(address)
		switch {
		case strings.ContainsAny(address, "{}"):
			return errors.New("MetadataURL may use only the placeholders {host}, {tenant} and {policy}")
		case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
			return fmt.Errorf("MetadataURL makes %q, which is not a valid URL", address)
		case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
			return fmt.Errorf("MetadataURL makes %q, which is neither https nor http on loopback", address)
		}
	}
	return nil
}

// addresses are the policies and where their metadata are.
func (t *Trust) addresses() iter.Seq2[string, string] {
	return func(yield func(policy, address string) bool) {
		template, host := t.MetadataURL, t.Host
		if template == "" {
			template = t.family.metadataURL
		}
		if host == "" {
			host = fill(t.family.host, "", t.tenant, "")
		}
		for _, policy := range t.policies {
			if !yield(policy, fill(template, host, t.tenant, policy)) {
				return
			}
		}
	}
}

func fill(template, host, tenant, policy string) string {
	return strings.NewReplacer("{host}", host, "{tenant}", tenant, "{policy}", policy).Replace(template)
}

// entry is what the trust's entries have in common.
func (t *Trust) entry(h Hints) entry {
	x := entry{
		family: t.family, settings: h.B2C,
		audience: strings.ToLower(t.Audience), appIDURI: strings.TrimRight(t.AppIDURI, "/"),
		scopes: maps.Clone(t.Scopes), names: slices.Sorted(maps.Keys(t.Scopes)), clients: map[string]bool{},
	}
	for _, client := range t.Clients {
		x.clients[strings.ToLower(client)] = true
	}
	return x
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
