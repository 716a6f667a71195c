// Command pictures makes the pictures of the README: it starts the local world, runs
// commands as its screen shows them, uses the two apps in a headless browser, and keeps
// what is seen there in docs/pictures. What a picture of a terminal shows is what
// the commands printed, without the headers that say nothing there. It needs npm (for the
// apps and the browser's driver), Chromium and curl, and the fixed ports of scripts/dev.
package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"html/template"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"itemsapi/clients/spa/spatest"
	"itemsapi/scripts/internal/project"
)

const usage = `usage: go run ./scripts/pictures

Makes the pictures in docs/pictures again, from the running local world. It needs
npm, Chromium and curl, and the ports of go run ./scripts/dev.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("pictures", flag.ContinueOnError)
	f.Usage = func() { fmt.Fprint(f.Output(), usage) }
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -h", f.Arg(0))
	}
	browser := spatest.FindBrowser()
	if browser == "" {
		return errors.New("there is no Chromium on PATH; BROWSER_PATH can name one")
	}
	root, err := project.Root(ctx)
	if err != nil {
		return err
	}
	temporary, err := os.MkdirTemp("", "pictures-")
	if err != nil {
		return fmt.Errorf("make a folder for pages: %w", err)
	}
	defer os.RemoveAll(temporary)
	for _, command := range []string{"dev", "doctor"} {
		built := filepath.Join(temporary, command)
		if _, err := in(ctx, root, "", "go", "build", "-o", built, "./scripts/"+command); err != nil {
			return err
		}
	}
	w, err := start(ctx, root, filepath.Join(temporary, "dev"))
	if err != nil {
		return err
	}
	defer w.stop()
	if err := w.terminals(ctx, root, temporary); err != nil {
		return err
	}
	pictures := filepath.Join(root, "docs", "pictures")
	cmd := exec.CommandContext(ctx, "node", filepath.Join("tests", "pictures.mjs"))
	cmd.Dir = filepath.Join(root, "clients", "spa")
	cmd.Env = append(os.Environ(), "SPA_URL=http://localhost:9912", "SIGN_IN_URL=http://localhost:9911",
		"API_URL=http://localhost:7071", "BROWSER="+browser, "SCREENSHOTS="+pictures, "PAGES="+temporary)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("take the pictures: %w\n%s", err, said)
	}
	if err := mobile(ctx, root, pictures); err != nil {
		return err
	}
	if err := shrink(pictures); err != nil {
		return err
	}
	fmt.Fprintf(out, "They are in %s. Look at each before you commit it.\n", pictures)
	return nil
}

// mobile takes the mobile app's picture from its test, which drives the app on the web at
// a phone's size.
func mobile(ctx context.Context, root, pictures string) error {
	if _, err := in(ctx, root, "", "npm", "ci", "--no-audit", "--no-fund", "--prefix", "clients/mobile"); err != nil {
		return err
	}
	taken, err := os.MkdirTemp("", "pictures-")
	if err != nil {
		return fmt.Errorf("make a folder for pictures: %w", err)
	}
	defer os.RemoveAll(taken)
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=30m", "-run=TestApp", "./clients/mobile")
	test.Dir = root
	test.Env = append(os.Environ(), "SCREENSHOTS="+taken)
	if said, err := test.CombinedOutput(); err != nil {
		return fmt.Errorf("use the mobile app: %w\n%s", err, said)
	}
	picture, err := os.ReadFile(filepath.Join(taken, "refusal-light.png"))
	if err != nil {
		return fmt.Errorf("take the mobile app's picture: %w", err)
	}
	if err := os.WriteFile(filepath.Join(pictures, "mobile-refusal.png"), picture, 0o644); err != nil {
		return fmt.Errorf("keep the mobile app's picture: %w", err)
	}
	return nil
}

// in runs a command in a folder, and returns what it printed.
func in(ctx context.Context, dir, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	var errors bytes.Buffer
	cmd.Stderr = &errors
	said, err := cmd.Output()
	if err != nil {
		line := filepath.Base(name) + " " + strings.Join(args, " ")
		return string(said), fmt.Errorf("%s: %w\n%s", line, err, errors.Bytes())
	}
	return string(said), nil
}

// world is a running scripts/dev.
type world struct {
	cmd    *exec.Cmd
	ended  chan error
	screen string
}

// start starts a world and waits for its screen.
func start(ctx context.Context, root, dev string) (*world, error) {
	w := &world{cmd: exec.Command(dev), ended: make(chan error, 1)}
	w.cmd.Dir = root
	w.cmd.Stderr = os.Stderr
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start the local world: %w", err)
	}
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the local world: %w", err)
	}
	shown := make(chan string, 1)
	go func() {
		var screen strings.Builder
		part := make([]byte, 4096)
		for {
			n, err := stdout.Read(part)
			screen.Write(part[:n])
			if s := screen.String(); strings.Contains(s, "Ctrl-C stops everything.") {
				shown <- s
				_, _ = io.Copy(io.Discard, stdout)
				err = io.EOF
			}
			if err != nil {
				w.ended <- w.cmd.Wait()
				return
			}
		}
	}()
	select {
	case w.screen = <-shown:
		return w, nil
	case err := <-w.ended:
		return nil, fmt.Errorf("the local world does not start: %w", err)
	case <-time.After(3 * time.Minute):
		err = errors.New("the local world does not start within three minutes")
	case <-ctx.Done():
		err = ctx.Err()
	}
	w.stop()
	return nil, err
}

func (w *world) stop() {
	_ = w.cmd.Process.Signal(os.Interrupt)
	select {
	case <-w.ended:
	case <-time.After(30 * time.Second):
		_ = w.cmd.Process.Kill()
		<-w.ended
	}
}

// shownCommands finds the commands on the screen, each under the line that says what
// comes of it.
var shownCommands = regexp.MustCompile(`(?m)^  # \d{3}  (.*)\n((?:  .*\\\n)*  .*)$`)

