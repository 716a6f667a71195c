package main

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"

	"itemsapi/handler/entra"
)

// paste is what somebody had in the clipboard. Exactly one of credentials,
// signIn, authorize and trouble is set; idTokenOnly goes with credentials.
type paste struct {
	what        string // for people: where the token comes from
	credentials *entra.Credentials
	idTokenOnly bool     // there was no access token beside it
	signIn      string   // an answer of B2C that refuses
	authorize   *url.URL // where a sign-in starts
	trouble     string   // why it is nothing of these
	fix         string
}

var (
	headerLine = regexp.MustCompile(
		`(?im)^[>\s]*(?:(?:curl\s[^\n]*?)?(?:-H|--header)\s*)?['"]?authorization['"]?\s*:[ \t]*['"]?([^\r\n'"]*)`,
	)
	parameters = regexp.MustCompile(
		`^[#?&]?(access_token|id_token|error|error_description|code|state|token_type|client_info|session_state)=`,
	)
	urlStart   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:/`)
	signInCode = regexp.MustCompile(`(?i)AADB2C\d{5}`)
)

// recognise tells what a text is. It asks nobody.
func recognise(text string) paste {
	text = strings.Trim(strings.TrimPrefix(text, "\ufeff"), " \t\r\n")
	if len(text) > 1 && (text[0] == '"' || text[0] == '\'') && text[len(text)-1] == text[0] {
		text = strings.Trim(text[1:len(text)-1], " \t\r\n")
	}
	if text == "" {
		return paste{
			trouble: "There is nothing.",
			fix:     "Copy the access token again; a client that prints an empty line got none.",
		}
	}
	if strings.HasPrefix(text, "{") {
		return tokenResponse(text)
	}
	if lines := headerLine.FindAllStringSubmatch(text, -1); lines != nil {
		c := &entra.Credentials{}
		for _, line := range lines {
			c.Authorization = append(c.Authorization, strings.TrimSpace(line[1]))
		}
		return paste{what: "the Authorization header", credentials: c}
	}
	if parameters.MatchString(text) {
		return redirect(strings.TrimLeft(text, "#?&"))
	}
	if urlStart.MatchString(text) && !strings.ContainsAny(text, " \t\r\n") {
		return fromURL(text)
	}
	if signInCode.MatchString(text) && !strings.Contains(text, "eyJ") {
		return paste{what: "an error message of B2C", signIn: text}
	}
	if strings.HasPrefix(strings.ToLower(text), "bearer") {
		return paste{
			what:        "the value of an Authorization header",
			credentials: &entra.Credentials{Authorization: []string{text}},
		}
	}
	return bare("a token", text)
}

func bare(what, token string) paste {
	return paste{what: what, credentials: &entra.Credentials{Authorization: []string{"Bearer " + token}}}
}

// tokenResponse takes the access token out of a token endpoint's answer
// (RFC 6749, section 5.1), or what MSAL makes of it.
func tokenResponse(text string) paste {
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		if signInCode.MatchString(text) {
			return paste{what: "an error message of B2C", signIn: text}
		}
		return paste{
			trouble: "It starts like JSON, but is not one whole object.",
			fix:     "Copy the whole token response, from { to }, or the access_token alone.",
		}
	}
	get := func(names ...string) string {
		for _, name := range names {
			var s string
			if json.Unmarshal(members[name], &s) == nil && s != "" {
				return s
			}
		}
		return ""
	}
	access, id := get("access_token", "accessToken"), get("id_token", "idToken")
	switch {
	case get("Authorization", "authorization") != "":
		return paste{
			what:        "the Authorization header",
			credentials: &entra.Credentials{Authorization: []string{get("Authorization", "authorization")}},
		}
	case access != "":
		return bare("access_token of a token response", access)
	case get("error_description", "error", "errorMessage") != "":
		return paste{what: "an error response of B2C", signIn: get("error_description", "errorMessage", "error")}
	case id != "":
		p := bare("id_token of a token response", id)
		p.idTokenOnly = true
		return p
	case get("refresh_token", "refreshToken") != "":
		return bare("refresh_token of a token response, as there is no other", get("refresh_token", "refreshToken"))
	}
	if _, empty := members["accessToken"]; empty {
		return bare("accessToken of MSAL's result", "")
	}
	return paste{
		trouble: "The JSON has neither access_token, id_token, refresh_token nor error.",
		fix:     "Copy the answer of the policy's token endpoint.",
	}
}

func fromURL(text string) paste {
	u, err := url.Parse(text)
	if err != nil {
		return paste{trouble: "It starts like a URL, but is none.", fix: "Copy the whole URL from the address bar."}
	}
	q := u.Query()
	switch {
	case parameters.MatchString(u.EscapedFragment()):
		return redirect(u.EscapedFragment())
	case q.Has("error"), q.Has("error_description"):
		return redirect(u.RawQuery)
	case q.Has("client_id"), q.Has("response_type"), strings.HasSuffix(strings.ToLower(u.Path), "/authorize"):
		return paste{what: "the URL of a sign-in", authorize: u}
	case q.Has("access_token"):
		return paste{what: "a URL with access_token in its query", credentials: &entra.Credentials{InQuery: true}}
	case q.Has("code"):
		return redirect(u.RawQuery)
	}
	return paste{
		trouble: "The URL has neither a token, a code, an error nor the parameters of a sign-in.",
		fix: "Copy the whole URL, with what follows # or ?. Browsers drop the part after # when they follow a " +
			"redirect.",
	}
}

// redirect takes apart what B2C sends back to the client (RFC 6749, sections
// 4.1.2 and 4.2.2).
func redirect(query string) paste {
	q, _ := url.ParseQuery(query) // as much of it as can be read
	get := q.Get
	switch {
	case get("access_token") != "":
		return bare("access_token of a redirect", get("access_token"))
	case q.Has("error") || q.Has("error_description"):
		return paste{
			what:   "a redirect with an error of B2C",
			signIn: strings.TrimSpace(get("error") + ": " + get("error_description")),
		}
	case get("id_token") != "":
		p := bare("id_token of a redirect", get("id_token"))
		p.idTokenOnly = true
		return p
	case get("code") != "":
		return bare("code of a redirect", get("code"))
	}
	return paste{
		trouble: "The redirect has neither access_token, id_token, code nor error.",
		fix:     "Copy the whole URL, with what follows # or ?.",
	}
}
