package entratest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Form fields of our sign-in page. All else in a request is the client's.
const (
	actionField = "entratest_action" // a user's name, or cancel, forgot, unknown
	scopeField  = "entratest_scope"  // a ticked scope
)

// authorization is a request at the authorize endpoint, checked.
type authorization struct {
	endpoint    endpoint
	params      url.Values // the client's parameters
	client      *application
	redirectURI string
	platform    platform
	types       []string // of response_type: code, id_token, token
	mode        string   // query, fragment, form_post
	scopes      scopeRequest
	correlation string
}

func (a *authorization) wants(responseType string) bool {
	return slices.Contains(a.types, responseType)
}

func (s *Server) serveAuthorize(w *response, r *http.Request, e endpoint) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form cannot be read.", http.StatusBadRequest)
		return
	}
	a := &authorization{endpoint: e, params: url.Values{}, correlation: correlationID(r)}
	for name, values := range r.Form {
		if name != actionField && name != scopeField {
			a.params[name] = values
		}
	}

	// Until we know that the redirect URI is the client's, errors stay here.
	if f := s.checkClient(a); f != nil {
		s.errorPage(w, e.policy.dir, a.correlation, f)
		return
	}
	if f := a.check(); f != nil {
		s.redirectFailure(w, a, f)
		return
	}

	if action := r.PostForm.Get(actionField); action != "" {
		if !s.fromOwnPage(r) {
			http.Error(w, "403: the sign-in page was not sent by this server.", http.StatusForbidden)
			return
		}
		s.decide(w, r, a, action, r.PostForm[scopeField])
		return
	}

	current, signedIn := s.session(r)
	if current.dir != e.policy.dir {
		current, signedIn = session{}, false
	}
	switch prompt := a.params.Get("prompt"); {
	case prompt == "none" && !signedIn:
		s.redirectFailure(w, a, fail("AADB2C90077"))
	case signedIn && (prompt == "none" || prompt == "" && strings.HasPrefix(a.redirectURI, "http")):
		s.complete(w, a, current, nil)
	default:
		// Browsers open an app by its own scheme only after a click.
		s.signInPage(w, a, current, "")
	}
}

func (s *Server) checkClient(a *authorization) (f *failure) {
	if a.client, f = a.endpoint.policy.dir.findApplication(a.params.Get("client_id")); f != nil {
		return f
	}
	a.redirectURI = a.params.Get("redirect_uri")
	if a.platform, f = a.client.redirectPlatform(a.redirectURI); f != nil && f.hint == "" {
		f = f.withHint("%s has these: %s.", a.client.name, strings.Join(a.client.registered(), "; "))
	}
	return f
}

// check checks everything that is reported to the client. It sets mode before
// anything can fail.
func (a *authorization) check() (f *failure) {
	get := a.params.Get

	responseType := get("response_type")
	a.types = strings.Fields(responseType)
	a.mode = "fragment"
	if responseType == "code" {
		a.mode = "query"
	}
	mode := get("response_mode")
	switch {
	case mode == "":
	case mode == "query" && (a.wants("token") || a.wants("id_token")),
		mode != "query" && mode != "fragment" && mode != "form_post":
		return fail("AADB2C90014", mode)
	default:
		a.mode = mode
	}

	switch sorted := slices.Sorted(slices.Values(a.types)); {
	case responseType == "":
		return fail("AADB2C90083", "response_type")
	case len(slices.Compact(sorted)) != len(a.types), a.endpoint.policy.name == PolicyROPC:
		return fail("AADB2C90013", responseType)
	}
	for _, t := range a.types {
		if t != "code" && t != "id_token" && t != "token" {
			return fail("AADB2C90013", responseType)
		}
	}

	switch get("prompt") {
	case "", "none", "login", "consent", "select_account":
	default:
		return fail("AADB2C90043")
	}

	if a.scopes, f = parseScopes(a.client, get("scope")); f != nil {
		return f
	}
	switch {
	case a.wants("token") && !a.scopes.resource():
		return fail("AADB2C90055", a.scopes.text)
	case a.wants("id_token") && !a.scopes.openid:
		return fail("AADB2C90110")
	case a.wants("code") && !a.scopes.openid && !a.scopes.resource():
		return fail("AADB2C90115")
	case (a.wants("token") || a.wants("id_token")) && !a.client.implicit:
		return fail("AADB2C90057")
	}

	if a.wants("code") {
		switch method := get("code_challenge_method"); {
		case get("code_challenge") == "" && a.platform != web:
			return fail("AADB2C99059")
		case method != "" && method != "S256" && method != "plain":
			return fail("AADB2C90184")
		}
	}

	_, f = a.scopes.grant(a.client, nil)
	return f
}

