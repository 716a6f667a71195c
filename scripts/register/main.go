// Command register creates or repairs the two applications that the API needs in a
// tenant of Azure AD B2C, Entra External ID or Entra ID, the API and its client, through
// Microsoft Graph: App ID URI, scopes, app roles, token version, redirect URIs,
// permissions, an administrator's consent and, in an external tenant, the client's user
// flow. It can be run again at any time. User flows themselves are a person's to make, in
// the portal.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"itemsapi/clients/spa"
	"itemsapi/handler/config"
	"itemsapi/scripts/internal/loopback"
)

const usage = `usage: go run ./scripts/register -tenant NAME [-family FAMILY] [flags]

Creates or repairs the API's and the client's application in the tenant
NAME.onmicrosoft.com, and writes their IDs to the azd environment, to
local.settings.json and to the config.json of clients/spa and clients/mobile (for
External ID and Entra ID not over that of a real B2C tenant). What others
registered stays. FAMILY is b2c (the default), external for Entra External ID, or
entra for Entra ID.

It needs a token for Microsoft Graph of somebody who may register applications and
consent for all: GRAPH_TOKEN, or else Azure CLI's, after
  az login --tenant NAME.onmicrosoft.com --allow-no-subscriptions
Azure CLI's may not link the client to a user flow of an external tenant; one
with EventListener.ReadWrite.All may.

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "register:", err)
		os.Exit(1)
	}
}

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	f := flag.NewFlagSet("register", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	w := wanted{read: "read", write: "write"}
	var origins, natives list
	f.StringVar(&w.tenant, "tenant", "", "`name` of the tenant: contoso for contoso.onmicrosoft.com")
	family := f.String("family", "b2c", "`kind` of the tenant: b2c, external or entra")
	f.StringVar(&w.apiName, "api-name", "", "display `name` of the API's application (default B2CAPI or "+
		families["entra"].apiName+")")
	f.StringVar(&w.apiID, "api-id", "", "application `ID` of an API that is there under another name")
	f.StringVar(&w.clientName, "client-name", "", "display `name` of the client's application (default B2CTest or\n"+
		families["entra"].clientName+")")
	f.StringVar(&w.clientID, "client-id", "", "application `ID` of a client that is there under another name")
	f.StringVar(&w.appIDURI, "app-id-uri", "", "the API's App ID `URI` (default\n"+
		"https://NAME.onmicrosoft.com/b2capi for B2C, else api://ID)")
	f.StringVar(&w.flow, "flow", "", "`name` of the client's user flow in an external tenant\n(default: the only one)")
	f.Var(&origins, "origin", "`origin` of the single-page app, such as https://app.contoso.com; may be repeated "+
		"(default http://localhost:9912)")
	f.Var(&natives, "native", "redirect `URI` of a native app; may be repeated (default: the mobile app's, with the\n"+
		"scheme that clients/mobile/app.json has)")
	policies := f.String("policies", "B2C_1_signupsignin,B2C_1_profileedit",
		"comma `list` of B2C's user flows: sign-up or sign-in first, profile editing second,\npassword reset third")
	apiURL := f.String("api-url", "", "the API's `address`, for the apps (default: what their config.json has)")
	check := f.Bool("check", false, "change nothing; tell what differs, exit code 1 if something does")
	dryRun := f.Bool("dry-run", false, "change nothing; show the calls that would be made")
	dir := f.String("dir", ".", "the project's `folder`")
	endpoint := f.String("graph", "https://graph.microsoft.com/v1.0",
		"`URL` of Microsoft Graph; another one only on this machine")
	if err := f.Parse(args); err != nil {
		return err
	}
	if len(natives) == 0 {
		natives = mobileApp(*dir)
	}
	if err := prepare(f, &w, *family, origins, natives, *endpoint); err != nil {
		return err
	}
	token, err := graphToken(ctx, getenv, w.tenant)
	if err != nil {
		return err
	}
	p := &plan{
		graph: &graph{base: *endpoint, token: token, patience: time.Minute, pause: time.Second},
		out:   out, tell: *check || *dryRun, calls: *dryRun,
	}
	if onLoopback(*endpoint) {
		p.graph.pause = 5 * time.Millisecond
	}
	fmt.Fprintf(out, "Tenant %s.onmicrosoft.com (%s):\n", w.tenant, w.label)
	r, err := p.run(ctx, w)
	if err != nil {
		return err
	}
	// The applications are there by now: what goes wrong with the user flow does not keep
	// their IDs from being written.
	var unlinked error
	if w.userFlow {
		unlinked = p.link(ctx, w, r.clientID)
	}
	switch {
	case unlinked != nil && p.tell:
		return unlinked
	case unlinked != nil:
	case p.drift == 0:
		fmt.Fprintln(out, "  everything is as it should be")
	case *check:
		return fmt.Errorf("%d things differ; without -check they are repaired", p.drift)
	}
	if p.tell {
		return nil
	}
	return errors.Join(write(ctx, out, *dir, w, r, strings.Split(*policies, ","), *apiURL), unlinked)
}

func prepare(f *flag.FlagSet, w *wanted, family string, origins, natives list, endpoint string) error {
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -h", f.Arg(0))
	}
	var found bool
	if w.family, found = families[family]; !found {
		return errors.New("-family expects b2c, external or entra")
	}
	for name, of := range map[string]string{"policies": "b2c", "api-url": "b2c", "flow": "external"} {
		if family != of && given(f, name) {
			return fmt.Errorf("-%s is for -family %s", name, of)
		}
	}
	w.apiName, w.clientName = cmp.Or(w.apiName, w.family.apiName), cmp.Or(w.clientName, w.family.clientName)
	w.tenant = strings.TrimSuffix(strings.ToLower(w.tenant), ".onmicrosoft.com")
	if !regexp.MustCompile(`^[a-z0-9]{1,27}$`).MatchString(w.tenant) {
		return errors.New("-tenant expects the tenant's name, such as contoso for contoso.onmicrosoft.com")
	}
	if u, err := url.Parse(endpoint); err != nil || endpoint != "https://graph.microsoft.com/v1.0" &&
		(u.Host == "" || !loopback.Is(u.Host)) {
		return errors.New("-graph may only be Microsoft's, or on this machine: it is sent the token")
	}
	if w.appIDURI == "" && family == "b2c" {
		w.appIDURI = "https://" + w.tenant + ".onmicrosoft.com/b2capi"
	}
	if len(origins) == 0 {
		origins = list{"http://localhost:9912"}
	}
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Path != "" || u.Scheme != "https" &&
			(u.Scheme != "http" || u.Hostname() != "localhost") {
			return fmt.Errorf("-origin %s must be https://HOST or http://localhost:PORT, without a slash at its end",
				origin)
		}
		w.redirectURIs = append(w.redirectURIs, origin+"/", origin+"/redirect.html")
	}
	w.publicClients = natives
	return nil
}

// mobileApp is the redirect URI of the project's mobile app, or nothing where there is none.
func mobileApp(dir string) list {
	var app struct{ Expo struct{ Scheme string } }
	text, err := os.ReadFile(filepath.Join(dir, "clients", "mobile", "app.json"))
	if err != nil || json.Unmarshal(text, &app) != nil || app.Expo.Scheme == "" {
		return nil
	}
	return list{app.Expo.Scheme + "://oauth2redirect"}
}

// given reports whether a flag stands on the command line.
func given(f *flag.FlagSet, name string) (given bool) {
	f.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

func onLoopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && loopback.Is(u.Host)
}

// graphToken is GRAPH_TOKEN, or what Azure CLI has.
func graphToken(ctx context.Context, getenv func(string) string, tenant string) (string, error) {
	if token := strings.TrimSpace(getenv("GRAPH_TOKEN")); token != "" {
		return token, nil
	}
	domain := tenant + ".onmicrosoft.com"
	az, err := exec.LookPath("az")
	if err != nil {
		return "", errors.New("there is no GRAPH_TOKEN, and no Azure CLI (az) that could get one")
	}
	cmd := exec.CommandContext(ctx, az, "account", "get-access-token", "--resource", "https://graph.microsoft.com",
		"--tenant", domain, "--query", "accessToken", "--output", "tsv")
	var said bytes.Buffer
	cmd.Stderr = &said
	token, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("there is no token of Azure CLI's for %s; sign in: az login --tenant %s "+
			"--allow-no-subscriptions\n%s", domain, domain, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(token)), nil
}

// write puts the IDs where they are needed. The tenant is done by then: what cannot
// be written is said, with the values.
func write(ctx context.Context, out io.Writer, dir string, w wanted, r registered, policies []string,
	apiURL string,
) error {
	ofB2C := w.prefix == families["b2c"].prefix
	tenant := w.tenant
	if w.prefix == families["entra"].prefix {
		tenant += ".onmicrosoft.com"
	}
	settings := [][2]string{
		{w.prefix + "TENANT", tenant},
		{w.prefix + "API_CLIENT_ID", r.apiClientID},
		{w.prefix + "APP_ID_URI", r.appIDURI},
		{w.prefix + "ALLOWED_CLIENTS", r.clientID},
	}
	if ofB2C {
		settings = slices.Insert(settings, 1, [2]string{"B2C_POLICIES", strings.Join(policies, ",")})
	}
	fmt.Fprintln(out, "\nWritten:")
	var errs []error
	report := func(where string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
			return
		}
		fmt.Fprintf(out, "  %s\n", where)
	}
	if _, err := os.Stat(filepath.Join(dir, ".azure")); err == nil {
		report("the azd environment", azd(ctx, dir, settings))
	} else {
		fmt.Fprintln(out, "  (no azd environment here; after azd init, run this again)")
	}
	report("local.settings.json", localSettings(dir, append(settings, [2]string{w.prefix + "METADATA_URL", ""})))
	authority := "https://" + w.tenant + ".b2clogin.com/" + w.tenant + ".onmicrosoft.com/" + policies[0]
	switch {
	case w.userFlow:
		authority = "https://" + w.tenant + ".ciamlogin.com/" + w.tenant + ".onmicrosoft.com"
	case !ofB2C:
		authority = "https://login.microsoftonline.com/" + tenant
	}
	apps := []string{"clients/spa/config.json"}
	if len(mobileApp(dir)) > 0 {
		apps = append(apps, "clients/mobile/config.json")
	}
	for _, app := range apps {
		if err := writeConfig(filepath.Join(dir, app), w, r, authority, policies, apiURL); errors.Is(err, errOfB2C) {
			fmt.Fprintf(out, "  (%s stays, as it is that of a B2C tenant; to write it for this\n"+
				"  tenant, take its \"policies\" out and run this again)\n", app)
		} else {
			report(app, err)
		}
	}

	fmt.Fprintln(out, "\nThe values:")
	for _, s := range settings {
		fmt.Fprintf(out, "  %s=%s\n", s[0], s[1])
	}
	if !ofB2C {
		fmt.Fprintf(out, `
