package functionstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"itemsapi/handler/waittest"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
)

const ok200 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

func answering(answers ...string) script {
	var s script
	for _, a := range answers {
		s.Steps = append(s.Steps, step{Answer: []byte(a)})
	}
	return s
}

// bothModes runs a test against a proxying and a forwarding host.
func bothModes(t *testing.T, f func(t *testing.T, m mode)) {
	for _, m := range []mode{proxyMode, forwardMode} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			f(t, m)
		})
	}
}

func (f *fixture) get(t testing.TB, path string) int {
	t.Helper()
	status, err := f.request("GET", path, "")
	require.NoError(t, err)
	return status
}

// call200 is an error unless the call is answered 200.
func (f *fixture) call200(method, body string) error {
	status, err := f.request(method, "/api/things", body)
	if err == nil && status != 200 {
		err = fmt.Errorf("%s was answered %d", method, status)
	}
	return err
}

func (f *fixture) request(method, path, body string) (int, error) {
	req, err := http.NewRequest(method, f.URL()+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

func (f *fixture) stopped(t testing.TB) error {
	t.Helper()
	select {
	case <-f.Done():
		return f.Err()
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the host did not stop")
		return nil
	}
}

// handlerGone: nothing listens on the handler's port any more.
func (f *fixture) handlerGone(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.HandlerPort())))
		if err == nil {
			c.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond, "the handler still listens")
}

func TestExitStatusZeroIsNeverStartedAgain(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(forwardMode), script{Steps: []step{{Then: "exit:0"}}})
	require.Equal(t, 500, f.get(t, "/api/things"))
	f.line(t, "status 0")
	for range 3 {
		require.Equal(t, 500, f.get(t, "/api/things"))
	}
	require.Equal(t, 1, f.Starts())
	require.NoError(t, f.Err())
	require.False(t, isClosed(f.Done()))
}

func TestExitStatus200IsARestartThatDoesNotCount(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(forwardMode), script{Steps: []step{{Then: "exit:200"}}})
	for n := 1; n <= 4; n++ {
		require.Equal(t, 500, f.get(t, "/api/things"))
		f.line(t, "exit status 200")
		f.line(t, "handler ready")
		require.Equal(t, n+1, f.Starts())
	}
	require.NoError(t, f.write(answering(ok200)))
	require.Equal(t, 200, f.get(t, "/api/things"))
}

func TestThirdCrashStopsTheHost(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(forwardMode), script{Steps: []step{{Then: "exit:3"}}})
	require.NoError(t, f.Ready(t.Context()))
	port, pid := f.HandlerPort(), f.HandlerPID()
	for n := 1; n <= 2; n++ {
		require.Equal(t, 500, f.get(t, "/api/things"))
		line := f.line(t, "handler exited")
		require.Equal(t, fmt.Sprintf("handler exited with status 3 (crash %d of 3), starting it again on port %d", n, port), line)
		f.line(t, "handler ready")
		require.Equal(t, port, f.HandlerPort())
		require.NotEqual(t, pid, f.HandlerPID())
	}
	require.Equal(t, 500, f.get(t, "/api/things"))
	err := f.stopped(t)
	require.ErrorIs(t, err, ErrCrashed)
	require.ErrorContains(t, err, "status 3")
	require.Equal(t, 3, f.Starts())
	require.NoError(t, f.Close(), "Close after the end")
	require.ErrorIs(t, f.Err(), ErrCrashed)
	_, err = f.request("GET", "/api/things", "")
	require.Error(t, err, "nobody listens")
	require.ErrorIs(t, f.Ready(t.Context()), ErrCrashed)
}

func TestCrashesFarApartDoNotAddUp(t *testing.T) {
	var h Host
	now := time.Now()
	require.Equal(t, 1, h.countCrash(now))
	require.Equal(t, 2, h.countCrash(now.Add(29*time.Minute)))
	require.Equal(t, 1, h.countCrash(now.Add(60*time.Minute)))
	require.Equal(t, 2, h.countCrash(now.Add(61*time.Minute)))
	require.Equal(t, 3, h.countCrash(now.Add(62*time.Minute)))
}

