package tokenpage

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"time"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/signin"
	"itemsapi/scripts/internal/tenants"
)

//go:embed page.html
var pageText string

//go:embed page.css
var styleText string

var page = template.Must(template.New("page").Parse(pageText))

// Result is how a sign-in ended: with tokens, or with an error.
type Result struct {
	Access, ID         string
	Error, Description string // RFC 6749, section 4.1.2.1
}

// Page is a Result for a browser.
type Page struct {
	Title, Intro, Outro string
	Style               template.CSS
	Trouble             string
	Errors              []signin.Error
	Tokens              []token
}

type token struct {
	Name, Note, Raw, Header, Payload string
	Rows                             []Row
}

// New makes a page of how a sign-in ended. t, issuer and asked are those of [Compare].
func New(t tenants.Tenant, issuer string, asked []string, r Result, now time.Time) Page {
	p := Page{
		Title: "Run now", Style: template.CSS(styleText),
		Intro: "What the sign-in brought, beside what the API of these settings expects. No signature is checked here.",
		Outro: "This page comes from this machine and is kept nowhere. You may close this window.",
	}
	if r.Error != "" || r.Description != "" {
		p.Trouble = "The sign-in was refused: " + signin.Said(r.Error+": "+r.Description, "")
		p.Errors = signin.Find(r.Error + ": " + r.Description)
		return p
	}
	if r.Access != "" {
		access := token{Name: "Access token", Note: "It opens the API: send it as Authorization: Bearer " +
			"…", Raw: r.Access}
		var err error
		if access.Rows, err = Compare(t, issuer, asked, r.Access, now); err != nil {
			access.Note = err.Error() + "."
		}
		p.Tokens = append(p.Tokens, access)
	} else {
		p.Trouble = "There is no access token: none of the scopes that were asked for was one of an API. Ask for " +
			t.FullScope("read") + " as well."
	}
	if r.ID != "" {
		p.Tokens = append(p.Tokens, token{
			Name: "ID token", Note: "It tells the client who signed in; the API refuses it.", Raw: r.ID,
		})
	}
	for i := range p.Tokens {
		if header, payload, err := parts(p.Tokens[i].Raw); err == nil {
			p.Tokens[i].Header, p.Tokens[i].Payload = indented(header), indented(payload)
		}
	}
	return p
}

// Write answers with the page, which loads nothing and runs no script.
func (p Page) Write(w http.ResponseWriter, status int) {
	var b bytes.Buffer
	if err := page.Execute(&b, p); err != nil {
		http.Error(w, "500: write the page: "+err.Error(), http.StatusInternalServerError)
		return
	}
	sum := sha256.Sum256([]byte(styleText))
	for name, value := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		"Content-Security-Policy": "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; " +
			"frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'",
	} {
		w.Header().Set(name, value)
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

const mostForm = 256 << 10 // bytes

// Handler takes what a sign-in posts (response_mode=form_post) and answers with the page.
// issuer tells a tenant's.
func Handler(c config.Config, issuer func(tenants.Tenant) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "405: the sign-in posts here (response_mode=form_post).", http.StatusMethodNotAllowed)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, mostForm)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "The form cannot be read.", http.StatusBadRequest)
			return
		}
		got := Result{
			Access: r.PostForm.Get("access_token"), ID: r.PostForm.Get("id_token"),
			Error: r.PostForm.Get("error"), Description: r.PostForm.Get("error_description"),
		}
		t := TenantOf(c, got.Access)
		New(t, issuer(t), []string{t.FullScope("read"), t.FullScope("write")}, got, time.Now()).Write(w, http.StatusOK)
	})
}
