// Package azurite starts the table service of Azurite, Microsoft's storage emulator, as a
// child process on loopback, for tests and local runs. package.json pins its version; npm
// ci installs it. It needs Node.js and is never downloaded by this package. The blob and
// queue services are not started.
package azurite

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"itemsapi/handler/tables/tablestest"
)

// ErrNotInstalled says that Azurite or Node.js is missing, and how to install Azurite.
var ErrNotInstalled = errors.New("azurite is not installed; with Node.js at hand run: npm ci --prefix " + folder)

const (
	folder     = "handler/tables/tablestest/azurite"     // in the module
	entryPoint = "azurite/dist/src/table/main.js"        // in node_modules
	started    = "Azurite Table service successfully st" // of its output
	stopWithin = 5 * time.Second
	keptLines  = 20 // of its output, to explain a failed start
)

// Options configure [Start]. The zero value is ready to use.
type Options struct {
	// Addr is the loopback address to listen on, "" for any free port of 127.0.0.1. "localhost" means 127.0.0.1.
	Addr string
	// Dir is the folder that keeps the data, "" for memory.
	Dir string
	// NodeModules is the folder that npm installed Azurite into, "" for the one beside this package's package.json,
	// looked for from the working directory upwards to the module's root.
	NodeModules string
	// Certificate and Key are files in PEM. With them it serves TLS alone, and accepts bearer tokens for Azure
	// Storage, of which it checks all but the signature.
	Certificate, Key string
	// Output receives each line that Azurite prints, one at a time; nil drops them.
	Output func(line string)
}

// Server is a running Azurite.
type Server struct {
	scheme  string
	addr    string
	durable bool
	process *process
	close   func() error
}

// Start starts Azurite and waits until it answers. ctx bounds the waiting only. The process ends with [Server.Close];
// on Linux it ends with this process too, however that ends.
func Start(ctx context.Context, o Options) (*Server, error) {
	if _, err := address(o.Addr); err != nil {
		return nil, fmt.Errorf("start azurite: %w", err)
	}
	main, err := find(o.NodeModules)
	if err != nil {
		return nil, err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, fmt.Errorf("%w (there is no node on the PATH)", ErrNotInstalled)
	}
	for attempt := 1; ; attempt++ {
		addr, err := address(o.Addr)
		if err != nil {
			return nil, fmt.Errorf("start azurite: %w", err)
		}
		s, err := start(ctx, node, main, addr, o)
		if err == nil {
			return s, nil
		}
		if o.Addr != "" || attempt == 3 || ctx.Err() != nil {
			return nil, fmt.Errorf("start azurite on %s: %w", addr, err)
		}
		// the free port was taken in between
	}
}

