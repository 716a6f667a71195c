package entra

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// RetryAfter is when to try again after keys.unavailable.
const RetryAfter = 5 * time.Second

// Refusal says why a request is not admitted.
type Refusal struct {
	Code   string // one of [Codes]
	Status int    // of HTTP
	Title  string // the same for every refusal with that code
	// Verified says that the signature had been checked, so that the claims are
	// those that the sign-in signed.
	Verified bool
	// RetryAfter is how long to wait before trying again, or 0.
	RetryAfter time.Duration

	rule     *rule
	evidence *evidence
}

func newRefusal(r *rule, e *evidence) *Refusal {
	f := &Refusal{Code: r.code, Status: r.status, Title: r.title, Verified: e.verified, rule: r, evidence: e}
	if r.status == http.StatusServiceUnavailable {
		f.RetryAfter = RetryAfter
	}
	return f
}

// Error is the code.
func (r *Refusal) Error() string { return r.Code }

// Origin tells where a refused token came from: the family of its tenant, the policy of
// B2C as configured, and the application ID of the client (azp). All are empty unless
// Verified, as anybody can write claims. None names a person.
func (r *Refusal) Origin() (family Family, policy, client string) {
	if !r.Verified {
		return "", "", ""
	}
	e := r.evidence
	return e.entry.name, e.entry.policy, e.token.azp
}

// Challenge is the value of WWW-Authenticate (RFC 6750, section 3), or empty
// where the fault is not the caller's. It carries nothing of the token.
func (r *Refusal) Challenge() string {
	challenge := `Bearer realm="` + r.evidence.verifier.realm + `"`
	if r.rule.description == "" { // no credentials that could be wrong, or good ones of the wrong client
		if r.Status == http.StatusServiceUnavailable {
			return ""
		}
		return challenge
	}
	switch r.Status {
	case http.StatusBadRequest:
		challenge += `, error="invalid_request"`
	case http.StatusForbidden:
		challenge += `, error="insufficient_scope", scope="` + r.evidence.fullScope() + `"`
	default:
		challenge += `, error="invalid_token"`
	}
	return challenge + `, error_description="` + r.rule.description + `"`
}

// Explanation tells a person what was found, what should have been there, and
// how to fix it.
type Explanation struct {
	Detail   string
	Expected map[string]any // by claim or header member; nil if nothing compares
	Actual   map[string]any
	Fix      string
	Also     []string // what else is wrong with the same token, in the catalogue's order
}

// Explain builds the explanation from what Verify gathered. It fetches nothing,
// waits for nothing and checks no signature.
func (r *Refusal) Explain() Explanation {
	var x Explanation
	x.Detail, x.Fix = r.rule.explain(r.evidence)
	x.Expected = r.evidence.expected(r.rule.expected)
	x.Actual = r.evidence.actual(r.rule.actual)
	x.Also = r.also()
	return x
}

// also goes through the groups once more, from the rule that refused on.
func (r *Refusal) also() []string {
	if !r.evidence.readable() {
		return nil
	}
	e := *r.evidence
	if e.keys == nil {
		e.keys = e.home.keys.current(e.now)
	}
	var codes []string
	hidden := r.rule.hides
	passed := false
	for g, rules := range catalogue {
		for i := range rules {
			next := &rules[i]
			switch {
			case !passed:
				passed = next == r.rule
			case Group(g) == GroupKeys, Group(g) == GroupKey, slices.Contains(hidden, Group(g)), next.code == r.Code:
			case !slices.Contains(codes, next.code) && next.applies(&e):
				codes = append(codes, next.code)
				hidden = append(slices.Clip(hidden), next.hides...)
			}
		}
	}
	return codes
}

// Codes are the codes of all refusals, in the order in which they are tried.
func Codes() []string {
	var codes []string
	for _, rules := range catalogue {
		for _, r := range rules {
			if !slices.Contains(codes, r.code) {
				codes = append(codes, r.code)
			}
		}
	}
	return codes
}

// expected is what this API wants to see in the named places.
func (e *evidence) expected(claims []claim) map[string]any {
	m := map[string]any{}
	for _, name := range claims {
		switch name {
		case claimAlg:
			m["alg"] = "RS256"
		case claimAud:
			m["aud"] = e.trusted().audience
		case claimScp:
			m["scp"] = strings.Join(e.scopes(), " ")
		case claimRoles:
			m["roles"] = strings.Join(e.scopes(), " ")
		case claimTfp:
			m["tfp"] = strings.Join(e.verifier.policies(), ", ")
		case claimIss:
			if keys := e.trusted().keys.current(e.now); keys != nil {
				m["iss"] = keys.issuer
			}
		case claimTid:
			m["tid"] = issuerGUID(e.token.iss)
		}
	}
	return orNil(m)
}

// actual is what the token says in the named places, as far as it says anything.
func (e *evidence) actual(claims []claim) map[string]any {
	m := map[string]any{}
	for _, name := range claims {
		if value := e.token.says(name); value != nil {
			m[string(name)] = value
		}
	}
	return orNil(m)
}

// says is the value of a claim in an answer, or nil.
func (t *token) says(name claim) any {
	var text string
	var at seconds
	switch name {
	case claimAlg:
		text = t.alg
	case claimKid:
		text = t.kid
	case claimTyp:
		text = t.typ
	case claimIss:
		text = t.iss
	case claimAud:
		text = t.aud
	case claimAzp:
		text = t.azp
	case claimAppid:
		text = t.appid
	case claimTid:
		text = t.tid
	case claimIdtyp:
		text = t.idtyp
	case claimTfp:
		text = t.tfp
	case claimAcr:
		text = t.acr
	case claimScp:
		text = t.scp
	case claimRoles:
		text = strings.Join(t.roles, " ")
	case claimVer:
		text = t.ver
	case claimExp:
		at = t.exp
	case claimNbf:
		at = t.nbf
	case claimIat:
		at = t.iat
	}
	switch {
	case text != "":
		return cut(text)
	case at.valid:
		return at.at
	}
	return nil
}

func orNil(m map[string]any) map[string]any {
	if len(m) == 0 {
		return nil
	}
	return m
}

// mostShown is how many characters of a claim are shown, at most.
const mostShown = 200

// cut shortens what a stranger wrote, and takes out what could break a line of a
// log or turn the direction of a text.
func cut(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if n++; n == mostShown {
			b.WriteRune('…')
			break
		}
		if !unicode.IsPrint(r) {
			r = unicode.ReplacementChar
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shown is cut for use in a sentence.
func shown(s string) string {
	if s == "" {
		return "absent"
	}
	return cut(s)
}

func instant(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// span spells a number of seconds for people.
func span(seconds int64) string {
	days := seconds / 86400
	if days >= 2 {
		return strconv.FormatInt(days, 10) + " days"
	}
	return fmt.Sprint(time.Duration(seconds) * time.Second)
}
