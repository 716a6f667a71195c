// Package paste tells what a text is that somebody has in hand when a call was refused: a
// token, a token response, the URL of a sign-in or of its end, an answer of this API or of
// what stands before it, an error message. It asks nobody, judges nothing, and keeps
// passwords and the like out of what it hands on.
package paste

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf16"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/scripts/internal/signin"
)

// Kind is what a text is.
type Kind string

// The kinds.
const (
	Token        Kind = "token"         // something that was sent, or is to be sent, as one
	IDToken      Kind = "id token"      // an ID token where no access token is beside it
	SignIn       Kind = "sign-in"       // the URL that a sign-in starts with
	TokenRequest Kind = "token request" // what is sent to a token endpoint
	Answer       Kind = "answer"        // of an HTTP server
	Error        Kind = "error"         // a message
	Unknown      Kind = "unknown"       // none of these
)

// Paste is a text, recognised.
type Paste struct {
	Kind Kind
	What string // in words

	// Authorization has a Token's values of the header; where the text has none, "Bearer "
	// stands before the token. InQuery says that the token is in a URL instead.
	Authorization []string
	InQuery       bool
	// Bearer says that the text has the header or the word Bearer itself.
	Bearer bool
	// Lines is how many lines a Token was put together from.
	Lines int
	// Cut says that a Token ends too early.
	Cut bool

	// URL is a SignIn's, or where a TokenRequest goes to, if the text says so.
	URL *url.URL
	// Form is what a TokenRequest sends.
	Form url.Values
	// Leaks are the parameters of a URL that must not stand in one.
	Leaks []string
	// Escaped says that a URL was copied out of HTML, with &amp; for &.
	Escaped bool

	// Response is an Answer, or comes with a Token in what curl -v prints.
	Response *Response
	// Message is an Error's text.
	Message string
	// Trouble says why a text is Unknown, and Fix what would be better.
	Trouble, Fix string

	// Secrets are the parts of the text that nobody may see.
	Secrets []string
}

// Response is an HTTP server's answer. Status is 0 where the text does not tell.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Recognise tells what a text is.
func Recognise(text string) Paste {
	text = tidy(fromUTF16(text))
	p := recognise(text)
	p.Message = redact(p.Message)
	if p.Response != nil {
		p.Response.Body = redact(p.Response.Body)
		for _, values := range p.Response.Header {
			for i, value := range values {
				values[i] = redact(value)
			}
		}
	}
	for _, m := range secret.FindAllStringSubmatch(text, -1) {
		p.Secrets = append(p.Secrets, m[3])
		if decoded, err := url.QueryUnescape(m[3]); err == nil {
			p.Secrets = append(p.Secrets, decoded)
		}
	}
	for _, name := range leaking {
		p.Secrets = append(p.Secrets, p.Form[name]...)
		if p.URL != nil {
			p.Secrets = append(p.Secrets, p.URL.Query()[name]...)
		}
	}
	for _, value := range p.Authorization {
		p.Secrets = append(p.Secrets, value, strings.TrimSpace(value[strings.IndexByte(value, ' ')+1:]))
	}
	return p
}

// secret is a name with a value that nobody may see, in a query, a form, JSON or a header.
var secret = regexp.MustCompile(`(?i)((?:password|passwd|pwd|client_secret|clientSecret|code_verifier|` +
	`refresh_token|refreshToken|access_token|accessToken|id_token|idToken|id_token_hint|client_assertion|assertion|` +
	`sig|AccountKey|SharedAccessSignature|Ocp-Apim-Subscription-Key|subscription-key|x-functions-key)` +
	`["']?\s*[=:]\s*["']?|\bcode=)((?:Bearer )?)([^&\s"',;<>\pC]+)`)

// redact takes the values out.
func redact(text string) string { return secret.ReplaceAllString(text, "$1$2…") }

