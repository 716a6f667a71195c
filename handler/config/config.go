// Package config reads the settings. [Settings] is the one list of them, with
// name, default, example and check; [Load] reads them once and reports every
// problem at once. Nothing else in the program reads the environment.
//
// It checks what a value looks like, not whether a tenant or a storage
// account exists.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Config holds the settings, checked and with defaults filled in.
type Config struct {
	Port     int   // FUNCTIONS_CUSTOMHANDLER_PORT
	B2C      Trust // B2C_…
	External Trust // EXTERNAL_…
	Entra    Trust // ENTRA_…
	Programs bool  // APPLICATIONS is "accept"
	Explain  bool  // AUTH_EXPLAIN is "full"

	CallerConcurrency int // CALLER_CONCURRENCY
	CallerRate        int // CALLER_RATE, requests a second; 0: no limit

	LogLevel slog.Level // LOG_LEVEL

	TablesEndpoint         string // TABLES_ENDPOINT, or empty
	TablesConnectionString string // TABLES_CONNECTION_STRING, or empty; UseDevelopmentStorage=true is spelled out
	IdentityClientID       string // AZURE_CLIENT_ID, or empty
	Table                  string // ITEMS_TABLE

	// Warnings are about settings that are there and may not be meant.
	Warnings []string
}

// Trust is a tenant whose tokens are accepted. Where none of the family is, Tenant is
// empty. The names are those behind the prefix.
type Trust struct {
	Tenant         string   // TENANT, lower case
	Host           string   // HOST; empty means the family's own, which B2C's has filled in
	Policies       []Policy // POLICIES with METADATA_URL filled in; one without a name where the family has none
	MetadataURL    string   // METADATA_URL, the template
	APIClientID    string   // API_CLIENT_ID, lower case
	AppIDURI       string   // APP_ID_URI, without a slash at its end
	ReadScope      string   // READ_SCOPE, the short name
	WriteScope     string   // WRITE_SCOPE, the short name
	AllowedClients []string // ALLOWED_CLIENTS, lower case; empty means any
	ExtraIssuers   []string // EXTRA_ISSUERS
	FormerTenant   string   // FORMER_TENANT, lower case, or empty
	FormerIDClaim  string   // FORMER_ID_CLAIM, or empty; with FormerTenant
}

// First is the first tenant that is set, for what can speak of one alone.
func (c Config) First() Trust {
	for _, t := range []Trust{c.B2C, c.External} {
		if t.Tenant != "" {
			return t
		}
	}
	return c.Entra
}

// Names are the settings behind a tenant whose tokens are accepted, for messages that
// tell where to look. Scopes has them by what the API calls a scope.
type Names struct {
	Tenant, Policies, Audience, Clients, Host, ExtraIssuers string
	Scopes                                                  map[string]string
}

// The names of the settings of each family's tenant.
var (
	B2CNames = Names{
		Tenant: "B2C_TENANT", Policies: "B2C_POLICIES", Audience: "B2C_API_CLIENT_ID", Clients: "B2C_ALLOWED_CLIENTS",
		Host: "B2C_HOST", ExtraIssuers: "B2C_EXTRA_ISSUERS",
		Scopes: map[string]string{"read": "B2C_READ_SCOPE", "write": "B2C_WRITE_SCOPE"},
	}
	ExternalNames = Names{
		Tenant: "EXTERNAL_TENANT", Audience: "EXTERNAL_API_CLIENT_ID", Clients: "EXTERNAL_ALLOWED_CLIENTS",
		Host:   "EXTERNAL_HOST",
		Scopes: map[string]string{"read": "EXTERNAL_READ_SCOPE", "write": "EXTERNAL_WRITE_SCOPE"},
	}
	EntraNames = Names{
		Tenant: "ENTRA_TENANT", Audience: "ENTRA_API_CLIENT_ID", Clients: "ENTRA_ALLOWED_CLIENTS",
		Scopes: map[string]string{"read": "ENTRA_READ_SCOPE", "write": "ENTRA_WRITE_SCOPE"},
	}
)

// ApplicationsName is the setting that says whether programs may call.
const ApplicationsName = "APPLICATIONS"

// Policy is a user flow or custom policy whose tokens are accepted.
type Policy struct {
	Name        string // as set, B2C_1_signupsignin
	MetadataURL string // where its OpenID Connect metadata are
}

