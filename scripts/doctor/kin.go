package main

import (
	"net/url"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
)

// kin is one of the tenants whose tokens are accepted, with its family's words.
type kin struct {
	family entra.Family
	label  string // what people call the tenant
	prefix string // of its settings' names
	names  config.Names
	trust  config.Trust
}

// kinsOf are the tenants that are set.
func kinsOf(c config.Config) (kins []kin) {
	for _, k := range []kin{
		{entra.FamilyB2C, "B2C tenant", "B2C_", config.B2CNames, c.B2C},
		{entra.FamilyExternalID, "external tenant", "EXTERNAL_", config.ExternalNames, c.External},
		{entra.FamilyWorkforce, "workforce tenant", "ENTRA_", config.EntraNames, c.Entra},
	} {
		if k.trust.Tenant != "" {
			kins = append(kins, k)
		}
	}
	return kins
}

// kinAt is the tenant that signs in at a host, else the one that is nearest to it.
func kinAt(c config.Config, host string) kin {
	kins := kinsOf(c)
	for _, k := range kins {
		if u, err := url.Parse(k.trust.Policies[0].MetadataURL); err == nil && strings.EqualFold(u.Host, host) {
			return k
		}
	}
	for _, k := range kins {
		if k.family == entra.FamilyExternalID && strings.HasSuffix(strings.ToLower(host), ".ciamlogin.com") {
			return k
		}
	}
	return kins[0]
}

// directory is how the tenant stands in its URLs.
func (k kin) directory() string {
	if u, err := url.Parse(k.trust.Policies[0].MetadataURL); err == nil {
		path := strings.TrimPrefix(strings.Trim(u.Path, "/"), "tfp/")
		if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") || guid.MatchString(first) {
			return first
		}
	}
	if strings.Contains(k.trust.Tenant, ".") || guid.MatchString(k.trust.Tenant) {
		return k.trust.Tenant
	}
	return k.trust.Tenant + ".onmicrosoft.com"
}

// scope is the configured name of the scope that reading or writing needs.
func (k kin) scope(need string) string {
	if need == "write" {
		return k.trust.WriteScope
	}
	return k.trust.ReadScope
}

// alone are settings with this tenant and one of its policies alone.
func (k kin) alone(p config.Policy) (c config.Config) {
	trust := k.trust
	trust.Policies = []config.Policy{p}
	switch k.family {
	case entra.FamilyB2C:
		c.B2C = trust
	case entra.FamilyExternalID:
		c.External = trust
	default:
		c.Entra = trust
	}
	return c
}
