package entra

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// skew is how far the issuer's clock and this machine's may be apart.
const skew = 60 * time.Second

// audienceFault is what aud is instead of the API's ID.
type audienceFault int

const (
	rightAudience audienceFault = iota
	audienceIsClient
	audienceSwapped
	audienceIsURI
	otherAudience
)

func (e *evidence) audienceFault() audienceFault {
	aud, want := e.token.aud, e.trusted()
	switch {
	case aud == want.audience:
		return rightAudience
	case aud != "" && aud == e.token.azp:
		return audienceIsClient
	case e.verified && want.clients[strings.ToLower(aud)] && strings.EqualFold(e.token.azp, want.audience):
		return audienceSwapped
	case strings.EqualFold(strings.TrimRight(aud, "/"), want.appIDURI), strings.HasSuffix(aud, "/"+want.audience):
		return audienceIsURI
	default:
		return otherAudience
	}
}

// audienceRule is what all rules about aud have in common.
func audienceRule(
	code, title string, fault audienceFault, explain func(*evidence) (detail, fix string), actual ...claim,
) rule {
	hides := []Group{GroupAudience}
	if fault == audienceSwapped {
		hides = append(hides, GroupCaller)
	}
	return rule{
		code: code, status: http.StatusUnauthorized, title: title,
		description: "The token is for another audience", hides: hides,
		applies: func(e *evidence) bool { return e.audienceFault() == fault }, explain: explain,
		expected: []claim{claimAud}, actual: actual,
	}
}

var audienceRules = []rule{
	audienceRule("aud.is_client", "The token is for another application", audienceIsClient,
		func(e *evidence) (string, string) {
			return fmt.Sprintf("aud is %s, the client that asked for the token; this API is %s.",
					shown(e.token.aud), e.trusted().audience),
				"Ask for the API's scope, " + e.fullScope() + ", instead of the client's own ID. " + portal +
					"(the client) > API permissions lists what it may ask for."
		}, claimAud, claimAzp),
	audienceRule("aud.swapped", "The API's ID and the client's are swapped", audienceSwapped,
		func(e *evidence) (string, string) {
			s := e.trusted().settings
			return fmt.Sprintf("aud is %s, which is configured here as a client, and azp is %s, which is "+
					"configured as this API: the two are swapped.", shown(e.token.aud), e.trusted().audience),
				"Have the operator of the API swap its own ID and the admitted client's" +
					named(s.Audience, s.Clients) +
					". " + portal + "(the API) > Overview has its application (client) ID."
		}, claimAud, claimAzp),
	audienceRule("aud.is_uri", "The audience is the App ID URI", audienceIsURI,
		func(e *evidence) (string, string) {
			label := e.trusted().called()
			return "aud is the App ID URI. " + label + " puts the application (client) ID there, so " + label +
					" did not make this token as it is.",
				"Fix whatever issues this token: it must put " + e.trusted().audience + " into aud. The App ID URI " +
					"is only the prefix of scopes."
		}, claimAud),
	audienceRule("aud.wrong", "The token is for another API", otherAudience,
		func(e *evidence) (string, string) {
			return fmt.Sprintf("aud is %s; this API is %s.", shown(e.token.aud), e.trusted().audience),
				"Ask for this API's scope, " + e.fullScope() + ". If that is what the client asks for, its App ID " +
					"URI belongs to another registration than the API's " +
					"ID" + named(e.trusted().settings.Audience) + ". " + portal +
					"(the API) > Overview shows both."
		}, claimAud, claimAzp),
}

// expired reports whether a token is too old that was valid until then.
func expired(now time.Time, until int64) bool { return now.Unix() >= until+int64(skew/time.Second) }

// early reports whether a token is not valid yet that is from then on.
func early(now time.Time, from int64) bool { return from > now.Unix()+int64(skew/time.Second) }