// fromUTF16 reads what Windows PowerShell's > writes, which begins with a byte order mark.
func fromUTF16(text string) string {
	var order binary.ByteOrder = binary.LittleEndian
	switch {
	case strings.HasPrefix(text, "\xff\xfe"):
	case strings.HasPrefix(text, "\xfe\xff"):
		order = binary.BigEndian
	default:
		return text
	}
	units := make([]uint16, (len(text)-2)/2)
	for i := range units {
		units[i] = order.Uint16([]byte(text[2+2*i:]))
	}
	return string(utf16.Decode(units))
}

// tidy takes off what a clipboard puts around a text.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		switch r {
		case '\ufeff', '\u200b', '\u2060', '\u00ad', '\r':
			return -1
		case '\u00a0':
			return ' '
		}
		return r
	}, text)
	const blank = " \t\n"
	text = strings.Trim(text, blank)
	if fenced, ok := strings.CutPrefix(text, "```"); ok {
		if _, rest, ok := strings.Cut(fenced, "\n"); ok {
			text = strings.Trim(strings.TrimSuffix(rest, "```"), blank)
		}
	}
	for len(text) > 1 && strings.IndexByte("\"'`", text[0]) >= 0 && text[len(text)-1] == text[0] &&
		strings.Count(text, text[:1]) == 2 {
		text = strings.Trim(text[1:len(text)-1], blank)
	}
	return text
}

