package entra

import "strings"

// Settings are the names that the operator of the API has for the parts of the
// configuration.
type Settings struct {
	Tenant, Policies, Audience, Clients, Host, ExtraIssuers, Scopes string
}

func (e *evidence) settings() Settings {
	return Settings{
		Tenant: "B2C_TENANT", Policies: "B2C_POLICIES", Audience: "B2C_API_CLIENT_ID", Clients: "B2C_ALLOWED_CLIENTS",
		Host: "B2C_HOST", ExtraIssuers: "B2C_EXTRA_ISSUERS", Scopes: "B2C_READ_SCOPE or B2C_WRITE_SCOPE",
	}
}

// named puts those settings that have a name into brackets, behind what they mean.
func named(settings ...string) string {
	var given []string
	for _, s := range settings {
		if s != "" {
			given = append(given, s)
		}
	}
	if given == nil {
		return ""
	}
	return " (" + strings.Join(given, ", ") + ")"
}
