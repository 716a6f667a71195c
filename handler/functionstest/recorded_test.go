package functionstest

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// notReproduced names the recorded exchanges that this host answers otherwise, and
// why.
var notReproduced = map[string]string{
	"mode-neither-answer-status": "Data/Metadata invocations are not spoken: without one of the two HTTP modes Start fails",
	"mode-neither-get":           "as above",
	"mode-neither-post":          "as above",
	"route-key-none":             "function keys are not checked, as under func start",
	"random-forward-599":         "the page at / is this host's own and lists the functions",
	"random-proxy-135":           "as above",
}

type exchange struct {
	Name    string  `json:"name"`
	Mode    mode    `json:"mode"` // in random.jsonl; otherwise the file's
	About   string  `json:"about"`
	Request *string `json:"request"`

	HandlerSaw      oneOrMore[recordedRequest] `json:"handler_saw"`
	HandlerAnswered oneOrMore[recordedAnswer]  `json:"handler_answered"`
	ClientGot       *recordedAnswer            `json:"client_got"`

	TimesSaw   *int `json:"times_handler_saw"`
	TimesHead  *int `json:"times_handler_saw_the_head"`
	TimesWhole *int `json:"times_handler_saw_the_whole_request"`
	Starts     *int `json:"handler_starts_meanwhile"`
}

type recordedRequest struct {
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Version string      `json:"http_version"`
	Headers [][2]string `json:"headers"`
	Length  int         `json:"body_length"`
	Framing string      `json:"body_framing"`
	Body    string      `json:"body"`
}

type recordedAnswer struct {
	Status          string      `json:"status_line"`
	Headers         [][2]string `json:"headers"`
	Length          int         `json:"body_length"`
	Framing         string      `json:"framing"`
	Complete        bool        `json:"complete"`
	ConnectionAfter string      `json:"connection_after"`
	Body            string      `json:"body"`
	Note            string      `json:"note"`
	Then            string      `json:"then"`
	Interim         []string    `json:"interim"`
}

// random exchanges are kept in short: no chunks, no interim answers, no body that the
// handler saw, and of what the client got only the first 120 bytes.
func (e exchange) random() bool { return strings.HasPrefix(e.Name, "random-") }

type oneOrMore[T any] []T

func (o *oneOrMore[T]) UnmarshalJSON(text []byte) error {
	if text[0] == '[' {
		return json.Unmarshal(text, (*[]T)(o))
	}
	var one *T
	if err := json.Unmarshal(text, &one); err != nil || one == nil {
		return err
	}
	*o = []T{*one}
	return nil
}

// recordings are the files of testdata, and how many exchanges each has.
var recordings = []struct {
	file  string
	mode  mode
	count int
}{
	{"forward-4.1037.jsonl", forwardMode, 93},
	{"proxy.jsonl", proxyMode, 70},
	{"random.jsonl", "", 50},
}

func readRecordings(t *testing.T) (exchanges []exchange) {
	for _, r := range recordings {
		f, err := os.Open(filepath.Join("testdata", r.file))
		require.NoError(t, err)
		defer f.Close()
		before := len(exchanges)
		for decoder := json.NewDecoder(f); decoder.More(); {
			var e exchange
			require.NoError(t, decoder.Decode(&e))
			e.Mode = cmp.Or(r.mode, e.Mode)
			exchanges = append(exchanges, e)
		}
		require.Len(t, exchanges[before:], r.count, r.file)
	}
	return exchanges
}

