package main

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/loopback"
	"itemsapi/scripts/internal/report"
)

const portal = "Portal: App registrations > "

var (
	guid      = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	challenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
	graph     = regexp.MustCompile(`(?i)^(https://graph\.(microsoft\.com|windows\.net)/|` +
		`(user|mail|calendars|files|directory|group|people|contacts)\.(read|readwrite|send|readbasic)(\.|$))`)
)

// lintAuthorize looks at the URL that a sign-in starts with (RFC 6749, section
// 4.1.1; OpenID Connect Core 1.0, section 3.1.2.1), one line a parameter.
func (d *doctor) lintAuthorize(c config.Config, u *url.URL, scope string) {
	if c.B2C.Tenant == "" {
		d.Skip("authorize", "B2C_TENANT is not set, and only the URLs of B2C are looked at")
		return
	}
	q := u.Query()
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if len(q[name]) > 1 {
			d.Fail("sign-in, "+report.Cut(name), "The parameter is there several times (RFC 6749, section 3.1, forbids it).",
				"Send it once; several scopes are one value, separated by spaces (%20).")
		}
	}
	d.lintAddress(c, u, q)
	d.lintClient(c, q)
	d.lintScope(c, q, scope)
	d.lintResponse(q)
	d.lintRedirect(q)
	d.lintRest(q)
}

func (d *doctor) lintAddress(c config.Config, u *url.URL, q url.Values) {
	metadata, err := url.Parse(c.B2C.Policies[0].MetadataURL)
	if err != nil {
		return
	}
	host := strings.ToLower(metadata.Host)
	switch {
	case strings.EqualFold(u.Host, host):
		d.OK("sign-in, host", "%s", host)
	case strings.EqualFold(u.Host, "login.microsoftonline.com"):
		d.Fail("sign-in, host", "login.microsoftonline.com is B2C's old host, or Entra ID's own sign-in: the API "+
			"refuses its tokens with iss.legacy_host or token.entra.", "Use https://"+host+".")
	default:
		d.Fail("sign-in, host", fmt.Sprintf("The host is %s, the API's is %s, so the token's issuer will be another "+
			"one.", report.Cut(u.Host), host), "Use https://"+host+", or set B2C_HOST (and B2C_METADATA_URL, if it is set) "+
			"if the API is the one to move.")
	}

	// /{tenant}/{policy}/oauth2/v2.0/authorize, /tfp/{tenant}/{policy}/…, or ?p={policy}.
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) > 1 && (strings.EqualFold(parts[0], "tfp") || strings.EqualFold(parts[0], "te")) {
		parts = parts[1:]
	}
	tenant, policy := parts[0], q.Get("p")
	domain := c.B2C.Tenant + ".onmicrosoft.com"
	verified := strings.Split(strings.TrimPrefix(strings.Trim(metadata.Path, "/"), "tfp/"), "/")[0]
	switch {
	case strings.EqualFold(tenant, domain), strings.EqualFold(tenant, verified):
		d.OK("sign-in, tenant", "%s", tenant)
	case guid.MatchString(tenant):
		d.OK("sign-in, tenant", "%s (by its GUID, which was not compared)", tenant)
	default:
		d.Fail("sign-in, tenant", fmt.Sprintf("The tenant is %q, the API's is %s.", report.Cut(tenant), domain),
			"Sign in at the API's tenant; test and production are often mixed up here.")
	}
	if policy == "" && len(parts) > 1 && !strings.EqualFold(parts[1], "oauth2") {
		policy = parts[1]
	}
	var names []string
	for _, p := range c.B2C.Policies {
		names = append(names, p.Name)
	}
	switch {
	case policy == "":
		d.Fail("sign-in, policy", "The URL names no policy, neither in the path nor as p. Without one B2C answers 404.",
			"Put one of "+strings.Join(names, ", ")+" into it: …/"+domain+"/POLICY/oauth2/v2.0/authorize")
	case slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, policy) }):
		d.OK("sign-in, policy", "%s", policy)
	default:
		d.Fail("sign-in, policy", fmt.Sprintf("The API does not accept tokens of the policy %s (policy.not_allowed); "+
			"it accepts %s.", report.Cut(policy), strings.Join(names,
			", ")), "Sign in with one of those, or have the API's operator add this one to B2C_POLICIES.")
	}
}

func (d *doctor) lintClient(c config.Config, q url.Values) {
	const name = "sign-in, client_id"
	client := q.Get("client_id")
	switch {
	case client == "":
		d.Fail(
			name,
			"It is missing (AADB2C90008).",
			"Put the client's application ID there. "+portal+"(the client) > Overview.",
		)
	case strings.EqualFold(client, c.B2C.APIClientID):
		d.Fail(
			name,
			client+" is the API's own ID. A client signs in, the API does not: the token would be for the wrong "+
				"application, or B2C would find no redirect URI.",
			"Put the client's application ID there; the API appears in scope alone. "+portal+"(the client) > Overview.",
		)
	case !guid.MatchString(client):
		d.Fail(name, fmt.Sprintf("%q is not an application ID, which is a GUID (AADB2C90018).", report.Cut(client)),
			portal+"(the client) > Overview > Application (client) ID.")
	case len(c.B2C.AllowedClients) > 0 && !slices.Contains(c.B2C.AllowedClients, strings.ToLower(client)):
		d.Fail(name, client+" is not among B2C_ALLOWED_CLIENTS, so its tokens are refused with azp.not_allowed.",
			"Use an admitted client, or have the API's operator add this one.")
	default:
		d.OK(name, "%s", client)
	}
}

