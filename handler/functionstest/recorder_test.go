package functionstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The handler of these tests is this test binary itself, started again with
// recorderDir in its environment. It writes what it sees to a log in that folder and
// answers as the script there says, so that both outlive it.
const (
	recorderDir = "FUNCTIONSTEST_RECORDER"
	hostDir     = "FUNCTIONSTEST_HOST" // or as a host with the app in this folder
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(recorderDir); dir != "" {
		signal.Ignore(os.Interrupt)
		recorder{dir}.run()
	}
	if dir := os.Getenv(hostDir); dir != "" {
		runHost(dir)
	}
	os.Exit(m.Run())
}

// script is what the recorder does. Steps answer the requests but GET / in order,
// the last one all that follow.
type script struct {
	Start string // before listening: "exit:1", "gate:N", or "deaf" never to listen
	Root  string // to GET /: "hang", or "close"; "" answers
	Steps []step
	Echo  bool // be an ordinary net/http server that sends bodies back
}

type step struct {
	Answer []byte
	Early  bool   // answer before reading the body
	Gates  bool   // the first "|" in Answer stands for a wait for openGate(1), and so on
	Then   string // "", "close", "reset", "hang" or "exit:N"
}

// event is a line of the recorder's log.
type event struct {
	Kind    string // "head", then "request" with the body, or "gone"
	First   string
	Header  [][2]string
	Framing string
	Body    string // bytes as code points, as everywhere here
}

type recorder struct{ dir string }

func (r recorder) script() (s script) {
	text, err := os.ReadFile(filepath.Join(r.dir, "script.json"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		panic(err)
	}
	return s
}

func (r recorder) write(s script) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	temporary := filepath.Join(r.dir, "script.new")
	if err := os.WriteFile(temporary, text, 0o600); err != nil {
		return err
	}
	_ = os.Remove(r.logFile())
	return os.Rename(temporary, filepath.Join(r.dir, "script.json"))
}

func (r recorder) logFile() string { return filepath.Join(r.dir, "log.jsonl") }

func (r recorder) log(e event) {
	f, err := os.OpenFile(r.logFile(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	text, _ := json.Marshal(e)
	_, _ = f.Write(append(text, '\n'))
}

func (r recorder) events() []event {
	text, _ := os.ReadFile(r.logFile())
	var events []event
	for line := range strings.Lines(string(text)) {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil {
			events = append(events, e)
		}
	}
	return events
}

// saw returns the events of one kind, pings of the host included or not.
func (r recorder) saw(kind string, pings bool) []event {
	var seen []event
	for _, e := range r.events() {
		if e.Kind == kind && (pings || !strings.HasPrefix(e.First, "GET / ")) {
			seen = append(seen, e)
		}
	}
	return seen
}

func (r recorder) gate(n int) string { return filepath.Join(r.dir, fmt.Sprintf("gate%d", n)) }

func (r recorder) openGate(t testing.TB, n int) {
	t.Helper()
	require.NoError(t, os.WriteFile(r.gate(n), nil, 0o600))
}

func (r recorder) waitGate(n int) {
	for {
		if _, err := os.Stat(r.gate(n)); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r recorder) run() {
	environment, _ := json.Marshal(os.Environ())
	fmt.Println(string(environment))
	directory, _ := os.Getwd()
	fmt.Fprintf(os.Stderr, "%q in %s\n", os.Args[1:], directory)
	s := r.script()
	r.act(s.Start, nil)
	l, err := net.Listen("tcp4", "127.0.0.1:"+os.Getenv("FUNCTIONS_CUSTOMHANDLER_PORT"))
	if err != nil {
		panic(err)
	}
	if s.Echo {
		panic(http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Method", r.Method)
			_, _ = w.Write(body)
		})))
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go r.serve(newConn(c))
	}
}

func (r recorder) act(what string, c *conn) {
	name, argument, _ := strings.Cut(what, ":")
	switch name {
	case "exit":
		code, _ := strconv.Atoi(argument)
		os.Exit(code)
	case "gate":
		n, _ := strconv.Atoi(argument)
		r.waitGate(n)
	case "deaf":
		select {}
	case "hang":
		_, _ = c.r.Peek(1)
		r.log(event{Kind: "gone"})
	case "reset":
		c.reset()
	}
}