func TestRecordedExchanges(t *testing.T) {
	exchanges := readRecordings(t)
	t.Logf("%d reproduced, %d listed", len(exchanges)-len(notReproduced), len(notReproduced))
	for name := range notReproduced {
		require.True(t, slices.ContainsFunc(exchanges, func(e exchange) bool { return e.Name == name }),
			"%s is listed as not reproduced, but was never recorded", name)
	}

	var running sync.WaitGroup
	defer running.Wait()
	atOnce := make(chan struct{}, 12)
	// One host for each app answers all the exchanges that need no settings of their
	// own and leave the handler as it was.
	shared := map[string]*fixture{}
	for _, e := range exchanges {
		s := settingsOf(e)
		f := shared[s.shared]
		if s.shared != "" && f == nil {
			f = start(t, s.app, script{}, s.change)
			shared[s.shared] = f
		}
		run := func(t *testing.T) {
			f := f
			var err error
			if s.shared == "" {
				f, err = tryStart(t, s.app, script{}, s.change)
			}
			reason, listed := notReproduced[e.Name]
			if listed && err != nil {
				t.Logf("not reproduced, %s: %v", reason, err)
				return
			}
			require.NoError(t, err)
			differences := f.replay(t, e, s)
			if listed {
				require.NotEmpty(t, differences, "listed as not reproduced (%s), but it is", reason)
				t.Logf("not reproduced, %s: %s", reason, strings.Join(differences, "\n"))
				return
			}
			require.Empty(t, differences, e.About)
		}
		if s.shared != "" {
			t.Run(e.Name, run)
			continue
		}
		atOnce <- struct{}{} // they wait more than they work, so more at once than t.Parallel allows
		running.Go(func() {
			t.Run(e.Name, run)
			<-atOnce
		})
	}
}

// settings are what an exchange needs besides the plain app.
type settings struct {
	app    testApp
	change func(*Config)
	shared string   // the name of a host that answers others too; "" for one of its own
	before []string // how the handler ended earlier calls
}

func plainApp(m mode) testApp {
	if m == proxyMode {
		return testApp{customHandler: withProxy + ", " + withForward}
	}
	return testApp{customHandler: withForward}
}

const allowedOrigin = "https://app.example.test"

func settingsOf(e exchange) settings {
	s := settings{app: plainApp(e.Mode), change: func(*Config) {}}
	name := strings.TrimPrefix(e.Name, "proxy-")
	starts := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
	switch {
	case starts("cors1-"), starts("cors-one-"):
		s.change = func(c *Config) { c.CORS = []string{allowedOrigin} }
	case starts("cors2-"), starts("cors-two-"):
		s.change = func(c *Config) { c.CORS, c.CORSCredentials = []string{allowedOrigin, "https://two.example.test"}, true }
	case starts("corsanycred-"):
		s.change = func(c *Config) { c.CORS, c.CORSCredentials = []string{"*"}, true }
	case starts("trace-ai-"):
		s.change = func(c *Config) { c.Env = append(c.Env, "APPLICATIONINSIGHTS_CONNECTION_STRING=x") }
	case starts("fail-after-exit0"):
		s.before = []string{"exit:0"}
	case starts("fail-exit1-3"):
		s.before = []string{"exit:1", "exit:1"}
	case starts("fail-die"): // a loaded machine takes longer for a restart than the host's tries do
		s.change = func(c *Config) { c.pause = 2 * time.Second }
	case starts("fail-timeout"):
		s.change = func(c *Config) { c.FunctionTimeout = time.Second }
	case starts("fail-sized-over-limit"):
		s.change = func(c *Config) { c.BodyLimit = 1000 }
	case starts("mode-both"):
		s.app, s.change = plainApp(proxyMode), func(c *Config) { c.Forward = true }
	case starts("mode-neither"):
		s.app.customHandler = `"enableProxyingHttpRequest": false`
	case starts("opts-"):
		s.app.functions = map[string]string{"items": httpFunction("items/{*path}", "get", "options")}
	case starts("route-key-"):
		s.app.functions = map[string]string{"keyed": strings.Replace(httpFunction("keyed/{id}", "get"), "anonymous", "function", 1)}
	case starts("fail-"), starts("disconnect-"), starts("start-"), starts("resp-close"), starts("resp-reset"):
	case e.random():
		s.app.functions = map[string]string{"echo": httpFunction("echo/{*path}")}
		s.change = func(c *Config) { c.CORS = []string{"http://localhost:9912"} }
		s.shared = "random " + string(e.Mode)
	default:
		s.shared = string(e.Mode)
	}
	return s
}

