// Package tokenpage shows the tokens that a sign-in brought beside what the API expects of
// them, claim by claim: for a terminal as rows, for a browser as a page. It verifies no
// signature and asks nobody; scripts/doctor does.
package tokenpage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/scripts/internal/tenants"
)

// Row is a claim beside what the API expects.
type Row struct {
	Claim, Value string
	OK           bool
	Expected     string // in words
	Otherwise    string // what to know, and to do, where it is not OK
}

// claims are those that decide whether the API admits a token.
type claims struct {
	Aud string `json:"aud"`
	Azp string `json:"azp"`
	Scp string `json:"scp"`
	Iss string `json:"iss"`
	Tfp string `json:"tfp"`
	Acr string `json:"acr"`
	Tid string `json:"tid"`
	Oid string `json:"oid"`
	Sub string `json:"sub"`
	Exp int64  `json:"exp"`
}

// parts are a token's header and payload.
func parts(token string) (header, payload []byte, err error) {
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		return nil, nil, errors.New("the token is not a JSON Web Token")
	}
	if header, err = base64.RawURLEncoding.DecodeString(segments[0]); err == nil {
		payload, err = base64.RawURLEncoding.DecodeString(segments[1])
	}
	if err == nil && (!json.Valid(header) || !json.Valid(payload)) {
		err = errors.New("it is not JSON")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the token: %w", err)
	}
	return header, payload, nil
}

// Compare puts an access token's claims beside what the API expects of the tenant's tokens.
// issuer is that of the metadata, asked are the full scope values that were asked for. The
// error says that it is no token.
func Compare(t tenants.Tenant, issuer string, asked []string, token string, now time.Time) ([]Row, error) {
	_, payload, err := parts(token)
	if err != nil {
		return nil, err
	}
	var got claims
	if err := json.Unmarshal(payload, &got); err != nil {
		return nil, fmt.Errorf("read the token: %w", err)
	}
	var missing []string
	for _, scope := range asked {
		if short, ofAPI := strings.CutPrefix(scope, t.AppIDURI+"/"); ofAPI &&
			!slices.Contains(strings.Fields(got.Scp), short) {
			missing = append(missing, short)
		}
	}
	const portal = "Portal: App registrations > "
	rows := []Row{
		{
			"aud", got.Aud, got.Aud == t.APIClientID, "the API's ID",
			t.APIClientID + ". Ask for the API's scope, " + t.FullScope("read") + ".",
		},
		{
			"azp", got.Azp,
			len(t.AllowedClients) == 0 || slices.Contains(t.AllowedClients, strings.ToLower(got.Azp)),
			"a client that may call",
			strings.Join(t.AllowedClients, " or ") + " (" + t.Names.Clients + ").",
		},
		{
			"scp", got.Scp, missing == nil && got.Scp != "", "all that was asked for",
			strings.Join(missing, ", ") + " was not granted, which the sign-in says nowhere else. " + portal +
				"(the client) > API permissions: add the scope and grant admin consent.",
		},
		{
			"iss", got.Iss, got.Iss == issuer || slices.Contains(t.ExtraIssuers, got.Iss), "the issuer of the metadata",
			issuer + ".",
		},
	}
	if t.Family == entra.FamilyB2C {
		claim, policy := "tfp", got.Tfp
		if policy == "" && got.Acr != "" {
			claim, policy = "acr", got.Acr
		}
		rows = append(rows, Row{
			claim, policy,
			slices.ContainsFunc(t.PolicyNames(), func(name string) bool { return strings.EqualFold(name, policy) }),
			"a policy that is accepted", strings.Join(t.PolicyNames(), " or ") + " (B2C_POLICIES).",
		})
	} else {
		rows = append(rows, Row{
			"tid", got.Tid, got.Tid == "" || strings.Contains(got.Iss, "/"+got.Tid+"/"), "the tenant of iss",
			"the token was not issued so.",
		}, Row{
			"oid", got.Oid, tenants.IsGUID(got.Oid), "whose items are meant",
			"a GUID. Ask for openid and profile, too.",
		})
	}
	ends := time.Unix(got.Exp, 0).UTC()
	left := ends.Sub(now).Round(time.Second)
	when := fmt.Sprintf("%s, in %v", ends.Format(time.RFC3339), left)
	if left <= 0 {
		when = fmt.Sprintf("%s, %v ago", ends.Format(time.RFC3339), -left)
	}
	return append(rows, Row{
		"exp", when, left > 0, "a time still to come", "sign in again, and check this machine's clock.",
	}), nil
}

// TenantOf is the tenant that a token seems to be of: by its policy, its audience, or its
// client, else the first.
func TenantOf(c config.Config, token string) tenants.Tenant {
	all := tenants.Of(c)
	_, payload, err := parts(token)
	var got claims
	if err != nil || json.Unmarshal(payload, &got) != nil {
		return all[0]
	}
	for _, is := range []func(t tenants.Tenant) bool{
		func(t tenants.Tenant) bool { return t.Family == entra.FamilyB2C && got.Tfp != "" },
		func(t tenants.Tenant) bool { return got.Aud == t.APIClientID },
		func(t tenants.Tenant) bool { return slices.Contains(t.AllowedClients, got.Azp) },
	} {
		if i := slices.IndexFunc(all, is); i >= 0 {
			return all[i]
		}
	}
	return all[0]
}

// indented is JSON for people.
func indented(text []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return string(text)
	}
	return b.String()
}