Clients sign in at %s as %s, and ask for openid, profile and
  %s/%s
  %s/%s
Programs that sign in as themselves ask for %s/.default, need an app role of
these names, and are admitted with APPLICATIONS=accept.
Then: go run ./scripts/doctor
`, authority, r.clientID, r.appIDURI, w.read, r.appIDURI, w.write, r.appIDURI)
		return errors.Join(errs...)
	}
	fmt.Fprintf(out, `
What is left for you, in the portal of the tenant, under Azure AD B2C > User flows:
  %s, of the kind "Sign up and sign in", if it is not there
  %s, of the kind "Profile editing", if it is wanted
Then: go run ./scripts/doctor, and go run ./scripts/run-now
`, policies[0], policies[min(1, len(policies)-1)])
	return errors.Join(errs...)
}

func azd(ctx context.Context, dir string, settings [][2]string) error {
	path, err := exec.LookPath("azd")
	if err != nil {
		return errors.New("there is no azd on PATH; set the values below with azd env set NAME VALUE")
	}
	for _, s := range settings {
		cmd := exec.CommandContext(ctx, path, "env", "set", s[0], s[1])
		cmd.Dir = dir
		if said, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("azd env set %s: %w\n%s", s[0], err, said)
		}
	}
	return nil
}

// localSettings changes values in local.settings.json, or a copy of the sample, and
// leaves everything else as it stands there, but for the B2C tenant of the local world.
func localSettings(dir string, settings [][2]string) error {
	name := filepath.Join(dir, "local.settings.json")
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		text, err = os.ReadFile(filepath.Join(dir, "local.settings.sample.json"))
	}
	if err != nil {
		return err
	}
	settings = append(settings, localWorld(text, settings)...)
	for _, s := range settings {
		if !known(s[0]) {
			return fmt.Errorf("%s is not a setting of the handler", s[0])
		}
		value, err := json.Marshal(s[1])
		if err != nil {
			return err
		}
		member := regexp.MustCompile(`("` + s[0] + `"\s*:\s*)"(?:[^"\\]|\\.)*"`)
		if member.Match(text) {
			text = member.ReplaceAllFunc(text, func(m []byte) []byte {
				return append(member.FindSubmatch(m)[1], value...)
			})
			continue
		}
		values := regexp.MustCompile(`"Values"\s*:\s*\{`)
		at := values.FindIndex(text)
		if at == nil {
			return errors.New(`it has no "Values"`)
		}
		text = []byte(string(text[:at[1]]) + "\n    \"" + s[0] + `": ` + string(value) + "," + string(text[at[1]:]))
	}
	var file struct{ Values map[string]string }
	if err := json.Unmarshal(text, &file); err != nil {
		return fmt.Errorf("it is not JSON as azd and func read it: %w", err)
	}
	for _, s := range settings {
		if file.Values[s[0]] != s[1] {
			return fmt.Errorf("%s is not among its Values", s[0])
		}
	}
	return os.WriteFile(name, text, 0o600)
}