var (
	statusLine = regexp.MustCompile(`(?m)^[<\s]*HTTP/[0-9.]+ ([0-9]{3})`)
	challenge  = regexp.MustCompile(`(?im)^[<\s]*www-authenticate\s*:\s*(.+)$`)
	bareOne    = regexp.MustCompile(`(?i)^Bearer\s+(?:realm|error|error_description|authorization_uri|scope)\s*=`)
	header     = regexp.MustCompile("(?i)(?:^|[^-\\w])authorization[\"'`]?\\s*[:=]\\s*[\"'`]?([^\\n\"'`]*)")
	parameters = regexp.MustCompile(`^[#?&]*(access_token|id_token|error|error_description|code|state|token_type|` +
		`client_info|session_state)=`)
	urlStart = regexp.MustCompile(`^(?:(?:GET|POST|Location:)\s+)?<?([A-Za-z][A-Za-z0-9+.-]*:/[^ \t\n>]*)`)
	grant    = regexp.MustCompile(`(?:^|[?&\s"'])grant_type=`)
	formPart = regexp.MustCompile(`(?:^|[?&\s"'])([a-z_]+)=([^&\s"']*)`)
	anyURL   = regexp.MustCompile(`https?://[^\s"'<>]+`)
	member   = regexp.MustCompile("[\"'`]?\\b(access_token|accessToken|id_token|idToken|refresh_token|refreshToken)" +
		"[\"'`]?\\s*[:=]\\s*[\"'`]([^\"'`\\s]*)([\"'`]?)")
	jwt      = regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,2}`)
	page     = regexp.MustCompile(`(?i)^\s*<(!doctype|html|head|body|h[1-6]|title|\?xml)\b`)
	guid     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	tokenish = regexp.MustCompile(`^eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)*$`)
	opaque   = regexp.MustCompile(`^[A-Za-z0-9._~+/=|!*-]{20,}$`)
	holder   = regexp.MustCompile(`(?i)^(?:undefined|null|none|nil|nan|\[object \w+\]|<[^<>]*>|\{\{[^{}]*\}\}|` +
		`\$\{[^{}]*\}|\$\([^()]*\)|%\w+%|\$\w+|[a-z_-]*token[a-z_-]*)$`)
	lineEnd     = regexp.MustCompile(`\s*\n\s*`)
	wholeAnswer = regexp.MustCompile(`You do not have permission to view this directory or page|Request Too Long|` +
		`Function host is not running|This web app is stopped|web app you have attempted to reach|` +
		`Unauthorized\. Access token is missing or invalid`)
)

// recognise goes from what leaves no doubt to what is least certain.
func recognise(text string) Paste {
	if text == "" {
		return unknown("There is nothing.", "Copy the access token again; a client that prints an empty line got none.")
	}
	if text[0] == '{' || text[0] == '[' {
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &members) == nil {
			return fromJSON(text, members)
		}
	}
	if statusLine.MatchString(text) {
		return fromHTTP(text)
	}
	if m := challenge.FindStringSubmatch(text); m != nil || bareOne.MatchString(text) {
		value := text
		if m != nil {
			value = m[1]
		}
		return Paste{
			Kind: Answer, What: "the challenge of an API (WWW-Authenticate)",
			Response: &Response{Status: http.StatusUnauthorized, Header: http.Header{
				"Www-Authenticate": {strings.Join(strings.Fields(value), " ")},
			}},
		}
	}
	if values := authorization(text); values != nil {
		return sent("the Authorization header", values)
	}
	if parameters.MatchString(text) {
		return redirect(lineEnd.ReplaceAllString(strings.TrimLeft(text, "#?&"), ""))
	}
	if urlStart.MatchString(text) {
		return fromURL(text)
	}
	if grant.MatchString(text) {
		return tokenRequest(text)
	}
	if page.MatchString(text) || wholeAnswer.MatchString(text) {
		return Paste{Kind: Answer, What: "the text of an answer", Response: &Response{
			Header: http.Header{"Content-Type": {"text/html"}}, Body: text,
		}}
	}
	if p, ok := word(text); ok {
		return p
	}
	if signin.Find(text) != nil {
		return message("an error message", text)
	}
	return within(text)
}

var decodedClaims = unknown("These are the claims of a token, decoded.",
	"Copy the token itself: only it tells whether the signature is right. It starts with eyJ.")

func unknown(trouble, fix string) Paste { return Paste{Kind: Unknown, Trouble: trouble, Fix: fix} }

func message(what, text string) Paste { return Paste{Kind: Error, What: what, Message: text} }

// sent are the values of a header.
func sent(what string, values []string) Paste {
	return Paste{Kind: Token, What: what, Authorization: values, Bearer: true}
}

// bare is a token without a header, which may have been wrapped or cut.
func bare(what, token string) Paste {
	p := Paste{Kind: Token, What: what}
	token = strings.TrimRight(strings.TrimRight(token, "…"), ".,;")
	p.Cut = strings.HasPrefix(token, "eyJ") && strings.Count(token, ".") < 2
	p.Authorization = []string{strings.TrimRight("Bearer "+token, " ")}
	return p
}

// authorization finds the values of the header in what curl, PowerShell, JavaScript or an
// HTTP client show.
func authorization(text string) (values []string) {
	for _, at := range header.FindAllStringSubmatchIndex(text, -1) {
		value := strings.TrimRight(strings.TrimSpace(text[at[2]:at[3]]), "\\ ")
		if value == "" || strings.HasPrefix(value, "(") { // authorization() is code
			continue
		}
		if strings.Contains(value, "eyJ") { // a terminal may have broken its line
			for line := range strings.SplitSeq(strings.TrimPrefix(text[at[3]:], "\n"), "\n") {
				line = strings.Trim(line, " \t>\\")
				rest := strings.TrimRight(line, "\"'`")
				if rest == "" || strings.Trim(rest, base64url+".") != "" {
					break
				}
				value += rest
				if rest != line {
					break
				}
			}
		}
		values = append(values, value)
	}
	return values
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// fromJSON takes a whole JSON object: a token endpoint's answer (RFC 6749, section 5), what
// MSAL makes of it, an API's or a gateway's answer, or something else that people have.
func fromJSON(text string, members map[string]json.RawMessage) Paste {
	get := func(names ...string) string {
		for _, name := range names {
			var s string
			if json.Unmarshal(members[name], &s) == nil && s != "" {
				return s
			}
		}
		return ""
	}
	has := func(names ...string) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return members[name] == nil })
	}
	var status int
	for _, name := range []string{"status", "statusCode", "code"} {
		if status == 0 {
			_ = json.Unmarshal(members[name], &status)
		}
	}
	answer := func(what, contentType string) Paste {
		return Paste{Kind: Answer, What: what, Response: &Response{
			Status: status, Header: http.Header{"Content-Type": {contentType}}, Body: text,
		}}
	}
	access, id := get("access_token", "accessToken"), get("id_token", "idToken")
	switch {
	case strings.HasPrefix(get("type"), "urn:"+config.Realm+":"):
		return answer("this API's own answer", "application/problem+json")
	case get("Authorization", "authorization") != "":
		return sent("the Authorization header", []string{get("Authorization", "authorization")})
	case strings.EqualFold(get("name"), "authorization"): // as a HAR file has it
		return sent("the Authorization header", []string{get("value")})
	case access != "":
		return bare("access_token of a token response", access)
	case status != 0 && has("message"), status != 0 && has("title"):
		return answer("the body of an answer", "application/json")
	case get("errorCode") != "":
		return message("an error of MSAL", get("errorCode")+": "+get("errorMessage")+" "+get("subError"))
	case get("error") != "", get("error_description") != "":
		return message("an error response", get("error")+": "+get("error_description"))
	case has("error"):
		return message("an error response", text)
	case id != "":
		p := bare("id_token of a token response", id)
		p.Kind = IDToken
		return p
	case get("refresh_token", "refreshToken") != "":
		return bare("refresh_token of a token response, as there is no other", get("refresh_token", "refreshToken"))
	case has("accessToken"), has("access_token"):
		return bare("the empty access token of a token response", "")
	case has("iss", "aud"), has("iss", "exp"):
		return decodedClaims
	case has("issuer", "jwks_uri"), has("keys"):
		return unknown("These are the sign-in's metadata or keys, which are right as far as this tells.",
			"go run ./scripts/doctor reads them itself, and says whether the API can use them.")
	case has("Values"):
		return unknown("These are settings.", "go run ./scripts/doctor without -token checks those of "+
			"local.settings.json.")
	case has("value"):
		status = http.StatusOK
		return answer("the body of an answer", "application/json")
	}
	if signin.Find(text) != nil {
		return message("an error message", text)
	}
	return unknown("The JSON has neither access_token, id_token, refresh_token nor error.",
		"Copy the answer of the token endpoint, or of the API.")
}

