package entra

import (
	"net/http"
	"slices"
	"strings"
)

// foreign are the groups in which nothing is worth saying of somebody else's token.
var foreign = []Group{
	GroupKind, GroupHeader, GroupPolicy, GroupIssuer, GroupAudience, GroupCaller, GroupScope,
}

const throughThePolicy = "Sign in through the policy: use it in the client's authority, " +
	"https://<tenant>.b2clogin.com/<tenant>.onmicrosoft.com/<policy>"

// graphID is Microsoft Graph's application ID.
const graphID = "00000003-0000-0000-c000-000000000000"

// upstreamIssuers are the identity providers that B2C offers by name.
var upstreamIssuers = []string{
	"accounts.google.com", "facebook.com", "www.facebook.com", "limited.facebook.com", "appleid.apple.com",
	"login.live.com", "www.linkedin.com", "github.com", "api.twitter.com", "www.amazon.com",
}

var kindRules = []rule{
	{
		code: "token.static_web_apps", status: http.StatusUnauthorized, title: "Static Web Apps replaced the token",
		description: "The token was issued by Azure Static Web Apps", hides: foreign,
		applies: func(e *evidence) bool {
			return e.token.alg == "HS256" && (strings.HasSuffix(e.token.issuer.host, ".scm.azurewebsites.net") ||
				strings.HasSuffix(e.token.aud, "/azurefunctions"))
		},
		explain: func(*evidence) (string, string) {
			return "Azure Static Web Apps puts a token of its own in place of the caller's before it forwards a request " +
					"to its API.",
				"Call this API at its own address instead of linking it to the Static Web App."
		},
		actual: []claim{claimAlg, claimIss, claimAud},
	},
	{
		code: "token.graph", status: http.StatusUnauthorized, title: "The token is for Microsoft Graph",
		description: "The token is for Microsoft Graph", hides: foreign,
		applies: func(e *evidence) bool {
			return e.token.headerNonce || e.token.aud == graphID ||
				strings.TrimRight(e.token.aud, "/") == "https://graph.microsoft.com"
		},
		explain: func(e *evidence) (string, string) {
			return "Only Microsoft Graph can read tokens for Microsoft Graph; their signature never verifies elsewhere.",
				"Ask for this API's scope, " + e.fullScope() + ", instead of User.Read or another scope of Graph."
		},
		expected: []claim{claimAud}, actual: []claim{claimIss, claimAud},
	},
	{
		code: "token.id_token", status: http.StatusUnauthorized, title: "This is an ID token, not an access token",
		description: "The token is an ID token", hides: []Group{GroupKind, GroupHeader, GroupAudience, GroupScope},
		applies: func(e *evidence) bool { return !e.token.hasScp && e.token.azp == "" && e.token.signInMark },
		explain: func(e *evidence) (string, string) {
			return "The token has neither scopes (scp) nor a client (azp), but the marks of a sign-in. An ID token tells " +
					"the client who signed in; it does not open an API.",
				"Send the access_token. To get one, ask for the API's scope, " + e.fullScope() + ", with " +
					"response_type=code or one that contains token; openid alone gives an ID token. In the portal's Run " +
					"now, choose the API under Access tokens."
		},
		expected: []claim{claimAud, claimScp}, actual: []claim{claimAud},
	},
	{
		code: "token.entra", status: http.StatusUnauthorized, title: "The token is Microsoft Entra ID's, not B2C's",
		description: "The token was issued by Microsoft Entra ID", hides: foreign,
		applies: func(e *evidence) bool {
			p := e.token.issuer
			return p.host == legacyHost && p.tenant != "" && p.policy == "" && p.version && !p.slash
		},
		explain: func(*evidence) (string, string) {
			return "The issuer is the directory itself. Tokens of B2C come from a policy, and their issuer ends with a " +
					"slash.",
				throughThePolicy + ", instead of login.microsoftonline.com."
		},
		expected: []claim{claimIss}, actual: []claim{claimIss},
	},
	{
		code: "token.entra_v1", status: http.StatusUnauthorized,
		title:       "The token is of version 1 of Microsoft Entra ID",
		description: "The token was issued by version 1 of Microsoft Entra ID", hides: foreign,
		applies: func(e *evidence) bool { return e.token.issuer.host == "sts.windows.net" },
		explain: func(*evidence) (string, string) {
			return "The issuer is sts.windows.net, which signs for Entra's endpoint of version 1, not for B2C.",
				throughThePolicy + ". " + portal + "(the API) > Manifest: requestedAccessTokenVersion is 2."
		},
		expected: []claim{claimIss}, actual: []claim{claimIss, claimVer},
	},
	{
		code: "token.external_id", status: http.StatusUnauthorized,
		title:       "The token is Entra External ID's, not B2C's",
		description: "The token was issued by Microsoft Entra External ID", hides: foreign,
		applies: func(e *evidence) bool { return strings.HasSuffix(e.token.issuer.host, ".ciamlogin.com") },
		explain: func(*evidence) (string, string) {
			return "The issuer is at ciamlogin.com. This API accepts tokens of B2C only.",
				"Sign in at the B2C tenant's policy."
		},
		expected: []claim{claimIss}, actual: []claim{claimIss},
	},
	{
		code: "token.upstream_idp", status: http.StatusUnauthorized,
		title:       "The token is the identity provider's, not B2C's",
		description: "The token was issued by an identity provider behind B2C", hides: foreign,
		applies: func(e *evidence) bool {
			host := e.token.issuer.host
			if host == "" {
				host = strings.ToLower(e.token.iss)
			}
			return slices.Contains(upstreamIssuers, host)
		},
		explain: func(*evidence) (string, string) {
			return "The user signed in with this provider, but the API trusts B2C, which vouches for that sign-in with a " +
					"token of its own.",
				"Send the access_token of B2C's answer, not the one that the provider gave to B2C (idp_access_token)."
		},
		expected: []claim{claimIss}, actual: []claim{claimIss},
	},
}

var headerRules = []rule{
	{
		code: "token.algorithm", status: http.StatusUnauthorized, title: "The token is not signed with RS256",
		description: "The token is not signed with RS256",
		applies:     func(e *evidence) bool { return e.token.badAlg || e.token.alg != "RS256" },
		explain: func(*evidence) (string, string) {
			return "B2C signs with RS256. A token with another algorithm, or none, was made or altered by someone else.",
				"Send the token that B2C issued, unaltered. To try the API without B2C, use a local stand-in for the " +
					"sign-in, which signs as B2C does."
		},
		expected: []claim{claimAlg}, actual: []claim{claimAlg},
	},
	{
		code: "token.header", status: http.StatusUnauthorized, title: "The token's header is not one of B2C's",
		description: "The header of the token is not acceptable",
		applies:     func(e *evidence) bool { return e.token.badHeader },
		explain: func(*evidence) (string, string) {
			return "B2C's header has alg, kid and typ JWT. This one lacks a usable kid or typ, or has crit, a key, a " +
					"key's address, or an encoding, none of which is accepted.",
				"Send the token that B2C issued, unaltered."
		},
		actual: []claim{claimAlg, claimKid, claimTyp},
	},
}
