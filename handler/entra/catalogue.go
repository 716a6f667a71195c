package entra

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// skew is how far the clocks of B2C and of this machine may be apart.
const skew = 60 * time.Second

// group is a part of the catalogue whose rules are tried after more has become
// known.
type group struct {
	name   string
	gather func(context.Context, *evidence, Credentials) // nil if nothing new is needed
	rules  []rule
}

// rule is one way to be refused.
type rule struct {
	code   string
	status int
	title  string
	// description is the challenge's error_description (RFC 6750, section 3).
	// ASCII without quotes, and nothing of the token.
	description string
	// hides are prefixes of codes that follow from this one, so that naming
	// them too would only confuse.
	hides []string
	// applies looks at what has been gathered and does nothing else.
	applies func(*evidence) bool
	// explain says what was found and how to mend it.
	explain func(*evidence) (detail, fix string)
	// expected and actual name the claims or header members to show.
	expected, actual string
}

const portal = "Portal: App registrations > "

// catalogue is every refusal, in the order in which they are tried. Adding a
// code is adding a row.
var catalogue = []group{
	{"request", func(ctx context.Context, e *evidence, c Credentials) { e.read(ctx, c) }, []rule{
		{
			code: "auth.malformed", status: http.StatusBadRequest, title: "More than one token was sent",
			description: "More than one credential was sent", applies: shaped("auth.malformed"),
			explain: func(*evidence) (string, string) {
				return "The request has several Authorization values, or one in the header and an access_token in the query.",
					"Send the access token once: one header, Authorization: Bearer <access token>."
			},
		},
		{
			code: "auth.token_in_query", status: http.StatusUnauthorized, title: "The token is in the URL",
			applies: shaped("auth.token_in_query"),
			explain: func(*evidence) (string, string) {
				return "The query has an access_token, and there is no Authorization header. URLs end up in logs, so a token there is not read.",
					"Send the header Authorization: Bearer <access token> instead, and treat the token in the URL as leaked."
			},
		},
		{
			code: "auth.missing", status: http.StatusUnauthorized, title: "No token was sent",
			applies: shaped("auth.missing"),
			explain: func(e *evidence) (string, string) {
				return "The request has no Authorization header.",
					"Send the header Authorization: Bearer <access token>, with a token for the scope " + e.fullScope() + ". If the client does send it, a proxy or gateway on the way removes it."
			},
		},
		{
			code: "auth.bearer_prefix_missing", status: http.StatusUnauthorized, title: "The word Bearer is missing",
			applies: shaped("auth.bearer_prefix_missing"),
			explain: func(*evidence) (string, string) {
				return "The Authorization header starts with the token itself.",
					"Put the word Bearer and a blank before it: Authorization: Bearer <access token>."
			},
		},
		{
			code: "auth.scheme", status: http.StatusUnauthorized, title: "Another scheme than Bearer",
			applies: shaped("auth.scheme"),
			explain: func(*evidence) (string, string) {
				return "The Authorization header uses a scheme that is not Bearer.",
					"Send Authorization: Bearer <access token>: the word Bearer without colon or quotes, one blank, the token."
			},
		},
		{
			code: "auth.token_empty", status: http.StatusUnauthorized, title: "The token is empty",
			description: "The token is empty", applies: shaped("auth.token_empty"),
			explain: func(e *evidence) (string, string) {
				return "After the word Bearer comes no token, or what a program prints for a missing one (undefined, null, [object Object]).",
					"The client got no access token, most often because it asked for none of this API's scopes. Ask for " + e.fullScope() + ", wait for the answer, and send its access_token."
			},
		},
		{
			code: "auth.malformed", status: http.StatusBadRequest, title: "More than one token was sent",
			description: "The Authorization header has extra parts", applies: shaped("auth.extra_parts"),
			explain: func(*evidence) (string, string) {
				return "After the word Bearer come several words.",
					"Send exactly Authorization: Bearer <access token>: the word Bearer once, one blank, the token without blanks or line ends."
			},
		},
	}},

	{"form", func(ctx context.Context, e *evidence, c Credentials) { e.parse(ctx, c) }, []rule{
		{
			code: "token.too_large", status: http.StatusUnauthorized, title: "The token is too large",
			description: "The token is longer than 16 KiB", applies: shaped("token.too_large"),
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("The token has %d bytes; at most %d are read.", len(e.raw), maxToken),
					"Have the policy put fewer claims into the token. Portal: Azure AD B2C > User flows > (the policy) > Application claims."
			},
		},
		{
			code: "token.opaque", status: http.StatusUnauthorized, title: "This is no JSON Web Token",
			description: "The token is not a JSON Web Token", applies: shaped("token.opaque"),
			explain: func(e *evidence) (string, string) {
				return "The token does not consist of three parts separated by dots. It may be a session ID, a function key, or another provider's token.",
					"Send the access_token of B2C's token response, got for the scope " + e.fullScope() + "."
			},
		},
		{
			code: "token.code_or_refresh", status: http.StatusUnauthorized, title: "This is a code or a refresh token",
			description: "The token is an authorization code or a refresh token", applies: shaped("token.code_or_refresh"),
			explain: func(*evidence) (string, string) {
				return "The five encrypted parts are those of an authorization code or a refresh token of B2C, which only B2C can read.",
					"Redeem it at the policy's token endpoint, and send the access_token of the answer."
			},
		},
		{
			code: "token.malformed", status: http.StatusUnauthorized, title: "The token cannot be read",
			description: "The token cannot be read", applies: shaped("token.malformed"),
			explain: func(e *evidence) (string, string) { return e.token.fault.detail, e.token.fault.fix },
		},
	}},

	{"kind", nil, []rule{
		{
			code: "token.static_web_apps", status: http.StatusUnauthorized, title: "Static Web Apps replaced the token",
			description: "The token was issued by Azure Static Web Apps", hides: []string{"token.", "policy.", "iss.", "aud.", "subject.", "scope."},
			applies: func(e *evidence) bool {
				host := e.token.issuer.host
				return e.token.alg == "HS256" && (strings.HasSuffix(host, ".scm.azurewebsites.net") || strings.HasSuffix(e.token.aud, "/azurefunctions"))
			},
			explain: func(*evidence) (string, string) {
				return "Azure Static Web Apps puts a token of its own in place of the caller's before it forwards a request to its API.",
					"Call this API at its own address instead of linking it to the Static Web App."
			},
			actual: "alg iss aud",
		},
		{
			code: "token.graph", status: http.StatusUnauthorized, title: "The token is for Microsoft Graph",
			description: "The token is for Microsoft Graph", hides: []string{"token.", "policy.", "iss.", "aud.", "subject.", "scope."},
			applies: func(e *evidence) bool {
				return e.token.headerNonce || e.token.aud == "00000003-0000-0000-c000-000000000000" || strings.TrimRight(e.token.aud, "/") == "https://graph.microsoft.com"
			},
			explain: func(e *evidence) (string, string) {
				return "Tokens for Microsoft Graph can be read by Microsoft Graph alone; their signature never verifies elsewhere.",
					"Ask for this API's scope, " + e.fullScope() + ", instead of User.Read or another scope of Graph."
			},
			expected: "aud", actual: "iss aud",
		},
		{
			code: "token.id_token", status: http.StatusUnauthorized, title: "This is an ID token, not an access token",
			description: "The token is an ID token", hides: []string{"token.", "aud.", "scope."},
			applies: func(e *evidence) bool {
				return !e.token.hasScp && e.token.azp == "" && e.token.signInMark
			},
			explain: func(e *evidence) (string, string) {
				return "The token has neither scopes (scp) nor a client (azp), but the marks of a sign-in. An ID token tells the client who signed in; it does not open an API.",
					"Send the access_token. To get one, ask for the API's scope, " + e.fullScope() + ", with response_type=code or one that contains token; openid alone gives an ID token. In the portal's Run now, choose the API under Access tokens."
			},
			expected: "aud scp", actual: "aud",
		},
		{
			code: "token.entra", status: http.StatusUnauthorized, title: "The token is Microsoft Entra ID's, not B2C's",
			description: "The token was issued by Microsoft Entra ID", hides: []string{"token.", "policy.", "iss.", "aud.", "subject.", "scope."},
			applies: func(e *evidence) bool {
				p := e.token.issuer
				return p.host == "login.microsoftonline.com" && p.tenant != "" && p.policy == "" && p.version && !p.slash
			},
			explain: func(*evidence) (string, string) {
				return "The issuer is the directory itself. Tokens of B2C come from a policy, and their issuer ends with a slash.",
					"Sign in through the policy: use it in the client's authority, https://<tenant>.b2clogin.com/<tenant>.onmicrosoft.com/<policy>, instead of login.microsoftonline.com."
			},
			expected: "iss", actual: "iss",
		},
		{
			code: "token.entra_v1", status: http.StatusUnauthorized, title: "The token is of version 1 of Microsoft Entra ID",
			description: "The token was issued by version 1 of Microsoft Entra ID", hides: []string{"token.", "policy.", "iss.", "aud.", "subject.", "scope."},
			applies: func(e *evidence) bool { return e.token.issuer.host == "sts.windows.net" },
			explain: func(*evidence) (string, string) {
				return "The issuer is sts.windows.net, which signs for Entra's endpoint of version 1, not for B2C.",
					"Sign in through the policy: use it in the client's authority, https://<tenant>.b2clogin.com/<tenant>.onmicrosoft.com/<policy>. " + portal + "(the API) > Manifest: requestedAccessTokenVersion is 2."
			},
			expected: "iss", actual: "iss ver",
		},
		{
			code: "token.external_id", status: http.StatusUnauthorized, title: "The token is Entra External ID's, not B2C's",
			description: "The token was issued by Microsoft Entra External ID", hides: []string{"token.", "policy.", "iss.", "aud.", "subject.", "scope."},
			applies: func(e *evidence) bool {
				return strings.HasSuffix(e.token.issuer.host, ".ciamlogin.com")
			},
			explain: func(*evidence) (string, string) {
				return "The issuer is at ciamlogin.com. This version of the API accepts tokens of B2C alone.",
					"Sign in at the B2C tenant's policy."
			},
			expected: "iss", actual: "iss",
		},
		{
			code: "token.upstream_idp", status: http.StatusUnauthorized, title: "The token is the identity provider's, not B2C's",
			description: "The token was issued by an identity provider behind B2C", hides: []string{"token.", "policy.", "iss.", "aud.", "subject.", "scope."},
			applies: func(e *evidence) bool {
				host := e.token.issuer.host
				if host == "" {
					host = strings.ToLower(e.token.iss)
				}
				switch host {
				case "accounts.google.com", "facebook.com", "www.facebook.com", "limited.facebook.com", "appleid.apple.com", "login.live.com", "www.linkedin.com", "github.com", "api.twitter.com", "www.amazon.com":
					return true
				}
				return false
			},
			explain: func(*evidence) (string, string) {
				return "The user signed in with this provider, but the API trusts B2C, which vouches for that sign-in with a token of its own.",
					"Send the access_token of B2C's answer, not the one that the provider gave to B2C (idp_access_token)."
			},
			expected: "iss", actual: "iss",
		},
	}},

	{"header", nil, []rule{
		{
			code: "token.algorithm", status: http.StatusUnauthorized, title: "The token is not signed with RS256",
			description: "The token is not signed with RS256",
			applies:     func(e *evidence) bool { return e.token.badAlg || e.token.alg != "RS256" },
			explain: func(*evidence) (string, string) {
				return "B2C signs with RS256. A token with another algorithm, or none, was made or altered by somebody else.",
					"Send the token that B2C issued, unaltered. To try the API without B2C, use the local sign-in stand-in, which signs as B2C does."
			},
			expected: "alg", actual: "alg",
		},
		{
			code: "token.header", status: http.StatusUnauthorized, title: "The token's header is not one of B2C's",
			description: "The header of the token is not acceptable",
			applies:     func(e *evidence) bool { return e.token.badHeader },
			explain: func(*evidence) (string, string) {
				return "B2C's header has alg, kid and typ JWT. This one lacks a usable kid or typ, or has crit, a key, a key's address, or an encoding, none of which is followed.",
					"Send the token that B2C issued, unaltered."
			},
			actual: "alg kid typ",
		},
	}},

	{"policy", nil, []rule{
		{
			code: "policy.not_allowed", status: http.StatusUnauthorized, title: "Tokens of this policy are not accepted",
			description: "The token was issued by a policy that is not accepted", hides: []string{"iss."},
			applies: func(e *evidence) bool { return !e.agree || e.policy != "" && e.trust == nil },
			explain: func(e *evidence) (string, string) {
				if !e.agree {
					return "The token names several policies in tfp, acr and iss.", "Send the token that B2C issued, unaltered. A custom policy that writes acr itself must write its own name."
				}
				if name := strings.TrimSpace(e.policy); e.verifier.trustFor(name) != nil {
					return fmt.Sprintf("The token names the policy %q, with a blank; this API accepts %q.", shown(e.policy), name),
						"Whoever made this token writes the policy's name without blanks. B2C itself does."
				}
				return fmt.Sprintf("The token says it was issued by the policy %s; this API accepts %s.", shown(e.policy), strings.Join(e.policies(), ", ")),
					"Sign in with one of the accepted policies. Which ones those are is decided by whoever runs the API, on purpose: a policy for password reset or a test should not open it."
			},
			expected: "tfp", actual: "tfp acr",
		},
		{
			code: "policy.missing", status: http.StatusUnauthorized, title: "The token names no policy",
			description: "The token names no policy", hides: []string{"iss."},
			applies: func(e *evidence) bool { return e.policy == "" },
			explain: func(*evidence) (string, string) {
				return "The token has neither tfp nor acr, so nobody can tell which policy issued it and whose keys would verify it.",
					"Have the policy put its name into the token. Portal: Azure AD B2C > User flows > (the policy) > Properties > Token compatibility settings: the claim representing the policy ID is tfp."
			},
			expected: "tfp", actual: "iss",
		},
	}},

	{"keys", func(ctx context.Context, e *evidence, c Credentials) { e.load(ctx, c) }, []rule{
		{
			code: "keys.unavailable", status: http.StatusServiceUnavailable, title: "The token cannot be checked right now",
			applies: func(e *evidence) bool { return e.keyError != nil && e.keyError != errUnknownKey },
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("The keys of the policy %s could not be read from B2C. The token may well be good.", e.trust.policy),
					"Keep the token and try again. Whoever runs the API: the log has the cause; check B2C_TENANT, B2C_POLICIES and B2C_HOST, and that this machine reaches the metadata URL."
			},
		},
	}},

	{"issuer", nil, []rule{
		{
			code: "iss.slash_or_case", status: http.StatusUnauthorized, title: "The issuer is off by a slash or by case",
			description: "The issuer is not the accepted one", hides: []string{"iss."}, applies: issuerIs("iss.slash_or_case"),
			explain: func(*evidence) (string, string) {
				return "iss differs from the policy's issuer only in a slash, a blank or in case. Issuers are compared byte by byte.",
					"Whoever made this token copies the issuer from the policy's metadata to the letter, the slash at the end included. B2C itself does."
			},
			expected: "iss", actual: "iss",
		},
		{
			code: "iss.form", status: http.StatusUnauthorized, title: "The issuer is of the other form",
			description: "The issuer is not the accepted one", hides: []string{"iss."}, applies: issuerIs("iss.form"),
			explain: func(*evidence) (string, string) {
				return "B2C spells issuers with the policy (/tfp/) or without. The token has one form, the policy's metadata say the other.",
					"Get a new token: the setting was changed after this one was issued. Portal: Azure AD B2C > User flows > (the policy) > Properties > Token compatibility settings > Issuer (iss) claim."
			},
			expected: "iss", actual: "iss",
		},
		{
			code: "iss.legacy_host", status: http.StatusUnauthorized, title: "The token was issued at B2C's old host",
			description: "The issuer is not the accepted one", hides: []string{"iss."}, applies: issuerIs("iss.legacy_host"),
			explain: func(e *evidence) (string, string) {
				return "The client signs in at login.microsoftonline.com; the API's host is " + splitIssuer(e.keys.issuer).host + ".",
					"Use https://" + splitIssuer(e.keys.issuer).host + " in the client's authority. While clients move, whoever runs the API can accept this tenant's old issuer with B2C_EXTRA_ISSUERS=https://login.microsoftonline.com/" + e.keys.tenant + "/v2.0/."
			},
			expected: "iss", actual: "iss",
		},
		{
			code: "iss.other_host", status: http.StatusUnauthorized, title: "The token was issued at another host of the tenant",
			description: "The issuer is not the accepted one", hides: []string{"iss."}, applies: issuerIs("iss.other_host"),
			explain: func(e *evidence) (string, string) {
				return "The tenant is the right one, but the client signs in at another host than the API's, " + splitIssuer(e.keys.issuer).host + ".",
					"Use https://" + splitIssuer(e.keys.issuer).host + " in the client's authority. Where clients move to a custom domain of yours, take the issuer from that domain's metadata, not from a token, for B2C_HOST and B2C_EXTRA_ISSUERS."
			},
			expected: "iss", actual: "iss",
		},
		{
			code: "iss.other_tenant", status: http.StatusUnauthorized, title: "The token is of another tenant",
			description: "The issuer is not the accepted one", hides: []string{"iss."}, applies: issuerIs("iss.other_tenant"),
			explain: func(e *evidence) (string, string) {
				return "iss names another directory than " + e.keys.tenant + ". Tenants can share signing keys, so only the issuer tells them apart.",
					"Sign in at the tenant that this API belongs to; test and production are often mixed up here."
			},
			expected: "iss", actual: "iss",
		},
		{
			code: "iss.unknown", status: http.StatusUnauthorized, title: "The issuer is unknown",
			description: "The issuer is not the accepted one", hides: []string{"iss."}, applies: issuerIs("iss.unknown"),
			explain: func(*evidence) (string, string) {
				return "iss is not the policy's issuer, nor anything like it.",
					"Send an access token that the B2C policy issued."
			},
			expected: "iss", actual: "iss",
		},
	}},

	{"key", func(ctx context.Context, e *evidence, c Credentials) { e.verify(ctx, c) }, []rule{
		{
			code: "key.unknown", status: http.StatusUnauthorized, title: "The signing key is not the policy's",
			description: "The token was signed with a key that the policy does not publish", hides: []string{"sig."},
			applies: func(e *evidence) bool { return e.keyError != nil },
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("The policy %s publishes no key with this kid.", e.trust.policy),
					"Get a new token: B2C has changed its keys, or the local stand-in was started anew. If a new one is refused too, it comes from another tenant or another policy than it says."
			},
			actual: "kid tfp",
		},
		{
			code: "sig.invalid", status: http.StatusUnauthorized, title: "The signature is wrong",
			description: "The signature of the token is wrong",
			applies:     func(e *evidence) bool { return !e.verified },
			explain: func(*evidence) (string, string) {
				return "The key is the policy's, but the signature does not fit the token.",
					"Send the token exactly as B2C gave it. It was cut, edited, or encoded again on the way."
			},
			actual: "kid",
		},
	}},

	{"audience", nil, []rule{
		{
			code: "aud.is_client", status: http.StatusUnauthorized, title: "The token is for another application",
			description: "The token is for another audience", hides: []string{"aud."}, applies: audienceIs("aud.is_client"),
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("aud is %s, the client that asked for the token; this API is %s.", shown(e.token.aud), e.audience()),
					"Ask for the API's scope, " + e.fullScope() + ", instead of the client's own ID. " + portal + "(the client) > API permissions lists what it may ask for."
			},
			expected: "aud", actual: "aud azp",
		},
		{
			code: "aud.is_uri", status: http.StatusUnauthorized, title: "The audience is the App ID URI",
			description: "The token is for another audience", hides: []string{"aud."}, applies: audienceIs("aud.is_uri"),
			explain: func(e *evidence) (string, string) {
				return "aud is the App ID URI. B2C puts the application (client) ID there, so B2C did not make this token as it is.",
					"Whoever makes the token puts " + e.audience() + " into aud. The App ID URI only prefixes scopes."
			},
			expected: "aud", actual: "aud",
		},
		{
			code: "aud.wrong", status: http.StatusUnauthorized, title: "The token is for another API",
			description: "The token is for another audience", hides: []string{"aud."}, applies: audienceIs("aud.wrong"),
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("aud is %s; this API is %s.", shown(e.token.aud), e.audience()),
					"Ask for this API's scope, " + e.fullScope() + ". If that is what the client asks for, its App ID URI belongs to another registration than B2C_API_CLIENT_ID. " + portal + "(the API) > Overview shows both."
			},
			expected: "aud", actual: "aud azp",
		},
	}},

	{"time", nil, []rule{
		{
			code: "time.malformed", status: http.StatusUnauthorized, title: "The token's times cannot be read",
			description: "The times of the token cannot be read", hides: []string{"time."},
			applies: func(e *evidence) bool {
				t := &e.token
				return !t.exp.valid || t.nbf.present && !t.nbf.valid || t.iat.present && !t.iat.valid
			},
			explain: func(*evidence) (string, string) {
				return "exp must be there, and exp, nbf and iat must be whole seconds since 1970.",
					"Send the token that B2C issued, unaltered."
			},
		},
		{
			code: "time.expired", status: http.StatusUnauthorized, title: "The token has expired",
			description: "The token has expired",
			applies: func(e *evidence) bool {
				return e.token.exp.valid && e.now.Unix() >= e.token.exp.at+int64(skew/time.Second)
			},
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("The token expired %s ago, at %s.", span(e.now.Unix()-e.token.exp.at), instant(e.token.exp.at)),
					"Get a new one before each call (acquireTokenSilent in MSAL), which renews it when it is about to expire. Tools such as Postman keep an old one."
			},
			actual: "exp",
		},
		{
			code: "time.not_yet_valid", status: http.StatusUnauthorized, title: "The token is not valid yet",
			description: "The token is not valid yet",
			applies: func(e *evidence) bool {
				limit := e.now.Unix() + int64(skew/time.Second)
				return e.token.nbf.valid && e.token.nbf.at > limit || e.token.iat.valid && e.token.iat.at > limit
			},
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("The token begins %s from now, by this machine's clock (%s).", span(max(e.token.nbf.at, e.token.iat.at)-e.now.Unix()), instant(e.now.Unix())),
					"One clock is wrong. Compare this machine's with the Date header of B2C's answers."
			},
			actual: "nbf iat",
		},
	}},

	{"caller", nil, []rule{
		{
			code: "subject.missing", status: http.StatusUnauthorized, title: "The token does not say who the user is",
			description: "The token names no subject",
			applies:     func(e *evidence) bool { return e.token.subject() == "" },
			explain: func(*evidence) (string, string) {
				return "The token has neither oid nor a usable sub.",
					"Have the policy put the user's object ID into the token. Portal: Azure AD B2C > User flows > (the policy) > Application claims: User's Object ID; Properties > Token compatibility settings: Subject (sub) claim is ObjectID."
			},
		},
		{
			code: "azp.not_allowed", status: http.StatusForbidden, title: "This client may not call the API",
			applies: func(e *evidence) bool {
				return e.verified && len(e.verifier.clients) > 0 && !e.verifier.clients[strings.ToLower(e.token.azp)]
			},
			explain: func(e *evidence) (string, string) {
				return fmt.Sprintf("The client %s is not among those that this API admits.", shown(e.token.azp)),
					"Call with an admitted client, or have whoever runs the API add this one to B2C_ALLOWED_CLIENTS."
			},
			actual: "azp",
		},
	}},

	{"scope", nil, []rule{
		{
			code: "scope.none", status: http.StatusForbidden, title: "The token grants no scope",
			description: "The token grants no scope", hides: []string{"scope."},
			applies: func(e *evidence) bool { return strings.Trim(e.token.scp, " ") == "" },
			explain: func(e *evidence) (string, string) {
				return "The token has no scopes (scp).",
					"Ask for " + e.fullScope() + ". " + portal + "(the client) > API permissions: add the scope and grant admin consent."
			},
			expected: "scp", actual: "scp",
		},
		{
			code: "scope.missing", status: http.StatusForbidden, title: "The token lacks the scope that this call needs",
			description: "The token lacks a scope",
			applies:     func(e *evidence) bool { return !e.token.grants(e.scope) },
			explain: func(e *evidence) (string, string) {
				for granted := range strings.SplitSeq(e.token.scp, " ") {
					if strings.EqualFold(granted, e.scope) {
						return fmt.Sprintf("scp has %s, this call needs %s: scopes are told apart by case.", shown(granted), e.scope),
							"Publish and ask for the scope as " + e.scope + ", or have whoever runs the API change B2C_READ_SCOPE or B2C_WRITE_SCOPE."
					}
					if strings.HasSuffix(granted, "/"+e.scope) {
						return fmt.Sprintf("scp has the full value %s, this call needs the short name %s.", shown(granted), e.scope),
							"B2C puts short names into scp; whoever made this token must do the same."
					}
				}
				return fmt.Sprintf("scp has %s, this call needs %s.", shown(e.token.scp), e.scope),
					"Ask for " + e.fullScope() + ". B2C leaves out in silence what was not granted. " + portal + "(the client) > API permissions: add the scope and grant admin consent."
			},
			expected: "scp", actual: "scp",
		},
	}},
}

