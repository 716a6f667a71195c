package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"itemsapi/handler/entra/entratest"
)

const execUsage = `Usage: go run ./scripts/dev exec [-azurite] [-sign-in-url URL] [-v] -- COMMAND [ARG ...]

Runs COMMAND inside the world, on the fixed ports where they are free and on
others where not, and ends as COMMAND does. Its environment has the handler's
settings and

  API_URL         http://localhost:7071 (no /api)
  B2C_AUTHORITY   http://localhost:9911/contoso.onmicrosoft.com/B2C_1_signupsignin
  B2C_CLIENT_ID   the client application, B2CTest
  B2C_SCOPE_READ  full scope values
  B2C_SCOPE_WRITE

Flags:
`

// runExec runs a command inside the world.
func runExec(ctx context.Context, args []string) error {
	f := newFlags("exec", execUsage)
	var o options
	f.BoolVar(&o.azurite, "azurite", false, "keep the items in Azurite (needs npm)")
	signInURLFlag(f, &o)
	verbose := f.Bool("v", false, "show on stderr what the parts of the world say")
	var command []string
	if i := slices.Index(args, "--"); i >= 0 {
		args, command = args[:i], args[i+1:]
	}
	if err := parse(f, args); err != nil {
		return err
	}
	if len(command) == 0 {
		return errors.New("exec expects a command: go run ./scripts/dev exec -- COMMAND")
	}
	o.anyPorts, o.messages = true, os.Stderr
	said := &transcript{}
	o.log = said.line
	if *verbose {
		o.log = func(name, line string) { fmt.Fprintf(os.Stderr, "%-8s| %s\n", name, line) }
	}
	w, err := start(ctx, o)
	if err != nil {
		said.tail()
		return err
	}
	defer w.close()

	// Not started with ctx: the command is first asked to end, then made to.
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = childAttributes()
	cmd.Env = append(w.handlerEnv(),
		"API_URL="+w.apiURL,
		"B2C_AUTHORITY="+w.tenant.URL()+"/"+entratest.TenantDomain+"/"+entratest.PolicySignUpSignIn,
		"B2C_CLIENT_ID="+entratest.ClientID,
		"B2C_SCOPE_READ="+entratest.AppIDURI+"/read",
		"B2C_SCOPE_WRITE="+entratest.AppIDURI+"/write",
	)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case failed := <-w.failed:
		endProcess(cmd.Process, ended)
		said.tail()
		return fmt.Errorf("the world ended before %s did: %w", command[0], failed)
	case <-ctx.Done():
		endProcess(cmd.Process, ended)
		return errors.New("stopped")
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if code := exit.ExitCode(); code > 0 {
			return exitStatus(code)
		}
		return fmt.Errorf("%s: %w", command[0], err)
	}
	return err
}

// endProcess asks a process to end, and makes it after 5 s.
func endProcess(p *os.Process, ended <-chan error) {
	if p.Signal(os.Interrupt) != nil {
		_ = p.Kill()
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		_ = p.Kill()
		<-ended
	}
}