var timeRules = []rule{
	{
		code: "time.malformed", status: http.StatusUnauthorized, title: "The token's times cannot be read",
		description: "The times of the token cannot be read", hides: []Group{GroupTime},
		applies: func(e *evidence) bool {
			t := &e.token
			return !t.exp.valid || t.nbf.present && !t.nbf.valid || t.iat.present && !t.iat.valid
		},
		explain: func(*evidence) (string, string) {
			return "exp must be there, and exp, nbf and iat must be whole seconds since 1970.",
				"Send the token as it was issued, unaltered."
		},
	},
	{
		code: "time.expired", status: http.StatusUnauthorized, title: "The token has expired",
		description: "The token has expired",
		applies:     func(e *evidence) bool { return e.token.exp.valid && expired(e.now, e.token.exp.at) },
		explain: func(e *evidence) (string, string) {
			return fmt.Sprintf("The token expired %s ago, at %s.",
					span(e.now.Unix()-e.token.exp.at), instant(e.token.exp.at)),
				"Get a new one before each call (acquireTokenSilent in MSAL), which renews it when it is about to " +
					"expire. Tools such as Postman keep an old one."
		},
		actual: []claim{claimExp},
	},
	{
		code: "time.not_yet_valid", status: http.StatusUnauthorized, title: "The token is not valid yet",
		description: "The token is not valid yet",
		applies:     func(e *evidence) bool { return early(e.now, e.token.from()) },
		explain: func(e *evidence) (string, string) {
			return fmt.Sprintf("The token becomes valid in %s, by this machine's clock (%s).",
					span(e.token.from()-e.now.Unix()), instant(e.now.Unix())),
				"One clock is wrong. Compare this machine's with the Date header of the sign-in's answers."
		},
		actual: []claim{claimNbf, claimIat},
	},
}

var callerRules = []rule{
	{
		code: "subject.missing", status: http.StatusUnauthorized, title: "The token does not say who the user is",
		description: "The token names no subject",
		applies:     func(e *evidence) bool { return e.trusted().byPolicy && e.subject() == "" },
		explain: func(*evidence) (string, string) {
			return "The token has neither oid nor a usable sub.",
				"Have the policy put the user's object ID into the token. Portal: Azure AD B2C > User flows > (the " +
					"policy) > Application claims: User's Object ID; Properties > Token compatibility settings: " +
					"Subject (sub) claim is ObjectID."
		},
	},
	{
		code: "subject.no_oid", status: http.StatusUnauthorized, title: "The token does not have the user's object ID",
		description: "The token has no object ID",
		applies:     func(e *evidence) bool { return !e.trusted().byPolicy && e.subject() == "" },
		explain: func(e *evidence) (string, string) {
			return "The token has no oid that is a GUID. " + e.trusted().called() + " writes it only where the " +
					"client asks for profile; sub differs from client to client, so it cannot stand for the user.",
				"Ask for openid and profile besides " + e.fullScope() + ". MSAL does so by itself."
		},
	},
	{
		code: "azp.not_allowed", status: http.StatusForbidden, title: "This client may not call the API",
		applies: func(e *evidence) bool {
			clients := e.trusted().clients
			return e.verified && len(clients) > 0 && !clients[strings.ToLower(e.token.azp)]
		},
		explain: func(e *evidence) (string, string) {
			if e.token.azp == "" {
				return "The token names no client (azp), and this API admits certain clients only.",
					"Get an access token with a client of its own registration, separate from the API's; the " +
						"sign-in writes its ID into azp."
			}
			return fmt.Sprintf("The client %s is not among those that this API admits.", shown(e.token.azp)),
				"Call with an admitted client, or have the operator of the API add this one to the admitted clients" +
					named(e.trusted().settings.Clients) + "."
		},
		actual: []claim{claimAzp},
	},
	{
		code: "caller.application", status: http.StatusForbidden,
		title:   "Programs that sign in as themselves may not call",
		hides:   []Group{GroupScope},
		applies: func(e *evidence) bool { return !e.verifier.applications && e.application() },
		explain: func(e *evidence) (string, string) {
			return "The token was issued to a program that signed in as itself: no user is behind it. This API " +
					"admits only users.",
				"Have a user sign in, and ask for " + e.userScope() + ". Or have the operator of the API admit " +
					"programs" + named(e.verifier.setting) + "; each then needs the app role " +
					strings.Join(e.scopes(), " or ") + "."
		},
		actual: []claim{claimAzp, claimIdtyp, claimScp},
	},
}

var scopeRules = []rule{
	{
		code: "scope.none", status: http.StatusForbidden, title: "The token grants no scope",
		description: "The token grants no scope", hides: []Group{GroupScope},
		applies: func(e *evidence) bool { return e.scopeless() && !e.application() },
		explain: func(e *evidence) (string, string) {
			return "The token has no scopes (scp).",
				"Ask for " + e.fullScope() + ". " + portal + "(the client) > API permissions: add the scope and " +
					"grant admin consent." + e.programs(e.scopes())
		},
		expected: []claim{claimScp}, actual: []claim{claimScp},
	},
	{
		code: "scope.missing", status: http.StatusForbidden, title: "The token lacks the scope that this call needs",
		description: "The token lacks a scope",
		applies:     func(e *evidence) bool { return !e.application() && e.missing() != "" },
		explain:     explainMissingScope,
		expected:    []claim{claimScp}, actual: []claim{claimScp},
	},
	{
		code: "role.missing", status: http.StatusForbidden, title: "The program lacks the app role that this call " +
			"needs",
		description: "The token lacks an app role",
		applies: func(e *evidence) bool {
			return e.application() && (e.missing() != "" || len(e.needs) == 0 && len(e.granted()) == 0)
		},
		explain:  explainMissingRole,
		expected: []claim{claimRoles}, actual: []claim{claimRoles},
	},
}

