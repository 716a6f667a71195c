package entra

import (
	"net/http"
	"slices"
	"strings"
)

// foreign are the groups in which nothing is worth saying of somebody else's token.
var foreign = []Group{GroupHeader, GroupFamily, GroupIssuer, GroupAudience, GroupCaller, GroupScope}

// graphID is Microsoft Graph's application ID.
const graphID = "00000003-0000-0000-c000-000000000000"

// upstreamIssuers are the identity providers that Microsoft's sign-in offers by name.
var upstreamIssuers = []string{
	"accounts.google.com", "facebook.com", "www.facebook.com", "limited.facebook.com", "appleid.apple.com",
	"login.live.com", "www.linkedin.com", "github.com", "api.twitter.com", "www.amazon.com",
}

// kind is whose token it is, other than one of the trusted tenants'.
type kind int

const (
	ourKind kind = iota // of a form that a trusted tenant could have
	staticWebApps
	graph
	entraV1
	entraID
	externalIDs
	b2cs
	upstream
	foreigner
)

// findKind says whose token it is, given how near its issuer is to a trusted one.
func (e *evidence) findKind(n nearness) kind {
	t, p, v := &e.token, &e.token.issuer, e.verifier
	switch {
	case t.alg == "HS256" &&
		(strings.HasSuffix(p.host, ".scm.azurewebsites.net") || strings.HasSuffix(t.aud, "/azurefunctions")):
		return staticWebApps
	case t.headerNonce || t.aud == graphID || strings.TrimRight(t.aud, "/") == "https://graph.microsoft.com":
		return graph
	case n >= differsByHand || t.iss == "":
		return ourKind
	case p.host == versionOneHost:
		return entraV1
	case slices.Contains(sovereignHosts, p.host):
		return entraID
	case slices.Contains(upstreamIssuers, p.host),
		p.host == "" && slices.Contains(upstreamIssuers, strings.ToLower(t.iss)):
		return upstream
	}
	switch named := p.named(); {
	case named == &externalID:
		if !v.trusts(named) {
			return externalIDs
		}
	case p.tenant == "" || !p.version:
		return foreigner
	case named == &workforce && n < sameHome && !v.trusts(named):
		return entraID
	case named == &b2c && !v.trusts(named):
		return b2cs
	}
	return ourKind
}

// isIDToken reports whether the token tells a client who signed in, and opens nothing.
func (e *evidence) isIDToken() bool {
	t := &e.token
	switch {
	case t.hasScp || t.azp != "" || t.appid != "":
		return false
	case t.hasScope && (e.kind == upstream || e.kind == foreigner): // their access tokens have it
		return false
	case t.signInMark:
		return true
	}
	// Access tokens of version 2 always name their client; an ID token of Entra's code flow
	// may have no other mark.
	named := t.issuer.named()
	entras := named == &workforce || named == &externalID || e.kind == ourKind && !e.trusted().byPolicy
	return entras && t.issuer.version && t.idtyp != "app"
}

// signIn tells how to get a token that is accepted.
func (e *evidence) signIn() string {
	x := e.trusted()
	text := "Sign in at the " + x.label + " tenant " + x.tenant
	if x.byPolicy {
		text += " through an accepted policy"
	}
	if x.authority != "" {
		text += ": the client's authority is " + x.authority
	}
	return text + "." + e.programSignIn()
}

// programSignIn tells how a program gets a token, where it may have been one that got this
// one: not a user's, but one of Microsoft's.
func (e *evidence) programSignIn() string {
	t := &e.token
	if t.issuer.named() == nil || t.hasScp || t.azp == "" && t.appid == "" {
		return ""
	}
	return " A program that signs in as itself asks " + e.trusted().tokenEndpoint() + " for the scope " +
		e.trusted().programScope() + "."
}

// tokenEndpoint is where a program gets its token, in words.
func (x *entry) tokenEndpoint() string {
	if x.authority == "" {
		return "the token endpoint"
	}
	return "the token endpoint " + x.authority + "/oauth2/v2.0/token"
}

// programScope is what a program asks for: all that it was given, as no user is there to
// grant one or another.
func (x *entry) programScope() string { return x.appIDURI + "/.default" }

func (e *evidence) acceptsOnly() string {
	return "This API accepts only tokens of " + e.verifier.labels() + "."
}

// kindRule is what the rules about other people's tokens have in common.
func kindRule(
	code, title, description string, k kind, explain func(*evidence) (detail, fix string), actual ...claim,
) rule {
	expected := []claim{claimIss}
	switch k {
	case staticWebApps:
		expected = nil
	case graph:
		expected = []claim{claimAud}
	}
	return rule{
		code: code, status: http.StatusUnauthorized, title: title, description: description, hides: foreign,
		applies: func(e *evidence) bool { return e.kind == k }, explain: explain, expected: expected, actual: actual,
	}
}

