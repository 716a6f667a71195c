// Package functionstest is a stand-in for the Azure Functions host: the program
// that, in Azure and under `func start`, sits between the clients and a custom
// handler. It reads the same host.json, function.json and local.settings.json,
// starts the handler with the same variables, waits for it, starts it again when
// it dies, and answers clients the way the real host was seen to answer them in
// both of its HTTP modes, enableProxyingHttpRequest and
// enableForwardingHttpRequest. Tests drive the handler through it over real HTTP,
// and scripts/dev puts it in front of the handler on machines without Core Tools.
//
// What it imitates was recorded on host 4.1037; testdata holds the recordings,
// TestRecordedExchanges replays them, and the README there lists what still differs. It
// follows `func start` where that differs from Azure: function keys are not checked, and
// without CORS origins there is no CORS at all.
//
// It does not: speak the older Data/Metadata protocol (neither flag set), run
// triggers other than HTTP, check route constraints, watch files, enforce a minimum
// upload speed, speak TLS or HTTP/2, or reproduce anything of the platform in front
// of the host (cold starts, scale-out, the 230 s limit, function keys). Four things
// differ on purpose: a handler that cannot be started is an error of Start, where
// the real host lets clients wait for two minutes; on Windows bin/handler.exe is found
// where host.json says bin/handler; a Host header that is neither localhost nor a
// loopback address is refused with 403, so that no web page can reach a developer's
// handler by pointing a name of its own at 127.0.0.1; and the page at / lists the
// functions.
package functionstest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"itemsapi/handler/loopbacktest"
)

// ErrCrashed is wrapped by Host.Err after the handler's third crash within 30
// minutes, where the real host gives up and stops too.
var ErrCrashed = errors.New("the handler crashed three times within 30 minutes")

const (
	maxCrashes          = 3
	crashMemory         = 30 * time.Minute // a crash further from the one before starts a new count
	defaultInitTime     = 30 * time.Second
	defaultFunctionTime = 30 * time.Minute
	defaultBodyLimit    = 104857600 // bytes
)

// Config says which function app to host, and how.
type Config struct {
	// Dir is the function app's folder: host.json, */function.json and, optionally,
	// local.settings.json.
	Dir string

	// Addr is where clients call. "" means a free port of 127.0.0.1.
	// "localhost:7071" listens on 127.0.0.1 and, where it exists, on ::1 as well.
	// Anything but loopback is refused.
	Addr string

	// Forward makes this a host too old to know enableProxyingHttpRequest: with
	// both flags in host.json it forwards instead.
	Forward bool

	// Env is the handler's environment before local.settings.json's Values, which
	// never replace a variable that is already there, and the host's own variables,
	// which always do. nil means os.Environ().
	Env []string

	// CORS lists the allowed origins, or "*". nil means local.settings.json's
	// Host.CORS; no origins means that there is no CORS and a preflight is 404.
	CORS []string

	// CORSCredentials allows credentials across origins, as local.settings.json's
	// Host.CORSCredentials also does.
	CORSCredentials bool

	// Executable replaces customHandler.description.defaultExecutablePath.
	Executable string

	// Log receives the host's own messages and Output the handler's lines, with
	// stream "stdout" or "stderr". They are called one at a time and must not call
	// Close. nil discards.
	Log    func(line string)
	Output func(stream, line string)

	// FunctionTimeout is how long one call may take before the handler is killed.
	// 0 means host.json's functionTimeout, else 30 minutes.
	FunctionTimeout time.Duration

	// BodyLimit is the largest request body in bytes; above it the client gets a
	// 500. 0 means FUNCTIONS_REQUEST_BODY_SIZE_LIMIT, else 104857600.
	BodyLimit int64

	anyHost  bool          // accept every Host header
	activity time.Duration // proxy mode: longest silence of the handler; 0 means 240 s
	drain    time.Duration // for calls in flight at Close; 0 means 30 s
	pause    time.Duration // proxy mode: longest one between two tries; 0 means 250 ms
}