// fromHTTP takes what curl -i or -v prints, of which the last answer counts.
func fromHTTP(text string) Paste {
	at := statusLine.FindAllStringSubmatchIndex(text, -1)
	last := at[len(at)-1]
	r := &Response{Header: http.Header{}}
	_, _ = fmt.Sscan(text[last[2]:last[3]], &r.Status)
	lines := strings.Split(text[last[1]:], "\n")[1:]
	for i, line := range lines {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "<"))
		name, value, ok := strings.Cut(line, ":")
		if line == "" || !ok || strings.ContainsAny(name, " {\"<") {
			r.Body = body(lines[i:])
			break
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(r.Body), &members) == nil {
		p := fromJSON(r.Body, members)
		if p.Kind == Token || p.Kind == IDToken || p.Kind == Error && r.Status/100 == 4 {
			return p
		}
	}
	if location, err := url.Parse(r.Header.Get("Location")); err == nil && parameters.MatchString(
		location.EscapedFragment()+location.RawQuery,
	) {
		return fromURL(location.String())
	}
	p := Paste{Kind: Answer, What: "an answer, as curl prints it"}
	if values := authorization(text[:last[0]]); values != nil {
		p = sent("the Authorization header of a call", values)
	}
	p.Response = r
	return p
}

// body leaves out what curl -v writes around it.
func body(lines []string) string {
	var kept []string
	for _, line := range lines {
		if line != "" && strings.IndexByte("*<>", line[0]) >= 0 && (len(line) == 1 || line[1] == ' ') {
			continue
		}
		kept = append(kept, line)
	}
	return strings.TrimSpace(strings.Join(kept, "\n"))
}

