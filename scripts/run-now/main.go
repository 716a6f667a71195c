// Command run-now signs in as the portal's Run now does, and catches the
// mistakes that end in "not authorised" before a browser opens:
//
//	go run ./scripts/run-now          print the URLs to sign in with
//	go run ./scripts/run-now -open    sign in, and look at the access token
//
// It reads the handler's settings, works with a tenant and with the local
// stand-in, listens on loopback only and stores nothing. It verifies no token;
// that is the doctor's job, whom it hands the token to.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/project"
	"itemsapi/scripts/internal/tenants"
)

const usage = `Usage: go run ./scripts/run-now [-family NAME] [-client ID] [-policy NAME]
                                [-scope LIST] [-redirect URL] [-host NAME]
       go run ./scripts/run-now -open [-no-browser] [-print-token]
                                [-timeout 5m] ...

Prints the URLs that sign a user in to call the API: the one that the portal's
Run now makes, which ends at https://jwt.ms, and the one of the authorization
code flow with PKCE. With -open it runs the latter; the browser ends on a page
of this machine that shows the tokens beside what the API expects, and so does
the terminal. For that the client needs the redirect URI http://localhost.
Portal: App registrations > (the client) > Authentication > Mobile and desktop
applications.

The settings are the handler's: environment variables, else Values of
local.settings.json. They may name a tenant of Azure AD B2C, of Entra External
ID and of Entra ID; -family says whose sign-in. Against the local stand-in:

  go run ./scripts/dev exec -- go run ./scripts/run-now -open
  go run ./scripts/dev exec -- go run ./scripts/run-now -open -family external

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next one ends the program at once
	err := runHere(ctx)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errFlags):
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "run-now: %v\n", err)
		os.Exit(1)
	}
}

func runHere(ctx context.Context) error {
	root, err := project.Root(ctx)
	if err != nil {
		return err
	}
	return run(ctx, os.Args[1:], surroundings{os.LookupEnv, root, os.Stdout, os.Stderr})
}

// surroundings are what a run has of its machine.
type surroundings struct {
	lookup         func(string) (string, bool) // the environment
	root           string                      // the module's folder
	stdout, stderr io.Writer
}

var errFlags = errors.New("wrong flags") // of which the flag package has said what is wrong

func run(ctx context.Context, args []string, here surroundings) error {
	f := flag.NewFlagSet("run-now", flag.ContinueOnError)
	f.SetOutput(here.stderr)
	f.Usage = func() {
		fmt.Fprint(here.stderr, usage)
		f.PrintDefaults()
	}
	var wanted wishes
	f.StringVar(&wanted.family, "family", "", "whose sign-in: b2c, external or entra (default the first that is set)")
	f.StringVar(&wanted.client, "client", "", "application `ID` of the client (default the first of the allowed\n"+
		"clients, for B2C else B2C_CLIENT_ID)")
	f.StringVar(&wanted.policy, "policy", "", "`name` of B2C's user flow or custom policy (default the first\nof "+
		"B2C_POLICIES)")
	f.StringVar(&wanted.scope, "scope", "", "comma `list` of full scope values (default those of the settings)")
	f.StringVar(&wanted.redirect, "redirect", "https://jwt.ms",
		"redirect `URL`; the code flow uses it if it is http on loopback,\nelse http://localhost")
	host := f.String("host", "", "host `name` in place of B2C_HOST or EXTERNAL_HOST, such as\na custom domain, which "+
		"the portal does not offer")
	open := f.Bool("open", false, "sign in with code and PKCE, and show the access token's claims")
	noBrowser := f.Bool("no-browser", false, "with -open: print the URL and start no browser")
	printToken := f.Bool("print-token", false, "with -open: print the access token, alone on standard output")
	timeout := f.Duration("timeout", 5*time.Minute, "with -open: how long to wait for the person")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errFlags
	}
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("%q is not a flag; -h lists them", f.Arg(0))
	case !*open && (*noBrowser || *printToken):
		return errors.New("-no-browser and -print-token go with -open")
	case *timeout <= 0:
		return errors.New("-timeout must be more than 0")
	}

	settings, err := loadSettings(here, *host)
	if err != nil {
		return err
	}
	t, err := tenantOf(settings, wanted.family)
	if err != nil {
		return err
	}
	if err := hostCounts(t, *host); err != nil {
		return err
	}
	if id, _ := here.lookup("B2C_CLIENT_ID"); wanted.client == "" && t.Prefix == "B2C_" && len(t.AllowedClients) == 0 {
		wanted.client = id
	}
	r, err := newRequest(t, wanted)
	if err != nil {
		return err
	}
	if !*open {
		return printURLs(ctx, here.stdout, r)
	}

	talk := here.stdout
	if *printToken {
		talk = here.stderr
	}
	m, err := readMetadata(ctx, r.tenant, r.policy.MetadataURL)
	if err != nil {
		return err
	}
	browse := openBrowser
	if *noBrowser {
		browse = func(string) error { return nil }
	}
	token, err := signIn(ctx, r, m, talk, browse, *timeout)
	if err != nil {
		return err
	}
	fmt.Fprint(talk, "The access token, whose signature is not looked at here, and what the API expects:\n\n")
	if err := compare(talk, r, m.Issuer, token, time.Now()); err != nil {
		return err
	}
	if *printToken {
		fmt.Fprintln(here.stdout, token)
	}
	return runDoctor(ctx, here, talk, t.Names.Host, *host, token)
}

// loadSettings reads the handler's settings as `func start` would have them.
// host, if not empty, stands in for the host of each family that has one.
func loadSettings(here surroundings, host string) (config.Config, error) {
	values, err := localSettings(here.root)
	if err != nil {
		return config.Config{}, err
	}
	value := func(name string) string {
		if value, set := here.lookup(name); set {
			return value
		}
		return values[name]
	}
	c, err := config.Load(func(name string) string {
		switch name {
		case "FUNCTIONS_CUSTOMHANDLER_PORT":
			return "7072" // nothing listens
		case "TABLES_ENDPOINT":
			return ""
		case "TABLES_CONNECTION_STRING":
			return "UseDevelopmentStorage=true" // and nothing is stored
		case "B2C_HOST", "EXTERNAL_HOST":
			if host != "" && value(strings.TrimSuffix(name, "HOST")+"TENANT") != "" {
				return host
			}
		}
		return value(name)
	})
	if err != nil && values == nil {
		return c, fmt.Errorf("%w\nThere is no local.settings.json: copy local.settings.sample.json, or run this "+
			"inside go run ./scripts/dev exec", err)
	}
	return c, err
}

// hostCounts says why -host would change nothing.
func hostCounts(t tenants.Tenant, host string) error {
	switch base, _ := t.Base(); {
	case host == "" || strings.EqualFold(host, base.Host):
		return nil
	case t.Names.Host == "":
		return fmt.Errorf("-host %s: a %s has no host of its own", host, t.Label)
	default:
		return fmt.Errorf("-host %s changes nothing, because %sMETADATA_URL names a host itself: leave it empty, or "+
			"write {host} in it", host, t.Prefix)
	}
}

// localSettings are Values of local.settings.json; nil if there is no such file.
func localSettings(root string) (map[string]string, error) {
	content, err := os.ReadFile(filepath.Join(root, "local.settings.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings: %w", err)
	}
	file := struct {
		IsEncrypted bool
		Values      map[string]string
	}{Values: map[string]string{}}
	if err := json.Unmarshal(bytes.TrimPrefix(content, []byte("\ufeff")), &file); err != nil {
		return nil, fmt.Errorf("read local.settings.json: %w", err)
	}
	if file.IsEncrypted {
		return nil, errors.New("local.settings.json is encrypted: func settings decrypt")
	}
	return file.Values, nil
}

// runDoctor has the token examined, on standard input so that no list of
// processes shows it.
func runDoctor(ctx context.Context, here surroundings, out io.Writer, hostSetting, host, token string) error {
	if _, err := os.Stat(filepath.Join(here.root, "scripts", "doctor")); err != nil {
		return nil
	}
	fmt.Fprintln(out, "\nWhat the doctor says of it:")
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "./scripts/doctor", "-token", "-")
	cmd.Dir = here.root
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(token), out, here.stderr
	cmd.WaitDelay = 5 * time.Second
	if host != "" {
		cmd.Env = append(os.Environ(), hostSetting+"="+host)
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("scripts/doctor: %w", err)
	}
	return nil
}