// replay sends the recorded request, has the handler answer as it did, and returns
// what both ends saw that the recording does not have.
func (f *fixture) replay(t *testing.T, e exchange, s settings) []string {
	t.Helper()
	for _, then := range s.before {
		require.NoError(t, f.Ready(t.Context()))
		require.NoError(t, f.write(script{Steps: []step{{Then: then}}}))
		c := f.dial(t)
		fmt.Fprint(c, "POST /api/things HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx") // is sent once
		f.line(t, "handler exited with status")
		_, _ = io.Copy(io.Discard, c)
	}
	require.NoError(t, f.Ready(t.Context()))
	startsBefore := f.Starts()

	var d differences
	d.bind("port", strconv.Itoa(f.HandlerPort()))
	_, hostPort, _ := net.SplitHostPort(strings.TrimPrefix(f.URL(), "http://"))
	d.bind("host-port", hostPort)
	if e.Request == nil { // the ping at the start
		d.requests(f.saw("request", true), e.HandlerSaw)
		return d.list
	}
	require.NoError(t, f.write(script{Steps: stepsOf(t, e, f.HandlerPort())}))
	c := f.dial(t)
	request := expandRequest(strings.ReplaceAll(*e.Request, "{host-port}", hostPort))
	if e.TimesSaw != nil { // and then leaves
		_, err := c.Write(request)
		require.NoError(t, err)
		f.await(t, "request", false, *e.TimesSaw)
		require.NoError(t, c.Close())
		f.await(t, "gone", false, *e.TimesSaw)
		require.Len(t, f.saw("request", false), *e.TimesSaw)
		return nil
	}

	got := send(t, c, request)
	if e.random() && len(got.body) == e.ClientGot.Length {
		e.ClientGot.Length = len(e.ClientGot.Body)
		got.body, got.interim = got.body[:e.ClientGot.Length], nil
	}
	d.answer(got, *e.ClientGot)
	switch e.ClientGot.ConnectionAfter {
	case "open":
		fmt.Fprint(c, "GET /nothing HTTP/1.1\r\nHost: func.example.test\r\n\r\n")
		if m, err := readMessage(got.rest, answerLimits); err != nil {
			d.add("the client's connection is not open afterwards: %v", err)
		} else {
			d.same("the next answer", m.first, "HTTP/1.1 404 Not Found")
		}
	case "closed":
		if m, err := readMessage(got.rest, answerLimits); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			d.add("the client's connection is not closed afterwards: %s, %v", m.first, err)
		}
	default:
		t.Errorf("unknown connection_after %q", e.ClientGot.ConnectionAfter)
	}
	pings := e.TimesHead == nil
	if e.TimesWhole != nil {
		want := make([]recordedRequest, *e.TimesWhole)
		for i := range want {
			want[i] = e.HandlerSaw[0]
		}
		e.HandlerSaw = want
		if heads := len(f.saw("head", false)); heads != *e.TimesHead {
			d.add("the handler saw %d heads, want %d", heads, *e.TimesHead)
		}
	}
	d.requests(f.await(t, "request", pings, len(e.HandlerSaw)), e.HandlerSaw)
	if e.Starts != nil {
		if starts := f.Starts() - startsBefore; starts != *e.Starts {
			d.add("the handler was started %d times, want %d", starts, *e.Starts)
		}
	}
	return d.list
}

func (f *fixture) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(f.URL(), "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	return c
}

// await waits until the recorder has logged n events and returns them all.
func (r recorder) await(t testing.TB, kind string, pings bool, n int) []event {
	t.Helper()
	require.Eventually(t, func() bool { return len(r.saw(kind, pings)) >= n }, 10*time.Second, 5*time.Millisecond,
		"the handler never logged %d of %q, only %v", n, kind, r.events())
	return r.saw(kind, pings)
}