func (d *doctor) lintScope(c config.Config, q url.Values, wanted string) {
	const name = "sign-in, scope"
	value := q.Get("scope")
	read, write := fullScope(c, "read"), fullScope(c, "write")
	fix := "Ask for scope=openid " + fullScope(c, wanted) + " (spaces written %20)."
	switch {
	case strings.TrimSpace(value) == "":
		d.Fail(name, "It is missing (AADB2C90010).", fix)
		return
	case strings.Contains(strings.ToLower(value), "%2f") || strings.Contains(value, "%20"):
		d.Fail(name, "It was percent-encoded twice: after decoding it still has %2F or %20.", "Encode it once.")
		return
	case strings.Contains(value, ","):
		d.Fail(name, "It has a comma. Scopes are separated by spaces (%20 or +).", fix)
		return
	}
	failed, ours, resources := false, []string{}, []string{}
	fail := func(what, fix string) {
		failed = true
		d.Fail(name, what, fix)
	}
	for s := range strings.FieldsSeq(value) {
		resource, short := "", s
		if i := strings.LastIndexByte(s, '/'); i >= 0 {
			resource, short = s[:i], s[i+1:]
			resources = append(resources, resource)
		}
		switch {
		case slices.Contains([]string{"openid", "offline_access", "profile", "email"}, s):
		case graph.MatchString(s):
			fail(report.Cut(s)+" is a scope of Microsoft Graph: its token opens Graph alone (token.graph), and B2C mostly "+
				"answers AADB2C90117.", "Ask for "+read+" or "+write+" instead.")
		case guid.MatchString(s):
			fail(s+" is an application ID: a token for it has that application as audience and no scopes "+
				"(aud.is_client).", "Ask for "+read+" or "+write+" instead.")
		case resource == "":
			fail(
				fmt.Sprintf("%q is a short name; B2C knows full scope values alone (AADB2C90117).", report.Cut(s)),
				"Ask for "+c.B2C.AppIDURI+"/"+report.Cut(s)+".",
			)
		case resource != c.B2C.AppIDURI && strings.EqualFold(resource, c.B2C.AppIDURI):
			fail(
				report.Cut(s)+" differs from "+c.B2C.AppIDURI+"/… in case.",
				"Copy the full value. "+portal+"(the API) > Expose an API.",
			)
		case resource != c.B2C.AppIDURI:
			fail(
				report.Cut(
					s,
				)+" belongs to another resource than this API, whose scopes start with "+c.B2C.AppIDURI+"/. If the "+
					"App ID URI was renamed, B2C answers AADB2C90117.",
				"Ask for "+read+" or "+write+". "+portal+"(the API) > Expose an API shows the App ID URI; "+
					"B2C_APP_ID_URI repeats it.",
			)
		case short == ".default":
			fail(report.Cut(s)+" is for programs that sign in as themselves (client credentials).",
				"Ask for the scopes by name: "+read+", "+write+".")
		case short == "":
			fail(report.Cut(s)+" has no scope name after the slash.", "Ask for "+read+" or "+write+".")
		default:
			ours = append(ours, short)
		}
	}
	slices.Sort(resources)
	if resources = slices.Compact(resources); len(resources) > 1 {
		fail("It names several resources; a token is for one (AADB2C90146).",
			"Ask for this API's scopes here, and for the other's in a request of its own.")
	}
	switch {
	case failed:
	case len(ours) == 0:
		d.Fail(name, fmt.Sprintf("%q asks for none of the API's scopes: B2C answers with an ID token alone, or with a "+
			"token for nothing (AADB2C90055).", report.Cut(value)), fix+" In the portal's Run now, choose the API under "+
			"Access tokens.")
	case !slices.Contains(ours, scopeName(c, wanted)):
		d.Warn(name, fmt.Sprintf("It asks for %s, but not for %s.", listed(ours), scopeName(c, wanted)),
			"Fine if the client never needs it. Otherwise: "+fix)
	default:
		d.OK(name, "%s of this API", strings.Join(ours, " "))
	}
}

