package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"itemsapi/clients/spa/spatest"
	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/handler/loopbacktest"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/tables/tablestest/azurite"
	"itemsapi/scripts/doctor/sender"
	"itemsapi/scripts/internal/project"
	"itemsapi/scripts/internal/tenants"
	"itemsapi/scripts/internal/tokenpage"
)

// Where things are. The SPA's address is known to the sign-in stand-in and the
// API even while nobody serves it.
const (
	signInAddr = "localhost:9911"
	tablesAddr = "localhost:10002"
	apiAddr    = "localhost:7071"
	spaAddr    = "localhost:9912"
	spaOrigins = "http://localhost:9912,http://127.0.0.1:9912"
)

// options say what kind of world.
type options struct {
	azurite   bool   // items in Azurite, kept on disk
	coreTools bool   // the real host
	anyPorts  bool   // other ports where the fixed ones are taken
	spa       bool   // the single-page app, too
	signInURL string // of a TLS proxy in front of the sign-in
	messages  io.Writer
	log       func(name, line string) // what the parts say; nil discards
}

// world is what runs. close ends it, in the opposite order of its start.
type world struct {
	root    string // of the module
	tenant  *entratest.Server
	storage string   // its address
	kept    string   // what is said of it
	apiURL  string   // http://localhost:7071
	spa     string   // what is said of the single-page app
	env     []string // the handler's settings
	failed  <-chan error
	closers []func()
}

func (w *world) close() {
	for i := len(w.closers) - 1; i >= 0; i-- {
		w.closers[i]()
	}
	w.closers = nil
}