// unwrap puts a URL together that was broken into lines.
func unwrap(text string) string {
	m := urlStart.FindStringSubmatch(text)
	_, rest, _ := strings.Cut(text, m[1])
	address := m[1]
	for {
		before := rest
		rest = strings.TrimLeft(rest, " \t\n\\")
		chunk := rest
		if end := strings.IndexAny(rest, " \t\n>"); end >= 0 {
			chunk = rest[:end]
		}
		broken := strings.Contains(before[:len(before)-len(rest)], "\n")
		// A scope's spaces are not always encoded; a sentence behind the URL is none of it.
		spaced := !broken && strings.Contains(address, "scope=") && strings.ContainsAny(chunk, "&/=")
		if chunk == "" || !broken && !spaced || broken && anyURL.MatchString(chunk) {
			return address
		}
		if spaced {
			address += "%20"
		}
		address, rest = address+chunk, rest[len(chunk):]
	}
}

// leaking are the parameters that have no place in a URL.
var leaking = []string{
	"password", "client_secret", "code_verifier", "client_assertion", "assertion", "refresh_token", "access_token",
}

func fromURL(text string) Paste {
	address := unwrap(text)
	escaped := strings.Contains(address, "&amp;")
	address = strings.ReplaceAll(address, "&amp;", "&")
	u, err := url.Parse(address)
	if err != nil {
		if signin.Find(text) != nil {
			return message("a URL with an error", text)
		}
		return unknown("It starts like a URL, but is not a valid one.", "Copy the whole URL from the address bar.")
	}
	p := ofURL(u)
	p.Escaped = escaped
	for _, name := range leaking {
		if u.Query().Get(name) != "" {
			p.Leaks = append(p.Leaks, name)
		}
	}
	return p
}

func ofURL(u *url.URL) Paste {
	q, path := u.Query(), strings.ToLower(strings.TrimRight(u.Path, "/"))
	switch {
	case parameters.MatchString(u.EscapedFragment()):
		return redirect(u.EscapedFragment())
	case q.Has("error"), q.Has("error_description"):
		return redirect(u.RawQuery)
	case q.Has("grant_type"), strings.HasSuffix(path, "/oauth2/v2.0/token"):
		return Paste{Kind: TokenRequest, What: "a request to a token endpoint, as a URL", URL: u, Form: q}
	case q.Has("client_id"), q.Has("response_type"), strings.HasSuffix(path, "/authorize"):
		return Paste{Kind: SignIn, What: "the URL of a sign-in", URL: u}
	case q.Has("access_token"):
		return Paste{Kind: Token, What: "a URL with access_token in its query", InQuery: true}
	case q.Has("code") && strings.HasPrefix(path, "/api/"):
		return unknown("It is the URL of a function, with a function key in it (code).",
			"This API needs none: its functions' authLevel is anonymous, and the handler checks tokens. Treat the key "+
				"as leaked.")
	case q.Has("code"):
		return redirect(u.RawQuery)
	case strings.HasSuffix(path, "/openid-configuration"), strings.HasSuffix(path, "/discovery/v2.0/keys"):
		return unknown("It is the address of the sign-in's metadata or keys.",
			"go run ./scripts/doctor reads those of the settings.")
	}
	return unknown("The URL has neither a token, a code, an error nor the parameters of a sign-in.",
		"Copy the whole URL, with what follows # or ?. Browsers drop the part after # when they follow a redirect. "+
			"To look at an API: go run ./scripts/doctor -url URL.")
}

// redirect takes apart what the sign-in sends back to the client (RFC 6749, sections 4.1.2
// and 4.2.2).
func redirect(query string) Paste {
	q, _ := url.ParseQuery(strings.ReplaceAll(query, "&amp;", "&")) // as much of it as can be read
	get := q.Get
	switch {
	case get("access_token") != "":
		return bare("access_token of a redirect", get("access_token"))
	case q.Has("error") || q.Has("error_description"):
		return message("a redirect with an error", strings.TrimSpace(get("error")+": "+get("error_description")))
	case get("id_token") != "":
		p := bare("id_token of a redirect", get("id_token"))
		p.Kind = IDToken
		return p
	case get("code") != "":
		return bare("code of a redirect", get("code"))
	}
	return unknown("The redirect has neither access_token, id_token, code nor error.",
		"Copy the whole URL, with what follows # or ?.")
}

