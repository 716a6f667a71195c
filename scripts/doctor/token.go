package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/scripts/internal/report"
)

// explainPaste explains what -token got. It returns the token, if there is one
// that an API could be called with.
func (d *doctor) explainPaste(ctx context.Context, text, scope string) (token string) {
	const name = "token"
	p := recognise(text)
	switch {
	case p.trouble != "":
		d.Fail(name, p.trouble, p.fix)
		return ""
	case p.signIn != "":
		d.OK(name, "there is none: this is %s", p.what)
		d.explainErrors(p.signIn)
		return ""
	case p.authorize != nil:
		d.OK(name, "there is none yet: this is %s", p.what)
		if c, ok := d.settings(); ok {
			d.lintAuthorize(c, p.authorize, scope)
		}
		return ""
	}

	header := strings.Join(p.credentials.Authorization, ", ")
	if scheme, rest, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(rest)
	} else {
		token = header
	}
	for _, value := range append(p.credentials.Authorization, token) {
		d.Hide(value)
	}
	c, ok := d.settings()
	switch {
	case p.idTokenOnly:
		full := "the API's scope"
		if ok {
			full = fullScope(c, scope)
		}
		d.Add(report.Check{
			Name: name, Status: report.StatusFail, Code: "token.id_token",
			Detail: "There is an id_token and no access_token: B2C was asked who signs in, and for no API. An ID " +
				"token tells the client who the user is; it opens nothing.",
			Fix: "Add " + full + " to the scope parameter of the sign-in and of the token request, and " +
				"response_type=code or one that contains token. In the portal's Run now, choose the API under " +
				"Access tokens.",
		})
	case token == "":
		d.OK(name, "%s", p.what)
	default:
		d.OK(name, "%s: %s", p.what, report.Short(token))
	}
	if !ok {
		d.Skip("token checks", "the settings are to be mended first")
		return token
	}
	d.examine(ctx, c, *p.credentials, token, scope)
	return token
}

func fullScope(c config.Config, scope string) string {
	return c.First().AppIDURI + "/" + scopeName(c, scope)
}

// scopeName is the configured name of the scope that reading or writing needs.
func scopeName(c config.Config, scope string) string {
	if scope == "write" {
		return c.First().WriteScope
	}
	return c.First().ReadScope
}

// examine tries all groups of the catalogue.
func (d *doctor) examine(ctx context.Context, c config.Config, credentials entra.Credentials, token, scope string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var groups []entra.Check
	verifier, readings, err := startVerifier(ctx, c, c.B2C.Policies)
	if err == nil {
		groups, err = verifier.Examine(ctx, credentials, entra.Scope(scope))
	}
	if err != nil {
		d.Fail("token checks", err.Error()+".", "Check the settings: go run ./scripts/doctor.")
		return
	}
	said := claimsOf(token)
	verified, untimely := false, false
	for _, group := range groups {
		name := "token, " + group.Group.String()
		switch {
		case group.Skipped != "":
			d.Skip(name, group.Skipped)
		case len(group.Refusals) == 0:
			verified = verified || group.Group == entra.GroupKey
			detail := passed(group.Group, c, said, scopeName(c, scope))
			if group.Group == entra.GroupCaller && !verified && len(c.B2C.AllowedClients) > 0 {
				detail += " (which is compared with B2C_ALLOWED_CLIENTS once the signature is right)"
			}
			d.OK(name, "%s", detail)
		}
		for _, refusal := range group.Refusals {
			x := refusal.Explain()
			untimely = untimely || group.Group == entra.GroupTime
			if refusal.Code == "keys.unavailable" {
				for _, name := range slices.Sorted(maps.Keys(readings)) {
					if r := readings[name]; r.err != "" {
						x.Detail += " " + name + ": " + r.err + "."
					}
				}
			}
			d.Add(
				report.Check{
					Name:     name,
					Status:   report.StatusFail,
					Code:     refusal.Code,
					Detail:   x.Detail,
					Expected: x.Expected,
					Actual:   x.Actual,
					Fix:      x.Fix,
				},
			)
		}
	}
	if untimely { // the clock that judged it may be the one that is wrong
		p := policyRead{Policy: c.First().Policies[0]}
		p.metadata, p.err = call(ctx, http.MethodGet, p.MetadataURL, nil)
		d.checkClock([]policyRead{p})
	}
}

// claims are those of a token's members that name no person.
type claims struct {
	Kid, Iss, Aud, Tfp, Acr, Azp, Scp string
	Roles                             []string
	Exp                               int64
}

// claimsOf reads a token that the catalogue has read strictly, to show what was
// right. It decides nothing.
func claimsOf(token string) (c claims) {
	for i, part := range strings.SplitN(token, ".", 3) {
		if b, err := base64.RawURLEncoding.DecodeString(part); err == nil && i < 2 {
			_ = json.Unmarshal(b, &c)
		}
	}
	return c
}

// passed says what was found where nothing is wrong.
func passed(group entra.Group, c config.Config, t claims, scope string) string {
	switch group {
	case entra.GroupRequest:
		return "one token, after the word Bearer"
	case entra.GroupForm:
		return "a JSON Web Token"
	case entra.GroupKind:
		return "neither an ID token nor somebody else's token"
	case entra.GroupHeader:
		return "RS256, kid " + report.Cut(t.Kid)
	case entra.GroupFamily:
		switch {
		case t.Tfp != "":
			return report.Cut(t.Tfp)
		case t.Acr != "":
			return report.Cut(t.Acr)
		}
		return "a tenant without policies"
	case entra.GroupKeys:
		return "the keys were read"
	case entra.GroupIssuer:
		return report.Cut(t.Iss)
	case entra.GroupKey:
		return "the signature is right"
	case entra.GroupAudience:
		return report.Cut(t.Aud) + ", this API"
	case entra.GroupTime:
		left := time.Until(time.Unix(t.Exp, 0)).Round(time.Second)
		if left <= 0 {
			return fmt.Sprintf("expired %v ago, within the tolerance for clocks", -left)
		}
		return fmt.Sprintf("valid for another %v", left)
	case entra.GroupCaller:
		if t.Azp == "" {
			return "a subject, with a client that is not named"
		}
		return "a subject, with the client " + report.Cut(t.Azp)
	case entra.GroupScope:
		if t.Scp == "" && t.Roles != nil { // a program of Entra's families
			return "has " + scope + " (roles: " + report.Cut(strings.Join(t.Roles, " ")) + ")"
		}
		return "has " + scope + " (scp: " + report.Cut(t.Scp) + ")"
	}
	return ""
}
