package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"itemsapi/scripts/internal/signin"
	"itemsapi/scripts/internal/tenants"
	"itemsapi/scripts/internal/tokenpage"
)

// client follows no redirect: neither metadata nor tokens are given out
// elsewhere than where they were asked for.
var client = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// readJSON does a request and reads its answer, of 1 MiB at most, into v.
func readJSON(req *http.Request, v any) (status int, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return 0, fmt.Errorf("the answer, %s, is not JSON: %w", resp.Status, err)
	}
	return resp.StatusCode, nil
}

// metadata are the members of a tenant's OpenID Connect metadata that are used.
type metadata struct {
	Issuer                string `json:"issuer"`
	AuthorizationEndpoint string `json:"authorization_endpoint"`
	TokenEndpoint         string `json:"token_endpoint"`
}

func readMetadata(ctx context.Context, t tenants.Tenant, address string) (metadata, error) {
	var m metadata
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return m, fmt.Errorf("read the metadata: %w", err)
	}
	status, err := readJSON(req, &m)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answers %d; check the settings %s…: go run ./scripts/doctor", address, status, t.Prefix)
	}
	if err != nil {
		return m, fmt.Errorf("read the metadata: %w", err)
	}
	for _, endpoint := range []string{m.AuthorizationEndpoint, m.TokenEndpoint} {
		u, err := url.Parse(endpoint)
		if err != nil || !trusted(u) || u.Fragment != "" {
			return m, fmt.Errorf("read the metadata: the endpoint %q is neither https nor http on loopback",
				plain(endpoint))
		}
	}
	return m, nil
}

// signIn has a person sign in with code and PKCE and returns the access token. The browser
// ends on a page that shows what came.
func signIn(ctx context.Context, r request, m metadata, out io.Writer, browse func(url string) error,
	patience time.Duration,
) (token string, err error) {
	redirect := r.loopbackRedirect()
	listeners, err := listen(&redirect)
	if err != nil {
		return "", err
	}
	wait := &landing{
		redirect: redirect, state: secret(), landed: make(chan url.Values, 1), shown: make(chan tokenpage.Page, 1),
	}
	server := &http.Server{
		Handler: wait, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: client.Timeout + 10*time.Second, // the page waits for the token
		IdleTimeout:  5 * time.Second, MaxHeaderBytes: 32 << 10,
	}
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }()
	}
	defer func() {
		// The page is still on its way to the browser.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = server.Shutdown(ctx)
		_ = server.Close()
	}()

	verifier := secret()
	address := r.codeURL(m.AuthorizationEndpoint, redirect.String(), wait.state, verifier)
	fmt.Fprintf(out, "Sign in within %v at\n\n  %s\n\n", patience, address)
	if err := browse(address); err != nil {
		fmt.Fprintf(out, "No browser could be started (%v): open it yourself.\n", err)
	}
	var answer url.Values
	select {
	case answer = <-wait.landed:
	case <-ctx.Done():
		return "", errors.New("stopped")
	case <-time.After(patience):
		return "", fmt.Errorf("nobody signed in within %v. A code on the sign-in's page is explained by go run "+
			"./scripts/doctor -token -", patience)
	}
	got := tokenpage.Result{Error: answer.Get("error"), Description: answer.Get("error_description")}
	what := "the sign-in was refused"
	if got.Error == "" {
		what = "the code was not redeemed"
		got, err = redeem(ctx, r, m.TokenEndpoint, redirect.String(), answer.Get("code"), verifier)
	}
	page := tokenpage.New(r.tenant, m.Issuer, r.scopes, got, time.Now())
	if err != nil {
		page.Trouble = err.Error()
	}
	wait.shown <- page
	switch {
	case err != nil:
		return "", err
	case got.Error != "":
		return "", refused(what, got.Error, got.Description)
	case got.Access == "":
		return "", errors.New("redeem the code: the answer has no access token, so none of the scopes was one of an " +
			"API")
	}
	return got.Access, nil
}

