package entratest

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// tokenResponse has B2C's members, of which Entra's families have some. Numbers are
// numbers.
type tokenResponse struct {
	AccessToken           string `json:"access_token,omitempty"`
	IDToken               string `json:"id_token,omitempty"`
	TokenType             string `json:"token_type"`
	NotBefore             int64  `json:"not_before,omitempty"`
	ExpiresIn             int64  `json:"expires_in,omitempty"`
	ExpiresOn             int64  `json:"expires_on,omitempty"`
	Resource              string `json:"resource,omitempty"`
	ClientInfo            string `json:"client_info,omitempty"`
	IDTokenExpiresIn      int64  `json:"id_token_expires_in,omitempty"`
	ProfileInfo           string `json:"profile_info,omitempty"`
	Scope                 string `json:"scope,omitempty"`
	RefreshToken          string `json:"refresh_token,omitempty"`
	RefreshTokenExpiresIn int64  `json:"refresh_token_expires_in,omitempty"`
}

func (s *Server) serveToken(w *response, r *http.Request, e endpoint) {
	w.Header().Set("Cache-Control", "no-store")
	answer, f := s.redeem(r, e)
	if f != nil {
		f = f.of(e.policy.dir)
		w.code = f.code
		correlation := correlationID(r)
		document := map[string]any{"error": f.kind, "error_description": f.description(correlation, s.now())}
		if number := f.number(); number != 0 && e.policy.dir != s.b2c {
			document["error_codes"], document["correlation_id"] = []int{number}, correlation
			document["timestamp"], document["trace_id"] = timestamp(s.now()), newGUID()
		}
		s.writeJSON(w, http.StatusBadRequest, document)
		return
	}
	s.writeJSON(w, http.StatusOK, answer)
}

// redeem turns a grant into tokens.
func (s *Server) redeem(r *http.Request, e endpoint) (*tokenResponse, *failure) {
	p := e.policy
	if err := r.ParseForm(); err != nil {
		return nil, fail("AADB2C90083", "grant_type") // a form that cannot be read has none
	}
	grantType := r.PostForm.Get("grant_type")
	if grantType == "" {
		return nil, fail("AADB2C90083", "grant_type")
	}
	switch grantType {
	case "client_credentials":
		return s.redeemCredentials(r, e)
	case "authorization_code", "refresh_token":
	case "password":
		if p.name != PolicyROPC {
			return nil, fail("AADB2C90086", grantType)
		}
	default:
		return nil, fail("AADB2C90086", grantType)
	}
	client, f := p.dir.findApplication(r.PostForm.Get("client_id"))
	if f != nil {
		return nil, f
	}
	switch grantType {
	case "authorization_code":
		return s.redeemCode(r, p, client)
	case "refresh_token":
		return s.redeemRefreshToken(r, p, client)
	}
	return s.redeemPassword(r, p, client)
}

func (s *Server) redeemCode(r *http.Request, p *policy, client *application) (*tokenResponse, *failure) {
	post := r.PostForm
	for _, required := range []string{"code", "redirect_uri"} {
		if post.Get(required) == "" {
			return nil, fail("AADB2C90083", required)
		}
	}
	g, f := s.take(&s.grants.codes, post.Get("code"), func(g *grant) *failure {
		if f := g.check(r, p, client); f != nil {
			return f
		}
		if post.Get("redirect_uri") != g.redirectURI {
			return fail("AADB2C90006", post.Get("redirect_uri"), client.id)
		}
		return g.checkVerifier(post.Get("code_verifier"))
	})
	if f != nil {
		return nil, f
	}
	// What the user granted stands; the scope parameter may only repeat it.
	return s.tokens(r, *g, g.scopes)
}

func (s *Server) redeemRefreshToken(r *http.Request, p *policy, client *application) (*tokenResponse, *failure) {
	token := r.PostForm.Get("refresh_token")
	if token == "" {
		return nil, fail("AADB2C90083", "refresh_token")
	}
	var scopes scopeRequest
	g, f := s.take(&s.grants.refresh, token, func(g *grant) (f *failure) {
		if f := g.check(r, p, client); f != nil {
			return f
		}
		// Another scope of the API than the first time is fine: MSAL asks for
		// them one by one.
		scopes = g.scopes
		if asked := r.PostForm.Get("scope"); asked != "" {
			if scopes, f = parseScopes(client, asked); f != nil {
				return f
			}
		}
		_, f = scopes.grant(client, g.declined)
		return f
	})
	if f != nil {
		return nil, f
	}
	scopes.offline = true
	return s.tokens(r, *g, scopes)
}

func (s *Server) redeemPassword(r *http.Request, p *policy, client *application) (*tokenResponse, *failure) {
	post := r.PostForm
	if !client.password {
		return nil, fail("AADB2C90224")
	}
	if post.Get("client_secret") != "" {
		return nil, fail("AADB2C90084")
	}
	for _, required := range []string{"username", "password"} {
		if post.Get(required) == "" {
			return nil, fail("AADB2C90083", required)
		}
	}
	scopes, f := parseScopes(client, post.Get("scope"))
	if f != nil {
		return nil, f
	}
	if slices.Contains(strings.Fields(post.Get("response_type")), "id_token") && !scopes.openid {
		return nil, fail("AADB2C90107", client.id)
	}
	if !scopes.openid && !scopes.resource() {
		return nil, fail("AADB2C90055", scopes.text)
	}
	if _, f := scopes.grant(client, nil); f != nil {
		return nil, f
	}
	user, ok := s.findAccount(p.dir, post.Get("username"))
	if !ok || post.Get("password") != user.Name {
		return nil, fail("AADB2C90225")
	}
	return s.tokens(
		r,
		grant{client: client, policy: p, user: user, platform: native, scopes: scopes, signedInAt: s.now()},
		scopes,
	)
}

