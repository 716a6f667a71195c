package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"itemsapi/handler/config"
)

// claims are those that decide whether the API admits the token.
type claims struct {
	Aud string `json:"aud"`
	Azp string `json:"azp"`
	Scp string `json:"scp"`
	Iss string `json:"iss"`
	Tfp string `json:"tfp"`
	Acr string `json:"acr"`
	Exp int64  `json:"exp"`
}

// decode reads a token's claims. It verifies nothing.
func decode(token string) (claims, error) {
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return c, errors.New("the access token is not a JSON Web Token")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil {
		return c, fmt.Errorf("read the access token: %w", err)
	}
	return c, nil
}

// report shows the claims next to what the API expects.
func report(out io.Writer, c config.Config, r request, issuer, token string, now time.Time) error {
	got, err := decode(token)
	if err != nil {
		return err
	}
	var missing []string
	for _, scope := range r.scopes {
		if short, ofAPI := strings.CutPrefix(scope, c.B2C.AppIDURI+"/"); ofAPI &&
			!slices.Contains(strings.Fields(got.Scp), short) {
			missing = append(missing, short)
		}
	}
	policy := got.Tfp
	if policy == "" {
		policy = got.Acr
	}
	var policies []string
	for _, p := range c.B2C.Policies {
		policies = append(policies, p.Name)
	}
	ends := time.Unix(got.Exp, 0).UTC()
	left := ends.Sub(now).Round(time.Second)
	when := fmt.Sprintf("%s, in %v", ends.Format(time.RFC3339), left)
	if left <= 0 {
		when = fmt.Sprintf("%s, %v ago", ends.Format(time.RFC3339), -left)
	}

	fmt.Fprintln(out, "The access token, whose signature is not looked at here, and what the API expects:")
	for _, line := range []struct {
		claim, value string
		ok           bool
		expected     string // in words
		otherwise    string // what to know if it is not so
	}{
		{"aud", got.Aud, got.Aud == c.B2C.APIClientID, "the API's ID", c.B2C.APIClientID},
		{
			"azp", got.Azp,
			len(c.B2C.AllowedClients) == 0 || slices.Contains(c.B2C.AllowedClients, strings.ToLower(got.Azp)),
			"a client that may call", strings.Join(c.B2C.AllowedClients, " or "),
		},
		{
			"scp", got.Scp, missing == nil, "all that was asked for", strings.Join(missing, ", ") +
				" was not granted, which B2C says nowhere else. Portal: App registrations > (the client) > API " +
				"permissions: add the scope and grant admin consent",
		},
		{
			"iss", got.Iss, got.Iss == issuer || slices.Contains(c.B2C.ExtraIssuers, got.Iss),
			"the issuer of the policy's metadata", issuer,
		},
		{
			"tfp", policy, slices.ContainsFunc(policies, func(name string) bool {
				return strings.EqualFold(name,
					policy)
			}),
			"a policy that is accepted", strings.Join(policies, " or "),
		},
		{"exp", when, left > 0, "a time still to come", "sign in again, and check this machine's clock"},
	} {
		if line.ok {
			fmt.Fprintf(out, "  ok  %s  %s  (%s)\n", line.claim, plain(line.value), line.expected)
		} else {
			fmt.Fprintf(out, "  NO  %s  %s\n           expected: %s: %s\n", line.claim, plain(line.value),
				line.expected, plain(line.otherwise))
		}
	}
	return nil
}
