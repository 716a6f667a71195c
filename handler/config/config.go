// Package config reads the settings. [Settings] is the one list of them, with
// name, default, example and check; [Load] reads them once and reports every
// problem at once. Nothing else in the program reads the environment.
//
// It knows what a right value looks like, not whether a tenant or a storage
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
)

// Config holds the settings, checked and with defaults filled in.
type Config struct {
	Port           int        // FUNCTIONS_CUSTOMHANDLER_PORT
	Tenant         string     // B2C_TENANT, lower case
	Host           string     // B2C_HOST
	Policies       []Policy   // B2C_POLICIES with B2C_METADATA_URL filled in
	MetadataURL    string     // B2C_METADATA_URL, the template
	APIClientID    string     // B2C_API_CLIENT_ID, lower case
	AppIDURI       string     // B2C_APP_ID_URI, without a slash at its end
	ReadScope      string     // B2C_READ_SCOPE, the short name
	WriteScope     string     // B2C_WRITE_SCOPE, the short name
	AllowedClients []string   // B2C_ALLOWED_CLIENTS, lower case; empty means any
	ExtraIssuers   []string   // B2C_EXTRA_ISSUERS
	Explain        bool       // AUTH_EXPLAIN is "full"
	LogLevel       slog.Level // LOG_LEVEL

	TablesEndpoint         string // TABLES_ENDPOINT, or empty
	TablesConnectionString string // TABLES_CONNECTION_STRING, or empty; UseDevelopmentStorage=true is spelled out
	IdentityClientID       string // AZURE_CLIENT_ID, or empty
	Table                  string // ITEMS_TABLE
}

// Names are the settings behind a tenant whose tokens are accepted, for messages that
// tell where to look. Scopes has them by what the API calls a scope.
type Names struct {
	Tenant, Policies, Audience, Clients, Host, ExtraIssuers string
	Scopes                                                  map[string]string
}

// B2CNames names the settings of the B2C tenant.
var B2CNames = Names{
	Tenant: "B2C_TENANT", Policies: "B2C_POLICIES", Audience: "B2C_API_CLIENT_ID", Clients: "B2C_ALLOWED_CLIENTS",
	Host: "B2C_HOST", ExtraIssuers: "B2C_EXTRA_ISSUERS",
	Scopes: map[string]string{"read": "B2C_READ_SCOPE", "write": "B2C_WRITE_SCOPE"},
}

// Policy is a user flow or custom policy whose tokens are accepted.
type Policy struct {
	Name        string // as set, B2C_1_signupsignin
	MetadataURL string // where its OpenID Connect metadata are
}

// SignInURL is where the policy's authorize and token endpoints are, as B2C
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
	Required bool
	Default  string // in the words of the documentation; empty means none
	Example  string // a right value
	Meaning  string // one line for people

	set func(c *Config, value string) error // never sees an empty value
}

