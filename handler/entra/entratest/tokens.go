package entratest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
)

// TokenRequest says which token AccessToken and IDToken make. The zero value is
// what alice gets when B2CTest asks for read and write.
type TokenRequest struct {
	Family   Family        // "" means B2C
	Policy   string        // of B2C, in any case; "" means PolicySignUpSignIn
	User     string        // "" means alice
	Client   string        // application ID or name; "" means the tenant's client
	Scopes   []string      // short names, written as they are; nil means read, write; empty but not nil means none
	Lifetime time.Duration // 0 means Options.AccessTokenLifetime; a negative one makes an expired token

	// Application makes the token of a program that signed in as itself, whose app roles
	// are Scopes: B2C writes them into scp, the others into roles. User has no meaning
	// then, and Client "" means the tenant's daemon.
	Application bool
}

// Token is the access token of a user for scopes of the API, by their short names:
// Token("alice", "read"). Without scopes it has read and write. It panics if there is no
// such user.
func (s *Server) Token(user string, scopes ...string) string {
	token, err := s.AccessToken(TokenRequest{User: user, Scopes: scopes})
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return token
}

// AccessToken signs an access token for the API. The error names what the
// request has wrong: the policy, the user or the client. Whether the client has
// permission for the scopes is not asked.
func (s *Server) AccessToken(r TokenRequest) (string, error) {
	g, err := s.resolve(r)
	if err != nil {
		return "", err
	}
	return s.sign(g.policy, nil, s.accessClaims(g)), nil
}

// IDToken signs an ID token for the client: what an API gets when somebody sends
// the wrong one of the two. Scopes do not matter to it. Errors as AccessToken.
func (s *Server) IDToken(r TokenRequest) (string, error) {
	g, err := s.resolve(r)
	if err != nil {
		return "", err
	}
	return s.sign(g.policy, nil, s.idClaims(g)), nil
}

// Claims returns the claims that AccessToken would sign, for tests to change and
// pass to Sign; nil where AccessToken would fail.
func (s *Server) Claims(r TokenRequest) map[string]any {
	g, err := s.resolve(r)
	if err != nil {
		return nil
	}
	return s.accessClaims(g)
}

// signIn is what a token tells: who signed in where, for which client, and what
// was granted.
type signIn struct {
	policy   *policy
	door     string
	profile  bool // Entra's families: the client asked who the user is
	user     User // none for a program that signed in as itself
	client   *application
	audience string   // of the access token
	scopes   []string // granted, short names
	nonce    string
	at       time.Time // when the user signed in
	lifetime time.Duration
}

func (s *Server) resolve(r TokenRequest) (signIn, error) {
	g := signIn{profile: true, scopes: r.Scopes, at: s.now(), lifetime: r.Lifetime}
	if r.Scopes == nil {
		g.scopes = []string{"read", "write"}
	}
	if r.Lifetime == 0 {
		g.lifetime = s.lifetime
	}
	d, err := s.findDirectory(r.Family)
	if err != nil {
		return g, err
	}
	g.audience, g.policy = d.apiID, d.own
	switch {
	case d == s.b2c:
		if g.policy, err = s.findPolicy(orDefault(r.Policy, PolicySignUpSignIn)); err != nil {
			return g, err
		}
	case r.Policy != "":
		return g, fmt.Errorf("the tenant %s has no policies", d.name)
	}
	if r.Application {
		g.client, g.profile = d.daemon(), false
		if r.Client == "" {
			return g, nil
		}
		if g.client, err = d.findClient(r.Client); err == nil && g.client.principal == "" {
			err = fmt.Errorf("%s cannot sign in as itself; %s can", g.client.name, d.daemon().name)
		}
		return g, err
	}
	if g.user, err = d.findUser(orDefault(r.User, "alice")); err != nil {
		return g, err
	}
	if g.client, err = d.findClient(r.Client); err == nil && g.client.principal != "" {
		err = fmt.Errorf("%s is a program that signs in as itself, not a user's client", g.client.name)
	}
	return g, err
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// commonClaims are those of both kinds of token of a user flow. There is no jti,
// and ver says 1.0 though the endpoint is v2.0: so does B2C.
func (s *Server) commonClaims(g signIn) map[string]any {
	now := s.now()
	if g.policy.dir != s.b2c {
		return s.entraClaims(g, now)
	}
	c := map[string]any{
		"iss":    s.Issuer(),
		"iat":    now.Unix(),
		"nbf":    now.Unix(),
		"exp":    now.Add(g.lifetime).Unix(),
		"ver":    "1.0",
		"tfp":    g.policy.name,
		"oid":    g.user.ObjectID,
		"sub":    g.user.ObjectID,
		"name":   g.user.DisplayName,
		"emails": []string{g.user.Email},
	}
	if g.lifetime < 0 {
		c["iat"] = now.Add(g.lifetime - time.Hour).Unix()
		c["nbf"] = c["iat"]
	}
	if g.nonce != "" {
		c["nonce"] = g.nonce
	}
	return c
}

func (s *Server) accessClaims(g signIn) map[string]any {
	if g.client.principal != "" {
		return s.programClaims(g)
	}
	c := s.commonClaims(g)
	c["aud"] = g.audience
	c["azp"] = g.client.id
	if len(g.scopes) > 0 {
		c["scp"] = strings.Join(g.scopes, " ")
	}
	if g.policy.dir == s.external && s.formerID != "" {
		for _, moved := range s.b2c.users {
			if moved.Name == g.user.Name {
				c[s.formerID] = moved.ObjectID
			}
		}
	}
	if g.policy.dir != s.b2c {
		delete(c, "nonce") // which is the client's, for its ID token
		c["azpacr"], c["xms_ftd"] = "0", randomText(48)
		if s.isVersionOne(g.policy.dir) && g.audience == g.policy.dir.apiID {
			s.makeVersionOne(c, g)
		}
	}
	return c
}

// entraClaims are those of both kinds of token of Entra's families, version 2. sub is
// another one for every client, and its case counts.
func (s *Server) entraClaims(g signIn, now time.Time) map[string]any {
	d := g.policy.dir
	sum := sha256.Sum256([]byte(g.user.ObjectID + g.audience + g.client.id))
	c := map[string]any{
		"iss": s.issuer(d, g.door, true),
		"iat": now.Add(-backDated).Unix(),
		"nbf": now.Add(-backDated).Unix(),
		"exp": now.Add(g.lifetime).Unix(),
		"tid": d.id,
		"sub": base64url(sum[:]),
		"rh":  "1.A" + randomText(40),
		"sid": newGUID(),
		"uti": randomText(16),
		"aio": randomText(64),
		"ver": "2.0",
	}
	if g.lifetime < 0 {
		c["iat"] = now.Add(g.lifetime - time.Hour).Unix()
		c["nbf"] = c["iat"]
	}
	if g.nonce != "" {
		c["nonce"] = g.nonce
	}
	if g.profile {
		c["oid"], c["name"], c["preferred_username"] = g.user.ObjectID, g.user.DisplayName, g.user.Email
	}
	if g.user.guest {
		c["idp"] = "https://sts.windows.net/" + someGUID + "/"
		if d == s.external {
			c["idp"] = "google.com"
		}
	}
	return c
}

// backDated is how far before its issue a token of Entra's families begins.
const backDated = 5 * time.Minute

func (s *Server) isVersionOne(d *directory) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.versionOne
}

