package functionstest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

const longestLine = 4 << 20 // bytes of a handler's line; what is longer is cut into several

// worker is one life of the handler's process.
type worker struct {
	pid    int
	kill   func()
	exited chan struct{}
	status *os.ProcessState // valid once exited is closed
}

// spawn starts the handler.
func (h *Host) spawn() (*worker, error) {
	name := h.app.executable
	if rel, err := filepath.Rel(h.app.root, name); err == nil && filepath.IsLocal(rel) {
		name = rel
	}
	started := make(chan error, 1)
	w := &worker{exited: make(chan struct{})}
	cmd := exec.Command(h.app.executable, h.app.arguments...)
	cmd.Dir = h.app.directory
	cmd.Env = h.handlerEnv()
	cmd.SysProcAttr = handlerAttributes()
	stdout, closeStdout, err := h.pipe("stdout", &cmd.Stdout)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stderr, closeStderr, err := h.pipe("stderr", &cmd.Stderr)
	if err != nil {
		closeStdout()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		// Linux kills the child when the thread that forked it ends, so this one
		// must last as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		cmd.Stdout.(*os.File).Close()
		cmd.Stderr.(*os.File).Close()
		if err != nil {
			started <- err
			return
		}
		w.pid = cmd.Process.Pid
		w.kill = func() { killHandler(cmd.Process) }
		started <- nil
		_ = cmd.Wait()
		w.status = cmd.ProcessState
		w.kill() // what the handler left behind
		for _, ended := range []<-chan struct{}{stdout, stderr} {
			select {
			case <-ended:
			case <-time.After(time.Second): // somebody else still holds the pipe
			}
		}
		closeStdout()
		closeStderr()
		close(w.exited)
	}()
	if err := <-started; err != nil {
		closeStdout()
		closeStderr()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	h.mu.Lock()
	h.worker = w
	h.starts++
	h.mu.Unlock()
	h.logf("handler started: %s, process %d, port %d", name, w.pid, h.port)
	return w, nil
}

// handlerEnv is the handler's environment; of two entries the last counts.
func (h *Host) handlerEnv() []string {
	port, id := strconv.Itoa(h.port), newGUID()
	env := append([]string(nil), h.app.env...)
	if h.app.getenv("AZURE_FUNCTIONS_ENVIRONMENT") == "" {
		env = append(env, "AZURE_FUNCTIONS_ENVIRONMENT=Development")
	}
	_, clientPort, _ := net.SplitHostPort(h.listeners[0].Addr().String())
	return append(env,
		"WEBSITE_HOSTNAME=localhost:"+clientPort,
		"AzureWebJobsScriptRoot="+h.app.root,
		"FUNCTIONS_CUSTOMHANDLER_PORT="+port,
		"FUNCTIONS_HTTPWORKER_PORT="+port,
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID="+id,
		"FUNCTIONS_HTTPWORKER_ID="+id,
		"FUNCTIONS_APP_ROOT_PATH="+h.app.root,
	)
}

// pipe connects one of the handler's streams to Config.Output. ended is closed when
// the last writer is gone.
func (h *Host) pipe(stream string, end *io.Writer) (ended <-chan struct{}, closeRead func(), err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	*end = w
	done := make(chan struct{})
	go func() {
		defer close(done)
		eachLine(r, longestLine, func(line string) { h.output(stream, line) })
	}()
	return done, func() { r.Close() }, nil
}

// eachLine calls f for every line, the last one with or without its line feed, and
// cuts lines of more than limit bytes.
func eachLine(r io.Reader, limit int, f func(string)) {
	in := bufio.NewReader(r)
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			line = line[:len(line)-1]
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
			f(string(line))
			line = line[:0]
		case err == bufio.ErrBufferFull:
			if len(line) >= limit {
				f(string(line))
				line = line[:0]
			}
		default:
			if len(line) > 0 {
				f(string(line))
			}
			return
		}
		if cap(line) > 64<<10 && len(line) == 0 {
			line = nil
		}
	}
}

