package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/waittest"
	"itemsapi/scripts/internal/project"
)

// scratch is a folder for the copy, and goes with the process.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "dev-test-")
	if err == nil {
		scratch, err = filepath.EvalSymlinks(dir) // as the system names a program that runs
	}
	if err == nil { // what was compiled before, for another copy or for Azure, serves again
		err = errors.Join(os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -trimpath"), os.Setenv("CGO_ENABLED", "0"))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// copied makes a copy of the project, as a world builds and keeps things in its folder. What
// npm installed is used where it is.
var copied = sync.OnceValue(func() error {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return err
	}
	files, err := project.Files(context.Background(), root)
	if err != nil {
		return err
	}
	for _, name := range files {
		name = filepath.FromSlash(name)
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(scratch, name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(scratch, name), text, 0o644); err != nil {
			return err
		}
		modules := filepath.Join(filepath.Dir(name), "node_modules")
		if filepath.Base(name) != "package-lock.json" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, modules)); err == nil {
			if err := os.Symlink(filepath.Join(root, modules), filepath.Join(scratch, modules)); err != nil {
				return err
			}
		}
	}
	cmd := exec.Command("go", "build", "./scripts/dev")
	cmd.Dir = scratch
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, said)
	}
	return nil
})

// checkout is the folder of the copy, with the command in it.
func checkout(t testing.TB) string {
	require.NoError(t, copied())
	return scratch
}

func dev(t testing.TB, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(checkout(t), "dev"), args...)
	cmd.Dir = checkout(t)
	return cmd
}

// finish runs a command to its end, and returns what was printed and the exit status.
func finish(t testing.TB, cmd *exec.Cmd) (stdout, stderr string, status int) {
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	if err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		require.True(t, ok, "%v", err)
		return o.String(), e.String(), exit.ExitCode()
	}
	return o.String(), e.String(), 0
}

func curl(t testing.TB) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("skipped: what the screen prints for curl (no curl)")
	}
}

// running is a world that shows its screen.
type running struct {
	cmd    *exec.Cmd
	out    *lockedBuffer
	screen string
	ended  chan struct{}
}

// header is the file with Alice's token.
func (r *running) header() string {
	return regexp.MustCompile(`@(\S+/alice) `).FindStringSubmatch(r.screen)[1]
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func show(t testing.TB, cmd *exec.Cmd) *running {
	r := &running{cmd: cmd, out: &lockedBuffer{}, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.out, r.out
	require.NoError(t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-r.ended:
		case <-time.After(40 * time.Second):
			_ = cmd.Process.Kill()
			waittest.For(t, r.ended)
		}
		free(t)
	})
	require.Eventually(t, func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return strings.Contains(r.out.String(), "Ctrl-C stops everything.")
		}
	}, 3*time.Minute, 20*time.Millisecond, "the screen comes")
	r.screen = r.out.String()
	require.Contains(t, r.screen, "Ctrl-C stops everything.")
	return r
}

// free waits until nobody listens on the fixed ports any more.
func free(t testing.TB) {
	require.Eventually(t, func() bool {
		for _, port := range []string{"9911", "10002", "7071"} {
			l, err := net.Listen("tcp", "127.0.0.1:"+port)
			if err != nil {
				return false
			}
			l.Close()
		}
		return true
	}, 30*time.Second, 20*time.Millisecond, "the ports are free again")
}

// handlers are the processes of handlers that this checkout built.
func handlers(t testing.TB) []string {
	binary := filepath.Join(checkout(t), "bin", "handler")
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	require.NoError(t, err)
	var pids []string
	for _, link := range links {
		target, err := os.Readlink(link)
		if err == nil && strings.TrimSuffix(target, " (deleted)") == binary {
			pids = append(pids, strings.Split(link, "/")[2])
		}
	}
	return pids
}

func noHandlers(t testing.TB) {
	if runtime.GOOS != "linux" {
		return
	}
	require.Eventually(t, func() bool { return len(handlers(t)) == 0 }, 40*time.Second, 20*time.Millisecond, "no handler is left")
}

// shown are the commands of the screen, each with the status that it promises.
var shown = regexp.MustCompile(`(?m)^  # (\d{3})  .*\n  (curl (?:.*\\\n)*.*)$`)