// makeVersionOne gives an access token the form of version 1.
func (s *Server) makeVersionOne(c map[string]any, g signIn) {
	d := g.policy.dir
	for _, name := range []string{"azp", "azpacr", "preferred_username", "xms_ftd"} {
		delete(c, name)
	}
	c["iss"], c["ver"], c["aud"] = s.issuer(d, g.door, false), "1.0", d.appIDURI
	c["appid"], c["appidacr"], c["acr"], c["amr"] = g.client.id, "0", "1", []string{"pwd"}
	if g.profile {
		c["upn"] = g.user.Email
	}
}

// programClaims are those of the access token of a program that signed in as itself. B2C's
// have no mark of that.
func (s *Server) programClaims(g signIn) map[string]any {
	d, now := g.policy.dir, s.now()
	begins := now
	if d != s.b2c {
		begins = now.Add(-backDated)
	}
	if g.lifetime < 0 {
		begins = now.Add(g.lifetime - time.Hour)
	}
	c := map[string]any{
		"aud": g.audience, "azp": g.client.id, "sub": g.client.principal,
		"iat": begins.Unix(), "nbf": begins.Unix(), "exp": now.Add(g.lifetime).Unix(),
	}
	if d == s.b2c {
		c["iss"], c["ver"], c["tfp"] = s.Issuer(), "1.0", g.policy.name
		if len(g.scopes) > 0 {
			c["scp"] = strings.Join(g.scopes, " ")
		}
		return c
	}
	maps.Copy(c, map[string]any{
		"iss": s.issuer(d, g.door, true), "tid": d.id, "oid": g.client.principal, "azpacr": "1", "idtyp": "app",
		"rh": "1.A" + randomText(40), "uti": randomText(16), "aio": randomText(64), "ver": "2.0",
	})
	if len(g.scopes) > 0 {
		c["roles"] = g.scopes
	}
	if s.isVersionOne(d) && g.audience == d.apiID {
		s.makeVersionOne(c, g)
		delete(c, "acr")
		delete(c, "amr")
		c["appidacr"] = "1"
	}
	return c
}

func (s *Server) idClaims(g signIn) map[string]any {
	c := s.commonClaims(g)
	c["aud"] = g.client.id
	c["auth_time"] = g.at.Unix()
	return c
}

// halfHash is at_hash and c_hash of OpenID Connect Core 3.3.2.11: the left half
// of the SHA-256 of an access token or code.
func halfHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64url(sum[:len(sum)/2])
}

// Sign makes a token of any header and claims, signed RS256 with the active key of the
// policy, or of the tenant of the family, whose name is given. The header starts as
// {alg,kid,typ}; members of header are put
// over it, and nil takes one away. It panics if there is no such policy or a
// value has no JSON.
func (s *Server) Sign(policy string, header, claims map[string]any) string {
	return s.sign(s.mustPolicy(policy), header, claims)
}

// SignRaw makes a token whose header and payload are these very bytes, signed
// RS256 with the policy's active key. It panics if there is no such policy.
func (s *Server) SignRaw(policy string, header, payload []byte) string {
	return signRaw(s.activeKey(s.mustPolicy(policy)).private, header, payload)
}

func (s *Server) sign(p *policy, header, claims map[string]any) string {
	key := s.activeKey(p)
	h := map[string]any{"alg": "RS256", "kid": key.kid, "typ": "JWT"}
	if key.x5c != nil && claims["ver"] == "1.0" {
		h["x5t"] = key.kid
	}
	maps.Copy(h, header)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	return signRaw(key.private, mustJSON(h), mustJSON(claims))
}

func signRaw(key *rsa.PrivateKey, header, payload []byte) string {
	signed := base64url(header) + "." + base64url(payload)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		panic(fmt.Sprintf("entratest: sign a token: %v", err)) // cannot happen with a key of 2048 bits
	}
	return signed + "." + base64url(sig)
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("entratest: encode JSON: %v", err))
	}
	return b
}