// stepsOf makes the recorded answers again.
func stepsOf(t *testing.T, e exchange, port int) []step {
	steps := []step{{Answer: []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")}}
	if len(e.HandlerAnswered) > 0 {
		steps = nil
	}
	for _, a := range e.HandlerAnswered {
		var st step
		switch a.Note {
		case "closed the connection without answering":
			st.Then = "close"
		case "reset the connection without answering":
			st.Then = "reset"
		case "process ended without answering":
			code := regexp.MustCompile(`die:(\d+)`).FindStringSubmatch(*e.Request)
			require.NotNil(t, code)
			st.Then = "exit:" + code[1]
		case "did not answer":
			st.Then = "hang"
		case "":
			m := message{first: a.Status}
			for _, h := range a.Headers {
				m.header.add(h[0], string(toLatin1(expandRun(h[1]))))
			}
			if a.Body == "" && a.Length > 0 { // its bytes were not kept
				require.Equal(t, "proxy-fail-413close", e.Name)
				a.Body, st.Early = e.ClientGot.Body, true
				m.header.add("Content-Type", "text/plain")
				m.header.add("Content-Length", strconv.Itoa(a.Length))
			}
			if e.random() && m.header.hasToken("Transfer-Encoding", "chunked") && !strings.HasPrefix(*e.Request, "HEAD ") {
				if a.Body != "" {
					a.Body = fmt.Sprintf("%x\r\n%s\r\n", len(toLatin1(a.Body)), a.Body)
				}
				a.Body += lastChunk
			}
			st.Then = a.Then
			fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{trace-id}", strings.Repeat("a", 32), "{span-id}", strings.Repeat("b", 16))
			st.Answer = append([]byte(fill.Replace(string(m.bytes()))), toLatin1(a.Body)...)
			if a.Length < e.ClientGot.Length || !e.ClientGot.Complete || strings.Contains(e.Name, "half") {
				st.Then = "close"
			}
		default:
			require.Fail(t, "unknown note", a.Note)
		}
		steps = append(steps, st)
	}
	if strings.Contains(e.Name, "disconnect") {
		steps = []step{{Then: "hang"}}
	}
	return steps
}

var shortened = regexp.MustCompile(`(?s)^(.*)(.)\.\.\.\{(\d+) bytes( in all)?\}$`)

// expandRun undoes "hhh...{70000 bytes}".
func expandRun(s string) string {
	m := shortened.FindStringSubmatch(s)
	if m == nil {
		return s
	}
	n, _ := strconv.Atoi(m[3])
	return m[1] + strings.Repeat(m[2], n-len(toLatin1(m[1])))
}

func expandRequest(s string) []byte {
	m := shortened.FindStringSubmatch(s)
	if m == nil {
		return toLatin1(s)
	}
	end := ""
	if !strings.Contains(m[1], "\r\n\r\n") {
		end = "\r\n\r\n" // what was left out includes the end of the head
	}
	n, _ := strconv.Atoi(m[3])
	return append(toLatin1(m[1]), strings.Repeat(m[2], n-len(toLatin1(m[1]))-len(end))+end...)
}

// got is what a client received.
type got struct {
	message
	interim  []string
	body     []byte
	framing  string
	complete bool
	rest     *bufio.Reader
}

// send writes a raw request and reads the answer, whatever it is.
func send(t *testing.T, c net.Conn, request []byte) got {
	t.Helper()
	g, err := exchangeOn(c, request)
	require.NoError(t, err)
	return g
}

// exchangeOn is send on a goroutine that is not the test's.
func exchangeOn(c net.Conn, request []byte) (g got, err error) {
	head, body, _ := strings.Cut(string(request), "\r\n\r\n")
	r := bufio.NewReader(c)
	g.rest = r
	_, err = io.WriteString(c, head+"\r\n\r\n")
	if err != nil {
		return g, err
	}
	written := make(chan struct{})
	writeBody := func() {
		_, _ = io.WriteString(c, body) // the host may answer and close before
		close(written)
	}
	if body == "" || !strings.Contains(head, "100-continue") {
		go writeBody()
	}
	for {
		g.message, err = readMessage(r, answerLimits)
		if err != nil {
			return g, err
		}
		if !strings.HasPrefix(g.first, "HTTP/1.1 1") {
			break
		}
		g.interim = append(g.interim, g.first)
		if body != "" {
			go writeBody()
		}
	}
	status := strings.Fields(g.first)[1]
	frame, err := g.header.framing(-1)
	if err != nil {
		return g, err
	}
	switch {
	case strings.HasPrefix(head, "HEAD "), status == "204", status == "304":
		g.framing, frame = "none", framing{}
	case frame.chunked:
		g.framing = "chunked"
	case frame.length >= 0:
		g.framing = "content-length"
	default:
		g.framing = "until closed"
	}
	g.body, err = io.ReadAll(frame.body(r))
	g.complete = err == nil
	if errors.Is(err, syscall.ECONNRESET) {
		g.framing += ", then reset"
	}
	select {
	case <-written:
		return g, nil
	case <-time.After(30 * time.Second):
		return g, errors.New("the body was not taken")
	}
}

// differences collects what is not as recorded. A placeholder matches anything of
// its kind, but the same thing throughout one exchange.
type differences struct {
	list  []string
	bound map[string]string
}

func (d *differences) add(format string, args ...any) {
	d.list = append(d.list, fmt.Sprintf(format, args...))
}

func (d *differences) bind(name, value string) {
	if d.bound == nil {
		d.bound = map[string]string{}
	}
	d.bound[name] = value
}

var placeholders = map[string]string{
	"invocation-id": `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`,
	"port":          `\d+`,
	"host-port":     `\d+`,
	"date":          `[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT`,
	"trace-id":      `[0-9a-f]{32}`,
	"span-id":       `[0-9a-f]{16}`,
}

func (d *differences) same(what, have, want string) {
	pattern, names := regexp.QuoteMeta(want), []string(nil)
	pattern = regexp.MustCompile(`\\\{([a-z-]+)\\\}`).ReplaceAllStringFunc(pattern, func(m string) string {
		name := strings.Trim(m, `\{}`)
		kind, ok := placeholders[name]
		if !ok {
			return m
		}
		names = append(names, name)
		return "(" + kind + ")"
	})
	m := regexp.MustCompile("(?s)^" + pattern + "$").FindStringSubmatch(have)
	if m == nil {
		d.add("%s is %.300q, want %.300q", what, have, want)
		return
	}
	for i, name := range names {
		if bound, ok := d.bound[name]; ok && bound != m[i+1] {
			d.add("%s has the %s %s, elsewhere it is %s", what, name, m[i+1], bound)
		}
		d.bind(name, m[i+1])
	}
}

func (d *differences) headers(what string, have, want [][2]string) {
	haveByName, wantByName := map[string][]string{}, map[string][]string{}
	for _, h := range have {
		name := textproto.CanonicalMIMEHeaderKey(h[0])
		haveByName[name] = append(haveByName[name], h[1])
	}
	for _, h := range want {
		name := textproto.CanonicalMIMEHeaderKey(h[0])
		wantByName[name] = append(wantByName[name], expandRun(h[1]))
	}
	for name, values := range wantByName {
		if len(haveByName[name]) != len(values) {
			d.add("%s has %s %.300q, want %.300q", what, name, haveByName[name], values)
			continue
		}
		for i, value := range values {
			d.same(what+"'s "+name, haveByName[name][i], value)
		}
	}
	for name, values := range haveByName {
		if wantByName[name] == nil {
			d.add("%s has %s %.300q, want none", what, name, values)
		}
	}
}

func (d *differences) answer(have got, want recordedAnswer) {
	d.same("the client's status line", have.first, want.Status)
	d.headers("the client's answer", pairs(have.header), want.Headers)
	d.same("the client's body", fromLatin1(have.body), want.Body)
	d.same("the client's body framing", have.framing, want.Framing)
	d.same("the interim answers", strings.Join(have.interim, ","), strings.Join(want.Interim, ","))
	if len(have.body) != want.Length || have.complete != want.Complete {
		d.add("the client got %d bytes, complete %t, want %d, %t", len(have.body), have.complete, want.Length, want.Complete)
	}
}

func (d *differences) requests(have []event, want []recordedRequest) {
	if len(have) != len(want) {
		d.add("the handler saw %d requests, want %d: %v", len(have), len(want), have)
		return
	}
	for i, w := range want {
		d.same("the handler's request line", have[i].First, w.Method+" "+w.Target+" "+w.Version)
		d.headers("the handler's request", have[i].Header, w.Headers)
		if w.Framing != "" { // else it was not kept, nor was the body
			d.same("the handler's body", have[i].Body, w.Body)
			d.same("the handler's body framing", have[i].Framing, w.Framing)
		}
		if n := len(toLatin1(have[i].Body)); n != w.Length {
			d.add("the handler saw %d bytes, want %d", n, w.Length)
		}
	}
}