// SignInURL is where the policy's authorize and token endpoints are, as Microsoft
// places them beside the metadata; or empty where the template of the metadata
// URL has another form.
func (p Policy) SignInURL(endpoint string) string {
	base, ok := strings.CutSuffix(p.MetadataURL, "/v2.0/.well-known/openid-configuration")
	if !ok {
		return ""
	}
	return base + "/oauth2/v2.0/" + endpoint
}

// Setting is one environment variable (an app setting in Azure).
type Setting struct {
	Name     string
	Required bool   // those of a family with its tenant alone
	Default  string // in the words of the documentation; empty means none
	Example  string // a right value
	Meaning  string // one line for people

	set func(c *Config, value string) error // never sees an empty value
}

// tenantSetting is the setting that names the tenant of the family that s belongs to;
// empty if s is of none.
func (s Setting) tenantSetting() string {
	for _, prefix := range []string{"B2C_", "EXTERNAL_", "ENTRA_"} {
		if strings.HasPrefix(s.Name, prefix) {
			return prefix + "TENANT"
		}
	}
	return ""
}

// Settings are all settings, in the order in which they are documented.
var Settings = []Setting{
	{
		"B2C_TENANT",
		false,
		"one of the three",
		"contoso",
		"name of the Azure AD B2C tenant: contoso means the domain contoso.onmicrosoft.com and the host " +
			"contoso.b2clogin.com",
		b2c(setTenant),
	},
	{
		"B2C_POLICIES",
		true,
		"",
		"B2C_1_signupsignin,B2C_1_profileedit",
		"comma list of the user flows and custom policies whose tokens are accepted",
		b2c(setPolicies),
	},
	{
		"B2C_API_CLIENT_ID",
		true,
		"",
		"ecfb57af-c76a-49a0-b48f-37311846956f",
		"application ID of the API: the one audience accepted",
		b2c(setAPIClientID),
	},
	{
		"B2C_APP_ID_URI",
		false,
		"https://{tenant}.onmicrosoft.com/{api client id}",
		"https://contoso.onmicrosoft.com/b2capi",
		"prefix of the full scope values shown in answers",
		b2c(setAppIDURI),
	},
	{"B2C_READ_SCOPE", false, "read", "read", "short name of the scope that reading needs", b2c(setReadScope)},
	{"B2C_WRITE_SCOPE", false, "write", "write", "short name of the scope that writing needs", b2c(setWriteScope)},
	{
		"B2C_ALLOWED_CLIENTS",
		false,
		"any",
		"47840c35-e986-468b-8d2c-e25aa02d3d08",
		"comma list of the client application IDs that may call",
		b2c(setAllowedClients),
	},
	{
		"B2C_HOST",
		false,
		"{tenant}.b2clogin.com",
		"login.contoso.com",
		"host of the tenant's endpoints, for a custom domain",
		b2c(setHost),
	},
	{
		"B2C_EXTRA_ISSUERS",
		false,
		"none",
		"https://contoso.b2clogin.com/775527ff-9a37-4307-8b3d-cc311f58d925/v2.0/",
		"comma list of exact issuers accepted besides each policy's own, of the same tenant",
		b2c(setExtraIssuers),
	},
	{
		"B2C_METADATA_URL",
		false,
		b2cMetadata,
		"http://localhost:9911/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration",
		"template of the metadata URL; http only to loopback, and then only with storage on loopback too",
		b2c(setPolicyMetadataURL),
	},
	{
		"EXTERNAL_TENANT",
		false,
		"one of the three",
		"contosocustomers",
		"name or GUID of an external tenant of Entra External ID",
		external(setExternalTenant),
	},
	{
		"EXTERNAL_API_CLIENT_ID",
		true,
		"",
		"e1a91000-3d5e-4c92-b7f8-6a04e2d9c135",
		"application ID of the API in the external tenant: the one audience accepted",
		external(setAPIClientID),
	},
	{
		"EXTERNAL_APP_ID_URI",
		false,
		"api://{api client id}",
		"api://e1a91000-3d5e-4c92-b7f8-6a04e2d9c135",
		"prefix of the full scope values shown in answers",
		external(setAppIDURI),
	},
	{
		"EXTERNAL_READ_SCOPE",
		false,
		"read",
		"read",
		"short name of the scope that reading needs",
		external(setReadScope),
	},
	{
		"EXTERNAL_WRITE_SCOPE",
		false,
		"write",
		"write",
		"short name of the scope that writing needs",
		external(setWriteScope),
	},
	{
		"EXTERNAL_ALLOWED_CLIENTS",
		false,
		"any",
		"e1c51e27-6b0f-4d83-9a57-30d8c4f1b962",
		"comma list of the client application IDs that may call",
		external(setAllowedClients),
	},
	{
		"EXTERNAL_HOST",
		false,
		"{tenant}.ciamlogin.com",
		"login.contosocustomers.com",
		"a custom URL domain of the tenant: where metadata and keys are read; the issuer stays the tenant's own " +
			"unless the metadata there name this host",
		external(setHost),
	},
	{
		"EXTERNAL_METADATA_URL",
		false,
		entraMetadata,
		"http://localhost:9911/{host}/{tenant}/v2.0/.well-known/openid-configuration",
		"template of the metadata URL, where {tenant} is the GUID or name.onmicrosoft.com; http only to loopback, " +
			"and then only with storage on loopback too",
		external(setMetadataURL),
	},
	{
		"EXTERNAL_FORMER_TENANT",
		false,
		"none",
		"775527ff-9a37-4307-8b3d-cc311f58d925",
		"GUID of the B2C tenant that users were moved from, whose items they find again; with EXTERNAL_FORMER_ID_CLAIM",
		external(setFormerTenant),
	},
	{
		"EXTERNAL_FORMER_ID_CLAIM",
		false,
		"none",
		"extension_0a1b2c3d4e5f46788990a1b2c3d4e5f6_B2CObjectId",
		"claim with a moved user's object ID in EXTERNAL_FORMER_TENANT. Danger: who can set the attribute behind it " +
			"gets anybody's items; no user flow and no native sign-up may collect it",
		external(setFormerIDClaim),
	},
	{
		"ENTRA_TENANT",
		false,
		"one of the three",
		"contosoworkforce.onmicrosoft.com",
		"GUID or verified domain of a workforce tenant of Entra ID; never common, organizations or consumers",
		entra(setEntraTenant),
	},
	{
		"ENTRA_API_CLIENT_ID",
		true,
		"",
		"3aa91000-8f16-4d7c-a0b5-24e9c7d3f608",
		"application ID of the API in the workforce tenant: the one audience accepted",
		entra(setAPIClientID),
	},
	{
		"ENTRA_APP_ID_URI",
		false,
		"api://{api client id}",
		"api://3aa91000-8f16-4d7c-a0b5-24e9c7d3f608",
		"prefix of the full scope values shown in answers",
		entra(setAppIDURI),
	},
	{"ENTRA_READ_SCOPE", false, "read", "read", "short name of the scope that reading needs", entra(setReadScope)},
	{"ENTRA_WRITE_SCOPE", false, "write", "write", "short name of the scope that writing needs", entra(setWriteScope)},
	{
		"ENTRA_ALLOWED_CLIENTS",
		false,
		"any",
		"3ac11e47-e5f2-4b09-a683-97c0d12e58f4",
		"comma list of the client application IDs that may call",
		entra(setAllowedClients),
	},
	{
		"ENTRA_METADATA_URL",
		false,
		strings.ReplaceAll(entraMetadata, "{host}", entraHost),
		"http://localhost:9911/{host}/{tenant}/v2.0/.well-known/openid-configuration",
		"template of the metadata URL; http only to loopback, and then only with storage on loopback too",
		entra(setMetadataURL),
	},
	{
		ApplicationsName,
		false,
		"refuse",
		"accept",
		"refuse or accept programs that sign in as themselves to an external or workforce tenant, by app roles named " +
			"like the scopes; B2C's cannot be told from users and come in by the app roles that B2C puts into scp",
		setApplications,
	},
	{
		"CALLER_CONCURRENCY",
		false,
		"32",
		"32",
		"how many requests of one caller are worked on at a time, on an instance",
		setCallerConcurrency,
	},
	{
		"CALLER_RATE",
		false,
		"50",
		"50",
		"how many requests of one caller may come a second on an instance, twice as many in a burst; 0: no limit",
		setCallerRate,
	},
	{
		"TABLES_ENDPOINT",
		false,
		"",
		"https://contosoitems.table.core.windows.net",
		"Table service reached by managed identity; this or TABLES_CONNECTION_STRING",
		setTablesEndpoint,
	},
	{
		"TABLES_CONNECTION_STRING",
		false,
		"",
		"UseDevelopmentStorage=true",
		"Table service for local use; this or TABLES_ENDPOINT",
		setTablesConnectionString,
	},
	{
		"AZURE_CLIENT_ID",
		false,
		"the system-assigned identity",
		"3a4b5c6d-0000-4000-8000-1234567890ab",
		"client ID of the user-assigned identity that reaches TABLES_ENDPOINT",
		setIdentityClientID,
	},
	{"ITEMS_TABLE", false, Collection, Collection, "name of the table", setTable},
	{
		"AUTH_EXPLAIN",
		false,
		"full",
		"code",
		"full: a refusal carries expected, actual and fix; code: only the code",
		setExplain,
	},
	{"LOG_LEVEL", false, "info", "debug", "debug, info, warn or error", setLogLevel},
	{"FUNCTIONS_CUSTOMHANDLER_PORT", true, "", "7072", "the port to listen on, set by the Functions host", setPort},
}