// Host is a running host. Its methods may be called from any goroutine.
type Host struct {
	cfg       Config
	app       *app
	cors      *cors // nil: no CORS
	url       string
	port      int // of the handler
	listeners []net.Listener
	pool      pool

	ctx    context.Context // ends when calls in flight are given up
	cancel context.CancelFunc

	stopOnce sync.Once
	stopping chan struct{} // closed: no new calls
	done     chan struct{}
	err      error          // valid once done is closed
	restarts chan *worker   // functionTimeout: kill this one and start another
	messages sync.Mutex     // one Log or Output call at a time
	calls    sync.WaitGroup // one per client connection

	mu      sync.Mutex
	conns   map[*conn]bool // true: a call is in progress
	worker  *worker
	ready   chan struct{} // closed when the current worker has answered GET /
	starts  int
	crashes []time.Time
}

// Start reads the app, listens, and starts the handler. It does not wait for the
// handler: as on the real host, calls that come early are held until it answers.
// The host stops when ctx ends, as after Close.
func Start(ctx context.Context, cfg Config) (*Host, error) {
	if cfg.Env == nil {
		cfg.Env = os.Environ()
	}
	cfg.activity = cmp.Or(cfg.activity, 240*time.Second)
	cfg.drain = cmp.Or(cfg.drain, 30*time.Second)
	cfg.pause = cmp.Or(cfg.pause, 250*time.Millisecond)
	app, err := readApp(cfg)
	if err != nil {
		return nil, err
	}
	h := &Host{
		cfg:      cfg,
		app:      app,
		cors:     newCORS(app.origins, app.credentials),
		port:     app.port,
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
		restarts: make(chan *worker),
		conns:    map[*conn]bool{},
		ready:    make(chan struct{}),
	}
	if h.listeners, err = loopbacktest.Listen(cfg.Addr); err != nil {
		return nil, fmt.Errorf("listen for clients: %w", err)
	}
	h.url = "http://" + h.listeners[0].Addr().String()
	if host, _, _ := strings.Cut(cfg.Addr, ":"); strings.EqualFold(host, "localhost") {
		h.url = "http://localhost:" + strconv.Itoa(loopbacktest.Port(h.listeners[0]))
	}
	if h.port == 0 {
		if h.port, err = takePort(); err != nil {
			h.closeListeners()
			return nil, fmt.Errorf("find a port for the handler: %w", err)
		}
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.pool.addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(h.port))

	w, err := h.spawn()
	if err != nil {
		h.closeListeners()
		releasePort(h.port)
		return nil, err
	}
	h.announce()
	for _, l := range h.listeners {
		go h.accept(l)
	}
	go h.run(w)
	context.AfterFunc(ctx, func() { h.stop(nil) })
	return h, nil
}

func (h *Host) announce() {
	for _, f := range h.app.functions {
		h.logf("%s: [%s] %s%s", f.name, strings.Join(f.methods, ","), h.url, f.pattern)
		if f.authLevel != "anonymous" {
			h.logf("%s: authLevel is %s; in Azure a call needs a key, here none is checked", f.name, f.authLevel)
		}
	}
	for _, note := range h.app.notes {
		h.logf("%s", note)
	}
	if h.cors != nil {
		h.logf("CORS: allowed origins %s", strings.Join(h.app.origins, ", "))
	}
}

// URL is where clients call: scheme, host and port, without the route prefix.
func (h *Host) URL() string { return h.url }

// Ready waits until the handler has answered GET /, whatever the status. It fails
// when ctx ends or the host stops first.
func (h *Host) Ready(ctx context.Context) error {
	h.mu.Lock()
	ready := h.ready
	h.mu.Unlock()
	select {
	case <-ready:
	case <-h.done:
	case <-ctx.Done():
		return fmt.Errorf("wait for the handler to answer GET /: %w", ctx.Err())
	}
	if !isClosed(h.done) {
		return nil
	}
	return cmp.Or(h.err, errors.New("the host was closed"))
}

