package entratest

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
)

//go:embed pages
var pageFiles embed.FS

var pages = parsePages("signin.html", "message.html", "post.html", "root.html")

func parsePages(names ...string) map[string]*template.Template {
	parsed := map[string]*template.Template{}
	for _, name := range names {
		parsed[name] = template.Must(template.ParseFS(pageFiles, "pages/layout.html", "pages/"+name))
	}
	return parsed
}

// page writes an HTML page. Its policy for content has no form-action: browsers
// apply that to the redirect after the form, too, and would not leave the page.
func (s *Server) page(w http.ResponseWriter, status int, name string, data any) {
	var b bytes.Buffer
	if err := pages[name].ExecuteTemplate(&b, "layout.html", data); err != nil {
		http.Error(w, fmt.Sprintf("500: write the page: %v", err), http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	policy := "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'"
	if p, ok := data.(postPage); ok {
		policy += "; script-src 'nonce-" + p.Nonce + "'"
	}
	h.Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

type namedValue struct{ Name, Value string }

type signInPage struct {
	Family, Title, Tenant, Client, SignedIn, Notice string
	ROPC, PasswordReset                             string
	B2C                                             bool
	Action, ActionField, ScopeField                 string
	Scopes                                          []string
	Users                                           []User
	Details                                         []namedValue
}

func (s *Server) signInPage(w http.ResponseWriter, a *authorization, current session, notice string) {
	scopes, _ := a.scopes.grant(a.client, nil)
	d, title := a.endpoint.policy.dir, "Sign in"
	var details []namedValue
	if d == s.b2c {
		details = append(details, namedValue{"policy", a.endpoint.policy.name})
	}
	if a.endpoint.policy.name == PolicyPasswordReset {
		title = "Reset a password"
	}
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "response_mode", "scope", "prompt",
		"state", "nonce", "code_challenge_method",
	} {
		if a.params.Has(name) {
			details = append(details, namedValue{name, a.params.Get(name)})
		}
	}
	s.page(w, http.StatusOK, "signin.html", signInPage{
		Family: d.label, Title: title, Tenant: d.domain, Client: a.client.name, SignedIn: current.user.Name,
		Notice: notice, ROPC: PolicyROPC,
		PasswordReset: PolicyPasswordReset, B2C: d == s.b2c,
		Action: a.actionURL(), ActionField: actionField, ScopeField: scopeField,
		Scopes: scopes, Users: s.accounts(d), Details: details,
	})
}

type messagePage struct {
	Family, Title, Code, Text, Hint, Correlation, Timestamp string
}

// errorPage is for errors that must not be sent to the redirect URI.
func (s *Server) errorPage(w *response, d *directory, correlation string, f *failure) {
	f = f.of(d)
	w.code = f.code
	s.page(w, http.StatusBadRequest, "message.html", messagePage{
		Family: d.label, Title: "The request cannot be answered", Code: f.code, Text: f.text, Hint: f.hint,
		Correlation: correlation, Timestamp: timestamp(s.now()),
	})
}

type postPage struct {
	Action template.URL
	Nonce  string
	Fields []namedValue
}

// postPage answers by response_mode=form_post.
func (s *Server) postPage(w http.ResponseWriter, a *authorization, p parameters) {
	// The redirect URI is a registered one, so that it may have any scheme.
	page := postPage{Action: template.URL(a.redirectURI), Nonce: randomText(16)}
	for _, pair := range p {
		page.Fields = append(page.Fields, namedValue{pair[0], pair[1]})
	}
	s.page(w, http.StatusOK, "post.html", page)
}