// start starts a world. On failure nothing is left running.
func start(ctx context.Context, o options) (_ *world, err error) {
	w := &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.root, err = project.Root(ctx); err != nil {
		return nil, err
	}
	if o.log == nil {
		o.log = func(string, string) {}
	}
	if !o.anyPorts {
		wanted := map[string]string{"the sign-in": signInAddr, "the Table service": tablesAddr, "the API": apiAddr}
		if o.spa {
			wanted["the single-page app"] = spaAddr
		}
		if err := checkFree(wanted); err != nil {
			return nil, err
		}
	}
	// Where other ports will do, the fixed one is still tried first: whether it is
	// free shows only then, as another world may be starting.
	at := func(fixed string, listen func(address string) error) error {
		err := listen(fixed)
		if err != nil && o.anyPorts && ctx.Err() == nil {
			err = listen("")
		}
		return err
	}

	built := make(chan error, 1)
	go func() { built <- project.Build(ctx, w.root) }() // the slowest part, so the first
	buildDone := false
	defer func() {
		if !buildDone {
			<-built
		}
	}()

	err = at(signInAddr, func(address string) (err error) {
		w.tenant, err = entratest.Start(entratest.Options{
			Addr: address, RunNow: http.HandlerFunc(w.serveRunNow), PublicURL: o.signInURL,
			Log: func(line string) { o.log("sign-in", line) },
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, w.tenant.Close)
	var connection string
	err = at(tablesAddr, func(address string) (err error) {
		connection, err = w.startStorage(ctx, o, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	w.env = settings(w.tenant, connection)

	err = <-built
	buildDone = true
	if err != nil {
		return nil, err
	}
	if o.coreTools {
		err = w.startCoreTools(ctx, o)
	} else {
		err = at(apiAddr, func(address string) error { return w.startHost(ctx, o, address) })
	}
	if err != nil {
		return nil, err
	}
	if o.spa {
		if err := w.startSPA(ctx, o); err != nil {
			return nil, err
		}
	}
	return w, w.ready(ctx)
}

// serveRunNow shows the tokens of a sign-in beside what the handler expects.
func (w *world) serveRunNow(rw http.ResponseWriter, r *http.Request) {
	env := map[string]string{"FUNCTIONS_CUSTOMHANDLER_PORT": "1"}
	for _, variable := range settings(w.tenant, "UseDevelopmentStorage=true") {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	c, err := config.Load(func(name string) string { return env[name] })
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	issuer := func(t tenants.Tenant) string { return w.tenant.IssuerOf(entratest.Family(t.Family)) }
	tokenpage.Handler(c, issuer).ServeHTTP(rw, r)
}

// startSPA serves the single-page app, where npm can fetch MSAL.js.
func (w *world) startSPA(ctx context.Context, o options) error {
	dir := filepath.Join("clients", "spa")
	s, err := spatest.Start(spaAddr, filepath.Join(w.root, dir))
	if errors.Is(err, spatest.ErrNotInstalled) {
		if _, missing := exec.LookPath("npm"); missing != nil {
			w.spa = "not started: it needs npm, which comes with Node.js"
			return nil
		}
		if err := installNode(ctx, w.root, o.messages, "MSAL.js", dir); err != nil {
			w.spa = "not started: npm could not install MSAL.js; is there a network?"
			fmt.Fprintf(o.messages, "dev: %v\n", err)
			return nil
		}
		s, err = spatest.Start(spaAddr, filepath.Join(w.root, dir))
	}
	if err != nil {
		return err
	}
	s.SetConfig(spatest.Local(w.tenant, w.apiURL))
	w.closers = append(w.closers, s.Close)
	w.spa = s.URL()
	return nil
}

func (w *world) startStorage(ctx context.Context, o options, address string) (connection string, err error) {
	if !o.azurite {
		s, err := tablestest.Start(tablestest.Options{Addr: address})
		if err != nil {
			return "", err
		}
		w.closers = append(w.closers, s.Close)
		w.storage, w.kept = s.URL(), "a strict stand-in for Table Storage, in memory"
		return s.ConnectionString(), nil
	}
	dir := filepath.Join(w.root, ".dev", "azurite")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for Azurite's data: %w", err)
	}
	ao := azurite.Options{
		Addr: address, Dir: dir,
		NodeModules: filepath.Join(w.root, "handler", "tables", "tablestest", "azurite", "node_modules"),
		Output:      func(line string) { o.log("azurite", line) },
	}
	s, err := azurite.Start(ctx, ao)
	if errors.Is(err, azurite.ErrNotInstalled) {
		if err := installNode(ctx, w.root, o.messages, "Azurite",
			filepath.Join("handler", "tables", "tablestest", "azurite")); err != nil {
			return "", fmt.Errorf("%w: %w. Without -azurite it is not needed", azurite.ErrNotInstalled, err)
		}
		s, err = azurite.Start(ctx, ao)
	}
	if err != nil {
		return "", err
	}
	w.closers = append(w.closers, func() {
		if err := s.Close(); err != nil {
			fmt.Fprintf(o.messages, "dev: %v\n", err)
		}
	})
	w.storage = fmt.Sprintf("http://%s/devstoreaccount1", s.Addr())
	w.kept = "Azurite, kept in " + filepath.Join(".dev", "azurite")
	return s.ConnectionString(), nil
}

// installNode installs what a folder's package-lock.json names.
func installNode(ctx context.Context, root string, messages io.Writer, what, dir string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm comes with Node.js, which is not on PATH")
	}
	fmt.Fprintf(messages, "Installing %s with npm, once.\n", what)
	// Without a network npm would try for minutes, and say nothing.
	cmd := exec.CommandContext(ctx, npm, "ci", "--no-audit", "--no-fund", "--prefix", dir,
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("install %s: npm ci: %w\n%s", what, err, out)
	}
	return nil
}

func (w *world) startHost(ctx context.Context, o options, address string) error {
	// The host ends by close, not with ctx: calls in flight are to finish.
	host, err := functionstest.Start(context.WithoutCancel(ctx), functionstest.Config{
		Dir: w.root, Addr: address, Env: w.handlerEnv(), CORS: strings.Split(spaOrigins, ","),
		Log:    func(line string) { o.log("host", line) },
		Output: func(_, line string) { o.log("handler", line) },
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, func() { host.Close() })
	w.apiURL = host.URL()
	failed := make(chan error, 1)
	go func() {
		<-host.Done()
		failed <- host.Err()
	}()
	w.failed = failed
	return nil
}

// startCoreTools runs `func start`, which must be installed.
func (w *world) startCoreTools(ctx context.Context, o options) error {
	path, err := exec.LookPath("func")
	if err != nil {
		return errors.New("-func needs Azure Functions Core Tools: there is no func on PATH. Without -func a " +
			"stand-in for the host is used")
	}
	cmd := exec.CommandContext(ctx, path, "start", "--port", "7071", "--cors", spaOrigins)
	cmd.Dir = w.root
	cmd.Env = append(w.handlerEnv(), "FUNCTIONS_WORKER_RUNTIME=custom", "FUNCTIONS_CORE_TOOLS_TELEMETRY_OPTOUT=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = childAttributes()
	lines := &lineWriter{line: func(line string) { o.log("func", line) }}
	cmd.Stdout, cmd.Stderr = lines, lines
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start func: %w", err)
	}
	failed, ended := make(chan error, 1), make(chan struct{})
	go func() {
		err := cmd.Wait()
		close(ended)
		failed <- fmt.Errorf("func ended: %v", err)
	}()
	w.failed = failed
	w.apiURL = "http://localhost:7071"
	w.closers = append(w.closers, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	return nil
}

// ready waits until the API answers.
func (w *world) ready(ctx context.Context) error {
	deadline, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	answered := make(chan error, 1)
	go func() { answered <- w.check(deadline) }()
	select {
	case err := <-answered:
		return err
	case err := <-w.failed:
		if err == nil {
			err = errors.New("the host stopped")
		}
		return err
	}
}

// check lists alice's items until that works, so that the first thing a person
// tries does.
func (w *world) check(ctx context.Context) error {
	token := w.tenant.Token("alice")
	last := errors.New("no answer yet")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.apiURL+config.CollectionPath+"?limit=1", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			last = fmt.Errorf("%s %s", resp.Status, body)
			if who := sender.Of(resp.StatusCode, resp.Header, string(body)); who.Ours && final(resp) {
				return fmt.Errorf("the API refuses the first call: %w", last)
			}
		} else if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the API: %w", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// final reports whether the same call will not do better later.
func final(resp *http.Response) bool {
	return resp.StatusCode < http.StatusInternalServerError && resp.Header.Get("Retry-After") == ""
}

// settings are the handler's in this world. Whether it admits programs is for the
// environment to say.
func settings(tenant *entratest.Server, connection string) []string {
	values := map[string]string{
		"B2C_TENANT": entratest.TenantName,
		"B2C_POLICIES": strings.Join([]string{
			entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit,
			entratest.PolicyROPC,
		}, ","),
		"B2C_API_CLIENT_ID":        entratest.APIClientID,
		"B2C_APP_ID_URI":           entratest.AppIDURI,
		"B2C_ALLOWED_CLIENTS":      entratest.ClientID + "," + entratest.DaemonID,
		"B2C_METADATA_URL":         tenant.MetadataTemplate(),
		"EXTERNAL_TENANT":          entratest.ExternalTenantName,
		"EXTERNAL_API_CLIENT_ID":   entratest.ExternalAPIClientID,
		"EXTERNAL_ALLOWED_CLIENTS": entratest.ExternalClientID + "," + entratest.ExternalDaemonID,
		"EXTERNAL_METADATA_URL":    tenant.MetadataTemplateOf(entratest.External),
		"ENTRA_TENANT":             entratest.WorkforceTenantDomain,
		"ENTRA_API_CLIENT_ID":      entratest.WorkforceAPIClientID,
		"ENTRA_ALLOWED_CLIENTS":    entratest.WorkforceClientID + "," + entratest.WorkforceDaemonID,
		"ENTRA_METADATA_URL":       tenant.MetadataTemplateOf(entratest.Workforce),
		"APPLICATIONS":             os.Getenv(config.ApplicationsName),
		"TABLES_CONNECTION_STRING": connection,
	}
	// One person's tests are no crowd, unless it is the shares that are tested.
	if set := callerSettings(); len(set) > 0 {
		maps.Copy(values, set)
	} else {
		values["CALLER_RATE"] = "0"
	}
	// A setting that is not named is set and empty, which counts as not set and
	// keeps what this shell or local.settings.json may have out of this world.
	var env []string
	for _, s := range config.Settings {
		if s.Name != "FUNCTIONS_CUSTOMHANDLER_PORT" {
			env = append(env, s.Name+"="+values[s.Name])
		}
	}
	return env
}

// callerSettings are those of this process's environment that say what one caller may have.
func callerSettings() map[string]string {
	set := map[string]string{}
	for _, s := range config.Settings {
		if value := os.Getenv(s.Name); strings.HasPrefix(s.Name, "CALLER_") && value != "" {
			set[s.Name] = value
		}
	}
	return set
}

// handlerEnv is this process's environment with the world's settings, of which
// the last entry counts.
func (w *world) handlerEnv() []string { return append(os.Environ(), w.env...) }

// checkFree names every address that is taken.
func checkFree(wanted map[string]string) error {
	var taken []string
	for _, what := range slices.Sorted(maps.Keys(wanted)) {
		listeners, err := loopbacktest.Listen(wanted[what])
		if err != nil {
			_, port, _ := net.SplitHostPort(wanted[what])
			sentence := fmt.Sprintf("port %s, wanted by %s, is in use", port, what)
			if !errors.Is(err, syscall.EADDRINUSE) {
				sentence = fmt.Sprintf("port %s, wanted by %s, cannot be had: %v", port, what, err)
			}
			taken = append(taken, sentence)
		}
		for _, l := range listeners {
			l.Close()
		}
	}
	if taken == nil {
		return nil
	}
	return fmt.Errorf("%s\nStop the other program, which may be another local world. Or run one command in a\n"+
		"world on other ports: go run ./scripts/dev exec -- COMMAND", strings.Join(taken, "\n     "))
}

// lineWriter calls line for each line written to it.
type lineWriter struct {
	line func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		w.line(strings.TrimRight(string(line), "\r"))
		w.rest = rest
	}
}
