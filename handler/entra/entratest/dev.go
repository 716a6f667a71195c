package entratest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// armedFor is how long /dev/broken keeps the fault that a code needs.
const armedFor = 60 * time.Second

// switches are the faults that were turned on by a person. Server.mu guards it.
type switches struct {
	keysState  string // well, down, hanging
	keysRemove func()
	disarm     func()
}

// serveOwn serves what B2C does not have: the overview, and what scripts use.
func (s *Server) serveOwn(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == runNowPath && s.runNow != nil {
		s.runNow.ServeHTTP(w, r)
		return
	}
	method := http.MethodGet
	if r.URL.Path == "/dev/rollover" || r.URL.Path == "/dev/keys" {
		method = http.MethodPost
	}
	var handle http.HandlerFunc
	switch r.URL.Path {
	case "/":
		handle = s.serveRoot
	case "/style.css":
		handle = serveStyle
	case "/dev/token":
		handle = s.serveDevToken
	case "/dev/broken":
		handle = s.serveDevBroken
	case "/dev/rollover":
		handle = s.serveDevRollover
	case "/dev/keys":
		handle = s.serveDevKeys
	default:
		http.Error(w, fmt.Sprintf("404: nothing here. URLs of the tenant begin with /%s/%s/; %s lists them.",
			TenantDomain, PolicySignUpSignIn, s.URL()), http.StatusNotFound)
		return
	}
	if r.Method != method && (method == http.MethodPost || r.Method != http.MethodHead) {
		w.Header().Set("Allow", method)
		http.Error(w, "405: use "+method+".", http.StatusMethodNotAllowed)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/dev/") &&
		(!s.fromOwnPage(r) || method == http.MethodGet && r.Header.Get("Origin") != "") {
		http.Error(w, "403: a page of another origin may not use this.", http.StatusForbidden)
		return
	}
	handle(w, r)
}

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	css, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	_, _ = w.Write(css)
}

type rootPage struct {
	KeysState string
	Tenants   []rootTenant
	Codes     []string
}

type rootTenant struct {
	Family, Label, Domain, ID, Issuer, AppIDURI, ROPC string
	Users                                             []User
	Policies                                          []rootPolicy
	Applications                                      []rootApplication
}

type rootPolicy struct {
	Name, Metadata, Keys string
	RunNow, AtJWTms      string // Run now, here and as the portal's; the former may be empty
	Value                string // of the form
	Kids                 []string
}

type rootApplication struct {
	Name, ID, Permissions, Scopes, Flows string
	Redirects                            []string
}

func (s *Server) serveRoot(w http.ResponseWriter, _ *http.Request) {
	page := rootPage{Codes: BrokenCodes()}
	s.mu.Lock()
	page.KeysState = orDefault(s.switches.keysState, "well")
	s.mu.Unlock()
	for _, d := range s.directories() {
		page.Tenants = append(page.Tenants, s.rootTenant(d))
	}
	s.page(w, http.StatusOK, "root.html", page)
}

func (s *Server) rootTenant(d *directory) rootTenant {
	t := rootTenant{
		Family: string(d.family), Label: d.label, Domain: d.domain, ID: d.id, Issuer: s.issuer(d, "", true),
		AppIDURI: d.appIDURI, Users: s.accounts(d),
	}
	policies := s.policies
	if d == s.b2c {
		t.ROPC = PolicyROPC
	} else {
		policies = []*policy{d.own}
	}
	for _, p := range policies {
		e := endpoint{policy: p, tenant: d.domain, v2: true}
		row := rootPolicy{Name: p.name, Metadata: e.path(metadataEndpoint), Keys: e.path(keysEndpoint), Value: p.name}
		if d != s.b2c {
			row.Name = "the tenant"
		}
		if p.name != PolicyROPC {
			row.AtJWTms = runNow(p, "https://jwt.ms", "")
			if s.runNow != nil {
				row.RunNow = runNow(p, s.URL()+runNowPath, "form_post")
			}
		}
		for _, k := range s.jwks(e).Keys {
			row.Kids = append(row.Kids, k.Kid)
		}
		t.Policies = append(t.Policies, row)
	}
	for _, a := range d.applications {
		row := rootApplication{
			Name: a.name, ID: a.id, Permissions: strings.Join(a.permissions, ", "),
			Redirects: a.registered(),
		}
		switch {
		case a.id == d.apiID:
			row.Scopes = strings.Join(publishedScopes, ", ")
		case a.principal != "":
			row.Flows = "client credentials; the secret is " + a.name
		case a.password:
			row.Flows = "code with PKCE, implicit, password"
		case a.implicit:
			row.Flows = "code with PKCE, implicit"
		default:
			row.Flows = "code with PKCE"
		}
		t.Applications = append(t.Applications, row)
	}
	return t
}

// runNowPath is where a sign-in that Run now started ends.
const runNowPath = "/run-now"