// Settings are all settings, in the order in which they are documented.
var Settings = []Setting{
	{"B2C_TENANT", true, "", "contoso", "name of the tenant: contoso means the domain contoso.onmicrosoft.com and the host contoso.b2clogin.com", setTenant},
	{"B2C_POLICIES", true, "", "B2C_1_signupsignin,B2C_1_profileedit", "comma list of the user flows and custom policies whose tokens are accepted", setPolicies},
	{"B2C_API_CLIENT_ID", true, "", "ecfb57af-c76a-49a0-b48f-37311846956f", "application ID of the API: the one audience accepted", setAPIClientID},
	{"B2C_APP_ID_URI", false, "https://{tenant}.onmicrosoft.com/{api client id}", "https://contoso.onmicrosoft.com/b2capi", "prefix of the full scope values shown in answers", setAppIDURI},
	{"B2C_READ_SCOPE", false, "read", "read", "short name of the scope that reading needs", setScope(func(c *Config) *string { return &c.ReadScope })},
	{"B2C_WRITE_SCOPE", false, "write", "write", "short name of the scope that writing needs", setScope(func(c *Config) *string { return &c.WriteScope })},
	{"B2C_ALLOWED_CLIENTS", false, "any", "47840c35-e986-468b-8d2c-e25aa02d3d08", "comma list of the client application IDs that may call", setAllowedClients},
	{"B2C_HOST", false, "{tenant}.b2clogin.com", "login.contoso.com", "host of the tenant's endpoints, for a custom domain", setHost},
	{"B2C_EXTRA_ISSUERS", false, "none", "https://contoso.b2clogin.com/775527ff-9a37-4307-8b3d-cc311f58d925/v2.0/", "comma list of exact issuers accepted besides each policy's own, of the same tenant", setExtraIssuers},
	{"B2C_METADATA_URL", false, "https://{host}/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration", "http://localhost:9911/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration", "template of the metadata URL; http only to loopback, and then only with storage on loopback too", setMetadataURL},
	{"TABLES_ENDPOINT", false, "", "https://contosoitems.table.core.windows.net", "Table service reached by managed identity; this or TABLES_CONNECTION_STRING", setTablesEndpoint},
	{"TABLES_CONNECTION_STRING", false, "", "UseDevelopmentStorage=true", "Table service for local use; this or TABLES_ENDPOINT", setTablesConnectionString},
	{"AZURE_CLIENT_ID", false, "the system-assigned identity", "3a4b5c6d-0000-4000-8000-1234567890ab", "client ID of the user-assigned identity that reaches TABLES_ENDPOINT", setIdentityClientID},
	{"ITEMS_TABLE", false, Collection, Collection, "name of the table", setTable},
	{"AUTH_EXPLAIN", false, "full", "code", "full: a refusal carries expected, actual and fix; code: the code alone", setExplain},
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

// Load reads the settings through getenv, os.Getenv for one. An empty value
// counts as not set. The error is an [*Error].
func Load(getenv func(string) string) (Config, error) {
	c := Config{
		ReadScope: "read", WriteScope: "write", Table: Collection, Explain: true,
		MetadataURL: "https://{host}/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration",
	}
	var problems []string
	for _, s := range Settings {
		value := strings.TrimSpace(getenv(s.Name))
		switch {
		case value != "":
			if err := s.set(&c, value); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v. Example: %s=%s", s.Name, err, s.Name, s.Example))
			}
		case s.Required:
			problems = append(problems, fmt.Sprintf("%s is not set: %s. Example: %s=%s", s.Name, s.Meaning, s.Name, s.Example))
		}
	}

	endpoint, connection := strings.TrimSpace(getenv("TABLES_ENDPOINT")) != "", strings.TrimSpace(getenv("TABLES_CONNECTION_STRING")) != ""
	switch {
	case endpoint && connection:
		problems = append(problems, "TABLES_ENDPOINT and TABLES_CONNECTION_STRING are both set: keep the first in Azure, the second locally")
	case !endpoint && !connection:
		problems = append(problems, "TABLES_ENDPOINT or TABLES_CONNECTION_STRING must be set. Example: TABLES_ENDPOINT=https://contosoitems.table.core.windows.net in Azure, TABLES_CONNECTION_STRING=UseDevelopmentStorage=true locally")
	}
	if c.Host == "" {
		c.Host = c.Tenant + ".b2clogin.com"
	}
	stored := c.TablesEndpoint != "" || c.TablesConnectionString != ""
	if metadataOnLoopback(c) && stored && !storageOnLoopback(c) {
		problems = append(problems, "B2C_METADATA_URL points to this machine but the storage does not: whoever runs a sign-in stand-in can mint tokens for everybody, so it works with local storage only. Unset B2C_METADATA_URL, or set TABLES_CONNECTION_STRING=UseDevelopmentStorage=true")
	}
	if problems != nil {
		return Config{}, &Error{Problems: problems}
	}

	if c.AppIDURI == "" {
		c.AppIDURI = "https://" + c.Tenant + ".onmicrosoft.com/" + c.APIClientID
	}
	for i, p := range c.Policies {
		c.Policies[i].MetadataURL = strings.NewReplacer("{host}", c.Host, "{tenant}", c.Tenant, "{policy}", p.Name).Replace(c.MetadataURL)
	}
	return c, nil
}

var (
	tenantRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	policyRE = regexp.MustCompile(`(?i)^b2c_1a?_[0-9a-z._-]+$`)
	guidRE   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	scopeRE  = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)
	hostRE   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)
	tableRE  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)
	accounts = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

func setTenant(c *Config, v string) error {
	v = strings.ToLower(v)
	if name, ok := strings.CutSuffix(v, ".onmicrosoft.com"); ok {
		return fmt.Errorf("wants the name alone, %q", name)
	}
	if !tenantRE.MatchString(v) {
		return fmt.Errorf("%q is no tenant name (letters, digits and dashes)", v)
	}
	c.Tenant = v
	return nil
}