func (r recorder) serve(c *conn) {
	defer c.Close()
	for {
		m, err := readMessage(c.r, limits{1 << 20, 1 << 20, 1 << 20})
		if err != nil {
			return
		}
		s := r.script()
		e := event{Kind: "head", First: fromLatin1([]byte(m.first)), Header: pairs(m.header), Framing: "none"}
		r.log(e)
		frame, err := m.header.framing(0)
		if err != nil {
			panic(err)
		}
		index := len(r.saw("head", false)) - 1
		if m.first == "GET / HTTP/1.1" {
			e.Kind = "request"
			r.log(e)
			if s.Root != "" {
				r.act(s.Root, c)
				return
			}
			fmt.Fprint(c, "HTTP/1.1 200 X\r\nX-Root: 1\r\nContent-Length: 0\r\n\r\n")
			continue
		}
		var st step
		if len(s.Steps) > 0 {
			st = s.Steps[min(index, len(s.Steps)-1)]
		}
		if st.Early {
			_, _ = c.Write(st.Answer)
			c.finish()
			return
		}
		if m.header.hasToken("Expect", "100-continue") {
			fmt.Fprint(c, "HTTP/1.1 100 Continue\r\n\r\n")
		}
		body, err := io.ReadAll(frame.body(c.r))
		if err != nil {
			r.log(event{Kind: "gone"})
			return
		}
		if frame.chunked {
			e.Framing = "chunked"
		} else if m.header.has("Content-Length") {
			e.Framing = "content-length"
		}
		e.Kind, e.Body = "request", fromLatin1(body)
		r.log(e)
		pieces := []string{string(st.Answer)}
		if st.Gates {
			pieces = strings.Split(pieces[0], "|")
		}
		for i, piece := range pieces {
			if i > 0 {
				r.waitGate(i)
			}
			if _, err := io.WriteString(c, piece); err != nil {
				r.log(event{Kind: "gone"})
				return
			}
		}
		if st.Then != "" {
			r.act(st.Then, c)
			return
		}
	}
}

// fromLatin1 makes each byte the code point of that number, toLatin1 the reverse.
func fromLatin1(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

func pairs(h header) [][2]string {
	var list [][2]string
	for _, f := range h {
		list = append(list, [2]string{f.name, fromLatin1([]byte(f.value))})
	}
	return list
}

func toLatin1(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

const (
	withProxy   = `"enableProxyingHttpRequest": true`
	withForward = `"enableForwardingHttpRequest": true`
)

// testApp describes a function app to write to a temporary folder.
type testApp struct {
	customHandler string // members of customHandler besides description
	description   string // members of description, with a comma before them
	host          string // members of host.json, with a comma before them
	settings      string // local.settings.json; "" for none
	functions     map[string]string
}

// thingsApp are the functions of an app that does not say which: those of the
// recordings, and some for the other tests.
func thingsApp() (map[string]string, error) {
	functions := map[string]string{
		"things-read":  httpFunction("things/{*path}", "get", "head"),
		"things-write": httpFunction("things/{*path}", "post", "put", "patch", "delete"),
	}
	text, err := os.ReadFile(filepath.Join("testdata", "app.json"))
	if err != nil {
		return nil, err
	}
	var recorded map[string]struct {
		Route   string
		Methods []string
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		return nil, err
	}
	for name, f := range recorded {
		functions[name] = httpFunction(f.Route, f.Methods...)
	}
	return functions, nil
}

func httpFunction(route string, methods ...string) string {
	list, _ := json.Marshal(methods)
	return fmt.Sprintf(`{"bindings": [
		{"type": "httpTrigger", "direction": "in", "name": "req", "route": %q, "methods": %s, "authLevel": "anonymous"},
		{"type": "http", "direction": "out", "name": "res"}]}`, route, list)
}

func (a testApp) write(dir string) error {
	files := map[string]string{
		"host.json": fmt.Sprintf(`{"version": "2.0", "customHandler": {"description": {"defaultExecutablePath": "bin/handler"%s}, %s}%s}`,
			a.description, a.customHandler, a.host),
	}
	if a.settings != "" {
		files["local.settings.json"] = a.settings
	}
	functions := a.functions
	if functions == nil {
		var err error
		if functions, err = thingsApp(); err != nil {
			return err
		}
	}
	for name, text := range functions {
		files[filepath.Join(name, "function.json")] = text
	}
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// fixture is a host with a recorder behind it.
type fixture struct {
	*Host
	recorder
	lines          chan string // the host's log
	stdout, stderr chan string // the handler's lines
}

// start runs the app with the recorder as its handler.
func start(t testing.TB, a testApp, s script, change ...func(*Config)) *fixture {
	t.Helper()
	f, err := tryStart(t, a, s, change...)
	require.NoError(t, err)
	return f
}

func tryStart(t testing.TB, a testApp, s script, change ...func(*Config)) (*fixture, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, a.write(dir))
	f := &fixture{recorder: recorder{t.TempDir()}, lines: make(chan string, 10000), stdout: make(chan string, 10000), stderr: make(chan string, 10000)}
	require.NoError(t, f.recorder.write(s))
	cfg := Config{
		Dir:        dir,
		Executable: os.Args[0],
		Env:        append(os.Environ(), recorderDir+"="+f.dir),
		Log: func(line string) {
			t.Logf("host: %s", line)
			f.lines <- line
		},
		Output: func(stream, line string) {
			if stream == "stdout" {
				f.stdout <- line
				return
			}
			t.Logf("handler: %s", line)
			f.stderr <- line
		},
		anyHost: true,
	}
	for _, c := range change {
		c(&cfg)
	}
	h, err := Start(t.Context(), cfg)
	if err != nil {
		return nil, err
	}
	f.Host = h
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return f, nil
}

// line waits for a message of the host that contains text.
func (f *fixture) line(t testing.TB, text string) string { return next(t, f.lines, text) }

func next(t testing.TB, lines <-chan string, text string) string {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case line := <-lines:
			if strings.Contains(line, text) {
				return line
			}
		case <-limit:
			require.FailNow(t, "nobody said "+text)
		}
	}
}
