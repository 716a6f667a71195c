// Command check is the one check of this repository, for people and for CI:
//
//	go run ./scripts/check
//
// Its steps run one after the other, with npm's beside them, all of them even if one
// fails, and it ends with status 1 if one did. The tests come last, so that the output
// ends with their summary. What the machine lacks is skipped by name; with CI=true a lack
// that CI can do something about is a failure.
//
// It changes nothing but the node_modules folders that the tests use. Beside it stand the
// tests of the repository as a whole: of its packages, its files and its pages.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"itemsapi/scripts/internal/project"
)

// inLong names what -long adds; the tests ask for CHECK_LONG.
const inLong = `
With -long, which takes up to an hour:
  handler         1000 random sequences of calls (else 200), 25 with handlers that are
                  killed (else 8); memory under floods of batches and of each kind of
                  list (else of a list, of changes and of refused batches)
  handler/server  ogen, hey-api and orval make clients of the description
  clients/spa     rarer cases in the browser; 10,000 items (else 1000)
  another domain  its server, storage and scripts are tested (else its handler is vetted,
                  and its items are tested)
  a new project   its own check (else parts of it), and a second new project
`

func main() {
	short := flag.Bool("short", false, "leave out npm ci and the race detector")
	long := flag.Bool("long", false, "run what takes long, too, and other tests in their full size")
	run := flag.String("run", "", "run only the tests whose name matches `REGEXP`")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: go run ./scripts/check [flags]\n\nIt checks the whole "+
			"repository, the way CI does.\n\n")
		flag.PrintDefaults()
		fmt.Fprint(flag.CommandLine.Output(), inLong)
	}
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	failed, err := check(*short, *long, *run)
	if err != nil {
		fmt.Println("check:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

// check runs all steps. The error says why it could not.
func check(short, long bool, run string) (failed bool, err error) {
	root, err := project.Root(context.Background())
	if err != nil {
		return false, err
	}
	if err := os.Chdir(root); err != nil {
		return false, err
	}
	// go build asks git for its status, which would touch .git; and go test repeats the old
	// results of those who look at the folder only while nothing in it was touched.
	if err := os.Setenv("GIT_OPTIONAL_LOCKS", "0"); err != nil {
		return false, err
	}
	files, err := project.Files(context.Background(), ".")
	if err != nil {
		return false, err
	}
	named := func(ending string) []string {
		return slices.DeleteFunc(slices.Clone(files), func(name string) bool {
			return !strings.HasSuffix(name, ending)
		})
	}
	goFiles, locks := named(".go"), named("package-lock.json")
	raceError := ""
	if message, err := output(nil, "go", "list", "-race", "runtime"); err != nil {
		raceError = strings.TrimPrefix(message, "go: ")
	}

	s := steps{out: os.Stdout}
	skipped, missing := judge(needs(short, raceError), os.Getenv("CI") == "true")
	for _, what := range skipped {
		fmt.Println("skipped:", what)
	}
	for _, what := range missing {
		s.step(what, func() (string, error) { return "", errors.New("CI must have it") })
	}
	// npm waits for the network, and what comes next for the processor.
	var npmSaid bytes.Buffer
	installs, installed := steps{out: &npmSaid}, make(chan struct{})
	go func() {
		defer close(installed)
		if _, err := exec.LookPath("npm"); err != nil || short {
			return
		}
		for _, lock := range locks {
			if dir := filepath.Dir(lock); stale(dir) {
				installs.command(nil, "npm", "ci", "--prefix", dir)
			}
		}
	}()

	// What a tool says is on stdout; on stderr go tells what it downloads.
	said := func(arguments []string) (string, error) {
		cmd := exec.Command("go", arguments...)
		cmd.Env = append(os.Environ(), asForAzure()...)
		stdout, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return string(exit.Stderr), err
		}
		return strings.TrimSpace(string(stdout)), err
	}
	s.step("gofumpt", func() (string, error) {
		names, err := said(tool("gofumpt", append([]string{"-l"}, goFiles...)...))
		if err == nil && len(names) > 0 {
			err = errors.New("fix: go tool -modfile=scripts/check/tools/go.mod gofumpt -w FILE")
		}
		return names, err
	})
	race := !short && raceError == ""
	s.command(nil, "go", slices.Concat([]string{"vet"}, raceFlag(race), []string{"./..."})...)
	for _, goos := range []string{"linux", "darwin", "windows"} {
		if goos != runtime.GOOS {
			s.step("types for "+goos, func() (string, error) { return types(root, goos) })
		}
	}
	s.step("staticcheck", func() (string, error) {
		path, err := said(tool("-n", "staticcheck"))
		if err != nil {
			return path, err
		}
		// It reads what vet has compiled.
		flags := strings.Join(append(raceFlag(race), os.Getenv("GOFLAGS")), " ")
		return output([]string{"GOFLAGS=" + flags}, path, "./...")
	})
	s.command(nil, "go", "mod", "tidy", "-diff")
	s.step("build for Azure, under 12 MB", build)

	<-installed
	fmt.Print(npmSaid.String())
	s.failed = append(s.failed, installs.failed...)

	args := testArgs(race, long, run)
	fmt.Printf("\ngo test %s\n", strings.Join(args, " "))
	tests := exec.Command("go", tool("gotestsum", append([]string{"--format", "pkgname", "--"}, args...)...)...)
	tests.Stdout, tests.Stderr = os.Stdout, os.Stderr
	if long {
		tests.Env = append(os.Environ(), "CHECK_LONG=1") // which the tests ask for
	}
	failed = tests.Run() != nil
	if len(s.failed) > 0 { // last, as nobody looks above the tests' DONE
		fmt.Printf("\nFAILED before the tests: %s\n", strings.Join(s.failed, "; "))
	}
	return failed || len(s.failed) > 0, nil
}

// steps counts what failed.
type steps struct {
	out    io.Writer
	failed []string
}

// step does one thing and prints its name and its time; what it printed follows
// if it failed.
func (s *steps) step(name string, do func() (string, error)) {
	fmt.Fprintf(s.out, "%-60s", name)
	start := time.Now()
	printed, err := do()
	fmt.Fprintf(s.out, " %6.1f s", time.Since(start).Seconds())
	if err == nil {
		fmt.Fprintln(s.out)
		return
	}
	s.failed = append(s.failed, name)
	fmt.Fprintf(s.out, " FAILED\n%s\n", strings.TrimSpace(printed+"\n"+err.Error()))
}

// command is a step that runs one command, with env added to the environment.
func (s *steps) command(env []string, name string, args ...string) {
	s.step(strings.Join(slices.Concat(env, []string{name}, args), " "),
		func() (string, error) { return output(env, name, args...) })
}

// output runs a command and returns what it printed, without the white space around it.
func output(env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	printed, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(printed)), err
}