func start(ctx context.Context, node, main, addr string, o Options) (*Server, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	args := []string{
		main,
		"--tableHost",
		host,
		"--tablePort",
		port,
		"--disableTelemetry",
		"--skipApiVersionCheck",
		"--silent",
	}
	scheme := "http"
	if o.Certificate != "" {
		scheme = "https"
		args = append(args, "--cert", o.Certificate, "--key", o.Key, "--oauth", "basic")
	}
	if o.Dir == "" {
		args = append(args, "--inMemoryPersistence")
	} else {
		dir, err := filepath.Abs(o.Dir)
		if err != nil {
			return nil, err
		}
		args = append(args, "--location", dir)
	}
	cmd := exec.Command(node, args...)
	cmd.Dir = os.TempDir()
	out := &output{to: o.Output, ready: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	p, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	s := &Server{scheme: scheme, addr: addr, durable: o.Dir != "", process: p}
	s.close = sync.OnceValue(s.stop)
	if err := s.wait(ctx, out); err != nil {
		kill(cmd)
		<-p.done
		return nil, err
	}
	return s, nil
}

// wait returns when Azurite says that it listens, and answers.
func (s *Server) wait(ctx context.Context, out *output) error {
	select {
	case <-out.ready:
	case <-s.process.done:
		return fmt.Errorf("it ended: %v\n%s", s.process.err, out.tail())
	case <-ctx.Done():
		return fmt.Errorf("it is not ready: %w\n%s", ctx.Err(), out.tail())
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.scheme+"://"+s.addr+"/", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // nothing is sent or believed
	}}
	resp, err := client.Do(r) // any answer will do: it refuses this request
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Addr is the address it listens on, 127.0.0.1:PORT.
func (s *Server) Addr() string { return s.addr }

// URL is the account's endpoint, http://127.0.0.1:PORT/devstoreaccount1, or https.
func (s *Server) URL() string { return s.scheme + "://" + s.addr + "/" + tablestest.AccountName }

// ConnectionString is what aztables.NewServiceClientFromConnectionString takes.
func (s *Server) ConnectionString() string {
	return fmt.Sprintf(
		"DefaultEndpointsProtocol=%[1]s;AccountName=%[2]s;AccountKey=%[3]s;TableEndpoint=%[4]s;",
		s.scheme,
		tablestest.AccountName,
		tablestest.AccountKey,
		s.URL(),
	)
}

// Done is closed when the process has ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.process.done }

// Close ends the process. With Options.Dir it first asks it to save and waits 5 s for that; the error says that this
// failed. Windows has no such signal: there the changes of the last seconds may be lost.
func (s *Server) Close() error { return s.close() }

func (s *Server) stop() error {
	select {
	case <-s.process.done:
		return nil
	default:
	}
	if s.durable && interrupt(s.process.cmd) {
		timer := time.NewTimer(stopWithin)
		defer timer.Stop()
		select {
		case <-s.process.done:
			return nil
		case <-timer.C:
		}
		kill(s.process.cmd)
		<-s.process.done
		return fmt.Errorf(
			"stop azurite: it did not end within %s and was killed; its last changes may be lost",
			stopWithin,
		)
	}
	kill(s.process.cmd)
	<-s.process.done
	return nil
}

// process is a child that is waited for.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // once done is closed
}

func startProcess(cmd *exec.Cmd) (*process, error) {
	setAttributes(cmd)
	p := &process{cmd: cmd, done: make(chan struct{})}
	result := make(chan error)
	go func() {
		// Linux sends the parent-death signal when the thread that forked ends, so this one lives as long as the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		result <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-result
}

// output splits what the child prints into lines.
type output struct {
	to    func(string)
	ready chan struct{}

	mu      sync.Mutex
	rest    []byte
	lines   []string // the last ones
	isReady bool
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, b...)
	for {
		i := bytes.IndexByte(o.rest, '\n')
		if i < 0 {
			return len(b), nil
		}
		line := strings.TrimRight(string(o.rest[:i]), "\r")
		o.rest = o.rest[i+1:]
		o.lines = append(o.lines[max(0, len(o.lines)-keptLines):], line)
		if !o.isReady && strings.HasPrefix(line, started) {
			o.isReady = true
			close(o.ready)
		}
		if o.to != nil {
			o.to(line)
		}
	}
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.lines, "\n")
}

// find returns Azurite's entry point.
func find(nodeModules string) (string, error) {
	if nodeModules == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		nodeModules = filepath.Join(root, filepath.FromSlash(folder), "node_modules")
	}
	main, err := filepath.Abs(filepath.Join(nodeModules, filepath.FromSlash(entryPoint)))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(main); err != nil {
		return "", ErrNotInstalled
	}
	return main, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("%w (run it inside the module: no go.mod was found)", ErrNotInstalled)
		}
		dir = parent
	}
}

func address(addr string) (string, error) {
	if addr == "" {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		defer l.Close()
		return l.Addr().String(), nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", fmt.Errorf("%s is not a loopback address", addr)
	}
	return net.JoinHostPort(host, port), nil
}