func explainMissingScope(e *evidence) (detail, fix string) {
	want := e.missing()
	for granted := range strings.SplitSeq(e.token.scp, " ") {
		if strings.EqualFold(granted, want) {
			return fmt.Sprintf("scp has %s, this call needs %s: scopes are case-sensitive.", shown(granted), want),
				"Publish and ask for the scope as " + want + ", or have the operator of the API change the name " +
					"that it expects" + named(e.scopeSetting(want)) + "."
		}
		if strings.HasSuffix(granted, "/"+want) {
			return fmt.Sprintf("scp has the full value %s, this call needs the short name %s.", shown(granted), want),
				"Fix whatever issues this token: it must put short names into scp, as " + e.trusted().called() +
					" does."
		}
	}
	return fmt.Sprintf("scp has %s, this call needs %s.", shown(e.token.scp), want),
		"Ask for " + e.fullScope() + ". " + e.trusted().called() + " silently drops scopes that were not " +
			"granted. " + portal +
			"(the client) > API permissions: add the scope and grant admin consent." + e.programs([]string{want})
}

func explainMissingRole(e *evidence) (detail, fix string) {
	x, want := e.trusted(), e.missing()
	if want == "" {
		want = strings.Join(e.scopes(), " or ")
	}
	again := " Then get a new token for " + x.programScope() + " at " + x.tokenEndpoint() + ": an older one keeps " +
		"the roles that it was issued with."
	switch roles := e.token.roles; {
	case e.token.signInMark:
		return "The token has the marks of a user's sign-in (nonce, auth_time, at_hash or c_hash), so its roles do " +
				"not count.",
			"Send the access token that a program gets when it signs in as itself: ask " + x.tokenEndpoint() + " for " +
				x.programScope() + "."
	case len(roles) == 0:
		detail = "The token was issued to a program that signed in as itself, and has no app roles (roles); this " +
			"call needs " + want + "."
	default:
		for _, role := range roles {
			if strings.EqualFold(role, want) {
				return fmt.Sprintf("roles has %s, this call needs %s: app roles are "+
						"case-sensitive.", shown(role), want),
					"Give the app role the value " + want + ", or have the operator of the API change the name " +
						"that it expects" + named(e.scopeSetting(want)) + "." + again
			}
		}
		detail = fmt.Sprintf("roles has %s, this call needs %s.", shown(strings.Join(roles, " ")), want)
	}
	return detail, portal + createRole(want) + "; then (the client) > API permissions > My APIs > Application " +
		"permissions: add it and grant admin consent. A managed identity is given it through Microsoft Graph " +
		"(appRoleAssignments)." + again
}

// programs says what a program needs that signs in as itself: B2C writes its app roles
// into scp.
func (e *evidence) programs(roles []string) string {
	x := e.trusted()
	if !x.byPolicy {
		return ""
	}
	return " A program that signs in as itself asks " +
		"for " + x.programScope() + " at " + x.tokenEndpoint() + ", and needs " +
		"the app role " + strings.Join(roles, " or ") + ", which B2C writes into scp: " +
		createRole(strings.Join(roles, " or ")) + "; then (the client) > API permissions > Application permissions, " +
		"with admin consent."
}

// createRole is how an app role is made that has the name of a scope. The two are in one
// namespace: where both have a value, Microsoft Graph wants the same id, texts and state
// of both, and the portal's form makes another id.
func createRole(role string) string {
	return "(the API) > Manifest > appRoles: " + role + ", for Application, with the id, display name and " +
		"description of the scope (the App roles form refuses a value that a scope has)"
}

// scopeSetting is the setting that names a scope, given as tokens spell it.
func (e *evidence) scopeSetting(scope string) string {
	x := e.trusted()
	for _, name := range x.names {
		if x.scopes[name] == scope && x.settings.Scopes[name] != "" {
			return x.settings.Scopes[name]
		}
	}
	return ""
}