// tool are the arguments of go that run a tool of tools/go.mod, which pins them
// apart from what the product needs.
func tool(name string, args ...string) []string {
	return append([]string{"tool", "-modfile=scripts/check/tools/go.mod", name}, args...)
}

// asForAzure has go compile as for Azure. All but the tests themselves is, so that it is
// done once.
func asForAzure() []string {
	return []string{"CGO_ENABLED=0", strings.TrimSuffix("GOFLAGS=-trimpath "+os.Getenv("GOFLAGS"), " ")}
}

// testArgs are the arguments of go test.
func testArgs(race, long bool, run string) []string {
	limit := "30m" // of a package; go's own 10 minutes are too few on a busy machine
	if long {
		limit = "90m"
	}
	args := append([]string{"-timeout", limit}, raceFlag(race)...)
	if run != "" {
		args = append(args, "-run", run)
	}
	return append(args, "./...")
}

func raceFlag(race bool) []string {
	if !race {
		return nil
	}
	return []string{"-race"}
}

// stale reports whether dir has to be installed again: npm writes its own copy of
// the lock file when it has finished.
func stale(dir string) bool {
	installed, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err != nil {
		return true
	}
	wanted, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	return err != nil || wanted.ModTime().After(installed.ModTime())
}

// build builds the handler the way it is deployed.
func build() (string, error) {
	dir, err := os.MkdirTemp("", "check")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "handler")
	if err := project.BuildForAzure(context.Background(), ".", name); err != nil {
		return "", err
	}
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if info.Size() > project.SizeLimit {
		return "", fmt.Errorf("the binary has %.1f MB", float64(info.Size())/1e6)
	}
	return "", nil
}