func shaped(shape string) func(*evidence) bool {
	return func(e *evidence) bool { return e.shape == shape }
}

func issuerIs(code string) func(*evidence) bool {
	return func(e *evidence) bool { return e.keys != nil && !e.issuerAccepted() && e.issuerTrouble() == code }
}

// issuerTrouble says in what way iss differs from the policy's issuer.
func (e *evidence) issuerTrouble() string {
	plain := func(iss string) string { return strings.ToLower(strings.Trim(iss, " \t\r\n/")) }
	got, want := e.token.issuer, splitIssuer(e.keys.issuer)
	switch {
	case plain(e.token.iss) == plain(e.keys.issuer):
		return "iss.slash_or_case"
	case got.tenant == "":
		return "iss.unknown"
	case got.tenant != want.tenant:
		return "iss.other_tenant"
	case got.host == want.host:
		if got.version && (got.policy == "") != (want.policy == "") {
			return "iss.form"
		}
		return "iss.unknown"
	case got.host == "login.microsoftonline.com":
		return "iss.legacy_host"
	default:
		return "iss.other_host"
	}
}

func audienceIs(code string) func(*evidence) bool {
	return func(e *evidence) bool {
		return e.token.aud != e.audience() && e.audienceTrouble() == code
	}
}

// audienceTrouble says what aud is instead of the API's ID.
func (e *evidence) audienceTrouble() string {
	aud := e.token.aud
	switch {
	case aud != "" && (aud == e.token.azp || e.verified && e.verifier.clients[strings.ToLower(aud)]):
		return "aud.is_client"
	case strings.EqualFold(strings.TrimRight(aud, "/"), e.verifier.appIDURI), strings.HasSuffix(aud, "/"+e.audience()):
		return "aud.is_uri"
	default:
		return "aud.wrong"
	}
}