// decide does what a button on the sign-in page says.
func (s *Server) decide(w *response, r *http.Request, a *authorization, action string, ticked []string) {
	switch action {
	case "cancel":
		s.redirectFailure(w, a, fail("AADB2C90091"))
		return
	case "forgot":
		s.redirectFailure(w, a, fail("AADB2C90118"))
		return
	case "unknown":
		s.redirectFailure(w, a, fail("AADB2C99002"))
		return
	case "signup":
		s.signInPage(w, a, session{},
			"There is no signing up here: everybody has an account already. Sign in as one of them.")
		return
	}
	user, ok := s.findAccount(a.endpoint.policy.dir, action)
	if !ok {
		s.redirectFailure(w, a, fail("AADB2C99002"))
		return
	}
	var declined []string
	for _, scope := range a.scopes.api {
		if !slices.Contains(ticked, scope) {
			declined = append(declined, scope)
		}
	}
	s.complete(w, a, s.startSession(w, r, session{dir: a.endpoint.policy.dir, user: user}), declined)
}

// complete answers the client with what it asked for.
func (s *Server) complete(w *response, a *authorization, by session, declined []string) {
	scopes, f := a.scopes.grant(a.client, declined)
	if f != nil {
		s.redirectFailure(w, a, f)
		return
	}
	now := s.now()
	g := &grant{
		client: a.client, policy: a.endpoint.policy, door: a.endpoint.door, user: by.user,
		platform: a.platform, redirectURI: a.redirectURI,
		scopes: a.scopes, declined: declined,
		nonce:      a.params.Get("nonce"),
		challenge:  a.params.Get("code_challenge"),
		method:     orDefault(a.params.Get("code_challenge_method"), "plain"),
		signedInAt: by.signedInAt, issued: now, ends: now.Add(codeLife),
	}

	var answer parameters
	var code, access string
	if a.wants("code") {
		code = s.putCode(g)
		answer.add("code", code)
	}
	to := s.signInOf(g, a.scopes, scopes)
	if a.wants("token") {
		access = s.sign(to.policy, nil, s.accessClaims(to))
		answer.add("access_token", access)
		answer.add("token_type", "Bearer")
		answer.add("expires_in", fmt.Sprint(int(to.lifetime.Seconds())))
		answer.add("scope", a.scopes.granted(a.client, scopes))
	}
	if a.wants("id_token") {
		answer.add("id_token", s.signIDToken(to, access, code))
	}
	if a.params.Get("client_info") == "1" {
		answer.add("client_info", clientInfo(g))
	}
	s.answer(w, a, answer)
}

func (s *Server) redirectFailure(w *response, a *authorization, f *failure) {
	f = f.of(a.endpoint.policy.dir)
	w.code = f.code
	var p parameters
	p.add("error", f.kind)
	p.add("error_description", f.description(a.correlation, s.now()))
	s.answer(w, a, p)
}

// parameters are an answer's, in order.
type parameters [][2]string

func (p *parameters) add(name, value string) { *p = append(*p, [2]string{name, value}) }

func (p parameters) encode() string {
	var b strings.Builder
	for i, pair := range p {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(pair[0]) + "=" + url.QueryEscape(pair[1]))
	}
	return b.String()
}

// answer sends the parameters to the redirect URI in the mode asked for.
func (s *Server) answer(w *response, a *authorization, p parameters) {
	if state, sent := a.params["state"]; sent {
		p.add("state", state[0])
	}
	w.Header().Set("Cache-Control", "no-store")
	if a.mode == "form_post" {
		s.postPage(w, a, p)
		return
	}
	redirect(w, a.redirectURI, a.mode, p.encode())
}

// redirect writes Location byte for byte: url.URL would respell a native app's
// URI, which then no longer opens the app.
func redirect(w http.ResponseWriter, uri, mode, encoded string) {
	switch {
	case encoded == "":
	case mode == "fragment":
		uri += "#" + encoded
	case strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&"):
		uri += encoded
	case strings.Contains(uri, "?"):
		uri += "&" + encoded
	default:
		uri += "?" + encoded
	}
	w.Header()["Location"] = []string{uri}
	w.WriteHeader(http.StatusFound)
}