// redeemCredentials signs a program in as itself (RFC 6749, section 4.4). It sends its
// secret in the form, or in the header (section 2.3.1).
func (s *Server) redeemCredentials(r *http.Request, e endpoint) (*tokenResponse, *failure) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if name, password, ok := r.BasicAuth(); ok {
		id, _ = url.QueryUnescape(name) // what cannot be decoded is nobody's
		secret, _ = url.QueryUnescape(password)
	}
	d := e.policy.dir
	client, f := d.findApplication(id)
	scope := r.PostForm.Get("scope")
	switch {
	case f != nil:
		return nil, f
	case client.principal == "":
		return nil, fail("AADB2C90086", "client_credentials")
	case secret == "":
		return nil, fail("AADB2C90079")
	case secret != client.name:
		return nil, fail("AADB2C90081")
	case scope == "":
		return nil, fail("AADB2C90010")
	case scope != d.appIDURI+"/.default":
		return nil, fail("AADB2C99068", scope)
	}
	g := signIn{
		policy: e.policy, door: e.door, client: client, audience: d.apiID,
		scopes: client.permissions, lifetime: s.lifetime,
	}
	answer := &tokenResponse{
		TokenType: "Bearer", ExpiresIn: int64(s.lifetime.Seconds()),
		AccessToken: s.sign(g.policy, nil, s.accessClaims(g)),
	}
	if d == s.b2c {
		answer.NotBefore = s.now().Unix()
		answer.ExpiresOn, answer.Resource = answer.NotBefore+answer.ExpiresIn, g.audience
	}
	return answer, nil
}

// check is what codes and refresh tokens are bound to.
func (g *grant) check(r *http.Request, p *policy, client *application) *failure {
	secret := r.PostForm.Get("client_secret")
	crossOrigin := r.Header.Get("Origin") != ""
	switch {
	case g.policy != p:
		return fail("AADB2C90088", p.name, g.policy.name)
	case g.client != client:
		return fail("AADB2C90279", client.id)
	case g.platform == web && secret == "":
		return fail("AADB2C90079")
	case g.platform == web:
		return fail("AADB2C90081")
	case secret != "":
		return fail("AADB2C90084")
	case g.platform == spa && !crossOrigin:
		return fail("AADSTS9002327")
	case g.platform == native && crossOrigin && g.redirectURI != "": // a password has no redirect URI
		return fail("AADSTS9002326")
	}
	return nil
}

// verifierForm is RFC 7636, 4.1.
var verifierForm = regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)

func (g *grant) checkVerifier(verifier string) *failure {
	switch {
	case g.challenge == "":
		return nil
	case !verifierForm.MatchString(verifier):
		return fail("AADB2C90183")
	case subtle.ConstantTimeCompare([]byte(challengeOf(g.method, verifier)), []byte(g.challenge)) != 1:
		return fail("AADB2C90182")
	}
	return nil
}

// tokens makes the answer for a grant, with the scopes asked for this time.
func (s *Server) tokens(r *http.Request, g grant, asked scopeRequest) (*tokenResponse, *failure) {
	scopes, f := asked.grant(g.client, g.declined)
	if f != nil {
		return nil, f
	}
	to := s.signInOf(&g, asked, scopes)
	now, life := s.now(), int64(s.lifetime.Seconds())
	answer := &tokenResponse{TokenType: "Bearer", NotBefore: now.Unix(), Scope: asked.granted(g.client, scopes)}
	if asked.resource() {
		answer.AccessToken = s.sign(to.policy, nil, s.accessClaims(to))
		answer.ExpiresIn, answer.ExpiresOn = life, now.Unix()+life
		answer.Resource = to.audience
	}
	if asked.openid {
		answer.IDToken = s.signIDToken(to, answer.AccessToken, "")
		answer.IDTokenExpiresIn = life
		answer.ProfileInfo = profileInfo(g)
	}
	if r.PostForm.Get("client_info") == "1" {
		answer.ClientInfo = clientInfo(&g)
	}
	if asked.offline {
		token, left := s.newRefreshToken(g)
		answer.RefreshToken, answer.RefreshTokenExpiresIn = token, int64(left.Seconds())
	}
	if g.policy.dir != s.b2c {
		answer.NotBefore, answer.ExpiresOn, answer.Resource, answer.ProfileInfo = 0, 0, "", ""
		answer.IDTokenExpiresIn, answer.RefreshTokenExpiresIn = 0, 0
	}
	return answer, nil
}

func profileInfo(g grant) string {
	b, _ := json.Marshal(struct {
		Ver      string  `json:"ver"`
		TID      string  `json:"tid"`
		Sub      *string `json:"sub"`
		Name     string  `json:"name"`
		Username *string `json:"preferred_username"`
		IDP      string  `json:"idp"`
	}{Ver: "1.0", TID: g.policy.dir.id, Name: g.user.DisplayName, IDP: "LocalAccount"})
	return base64url(b)
}
