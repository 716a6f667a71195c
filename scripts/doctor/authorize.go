package main

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/scripts/internal/loopback"
	"itemsapi/scripts/internal/tenants"
)

const portal = "Portal: App registrations > "

var challenge = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// lint looks at what a client sends to the sign-in, one line a parameter.
type lint struct {
	*doctor
	tenant tenants.Tenant // whose sign-in it is
	wants  string
}

func (d *doctor) lintOf(c config.Config, u *url.URL, wants string) lint {
	address := ""
	if u != nil {
		address = u.String()
	}
	return lint{d, tenants.At(c, address), wants}
}

// lintAuthorize looks at the URL that a sign-in starts with (RFC 6749, section
// 4.1.1; OpenID Connect Core 1.0, section 3.1.2.1).
func (d *doctor) lintAuthorize(c config.Config, u *url.URL, scope string) {
	l, q := d.lintOf(c, u, scope), u.Query()
	l.repeated(q)
	l.address(u, q)
	l.client(q)
	l.scope(q)
	l.response(q)
	l.redirect(q)
	if prompt := q.Get("prompt"); prompt != "" && !slices.Contains([]string{
		"none", "login", "consent", "select_account", "create",
	}, prompt) {
		d.Fail("sign-in, prompt", fmt.Sprintf("%q is unknown (AADB2C90043).", l.Shown(prompt)),
			"Use none, login, consent or select_account, or leave it out.")
	}
}

// lintTokenRequest looks at what is sent to a token endpoint (RFC 6749, sections 4.1.3,
// 4.3, 4.4 and 6). u is nil where the text does not tell where it goes.
func (d *doctor) lintTokenRequest(c config.Config, u *url.URL, form url.Values, scope string) {
	l := d.lintOf(c, u, scope)
	l.repeated(form)
	if u != nil {
		l.address(u, form)
		if u.Query().Has("grant_type") {
			d.Fail("sign-in, method", "The parameters stand in the URL; a token endpoint takes a form by POST "+
				"(RFC 6749, section 3.2).", "Send them in the body, as application/x-www-form-urlencoded.")
		}
	}
	l.client(form)
	const name = "sign-in, grant_type"
	grant := form.Get("grant_type")
	need := map[string][]string{
		"authorization_code": {"code", "redirect_uri"}, "refresh_token": {"refresh_token"},
		"password": {"username", "password"}, "client_credentials": {"client_secret"},
	}[grant]
	var missing []string
	for _, parameter := range need {
		if form.Get(parameter) == "" && (parameter != "client_secret" || form.Get("client_assertion") == "") {
			missing = append(missing, parameter)
		}
	}
	switch {
	case need == nil:
		d.Fail(name, fmt.Sprintf("%q is not a grant that yields tokens for this API (AADB2C90086).", l.Shown(grant)),
			"Use authorization_code or refresh_token; password and client_credentials where the policy takes them.")
	case missing != nil:
		d.Fail(name, grant+" needs "+strings.Join(missing, " and ")+" as well (AADB2C90083).", "Send it.")
	case grant == "authorization_code" && form.Get("code_verifier") == "" && form.Get("client_secret") == "":
		d.Fail(name, "There is neither code_verifier nor client_secret, so whoever sees the code could redeem it.",
			"Send the code_verifier of the sign-in (PKCE, RFC 7636).")
	default:
		d.OK(name, "%s", grant)
	}
	if grant != "client_credentials" {
		l.scope(form)
		return
	}
	want := l.tenant.AppIDURI + "/.default"
	if given := form.Get("scope"); given != want {
		d.Fail("sign-in, scope", fmt.Sprintf("It is %q; a program that signs in as itself asks only for %s "+
			"(AADB2C99068).", l.Shown(given), want), "Ask for "+want+". What the program may do are app roles.")
		return
	}
	d.OK("sign-in, scope", "%s", want)
}

func (l lint) repeated(q url.Values) {
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if len(q[name]) > 1 {
			l.Fail("sign-in, "+l.Shown(name), "The parameter is there several times (RFC 6749, section 3.1, forbids "+
				"it).", "Send it once; several scopes are one value, separated by spaces (%20).")
		}
	}
}