// supervise keeps a handler running until quit is closed, and then kills it.
func (h *Host) supervise(w *worker, quit <-chan struct{}) {
	for {
		why, counts := h.attend(w, quit)
		w.kill()
		<-w.exited
		if why == "" {
			return
		}
		h.mu.Lock()
		if isClosed(h.ready) {
			h.ready = make(chan struct{})
		}
		h.mu.Unlock()
		count := ""
		if counts {
			n := h.countCrash(time.Now())
			if n >= maxCrashes {
				h.logf("%s (crash %d of %d); the host stops, as in Azure", why, n, maxCrashes)
				h.awaitAnswers()
				h.stop(fmt.Errorf("%w; the last time: %s", ErrCrashed, why))
				<-quit
				return
			}
			count = fmt.Sprintf(" (crash %d of %d)", n, maxCrashes)
		}
		if isClosed(h.stopping) {
			h.logf("%s%s while the host stops", why, count)
			<-quit
			return
		}
		h.logf("%s%s, starting it again on port %d", why, count, h.port)
		next, err := h.spawn()
		if err != nil {
			h.logf("%v; the host stops", err)
			h.stop(err)
			<-quit
			return
		}
		w = next
	}
}

// awaitAnswers gives calls that died with the handler the time to be answered before
// the host starts to stop. The real host was seen to take its time too.
func (h *Host) awaitAnswers() {
	for deadline := time.Now().Add(time.Second); h.busy() > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
}

// attend waits until w has to be replaced and says why, and whether that counts as
// a crash. why is "" when the host is to end.
func (h *Host) attend(w *worker, quit <-chan struct{}) (why string, counts bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pinged := make(chan error, 1)
	begin := time.Now()
	go func() { pinged <- h.awaitPing(ctx) }()
	exited, ready := w.exited, false
	for {
		select {
		case <-quit:
			return "", false
		case err := <-pinged:
			if err != nil {
				return err.Error(), true
			}
			ready = true
			h.logf("handler ready after %s", time.Since(begin).Round(time.Millisecond))
			h.mu.Lock()
			close(h.ready)
			h.mu.Unlock()
		case old := <-h.restarts:
			if old == w {
				return "handler killed because a call took longer than functionTimeout, " +
					h.app.functionTimeout.String(), false
			}
		case <-exited:
			switch code := w.status.ExitCode(); {
			case code == 200:
				return "handler asked for a restart with exit status 200", false
			case code == 0 && ready:
				h.logf("handler exited with status 0, which the host takes for an orderly end: it does not start it " +
					"again, and every call from now on is answered with 500")
				exited = nil
			case code == 0:
				h.logf("handler exited with status 0 before it listened on port %d", h.port)
				exited = nil // the host notices when the time for the start is over
			default:
				return "handler exited with " + describe(w.status), true
			}
		}
	}
}

// describe says "status 1" or "signal: killed".
func describe(status *os.ProcessState) string {
	if code := status.ExitCode(); code >= 0 {
		return fmt.Sprintf("status %d", code)
	}
	return status.String()
}

func (h *Host) countCrash(now time.Time) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.crashes); n > 0 && now.Sub(h.crashes[n-1]) > crashMemory {
		h.crashes = nil
	}
	h.crashes = append(h.crashes, now)
	return len(h.crashes)
}

// restart has w replaced, unless it already is.
func (h *Host) restart(w *worker) {
	select {
	case h.restarts <- w:
	case <-w.exited:
	case <-h.done:
	}
}

// awaitPing asks GET / until the handler accepts a connection. Any answer then
// counts, and so does none.
func (h *Host) awaitPing(ctx context.Context) error {
	deadline := time.Now().Add(h.app.initTime)
	for {
		err := h.ping(ctx)
		if opErr, ok := errors.AsType[*net.OpError](err); !ok || opErr.Op != "dial" || ctx.Err() != nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("handler did not listen on port %d within %s", h.port, h.app.initTime)
		}
		select {
		case <-time.After(25 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// ping sends the handler the request by which the host finds out that it is there.
func (h *Host) ping(ctx context.Context) error {
	o := &outgoing{method: "GET", message: message{
		first:  "GET / HTTP/1.1",
		header: header{{"Host", h.pool.addr}},
	}}
	a, err := h.sendClient(ctx, o)
	if err != nil {
		return err
	}
	const most = 1 << 20
	n, err := io.CopyN(io.Discard, a.body, most)
	a.end(err == io.EOF && n < most)
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
