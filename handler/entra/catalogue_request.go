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
	unreadable
)

// ofRequest reports whether it was the request that was wrong, before any token was read.
func (s shape) ofRequest() bool { return s > sound && s < tooLarge }

func shaped(s shape) func(*evidence) bool {
	return func(e *evidence) bool { return e.shape == s }
}

var requestRules = []rule{
	{
		code: "auth.malformed", status: http.StatusBadRequest, title: "More than one token was sent",
		description: "More than one credential was sent", applies: shaped(severalTokens),
		explain: func(*evidence) (string, string) {
			return "The request has several Authorization values, or one in the header and an access_token in the query.",
				"Send the access token once: one header, Authorization: Bearer <access token>."
		},
	},
	{
		code: "auth.token_in_query", status: http.StatusUnauthorized, title: "The token is in the URL",
		applies: shaped(tokenInQuery),
		explain: func(*evidence) (string, string) {
			return "The query has an access_token, and there is no Authorization header. URLs end up in logs, so a " +
					"token there is not read.",
				"Send the header Authorization: Bearer <access token> instead, and treat the token in the URL as leaked."
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
				"Send Authorization: Bearer <access token>: the word Bearer without colon or quotes, one space, the token."
		},
	},
	{
		code: "auth.token_empty", status: http.StatusUnauthorized, title: "The token is empty",
		description: "The token is empty", applies: shaped(emptyToken),
		explain: func(e *evidence) (string, string) {
			return "After the word Bearer comes no token, or what a program prints for a missing one (undefined, null, " +
					"[object Object]).",
				"The client got no access token, most often because it asked for none of this API's scopes. Ask for " +
					e.fullScope() + ", wait for the answer, and send its access_token."
		},
	},
	{
		code: "auth.malformed", status: http.StatusBadRequest, title: "More than one token was sent",
		description: "The Authorization header has extra parts", applies: shaped(severalWords),
		explain: func(*evidence) (string, string) {
			return "After the word Bearer come several words.",
				"Send exactly Authorization: Bearer <access token>: the word Bearer once, one space, the token without " +
					"spaces or line breaks."
		},
	},
}

var formRules = []rule{
	{
		code: "token.too_large", status: http.StatusUnauthorized, title: "The token is too large",
		description: "The token is longer than 16 KiB", applies: shaped(tooLarge),
		explain: func(e *evidence) (string, string) {
			return fmt.Sprintf("The token has %d bytes; at most %d are read.", len(e.raw), maxToken),
				"Have the policy put fewer claims into the token. Portal: Azure AD B2C > User flows > (the policy) > " +
					"Application claims."
		},
	},
	{
		code: "token.opaque", status: http.StatusUnauthorized, title: "This is not a JSON Web Token",
		description: "The token is not a JSON Web Token", applies: shaped(opaque),
		explain: func(e *evidence) (string, string) {
			return "The token does not consist of three parts separated by dots. It may be a session ID, a function " +
					"key, or another provider's token.",
				"Send the access_token of B2C's token response for the scope " + e.fullScope() + "."
		},
	},
	{
		code: "token.code_or_refresh", status: http.StatusUnauthorized, title: "This is a code or a refresh token",
		description: "The token is an authorization code or a refresh token", applies: shaped(codeOrRefresh),
		explain: func(*evidence) (string, string) {
			return "The five encrypted parts are those of an authorization code or a refresh token of B2C, which only " +
					"B2C can read.",
				"Redeem it at the policy's token endpoint, and send the access_token of the answer."
		},
	},
	{
		code: "token.malformed", status: http.StatusUnauthorized, title: "The token cannot be read",
		description: "The token cannot be read", applies: shaped(unreadable),
		explain: func(e *evidence) (string, string) { return e.token.fault.detail, e.token.fault.fix },
	},
}