func (d *doctor) lintResponse(q url.Values) {
	const name = "sign-in, response_type"
	value := q.Get("response_type")
	types := strings.Fields(value)
	has := func(t string) bool { return slices.Contains(types, t) }
	openid := slices.Contains(strings.Fields(q.Get("scope")), "openid")
	unknown := slices.ContainsFunc(types, func(t string) bool { return t != "code" && t != "token" && t != "id_token" })
	switch {
	case len(types) == 0:
		d.Fail(name, "It is missing.", "Use response_type=code with PKCE, or id_token token as the portal's Run now "+
			"does.")
	case unknown:
		d.Fail(name, fmt.Sprintf("%q is unknown (AADB2C90013).", report.Cut(value)),
			"Use code, or id_token token, separated by a space (%20).")
	case !has("code") && !has("token"):
		d.Fail(name, "id_token alone brings an ID token and no access token.",
			"Use response_type=code with PKCE, or id_token token as the portal's Run now does.")
	case has("id_token") && !openid:
		d.Fail(name, "It has id_token, and scope lacks openid (AADB2C90110).",
			"Add openid to scope, or leave out id_token.")
	default:
		d.OK(name, "%s", strings.Join(types, " "))
	}
	if mode := q.Get("response_mode"); mode != "" {
		switch {
		case mode != "query" && mode != "fragment" && mode != "form_post":
			d.Fail("sign-in, response_mode", fmt.Sprintf("%q is unknown (AADB2C90014).", report.Cut(mode)),
				"Use query, fragment or form_post.")
		case mode == "query" && (has("token") || has("id_token")):
			d.Fail("sign-in, response_mode", "Tokens must not stand in a query.",
				"Use response_mode=fragment, or response_type=code.")
		default:
			d.OK("sign-in, response_mode", "%s", mode)
		}
	}

	const pkce = "sign-in, code_challenge"
	switch given, method := q.Get("code_challenge"), q.Get("code_challenge_method"); {
	case !has("code"):
		if given != "" {
			d.Warn(pkce, "It is there, but response_type asks for no code, so it protects nothing.",
				"Use response_type=code.")
		}
	case given == "":
		d.Fail(pkce, "response_type asks for a code without PKCE (RFC 7636). Clients registered as single-page apps "+
			"get AADB2C99059, and every other one's code can be "+
			"stolen.", "Send code_challenge and code_challenge_method=S256, as MSAL and go run ./scripts/run-now do.")
	case method != "S256":
		d.Fail(pkce, "code_challenge_method is not S256: without it the challenge counts as plain, which whoever sees "+
			"the URL can answer.", "Send code_challenge_method=S256.")
	case !challenge.MatchString(given):
		d.Fail(pkce, "It is not a SHA-256 in base64url without padding, which has 43 characters.",
			"code_challenge = BASE64URL(SHA256(code_verifier)).")
	default:
		d.OK(pkce, "S256")
	}

	const nonce = "sign-in, nonce"
	switch {
	case q.Get("nonce") != "":
		d.OK(nonce, "there is one")
	case has("id_token"):
		d.Fail(nonce, "It is missing, and required with id_token (OpenID Connect Core, section 3.2.2.1; AADB2C90083).",
			"Send a random value, and compare it with the claim nonce. Run now sends defaultNonce.")
	}
}

func (d *doctor) lintRedirect(q url.Values) {
	const name = "sign-in, redirect_uri"
	value := q.Get("redirect_uri")
	u, err := url.Parse(value)
	switch {
	case value == "":
		d.Fail(name, "It is missing.", "Send one that is registered. "+portal+"(the client) > Authentication.")
	case err != nil || u.Scheme == "":
		d.Fail(name, fmt.Sprintf("%q is not an absolute URI (AADB2C90287).", report.Cut(value)),
			"Send one that is registered, with its scheme. "+portal+"(the client) > Authentication.")
	case strings.Contains(value, "#"):
		d.Fail(name, "It has a fragment, which RFC 6749, section 3.1.2, forbids.", "Leave out the # and what follows.")
	case u.Scheme == "http" && !loopback.Is(u.Host):
		d.Fail(name, "It is http to another machine, so codes and tokens would travel in the open; B2C takes http for "+
			"localhost alone.", "Use https.")
	case strings.EqualFold(u.Host, "jwt.ms"):
		d.Warn(name, "The token goes to https://jwt.ms, a page that shows it: right for a trial with a test user.",
			"It must be a redirect URI of the client (AADB2C90006), to the letter. "+
				""+portal+"(the client) > Authentication.")
	default:
		d.OK(name, "%s (must be registered to the letter)", report.Cut(value))
	}
}

func (d *doctor) lintRest(q url.Values) {
	if prompt := q.Get("prompt"); prompt != "" && !slices.Contains([]string{
		"none", "login", "consent",
		"select_account",
	}, prompt) {
		d.Fail("sign-in, prompt", fmt.Sprintf("%q is unknown (AADB2C90043).", report.Cut(prompt)),
			"Use none, login, consent or select_account, or leave it out.")
	}
	for _, secret := range []string{"client_secret", "code_verifier"} {
		if q.Has(secret) {
			d.Fail("sign-in, "+secret, "It stands in the URL, where the browser's history and every log keep it.",
				"Send it to the token endpoint alone, and treat this one as leaked.")
		}
	}
}