// Error lists everything that is wrong with the settings.
type Error struct {
	Problems []string
}

func (e *Error) Error() string {
	count := "1 problem"
	if n := len(e.Problems); n > 1 {
		count = fmt.Sprintf("%d problems", n)
	}
	return fmt.Sprintf("The settings have %s:\n  - %s", count, strings.Join(e.Problems, "\n  - "))
}

const (
	b2cMetadata   = "https://{host}/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration"
	entraMetadata = "https://{host}/{tenant}/v2.0/.well-known/openid-configuration"
	entraHost     = "login.microsoftonline.com"
)

// The tenants that settings are for.

func b2c(set func(*Trust, string) error) func(*Config, string) error {
	return func(c *Config, v string) error { return set(&c.B2C, v) }
}

func external(set func(*Trust, string) error) func(*Config, string) error {
	return func(c *Config, v string) error { return set(&c.External, v) }
}

func entra(set func(*Trust, string) error) func(*Config, string) error {
	return func(c *Config, v string) error { return set(&c.Entra, v) }
}

// Load reads the settings through getenv, os.Getenv for one. An empty value
// counts as not set. names are those that the environment has, so that a misspelt one
// is told. The error is an [*Error].
func Load(getenv func(string) string, names ...string) (Config, error) {
	c := Config{Table: Collection, Explain: true, CallerConcurrency: 32, CallerRate: 50}
	for _, t := range []*Trust{&c.B2C, &c.External, &c.Entra} {
		t.ReadScope, t.WriteScope, t.MetadataURL = "read", "write", entraMetadata
	}
	c.B2C.MetadataURL = b2cMetadata
	value := func(name string) string { return strings.TrimSpace(getenv(name)) }

	problems, warnings := misspelt(names)
	c.Warnings = warnings
	problems = append(problems, missingTenants(value)...)
	problems = append(problems, c.read(Settings, value)...)
	if t := c.Entra.Tenant; t != "" && (t == c.External.Tenant || t == c.External.directory()) {
		problems = append(
			problems,
			"ENTRA_TENANT and EXTERNAL_TENANT name the same tenant, which is of one kind only. Unset the one that it "+
				"is not",
		)
	}
	problems = append(problems, c.External.formerProblems(c.Entra)...)
	c.finish()
	stored := c.TablesEndpoint != "" || c.TablesConnectionString != ""
	for _, t := range []struct {
		prefix string
		trust  Trust
	}{{"B2C", c.B2C}, {"EXTERNAL", c.External}, {"ENTRA", c.Entra}} {
		if t.trust.onLoopback() && stored && !storageOnLoopback(c) {
			name := t.prefix + "_METADATA_URL"
			problems = append(
				problems,
				name+" points to this machine but the storage does not: anyone who runs a sign-in stand-in can mint "+
					"tokens for everybody, so it works with local storage only. Unset "+name+", or set "+
					"TABLES_CONNECTION_STRING=UseDevelopmentStorage=true",
			)
		}
	}
	for _, t := range []struct {
		names Names
		trust Trust
	}{{B2CNames, c.B2C}, {ExternalNames, c.External}, {EntraNames, c.Entra}} {
		if t.trust.Tenant != "" && slices.Contains(t.trust.AllowedClients, t.trust.APIClientID) {
			c.Warnings = append(
				c.Warnings,
				t.names.Clients+" has the API's own ID, "+t.names.Audience+"; it is for the clients' IDs",
			)
		}
	}
	if problems != nil {
		return Config{}, &Error{Problems: problems}
	}
	return c, nil
}

