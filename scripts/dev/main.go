// Command dev runs the whole product on this machine, with Go alone and without
// Azure: stand-ins for the sign-in and the Table service, and the handler behind one
// for the Functions host.
//
//	go run ./scripts/dev                      all of it, until Ctrl-C
//	go run ./scripts/dev exec -- COMMAND      COMMAND inside that world
//	go run ./scripts/dev token -user alice    a token for curl
//	go run ./scripts/dev host -app DIR        the stand-in for the host over another app
//
// Everything listens on loopback only, and stops when this program, its parent
// or the terminal does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

const usage = `Usage: go run ./scripts/dev [-azurite] [-func] [-sign-in-url URL]
       go run ./scripts/dev exec [-azurite] [-sign-in-url URL] -- COMMAND [ARG ...]
       go run ./scripts/dev token [-family NAME] [-user NAME] [-scope LIST]
                                  [-policy NAME] [-client ID] | -application |
                                  -broken CODE [-curl]
       go run ./scripts/dev host -app DIR -port N [-forward]

Without a command it starts all of the product on this machine: the sign-in
stand-in (9911), the Table service (10002), the API (7071) and, if npm is
installed, the single-page app (9912). Each command lists its flags with -h.

`

func init() {
	// Linux kills a child when the thread that started it ends. exec starts its
	// COMMAND on this goroutine, whose thread is now the process's main one.
	runtime.LockOSThread()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the program at once.
	context.AfterFunc(ctx, stop)
	ctx, cancel := context.WithCancel(ctx)
	go watchParent(cancel)
	err := run(ctx, os.Args[1:])
	cancel()
	if status, ok := errors.AsType[exitStatus](err); ok {
		os.Exit(int(status))
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(os.Stderr, "dev: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "exec":
			return runExec(ctx, args[1:])
		case "token":
			return runToken(ctx, args[1:])
		case "host":
			return runHost(ctx, args[1:])
		}
	}
	return runWorld(ctx, args)
}

// exitStatus is the exit status of exec's COMMAND, passed on as it is.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// newFlags returns flags that print their usage to stderr.
func newFlags(name, head string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(os.Stderr, head)
		f.PrintDefaults()
	}
	return f
}

// parse parses args, which may have no words besides flags.
func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			return exitStatus(2) // the flag package has said what is wrong
		}
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is neither a command nor a flag; -h lists them", f.Arg(0))
	}
	return nil
}

// indented writes lines with the name of who says them.
type indented struct {
	w    io.Writer
	name string
}

func (i indented) line(line string) { fmt.Fprintf(i.w, "%-8s| %s\n", i.name, line) }
