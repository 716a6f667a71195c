package entra

import (
	"fmt"
	"net/http"
	"strings"
)

var policyRules = []rule{
	{
		code: "policy.not_allowed", status: http.StatusUnauthorized, title: "Tokens of this policy are not accepted",
		description: "The token was issued by a policy that is not accepted", hides: []Group{GroupIssuer},
		applies: func(e *evidence) bool { return !e.agree || e.policy != "" && e.entry == nil },
		explain: func(e *evidence) (string, string) {
			if !e.agree {
				return "The token names several policies in tfp, acr and iss.",
					"Send the token that B2C issued, unaltered. A custom policy that writes acr itself must write its own " +
						"name."
			}
			name := strings.TrimSpace(e.policy)
			for range e.verifier.entriesFor(name) {
				return fmt.Sprintf("The token names the policy %q, with a space; this API accepts %q.", shown(e.policy), name),
					"Fix whatever issues this token: it must write the policy's name without spaces, as B2C itself does."
			}
			return fmt.Sprintf("The token says it was issued by the policy %s; this API accepts %s.",
					shown(e.policy), strings.Join(e.verifier.policies(), ", ")),
				"Sign in with one of the accepted policies. The operator of the API chose them deliberately: a policy for " +
					"password reset or for a test should not open it."
		},
		expected: []claim{claimTfp}, actual: []claim{claimTfp, claimAcr},
	},
	{
		code: "policy.missing", status: http.StatusUnauthorized, title: "The token names no policy",
		description: "The token names no policy", hides: []Group{GroupIssuer},
		applies: func(e *evidence) bool { return e.policy == "" },
		explain: func(*evidence) (string, string) {
			return "Neither tfp nor acr names a policy, so nothing says which policy issued the token and whose keys would " +
					"verify it.",
				"Have the policy put its name into the token. Portal: Azure AD B2C > User flows > (the policy) > " +
					"Properties > Token compatibility settings: the claim representing the policy ID is tfp. In a custom " +
					"policy, let the relying party put out trustFrameworkPolicy as tfp."
		},
		expected: []claim{claimTfp}, actual: []claim{claimIss},
	},
}

var keysRules = []rule{
	{
		code: "keys.unavailable", status: http.StatusServiceUnavailable, title: "The token cannot be checked right now",
		applies: func(e *evidence) bool { return e.keyError != nil && e.keyError != errUnknownKey },
		explain: func(e *evidence) (string, string) {
			s := e.trusted().settings
			return fmt.Sprintf("The keys of the policy %s could not be read from B2C. The token may be valid.", e.entry.policy),
				"Keep the token and try again. For the operator of the API: the log has the cause; check tenant, policies " +
					"and host" + named(s.Tenant, s.Policies, s.Host) + ", and that this machine reaches the metadata URL."
		},
	},
}

// issuerFault is in what way iss differs from the issuer of the policy's metadata.
type issuerFault int

const (
	rightIssuer issuerFault = iota
	slashOrCase
	otherForm
	oldHost
	otherHost
	otherTenant
	unknownIssuer
)

// legacyHost is where B2C signed people in before each tenant had a host of its own,
// and where Entra ID does.
const legacyHost = "login.microsoftonline.com"

func (e *evidence) issuerFault() issuerFault {
	if e.keys == nil || e.keys.accepts(e.token.iss) {
		return rightIssuer
	}
	plain := func(iss string) string { return strings.ToLower(strings.Trim(iss, " \t\r\n/")) }
	got, want := e.token.issuer, splitIssuer(e.keys.issuer)
	switch {
	case plain(e.token.iss) == plain(e.keys.issuer):
		return slashOrCase
	case got.tenant == "":
		return unknownIssuer
	case got.tenant != want.tenant:
		return otherTenant
	case got.host == want.host:
		if got.version && (got.policy == "") != (want.policy == "") {
			return otherForm
		}
		return unknownIssuer
	case got.host == legacyHost:
		return oldHost
	default:
		return otherHost
	}
}

