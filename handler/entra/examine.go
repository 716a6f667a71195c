package entra

import (
	"context"
	"slices"
	"strings"
)

// Check is one group of the catalogue, as [Verifier.Examine] found it.
type Check struct {
	// Group is request, form, kind, header, policy, keys, issuer, key, audience,
	// time, caller or scope.
	Group string
	// Refusals are the ways in which the credentials fail the group. None means
	// that they pass it, unless it was skipped.
	Refusals []*Refusal
	// Skipped says why the group could not be looked at, or is empty.
	Skipped string
}

// Examine tries all groups of the catalogue where Verify stops at the first
// refusal. It is for people who look into one token; it admits nobody.
func (v *Verifier) Examine(ctx context.Context, c Credentials, scope string) []Check {
	e := &evidence{verifier: v, scope: scope, now: v.now()}
	var checks []Check
	var hidden []string
	for i := range catalogue {
		g := &catalogue[i]
		check := Check{Group: g.name, Skipped: e.cannot(g.name)}
		if check.Skipped == "" {
			if g.gather != nil {
				g.gather(ctx, e, c)
			}
			for j := range g.rules {
				r := &g.rules[j]
				hides := slices.ContainsFunc(hidden, func(prefix string) bool { return strings.HasPrefix(r.code, prefix) })
				if !hides && r.applies(e) {
					snapshot := *e
					check.Refusals = append(check.Refusals, newRefusal(r, &snapshot))
					hidden = append(hidden, r.hides...)
				}
			}
		}
		checks = append(checks, check)
	}
	return checks
}

// cannot says why a group cannot be looked at with what is known.
func (e *evidence) cannot(group string) string {
	switch group {
	case "request":
		return ""
	case "form":
		if e.raw == "" || e.shape != "" {
			return "there is no token"
		}
		return ""
	}
	switch {
	case e.token.signed == "" || e.shape != "":
		return "the token cannot be read"
	case e.trust == nil && (group == "keys" || group == "issuer" || group == "key"):
		return "the token names no policy that is accepted"
	case e.keys == nil && (group == "issuer" || group == "key"):
		return "the policy's keys could not be read"
	case group == "key" && e.keyError != nil && e.keyError != errUnknownKey:
		return "the key is not known, and the keys could not be read anew"
	}
	return ""
}