// LoadStorage reads the settings that say where the items are, for programs that need
// no others. The error is an [*Error].
func LoadStorage(getenv func(string) string) (Config, error) {
	c := Config{Table: Collection}
	var of []Setting
	for _, s := range Settings {
		if strings.HasPrefix(s.Name, "TABLES_") || s.Name == "ITEMS_TABLE" {
			of = append(of, s)
		}
	}
	value := func(name string) string { return strings.TrimSpace(getenv(name)) }
	if problems := c.read(of, value); problems != nil {
		return Config{}, &Error{Problems: problems}
	}
	return c, nil
}

// read reads settings, those of the storage among them, and says what is wrong.
func (c *Config) read(settings []Setting, value func(name string) string) (problems []string) {
	for _, s := range settings {
		v, tenant := value(s.Name), s.tenantSetting()
		without := tenant != "" && value(tenant) == "" // the family is not wanted
		switch {
		case v != "" && without:
		case v != "":
			if err := s.set(c, v); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v. Example: %s=%s", s.Name, err, s.Name, s.Example))
			}
		case s.Required && !without:
			problems = append(
				problems,
				fmt.Sprintf("%s is not set: %s. Example: %s=%s", s.Name, s.Meaning, s.Name, s.Example),
			)
		}
	}
	switch endpoint, connection := value("TABLES_ENDPOINT") != "", value("TABLES_CONNECTION_STRING") != ""; {
	case endpoint && connection:
		problems = append(
			problems,
			"TABLES_ENDPOINT and TABLES_CONNECTION_STRING are both set: keep the first in Azure, the second locally",
		)
	case !endpoint && !connection:
		problems = append(
			problems,
			"TABLES_ENDPOINT or TABLES_CONNECTION_STRING must be set. Example: "+
				"TABLES_ENDPOINT=https://contosoitems.table.core.windows.net in Azure, "+
				"TABLES_CONNECTION_STRING=UseDevelopmentStorage=true locally",
		)
	}
	return problems
}