// runNow is the authorize URL that the portal's "Run user flow" makes when the
// API's scopes are chosen; mode is the response_mode, or empty as there.
func runNow(p *policy, redirectURI, mode string) string {
	d, scopes := p.dir, make([]string, len(publishedScopes))
	for i, scope := range publishedScopes {
		scopes[i] = d.appIDURI + "/" + scope
	}
	var q parameters
	openid := "openid "
	if d.family == B2C {
		q.add("p", p.name)
	} else {
		openid += "profile "
	}
	q.add("client_id", d.client().id)
	q.add("nonce", "defaultNonce")
	q.add("redirect_uri", redirectURI)
	q.add("scope", openid+strings.Join(scopes, " "))
	q.add("response_type", "id_token token")
	q.add("prompt", "login")
	if mode != "" {
		q.add("response_mode", mode)
	}
	return "/" + d.domain + "/oauth2/v2.0/authorize?" + strings.ReplaceAll(q.encode(), "+", "%20")
}

func (s *Server) serveDevToken(w http.ResponseWriter, r *http.Request) {
	token, err := s.devToken(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, token)
}

// devToken is AccessToken for people: unlike it, it refuses scopes that B2C
// would not grant.
func (s *Server) devToken(q url.Values) (string, error) {
	for name := range q {
		if !slices.Contains([]string{"family", "user", "scope", "policy", "client", "application"}, name) {
			return "", fmt.Errorf("no parameter %q; there are application, family, user, scope, policy and client",
				short(name))
		}
	}
	r := TokenRequest{
		Family: Family(q.Get("family")), Policy: q.Get("policy"), User: q.Get("user"), Client: q.Get("client"),
		Application: q.Get("application") == "true",
	}
	g, err := s.resolve(r)
	if err != nil {
		return "", err
	}
	published, kind := publishedScopes, "scope"
	if r.Application {
		published, kind = appRoles, "app role"
	} else if _, ok := s.findAccount(g.policy.dir, g.user.Name); !ok {
		return "", fmt.Errorf("the account %s was removed", g.user.Name)
	}
	if q.Has("scope") {
		r.Scopes = strings.FieldsFunc(q.Get("scope"), func(c rune) bool { return c == ',' || c == ' ' })
		if r.Scopes == nil {
			r.Scopes = []string{}
		}
	} else {
		r.Scopes = slices.DeleteFunc([]string{"read", "write"}, func(scope string) bool {
			return !slices.Contains(g.client.permissions, scope)
		})
	}
	for i, scope := range r.Scopes {
		scope = strings.TrimPrefix(scope, g.policy.dir.appIDURI+"/")
		if !slices.Contains(published, scope) {
			return "", fmt.Errorf("no %s %q; there are %s", kind, short(scope), strings.Join(published, ", "))
		}
		if !slices.Contains(g.client.permissions, scope) {
			return "", fmt.Errorf("%s has no permission for the %s %s; it has %s",
				g.client.name, kind, scope, strings.Join(g.client.permissions, ", "))
		}
		r.Scopes[i] = scope
	}
	return s.AccessToken(r)
}

type brokenAnswer struct {
	Code  string   `json:"code"`
	Token string   `json:"token,omitempty"`
	Curl  []string `json:"curl"`
	Query string   `json:"query,omitempty"`
	Why   string   `json:"why"`
	// Untrusted is the family whose tokens the API must not accept.
	Untrusted Family `json:"untrusted,omitempty"`
	// Applications says that the API must admit programs.
	Applications bool `json:"applications,omitempty"`
}

func (s *Server) serveDevBroken(w http.ResponseWriter, r *http.Request) {
	b, err := s.Broken(r.URL.Query().Get("code"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if b.NeedsFault {
		s.arm(b.Fault)
	}
	w.Header().Set("Cache-Control", "no-store")
	s.writeJSON(w, http.StatusOK, brokenAnswer{b.Code, b.Token, b.Curl, b.Query, b.Why, b.Untrusted, b.Applications})
}

// arm injects the fault for armedFor, from now on.
func (s *Server) arm(f Fault) {
	remove := s.Inject(f)
	timer := time.AfterFunc(armedFor, remove)
	s.mu.Lock()
	before := s.switches.disarm
	s.switches.disarm = func() { timer.Stop(); remove() }
	s.mu.Unlock()
	if before != nil {
		before()
	}
}

func (s *Server) serveDevRollover(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("policy")
	p, err := s.findPolicy(name)
	if d, found := s.findDirectory(Family(name)); found == nil && name != "" && d.own != nil {
		p, err = d.own, nil
	}
	old := r.PostFormValue("old")
	if err == nil && old != "keep" && old != "withdraw" {
		err = errors.New("old must be keep or withdraw")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.rollover(p, old == "keep")
	w.Header().Set("Location", "/")
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) serveDevKeys(w http.ResponseWriter, r *http.Request) {
	f := Fault{Match: func(r *http.Request) bool { return s.parse(r).kind == keysEndpoint }}
	state := r.PostFormValue("state")
	switch state {
	case "well":
	case "down":
		f.Status = http.StatusServiceUnavailable
	case "hanging":
		f.Hang = true
	default:
		http.Error(w, "state must be well, down or hanging", http.StatusBadRequest)
		return
	}
	remove := func() {}
	if state != "well" {
		remove = s.Inject(f)
	}
	s.mu.Lock()
	before := s.switches.keysRemove
	s.switches.keysState, s.switches.keysRemove = state, remove
	s.mu.Unlock()
	if before != nil {
		before()
	}
	w.Header().Set("Location", "/")
	w.WriteHeader(http.StatusSeeOther)
}