// localWorld are the settings of a B2C tenant that is served on this machine, emptied,
// where another family's are written: beside a real tenant it would only be waited for.
func localWorld(text []byte, settings [][2]string) (emptied [][2]string) {
	var file struct{ Values map[string]string }
	if strings.HasPrefix(settings[0][0], "B2C_") || json.Unmarshal(text, &file) != nil ||
		!onLoopback(file.Values["B2C_METADATA_URL"]) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(file.Values)) {
		if strings.HasPrefix(name, "B2C_") && known(name) {
			emptied = append(emptied, [2]string{name, ""})
		}
	}
	return emptied
}

func known(name string) bool {
	for _, s := range config.Settings {
		if s.Name == name {
			return true
		}
	}
	return false
}

// errOfB2C says that the app signs in at a real B2C tenant, which people move from: they
// say when it is to sign in elsewhere.
var errOfB2C = errors.New("it is the configuration for a B2C tenant")

func writeConfig(name string, w wanted, r registered, authority string, policies []string, apiURL string) error {
	var c spa.Config
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("read it: %w", err)
	}
	switch {
	case w.prefix == families["b2c"].prefix:
		c.Policies.SignUpSignIn, c.Policies.EditProfile = policies[0], policies[min(1, len(policies)-1)]
		if len(policies) > 2 {
			c.Policies.PasswordReset = policies[2]
		} else if c.LocalMetadata != "" {
			c.Policies.PasswordReset = "" // the local world's
		}
	case c.LocalMetadata == "" && c.Policies.SignUpSignIn != "":
		return errOfB2C
	default:
		c.Policies = spa.Config{}.Policies
	}
	c.ClientID = r.clientID
	c.Authority = authority
	c.LocalMetadata = ""
	c.Scopes.Read, c.Scopes.Write = r.appIDURI+"/"+w.read, r.appIDURI+"/"+w.write
	if apiURL != "" {
		c.API = strings.TrimSuffix(strings.TrimRight(apiURL, "/"), "/api") + "/api"
	}
	text, err = json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o644)
}