// missingTenants finds families that have settings and no tenant, and says so if there is
// no tenant at all.
func missingTenants(value func(name string) string) (problems []string) {
	some := false
	for _, tenant := range Settings {
		if tenant.Name != tenant.tenantSetting() {
			continue
		}
		var set []string
		for _, s := range Settings {
			if s.tenantSetting() == tenant.Name && value(s.Name) != "" {
				set = append(set, s.Name)
			}
		}
		some = some || len(set) > 0
		if len(set) > 0 && value(tenant.Name) == "" {
			problems = append(
				problems,
				fmt.Sprintf("%s is not set, and these mean nothing without it: %s. Example: %s=%s",
					tenant.Name, strings.Join(set, ", "), tenant.Name, tenant.Example),
			)
		}
	}
	if !some {
		problems = append(
			problems,
			"B2C_TENANT, EXTERNAL_TENANT or ENTRA_TENANT must be set, or several of them: whose tokens are "+
				"accepted. Example: B2C_TENANT=contoso",
		)
	}
	return problems
}

// finish fills in the defaults that depend on other settings.
func (c *Config) finish() {
	if t := &c.B2C; t.Tenant != "" {
		if t.Host == "" {
			t.Host = t.Tenant + ".b2clogin.com"
		}
		t.fill(t.Host, t.Tenant, "https://"+t.Tenant+".onmicrosoft.com/"+t.APIClientID)
	}
	if t := &c.External; t.Tenant != "" {
		t.Policies = []Policy{{}}
		t.fill(t.Tenant+".ciamlogin.com", t.directory(), "api://"+t.APIClientID)
	}
	if t := &c.Entra; t.Tenant != "" {
		t.Policies = []Policy{{}}
		t.fill(entraHost, t.Tenant, "api://"+t.APIClientID)
	}
}

