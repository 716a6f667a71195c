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
	"itemsapi/scripts/doctor/paste"
	"itemsapi/scripts/doctor/sender"
	"itemsapi/scripts/internal/report"
	"itemsapi/scripts/internal/signin"
	"itemsapi/scripts/internal/tenants"
)

// explainPaste explains what -token got. It returns the token, if there is one
// that an API could be called with.
func (d *doctor) explainPaste(ctx context.Context, text, scope string) (token string) {
	p := paste.Recognise(text)
	for _, secret := range p.Secrets {
		d.Hide(secret)
	}
	for _, name := range p.Leaks {
		d.Fail("sign-in, "+name, "It stands in the URL, where the browser's history and every log keep it.",
			"Send it only in the body of a POST to the token endpoint, and treat this one as leaked.")
	}
	if p.Escaped {
		d.Warn("pasted", "It was copied out of HTML, where &amp; stands for &; it is read as if it were right.",
			"Copy it from the address bar. A page that sends the browser there must not escape it twice.")
	}
	switch p.Kind {
	case paste.Unknown:
		d.Fail("pasted", p.Trouble, p.Fix)
	case paste.Error:
		d.OK("pasted", "%s", p.What)
		d.explainErrors(p.Message)
	case paste.Answer:
		d.OK("pasted", "%s", p.What)
		d.explainAnswer(*p.Response)
	case paste.SignIn:
		d.OK("pasted", "%s; there is no token yet", p.What)
		if c, ok := d.settings(); ok {
			d.lintAuthorize(c, p.URL, scope)
		}
	case paste.TokenRequest:
		d.OK("pasted", "%s, which was not sent", p.What)
		if c, ok := d.settings(); ok {
			d.lintTokenRequest(c, p.URL, p.Form, scope)
		}
	case paste.Token, paste.IDToken:
		if p.Response != nil {
			d.explainAnswer(*p.Response)
		}
		return d.explainToken(ctx, p, scope)
	}
	return ""
}

// explainToken examines what was sent as a token, or is to be.
func (d *doctor) explainToken(ctx context.Context, p paste.Paste, scope string) (token string) {
	header := strings.Join(p.Authorization, ", ")
	if scheme, rest, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(rest)
	} else {
		token = header
	}
	what := p.What
	if token != "" && !p.InQuery {
		what += ": " + report.Short(token)
	}
	if p.Lines > 1 {
		what += fmt.Sprintf(", put together from %d lines", p.Lines)
	}
	d.OK("pasted", "%s", what)
	c, ok := d.settings()
	if p.Kind == paste.IDToken {
		full := "the API's scope"
		if ok {
			full = tenants.Of(c)[0].FullScope(scope)
		}
		d.Add(report.Check{
			Name: "token", Status: report.StatusFail, Code: idTokenCode,
			Detail: "There is an id_token and no access_token: the sign-in was asked who signs in, and for no API. " +
				"An ID token tells the client who the user is; it opens nothing.",
			Fix: "Add " + full + " to the scope parameter of the sign-in and of the token request, and " +
				"response_type=code or one that contains token. In the portal's Run now, choose the API under " +
				"Access tokens.",
		})
	}
	if !ok {
		d.Skip("token checks", "fix the settings first")
		return token
	}
	d.examine(ctx, c, p, token, scope)
	return token
}

const idTokenCode = "token.id_token"

// explainAnswer tells who gave an answer that was pasted, and shows what this API said.
func (d *doctor) explainAnswer(r paste.Response) {
	a := answer{status: r.Status, header: r.Header, body: r.Body}
	s := sender.Of(r.Status, r.Header, r.Body)
	found := signin.Find(r.Body + " " + r.Header.Get("WWW-Authenticate"))
	challenge := r.Header.Get("WWW-Authenticate")
	switch {
	case s.Ours && (s.Problem.Code != "" || r.Status/100 != 2):
		if s.Problem.Detail == "" && challenge != "" {
			s.Problem.Detail = "Its challenge is " + challenge + "."
		}
		d.problem("answer", a, s, "")
	case s.Ours:
		d.OK("answer", "%s by the API itself, a page of %d items", a.said(), s.Items)
	case found != nil:
		d.Fail("answer", strings.TrimSpace(a.said()+", and not by this API: "+s.Who), s.Fix)
		d.explainErrors(r.Body + " " + challenge)
	case r.Status/100 == 2:
		d.Warn("answer", a.said()+": "+s.Who, s.Fix)
	default:
		d.Fail("answer", strings.TrimSpace(a.said()+", and not by this API: "+s.Who), s.Fix)
	}
}

// examine tries all groups of the catalogue.
func (d *doctor) examine(ctx context.Context, c config.Config, p paste.Paste, token, scope string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var groups []entra.Check
	verifier, readings, err := startVerifier(ctx, c)
	if err == nil {
		groups, err = verifier.Examine(ctx, entra.Credentials{Authorization: p.Authorization, InQuery: p.InQuery},
			entra.Scope(scope))
	}
	if err != nil {
		d.Fail("token checks", err.Error()+".", "Check the settings: go run ./scripts/doctor.")
		return
	}
	said := claimsOf(token)
	t := tenants.At(c, said.Iss)
	verified, untimely := false, false
	for _, group := range groups {
		name := "token, " + group.Group.String()
		switch {
		case group.Skipped != "":
			d.Skip(name, group.Skipped)
		case len(group.Refusals) == 0:
			verified = verified || group.Group == entra.GroupKey
			detail := passed(group.Group, said, t.Scope(scope))
			if group.Group == entra.GroupRequest && !p.Bearer {
				detail = "one token; a call has the word Bearer before it"
			}
			if group.Group == entra.GroupCaller && !verified && len(t.AllowedClients) > 0 {
				detail += " (which is compared with " + t.Names.Clients + " once the signature is right)"
			}
			d.OK(name, "%s", detail)
		}
		for _, refusal := range group.Refusals {
			if refusal.Code == idTokenCode && p.Kind == paste.IDToken {
				continue // it was said
			}
			x := refusal.Explain()
			if refusal.Code == "auth.token_empty" && !p.Bearer && token != "" {
				x.Detail = "This is a placeholder that was not filled in, or what a program prints for a value that " +
					"it does not have (undefined, null, [object Promise])."
			}
			if refusal.Code == "sig.invalid" || refusal.Code == "token.malformed" {
				x.Detail += cutOff(token)
			}
			if p.Cut && group.Group == entra.GroupForm {
				x.Detail = "It begins as a token does and ends too early: it was cut. " + x.Detail
			}
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
		read := policyRead{Policy: c.First().Policies[0]}
		read.metadata, read.err = call(ctx, http.MethodGet, read.MetadataURL, nil)
		d.checkClock([]policyRead{read})
	}
}

// rs256Length is how many characters the signature of the shortest key that the API takes
// has: 2048 bits in base64url.
const rs256Length = 342

// cutOff says so where a token lacks its end.
func cutOff(token string) string {
	n := len(token) - strings.LastIndexByte(token, '.') - 1
	if strings.Count(token, ".") != 2 || n >= rs256Length {
		return ""
	}
	return fmt.Sprintf(" Its signature has %d characters, and those of RS256 have %d at least: the end of the token "+
		"was "+
		"cut off.", n, rs256Length)
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
func passed(group entra.Group, t claims, scope string) string {
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
