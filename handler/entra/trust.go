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
	"sync"
)

// Family is a kind of tenant: what its tokens look like, and where its keys are.
type Family string

// The families.
const (
	FamilyB2C        Family = "b2c"      // Azure AD B2C
	FamilyExternalID Family = "external" // Microsoft Entra External ID
	FamilyWorkforce  Family = "entra"    // Microsoft Entra ID, of employees and guests
)

// family is what all tenants of a kind have in common.
type family struct {
	name        Family
	label       string // what people call it
	host        string // with {tenant} to fill in
	metadataURL string // with the placeholders to fill in
	directory   string // what {tenant} stands for in the metadata's address: with {tenant} to fill in
	tenantForm  form
	tenantIs    string // what the form is, in words
	// byPolicy says that a tenant has policies, each with metadata and keys of its own,
	// and that tokens name theirs. No sub of the other families names a user: it differs
	// from application to application, and by case.
	byPolicy bool
}

var b2c = family{
	name: FamilyB2C, label: "Azure AD B2C", host: "{tenant}.b2clogin.com",
	metadataURL: "https://{host}/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration",
	directory:   "{tenant}", tenantForm: nameForm,
	tenantIs: "the name of a tenant (letters, digits and dashes)", byPolicy: true,
}

var externalID = family{
	name: FamilyExternalID, label: "External ID", host: "{tenant}.ciamlogin.com",
	metadataURL: "https://{host}/{tenant}/v2.0/.well-known/openid-configuration",
	directory:   "{tenant}.onmicrosoft.com", tenantForm: nameForm,
	tenantIs: "the name of a tenant (letters, digits and dashes) or its GUID",
}

var workforce = family{
	name: FamilyWorkforce, label: "Entra ID", host: legacyHost,
	metadataURL: "https://{host}/{tenant}/v2.0/.well-known/openid-configuration",
	directory:   "{tenant}", tenantForm: domainForm,
	tenantIs: "a GUID or a verified domain of one tenant",
}

// Trust is a tenant whose tokens are accepted. [B2C], [ExternalID] and [Workforce] make
// one; Audience, AppIDURI and Scopes must be set then.
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
	// Host is where people sign in. Empty means {tenant}.b2clogin.com, or
	// {tenant}.ciamlogin.com. Workforce tenants have none of their own.
	Host string
	// MetadataURL is a template, {host}, {tenant} and {policy}, of the address of the
	// OpenID Connect metadata. http is for loopback only. Empty means the address that
	// the tenant has at Host. B2C needs {policy}, the others have none; their {tenant} is
	// a GUID or a domain.
	MetadataURL string
	// ExtraIssuers are accepted besides each policy's own, while clients of B2C move to
	// another host. Those of another tenant, or not of B2C's form, are refused and logged.
	ExtraIssuers []string
	// FormerTenant and FormerIDClaim, both or neither, are for users of an external tenant
	// who were moved there from B2C: the GUID of the tenant that they came from, and the
	// claim that has their object ID there, a directory extension (extension_… or extn.…).
	// Where a user's token has a GUID in the claim, Caller has that tenant and that ID.
	//
	// Whoever can set the attribute behind the claim is whoever they say. No user may: it
	// must not be among the attributes of a user flow, or of sign-up by native
	// authentication.
	FormerTenant, FormerIDClaim string

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

// ExternalID trusts an external tenant of Microsoft Entra External ID by its name,
// contoso for contoso.onmicrosoft.com, or by its GUID. Its issuer is
// https://{GUID}.ciamlogin.com/{GUID}/v2.0 whatever the host, or has Host in place of
// the first where the metadata read there say so. Where the metadata are on loopback,
// the issuer may have any host.
func ExternalID(tenant string) Trust {
	return Trust{family: &externalID, tenant: strings.ToLower(tenant)}
}

// Workforce trusts one workforce tenant of Microsoft Entra ID by its GUID or a verified
// domain. Addresses that stand for many tenants, such as common, are refused.
func Workforce(tenant string) Trust {
	return Trust{family: &workforce, tenant: strings.ToLower(tenant)}
}

// Family is that of the constructor that made t.
func (t *Trust) Family() Family {
	if t.family == nil {
		return ""
	}
	return t.family.name
}