func TestScreenKeepsItsWord(t *testing.T) {
	curl(t)
	free(t)
	cmd := dev(t)
	// Folders for temporary files have spaces in their names, at some people's.
	temporary := filepath.Join(t.TempDir(), "it's a folder")
	require.NoError(t, os.Mkdir(temporary, 0o700))
	cmd.Env = append(os.Environ(), "TMPDIR="+temporary)
	r := show(t, cmd)
	lines := shown.FindAllStringSubmatch(r.screen, -1)
	seen := map[string]bool{}
	for _, l := range lines {
		out, err := exec.Command("sh", "-c", l[2]).Output()
		require.NoError(t, err, l[2])
		require.Regexp(t, `^HTTP/1.1 `+l[1]+" ", string(out), l[2])
		seen[l[1]] = true
	}
	require.Equal(t, map[string]bool{"200": true, "201": true, "401": true, "403": true}, seen)

	_, stderr, status := finish(t, dev(t))
	require.Equal(t, 1, status)
	for _, port := range []string{"9911", "10002", "7071"} {
		require.Contains(t, stderr, "port "+port+", wanted by", "a second world names the ports that are taken")
	}
	require.Contains(t, stderr, "dev exec -- COMMAND", "and the way out")

	token, _, status := finish(t, dev(t, "token", "-user", "bob", "-scope", "read"))
	require.Equal(t, 0, status)
	out, err := exec.Command("curl", "-s", "-o", os.DevNull, "-w", "%{http_code}", "-H", "Authorization: Bearer "+strings.TrimSpace(token), "http://localhost:7071/api/items").Output()
	require.NoError(t, err)
	require.Equal(t, "200", string(out))

	left := func() []os.DirEntry {
		entries, err := os.ReadDir(temporary)
		require.NoError(t, err)
		return entries
	}
	require.Len(t, left(), 1, "the folder with the tokens")
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	waittest.For(t, r.ended)
	require.Equal(t, 0, r.cmd.ProcessState.ExitCode())
	require.Empty(t, left())
	noHandlers(t)
	free(t)
}

// A call in flight may end, as under the real host; who does not want to wait is told how.
func TestStopWithACallInFlight(t *testing.T) {
	free(t)
	r := show(t, dev(t))
	c, err := net.Dial("tcp", "127.0.0.1:7071")
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	authorization, err := os.ReadFile(r.header())
	require.NoError(t, err)
	fmt.Fprintf(c, "POST /api/items HTTP/1.1\r\nHost: localhost\r\n%s\r\nContent-Type: application/json\r\n"+
		"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n", strings.TrimSpace(string(authorization)))
	said, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", said, "the call is in flight")
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	require.Eventually(t, func() bool {
		return strings.Contains(r.out.String(), "Ctrl-C again stops at once.")
	}, 20*time.Second, 20*time.Millisecond)
	select {
	case <-r.ended:
		require.Fail(t, "the call was not waited for")
	default:
	}
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	waittest.For(t, r.ended)
	noHandlers(t)
	free(t)
	os.RemoveAll(filepath.Dir(r.header()))
}

// Whatever is killed, and however, nothing is left.
func TestNothingIsLeftBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: orphans (seen on Linux only)")
	}
	free(t)
	goRun := func() *exec.Cmd {
		cmd := exec.Command("go", "run", "./scripts/dev")
		cmd.Dir = checkout(t)
		return cmd
	}
	for _, tt := range []struct {
		name   string
		cmd    *exec.Cmd
		signal syscall.Signal
	}{
		{"runner, TERM", dev(t), syscall.SIGTERM},
		{"runner, KILL", dev(t), syscall.SIGKILL},
		{"go run, TERM", goRun(), syscall.SIGTERM},
		{"go run, KILL", goRun(), syscall.SIGKILL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := show(t, tt.cmd)
			require.NotEmpty(t, handlers(t))
			require.NoError(t, r.cmd.Process.Signal(tt.signal))
			noHandlers(t)
			free(t)
			if tt.name == "runner, KILL" {
				os.RemoveAll(filepath.Dir(r.header())) // nobody was left to do it
			}
		})
	}
}

func TestAzuriteKeepsItems(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil && os.Getenv("CI") != "true" {
		t.Skip("skipped: Azurite (no npm)")
	}
	curl(t)
	free(t)
	list := func(r *running) string {
		out, err := exec.Command("curl", "-s", "-H", "@"+r.header(), "http://localhost:7071/api/items").Output()
		require.NoError(t, err)
		return string(out)
	}
	r := show(t, dev(t, "-azurite"))
	require.Contains(t, r.screen, "Azurite")
	shows := shown.FindAllStringSubmatch(r.screen, -1)
	line := shows[slices.IndexFunc(shows, func(s []string) bool { return s[1] == "201" })][2]
	out, err := exec.Command("sh", "-c", line).Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "201 Created")
	before := list(r)
	var page struct{ Value []json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(before), &page))
	require.Len(t, page.Value, 1)
	require.Equal(t, "Milk", itemstest.TextOf(page.Value[0]))
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	waittest.For(t, r.ended)
	free(t)
	require.Equal(t, before, list(show(t, dev(t, "-azurite"))))
}