func (l lint) address(u *url.URL, q url.Values) {
	metadata, err := url.Parse(l.tenant.Policies[0].MetadataURL)
	if err != nil {
		return
	}
	host := strings.ToLower(metadata.Host)
	right := metadata.Scheme + "://" + host
	switch {
	case strings.EqualFold(u.Host, host) && u.Scheme != metadata.Scheme:
		l.Fail("sign-in, host", fmt.Sprintf("The URL is %s, the metadata of the API's settings are %s.",
			l.Shown(u.Scheme), metadata.Scheme), "Use "+right+".")
	case strings.EqualFold(u.Host, host), l.tenant.Family == entra.FamilyExternalID &&
		strings.HasSuffix(strings.ToLower(u.Host), ".ciamlogin.com"):
		l.OK("sign-in, host", "%s", strings.ToLower(u.Host))
	case strings.EqualFold(u.Host, "login.microsoftonline.com") && l.tenant.Family == entra.FamilyB2C:
		l.Fail("sign-in, host", "login.microsoftonline.com is B2C's old host, or Entra ID's own sign-in: the API "+
			"refuses its tokens with iss.legacy_host or token.entra.", "Use "+right+".")
	case strings.EqualFold(u.Host, "login.microsoftonline.com"):
		l.Fail("sign-in, host", "login.microsoftonline.com is the sign-in of workforce tenants; accounts of an "+
			"external tenant get AADSTS500208 there, or tokens that the API refuses with "+
			"iss.workforce_door.", "Use "+right+".")
	default:
		l.Fail("sign-in, host", fmt.Sprintf("The host is %s, the API's is %s, so the token's issuer will be another "+
			"one.", l.Shown(u.Host), host), "Use "+right+", or change the settings (the family's _HOST and "+
			"_METADATA_URL) if the API is the one to move.")
	}

	// /{tenant}/{policy}/oauth2/v2.0/authorize, /tfp/{tenant}/{policy}/…, or ?p={policy}.
	_, prefix := l.tenant.Base()
	parts := strings.Split(strings.Trim(strings.TrimPrefix(u.Path, prefix), "/"), "/")
	if len(parts) > 1 && (strings.EqualFold(parts[0], "tfp") || strings.EqualFold(parts[0], "te")) {
		parts = parts[1:]
	}
	tenant, policy := parts[0], q.Get("p")
	if policy == "" && len(parts) > 1 && !strings.EqualFold(parts[1], "oauth2") {
		policy = parts[1]
	}
	domain := l.tenant.Directory()
	switch {
	case strings.EqualFold(tenant, domain), strings.EqualFold(tenant, l.tenant.Tenant):
		l.OK("sign-in, tenant", "%s", tenant)
	case l.tenant.Family != entra.FamilyB2C &&
		slices.Contains([]string{"common", "organizations", "consumers"}, tenant):
		l.Fail("sign-in, tenant", tenant+" stands for many tenants; the API admits one (AADSTS50194, "+
			"iss.other_tenant).",
			"Sign in at "+right+"/"+domain+"/oauth2/v2.0/authorize.")
	case tenants.IsGUID(tenant):
		l.OK("sign-in, tenant", "%s (by its GUID, which was not compared)", tenant)
	default:
		l.Fail("sign-in, tenant", fmt.Sprintf("The tenant is %q, the API's is %s.", l.Shown(tenant), domain),
			"Sign in at the API's tenant; test and production are often mixed up here.")
	}
	if l.tenant.Family != entra.FamilyB2C {
		if policy != "" {
			l.Fail("sign-in, policy", fmt.Sprintf("%q stands where B2C has a policy; this tenant's URLs have none.",
				l.Shown(policy)), "Use "+right+"/"+domain+"/oauth2/v2.0/authorize; the client's user flow is set in "+
				"the portal.")
		}
		return
	}
	names := l.tenant.PolicyNames()
	switch {
	case policy == "":
		l.Fail("sign-in, policy", "The URL names no policy, neither in the path nor as p. Without one B2C answers 404.",
			"Put one of "+strings.Join(names, ", ")+" into it: …/"+domain+"/POLICY/oauth2/v2.0/authorize")
	case slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, policy) }):
		l.OK("sign-in, policy", "%s", policy)
	default:
		l.Fail("sign-in, policy", fmt.Sprintf("The API does not accept tokens of the policy %s (policy.not_allowed); "+
			"it accepts %s.", l.Shown(policy), strings.Join(names, ", ")),
			"Sign in with one of those, or have the API's operator add this one to B2C_POLICIES.")
	}
}

func (l lint) client(q url.Values) {
	const name = "sign-in, client_id"
	client, overview := q.Get("client_id"), portal+"(the client) > Overview."
	switch {
	case client == "":
		l.Fail(name, "It is missing (AADB2C90008).", "Put the client's application ID there. "+overview)
	case strings.EqualFold(client, l.tenant.APIClientID):
		l.Fail(name, client+" is the API's own ID. A client signs in, the API does not: the token would be for the "+
			"wrong application, or the sign-in would find no redirect URI.",
			"Put the client's application ID there; the API appears only in scope. "+overview)
	case !tenants.IsGUID(client):
		l.Fail(name, fmt.Sprintf("%q is not an application ID, which is a GUID (AADB2C90018).", l.Shown(client)),
			portal+"(the client) > Overview > Application (client) ID.")
	case len(l.tenant.AllowedClients) > 0 && !slices.Contains(l.tenant.AllowedClients, strings.ToLower(client)):
		l.Fail(name, client+" is not among "+l.tenant.Names.Clients+", so its tokens are refused with azp.not_allowed.",
			"Use an admitted client, or have the API's operator add this one.")
	default:
		l.OK(name, "%s", client)
	}
}