var (
	realmForm  = formed(32, `^[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9]$`)
	nameForm   = formed(63, `^[a-z0-9][a-z0-9-]*$`)
	domainForm = formed(253, `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)
	policyForm = formed(4096, `(?i)^b2c_1a?_[0-9a-z._-]+$`)
	scopeForm  = formed(4096, `^[A-Za-z0-9._~-]+$`)
	formerForm = formed(210, `^(extension_|extn\.)[A-Za-z0-9_.-]{1,200}$`)
	hostForm   = formed(259, `^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
)

// form is what a text has to look like: how long it may be, in bytes, and an expression that
// is compiled when it is first asked for, so that the handler starts sooner.
type form struct {
	most int
	expr func() *regexp.Regexp
}

func formed(most int, expr string) form {
	return form{most, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

func (f form) MatchString(s string) bool { return len(s) <= f.most && f.expr().MatchString(s) }

// manyTenants are names at Entra ID's host that stand for more than one tenant, the last
// for all Microsoft accounts.
var manyTenants = []string{"common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"}

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
	guids := map[string]*family{}
	for i, t := range c.Trust {
		if t.family == nil {
			problems = append(
				problems,
				fmt.Errorf("the entry Trust[%d] was not made by B2C, ExternalID or Workforce", i),
			)
			continue
		}
		found := t.check()
		if !maps.EqualFunc(t.Scopes, c.Trust[0].Scopes, func(string, string) bool { return true }) {
			found = append(found, errors.New("its Scopes have other names than Trust[0]"))
		}
		for _, address := range t.addresses() {
			if addresses[address] {
				found = append(found, fmt.Errorf("the metadata at %s is there twice", address))
			}
			addresses[address] = true
		}
		if !t.family.byPolicy && isGUID(t.tenant) {
			if other := guids[t.tenant]; other != nil && other != t.family {
				found = append(found, fmt.Errorf("the same tenant is there as one of %s", other.label))
			}
			guids[t.tenant] = t.family
		}
		for _, other := range c.Trust {
			ofB2C := other.family == &b2c
			if t.FormerTenant != "" && !ofB2C && strings.EqualFold(t.FormerTenant, other.tenant) {
				found = append(found, errors.New("its FormerTenant is a tenant whose users come by their present ID"))
			}
		}
		for _, problem := range found {
			problems = append(problems, fmt.Errorf("in Trust[%d], %s %s: %w", i, t.family.name, t.tenant, problem))
		}
	}
	return errors.Join(problems...)
}

func (t *Trust) check() (problems []error) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	guid := !t.family.byPolicy && isGUID(t.tenant)
	switch {
	case slices.Contains(manyTenants, t.tenant) && !t.family.byPolicy:
		wrong("%q stands for many tenants; their tokens would be accepted", t.tenant)
	case !guid && !t.family.tenantForm.MatchString(t.tenant):
		wrong("%q is not %s", t.tenant, t.family.tenantIs)
	}
	if t.family.byPolicy {
		problems = append(problems, t.checkPolicies()...)
	} else if len(t.ExtraIssuers) > 0 {
		wrong("only B2C has ExtraIssuers")
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
	problems = append(problems, t.checkFormer()...)
	switch {
	case t.Host != "" && t.family == &workforce:
		wrong("a workforce tenant has no Host of its own")
	case t.Host != "" && !hostForm.MatchString(t.Host):
		wrong("Host %q is not the name of a host (no scheme, no path)", t.Host)
	}
	if err := t.checkMetadataURL(); err != nil && problems == nil {
		problems = append(problems, err)
	}
	return problems
}

func (t *Trust) checkFormer() (problems []error) {
	switch {
	case t.FormerTenant == "" && t.FormerIDClaim == "":
		return nil
	case t.family != &externalID:
		problems = append(problems, errors.New("only an external tenant has a FormerTenant"))
	case t.FormerTenant == "" || t.FormerIDClaim == "":
		problems = append(problems, errors.New("FormerTenant and FormerIDClaim go together"))
	}
	if t.FormerTenant != "" && (!isGUID(t.FormerTenant) || t.FormerTenant == noGUID) {
		problems = append(problems, fmt.Errorf("FormerTenant %q is not the GUID of a tenant", t.FormerTenant))
	}
	if t.FormerIDClaim != "" && !formerForm.MatchString(t.FormerIDClaim) {
		problems = append(problems, fmt.Errorf("FormerIDClaim %q is not the name of a directory extension in a token, "+
			"extension_… or extn.…", t.FormerIDClaim))
	}
	return problems
}

func (t *Trust) checkPolicies() (problems []error) {
	if len(t.policies) == 0 {
		problems = append(problems, errors.New("there is no policy"))
	}
	for i, policy := range t.policies {
		same := func(other string) bool { return equalFoldASCII(policy, other) }
		switch {
		case !policyForm.MatchString(policy):
			problems = append(problems,
				fmt.Errorf("%q is not the name of a policy, which starts with B2C_1_ or B2C_1A_", policy))
		case slices.ContainsFunc(t.policies[:i], same):
			problems = append(problems, fmt.Errorf("the policy %s is there twice", policy))
		}
	}
	return problems
}

func (t *Trust) checkMetadataURL() error {
	placeholders := "{host} and {tenant}"
	if t.family.byPolicy {
		placeholders = "{host}, {tenant} and {policy}"
		if t.MetadataURL != "" && !strings.Contains(t.MetadataURL, "{policy}") {
			return errors.New("MetadataURL lacks {policy}; each policy has its own metadata")
		}
	}
	for _, address := range t.addresses() {
		u, err := url.Parse(address)
		switch {
		case strings.ContainsAny(address, "{}"):
			return fmt.Errorf("MetadataURL may use only the placeholders %s", placeholders)
		case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
			return fmt.Errorf("MetadataURL makes %q, which is not a valid URL", address)
		case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
			return fmt.Errorf("MetadataURL makes %q, which is neither https nor http on loopback", address)
		}
	}
	return nil
}

// addresses are the policies and where their metadata are. A family without policies
// has one address.
func (t *Trust) addresses() iter.Seq2[string, string] {
	return func(yield func(policy, address string) bool) {
		template, host, directory := t.MetadataURL, t.Host, t.tenant
		if template == "" {
			template = t.family.metadataURL
		}
		if host == "" {
			host = strings.ReplaceAll(t.family.host, "{tenant}", t.tenant)
		}
		if !isGUID(t.tenant) {
			directory = strings.ReplaceAll(t.family.directory, "{tenant}", t.tenant)
		}
		if !t.family.byPolicy {
			yield("", strings.NewReplacer("{host}", host, "{tenant}", directory).Replace(template))
			return
		}
		for _, policy := range t.policies {
			address := strings.NewReplacer("{host}", host, "{tenant}", directory, "{policy}", policy).Replace(template)
			if !yield(policy, address) {
				return
			}
		}
	}
}

// entry is what the trust's entries have in common.
func (t *Trust) entry(h Hints) entry {
	x := entry{
		family: t.family, settings: h.of(t.family), tenant: t.tenant,
		audience: strings.ToLower(t.Audience), appIDURI: strings.TrimRight(t.AppIDURI, "/"),
		scopes: maps.Clone(t.Scopes), names: slices.Sorted(maps.Keys(t.Scopes)), clients: map[string]bool{},
		formerTenant: strings.ToLower(t.FormerTenant), formerClaim: t.FormerIDClaim,
	}
	for _, client := range t.Clients {
		x.clients[strings.ToLower(client)] = true
	}
	return x
}

// form reports whether an issuer has the form of those of a tenant whose metadata are
// at address.
func (t *Trust) form(address string) func(iss string) bool {
	host := strings.ToLower(t.Host)
	u, err := url.Parse(address)
	local := err == nil && isLoopback(u.Hostname())
	return func(iss string) bool {
		p := splitIssuer(iss)
		switch {
		case !p.whole():
			return false
		case t.family.byPolicy:
			return p.slash
		case p.slash || p.policy != "":
			return false
		case t.family == &externalID:
			return local || p.host == p.tenant+ciamSuffix || p.host == host
		default:
			return local || p.host == legacyHost
		}
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
