package entratest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// failure is one of B2C's errors. Its description has B2C's three lines.
type failure struct {
	code string // AADB2C90006
	kind string // the OAuth error: invalid_request
	text string
	hint string // what to do about it here; B2C has no such thing
}

func (f *failure) Error() string { return f.code + ": " + f.text }

// fail makes the error of the table with that code. Its arguments are foreign
// text, so they are kept short.
func fail(code string, args ...any) *failure {
	e := errorTable[code]
	for i, arg := range args {
		if s, ok := arg.(string); ok {
			args[i] = short(s)
		}
	}
	return &failure{code: code, kind: e.kind, text: fmt.Sprintf(e.text, args...)}
}

func (f *failure) withHint(format string, args ...any) *failure {
	f.hint = fmt.Sprintf(format, args...)
	return f
}

// of is the failure in the words of a tenant's family. The external and the workforce
// tenant have other codes than B2C.
func (f *failure) of(d *directory) *failure {
	code, ok := entraCodes[f.code]
	if d.family == B2C || strings.HasPrefix(f.code, "AADSTS") {
		return f
	}
	if !ok {
		code = "AADSTS90013" // invalid input received from the user
	}
	other := *f
	other.code = code
	return &other
}

// entraCodes are Entra's codes for what has one of B2C's in the table below.
var entraCodes = map[string]string{
	"AADB2C90006": "AADSTS50011", "AADB2C90007": "AADSTS500113", "AADB2C90008": "AADSTS900144",
	"AADB2C90010": "AADSTS900144", "AADB2C90018": "AADSTS700016", "AADB2C90055": "AADSTS70011",
	"AADB2C90057": "AADSTS700054", "AADB2C90077": "AADSTS50058", "AADB2C90079": "AADSTS7000218",
	"AADB2C90080": "AADSTS70008", "AADB2C90081": "AADSTS7000215", "AADB2C90083": "AADSTS900144",
	"AADB2C90085": "AADSTS9002313", "AADB2C90091": "AADSTS65004", "AADB2C90117": "AADSTS650053",
	"AADB2C90128": "AADSTS50034", "AADB2C90129": "AADSTS54005", "AADB2C90146": "AADSTS28000",
	"AADB2C90182": "AADSTS501481", "AADB2C90183": "AADSTS501481", "AADB2C90205": "AADSTS65001",
	"AADB2C99068": "AADSTS1002012",
	"AADB2C90279": "AADSTS700005", "AADB2C99002": "AADSTS50034", "AADB2C99059": "AADSTS9002325",
}

// number is that of one of Entra's codes, or 0.
func (f *failure) number() int {
	n, _ := strconv.Atoi(strings.TrimPrefix(f.code, "AADSTS"))
	return n
}

