// Package tenants has what the scripts say about the tenants that the settings name, in each
// family's own words. It asks nobody.
package tenants

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
)

// Tenant is one whose tokens are accepted.
type Tenant struct {
	config.Trust
	Family entra.Family
	Label  string       // what people call it
	Prefix string       // of its settings' names, B2C_
	Names  config.Names // of its settings
}

// Of are the tenants that are set: there is one at least where c was loaded without error.
func Of(c config.Config) []Tenant {
	all := []Tenant{
		{c.B2C, entra.FamilyB2C, "B2C tenant", "B2C_", config.B2CNames},
		{c.External, entra.FamilyExternalID, "external tenant", "EXTERNAL_", config.ExternalNames},
		{c.Entra, entra.FamilyWorkforce, "workforce tenant", "ENTRA_", config.EntraNames},
	}
	return slices.DeleteFunc(all, func(t Tenant) bool { return t.Tenant == "" })
}

// At is the tenant that signs in at an address, else the one that is nearest to it.
func At(c config.Config, address string) Tenant {
	all := Of(c)
	u, err := url.Parse(address)
	if err != nil {
		return all[0]
	}
	best, most := all[0], 0
	for _, t := range all {
		base, prefix := t.Base()
		n := 0
		if strings.EqualFold(u.Host, base.Host) {
			n = 1 + len(prefix) // the stand-in has several at one host
			if !strings.HasPrefix(strings.ToLower(u.Path), strings.ToLower(prefix)) {
				n = 1
			}
		} else if t.Family == entra.FamilyExternalID && strings.HasSuffix(strings.ToLower(u.Host), ".ciamlogin.com") {
			n = 1
		}
		if n > most {
			best, most = t, n
		}
	}
	return best
}

// Base is where the tenant's endpoints begin, https://contoso.b2clogin.com/contoso.onmicrosoft.com,
// and what of its path stands before the tenant, mostly "/". It is taken from the metadata's
// address, so that it is right in every cloud.
func (t Tenant) Base() (base url.URL, prefix string) {
	u, err := url.Parse(t.Policies[0].MetadataURL)
	if err != nil {
		return url.URL{}, "/"
	}
	base = url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}
	segments := strings.Split(u.Path, "/")
	behind := t.Policies[0].Name // what stands behind the tenant
	if behind == "" {
		behind = "v2.0"
	}
	directory := t.Tenant
	if !strings.Contains(directory, ".") && !IsGUID(directory) {
		directory += ".onmicrosoft.com"
	}
	prefix = "/"
	if i := slices.Index(segments, behind); i > 0 && (strings.Contains(segments[i-1], ".") || IsGUID(segments[i-1])) {
		directory = segments[i-1]
		prefix = strings.TrimSuffix(strings.Join(segments[:i-1], "/"), "tfp") + "/"
		prefix = strings.ReplaceAll(prefix, "//", "/")
	}
	base.Path = prefix + directory
	return base, prefix
}

// Directory is how the tenant stands in its addresses, contoso.onmicrosoft.com.
func (t Tenant) Directory() string {
	base, prefix := t.Base()
	return strings.TrimPrefix(base.Path, prefix)
}

// Scope is the configured short name of the scope that reading or writing needs.
func (t Tenant) Scope(need string) string {
	if need == "write" {
		return t.WriteScope
	}
	return t.ReadScope
}

// FullScope is the value that clients ask for.
func (t Tenant) FullScope(need string) string { return t.AppIDURI + "/" + t.Scope(need) }

// PolicyNames are those of a B2C tenant.
func (t Tenant) PolicyNames() (names []string) {
	for _, p := range t.Policies {
		if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// Alone are settings with this tenant and one of its policies alone.
func (t Tenant) Alone(p config.Policy) (c config.Config) {
	trust := t.Trust
	trust.Policies = []config.Policy{p}
	switch t.Family {
	case entra.FamilyB2C:
		c.B2C = trust
	case entra.FamilyExternalID:
		c.External = trust
	default:
		c.Entra = trust
	}
	return c
}

var (
	guid  = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	graph = regexp.MustCompile(`(?i)^(https://graph\.(microsoft\.com|windows\.net)/|` +
		`(user|mail|calendars|files|directory|group|people|contacts)\.(read|readwrite|send|readbasic)(\.|$))`)
)

// IsGUID reports whether s has the form of a GUID, in any case.
func IsGUID(s string) bool { return guid.MatchString(s) }

// IsGraphScope reports whether s is a scope of Microsoft Graph, by its name or in full.
func IsGraphScope(s string) bool { return graph.MatchString(s) }