// HandlerPort is the port that the handler was told to listen on. It stays the same
// when the handler is started again.
func (h *Host) HandlerPort() int { return h.port }

// HandlerPID is the process ID of the handler started last.
func (h *Host) HandlerPID() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.worker.pid
}

// Starts is how often the handler has been started, the first time included.
func (h *Host) Starts() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.starts
}

// Done is closed when the host has stopped: by Close, by the end of Start's
// context, or because it gave up on the handler.
func (h *Host) Done() <-chan struct{} { return h.done }

// Err says, once Done is closed, why the host stopped: nil after Close, an error
// that wraps ErrCrashed after the third crash.
func (h *Host) Err() error {
	select {
	case <-h.done:
		return h.err
	default:
		return nil
	}
}

// Close stops the host as Ctrl-C stops the real one: it stops listening, tells the
// handler nothing, lets calls in flight finish for up to 30 s, then kills the
// handler with all its children and waits for it.
func (h *Host) Close() error {
	h.stop(nil)
	<-h.done
	return nil
}

func (h *Host) stop(err error) {
	h.stopOnce.Do(func() {
		h.err = err
		close(h.stopping)
	})
}

// run owns the host's life: it returns when everything has ended.
func (h *Host) run(w *worker) {
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		h.supervise(w, quit)
	}()
	<-h.stopping
	h.closeListeners()
	h.mu.Lock()
	for c, busy := range h.conns {
		if !busy {
			c.Close()
		}
	}
	h.mu.Unlock()

	drained := make(chan struct{})
	go func() {
		h.calls.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-time.After(h.cfg.drain):
		h.logf("calls in flight did not end within %s and are dropped", h.cfg.drain)
		h.mu.Lock()
		for c := range h.conns {
			c.reset()
		}
		h.mu.Unlock()
	}
	h.cancel()
	<-drained
	close(quit)
	<-gone
	h.pool.close()
	releasePort(h.port)
	close(h.done)
}

// awaitReady holds a call while the handler starts.
func (h *Host) awaitReady() (*worker, error) {
	limit := time.NewTimer(4 * h.app.initTime)
	defer limit.Stop()
	h.mu.Lock()
	ready := h.ready
	h.mu.Unlock()
	select {
	case <-ready:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.worker, nil
	case <-h.stopping:
		return nil, errors.New("the host is stopping and the handler is not ready")
	case <-limit.C:
		err := fmt.Errorf("the handler was not ready after %s, four times customHandler.initializationTimeout",
			4*h.app.initTime)
		h.stop(err)
		return nil, err
	}
}

func (h *Host) logf(format string, args ...any) {
	if h.cfg.Log == nil {
		return
	}
	h.messages.Lock()
	defer h.messages.Unlock()
	h.cfg.Log(fmt.Sprintf(format, args...))
}

func (h *Host) output(stream, line string) {
	if h.cfg.Output == nil {
		return
	}
	h.messages.Lock()
	defer h.messages.Unlock()
	h.cfg.Output(stream, line)
}

func (h *Host) closeListeners() {
	for _, l := range h.listeners {
		l.Close()
	}
}

var handlerPorts = struct {
	sync.Mutex
	taken map[int]bool
}{taken: map[int]bool{}}

// takePort finds a port of 127.0.0.1 that is free now, for a handler that listens
// on it later and perhaps again and again. The real host has the system choose, and
// now and then loses the port to another program before the handler has it. Ports
// below those that systems give out themselves do not get lost.
func takePort() (int, error) {
	handlerPorts.Lock()
	defer handlerPorts.Unlock()
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		if handlerPorts.taken[port] {
			continue
		}
		if l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			l.Close()
			handlerPorts.taken[port] = true
			return port, nil
		}
	}
	return 0, errors.New("no port between 20000 and 32000 is free")
}

func releasePort(port int) {
	handlerPorts.Lock()
	defer handlerPorts.Unlock()
	delete(handlerPorts.taken, port)
}