// tokenRequest takes a form, or the curl line that sends it.
func tokenRequest(text string) Paste {
	p := Paste{Kind: TokenRequest, What: "a request to a token endpoint", Form: url.Values{}}
	for _, m := range formPart.FindAllStringSubmatch(text, -1) {
		if value, err := url.QueryUnescape(m[2]); err == nil {
			p.Form.Add(m[1], value)
		}
	}
	for _, address := range anyURL.FindAllString(text, -1) {
		if u, err := url.Parse(address); err == nil && strings.HasSuffix(strings.ToLower(u.Path), "/token") {
			p.URL = u
		}
	}
	return p
}

// word takes what is one word, or was one before it was wrapped.
func word(text string) (Paste, bool) {
	first, rest, spaced := strings.Cut(text, " ")
	bearer := strings.EqualFold(strings.TrimSuffix(first, ":"), "bearer")
	if strings.EqualFold(text, "bearer") {
		return sent("the word Bearer", []string{"Bearer"}), true
	}
	token := text
	if bearer && spaced {
		token = strings.TrimSpace(rest)
	}
	whole, lines := unbroken(token)
	cut := strings.TrimRight(whole, "….,;")
	var p Paste
	switch {
	case tokenish.MatchString(cut):
		p = bare("a token", whole)
		if p.Cut {
			p.What = "the beginning of a token"
		}
		if lines > 1 {
			p.Lines = lines
		}
	case holder.MatchString(token):
		p = bare("a placeholder", "")
		p.Authorization = []string{"Bearer " + token}
	case bearer && strings.HasPrefix(strings.ToLower(token), "bearer "):
		p = sent("the word Bearer, twice", []string{text})
	case guid.MatchString(token):
		return unknown("It is a GUID: the ID of an application, a user or a tenant, and no token.",
			"Copy the access_token of the token response; it starts with eyJ."), true
	case slices.Contains(entra.Codes(), token):
		return unknown(token+" is the code of one of this API's refusals.",
			"Paste the whole answer, or the token; docs/refusals.md explains the code."), true
	case opaque.MatchString(token) && strings.ContainsAny(token, "0123456789") && !strings.Contains(token, "_error"):
		p = bare("a text that is not a JSON Web Token", token)
	default:
		return Paste{}, false
	}
	p.Bearer = bearer
	return p, true
}

// unbroken puts a token together that a terminal or an editor broke into lines. A text of
// short words, or of several tokens, stays as it is.
func unbroken(text string) (whole string, lines int) {
	parts := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n\\", r) })
	for i, part := range parts {
		last := i == len(parts)-1
		if !last && len(part) < 20 || i > 0 && strings.HasPrefix(part, "eyJ") && !strings.HasSuffix(whole, ".") {
			return text, 1
		}
		whole += part
	}
	return whole, len(parts)
}

// within looks for a token in a text that is something else as a whole: one line of a JSON,
// an assignment in a script, a line of a log.
func within(text string) Paste {
	if m := member.FindStringSubmatch(text); m != nil {
		p := bare(m[1]+" in a text", m[2])
		p.Cut = p.Cut || m[3] == ""
		if strings.HasPrefix(strings.ToLower(m[1]), "id") {
			p.Kind = IDToken
		}
		return p
	}
	found := jwt.FindAllString(text, -1)
	slices.Sort(found)
	switch found = slices.Compact(found); {
	case len(found) == 1:
		return bare("a token in a text", found[0])
	case len(found) > 1:
		return unknown(fmt.Sprintf("There are %d tokens in the text.", len(found)),
			"Paste only the access token; an ID token stands beside it in many answers.")
	case text[0] == '{' && strings.Contains(text, `"iss"`):
		return decodedClaims // as https://jwt.ms shows them
	case text[0] == '{':
		return unknown("It starts like JSON, but is not one whole object.",
			"Copy the whole token response, from { to }, or only the access_token.")
	}
	return unknown("It is not a token (those have no spaces and start with eyJ), and nothing else that is known here.",
		"Paste a token, an Authorization header, a token response, a sign-in's URL, an answer with its headers "+
			"(curl -i), or a whole error message with its code.")
}