// command is the one on the screen whose line has these words.
func (w *world) command(words string) (string, error) {
	for _, m := range shownCommands.FindAllStringSubmatch(w.screen, -1) {
		if strings.Contains(m[1], words) {
			return strings.ReplaceAll(strings.TrimSpace(m[2]), "\n  ", "\n"), nil
		}
	}
	return "", fmt.Errorf("the screen has no command for %q", words)
}

// step is one command in a picture of a terminal.
type step struct {
	Caption, Command string
	Output           template.HTML
}

//go:embed terminal.html
var terminal string

var page = template.Must(template.New("terminal").Parse(terminal))

// terminals writes the pages that look like terminals.
func (w *world) terminals(ctx context.Context, root, dir string) error {
	var steps []step
	for _, show := range []struct{ words, caption string }{
		{"create one", ""},
		{"the article's mistake", "A token for the client, not for the API: the answer says so, and what to do."},
		{"list alice's items", "A token for the API's scope, as the fix says."},
	} {
		command, err := w.command(show.words)
		if err != nil {
			return err
		}
		said, err := in(ctx, root, "", "sh", "-c", strings.Replace(command, "curl ", "curl -s ", 1))
		if err != nil {
			return err
		}
		if show.caption != "" {
			steps = append(steps, step{show.caption, command, answer(said)})
		}
	}
	if err := write(filepath.Join(dir, "refusal.html"), steps); err != nil {
		return err
	}
	token, err := in(ctx, root, "", filepath.Join(dir, "dev"), "token", "-broken", "aud.is_client")
	if err != nil {
		return err
	}
	said, err := in(ctx, root, token, filepath.Join(dir, "doctor"), "-token", "-")
	if said == "" { // it ends with status 1, as the token is refused
		return err
	}
	return write(filepath.Join(dir, "doctor.html"), []step{{
		Command: "go run ./scripts/dev token -broken aud.is_client |\n  go run ./scripts/doctor -token -",
		Output:  verdicts(said),
	}})
}

func write(name string, steps []step) error {
	var b bytes.Buffer
	if err := page.Execute(&b, steps); err != nil {
		return fmt.Errorf("write a page: %w", err)
	}
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write a page: %w", err)
	}
	return nil
}

var (
	statusLine = regexp.MustCompile(`(?m)^HTTP/1\.1 ([0-9]+ .*)$`)
	headerLine = regexp.MustCompile(`(?m)^([A-Z][A-Za-z-]+: .*)$`)
	others     = regexp.MustCompile(`(?m)^(?:Cache-Control|Content-Length|Date|Etag|Server|Vary|X-[A-Za-z-]+): .*\n`)
	told       = regexp.MustCompile(`(&#34;(?:detail|fix)&#34;:&#34;(?:[^&]|&#39;|&lt;|&gt;)*&#34;)`)
	verdict    = regexp.MustCompile(`(?m)^(FAIL|ok|skip)\b`)
)

// answer marks what curl printed: the status, the headers, and what the reader is told.
func answer(said string) template.HTML {
	text := template.HTMLEscapeString(strings.ReplaceAll(strings.TrimSpace(said), "\r", ""))
	text = others.ReplaceAllString(text, "")
	text = headerLine.ReplaceAllString(text, `<span class="quiet">$1</span>`)
	text = statusLine.ReplaceAllString(text, `<b>HTTP/1.1 $1</b>`)
	return template.HTML(told.ReplaceAllString(text, `<mark>$1</mark>`))
}

// verdicts colours what the doctor printed as it does itself on a terminal.
func verdicts(said string) template.HTML {
	text := template.HTMLEscapeString(strings.TrimSpace(said))
	return template.HTML(verdict.ReplaceAllString(text, `<b class="$1">$1</b>`))
}