var kindRules = []rule{
	kindRule("token.static_web_apps", "Static Web Apps replaced the token",
		"The token was issued by Azure Static Web Apps", staticWebApps,
		func(*evidence) (string, string) {
			return "Azure Static Web Apps puts a token of its own in place of the caller's before it forwards a " +
					"request to its API.",
				"Call this API at its own address instead of linking it to the Static Web App."
		}, claimAlg, claimIss, claimAud),
	kindRule("token.graph", "The token is for Microsoft Graph", "The token is for Microsoft Graph", graph,
		func(e *evidence) (string, string) {
			return "Only Microsoft Graph can read tokens for Microsoft Graph; their signature never verifies " +
					"elsewhere.",
				"Ask for this API's scope, " + e.fullScope() + ", instead of User.Read or another scope of Graph." +
					e.programSignIn()
		}, claimIss, claimAud),
	kindRule("token.entra_v1", "This is a version 1 token of Microsoft Entra ID",
		"The token was issued by version 1 of Microsoft Entra ID", entraV1,
		func(e *evidence) (string, string) {
			detail := "The issuer is " + versionOneHost + ", which signs tokens of version 1. "
			manifest := portal + "(the API) > Manifest: requestedAccessTokenVersion is 2."
			if e.trusted().byPolicy {
				return detail + "No policy of B2C issued this one.", e.signIn() + " " + manifest
			}
			return detail + "The registration of the API decides the version, whatever endpoint the client asks.",
				manifest + " Then get a new token; an old one is kept for up to 90 minutes. " + e.signIn()
		}, claimIss, claimAud, claimAppid, claimVer),
	kindRule("token.entra", "The token is Microsoft Entra ID's", "The token was issued by Microsoft Entra ID", entraID,
		func(e *evidence) (string, string) {
			return "The issuer is at " + cut(e.token.issuer.host) + ", where Entra ID issues tokens of workforce " +
				"tenants. " +
				e.acceptsOnly(), e.signIn()
		}, claimIss),
	kindRule("token.external_id", "The token is Entra External ID's",
		"The token was issued by Microsoft Entra External ID", externalIDs,
		func(e *evidence) (string, string) {
			return "The issuer is at ciamlogin.com, where External ID issues tokens. " + e.acceptsOnly(), e.signIn()
		}, claimIss),
	kindRule("token.b2c", "The token is Azure AD B2C's", "The token was issued by Azure AD B2C", b2cs,
		func(e *evidence) (string, string) {
			return "The issuer has the form of Azure AD B2C's. " + e.acceptsOnly(), e.signIn()
		}, claimIss),
	kindRule("token.upstream_idp", "The token is the identity provider's",
		"The token was issued by another identity provider", upstream,
		func(e *evidence) (string, string) {
			return "The issuer is an identity provider that users may sign in " +
					"with. " + e.acceptsOnly() + " After such " +
					"a sign-in they issue a token of their own.",
				"Send the access_token of the answer that " + e.trusted().called() + " gave, not the token that " +
					"the provider issued (idp_access_token). " + e.signIn()
		}, claimIss),
	kindRule("token.foreign", "The token is another service's", "The token was issued by another service", foreigner,
		func(e *evidence) (string, string) {
			return "The issuer is " + cut(e.token.iss) + ", which has none of Microsoft's forms: those end " +
				"in /{tenant GUID}/v2.0, or /tfp/{tenant GUID}/{policy}/v2.0. " + e.acceptsOnly(), e.signIn()
		}, claimIss, claimAud),
	{
		code: "token.id_token", status: http.StatusUnauthorized, title: "This is an ID token, not an access token",
		description: "The token is an ID token", hides: []Group{GroupHeader, GroupAudience, GroupCaller, GroupScope},
		applies: (*evidence).isIDToken,
		explain: func(e *evidence) (string, string) {
			fix := "Send the access_token. To get one, ask for the API's scope, " + e.fullScope() + ", with " +
				"response_type=code or one that contains token; openid alone gives an ID token."
			if e.trusted().byPolicy {
				fix += " In the portal's Run now, choose the API under Access tokens."
			}
			return "The token has neither scopes (scp) nor a client (azp), as an access token has. An ID token " +
				"tells the client who signed in; it does not open an API.", fix
		},
		expected: []claim{claimAud, claimScp}, actual: []claim{claimAud},
	},
}

var headerRules = []rule{
	{
		code: "token.algorithm", status: http.StatusUnauthorized, title: "The token is not signed with RS256",
		description: "The token is not signed with RS256",
		applies:     func(e *evidence) bool { return e.token.badAlg || e.token.alg != "RS256" },
		explain: func(e *evidence) (string, string) {
			return e.trusted().called() + " signs with RS256. A token with another algorithm, or none, was made or " +
					"altered by someone else.",
				"Send the token as it was issued, unaltered. To try the API without a tenant, use a local stand-in " +
					"for the sign-in, which signs as the tenant does."
		},
		expected: []claim{claimAlg}, actual: []claim{claimAlg},
	},
	{
		code: "token.header", status: http.StatusUnauthorized, title: "The token's header is not one of the sign-in's",
		description: "The header of the token is not acceptable",
		applies:     func(e *evidence) bool { return e.token.badHeader },
		explain: func(e *evidence) (string, string) {
			return "The header of " + e.trusted().called() + " has alg, kid and typ JWT. This one lacks a usable " +
					"kid or typ, or has crit, a key, a key's address, or an encoding, none of which is accepted.",
				"Send the token as it was issued, unaltered."
		},
		actual: []claim{claimAlg, claimKid, claimTyp},
	},
}