func (l lint) scope(q url.Values) {
	const name = "sign-in, scope"
	value := q.Get("scope")
	uri, wanted := l.tenant.AppIDURI, l.tenant.Scope(l.wants)
	read, write := l.tenant.FullScope("read"), l.tenant.FullScope("write")
	fix := "Ask for scope=openid " + uri + "/" + wanted + " (spaces written %20)."
	switch {
	case strings.TrimSpace(value) == "":
		l.Fail(name, "It is missing (AADB2C90010).", fix)
		return
	case strings.Contains(strings.ToLower(value), "%2f") || strings.Contains(value, "%20"):
		l.Fail(name, "It was percent-encoded twice: after decoding it still has %2F or %20.", "Encode it once.")
		return
	case strings.Contains(value, ","):
		l.Fail(name, "It has a comma. Scopes are separated by spaces (%20 or +).", fix)
		return
	}
	failed, ours, resources := false, []string{}, []string{}
	fail := func(what, fix string) {
		failed = true
		l.Fail(name, what, fix)
	}
	for s := range strings.FieldsSeq(value) {
		resource, short := "", s
		if i := strings.LastIndexByte(s, '/'); i >= 0 {
			resource, short = s[:i], s[i+1:]
			resources = append(resources, resource)
		}
		switch {
		case slices.Contains([]string{"openid", "offline_access", "profile", "email"}, s):
		case tenants.IsGraphScope(s):
			fail(l.Shown(s)+" is a scope of Microsoft Graph: its token opens Graph alone (token.graph), and B2C "+
				"mostly answers AADB2C90117.", "Ask for "+read+" or "+write+" instead.")
		case tenants.IsGUID(s):
			fail(s+" is an application ID: a token for it has that application as audience and no scopes "+
				"(aud.is_client).", "Ask for "+read+" or "+write+" instead.")
		case resource == "":
			fail(
				fmt.Sprintf("%q is a short name; B2C knows only full scope values (AADB2C90117).", l.Shown(s)),
				"Ask for "+uri+"/"+l.Shown(s)+".",
			)
		case resource != uri && strings.EqualFold(resource, uri):
			fail(
				l.Shown(s)+" differs from "+uri+"/… in case.",
				"Copy the full value. "+portal+"(the API) > Expose an API.",
			)
		case resource != uri:
			fail(
				l.Shown(s)+" belongs to another resource than this API, whose scopes start with "+uri+"/. If the "+
					"App ID URI was renamed, B2C answers AADB2C90117.",
				"Ask for "+read+" or "+write+". "+portal+"(the API) > Expose an API shows the App ID URI; "+
					l.tenant.Prefix+"APP_ID_URI repeats it.",
			)
		case short == ".default":
			fail(l.Shown(s)+" is for programs that sign in as themselves (client credentials).",
				"Ask for the scopes by name: "+read+", "+write+".")
		case short == "":
			fail(l.Shown(s)+" has no scope name after the slash.", "Ask for "+read+" or "+write+".")
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
		l.Fail(name, fmt.Sprintf("%q asks for none of the API's scopes: B2C answers with only an ID token, or with a "+
			"token for nothing (AADB2C90055).", l.Shown(value)), fix+" In the portal's Run now, choose the API under "+
			"Access tokens.")
	case !slices.Contains(ours, wanted):
		l.Warn(name, fmt.Sprintf("It asks for %s, but not for %s.", listed(ours), wanted),
			"Fine if the client never needs it. Otherwise: "+fix)
	default:
		l.OK(name, "%s of this API", strings.Join(ours, " "))
	}
	if l.tenant.Family != entra.FamilyB2C && !slices.Contains(strings.Fields(value), "profile") {
		l.Warn(name, "It lacks profile, without which the token may name its user by no oid (subject.no_oid).",
			"Ask for profile, too.")
	}
}

func (l lint) response(q url.Values) {
	const name = "sign-in, response_type"
	value := q.Get("response_type")
	types := strings.Fields(value)
	has := func(t string) bool { return slices.Contains(types, t) }
	openid := slices.Contains(strings.Fields(q.Get("scope")), "openid")
	unknown := slices.ContainsFunc(types, func(t string) bool { return t != "code" && t != "token" && t != "id_token" })
	switch {
	case len(types) == 0:
		l.Fail(name, "It is missing.", "Use response_type=code with PKCE, or id_token token as the portal's Run now "+
			"does.")
	case unknown:
		l.Fail(name, fmt.Sprintf("%q is unknown (AADB2C90013).", l.Shown(value)),
			"Use code, or id_token token, separated by a space (%20).")
	case !has("code") && !has("token"):
		l.Fail(name, "id_token alone brings an ID token and no access token.",
			"Use response_type=code with PKCE, or id_token token as the portal's Run now does.")
	case has("id_token") && !openid:
		l.Fail(name, "It has id_token, and scope lacks openid (AADB2C90110).",
			"Add openid to scope, or leave out id_token.")
	default:
		l.OK(name, "%s", strings.Join(types, " "))
	}
	if mode := q.Get("response_mode"); mode != "" {
		switch {
		case mode != "query" && mode != "fragment" && mode != "form_post":
			l.Fail("sign-in, response_mode", fmt.Sprintf("%q is unknown (AADB2C90014).", l.Shown(mode)),
				"Use query, fragment or form_post.")
		case mode == "query" && (has("token") || has("id_token")):
			l.Fail("sign-in, response_mode", "Tokens must not stand in a query.",
				"Use response_mode=fragment, or response_type=code.")
		default:
			l.OK("sign-in, response_mode", "%s", mode)
		}
	}

	const pkce = "sign-in, code_challenge"
	switch given, method := q.Get("code_challenge"), q.Get("code_challenge_method"); {
	case !has("code"):
		if given != "" {
			l.Warn(pkce, "It is there, but response_type asks for no code, so it protects nothing.",
				"Use response_type=code.")
		}
	case given == "" && !public(q.Get("redirect_uri")):
		l.Warn(pkce, "There is no PKCE (RFC 7636). That is right only for a web application with a secret; "+
			"single-page apps get AADB2C99059.", "For any other client send code_challenge and "+
			"code_challenge_method=S256.")
	case given == "":
		l.Fail(pkce, "response_type asks for a code without PKCE (RFC 7636), and this client keeps no secret: its "+
			"code can be stolen. Those registered as single-page apps get AADB2C99059.",
			"Send code_challenge and code_challenge_method=S256, as MSAL and go run ./scripts/run-now do.")
	case method != "S256":
		l.Fail(pkce, "code_challenge_method is not S256: without it the challenge counts as plain, which whoever sees "+
			"the URL can answer.", "Send code_challenge_method=S256.")
	case !challenge.MatchString(given):
		l.Fail(pkce, "It is not a SHA-256 in base64url without padding, which has 43 characters.",
			"code_challenge = BASE64URL(SHA256(code_verifier)).")
	default:
		l.OK(pkce, "S256")
	}

	const nonce = "sign-in, nonce"
	switch {
	case q.Get("nonce") != "":
		l.OK(nonce, "there is one")
	case has("id_token"):
		l.Fail(nonce, "It is missing, and required with id_token (OpenID Connect Core, section 3.2.2.1; AADB2C90083).",
			"Send a random value, and compare it with the claim nonce. Run now sends defaultNonce.")
	}
}

func (l lint) redirect(q url.Values) {
	const name = "sign-in, redirect_uri"
	value := q.Get("redirect_uri")
	u, err := url.Parse(value)
	switch {
	case value == "":
		l.Fail(name, "It is missing.", "Send one that is registered. "+portal+"(the client) > Authentication.")
	case err != nil || u.Scheme == "":
		l.Fail(name, fmt.Sprintf("%q is not an absolute URI (AADB2C90287).", l.Shown(value)),
			"Send one that is registered, with its scheme. "+portal+"(the client) > Authentication.")
	case strings.Contains(value, "#"):
		l.Fail(name, "It has a fragment, which RFC 6749, section 3.1.2, forbids.", "Leave out the # and what follows.")
	case u.Scheme == "http" && !loopback.Is(u.Host):
		l.Fail(name, "It is http to another machine, so codes and tokens would travel in the open; B2C takes http for "+
			"localhost alone.", "Use https.")
	case strings.EqualFold(u.Host, "jwt.ms"):
		l.Warn(name, "The token goes to https://jwt.ms, a page that shows it: right for a trial with a test user.",
			"It must be a redirect URI of the client (AADB2C90006), to the letter. "+
				""+portal+"(the client) > Authentication.")
	default:
		l.OK(name, "%s (must be registered to the letter)", l.Shown(value))
	}
}

// public reports whether a redirect URI is that of a program on somebody's machine, which
// keeps no secret (RFC 8252, section 7).
func public(redirect string) bool {
	u, err := url.Parse(redirect)
	return err == nil && u.Scheme != "https"
}
