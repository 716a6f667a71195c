// Command doctor says what is wrong with the settings, with whatever one has in hand when
// a call was refused, or with a running API, and how to fix it:
//
//	go run ./scripts/doctor                                settings, tenants, function app, storage
//	go run ./scripts/doctor -token FILE                    a token, an answer, a URL, an error message
//	go run ./scripts/doctor -url http://localhost:7071     a running API, and who answers for it
//
// It asks what the settings and the arguments name, and nobody else: what is pasted is
// never called. A token is shown by its first characters only, and kept nowhere. It
// changes nothing: the one row that it writes to try the storage it deletes again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"itemsapi/scripts/internal/report"
)

const usage = `Usage: go run ./scripts/doctor [-app DIR] [-json]
       go run ./scripts/doctor -token FILE [-scope read|write] [-url API]
       go run ./scripts/doctor -url API [-origin URL]

Without -token and -url it checks the settings (the environment's, and Values
of local.settings.json where the environment has none), metadata and keys of
every tenant and policy, the clock, the function app's files, and the storage.

-token explains what is in FILE, or on standard input for -, whatever one has:
  a token, alone, wrapped over lines, in a header, a curl or PowerShell line,
    a token response or one line of it
  the URL, or what follows # or ? in it, that the sign-in sent the browser to
  the URL that a sign-in starts with, and a request to a token endpoint
  an answer of this API, or of what stands before it: its body, what curl -i
    or -v prints, or WWW-Authenticate
  a message with AADB2C, AADSTS, IDX or IDW in it, an error of MSAL, what the
    browser's console says of CORS
Nothing of it is stored or called, and no secret is shown. If there are no
settings at all and the local world is running, those of
local.settings.sample.json are taken, which are that world's.

-url calls a running API without a token, with the one of -token, and as a
browser's preflight, and says who answered: the API, or what stands before it.

What failed comes first. Lines fit the terminal (80 columns where there is
none); NO_COLOR=1 switches colour off.

Examples:
  go run ./scripts/doctor
  go run ./scripts/doctor -token - < token.txt
  go run ./scripts/dev token -broken aud.is_client |
    go run ./scripts/doctor -token -
  curl -si http://localhost:7071/api/items | go run ./scripts/doctor -token -
  go run ./scripts/doctor -token token.txt -scope write \
    -url https://contoso-items.azurewebsites.net
  go run ./scripts/doctor -url http://localhost:7071 \
    -origin http://localhost:9912

It ends with status 0 if nothing failed, 1 if something did, 2 if it was called
wrongly (go run says 1 for both).

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// doctor is one examination.
type doctor struct {
	*report.Report
	app    string // the function app's folder
	lookup func(string) (string, bool)
	local  localSettings
}

// run returns the exit status.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), stdin io.Reader, stdout,
	stderr io.Writer,
) int {
	f := flag.NewFlagSet("doctor", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {}
	app := f.String("app", "", "the function app's `folder` (default: the one with host.json, here or above)")
	tokenFile := f.String("token", "", "explain what is in `FILE`, - for standard input")
	scope := f.String("scope", "read", "what the token is to open: read or write")
	api := f.String("url", "", "call the running `API`, such as http://localhost:7071")
	origin := f.String("origin", "", "with -url: the page's origin for the preflight (default:\nHost.CORS of "+
		"local.settings.json)")
	asJSON := f.Bool("json", false, "print one JSON document instead of lines")
	help := func(w io.Writer) {
		fmt.Fprint(w, usage)
		f.SetOutput(w)
		f.PrintDefaults()
	}
	wrong := func(err error) int {
		fmt.Fprintf(stderr, "doctor: %v\n        -h lists the flags\n", err)
		return 2
	}

	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		help(stdout)
		return 0
	case err != nil:
		return 2 // the flag package has said what is wrong
	case f.NArg() > 0:
		return wrong(errors.New("there is an argument that belongs to no flag"))
	case *scope != "read" && *scope != "write":
		return wrong(errors.New("-scope is read or write"))
	case *origin != "" && *api == "":
		return wrong(errors.New("-origin goes with -url"))
	}
	var base *url.URL
	if *api != "" {
		var err error
		if base, err = apiURL(*api); err != nil {
			return wrong(err)
		}
	}
	text := ""
	if *tokenFile != "" {
		var err error
		if text, err = readPaste(*tokenFile, stdin, stderr); err != nil {
			return wrong(err)
		}
	}
	folder, err := appFolder(*app)
	if err != nil {
		return wrong(err)
	}

	d := &doctor{Report: report.New(stdout, *asJSON), app: folder, lookup: lookup}
	d.readLocalSettings()
	token := ""
	if *tokenFile != "" {
		d.Doing("Reading the tenant's metadata and keys …")
		d.takeSample(ctx)
		token = d.explainPaste(ctx, text, *scope)
	}
	if base != nil {
		d.Doing("Calling " + base.String() + " …")
		d.callAPI(ctx, base, token, *origin)
	}
	if *tokenFile == "" && base == nil {
		d.checkAll(ctx)
	}
	if ctx.Err() != nil {
		d.Fail("doctor", "It was interrupted.", "Run it again to see all checks.")
	}
	return d.Finish()
}

func (d *doctor) checkAll(ctx context.Context) {
	c, ok := d.settings()
	if ok {
		d.Doing("Reading the tenant's metadata and keys …")
		d.checkTenants(ctx, c)
	} else {
		d.Skip("tenant", "fix the settings first")
	}
	d.checkHostFile()
	d.checkFunctions()
	d.checkCORS()
	if ok {
		d.Doing("Trying the storage …")
		d.checkStorage(ctx, c)
	} else {
		d.Skip("storage", "fix the settings first")
	}
}

// appFolder is the folder that was asked for, else the nearest one upwards with
// a host.json, else the working directory.
func appFolder(asked string) (string, error) {
	if asked != "" {
		info, err := os.Stat(asked)
		if err != nil || !info.IsDir() {
			return "", fmt.Errorf("-app: %s is not a folder", asked)
		}
		return asked, nil
	}
	here, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "host.json")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return here, nil
		}
	}
}

// maxPaste is more than any token response has, in bytes.
const maxPaste = 64 << 10

// readPaste reads what -token names. The name itself may be a token, so that no
// error shows it.
func readPaste(name string, stdin io.Reader, stderr io.Writer) (string, error) {
	r := stdin
	if name == "-" {
		if f, ok := stdin.(*os.File); ok {
			if info, err := f.Stat(); err == nil && info.Mode()&fs.ModeCharDevice != 0 {
				fmt.Fprintln(stderr, "Paste it, then press Enter and Ctrl-D (on Windows Ctrl-Z, Enter). Terminals cut "+
					"lines of over 4,000 characters; put those into a file.")
			}
		}
	} else {
		f, err := os.Open(name)
		switch {
		case err != nil && (strings.HasPrefix(name, "eyJ") || strings.Contains(name, "://") ||
			strings.ContainsAny(name, " {#")):
			return "", errors.New("-token expects the name of a file, not the token: shells keep what is typed. Put " +
				"it into a file, or pipe it to -token -")
		case err != nil:
			return "", fmt.Errorf("-token: read the file: %w", errors.Unwrap(err))
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxPaste+1))
	if err != nil {
		return "", fmt.Errorf("-token: %w", err)
	}
	if len(b) > maxPaste {
		return "", fmt.Errorf("-token: more than %d KiB, which is not a token", maxPaste>>10)
	}
	return string(b), nil
}
