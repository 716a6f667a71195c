// Command handler is the API as the Azure Functions host runs it: a custom
// handler that serves HTTP on the port the host gives it, on loopback only.
//
// It takes no arguments; its settings are environment variables, listed in
// package config. It ends with status 0 when SIGINT or SIGTERM asks it to, after
// it has answered what is in flight, and with status 1 when its settings are
// wrong or it can no longer serve. It never ends with 0 by itself: the host
// would not start it again.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/handler/server"
	"itemsapi/handler/tables"
)

// shutdownTimeout is as long as a request may take from its head to its answer; the
// host kills after 30 s.
const shutdownTimeout = 25 * time.Second

// memoryLimit is from where on the garbage collector works harder (bytes). It shares
// an instance of 512 MB with the host; what the server admits at a time, some 140 MB at
// most, could otherwise grow to twice as much. GOMEMLIMIT overrides it.
const memoryLimit = 176 << 20

// garbagePercent is how much garbage may come together, in percent of what is in use,
// before it is collected. Little is in use, some 3 MB, so Go's own 100 would collect every
// few hundred requests, and give memory back to the system and ask for it again. Any other
// GOGC than 100 overrides it.
const garbagePercent = 400

func main() {
	if was := debug.SetGCPercent(garbagePercent); was != 100 {
		debug.SetGCPercent(was) // GOGC
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 { // no GOMEMLIMIT
		debug.SetMemoryLimit(memoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		failed(err, os.Stdout, os.Stderr)
		os.Exit(1)
	}
}

// run serves until ctx ends, and then returns nil.
func run(ctx context.Context, args []string, environ []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("takes no arguments; its settings are environment variables")
	}
	env := map[string]string{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	names := slices.Collect(maps.Keys(env))
	c, err := config.Load(func(name string) string { return env[name] }, names...)
	if err != nil {
		return err
	}
	out := newBuffered(stdout)
	defer out.flush()
	log := newLog(c.LogLevel, out, stderr)
	for _, warning := range c.Warnings {
		log.Warn("settings", "warning", warning)
	}

	store, err := tables.Open(tables.Config{
		Endpoint: c.TablesEndpoint, ConnectionString: c.TablesConnectionString,
		IdentityClientID: c.IdentityClientID, Table: c.Table, Log: log,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(c.Port)))
	if err != nil {
		return fmt.Errorf("listen on the port in FUNCTIONS_CUSTOMHANDLER_PORT: %w", err)
	}

	background, cancel := context.WithCancel(ctx)
	defer cancel()
	verifier, err := entra.New(background, entra.Config{
		Trust: trusts(c), Realm: config.Realm, Applications: c.Programs, CodesOnly: !c.Explain, Log: log,
		Hints: entra.Hints{
			B2C: entra.Settings(config.B2CNames), ExternalID: entra.Settings(config.ExternalNames),
			Workforce: entra.Settings(config.EntraNames), Applications: config.ApplicationsName,
		},
	})
	if err != nil {
		return err
	}
	go store.Prepare(background)
	first := c.First() // the description of the API speaks of one sign-in
	return serve(ctx, listener, server.New(server.Config{
		Verify: noteFormer(verifier.Verify, log), Store: store,
		ReadScope: first.ReadScope, WriteScope: first.WriteScope,
		Realm: config.Realm, Collection: config.Collection, Stopping: ctx, Log: log,
		CallerConcurrency: c.CallerConcurrency, CallerRate: c.CallerRate,
		SignIn: server.SignIn{
			AuthorizationURL: first.Policies[0].SignInURL("authorize"), TokenURL: first.Policies[0].SignInURL("token"),
			AppIDURI: first.AppIDURI,
		},
	}), log)
}

// trusts are the tenants whose tokens the settings accept.
func trusts(c config.Config) []entra.Trust {
	var trusts []entra.Trust
	add := func(t entra.Trust, from config.Trust) {
		t.Audience, t.AppIDURI, t.Clients = from.APIClientID, from.AppIDURI, from.AllowedClients
		t.Scopes = map[string]string{"read": from.ReadScope, "write": from.WriteScope}
		t.Host, t.MetadataURL, t.ExtraIssuers = from.Host, from.MetadataURL, from.ExtraIssuers
		t.FormerTenant, t.FormerIDClaim = from.FormerTenant, from.FormerIDClaim
		trusts = append(trusts, t)
	}
	if t := c.B2C; t.Tenant != "" {
		policies := make([]string, len(t.Policies))
		for i, p := range t.Policies {
			policies[i] = p.Name
		}
		add(entra.B2C(t.Tenant, policies...), t)
	}
	if t := c.External; t.Tenant != "" {
		add(entra.ExternalID(t.Tenant), t)
	}
	if t := c.Entra; t.Tenant != "" {
		add(entra.Workforce(t.Tenant), t)
	}
	return trusts
}

// serve answers until ctx ends, and then what is in flight.
func serve(ctx context.Context, listener net.Listener, h http.Handler, log *slog.Logger) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       5 * time.Minute, // the host keeps idle connections for over a minute
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	log.Info("listening", "address", listener.Addr().String())
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping")
	drain, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if err := s.Shutdown(drain); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop serving: %w", err)
	}
	return nil
}