func TestAKilledHandlerIsACrash(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), answering(ok200))
	require.NoError(t, f.Ready(t.Context()))
	p, err := os.FindProcess(f.HandlerPID())
	require.NoError(t, err)
	require.NoError(t, p.Kill())
	require.Contains(t, f.line(t, "handler exited"), "(crash 1 of 3)")
	require.Equal(t, 200, f.get(t, "/api/things"))
	require.Equal(t, 2, f.Starts())
}

func TestStartFailures(t *testing.T) {
	tests := []struct {
		name, start, want string
		host              string
	}{
		{"exits with 1", "exit:1", "status 1", ""},
		{"exits with 0", "exit:0", "did not listen on port", `, "initializationTimeout": "00:00:00.3"`},
		{"never listens", "deaf", "did not listen on port", `, "initializationTimeout": "00:00:00.3"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := plainApp(proxyMode)
			a.customHandler += test.host
			f := start(t, a, script{Start: test.start})
			err := f.stopped(t)
			require.ErrorIs(t, err, ErrCrashed)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, 3, f.Starts())
		})
	}
}

func TestAHandlerThatDoesNotAnswerThePingBlocksTheHost(t *testing.T) {
	t.Parallel()
	a := plainApp(proxyMode)
	a.customHandler += `, "initializationTimeout": "00:00:01"`
	f := start(t, a, script{Root: "hang"})
	require.Equal(t, 500, f.get(t, "/api/things"))
	err := f.stopped(t)
	require.ErrorContains(t, err, "not ready after 4s")
	require.NotErrorIs(t, err, ErrCrashed)
}

func TestAHandlerThatDropsThePingIsReady(t *testing.T) {
	t.Parallel()
	s := answering(ok200)
	s.Root = "close"
	f := start(t, plainApp(proxyMode), s)
	require.NoError(t, f.Ready(t.Context()))
	require.Equal(t, 200, f.get(t, "/api/things"))
	require.Len(t, f.saw("request", true), 1+clientTries)
}

func TestCallsWaitForTheStart(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		s := answering(ok200)
		s.Start = "gate:1"
		f := start(t, plainApp(m), s)
		require.ErrorIs(t, f.Ready(cancelled()), context.Canceled)
		var calls errgroup.Group
		for range 20 {
			calls.Go(func() error { return f.call200("POST", "{}") })
		}
		require.Eventually(t, func() bool { return f.busy() == 20 }, 10*time.Second, time.Millisecond)
		require.Empty(t, f.saw("head", false))
		f.openGate(t, 1)
		require.NoError(t, calls.Wait())
		require.Len(t, f.saw("request", false), 20)
	})
}

func TestCallsWaitForARestart(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		f := start(t, plainApp(m), script{Steps: []step{{Then: "exit:1"}}})
		require.NoError(t, f.Ready(t.Context()))
		crash := make(chan int, 1)
		go func() {
			status, _ := f.request("POST", "/api/things", "{}")
			crash <- status
		}()
		f.await(t, "request", false, 1)
		next := answering(ok200)
		next.Start = "gate:1"
		require.NoError(t, f.write(next))
		f.line(t, "starting it again")

		var calls errgroup.Group
		for range 20 {
			calls.Go(func() error { return f.call200("GET", "") })
		}
		require.Eventually(t, func() bool { return f.busy() >= 20 }, 10*time.Second, time.Millisecond)
		f.openGate(t, 1)
		require.NoError(t, calls.Wait())
		require.Equal(t, 500, waittest.For(t, crash))
		require.Len(t, f.saw("request", false), 20, "none twice, and the POST with a body not again")
	})
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestCloseLetsCallsFinish(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		f := start(t, plainApp(m), script{Steps: []step{{Gates: true, Answer: []byte("|" + ok200)}}})
		idle := f.dial(t)
		fmt.Fprint(idle, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err := idle.Read(make([]byte, 4096))
		require.NoError(t, err)

		answer := make(chan got, 1)
		c := f.dial(t)
		go func() {
			g, _ := exchangeOn(c, []byte("GET /api/things HTTP/1.1\r\nHost: x\r\n\r\n"))
			answer <- g
		}()
		f.await(t, "request", false, 1)
		closed := make(chan error, 1)
		go func() { closed <- f.Close() }()
		require.Eventually(t, func() bool {
			c, err := net.Dial("tcp", strings.TrimPrefix(f.URL(), "http://"))
			if err == nil {
				c.Close()
			}
			return err != nil
		}, 10*time.Second, time.Millisecond, "it still listens")
		_, err = idle.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "an idle connection is closed at once")
		require.False(t, isClosed(f.Done()))

		f.openGate(t, 1)
		g := waittest.For(t, answer)
		require.Equal(t, "HTTP/1.1 200 OK", g.first)
		require.Equal(t, "close", g.header.get("Connection"))
		require.NoError(t, waittest.For(t, closed))
		require.NoError(t, f.Err())
		f.handlerGone(t)
		require.Empty(t, f.saw("gone", false), "the handler was told nothing")
	})
}

func TestCloseGivesUpOnCallsThatDoNotEnd(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		f := start(t, plainApp(m), script{Steps: []step{{Then: "hang"}}}, func(c *Config) { c.drain = 300 * time.Millisecond })
		c := f.dial(t)
		fmt.Fprint(c, "GET /api/things HTTP/1.1\r\nHost: x\r\n\r\n")
		f.await(t, "request", false, 1)
		require.NoError(t, f.Close())
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		f.handlerGone(t)
	})
}

func TestCloseWhileTheHandlerStarts(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), script{Start: "deaf"})
	answer := make(chan int, 1)
	go func() {
		status, _ := f.request("GET", "/api/things", "")
		answer <- status
	}()
	require.Eventually(t, func() bool { return f.busy() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.Close())
	require.Equal(t, 500, waittest.For(t, answer))
	require.ErrorContains(t, f.Ready(t.Context()), "closed")
}

func TestEndOfTheContextStopsTheHost(t *testing.T) {
	t.Parallel()
	dir, r := t.TempDir(), recorder{t.TempDir()}
	require.NoError(t, plainApp(proxyMode).write(dir))
	require.NoError(t, r.write(script{}))
	ctx, cancel := context.WithCancel(t.Context())
	h, err := Start(ctx, Config{Dir: dir, Executable: os.Args[0], Env: append(os.Environ(), recorderDir+"="+r.dir)})
	require.NoError(t, err)
	require.NoError(t, h.Ready(t.Context()))
	cancel()
	select {
	case <-h.Done():
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the host did not stop")
	}
	require.NoError(t, h.Err())
	(&fixture{Host: h}).handlerGone(t)
}

func TestFunctionTimeoutReplacesTheHandlerAndDoesNotCount(t *testing.T) {
	t.Parallel()
	a := plainApp(forwardMode)
	a.host = `, "functionTimeout": "00:00:00.2"`
	f := start(t, a, script{Steps: []step{{Then: "hang"}}})
	for n := 1; n <= 4; n++ {
		require.Equal(t, 500, f.get(t, "/api/things"))
		f.line(t, "functionTimeout, 200ms")
		f.line(t, "handler ready")
		require.Equal(t, n+1, f.Starts())
	}
	require.NoError(t, f.Err())
}

func TestASilentHandlerIsGivenUpInProxyMode(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), script{Steps: []step{{Then: "hang"}}}, func(c *Config) { c.activity = 200 * time.Millisecond })
	require.Equal(t, 500, f.get(t, "/api/things"))
	f.await(t, "gone", false, 1)
	require.Len(t, f.saw("head", false), 1, "not sent again")
	require.Equal(t, 1, f.Starts())
}

func TestProxyModeStreams(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), script{Steps: []step{{Gates: true, Answer: []byte(
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|5\r\nfirst\r\n|6\r\nsecond\r\n0\r\n\r\n")}}})
	resp := make(chan *http.Response, 1)
	go func() {
		r, _ := http.Get(f.URL() + "/api/things")
		resp <- r // nil if it failed
	}()
	f.await(t, "request", false, 1)
	select {
	case <-resp:
		require.FailNow(t, "the head came without a body")
	case <-time.After(100 * time.Millisecond):
	}
	f.openGate(t, 1)
	r := waittest.For(t, resp)
	require.NotNil(t, r, "no answer")
	defer r.Body.Close()
	first := make([]byte, 5)
	_, err := io.ReadFull(r.Body, first)
	require.NoError(t, err)
	require.Equal(t, "first", string(first))
	f.openGate(t, 2)
	rest, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "second", string(rest))
}

func TestAStreamThatBreaksCutsTheClientOff(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), script{Steps: []step{{
		Answer: []byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"), Then: "close",
	}}})
	resp, err := http.Get(f.URL() + "/api/things")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.Error(t, err)
	require.Equal(t, "first", string(body))
	require.Len(t, f.saw("head", false), 1)
}

func TestForwardModeDoesNotNoticeThatTheClientLeft(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(forwardMode), script{Steps: []step{{Gates: true, Answer: []byte("|" + ok200)}, {Answer: []byte(ok200)}}})
	c := f.dial(t)
	fmt.Fprint(c, "GET /api/things HTTP/1.1\r\nHost: x\r\n\r\n")
	f.await(t, "request", false, 1)
	require.NoError(t, c.Close())
	f.openGate(t, 1)
	require.Eventually(t, func() bool { return f.busy() == 0 }, 10*time.Second, time.Millisecond)
	require.Empty(t, f.saw("gone", false))
	require.Equal(t, 200, f.get(t, "/api/things"))
}

func TestAnUploadThatBreaksOff(t *testing.T) {
	tests := []struct {
		name, request string
		mode          mode
		saw           bool
	}{
		{"proxy, chunked", "POST /api/things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n", proxyMode, true},
		{"proxy, sized", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbody", proxyMode, false},
		{"forward, sized", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nbody", forwardMode, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, plainApp(test.mode), answering(ok200))
			require.NoError(t, f.Ready(t.Context()))
			c := f.dial(t)
			fmt.Fprint(c, test.request)
			if test.saw {
				f.await(t, "head", false, 1)
			}
			require.NoError(t, c.Close())
			require.Eventually(t, func() bool { return f.busy() == 0 }, 10*time.Second, time.Millisecond)
			if test.saw {
				f.await(t, "gone", false, 1)
			} else {
				require.Empty(t, f.saw("head", false))
			}
			require.Empty(t, f.saw("request", false))
		})
	}
}

// An answer that comes while the host still writes the body is lost, as the host drops
// a connection that it cannot write to. What the sockets hold is written.
func TestAnAnswerBeforeTheUploadEnds(t *testing.T) {
	const large = 16 << 20
	for _, test := range []struct {
		name    string
		mode    mode
		chunked bool
		size    int
		heard   bool
	}{
		{"proxy, chunked, small", proxyMode, true, 4, true},
		{"proxy, sized, small", proxyMode, false, 4, true},
		{"forward, sized, small", forwardMode, false, 4, true},
		{"proxy, chunked, large", proxyMode, true, large, false},
		{"proxy, sized, large", proxyMode, false, large, false},
		{"forward, sized, large", forwardMode, false, large, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, plainApp(test.mode), script{Steps: []step{{
				Early: true, Answer: []byte("HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\nConnection: close\r\n\r\nwho"),
			}}})
			body := strings.Repeat("x", test.size)
			framing := fmt.Sprintf("Content-Length: %d", test.size)
			if test.chunked {
				framing = "Transfer-Encoding: chunked"
				body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", test.size, body)
			}
			g := send(t, f.dial(t), []byte("POST /api/things HTTP/1.1\r\nHost: x\r\n"+framing+"\r\n\r\n"+body))
			if test.heard {
				require.Equal(t, "HTTP/1.1 401 Unauthorized", g.first)
				require.Equal(t, "who", string(g.body))
				return
			}
			require.Equal(t, "HTTP/1.1 500 Internal Server Error", g.first)
			require.Empty(t, g.body)
		})
	}
}

func TestAHandlerThatDropsAChunkedUpload(t *testing.T) {
	tests := []struct {
		name    string
		step    step
		request string
	}{
		{"when it has all of it", step{Then: "close"}, "POST /api/things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"},
		{"in the middle", step{Early: true}, "POST /api/things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := start(t, plainApp(proxyMode), script{Steps: []step{test.step}})
			g := send(t, f.dial(t), []byte(test.request))
			require.Equal(t, "HTTP/1.1 500 Internal Server Error", g.first)
			require.Len(t, f.saw("head", false), 1, "sent once")
		})
	}
}

func TestAnUploadNobodyAskedForEndsTheConnection(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), script{})
	c := f.dial(t)
	fmt.Fprint(c, "POST /nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(answer), "HTTP/1.1 404"), "%s", answer)
}

func TestAChunkedUploadOverTheLimit(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), answering(ok200), func(c *Config) { c.BodyLimit = 10 })
	g := send(t, f.dial(t), []byte("POST /api/things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n"))
	require.Equal(t, "HTTP/1.1 500 Internal Server Error", g.first)
	require.Equal(t, "close", g.header.get("Connection"))
	require.Empty(t, f.saw("request", false))
}

func TestManyClientsOfANetHTTPHandler(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		f := start(t, plainApp(m), script{Echo: true})
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
		defer client.CloseIdleConnections()
		var clients errgroup.Group
		for n := range 8 {
			clients.Go(func() error {
				for i := range 30 {
					body := bytes.Repeat([]byte{byte('a' + n)}, i*i*100)
					var reader io.Reader = bytes.NewReader(body)
					if m == proxyMode && i%3 == 0 {
						reader = io.MultiReader(reader) // of unknown length: chunked
					}
					resp, err := client.Post(f.URL()+"/api/things", "text/plain", reader)
					if err != nil {
						return err
					}
					echoed, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil {
						return err
					}
					if resp.StatusCode != 200 || resp.Header.Get("X-Method") != "POST" || !bytes.Equal(body, echoed) {
						return fmt.Errorf("call %d of client %d: %s to %q, %d bytes for %d",
							i, n, resp.Status, resp.Header.Get("X-Method"), len(echoed), len(body))
					}
				}
				return nil
			})
		}
		require.NoError(t, clients.Wait())
		f.pool.mu.Lock()
		idle := len(f.pool.idle)
		f.pool.mu.Unlock()
		require.LessOrEqual(t, idle, 8, "connections to the handler are used again")
		require.Equal(t, 1, f.Starts())
	})
}

func TestWhatTheHandlerIsGiven(t *testing.T) {
	t.Parallel()
	a := plainApp(proxyMode)
	a.description = `, "arguments": ["-a", "b c", "%GREETING%-%UNSET%"], "defaultWorkerPath": "main file", "workerArguments": ["-w"], "workingDirectory": "things-read"`
	a.settings = `{
		// a comment, as the real host allows
		"IsEncrypted": false,
		"Values": {"FROM_FILE": "file", "FROM_BOTH": "file", "NUMBER": 7, "FUNCTIONS_CUSTOMHANDLER_PORT": "1"},
		"ConnectionStrings": {"Main": "x=y"}
	}`
	f := start(t, a, script{Steps: []step{{Then: "exit:1"}}}, func(c *Config) {
		c.Addr = "localhost:0"
		c.Env = append(c.Env, "FROM_BOTH=environment", "GREETING=hello", "FUNCTIONS_HTTPWORKER_PORT=2")
	})
	environment := func() map[string]string {
		var list []string
		require.NoError(t, json.Unmarshal([]byte(next(t, f.stdout, "[")), &list))
		env := map[string]string{}
		for _, entry := range list {
			name, value, _ := strings.Cut(entry, "=")
			env[name] = value
		}
		return env
	}
	env := environment()
	port := strconv.Itoa(f.HandlerPort())
	require.Equal(t, port, env["FUNCTIONS_CUSTOMHANDLER_PORT"], "the host's own variables win")
	require.Equal(t, port, env["FUNCTIONS_HTTPWORKER_PORT"])
	require.NotEmpty(t, env["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"])
	require.Equal(t, env["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], env["FUNCTIONS_HTTPWORKER_ID"])
	require.Equal(t, f.app.root, env["FUNCTIONS_APP_ROOT_PATH"])
	require.Equal(t, f.app.root, env["AzureWebJobsScriptRoot"])
	require.Equal(t, "Development", env["AZURE_FUNCTIONS_ENVIRONMENT"])
	require.Equal(t, strings.TrimPrefix(f.URL(), "http://"), env["WEBSITE_HOSTNAME"])
	require.Equal(t, "file", env["FROM_FILE"])
	require.Equal(t, "environment", env["FROM_BOTH"], "the environment wins over the file")
	require.Equal(t, "7", env["NUMBER"])
	require.Equal(t, "x=y", env["ConnectionStrings:Main"])
	directory := filepath.Join(f.app.root, "things-read")
	require.Equal(t, `["-a" "b" "c" "hello-" "main file" "-w"] in `+directory, next(t, f.stderr, "["))

	require.NoError(t, f.Ready(t.Context()))
	_, _ = f.request("POST", "/api/things", "x")
	again := environment()
	require.Equal(t, port, again["FUNCTIONS_CUSTOMHANDLER_PORT"])
	require.NotEqual(t, env["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], again["FUNCTIONS_CUSTOMHANDLER_WORKER_ID"], "new at each start")
}

func TestCORSFromLocalSettings(t *testing.T) {
	t.Parallel()
	a := plainApp(proxyMode)
	a.settings = `{"Host": {"CORS": "http://localhost:9912,http://127.0.0.1:9912", "CORSCredentials": true}}`
	f := start(t, a, answering(ok200))
	g := send(t, f.dial(t), []byte("GET /api/things HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:9912\r\n\r\n"))
	require.Equal(t, "http://localhost:9912", g.header.get("Access-Control-Allow-Origin"))
	require.Equal(t, "true", g.header.get("Access-Control-Allow-Credentials"))
	require.Equal(t, "Origin", g.header.get("Vary"))

	tests := []struct {
		name, request, status, origin string
	}{
		{"preflight of a route that is none", "OPTIONS /x HTTP/1.1\r\nHost: x\r\nOrigin: http://127.0.0.1:9912\r\nAccess-Control-Request-Method: GET\r\n\r\n", "204 No Content", "http://127.0.0.1:9912"},
		{"refused preflight", "OPTIONS /x HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: GET\r\n\r\n", "204 No Content", ""},
		{"OPTIONS that is no preflight", "OPTIONS /api/things HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:9912\r\n\r\n", "404 Not Found", "http://localhost:9912"},
		{"unknown route", "GET /x HTTP/1.1\r\nHost: x\r\nOrigin: http://localhost:9912\r\n\r\n", "404 Not Found", "http://localhost:9912"},
	}
	for _, test := range tests {
		g := send(t, f.dial(t), []byte(test.request))
		require.Equal(t, "HTTP/1.1 "+test.status, g.first, test.name)
		require.Equal(t, test.origin, g.header.get("Access-Control-Allow-Origin"), test.name)
	}
}

func TestARefusedOriginKeepsTheHandlersOwnHeader(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), answering("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n"),
		func(c *Config) { c.CORS = []string{allowedOrigin} })
	g := send(t, f.dial(t), []byte("GET /api/things HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\r\n"))
	require.Equal(t, []string{"*"}, g.header.values("Access-Control-Allow-Origin"))
}

func TestOnlyLoopbackHostsAreAnswered(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), answering(ok200), func(c *Config) { c.anyHost = false })
	for host, want := range map[string]string{
		"localhost": "200 OK", "LOCALHOST:7071": "200 OK", "127.0.0.1:1": "200 OK", "127.8.9.1": "200 OK", "[::1]:7071": "200 OK", "[::1]": "200 OK",
		"evil.example": "403 Forbidden", "localhost.evil.example:7071": "403 Forbidden", "10.0.0.1": "403 Forbidden", "127.0.0.1.nip.io": "403 Forbidden",
	} {
		g := send(t, f.dial(t), []byte("GET /api/things HTTP/1.1\r\nHost: "+host+"\r\n\r\n"))
		require.Equal(t, "HTTP/1.1 "+want, g.first, host)
	}
	g := send(t, f.dial(t), []byte("OPTIONS / HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n"))
	require.Contains(t, string(g.body), "Host header")
}

func TestListensOnBothLoopbackAddresses(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), answering(ok200), func(c *Config) { c.Addr = "localhost:0" })
	port := f.URL()[strings.LastIndex(f.URL(), ":")+1:]
	require.Equal(t, "http://localhost:"+port, f.URL())
	addresses := []string{"127.0.0.1"}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		l.Close()
		addresses = append(addresses, "::1")
	}
	for _, address := range addresses {
		resp, err := http.Get("http://" + net.JoinHostPort(address, port) + "/")
		require.NoError(t, err)
		page, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Contains(t, string(page), "things-read: [GET,HEAD] "+f.URL()+"/api/things/{*path}")
	}
	_, err := tryStart(t, plainApp(proxyMode), script{}, func(c *Config) { c.Addr = "localhost:" + port })
	require.ErrorContains(t, err, "listen for clients")
	_, err = tryStart(t, plainApp(proxyMode), script{}, func(c *Config) { c.Addr = "0.0.0.0:0" })
	require.ErrorContains(t, err, "not a loopback address")
}

func TestOldClientsAndOddRequests(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"))
	tests := []struct {
		name, request, status, framing string
	}{
		{"HTTP/1.0 has no chunks", "GET /api/things HTTP/1.0\r\nHost: x\r\n\r\n", "200 OK", "until closed"},
		{"HTTP/1.0 without Host", "GET /api/things HTTP/1.0\r\n\r\n", "500 Internal Server Error", "content-length"},
		{"an empty Host", "GET /api/things HTTP/1.1\r\nHost: \r\n\r\n", "500 Internal Server Error", "content-length"},
		{"an empty Host where no function is", "GET /api/none HTTP/1.1\r\nHost: \r\n\r\n", "404 Not Found", "content-length"},
		{"the page at /", "PUT / HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "content-length"},
		{"101 headers", "GET /api/things HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 100) + "\r\n", "431 Request Header Fields Too Large", "content-length"},
		{"100 headers", "GET /api/things HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 99) + "\r\n", "200 OK", "chunked"},
		{"a long query", "GET /api/things?q=" + strings.Repeat("q", 8200) + " HTTP/1.1\r\nHost: x\r\n\r\n", "414 URI Too Long", "content-length"},
		{"two Hosts", "GET /api/things HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "400 Bad Request", "content-length"},
		{"no Host", "GET /api/things HTTP/1.1\r\n\r\n", "400 Bad Request", "content-length"},
		{"a folded header", "GET /api/things HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", "400 Bad Request", "content-length"},
		{"a space before the colon", "GET /api/things HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", "400 Bad Request", "content-length"},
		{"a negative length", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400 Bad Request", "content-length"},
		{"two lengths", "POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400 Bad Request", "content-length"},
		{"an unknown encoding", "POST /api/things HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "400 Bad Request", "content-length"},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported", "content-length"},
		{"raw bytes in the path", "GET /api/things/\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", "content-length"},
		{"raw bytes in the query", "GET /api/things?\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", "content-length"},
		{"a NUL in the path", "GET /api/things/%00 HTTP/1.1\r\nHost: x\r\n\r\n", "400 Bad Request", "content-length"},
		{"absolute form", "GET http://x/api/things HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", "chunked"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := send(t, f.dial(t), []byte(test.request))
			require.Equal(t, "HTTP/1.1 "+test.status, g.first)
			require.Equal(t, test.framing, g.framing)
			require.True(t, g.complete)
		})
	}
}

func TestABadByteInAHeaderEndsTheConnection(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		f := start(t, plainApp(m), answering(ok200))
		for _, line := range []string{"A: caf\xe9", "A: \xff", "\xe9: a", "\u00e9: a"} {
			g := send(t, f.dial(t), []byte("GET /api/things HTTP/1.1\r\nHost: x\r\n"+line+"\r\n\r\n"))
			require.Equal(t, "HTTP/1.1 400 Bad Request", g.first, "%q", line)
			require.Equal(t, []string{"close"}, g.header.values("Connection"), "%q", line)
			_, err := g.rest.ReadByte()
			require.Equal(t, io.EOF, err, "%q", line)
		}
		require.Empty(t, f.saw("head", false))
	})
}

func TestLengthsOfAnswersWithoutABody(t *testing.T) {
	tests := []struct {
		name, method, answer string
		proxy, forward       []string // Content-Length
	}{
		{"204", "GET", "204 No Content\r\n", nil, nil},
		{"204 that says 0", "GET", "204 No Content\r\nContent-Length: 0\r\n", nil, nil},
		{"304", "GET", "304 Not Modified\r\n", nil, []string{"0"}},
		{"chunked and empty", "GET", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", []string{"0"}, []string{"0"}},
		{"ended at once", "GET", "200 OK\r\nConnection: close\r\n", []string{"0"}, []string{"0"}},
		{"HEAD", "HEAD", "200 OK\r\n", nil, nil},
		{"HEAD, chunked", "HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n", nil, nil},
		{"HEAD with a length", "HEAD", "200 OK\r\nContent-Length: 7\r\n", []string{"7"}, []string{"7"}},
		{"HEAD of a failure", "HEAD", "200 OK\r\nContent-Length: 7\r\nA: \xe9\r\n", nil, nil},
	}
	bothModes(t, func(t *testing.T, m mode) {
		f := start(t, plainApp(m), script{})
		for _, test := range tests {
			st := step{Answer: []byte("HTTP/1.1 " + test.answer + "\r\n")}
			if strings.Contains(test.answer, "close") {
				st.Then = "close"
			}
			require.NoError(t, f.write(script{Steps: []step{st}}))
			g := send(t, f.dial(t), []byte(test.method+" /api/things HTTP/1.1\r\nHost: x\r\n\r\n"))
			want := test.proxy
			if m == forwardMode {
				want = test.forward
			}
			require.Equal(t, want, g.header.values("Content-Length"), test.name)
			require.Empty(t, g.header.values("Transfer-Encoding"), test.name)
		}
	})
}

func TestAnAnswerTo204WithABodyIs500(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		f := start(t, plainApp(m), answering("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", ok200))
		require.Equal(t, 500, f.get(t, "/api/things"))
		require.Equal(t, 200, f.get(t, "/api/things"), "the stray body is not taken for the next answer")
	})
}

func TestConnectionsThatTheHandlerClosesWhileIdleAreNotUsed(t *testing.T) {
	bothModes(t, func(t *testing.T, m mode) {
		// No "Connection: close": the host learns of it only from the connection.
		f := start(t, plainApp(m), script{Steps: []step{{Answer: []byte(ok200), Then: "close"}}})
		for range 50 {
			status, err := f.request("POST", "/api/things", "x")
			require.NoError(t, err)
			require.Equal(t, 200, status)
			require.Eventually(t, func() bool {
				f.pool.mu.Lock()
				defer f.pool.mu.Unlock()
				return len(f.pool.idle) == 0
			}, 10*time.Second, time.Millisecond)
		}
	})
}

func TestOnlyPingsOfAScalerReachTheHandler(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(proxyMode), script{})
	require.NoError(t, f.Ready(t.Context()))
	require.Equal(t, 200, f.get(t, "/admin/host/ping"))
	require.Len(t, f.saw("request", true), 1)
	require.Equal(t, 200, f.get(t, "/admin/host/ping?checkHealth=1"))
	require.Len(t, f.saw("request", true), 2)
}

func TestOneLogLineToldPerFailure(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(forwardMode), script{Steps: []step{{Then: "reset"}}})
	require.Equal(t, 500, f.get(t, "/api/things/1?secret=x"))
	line := f.line(t, "GET /api/things/1: 500")
	require.Contains(t, line, "the handler gave no answer")
	require.NotContains(t, line, "secret")
}

func runHost(dir string) {
	h, err := Start(context.Background(), Config{
		Dir:        dir,
		Executable: os.Args[0],
		Env:        append(os.Environ(), recorderDir+"="+filepath.Join(dir, "recorder")),
	})
	if err == nil {
		err = h.Ready(context.Background())
	}
	if err != nil && !errors.Is(err, ErrCrashed) {
		panic(err)
	}
	fmt.Println(h.HandlerPort())
	select {}
}

func BenchmarkCall(b *testing.B) {
	for _, m := range []mode{proxyMode, forwardMode} {
		f := start(b, plainApp(m), script{Echo: true})
		require.NoError(b, f.Ready(b.Context()))
		direct := "http://127.0.0.1:" + strconv.Itoa(f.HandlerPort())
		for name, url := range map[string]string{string(m): f.URL(), "direct": direct} {
			b.Run(name, func(b *testing.B) {
				client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						resp, err := client.Get(url + "/api/things")
						if err != nil {
							b.Error(err)
							return
						}
						resp.Body.Close()
					}
				})
			})
		}
	}
}
