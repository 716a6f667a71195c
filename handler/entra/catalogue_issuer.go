package entra

import (
	"fmt"
	"net/http"
	"strings"
)

var familyRules = []rule{
	{
		code: "policy.not_allowed", status: http.StatusUnauthorized, title: "Tokens of this policy are not accepted",
		description: "The token was issued by a policy that is not accepted", hides: []Group{GroupIssuer},
		applies: func(e *evidence) bool {
			return e.home.byPolicy && (!e.agree || e.policy != "" && e.entry == nil)
		},
		explain: func(e *evidence) (string, string) {
			if !e.agree {
				return "The token names several policies in tfp, acr and iss.",
					"Send the token that B2C issued, unaltered. A custom policy that writes acr itself must write " +
						"its own name."
			}
			name := strings.TrimSpace(e.policy)
			if e.verifier.accepts(name) {
				return fmt.Sprintf("The token names the policy %q, with a space; this API accepts "+
						"%q.", shown(e.policy), name),
					"Fix whatever issues this token: it must write the policy's name without spaces, as B2C itself " +
						"does."
			}
			return fmt.Sprintf("The token says it was issued by the policy %s; this API accepts %s.",
					shown(e.policy), strings.Join(e.verifier.policies(), ", ")),
				"Sign in with one of the accepted policies. The operator of the API chose them deliberately: a " +
					"policy for password reset or for a test should not open it."
		},
		expected: []claim{claimTfp}, actual: []claim{claimTfp, claimAcr},
	},
	{
		code: "policy.missing", status: http.StatusUnauthorized, title: "The token names no policy",
		description: "The token names no policy", hides: []Group{GroupIssuer},
		applies: func(e *evidence) bool { return e.home.byPolicy && e.policy == "" },
		explain: func(*evidence) (string, string) {
			return "Neither tfp nor acr names a policy, so nothing says which policy issued the token and whose " +
					"keys would verify it.",
				"Have the policy put its name into the token. Portal: Azure AD B2C > User flows > (the policy) > " +
					"Properties > Token compatibility settings: the claim representing the policy ID is tfp. In a " +
					"custom policy, let the relying party put out trustFrameworkPolicy as tfp."
		},
		expected: []claim{claimTfp}, actual: []claim{claimIss},
	},
	{
		code: "tenant.mismatch", status: http.StatusUnauthorized, title: "The token names two tenants",
		description: "The tenant in the token is not the issuer's",
		applies: func(e *evidence) bool {
			return !e.home.byPolicy && e.token.hasTid && e.token.tid != issuerGUID(e.token.iss)
		},
		explain: func(e *evidence) (string, string) {
			return "tid is not the tenant's GUID as it stands in iss. " + e.home.called() + " writes the same one " +
					"into both.",
				"Send the token as it was issued, unaltered. A claim that is mapped to the name tid must get " +
					"another name."
		},
		expected: []claim{claimTid}, actual: []claim{claimTid, claimIss},
	},
}

var keysRules = []rule{
	{
		code: "keys.unavailable", status: http.StatusServiceUnavailable, title: "The token cannot be checked right now",
		applies: func(e *evidence) bool { return e.keyError != nil && e.keyError != errUnknownKey },
		explain: func(e *evidence) (string, string) {
			s, what := e.trusted().settings, "tenant and host"
			if e.trusted().byPolicy {
				what = "tenant, policies and host"
			}
			return fmt.Sprintf("The keys of %s could not be read. The token may be valid.", e.trusted()),
				"Keep the token and try again. For the operator of the API: the log has the cause; check " + what +
					named(s.Tenant, s.Policies, s.Host) + ", and that this machine reaches the metadata URL."
		},
	},
}

// issuerFault is in what way iss differs from the issuer in the metadata.
type issuerFault int

const (
	rightIssuer issuerFault = iota
	slashOrCase
	otherForm
	oldHost
	otherHost
	otherTenant
	ciamName
	workforceDoor
	unknownIssuer
)

