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
	"regexp"
	"slices"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/loopback"
)

// wishes are the flags that say what to ask B2C for. Empty means the default.
type wishes struct{ client, policy, scope, redirect string }

// request is what will be asked of B2C.
type request struct {
	tenant   string
	client   string
	policy   config.Policy
	redirect *url.URL
	scopes   []string // full values of the API's, and profile or email
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// newRequest puts the request together. The error names every mistake that B2C
// or the API would answer with a refusal, each with its cure.
func newRequest(c config.Config, w wishes) (request, error) {
	var mistakes []error
	mistake := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	r := request{tenant: c.B2C.Tenant, client: w.client, policy: c.B2C.Policies[0]}
	full := []string{c.B2C.AppIDURI + "/" + c.B2C.ReadScope, c.B2C.AppIDURI + "/" + c.B2C.WriteScope}
	if c.B2C.ReadScope == c.B2C.WriteScope {
		full = full[:1]
	}

	if r.client == "" && len(c.B2C.AllowedClients) > 0 {
		r.client = c.B2C.AllowedClients[0]
	}
	switch {
	case r.client == "":
		mistake(
			"no client: pass -client ID, or set B2C_ALLOWED_CLIENTS. Portal: App registrations > (the client) > " +
				"Overview shows the ID",
		)
	case strings.EqualFold(r.client, c.B2C.APIClientID):
		mistake(
			"-client %s is the API's own ID: nobody signs in to the API. client_id is the client's, aud will be "+
				"the API's because of the scopes. Portal: App registrations > (the client) > Overview",
			r.client,
		)
	case !guid.MatchString(r.client):
		mistake("-client %q is not an application ID, which is a GUID. Portal: App registrations > (the client) > "+
			"Overview", r.client)
	case len(c.B2C.AllowedClients) > 0 && !slices.ContainsFunc(c.B2C.AllowedClients,
		func(id string) bool { return strings.EqualFold(id, r.client) }):
		mistake("-client %s is not in B2C_ALLOWED_CLIENTS, so the API will answer azp.not_allowed. It admits %s",
			r.client, strings.Join(c.B2C.AllowedClients, ", "))
	}

	if w.policy != "" {
		i := slices.IndexFunc(c.B2C.Policies, func(p config.Policy) bool { return strings.EqualFold(p.Name, w.policy) })
		if i < 0 {
			var names []string
			for _, p := range c.B2C.Policies {
				names = append(names, p.Name)
			}
			mistake("-policy %q is not in B2C_POLICIES, so the API will answer policy.not_allowed. It accepts %s",
				w.policy, strings.Join(names, ", "))
		} else {
			r.policy = c.B2C.Policies[i]
		}
	}

	asked := full
	if w.scope != "" {
		asked = strings.FieldsFunc(w.scope, func(c rune) bool { return c == ',' || c == ' ' })
	}
	var apis []string // by App ID URI
	wrong := len(mistakes)
	for _, scope := range asked {
		i := strings.LastIndexByte(scope, '/')
		switch {
		case scope == "openid", scope == "offline_access": // always added
			continue
		case scope == "profile", scope == "email":
		case strings.EqualFold(scope, r.client):
			mistake("scope %s is the client's own ID: the token will be for the client, and the API will answer "+
				"aud.is_client. Ask for %s", scope, strings.Join(full, " "))
		case i < 0:
			mistake(
				"scope %q is a short name, which B2C answers with AADB2C90117. Tokens carry short names, requests "+
					"the full value: %s/%s",
				scope,
				c.B2C.AppIDURI,
				scope,
			)
		case !slices.Contains(apis, scope[:i]):
			apis = append(apis, scope[:i])
		}
		if !slices.Contains(r.scopes, scope) {
			r.scopes = append(r.scopes, scope)
		}
	}
	switch {
	case len(apis) > 1:
		mistake(
			"the scopes are of %d APIs (%s), which B2C answers with AADB2C90146: a token is for one. Ask for %s alone",
			len(apis),
			strings.Join(apis, ", "),
			strings.Join(full, " "),
		)
	case len(apis) == 1 && apis[0] != c.B2C.AppIDURI:
		mistake(
			"the scopes are those of %s, and the token will be for it. This API's begin with %s: ask for %s. "+
				"Portal: App registrations > (the API) > Expose an API",
			apis[0],
			c.B2C.AppIDURI,
			strings.Join(full, " "),
		)
	case len(apis) == 0 && len(mistakes) == wrong:
		mistake("no scope of an API: B2C will give an ID token and no access token (AADB2C90055). Ask for %s as well",
			strings.Join(full, " "))
	}

	var err error
	if r.redirect, err = url.Parse(w.redirect); err != nil || !trusted(r.redirect) || r.redirect.Fragment != "" {
		mistake("-redirect %q is neither https nor http on loopback. Use https://jwt.ms or http://localhost, and "+
			"register it. Portal: App registrations > (the client) > Authentication", w.redirect)
	}
	return r, errors.Join(mistakes...)
}

// trusted URLs are https, or http that does not leave the machine.
func trusted(u *url.URL) bool {
	return u.Host != "" && u.User == nil && (u.Scheme == "https" || u.Scheme == "http" && loopback.Is(u.Hostname()))
}

func origin(rawURL string) url.URL {
	u, err := url.Parse(rawURL)
	if err != nil {
		return url.URL{}
	}
	return url.URL{Scheme: u.Scheme, Host: u.Host}
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
	at := origin(r.policy.MetadataURL)
	return at.String() + "/" + r.tenant + ".onmicrosoft.com/oauth2/v2.0/authorize?" + encode(
		"p", r.policy.Name,
		"client_id", r.client,
		"nonce", "defaultNonce",
		"redirect_uri", r.redirect.String(),
		"scope", strings.Join(append([]string{"openid"}, r.scopes...), " "),
		"response_type", "id_token token",
		"prompt", "login",
	)
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
	m, err := readMetadata(ctx, r.policy.MetadataURL)
	if err != nil {
		return fmt.Errorf("the form with code and PKCE needs the policy's metadata: %w", err)
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