// issuerRule is what all rules about iss have in common.
func issuerRule(code, title string, fault issuerFault, explain func(*evidence) (detail, fix string)) rule {
	return rule{
		code: code, status: http.StatusUnauthorized, title: title,
		description: "The issuer is not the accepted one", hides: []Group{GroupIssuer},
		applies: func(e *evidence) bool { return e.issuerFault() == fault }, explain: explain,
		expected: []claim{claimIss}, actual: []claim{claimIss},
	}
}

var issuerRules = []rule{
	issuerRule("iss.slash_or_case", "The issuer differs only in a slash or in case", slashOrCase,
		func(*evidence) (string, string) {
			return "iss differs from the policy's issuer only in a slash, a space or in case. Issuers are compared byte by " +
					"byte.",
				"Fix whatever issues this token: it must copy the issuer from the policy's metadata exactly, including the " +
					"slash at the end, as B2C itself does."
		}),
	issuerRule("iss.form", "The issuer has the other form", otherForm,
		func(*evidence) (string, string) {
			return "B2C spells issuers with the policy (/tfp/) or without. The token has one form, the policy's metadata " +
					"the other.",
				"Get a new token: the setting was changed after this one was issued. Portal: Azure AD B2C > User flows > " +
					"(the policy) > Properties > Token compatibility settings > Issuer (iss) claim."
		}),
	issuerRule("iss.legacy_host", "The token was issued at B2C's old host", oldHost,
		func(e *evidence) (string, string) {
			host := splitIssuer(e.keys.issuer).host
			return "The client signs in at " + legacyHost + "; the API's host is " + host + ".",
				"Use https://" + host + " in the client's authority. While clients move, the operator of the API can accept " +
					"this tenant's old issuer, https://" + legacyHost + "/" + e.keys.tenant + "/v2.0/, as an extra one" +
					named(e.trusted().settings.ExtraIssuers) + "."
		}),
	issuerRule("iss.other_host", "The token was issued at another host of the tenant", otherHost,
		func(e *evidence) (string, string) {
			host, s := splitIssuer(e.keys.issuer).host, e.trusted().settings
			return "The tenant is the right one, but the client signs in at another host than the API's, " + host + ".",
				"Use https://" + host + " in the client's authority. Where clients move to a custom domain of yours, take " +
					"the issuer from that domain's metadata, not from a token, for the API's host and its extra issuers" +
					named(s.Host, s.ExtraIssuers) + "."
		}),
	issuerRule("iss.other_tenant", "The token is from another tenant", otherTenant,
		func(e *evidence) (string, string) {
			return "iss names another directory than " + e.keys.tenant + ". Tenants can share signing keys, so only the " +
					"issuer tells them apart.",
				"Sign in at the tenant that this API belongs to; test and production are often confused here."
		}),
	issuerRule("iss.unknown", "The issuer is unknown", unknownIssuer,
		func(*evidence) (string, string) {
			return "iss is not the policy's issuer, nor anything like it.",
				"Send an access token that the B2C policy issued."
		}),
}

var keyRules = []rule{
	{
		code: "key.unknown", status: http.StatusUnauthorized, title: "The signing key is not the policy's",
		description: "The token was signed with a key that the policy does not publish", hides: []Group{GroupKey},
		applies: func(e *evidence) bool { return e.keyError != nil },
		explain: func(e *evidence) (string, string) {
			return fmt.Sprintf("The policy %s publishes no key with this kid.", e.entry.policy),
				"Get a new token: B2C has changed its keys, or the local stand-in was restarted. If a new one is refused " +
					"too, it comes from another tenant or another policy than it says."
		},
		actual: []claim{claimKid, claimTfp},
	},
	{
		code: "sig.invalid", status: http.StatusUnauthorized, title: "The signature is wrong",
		description: "The signature of the token is wrong",
		applies:     func(e *evidence) bool { return !e.verified },
		explain: func(*evidence) (string, string) {
			return "The key is the policy's, but the signature does not match the token.",
				"Send the token exactly as B2C gave it. It was cut, edited, or encoded again on the way."
		},
		actual: []claim{claimKid},
	},
}