func (e *evidence) issuerFault() issuerFault {
	if e.keys == nil || e.keys.accepts(e.token.iss) {
		return rightIssuer
	}
	got, want, x := e.token.issuer, splitIssuer(e.keys.issuer), e.trusted()
	ciam := x.family == &externalID && strings.HasSuffix(got.host, ciamSuffix)
	switch {
	case plain(e.token.iss) == e.keys.plain:
		return slashOrCase
	case ciam && got.tenant == "":
		return ciamName
	case got.tenant == "":
		return unknownIssuer
	case got.tenant != want.tenant:
		return otherTenant
	case ciam && !isGUID(strings.TrimSuffix(got.host, ciamSuffix)):
		return ciamName
	case got.host == want.host:
		if got.version && (got.policy == "") != (want.policy == "") && x.byPolicy {
			return otherForm
		}
		return unknownIssuer
	case got.host == legacyHost && x.byPolicy:
		return oldHost
	case got.host == legacyHost && x.family == &externalID:
		return workforceDoor
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
		func(e *evidence) (string, string) {
			slash := "without a slash"
			if strings.HasSuffix(e.keys.issuer, "/") {
				slash = "including the slash"
			}
			return "iss differs from the issuer in the metadata only in a slash, a space or in case. Issuers are " +
					"compared byte by byte.",
				"Fix whatever issues this token: it must copy the issuer from the metadata exactly, " + slash +
					" at the end, as " + e.trusted().called() + " itself does."
		}),
	issuerRule("iss.form", "The issuer has the other form", otherForm,
		func(*evidence) (string, string) {
			return "B2C spells issuers with the policy (/tfp/) or without. The token has one form, the policy's " +
					"metadata the other.",
				"Get a new token: the setting was changed after this one was issued. Portal: Azure AD B2C > User " +
					"flows > (the policy) > Properties > Token compatibility settings > Issuer (iss) claim."
		}),
	issuerRule("iss.legacy_host", "The token was issued at B2C's old host", oldHost,
		func(e *evidence) (string, string) {
			host := splitIssuer(e.keys.issuer).host
			return "The client signs in at " + legacyHost + "; the API's host is " + host + ".",
				"Use https://" + host + " in the client's authority. While clients move, the operator of the API " +
					"can accept this tenant's old issuer, " +
					"https://" + legacyHost + "/" + e.keys.tenant + "/v2.0/, as an extra one" +
					named(e.trusted().settings.ExtraIssuers) + "."
		}),
	issuerRule("iss.other_host", "The token was issued at another host of the tenant", otherHost,
		func(e *evidence) (string, string) {
			host, x := splitIssuer(e.keys.issuer).host, e.trusted()
			if x.byPolicy {
				return "The tenant is the right one, but the client signs in at another host than the " +
						"API's, " + host + ".",
					"Use https://" + host + " in the client's authority. Where clients move to a custom domain of " +
						"yours, take the issuer from that domain's metadata, not from a token, for the API's host " +
						"and its extra issuers" +
						named(x.settings.Host, x.settings.ExtraIssuers) + "."
			}
			return "The tenant is the right one, but its issuer is at " + host + ", whatever host clients sign in at.",
				e.signIn() + " Where the tenant has a custom URL domain whose metadata name another issuer, the " +
					"operator of the API has them read there" + named(x.settings.Host) + "."
		}),
	issuerRule("iss.other_tenant", "The token is from another tenant", otherTenant,
		func(e *evidence) (string, string) {
			return "iss names another directory than " + e.keys.tenant + ". Tenants can share signing keys, so " +
					"only the issuer tells them apart.",
				"Sign in at the tenant that this API belongs to; test and production are often confused here."
		}),
	issuerRule("iss.ciam_name", "The issuer has a name where the GUID stands", ciamName,
		func(e *evidence) (string, string) {
			return "iss has a name where External ID writes the tenant's GUID. The issuer is " + e.keys.issuer +
					", whatever address the client uses.",
				"Send the token as it was issued. If something of yours issues it, for a test, it must copy the " +
					"issuer from the tenant's metadata."
		}),
	issuerRule("iss.workforce_door", "The external tenant was asked at the wrong address", workforceDoor,
		func(e *evidence) (string, string) {
			return "The client signs in to the external tenant at " + legacyHost + ", which issues tokens in " +
					"another name: the tenant's is " + e.keys.issuer + ".",
				e.signIn()
		}),
	issuerRule("iss.unknown", "The issuer is unknown", unknownIssuer,
		func(e *evidence) (string, string) {
			detail := "iss is not the issuer in the metadata, nor anything like it."
			if e.token.iss == "" {
				detail = "The token names no issuer (iss)."
			}
			return detail, "Send an access token as " + e.trusted().called() + " issued it. " + e.signIn()
		}),
}

var keyRules = []rule{
	{
		code: "key.unknown", status: http.StatusUnauthorized, title: "The signing key is not one of the sign-in's",
		description: "The token was signed with a key that is not published", hides: []Group{GroupKey},
		applies: func(e *evidence) bool { return e.keyError != nil },
		explain: explainUnknownKey,
		actual:  []claim{claimKid, claimTfp},
	},
	{
		code: "sig.invalid", status: http.StatusUnauthorized, title: "The signature is wrong",
		description: "The signature of the token is wrong",
		applies:     func(e *evidence) bool { return !e.verified },
		explain: func(e *evidence) (string, string) {
			return fmt.Sprintf("The key is one of %s, but the signature does not match the token.", e.trusted()),
				"Send the token exactly as it was issued. It was cut, edited, or encoded again on the way."
		},
		actual: []claim{claimKid},
	},
}

func explainUnknownKey(e *evidence) (detail, fix string) {
	x := e.trusted()
	if why := e.keys.why[e.token.kid]; why != "" {
		return fmt.Sprintf("A key with this kid is published by %s, but the API does not use it: %s.", x, cut(why)),
			"Only the operator of the API, or of the tenant, can change that. Usable are RSA keys of 2048 to 4096 " +
				"bits for signatures, whose own issuer, if they name one, is the tenant's."
	}
	detail = fmt.Sprintf("No key with this kid is published by %s.", x)
	fix = "Get a new token: the keys have changed, or the local stand-in was restarted. If a new one is refused " +
		"too, it comes from another tenant "
	if x.byPolicy {
		return detail, fix + "or another policy than it says."
	}
	return detail, fix + "than it says, or its key is published elsewhere. All keys of an external tenant are at " +
		"ciamlogin.com alone, some are not at " + legacyHost + "; and an application whose claims are mapped has a " +
		"key of its own, under ?appid= and its ID, where the API asks with " + x.audience + "."
}