// listen listens on loopback where redirect points to, on any port if it names
// none, and writes the port into it.
func listen(redirect *url.URL) ([]net.Listener, error) {
	host, port := redirect.Hostname(), redirect.Port()
	if port == "" {
		port = "0"
	}
	named := strings.EqualFold(host, "localhost")
	first := host
	if named {
		first = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(first, port))
	if err != nil {
		return nil, fmt.Errorf("listen for the browser: %w", err)
	}
	listeners := []net.Listener{l}
	_, port, _ = net.SplitHostPort(l.Addr().String())
	redirect.Host = net.JoinHostPort(host, port)
	if named {
		// Browsers may try this one first; where there is no IPv6 they do not.
		if l, err := net.Listen("tcp", net.JoinHostPort("::1", port)); err == nil {
			listeners = append(listeners, l)
		}
	}
	return listeners, nil
}

// landing is the page where the browser comes back to.
type landing struct {
	redirect url.URL
	state    string
	taken    atomic.Bool
	landed   chan url.Values     // has room for one
	shown    chan tokenpage.Page // what to answer
}

func (l *landing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
		"Content-Security-Policy": "default-src 'none'", "Referrer-Policy": "no-referrer",
	} {
		w.Header().Set(name, value)
	}
	say := func(status int, sentence string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, "<!doctype html><html lang=\"en\"><title>run-now</title><link rel=\"icon\" "+
			"href=\"data:,\"><p>%s</p></html>\n", sentence)
	}
	path := l.redirect.Path
	if path == "" {
		path = "/"
	}
	q := r.URL.Query()
	switch {
	case !strings.EqualFold(r.Host, l.redirect.Host):
		say(http.StatusForbidden, "This answers to the redirect URI's own host only.")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		say(http.StatusMethodNotAllowed, "Only a browser's GET is expected here.")
	case r.URL.Path != path:
		say(http.StatusBadRequest, "This is not the redirect URI.")
	case len(q["state"]) != 1 || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(l.state)) != 1:
		say(http.StatusBadRequest, "This is not the answer to the sign-in that was started: its state is another.")
	case len(q["code"])+len(q["error"]) != 1:
		say(http.StatusBadRequest, "The answer has neither one code nor one error.")
	case !l.taken.CompareAndSwap(false, true):
		say(http.StatusBadRequest, "The answer came already.")
	default:
		l.landed <- q
		select {
		case page := <-l.shown:
			page.Write(w, http.StatusOK)
		case <-r.Context().Done():
		}
	}
}

// redeem turns the code into tokens (RFC 6749, section 4.1.3), or tells what was refused.
func redeem(ctx context.Context, r request, endpoint, redirect, code, verifier string) (tokenpage.Result, error) {
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {r.client}, "code": {code},
		"redirect_uri": {redirect}, "scope": {r.codeScope()}, "code_verifier": {verifier},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return tokenpage.Result{}, fmt.Errorf("redeem the code: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
		IDToken     string `json:"id_token"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	status, err := readJSON(req, &answer)
	if err != nil {
		return tokenpage.Result{}, fmt.Errorf("redeem the code: %w", err)
	}
	if status != http.StatusOK && answer.Error == "" {
		answer.Error = http.StatusText(status)
	}
	return tokenpage.Result{
		Access: answer.AccessToken, ID: answer.IDToken, Error: answer.Error, Description: answer.Description,
	}, nil
}

// refused is the error for an answer of the sign-in's that is one.
func refused(what, kind, description string) error {
	said := plain(strings.TrimSpace(kind + ": " + description))
	for _, e := range signin.Find(description) {
		if e.Explained() {
			return fmt.Errorf("%s: %s\n  %s: %s\n  %s\n  %s", what, said, e.Code, e.Meaning,
				e.Cause, e.Fix)
		}
	}
	return fmt.Errorf("%s: %s", what, said)
}

// plain makes foreign text fit for a terminal: one line, of 300 runes at most.
func plain(s string) string {
	line := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s[:min(len(s), 4<<10)]))
	if len(line) > 300 {
		line = append(line[:300], '…')
	}
	return strings.Join(strings.Fields(string(line)), " ")
}

// openBrowser starts the person's browser and does not wait for it.
func openBrowser(address string) error {
	var cmd *exec.Cmd
	switch runtime.GOOS {
	case "windows":
		cmd = exec.Command("rundll32", "url.dll,FileProtocolHandler", address)
	case "darwin":
		cmd = exec.Command("open", address)
	default:
		cmd = exec.Command("xdg-open", address)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