func TestExec(t *testing.T) {
	// Somebody has the API's port; the world goes elsewhere.
	taken, err := net.Listen("tcp", "127.0.0.1:7071")
	require.NoError(t, err)
	defer taken.Close()

	stdout, stderr, status := finish(t, dev(t, "exec", "--", "env"))
	require.Equal(t, 0, status, stderr)
	env := map[string]string{}
	for line := range strings.SplitSeq(strings.TrimSpace(stdout), "\n") {
		name, value, ok := strings.Cut(line, "=")
		require.True(t, ok, "stdout has nothing but the command's: %q", line)
		env[name] = value
	}
	require.NotEqual(t, "http://localhost:7071", env["API_URL"])
	require.Regexp(t, `^http://(localhost|127\.0\.0\.1):\d+$`, env["API_URL"])
	require.Regexp(t, `^http://localhost:\d+/contoso\.onmicrosoft\.com/B2C_1_signupsignin$`, env["B2C_AUTHORITY"])
	require.Equal(t, entratest.ClientID, env["B2C_CLIENT_ID"])
	require.Equal(t, "https://contoso.onmicrosoft.com/b2capi/read", env["B2C_SCOPE_READ"])
	require.Equal(t, "https://contoso.onmicrosoft.com/b2capi/write", env["B2C_SCOPE_WRITE"])
	env["FUNCTIONS_CUSTOMHANDLER_PORT"] = "1"
	_, err = config.Load(func(name string) string { return env[name] })
	require.NoError(t, err, "the handler's settings are there")

	_, _, status = finish(t, dev(t, "exec", "--", "sh", "-c", "exit 7"))
	require.Equal(t, 7, status)
	_, stderr, status = finish(t, dev(t, "exec", "--", "there-is-no-such-command"))
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "there-is-no-such-command")
	_, stderr, status = finish(t, dev(t, "exec"))
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "exec -- COMMAND")
	noHandlers(t)
}

// Each refusal code can be caused from the command line, as the usage says.
func TestBrokenTokens(t *testing.T) {
	curl(t)
	path := filepath.Join(checkout(t), "dev")
	// This world trusts a tenant of each family.
	codes := slices.DeleteFunc(entratest.BrokenCodes(), func(code string) bool {
		return code == "token.b2c" || code == "token.external_id" || code == "role.missing"
	})
	script := `for code in ` + strings.Join(codes, " ") + `; do
		eval "curl -s $("` + path + `" token -broken $code -curl) $API_URL/api/items"
		token=$("` + path + `" token -broken $code 2>/dev/null) && curl -s -H "Authorization: Bearer $token" "$API_URL/api/items" || echo '{"code":"none"}'
	done`
	stdout, stderr, status := finish(t, dev(t, "exec", "--", "sh", "-c", script))
	require.Equal(t, 0, status, stderr)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 2*len(codes))
	byToken := 0
	for i, code := range codes {
		for j, line := range lines[2*i : 2*i+2] {
			var answer struct{ Code string }
			require.NoError(t, json.Unmarshal([]byte(line), &answer), "%q", line)
			switch {
			case j == 1 && answer.Code == "none": // no token alone causes it
				require.True(t, strings.HasPrefix(code, "auth."), code)
			case j == 1 && code == "keys.unavailable":
				// Within 30 s of the first one the API does not ask again.
				require.Contains(t, []string{"keys.unavailable", "key.unknown"}, answer.Code)
			default:
				require.Equal(t, code, answer.Code)
				byToken += j
			}
		}
	}
	require.Greater(t, byToken, 30)
}

func TestTokenNeedsAStandIn(t *testing.T) {
	cmd := dev(t, "token")
	cmd.Env = append(os.Environ(), "B2C_AUTHORITY=http://127.0.0.1:1/contoso.onmicrosoft.com/B2C_1_signupsignin")
	stdout, stderr, status := finish(t, cmd)
	require.Equal(t, 1, status)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "no sign-in stand-in answers at http://127.0.0.1:1: start one with go run ./scripts/dev")
	for _, args := range [][]string{{"token", "-curl"}, {"token", "nonsense"}, {"host"}, {"nonsense"}} {
		_, stderr, status := finish(t, dev(t, args...))
		require.Equal(t, 1, status, args)
		require.Contains(t, stderr, "dev: ", args)
	}
}

// A handler that crashes three times ends the host with a sentence and status 1.
func TestHostOverAnotherApp(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("skipped: the handler of this test is a shell script")
	}
	app := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(app, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(app, name), []byte(text), mode))
	}
	write("host.json", `{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"crash"},"enableForwardingHttpRequest":true}}`, 0o644)
	write("hello/function.json", `{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","authLevel":"anonymous"},{"type":"http","direction":"out","name":"res"}]}`, 0o644)
	write("local.settings.json", `{"IsEncrypted":false,"Values":{"GREETING":"from local.settings.json"}}`, 0o644)
	write("crash", "#!/bin/sh\necho \"$GREETING\"\nexit 3\n", 0o755)
	stdout, stderr, status := finish(t, dev(t, "host", "-app", app, "-port", "0"))
	require.Equal(t, 1, status)
	require.Contains(t, stderr, "crashed three times")
	require.Contains(t, stdout, "from local.settings.json")
	require.Contains(t, stdout, "crash 3 of 3")
}