// formerProblems finds half a former tenant, and one that is a present one.
func (t *Trust) formerProblems(entra Trust) (problems []string) {
	if (t.FormerTenant == "") != (t.FormerIDClaim == "") {
		problems = append(
			problems,
			"EXTERNAL_FORMER_TENANT and EXTERNAL_FORMER_ID_CLAIM go together: set both or neither",
		)
	}
	if t.FormerTenant != "" && (t.FormerTenant == t.Tenant || t.FormerTenant == entra.Tenant) {
		problems = append(
			problems,
			"EXTERNAL_FORMER_TENANT is a tenant whose users come by their present ID. Set it to the GUID of the B2C "+
				"tenant that they were moved from; where the tenant stayed the same, unset it",
		)
	}
	return problems
}

// directory is how an external tenant stands in addresses.
func (t *Trust) directory() string {
	if guidForm.MatchString(t.Tenant) {
		return t.Tenant
	}
	return t.Tenant + ".onmicrosoft.com"
}

func (t *Trust) fill(host, directory, appIDURI string) {
	if t.Host != "" {
		host = t.Host
	}
	if t.AppIDURI == "" {
		t.AppIDURI = appIDURI
	}
	for i, p := range t.Policies {
		t.Policies[i].MetadataURL = strings.NewReplacer(
			"{host}",
			host,
			"{tenant}",
			directory,
			"{policy}",
			p.Name,
		).Replace(
			t.MetadataURL,
		)
	}
}

