// Package signin explains Azure AD B2C's own error codes: what a sign-in or a token
// request is answered with before there is a token that an API could refuse. It asks
// nobody, and reads nothing but the text that it is given.
package signin

import (
	"net/url"
	"slices"
	"strings"
)

// Error is one of B2C's error codes, explained.
type Error struct {
	Code    string // AADB2C90117
	Meaning string // what B2C says with it
	Cause   string // what most often leads to it
	Fix     string // how to fix it, with the path through the portal where there is one
}

const (
	portal      = "Portal: App registrations > "
	retry       = "Wait a minute and try again. Portal: Service Health > Service issues shows outages."
	newGrant    = "Sign in again, and use the new code or refresh token."
	flowPortal  = "Portal: Azure AD B2C > User flows > "
	permissions = portal + "(the client) > API permissions: "
)

// catalogue is in order of code.
var catalogue = []Error{
	{
		"AADB2C90006", "The redirect URI is not registered for this client.",
		"redirect_uri must equal a registered one exactly: scheme, host, path and the slash at its end. The " +
			"portal's Run now needs https://jwt.ms, a program on one's own machine http://localhost.",
		portal + "(the client) > Authentication: add the redirect URI, https://jwt.ms under Web or Single-page " +
			"application, http://localhost under Mobile and desktop applications.",
	},
	{
		"AADB2C90007", "The application has no redirect URI at all.",
		"client_id is that of an application nobody signs in to. In the article's setting that is the API: the " +
			"client's ID belongs there.",
		"Put the client's application ID into client_id, not the API's. If it is the " +
			"client's: " + portal + "(the client) > Authentication: add a redirect URI.",
	},
	{
		"AADB2C90008", "The request names no client.",
		"client_id is missing: the URL was cut when it was copied, or was put together by hand.",
		"Copy the whole URL, or have it built: go run ./scripts/run-now. The client's ID " +
			"is at " + portal + "(the client) > Overview.",
	},
	{
		"AADB2C90010", "The request asks for no scope.",
		"scope is missing or empty: the URL was cut at a space that should have been %20.",
		"Send scope=openid and the API's full scope values, with %20 for the spaces between them. They " +
			"are at " + portal + "(the API) > Expose an API.",
	},
	{
		"AADB2C90011", "The custom policy is bound to another client.",
		"The policy's technical profile names one client_id, and the request has another.",
		"Sign in with the client that the policy names, or change it. Portal: Azure AD B2C > Identity Experience " +
			"Framework > (the policy).",
	},
	{
		"AADB2C90012", "B2C does not have this scope.",
		"As with AADB2C90117: a short name such as read, a scope of Microsoft Graph, or an App ID URI that has " +
			"changed since.",
		"Ask for the full value, App ID URI and scope name with a slash between them. " + portal + "(the API) > " +
			"Expose an API lists them to copy.",
	},
	{
		"AADB2C90013", "B2C does not support this response_type.",
		"It is misspelled, joined by commas, or the policy is for the password grant and has no sign-in page.",
		"Use response_type=code, or id_token token as Run now does. Policies with a " +
			"page: " + flowPortal + "(of the type Sign up and sign in).",
	},
	{
		"AADB2C90014", "B2C does not allow this response_mode.",
		"It is misspelled, or query was asked for with a response_type that brings tokens, which must not be in a " +
			"query.",
		"Use query with code alone, and fragment or form_post with tokens. No setting in the portal changes this.",
	},
	{
		"AADB2C90018", "The tenant has no application with this client_id.",
		"The URL goes to another tenant than the application is in, the ID is that of something else (an object " +
			"ID), or the application was made outside B2C.",
		"Copy the Application (client) ID. " + portal + "All applications, with the directory of the B2C tenant " +
			"chosen at the top.",
	},
	{
		"AADB2C90035", "B2C is not available at the moment.",
		"The fault is the service's, and passes.",
		retry,
	},
	{
		"AADB2C90043", "prompt has a value that B2C does not support.",
		"It takes none, login, consent or select_account, in lower case.",
		"Correct prompt in the URL; Run now uses prompt=login. No setting in the portal changes this.",
	},
	{
		"AADB2C90048", "B2C failed without saying why.",
		"The fault is the service's, or a custom policy's that throws.",
		retry,
	},
	{
		"AADB2C90052", "The user name or the password is wrong.",
		"The user mistyped, or the account is of another tenant.",
		"Try again or reset the password. Portal: Azure AD B2C > Users > (the user).",
	},
	{
		"AADB2C90053", "There is no user with this name.",
		"The user never signed up here, or with another address.",
		"Sign up first. Portal: Azure AD B2C > Users lists who has.",
	},
	{
		"AADB2C90054", "The user name or the password is wrong.",
		"The user mistyped, or the account is of another tenant.",
		"Try again or reset the password. Portal: Azure AD B2C > Users > (the user).",
	},
	{
		"AADB2C90055", "An access token was asked for, but for no API.",
		"The scopes are only openid, profile or offline_access, while response_type contains token. In the " +
			"portal's Run now no API was chosen.",
		"Ask for the API's full scope values as well. In Run now choose the API under Access tokens; it is offered " +
			"once it stands at " + permissions + "add the scopes.",
	},
	{
		"AADB2C90057", "The client may not use the implicit flow.",
		"response_type brings tokens to the browser directly, which is off for new applications. The password " +
			"grant can need it too.",
		portal + "(the client) > Authentication > Implicit grant and hybrid flows: tick Access tokens and ID " +
			"tokens. Better for an application of one's own: response_type=code with PKCE.",
	},
	{
		"AADB2C90058", "The client may not be a public one.",
		"It has no secret in the request, but is registered as one that has.",
		portal + "(the client) > Authentication > Advanced settings: Allow public client flows is Yes.",
	},
	{
		"AADB2C90068", "The application is not one that B2C can serve.",
		"It was registered for the accounts of one directory, or made outside B2C's own portal pages. (The two " +
			"applications of the Identity Experience Framework are the exception: they must be for one directory.",
		"Register it again: " + portal + "New registration, with Accounts in any identity provider or " +
			"organizational directory (for authenticating users with user flows).",
	},
	{
		"AADB2C90077", "No user is signed in, and the request does not allow a sign-in page.",
		"prompt=none renews tokens in a hidden frame. The session has ended, or the browser blocks B2C's cookie " +
			"because it is a third party's there.",
		"Sign in with a page (loginRedirect or acquireTokenRedirect in MSAL). A custom domain makes the cookie a " +
			"first party's. Portal: Azure AD B2C > Custom domains.",
	},
	{
		"AADB2C90079", "The token request lacks the client's secret.",
		"The redirect URI is registered under Web, so B2C takes the client for a server that keeps a secret.",
		"For a program without secret: " + portal + "(the client) > Authentication: move the redirect URI to " +
			"Single-page application or to Mobile and desktop applications.",
	},
	{
		"AADB2C90080", "The code or refresh token has expired.",
		"Codes are valid for minutes, refresh tokens for days, and for 24 hours in single-page applications.",
		newGrant + " How long they are valid: " + flowPortal + "(the policy) > Properties > Token lifetime.",
	},
	{
		"AADB2C90081", "The client's secret is wrong.",
		"It has expired, is another application's, or its ID was copied in place of its value.",
		portal + "(the client) > Certificates & secrets: make a new one and copy its Value, which is shown once.",
	},
	{
		"AADB2C90083", "The request lacks a parameter, which the message names.",
		"The URL or the form was cut or put together by hand.",
		"Send the parameter. go run ./scripts/run-now builds URLs that have all; no setting in the portal changes " +
			"this.",
	},
	{
		"AADB2C90084", "The client sent a secret where none belongs.",
		"The redirect URI is registered for a single-page, mobile or desktop application, none of which keeps secrets.",
		"Leave client_secret out. If the client is a server: " + portal + "(the client) > Authentication: move the " +
			"redirect URI to Web.",
	},
	{
		"AADB2C90085", "B2C failed while it redeemed the grant.",
		"The code or refresh token is damaged, or used twice. In a tenant where nothing works: the application " +
			"b2c-extensions-app was deleted.",
		newGrant + " If that fails too: " + portal + "Deleted applications: restore b2c-extensions-app.",
	},
	{
		"AADB2C90086", "The policy does not take this grant_type.",
		"The password grant works with a policy made for it alone, and some other grant types with none.",
		"Use authorization_code or refresh_token; for password a policy of its " +
			"own. " + flowPortal + "New user flow > Sign in using resource owner password credentials (ROPC).",
	},
	{
		"AADB2C90087", "The grant is of another version of the endpoint.",
		"The code came from a URL with oauth2/v2.0 in it and was redeemed at one without, or the other way round.",
		"Take both endpoints from one metadata document. " + flowPortal + "(the policy) > Run user flow shows its " +
			"address.",
	},
	{
		"AADB2C90088", "The grant is of another endpoint.",
		"The code or refresh token came from one policy or host and was redeemed at another. Each policy redeems " +
			"its own alone.",
		"Redeem it at the policy and host where the user signed in, whose metadata name both " +
			"endpoints. " + flowPortal + "(the policy) > Run user flow shows their address.",
	},
	{
		"AADB2C90091", "The user cancelled.",
		"The user pressed Cancel on the sign-in page. Nothing is broken.",
		"Offer the sign-in again. No setting in the portal changes this.",
	},
	{
		"AADB2C90107", "The application cannot get an ID token.",
		"openid is missing in scope, or the client has no permission for it.",
		"Add openid to scope. " + permissions + "openid and offline_access of Microsoft Graph, with admin consent.",
	},
	{
		"AADB2C90110", "An ID token was asked for without openid.",
		"response_type contains id_token, and scope lacks openid.",
		"Add openid to scope, in front of the API's scopes. No setting in the portal changes this.",
	},
	{
		"AADB2C90115", "A code was asked for, but for no token.",
		"scope has neither openid nor a scope of an API.",
		"Ask for openid, offline_access and the API's full scope values, which are at " + portal + "(the API) > " +
			"Expose an API.",
	},
	{
		"AADB2C90117", "B2C does not have this scope.",
		"It is a short name (read), a scope of Microsoft Graph (User.Read), or begins with another App ID URI than " +
			"the API has now.",
		"Ask for the full value, https://<tenant>.onmicrosoft.com/<App ID URI>/<scope>. " + portal + "(the API) > " +
			"Expose an API lists them to copy.",
	},
	{
		"AADB2C90118", "The user has forgotten the password.",
		"The user pressed that link on the sign-in page, and an old kind of policy leaves the rest to the client.",
		"Start the policy for password reset, or let the sign-in policy do it. " + flowPortal + "(the policy) > " +
			"Properties > Password configuration: Self-service password reset.",
	},
	{
		"AADB2C90128", "The account of this grant is gone.",
		"The user was deleted after signing in.",
		newGrant + " Portal: Azure AD B2C > Users > Deleted users restores one for 30 days.",
	},
	{
		"AADB2C90129", "The grant was revoked.",
		"An administrator revoked the user's sessions, the password was changed, or the refresh token was used " +
			"already.",
		newGrant + " Who revoked it: Portal: Azure AD B2C > Audit logs.",
	},
	{
		"AADB2C90146", "The scopes are of two APIs.",
		"One access token is for one API. Scopes of this API and of Microsoft Graph, or the client's own ID beside " +
			"a scope, cannot be combined.",
		"Ask for the scopes of one API in one request, and for the others in a second " +
			"one. " + permissions + "it groups the scopes by API.",
	},
	{
		"AADB2C90182", "The code_verifier does not fit the code_challenge.",
		"Two sign-ins were mixed up, or the challenge is not the base64url of the verifier's SHA-256 (RFC 7636, " +
			"section 4.2).",
		"Keep the verifier until its own code comes back. No setting in the portal changes this.",
	},
	{
		"AADB2C90183", "The code_verifier is not a valid one.",
		"It is missing, or not 43 to 128 letters, digits, dots, dashes, underscores and tildes (RFC 7636, section " +
			"4.1).",
		"Send the verifier as it was made, 32 random bytes in base64url. No setting in the portal changes this.",
	},
	{
		"AADB2C90184", "B2C does not support this code_challenge_method.",
		"It takes S256 and plain.",
		"Use code_challenge_method=S256. No setting in the portal changes this.",
	},
	{
		"AADB2C90205", "The client has no permission for any of these scopes.",
		"The scopes exist, but were not added to the client, or an administrator has not consented: users of B2C " +
			"cannot.",
		permissions + "Add a permission > My APIs > (the API), then Grant admin consent for (the tenant).",
	},
	{
		"AADB2C90224", "The client may not use the password grant.",
		"It is off for every new application.",
		portal + "(the client) > Authentication > Advanced settings: Allow public client flows is Yes, for the " +
			"resource owner password credential flow.",
	},
	{
		"AADB2C90225", "The user name or the password is wrong.",
		"The password grant works with local accounts only: not with social ones, nor with multi-factor " +
			"authentication.",
		"Try again with a local account. Portal: Azure AD B2C > Users > (the user).",
	},
	{
		"AADB2C90244", "There are too many requests.",
		"The tenant or the address has reached one of B2C's limits.",
		"Keep tokens until they expire instead of getting new ones, and wait a minute before the next try. No " +
			"setting in the portal changes this.",
	},
	{
		"AADB2C90248", "The password grant is for applications made in B2C's portal alone.",
		"The application was made by a script or in another portal.",
		"Register it again: " + portal + "New registration, in the directory of the B2C tenant.",
	},
	{
		"AADB2C90279", "The grant is another client's.",
		"One client got the code or refresh token, another one redeems it.",
		"Redeem it with the client_id that signed in. The IDs are at " + portal + "(the client) > Overview.",
	},
	{
		"AADB2C90287", "The redirect URI is not a valid one.",
		"It is not an absolute URI, has a fragment, or was encoded twice or not at all.",
		"Spell it as it is registered, encoded once. " + portal + "(the client) > Authentication shows it.",
	},
	{
		"AADB2C99002", "There is no such user.",
		"The policy only signs in, or the identity provider's account has never signed up here.",
		"Sign up first, with a policy that allows it. " + flowPortal + "(of the type Sign up and sign in).",
	},
	{
		"AADB2C99005", "scope has a character that is not allowed.",
		"It was encoded twice or has quotes, a backslash or a line end in it.",
		"Separate scopes with spaces only, %20 in a URL. " + portal + "(the API) > Expose an API lists them to copy.",
	},
	{
		"AADB2C99013", "grant_type and token_type do not go together.",
		"The request mixes two grants, or asks a policy for a kind of token that it does not issue.",
		"Send grant_type=authorization_code or refresh_token without token_type. No setting in the portal changes " +
			"this.",
	},
	{
		"AADB2C99059", "The client must use PKCE.",
		"The redirect URI is registered for a single-page application, whose codes need a code_challenge (RFC 7636).",
		"Send code_challenge and code_challenge_method=S256, as current MSAL does. For a server with a " +
			"secret: " + portal + "(the client) > Authentication: move the redirect URI to Web.",
	},
}

// Errors returns the codes that are explained, in order of code.
func Errors() []Error { return slices.Clone(catalogue) }

// Find explains the first AADB2C code in a text: an error_description, a line of a
// log, or a URL with one in its query or fragment, percent-encoded (RFC 3986, section
// 2.1) or not. It reads the first 16 KiB of the text. A code that is not explained
// comes back with its Code alone, and false.
func Find(text string) (Error, bool) {
	text = text[:min(len(text), 16<<10)]
	if decoded, err := url.QueryUnescape(text); err == nil {
		text = decoded
	}
	const prefix, digits = "AADB2C", 5
	rest, found := strings.ToUpper(text), true
	for {
		if _, rest, found = strings.Cut(rest, prefix); !found {
			return Error{}, false
		}
		number := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		if len(number) != digits {
			continue
		}
		i, explained := slices.BinarySearchFunc(catalogue, prefix+number, func(e Error, code string) int {
			return strings.Compare(e.Code, code)
		})
		if !explained {
			return Error{Code: prefix + number}, false
		}
		return catalogue[i], true
	}
}
