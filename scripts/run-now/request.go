package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/scripts/internal/loopback"
	"itemsapi/scripts/internal/tenants"
)

// wishes are the flags that say what to ask the sign-in for. Empty means the default.
type wishes struct{ family, client, policy, scope, redirect string }

// request is what will be asked of the sign-in.
type request struct {
	tenant   tenants.Tenant
	client   string
	policy   config.Policy
	redirect *url.URL
	scopes   []string // full values of the API's, and profile or email
}

// tenantOf is the tenant of the family that was asked for, else the first that is set.
func tenantOf(c config.Config, family string) (tenants.Tenant, error) {
	all := tenants.Of(c)
	var set []string
	for _, t := range all {
		if family == "" || family == string(t.Family) {
			return t, nil
		}
		set = append(set, string(t.Family))
	}
	return tenants.Tenant{}, fmt.Errorf("-family %s: the settings name no such tenant. They have %s", family,
		strings.Join(set, " and "))
}

// newRequest puts the request together. The error names every mistake that the sign-in
// or the API would answer with a refusal, each with its cure.
func newRequest(t tenants.Tenant, w wishes) (request, error) {
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	r := request{tenant: t, client: w.client, policy: t.Policies[0]}
	if r.client == "" && len(t.AllowedClients) > 0 {
		r.client = t.AllowedClients[0]
	}
	switch {
	case r.client == "":
		mistake("no client: pass -client ID, or set %s. Portal: App registrations > (the client) > Overview shows "+
			"the ID",
			t.Names.Clients)
	case strings.EqualFold(r.client, t.APIClientID):
		mistake("-client %s is the API's own ID: nobody signs in to the API. client_id is the client's, aud will be "+
			"the API's because of the scopes. Portal: App registrations > (the client) > Overview", r.client)
	case !tenants.IsGUID(r.client):
		mistake("-client %q is not an application ID, which is a GUID. Portal: App registrations > (the client) > "+
			"Overview", r.client)
	case len(t.AllowedClients) > 0 && !slices.ContainsFunc(t.AllowedClients,
		func(id string) bool { return strings.EqualFold(id, r.client) }):
		mistake("-client %s is not in %s, so the API will answer azp.not_allowed. It admits %s",
			r.client, t.Names.Clients, strings.Join(t.AllowedClients, ", "))
	}

	names := t.PolicyNames()
	switch i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, w.policy) }); {
	case w.policy == "":
	case names == nil:
		mistake("-policy %q: the %s has no policies; its user flow is set for the client in the "+
			"portal", w.policy, t.Label)
	case i < 0:
		mistake("-policy %q is not in B2C_POLICIES, so the API will answer policy.not_allowed. It accepts %s",
			w.policy, strings.Join(names, ", "))
	default:
		r.policy = t.Policies[i]
	}

	r.scopes = r.askFor(w.scope, mistake)
	var err error
	if r.redirect, err = url.Parse(w.redirect); err != nil || !trusted(r.redirect) || r.redirect.Fragment != "" {
		mistake("-redirect %q is neither https nor http on loopback. Use https://jwt.ms or http://localhost, and "+
			"register it. Portal: App registrations > (the client) > Authentication", w.redirect)
	}
	return r, errors.Join(mistakes...)
}

// askFor checks the scopes of a list, or takes the API's two.
func (r request) askFor(list string, mistake func(format string, args ...any)) (scopes []string) {
	t := r.tenant
	full := []string{t.FullScope("read"), t.FullScope("write")}
	if t.ReadScope == t.WriteScope {
		full = full[:1]
	}
	both := strings.Join(full, " ")
	asked := full
	if list != "" {
		asked = strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ' ' })
	}
	var apis []string // by App ID URI
	wrong := false
	for _, scope := range asked {
		i := strings.LastIndexByte(scope, '/')
		of := func(format string, args ...any) {
			wrong = true
			mistake(format, args...)
		}
		switch {
		case scope == "openid", scope == "offline_access": // always added
			continue
		case scope == "profile", scope == "email":
		case strings.EqualFold(scope, r.client):
			of("scope %s is the client's own ID: the token will be for the client, and the API will answer "+
				"aud.is_client. Ask for %s", scope, both)
		case tenants.IsGraphScope(scope):
			of("scope %s is one of Microsoft Graph: its token opens only Graph, and the API will answer token.graph. "+
				"Ask for %s", scope, both)
		case i < 0 && (scope == t.ReadScope || scope == t.WriteScope):
			of("scope %q is a short name, which the sign-in does not know (AADB2C90117). Tokens carry short names, "+
				"requests the full value: %s/%s", scope, t.AppIDURI, scope)
		case i < 0:
			of("scope %q is not a full value, which begins with an App ID URI. The API's own are %s", scope, both)
		case scope[i+1:] == ".default":
			of("scope %s is for programs that sign in as themselves. A user's client asks for %s", scope, both)
		case scope[i+1:] == "":
			of("scope %s has no name after the slash. Ask for %s", scope, both)
		case !slices.Contains(full, scope) && slices.ContainsFunc(full,
			func(right string) bool { return strings.EqualFold(right, scope) }):
			of("scope %s differs from %s in case; scopes are compared letter by letter", scope, both)
		case !slices.Contains(apis, scope[:i]):
			apis = append(apis, scope[:i])
		}
		if !slices.Contains(scopes, scope) {
			scopes = append(scopes, scope)
		}
	}
	switch {
	case len(apis) > 1:
		mistake("the scopes are of %d APIs (%s), which the sign-in refuses (AADB2C90146): a token is for one. Ask "+
			"for %s alone", len(apis), strings.Join(apis, ", "), both)
	case len(apis) == 1 && apis[0] != t.AppIDURI:
		mistake("the scopes are those of %s, and the token will be for it. This API's begin with %s: ask for %s. "+
			"Portal: App registrations > (the API) > Expose an API", apis[0], t.AppIDURI, both)
	case len(apis) == 0 && !wrong:
		mistake("no scope of an API: the sign-in will give an ID token and no access token (AADB2C90055). Ask for "+
			"%s as well", both)
	}
	if t.Family != entra.FamilyB2C && !slices.Contains(scopes, "profile") {
		scopes = append([]string{"profile"}, scopes...) // without it the token may have no oid
	}
	return scopes
}