var (
	tenantForm = formed(63, `^[a-z0-9][a-z0-9-]*$`)
	policyForm = formed(4096, `(?i)^b2c_1a?_[0-9a-z._-]+$`)
	domainForm = formed(253, `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$`)
	formerForm = formed(210, `^(extension_|extn\.)[A-Za-z0-9_.-]{1,200}$`)
	guidForm   = formed(36, `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	scopeForm  = formed(4096, `^[A-Za-z0-9._~-]+$`)
	hostForm   = formed(259, `^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	tableForm  = formed(63, `^[A-Za-z][A-Za-z0-9]{2,}$`)
	account    = formed(24, `^[a-z0-9]{3,}$`)
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

func setTenant(t *Trust, v string) error {
	v = strings.ToLower(v)
	if name := tenantName(v); name != v && tenantForm.MatchString(name) {
		return fmt.Errorf("expects just the name: %q", name)
	}
	if !tenantForm.MatchString(v) {
		return fmt.Errorf("%q is not a tenant name (letters, digits and dashes)", v)
	}
	t.Tenant = v
	return nil
}

// tenantName is the name in an address or domain of a tenant, or v.
func tenantName(v string) string {
	host := strings.TrimPrefix(strings.TrimPrefix(v, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	for _, domain := range []string{".onmicrosoft.com", ".b2clogin.com", ".ciamlogin.com"} {
		if name, ok := strings.CutSuffix(host, domain); ok {
			return name
		}
	}
	return host
}

// manyTenants are names that stand for more than one tenant, the last for all Microsoft
// accounts.
var manyTenants = []string{"common", "organizations", "consumers", "9188040d-6c67-4c5b-b112-36a304b66dad"}

func oneTenant(v string) error {
	if slices.Contains(manyTenants, strings.ToLower(v)) {
		return fmt.Errorf("%q stands for many tenants, whose tokens would all be accepted", v)
	}
	return nil
}

func setExternalTenant(t *Trust, v string) error {
	if err := oneTenant(v); err != nil {
		return err
	}
	return setTenant(t, v) // a GUID has the form of a name
}

func setEntraTenant(t *Trust, v string) error {
	if err := oneTenant(v); err != nil {
		return err
	}
	if v = strings.ToLower(v); !guidForm.MatchString(v) && !domainForm.MatchString(v) {
		return fmt.Errorf("%q is neither a GUID nor a domain of the tenant", v)
	}
	t.Tenant = v
	return nil
}

func setPolicies(t *Trust, v string) error {
	seen := map[string]bool{}
	for _, name := range list(v) {
		if !policyForm.MatchString(name) {
			return fmt.Errorf(
				"%q is not the name of a user flow or custom policy, which starts with B2C_1_ or B2C_1A_",
				name,
			)
		}
		if seen[strings.ToLower(name)] {
			return fmt.Errorf("%q is there twice", name)
		}
		seen[strings.ToLower(name)] = true
		t.Policies = append(t.Policies, Policy{Name: name})
	}
	if t.Policies == nil {
		return errors.New("names no policy")
	}
	return nil
}

func setAPIClientID(t *Trust, v string) (err error) {
	t.APIClientID, err = guid(v)
	return err
}

func setIdentityClientID(c *Config, v string) (err error) {
	c.IdentityClientID, err = guid(v)
	return err
}

func setAllowedClients(t *Trust, v string) error {
	for _, client := range list(v) {
		id, err := guid(client)
		if err != nil {
			return err
		}
		t.AllowedClients = append(t.AllowedClients, id)
	}
	if t.AllowedClients == nil {
		return errors.New("names no client; leave it empty to admit any")
	}
	return nil
}

func setFormerTenant(t *Trust, v string) error {
	if v = strings.ToLower(v); !guidForm.MatchString(v) || strings.Trim(v, "0-") == "" {
		return fmt.Errorf("%q is not the GUID of a tenant. Portal: Azure AD B2C > Overview, or the tenant's metadata, "+
			"shows it", v)
	}
	t.FormerTenant = v
	return nil
}

func setFormerIDClaim(t *Trust, v string) error {
	if !formerForm.MatchString(v) {
		return fmt.Errorf("%q is not the name of a directory extension in a token, extension_… or extn.…: any other "+
			"claim may be the user's to choose", v)
	}
	t.FormerIDClaim = v
	return nil
}

func setAppIDURI(t *Trust, v string) error {
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "https" && u.Scheme != "api") || u.Host == "" || u.RawQuery != "" ||
		u.Fragment != "" {
		return fmt.Errorf("%q is not an App ID URI, which starts with https:// or api://", v)
	}
	t.AppIDURI = strings.TrimRight(v, "/")
	return nil
}

func setReadScope(t *Trust, v string) (err error) {
	t.ReadScope, err = scope(v)
	return err
}

func setWriteScope(t *Trust, v string) (err error) {
	t.WriteScope, err = scope(v)
	return err
}

func scope(v string) (string, error) {
	if i := strings.LastIndexByte(v, '/'); i >= 0 {
		return "", fmt.Errorf("%q is a full scope value, but tokens carry the short name, %q", v, v[i+1:])
	}
	if !scopeForm.MatchString(v) {
		return "", fmt.Errorf("%q is not a scope name", v)
	}
	return v, nil
}

func setHost(t *Trust, v string) error {
	if !hostForm.MatchString(v) {
		return fmt.Errorf("%q is not a host name (no scheme, no path)", v)
	}
	t.Host = strings.ToLower(v)
	return nil
}

func setExtraIssuers(t *Trust, v string) error {
	for _, issuer := range list(v) {
		u, err := url.Parse(issuer)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%q is not an issuer, which is an https URL", issuer)
		}
		t.ExtraIssuers = append(t.ExtraIssuers, issuer)
	}
	return nil
}

func setPolicyMetadataURL(t *Trust, v string) error {
	if !strings.Contains(v, "{policy}") {
		return errors.New("must contain {policy}, as each policy has its own metadata")
	}
	t.MetadataURL = v
	return checkMetadataURL(strings.ReplaceAll(v, "{policy}", "policy"), "{host}, {tenant} and {policy}")
}

func setMetadataURL(t *Trust, v string) error {
	t.MetadataURL = v
	return checkMetadataURL(v, "{host} and {tenant}")
}

func checkMetadataURL(template, placeholders string) error {
	filled := strings.NewReplacer("{host}", "example.com", "{tenant}", "tenant").Replace(template)
	if strings.ContainsAny(filled, "{}") {
		return fmt.Errorf("takes %s only", placeholders)
	}
	u, err := url.Parse(filled)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is not a valid URL", template)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("must start with https://, or with http:// to localhost or a loopback address")
	}
	return nil
}

func setTablesEndpoint(c *Config, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" ||
		u.Fragment != "" {
		return errors.New("must be the https URL of a Table service, without path and query")
	}
	for _, other := range []string{".blob.", ".queue.", ".file.", ".dfs.", ".web."} {
		if strings.Contains(u.Host, other) {
			return fmt.Errorf("%q is the endpoint of another service of the account; that of its tables is %q", v,
				"https://"+strings.Replace(u.Host, other, ".table.", 1))
		}
	}
	c.TablesEndpoint = strings.TrimRight(v, "/")
	return nil
}

// The account and the key that every storage emulator has; published, no secret.
const developmentStorage = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;" +
	"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;" +
	"TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;"

// The value is a secret: no error shows any of it.
func setTablesConnectionString(c *Config, v string) error {
	parts := connectionParts(v)
	if strings.EqualFold(parts["UseDevelopmentStorage"], "true") {
		c.TablesConnectionString = developmentStorage
		return nil
	}
	switch {
	case parts["AccountName"] == "" || (parts["AccountKey"] == "" && parts["SharedAccessSignature"] == ""):
		return errors.New("wants UseDevelopmentStorage=true, or AccountName and AccountKey separated by semicolons")
	case !account.MatchString(parts["AccountName"]):
		return errors.New(
			"its AccountName is not the name of a storage account (3 to 24 lower-case letters and digits)",
		)
	}
	if endpoint := parts["TableEndpoint"]; endpoint != "" {
		u, err := url.Parse(endpoint)
		if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
			return errors.New("its TableEndpoint must be an https URL, or an http URL on this machine")
		}
	} else if p := parts["DefaultEndpointsProtocol"]; p != "" && p != "https" {
		return errors.New("its DefaultEndpointsProtocol must be https")
	}
	c.TablesConnectionString = v
	return nil
}

