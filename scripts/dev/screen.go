package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items/itemstest"
)

const worldUsage = usage + `Flags without a command:
`

func signInURLFlag(f *flag.FlagSet, o *options) {
	f.StringVar(&o.signInURL, "sign-in-url", "",
		"the `URL` of a TLS proxy that you run in front of the sign-in, such as\n"+
			"https://localhost:9443, for MSAL's native libraries")
}

// runWorld starts everything, shows how to use it, and waits.
func runWorld(ctx context.Context, args []string) error {
	f := newFlags("dev", worldUsage)
	var o options
	f.BoolVar(&o.azurite, "azurite", false, "keep the items in Azurite (needs npm), where they survive a restart")
	f.BoolVar(&o.coreTools, "func", false, "run Azure Functions Core Tools instead of the stand-in for their host")
	signInURLFlag(f, &o)
	if err := parse(f, args); err != nil {
		return err
	}
	o.messages, o.spa = os.Stderr, true
	out := &transcript{}
	o.log = out.line
	fmt.Println("Starting the sign-in, the storage and the API …")
	w, err := start(ctx, o)
	if err != nil {
		if ctx.Err() != nil {
			return nil // Ctrl-C came first
		}
		out.tail()
		return err
	}
	defer w.close()

	tokens, err := newTokens(w.tenant)
	if err != nil {
		return err
	}
	defer tokens.remove()
	fmt.Print(screen(w, tokens, thisShell()))
	out.show()

	renew := time.NewTicker(30 * time.Minute) // they are valid for an hour
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Println("\nStopping.")
			time.AfterFunc(2*time.Second, func() {
				fmt.Println("Calls in flight have up to 30 s to end. Ctrl-C again stops at once.")
			})
			return nil
		case err := <-w.failed:
			if err == nil {
				err = errors.New("the host stopped")
			}
			return err
		case <-renew.C:
			if err := tokens.write(); err != nil {
				return err
			}
		}
	}
}

// tokens are files with a header for curl's -H @FILE, so that a line with a
// token of 900 characters fits on a screen; and one with an item.
type tokens struct {
	tenant *entratest.Server
	dir    string
}

// Each file and the token in it.
var tokenFiles = []struct {
	name    string
	request entratest.TokenRequest
}{
	{"alice", entratest.TokenRequest{User: "alice"}},
	{"alice-reads", entratest.TokenRequest{User: "alice", Scopes: []string{"read"}}},
}

const brokenShown = "aud.is_client"

// An item to create, and the file with it beside those of the tokens.
const (
	exampleText = "Milk"
	exampleFile = "item.json"
)

func newTokens(tenant *entratest.Server) (*tokens, error) {
	dir, err := os.MkdirTemp("", config.Realm+"-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for tokens: %w", err)
	}
	t := &tokens{tenant: tenant, dir: dir}
	if err := t.write(); err != nil {
		t.remove()
		return nil, err
	}
	return t, nil
}

func (t *tokens) path(name string) string { return filepath.Join(t.dir, name) }

func (t *tokens) write() error {
	save := func(name, token string) error {
		if err := os.WriteFile(t.path(name), []byte("Authorization: Bearer "+token+"\n"), 0o600); err != nil {
			return fmt.Errorf("write a token: %w", err)
		}
		return nil
	}
	for _, f := range tokenFiles {
		token, err := t.tenant.AccessToken(f.request)
		if err != nil {
			return err
		}
		if err := save(f.name, token); err != nil {
			return err
		}
	}
	broken, err := t.tenant.Broken(brokenShown)
	if err != nil {
		return err
	}
	if err := save(brokenShown, broken.Token); err != nil {
		return err
	}
	if err := os.WriteFile(t.path(exampleFile), []byte(itemstest.Text(exampleText)), 0o600); err != nil {
		return fmt.Errorf("write an item: %w", err)
	}
	return nil
}

func (t *tokens) remove() { os.RemoveAll(t.dir) }

// screen is what a person sees when all is up: lines of at most 80 columns, as long as
// the folder for temporary files has a short name.
func screen(w *world, t *tokens, s shell) string {
	api := w.apiURL + config.CollectionPath
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	try := func(status, what, token string, body bool) {
		groups := [][]string{{s.curl, "-i"}}
		if token != "" {
			groups = append(groups, []string{"-H", "@" + t.path(token)})
		}
		if body {
			data := itemstest.Text(exampleText)
			if !s.inline {
				data = "@" + t.path(exampleFile)
			}
			groups = append(groups, []string{"-H", "Content-Type: application/json"}, []string{"-d", data})
		}
		line("  # %s  %s", status, what)
		line("%s", s.command("  ", append(groups, []string{api})...))
		line("")
	}
	line("")
	line("Everything is up, on this machine only. None of it is Azure, and nothing here is")
	line("secret.")
	line("")
	line("  App      %s", w.spa)
	line("  API      %s", api)
	line("  Sign-in  %s", w.tenant.URL())
	line("           a stand-in for Azure AD B2C: tenant %s, users alice and bob;", entratest.TenantName)
	line("           beside it %s of Entra External ID, and", entratest.ExternalTenantName)
	line("           %s of Entra ID", entratest.WorkforceTenantName)
	line("  Storage  %s", w.storage)
	line("           %s", w.kept)
	line("")
	line("Try it in another terminal. The tokens are renewed while this runs.")
	line("")
	try("200", "list alice's items", "alice", false)
	try("201", "create one", "alice", true)
	try("401", "no token", "", false)
	try("401", "the article's mistake: a token for the client, not for the API", brokenShown, false)
	try("403", "a token that may read, not write", "alice-reads", true)
	line("Paste an answer or a token: go run ./scripts/doctor -token -")
	line("A token by itself:          go run ./scripts/dev token -user bob -scope read")
	line("Of another family:          go run ./scripts/dev token -family external")
	line("One for any refusal code:   go run ./scripts/dev token -broken time.expired")
	line("Run now as in the portal, roll keys over, break the key endpoint, metadata:")
	line("                            %s", w.tenant.URL())
	line("")
	line("Ctrl-C stops everything.")
	line("")
	return b.String()
}

// transcript keeps what the parts say until the screen is shown, and prints
// what comes after it.
type transcript struct {
	mu    sync.Mutex
	lines []string
	shown bool
}

func (t *transcript) line(name, line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	line = fmt.Sprintf("%-8s| %s", name, line)
	if t.shown {
		fmt.Println(line)
		return
	}
	const kept = 200
	t.lines = append(t.lines, line)
	if len(t.lines) > kept {
		t.lines = slices.Delete(t.lines, 0, 1)
	}
}

func (t *transcript) show() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown, t.lines = true, nil
}

// tail prints the last lines after a failure, which most often say why.
func (t *transcript) tail() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range t.lines[max(0, len(t.lines)-20):] {
		fmt.Fprintln(os.Stderr, line)
	}
}