// trusted URLs are https, or http that does not leave the machine.
func trusted(u *url.URL) bool {
	return u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && loopback.Is(u.Hostname()))
}

// encode writes pairs of name and value as a query, in their order, with %20 for
// a space as the portal does.
func encode(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pairs[i] + "=" + strings.ReplaceAll(url.QueryEscape(pairs[i+1]), "+", "%20"))
	}
	return b.String()
}

// implicitURL is the portal's Run now, parameter by parameter.
func (r request) implicitURL() string {
	base, _ := r.tenant.Base()
	var pairs []string
	if r.policy.Name != "" {
		pairs = append(pairs, "p", r.policy.Name)
	}
	return base.String() + "/oauth2/v2.0/authorize?" + encode(append(
		pairs,
		"client_id", r.client,
		"nonce", "defaultNonce",
		"redirect_uri", r.redirect.String(),
		"scope", strings.Join(append([]string{"openid"}, r.scopes...), " "),
		"response_type", "id_token token",
		"prompt", "login",
	)...)
}

// codeScope is the scope parameter of the code flow.
func (r request) codeScope() string {
	return strings.Join(append([]string{"openid", "offline_access"}, r.scopes...), " ")
}

// codeURL starts the authorization code flow with PKCE (RFC 7636).
func (r request) codeURL(authorize, redirect, state, verifier string) string {
	challenge := sha256.Sum256([]byte(verifier))
	separator := "?"
	if strings.Contains(authorize, "?") {
		separator = "&"
	}
	return authorize + separator + encode(
		"client_id", r.client,
		"response_type", "code",
		"redirect_uri", redirect,
		"response_mode", "query",
		"scope", r.codeScope(),
		"state", state,
		"code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]),
		"code_challenge_method", "S256",
		"prompt", "login",
	)
}

// loopbackRedirect is where the code flow ends: the redirect URI if it is on
// loopback, else http://localhost, which B2C registers without a port and takes
// with any (RFC 8252, section 7.3).
func (r request) loopbackRedirect() url.URL {
	if r.redirect.Scheme == "http" {
		return *r.redirect
	}
	return url.URL{Scheme: "http", Host: "localhost"}
}

// secret is 256 bits in base64url, 43 characters: a state, or a verifier of
// RFC 7636, section 4.1.
func secret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// printURLs prints both forms.
func printURLs(ctx context.Context, out io.Writer, r request) error {
	fmt.Fprintf(out, "As the portal's Run now, tokens in the fragment; %s must be a redirect URI of the client:\n\n  "+
		"%s\n\n", r.redirect, r.implicitURL())
	m, err := readMetadata(ctx, r.tenant, r.policy.MetadataURL)
	if err != nil {
		return fmt.Errorf("the form with code and PKCE needs the metadata: %w", err)
	}
	redirect := r.loopbackRedirect()
	verifier := secret()
	fmt.Fprintf(out, "With code and PKCE; it ends at %s, where nobody listens, with the code in the address bar:\n\n  "+
		"%s\n\n", redirect.String(), r.codeURL(m.AuthorizationEndpoint, redirect.String(), secret(), verifier))
	fmt.Fprintf(out, "The code is redeemed once, within minutes, in place of CODE:\n\n  curl -d '%s' -d code=CODE "+
		"'%s'\n\n", encode(
		"grant_type", "authorization_code", "client_id", r.client, "redirect_uri", redirect.String(),
		"scope", r.codeScope(), "code_verifier", verifier,
	), m.TokenEndpoint)
	fmt.Fprintln(out, "All of that at once, and a look at the token: go run ./scripts/run-now -open")
	return nil
}