func (s *Server) signInOf(g *grant, asked scopeRequest, scopes []string) signIn {
	to := signIn{
		policy: g.policy, door: g.door, profile: asked.profile, user: g.user, client: g.client,
		audience: g.policy.dir.apiID,
		scopes:   scopes, nonce: g.nonce, at: g.signedInAt, lifetime: s.lifetime,
	}
	if asked.clientID {
		to.audience = g.client.id
	}
	return to
}

func (s *Server) signIDToken(to signIn, access, code string) string {
	c := s.idClaims(to)
	if access != "" {
		c["at_hash"] = halfHash(access)
	}
	if code != "" {
		c["c_hash"] = halfHash(code)
	}
	return s.sign(to.policy, nil, c)
}

// clientInfo is how MSAL tells accounts apart.
func clientInfo(g *grant) string {
	uid := g.user.ObjectID
	if g.policy.dir.family == B2C {
		uid += "-" + strings.ToLower(g.policy.name)
	}
	b, _ := json.Marshal(map[string]string{
		"uid":  uid,
		"utid": g.policy.dir.id,
	})
	return base64url(b)
}

// cookieName has the port, because cookies do not heed it.
func (s *Server) cookieName() string {
	return "entratest-session-" + strings.NewReplacer(":", "-", "[", "", "]", "").Replace(s.publicHost)
}

// session is who is signed in in this browser.
func (s *Server) session(r *http.Request) (session, bool) {
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return session{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	current, ok := s.grants.sessions.get(c.Value)
	if !ok || s.now().Sub(current.signedInAt) >= sessionLife || s.grants.gone[current.user.ObjectID] {
		return session{}, false
	}
	return current, true
}

// startSession signs the user in. The cookie is SameSite=Lax: a page on another
// port of localhost is of the same site and can renew tokens in a hidden frame,
// a page on 127.0.0.1 cannot, as no page can where browsers block third-party
// cookies.
func (s *Server) startSession(w http.ResponseWriter, r *http.Request, started session) session {
	s.forgetSession(r)
	started.signedInAt = s.now()
	id := randomText(24)
	s.mu.Lock()
	s.grants.sessions.put(id, started)
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(), Value: id, Path: "/",
		MaxAge: int(sessionLife / time.Second), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return started
}

func (s *Server) forgetSession(r *http.Request) {
	if c, err := r.Cookie(s.cookieName()); err == nil {
		s.mu.Lock()
		s.grants.sessions.remove(c.Value)
		s.mu.Unlock()
	}
}

func (s *Server) endSession(w http.ResponseWriter, r *http.Request) {
	s.forgetSession(r)
	http.SetCookie(w,
		&http.Cookie{Name: s.cookieName(), Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// serveLogout ends the session and goes back to a registered redirect URI of any
// application.
func (s *Server) serveLogout(w *response, r *http.Request, d *directory) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form cannot be read.", http.StatusBadRequest)
		return
	}
	s.endSession(w, r)
	w.Header().Set("Cache-Control", "no-store")
	uri := r.Form.Get("post_logout_redirect_uri")
	if uri == "" {
		s.page(w, http.StatusOK, "message.html",
			messagePage{Family: d.label, Title: "Signed out", Text: "You are signed out of the local stand-in."})
		return
	}
	for _, a := range d.applications {
		if _, f := a.redirectPlatform(uri); f == nil {
			var p parameters
			if r.Form.Has("state") {
				p.add("state", r.Form.Get("state"))
			}
			redirect(w, uri, "query", p.encode())
			return
		}
	}
	client := d.client()
	s.errorPage(w, d, correlationID(r), fail("AADB2C90006", uri, client.id).
		withHint("You are signed out. post_logout_redirect_uri must be a redirect URI of a client. %s has these: %s.",
			client.name, strings.Join(client.registered(), "; ")))
}

// challengeOf derives the PKCE challenge of RFC 7636, 4.2.
func challengeOf(method, verifier string) string {
	if method == "plain" {
		return verifier
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64url(sum[:])
}

// actionURL is the same authorization request again, for our form to post to.
func (a *authorization) actionURL() string {
	path, _, _ := strings.Cut(a.endpoint.path(authorizeEndpoint), "?")
	return path + "?" + a.params.Encode()
}