func setPolicies(c *Config, v string) error {
	seen := map[string]bool{}
	for _, name := range list(v) {
		if !policyRE.MatchString(name) {
			return fmt.Errorf("%q is no name of a user flow or custom policy, which starts with B2C_1_ or B2C_1A_", name)
		}
		if seen[strings.ToLower(name)] {
			return fmt.Errorf("%q is there twice", name)
		}
		seen[strings.ToLower(name)] = true
		c.Policies = append(c.Policies, Policy{Name: name})
	}
	if c.Policies == nil {
		return errors.New("names no policy")
	}
	return nil
}

func setAPIClientID(c *Config, v string) (err error) {
	c.APIClientID, err = guid(v)
	return err
}

func setIdentityClientID(c *Config, v string) (err error) {
	c.IdentityClientID, err = guid(v)
	return err
}

func setAllowedClients(c *Config, v string) error {
	for _, client := range list(v) {
		id, err := guid(client)
		if err != nil {
			return err
		}
		c.AllowedClients = append(c.AllowedClients, id)
	}
	if c.AllowedClients == nil {
		return errors.New("names no client; leave it empty to admit any")
	}
	return nil
}

func setAppIDURI(c *Config, v string) error {
	u, err := url.Parse(v)
	if err != nil || (u.Scheme != "https" && u.Scheme != "api") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is no App ID URI, which starts with https:// or api://", v)
	}
	c.AppIDURI = strings.TrimRight(v, "/")
	return nil
}

func setScope(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if i := strings.LastIndexByte(v, '/'); i >= 0 {
			return fmt.Errorf("%q is a full scope value, but tokens carry the short name, %q", v, v[i+1:])
		}
		if !scopeRE.MatchString(v) {
			return fmt.Errorf("%q is no scope name", v)
		}
		*field(c) = v
		return nil
	}
}

func setHost(c *Config, v string) error {
	if !hostRE.MatchString(v) {
		return fmt.Errorf("%q is no host name (no scheme, no path)", v)
	}
	c.Host = strings.ToLower(v)
	return nil
}

func setExtraIssuers(c *Config, v string) error {
	for _, issuer := range list(v) {
		u, err := url.Parse(issuer)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return fmt.Errorf("%q is no issuer, which is an https URL", issuer)
		}
		c.ExtraIssuers = append(c.ExtraIssuers, issuer)
	}
	return nil
}

func setMetadataURL(c *Config, v string) error {
	if !strings.Contains(v, "{policy}") {
		return errors.New("must contain {policy}, as each policy has its own metadata")
	}
	filled := strings.NewReplacer("{host}", "example.com", "{tenant}", "tenant", "{policy}", "policy").Replace(v)
	if strings.ContainsAny(filled, "{}") {
		return errors.New("knows {host}, {tenant} and {policy} only")
	}
	u, err := url.Parse(filled)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf("%q is no URL", v)
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return errors.New("must start with https://, or with http:// to localhost or a loopback address")
	}
	c.MetadataURL = v
	return nil
}

func setTablesEndpoint(c *Config, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("must be the https URL of a Table service, without path and query")
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
	case !accounts.MatchString(parts["AccountName"]):
		return errors.New("its AccountName is no name of a storage account (3 to 24 lower-case letters and digits)")
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
	if !tableRE.MatchString(v) {
		return fmt.Errorf("%q is no table name: a letter, then 2 to 62 letters and digits", v)
	}
	c.Table = v
	return nil
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
		return fmt.Errorf("%q is none of debug, info, warn, error", v)
	}
	return c.LogLevel.UnmarshalText([]byte(v))
}

func setPort(c *Config, v string) error {
	port, err := strconv.Atoi(v)
	if err != nil || port < 1 || port > 65535 {
		return fmt.Errorf("%q is no port", v)
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
	if id := strings.ToLower(v); guidRE.MatchString(id) {
		return id, nil
	}
	if strings.Contains(v, "://") {
		return "", fmt.Errorf("%q is an App ID URI; B2C puts the application (client) ID, a GUID, into tokens", v)
	}
	return "", fmt.Errorf("%q is no application ID, which is a GUID", v)
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

func metadataOnLoopback(c Config) bool {
	u, err := url.Parse(strings.NewReplacer("{host}", c.Host, "{tenant}", c.Tenant, "{policy}", "p").Replace(c.MetadataURL))
	return err == nil && loopback(u.Hostname())
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
