package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"itemsapi/handler/functionstest"
)

const hostUsage = `Usage: go run ./scripts/dev host -app DIR -port N [-forward]

Runs a stand-in for the Azure Functions host over a folder with a host.json and
function.json files, as func start would: it starts the custom handler and
passes requests on to it. The folder's local.settings.json is read: Values where
the environment has none, and Host.CORS.

Flags:
`

// runHost runs only the stand-in for the host.
func runHost(ctx context.Context, args []string) error {
	f := newFlags("host", hostUsage)
	dir := f.String("app", "", "the function app's `folder` (required)")
	port := f.Int("port", 7071, "where clients call, on localhost")
	forward := f.Bool("forward", false, "be a host that does not know enableProxyingHttpRequest")
	if err := parse(f, args); err != nil {
		return err
	}
	switch {
	case *dir == "":
		return errors.New("host expects -app DIR, the folder with host.json")
	case *port < 0 || *port > 65535:
		return fmt.Errorf("%d is not a port", *port)
	}
	log := indented{os.Stdout, "host"}
	handler := map[string]indented{"stdout": {os.Stdout, "handler"}, "stderr": {os.Stderr, "handler"}}
	host, err := functionstest.Start(context.WithoutCancel(ctx), functionstest.Config{
		Dir: *dir, Addr: "localhost:" + strconv.Itoa(*port), Forward: *forward,
		Log:    log.line,
		Output: func(stream, line string) { handler[stream].line(line) },
	})
	if err != nil {
		return err
	}
	defer host.Close()
	log.line("listening on " + host.URL() + "; Ctrl-C stops")
	select {
	case <-host.Done():
		return host.Err()
	case <-ctx.Done():
		return nil
	}
}