// description is the value of error_description.
func (f *failure) description(correlationID string, now time.Time) string {
	return fmt.Sprintf(
		"%s: %s\r\nCorrelation ID: %s\r\nTimestamp: %s\r\n",
		f.code,
		f.text,
		correlationID,
		timestamp(now),
	)
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// correlationID is the client's own ID of the request, if it sent one.
func correlationID(r *http.Request) string {
	if id := r.URL.Query().Get("client-request-id"); guid.MatchString(id) {
		return strings.ToLower(id)
	}
	return newGUID()
}

func newGUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// errorTable has the OAuth error and the text of each code. The texts are B2C's,
// since people search for them; the OAuth error is the one seen from B2C where
// that is known.
var errorTable = map[string]struct{ kind, text string }{
	"AADB2C90006": {
		"redirect_uri_mismatch",
		"The redirect URI '%s' provided in the request is not registered for the client id '%s'.",
	},
	"AADB2C90007": {
		"invalid_request",
		"The application associated with client id '%s' has no registered redirect URIs.",
	},
	"AADB2C90008": {"invalid_request", "The request does not contain a client id parameter."},
	"AADB2C90010": {"invalid_request", "The request does not contain a scope parameter."},
	"AADB2C90013": {
		"unsupported_response_type",
		"The requested response type '%s' provided in the request is not supported.",
	},
	"AADB2C90014": {"invalid_request", "The requested response mode '%s' provided in the request is not supported."},
	"AADB2C90018": {
		"unauthorized_client",
		"The client id '%s' specified in the request is not registered in tenant '%s'.",
	},
	"AADB2C90043": {
		"invalid_request",
		"The prompt included in the request contains invalid values. Expected 'none', 'login', 'consent' or " +
			"'select_account'.",
	},
	"AADB2C90055": {
		"invalid_request",
		"The scope '%s' provided in request must specify a resource, such as 'https://example.com/calendar.read'.",
	},
	"AADB2C90057": {
		"unauthorized_client",
		"The provided application is not configured to allow the 'OAuth' Implicit flow.",
	},
	"AADB2C90077": {
		"interaction_required",
		"User does not have an existing session and request prompt parameter has a value of 'None'.",
	},
	"AADB2C90079": {"invalid_request", "Clients must send a client_secret when redeeming a confidential grant."},
	"AADB2C90080": {
		"invalid_grant",
		"The provided grant has expired. Please re-authenticate and try again. Current time: %d, Grant issued " +
			"time: %d, " +
			"Grant expiration time: %d",
	},
	"AADB2C90081": {
		"invalid_client",
		"The specified client_secret does not match the expected value for this client. Please correct the " +
			"client_secret " +
			"and try again.",
	},
	"AADB2C90083": {"invalid_request", "The request is missing required parameter: %s."},
	"AADB2C90084": {
		"invalid_request",
		"Public clients should not send a client_secret when redeeming a publicly acquired grant.",
	},
	"AADB2C90085": {
		"invalid_grant",
		"The service has encountered an internal error. Please reauthenticate and try again.",
	},
	"AADB2C90086": {"unsupported_grant_type", "The supplied grant_type [%s] is not supported."},
	"AADB2C90088": {
		"invalid_grant",
		"The provided grant has not been issued for this endpoint. Actual Value : %s and Expected Value : %s",
	},
	"AADB2C90091": {"access_denied", "The user has cancelled entering self-asserted information."},
	"AADB2C90107": {
		"invalid_request",
		"The application with ID '%s' cannot get an ID token either because the openid scope was not provided in the " +
			"request or the application is not authorized for it.",
	},
	"AADB2C90110": {
		"invalid_request",
		"The scope parameter must include 'openid' when requesting a response_type that includes 'id_token'.",
	},
	"AADB2C90115": {
		"invalid_request",
		"When requesting the 'code' response_type, the scope parameter must include a resource or client ID for " +
			"access " +
			"tokens, and 'openid' for ID tokens. Additionally include 'offline_access' for refresh tokens.",
	},
	"AADB2C90117": {"invalid_request", "The scope '%s' provided in the request is not supported."},
	"AADB2C90118": {"access_denied", "The user has forgotten their password."},
	"AADB2C90128": {
		"invalid_grant",
		"The account associated with this grant no longer exists. Please reauthenticate and try again.",
	},
	"AADB2C90129": {"invalid_grant", "The provided grant has been revoked. Please reauthenticate and try again."},
	"AADB2C90146": {
		"invalid_request",
		"The scope '%s' provided in request specifies more than one resource for an access token, which is not " +
			"supported.",
	},
	"AADB2C90182": {"invalid_grant", "The supplied code_verifier does not match associated code_challenge"},
	"AADB2C90183": {"invalid_grant", "The supplied code_verifier is invalid"},
	"AADB2C90184": {
		"invalid_request",
		"The supplied code_challenge_method is not supported. Supported values are plain or S256",
	},
	"AADB2C90205": {
		"invalid_request",
		"This application does not have sufficient permissions against this web resource to perform the operation.",
	},
	"AADB2C90224": {"unauthorized_client", "Resource owner flow has not been enabled for the application."},
	"AADB2C90225": {"access_denied", "The username or password provided in the request are invalid."},
	"AADB2C90279": {"invalid_grant", "The provided client id '%s' does not match the client id that issued the grant."},
	"AADB2C90287": {"invalid_request", "The request contains invalid redirect URI '%s'."},
	"AADB2C99002": {"access_denied", "User does not exist. Please sign up before you can sign in."},
	"AADB2C99005": {
		"invalid_request",
		"The request contains an invalid scope parameter which includes an illegal character '%c'.",
	},
	"AADB2C99059": {"invalid_request", "The supplied request must present a code_challenge"},

	"AADB2C99068": {
		"invalid_request",
		"Scope parameter (%s) must be formatted like https://<application-uri>/.default",
	},

	// In Entra ID's words: what B2C says here is not published.
	"AADSTS9002326": {
		"invalid_request",
		"Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
	},
	"AADSTS9002327": {
		"invalid_request",
		"Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests.",
	},
}
