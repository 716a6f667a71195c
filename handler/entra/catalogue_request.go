package entra

import (
	"fmt"
	"net/http"
)

// shape is what the request, and the form of what it carries, look like.
type shape int

const (
	sound shape = iota
	severalTokens
	tokenInQuery
	noToken
	noScheme
	otherScheme
	emptyToken
	severalWords
	tooLarge
	opaque
	codeOrRefresh
	encrypted
	signedRequest
	unreadable
)

// ofRequest reports whether it was the request that was wrong, before any token was read.
func (s shape) ofRequest() bool { return s > sound && s < tooLarge }

func shaped(s shape) func(*evidence) bool {
	return func(e *evidence) bool { return e.shape == s }
}

func noTokenFix(e *evidence) string {
	return "Put the access token in its place. If the client got none, it most often asked for none of this API's " +
		"scopes: ask for " + e.fullScope() + ", wait for the answer (await, in JavaScript), and send its access_token."
}

var requestRules = []rule{
	{
		code: "auth.malformed", status: http.StatusBadRequest, title: "More than one token was sent",
		description: "More than one credential was sent", applies: shaped(severalTokens),
		explain: func(*evidence) (string, string) {
			return "The request has several Authorization values, or one in the header and an access_token in the " +
					"query.",
				"Send the access token once: one header, Authorization: Bearer <access token>."
		},
	},
	{
		code: "auth.token_in_query", status: http.StatusUnauthorized, title: "The token is in the URL",
		applies: shaped(tokenInQuery),
		explain: func(*evidence) (string, string) {
			return "The query has an access_token, and there is no Authorization header. URLs end up in logs, so a " +
					"token there is not read.",
				"Send the header Authorization: Bearer <access token> instead, and treat the token in the URL as " +
					"leaked."
		},
	},
	{
		code: "auth.missing", status: http.StatusUnauthorized, title: "No token was sent",
		applies: shaped(noToken),
		explain: func(e *evidence) (string, string) {
			return "The request has no Authorization header.",
				"Send the header Authorization: Bearer <access token>, with a token for the scope " + e.fullScope() +
					". If the client does send it, a proxy or gateway on the way removes it."
		},
	},
	{
		code: "auth.bearer_prefix_missing", status: http.StatusUnauthorized, title: "The word Bearer is missing",
		applies: shaped(noScheme),
		explain: func(*evidence) (string, string) {
			return "The Authorization header starts with the token itself.",
				"Put the word Bearer and a space before it: Authorization: Bearer <access token>."
		},
	},
	{
		code: "auth.scheme", status: http.StatusUnauthorized, title: "The authorization scheme is not Bearer",
		applies: shaped(otherScheme),
		explain: func(*evidence) (string, string) {
			return "The Authorization header uses a scheme that is not Bearer.",
				"Send Authorization: Bearer <access token>: the word Bearer without colon or quotes, one space, " +
					"the token."
		},
	},
	{
		code: "auth.token_empty", status: http.StatusUnauthorized, title: "The token is empty",
		description: "The token is empty", applies: shaped(emptyToken),
		explain: func(e *evidence) (string, string) {
			if e.raw == "" {
				return "No token follows the word Bearer.", noTokenFix(e)
			}
			return "What follows the word Bearer is not a token, but a placeholder that was not filled in, or what " +
				"a program prints for a missing value (undefined, null, [object Promise]).", noTokenFix(e)
		},
	},
	{
		code: "auth.malformed", status: http.StatusBadRequest, title: "More than one token was sent",
		description: "The Authorization header has extra parts", applies: shaped(severalWords),
		explain: func(*evidence) (string, string) {
			return "Several words follow the word Bearer.",
				"Send exactly Authorization: Bearer <access token>: the word Bearer once, one space, the token " +
					"without spaces or line breaks."
		},
	},
}

var formRules = []rule{
	{
		code: "token.too_large", status: http.StatusUnauthorized, title: "The token is too large",
		description: "The token is longer than 16 KiB", applies: shaped(tooLarge),
		explain: func(e *evidence) (string, string) {
			return fmt.Sprintf("The token has %d bytes; at most %d are read.", len(e.raw), maxToken),
				"Have the sign-in put fewer claims into the token. Portal: Azure AD B2C > User flows > (the " +
					"policy) > Application claims, or, for Entra's tenants, App registrations > (the API) > Token " +
					"configuration."
		},
	},
	{
		code: "token.opaque", status: http.StatusUnauthorized, title: "This is not a JSON Web Token",
		description: "The token is not a JSON Web Token", applies: shaped(opaque),
		explain: func(e *evidence) (string, string) {
			return "The token does not consist of three parts separated by dots. It may be a session ID, a " +
					"function key, or another provider's token.",
				"Send the access_token of the token response for the scope " + e.fullScope() + "."
		},
	},
	{
		code: "token.code_or_refresh", status: http.StatusUnauthorized, title: "This is a code or a refresh token",
		description: "The token is an authorization code or a refresh token", applies: shaped(codeOrRefresh),
		explain: func(*evidence) (string, string) {
			return "The token has the form of an authorization code or a refresh token, which only the sign-in " +
					"that issued it can read.",
				"Redeem it at the token endpoint that belongs to the authority, and send the access_token of the " +
					"answer."
		},
	},
	{
		code: "token.malformed", status: http.StatusUnauthorized, title: "The token cannot be read",
		description: "The token cannot be read",
		applies:     func(e *evidence) bool { return e.shape == unreadable || e.wrongType() },
		explain:     func(e *evidence) (string, string) { return e.token.fault.detail, e.token.fault.fix },
	},
	{
		code: "token.encrypted", status: http.StatusUnauthorized, title: "The token is encrypted",
		description: "The token is encrypted", applies: shaped(encrypted),
		explain: func(*evidence) (string, string) {
			return "The token has five parts and says how it is encrypted (enc). This API reads signed tokens, of " +
					"three parts.",
				"Have the token issued signed and not encrypted. Portal: App registrations > (the API) > Manifest: " +
					"tokenEncryptionKeyId is null."
		},
	},
	{
		code: "token.pop", status: http.StatusUnauthorized, title: "This is a signed HTTP request, not an access token",
		description: "The token is a signed HTTP request", applies: shaped(signedRequest),
		explain: func(*evidence) (string, string) {
			return "The token's typ is pop: it is an envelope that the client signed, with the access token in it " +
					"(at).",
				"Send the access token itself after the word Bearer: leave out the proof of possession (in MSAL, " +
					"the authentication scheme POP)."
		},
	},
}