func setTable(c *Config, v string) error {
	if !tableForm.MatchString(v) {
		return fmt.Errorf("%q is not a table name: a letter, then 2 to 62 letters and digits", v)
	}
	c.Table = v
	return nil
}

func setApplications(c *Config, v string) error {
	if v != "accept" && v != "refuse" {
		return fmt.Errorf("%q is neither accept nor refuse", v)
	}
	c.Programs = v == "accept"
	return nil
}

func setCallerConcurrency(c *Config, v string) (err error) {
	c.CallerConcurrency, err = wholeNumber(v, 1, 256) // an instance works on no more
	return err
}

func setCallerRate(c *Config, v string) (err error) {
	c.CallerRate, err = wholeNumber(v, 0, 10_000)
	return err
}

func wholeNumber(v string, least, most int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%q is not a whole number from %d to %d", v, least, most)
	}
	return n, nil
}

func setExplain(c *Config, v string) error {
	if v != "full" && v != "code" {
		return fmt.Errorf("%q is neither full nor code", v)
	}
	c.Explain = v == "full"
	return nil
}

func setLogLevel(c *Config, v string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, v) {
		return fmt.Errorf("%q is not debug, info, warn or error", v)
	}
	return c.LogLevel.UnmarshalText([]byte(v))
}

func setPort(c *Config, v string) error {
	port, err := strconv.Atoi(v)
	if err != nil || port < 1 || port > 65535 {
		return fmt.Errorf("%q is not a port", v)
	}
	c.Port = port
	return nil
}

func list(v string) []string {
	var out []string
	for part := range strings.SplitSeq(v, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func guid(v string) (string, error) {
	if strings.Trim(v, "0-") == "" && guidForm.MatchString(v) {
		return "", fmt.Errorf("%q is a placeholder, and not an application's ID", v)
	}
	if id := strings.ToLower(v); guidForm.MatchString(id) {
		return id, nil
	}
	if strings.Contains(v, "://") {
		return "", fmt.Errorf("%q is an App ID URI; tokens carry the application (client) ID, a GUID", v)
	}
	return "", fmt.Errorf("%q is not an application ID, which is a GUID", v)
}

func connectionParts(v string) map[string]string {
	parts := map[string]string{}
	for part := range strings.SplitSeq(v, ";") {
		if name, value, ok := strings.Cut(part, "="); ok {
			parts[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return parts
}

func (t *Trust) onLoopback() bool {
	return slices.ContainsFunc(t.Policies, func(p Policy) bool {
		u, err := url.Parse(p.MetadataURL)
		return err == nil && loopback(u.Hostname())
	})
}

func storageOnLoopback(c Config) bool {
	endpoint := c.TablesEndpoint
	if endpoint == "" {
		endpoint = connectionParts(c.TablesConnectionString)["TableEndpoint"]
	}
	u, err := url.Parse(endpoint)
	return err == nil && loopback(u.Hostname())
}

func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
