// Package tablestest serves the Azure Table service over HTTP on loopback, in memory, for tests and local runs.
//
// It is strict: where Azure refuses (a key too long, two partitions in a transaction, a
// 253rd property, a sixteenth comparison in a filter), it refuses with Azure's status and
// code, even where the Azurite emulator lets it pass; and it does what Azure may do but
// rarely does, such as a page that ends early or a continuation without a row key. Faults
// (delays, lost replies, error answers, empty pages) are injected with [Server.Inject].
//
// Over TLS it accepts bearer tokens, too, of which it checks all but the signature, as it
// has nobody's keys: anyone on this machine could make one. It accepts no SAS. It has no
// roles, access policies, service
// properties or statistics, no queries inside transactions, no throttling and no time limit
// of its own, and a table's name is free again as soon as the table is deleted (Azure
// answers TableBeingDeleted for a while). Nothing outlives the process.
package tablestest

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"itemsapi/handler/loopbacktest"
)

// AccountName and AccountKey are the storage emulators' account, whose key is public (Microsoft, "Use the Azurite
// emulator for local Azure Storage development"). They protect nothing.
const (
	AccountName = "devstoreaccount1"
	AccountKey  = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

const (
	maxBody     = 4 << 20  // bytes of a request; Azure: 4 MiB for an entity group transaction
	maxDrain    = 64 << 20 // bytes of a too large request that are read so that its sender sees the refusal
	maxRequests = 10_000   // requests remembered for Requests
)

// Options configure a [Server]. The zero value is ready to use.
type Options struct {
	// Addr is the loopback address to listen on, "" for any free port of 127.0.0.1. "localhost:10002" listens on
	// 127.0.0.1 and, where it exists, ::1.
	Addr string
	// Now is the server's clock, nil for time.Now. It stamps the entities, and a request dated more than 15 minutes
	// from it is refused.
	Now func() time.Time
	// Certificate has it serve TLS alone, and accept bearer tokens for Azure Storage.
	Certificate *tls.Certificate
}

// Server is a Table service on loopback with one account, [AccountName]. Its methods may be called from any goroutine.
type Server struct {
	now     func() time.Time
	store   *store
	http    *http.Server
	scheme  string // http or https
	port    int
	serving sync.WaitGroup
	running sync.RWMutex // held for reading by each request
	closed  bool         // guarded by running

	mu       sync.Mutex
	faults   []*activeFault
	requests []Request
}

// Request is something that the server was asked, whatever it answered.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header http.Header
	Op     string // as Operation names it
}

// Start serves an empty account until [Server.Close]. It fails when o.Addr is not a loopback address or is in use.
func Start(o Options) (*Server, error) {
	listeners, err := loopbacktest.Listen(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("start the Table service: %w", err)
	}
	s := &Server{now: o.Now, store: newStore(), scheme: "http", port: loopbacktest.Port(listeners[0])}
	if s.now == nil {
		s.now = time.Now
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	if o.Certificate != nil {
		s.scheme = "https"
		s.http.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*o.Certificate}, MinVersion: tls.VersionTLS12}
	}
	for _, l := range listeners {
		if o.Certificate != nil {
			s.serving.Go(func() { _ = s.http.ServeTLS(l, "", "") })
			continue
		}
		s.serving.Go(func() { _ = s.http.Serve(l) })
	}
	return s, nil
}

// URL is the account's endpoint, http://127.0.0.1:PORT/devstoreaccount1, or https.
func (s *Server) URL() string {
	return fmt.Sprintf("%s://127.0.0.1:%d/%s", s.scheme, s.port, AccountName)
}

// ConnectionString is what aztables.NewServiceClientFromConnectionString takes.
func (s *Server) ConnectionString() string {
	return fmt.Sprintf(
		"DefaultEndpointsProtocol=%s;AccountName=%s;AccountKey=%s;TableEndpoint=%s;",
		s.scheme,
		AccountName,
		AccountKey,
		s.URL(),
	)
}

// Close stops listening and closes every connection, also those that a fault keeps open. Nothing is executed after it.
func (s *Server) Close() {
	_ = s.http.Close()
	s.serving.Wait()
	s.running.Lock()
	defer s.running.Unlock()
	s.closed = true
}

// Requests lists what was asked so far, in order of arrival; only the last 10,000 are remembered. A request that a
// fault kept from being executed is listed too.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests[max(0, len(s.requests)-maxRequests):])
}

// ResetRequests forgets what was asked so far.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

func (s *Server) record(r *http.Request) {
	query, _ := url.ParseQuery(r.URL.RawQuery)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) == 2*maxRequests {
		s.requests = slices.Clone(s.requests[maxRequests:])
	}
	s.requests = append(
		s.requests,
		Request{Method: r.Method, Path: r.URL.Path, Query: query, Header: r.Header, Op: Operation(r)},
	)
}

// Entities is a copy of everything a table holds, sorted by PartitionKey and RowKey in the service's order; nil when
// there is no such table. Values are string (also for Edm.Guid), int32, int64, float64, bool, time.Time and []byte;
// besides the properties there are "Timestamp" and "odata.etag".
func (s *Server) Entities(table string) []map[string]any {
	return s.store.dump(table)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.running.RLock()
	defer s.running.RUnlock()
	if s.closed {
		panic(http.ErrAbortHandler)
	}
	if !loopbacktest.IsLoopback(r.Host) {
		http.Error(
			w,
			fmt.Sprintf("The Host header is %q; this server answers to localhost and loopback addresses only.", r.Host),
			http.StatusForbidden,
		)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(body) > maxBody {
		_, _ = io.CopyN(io.Discard, r.Body, maxDrain)
	}

	s.record(r)
	f := s.take(r, body)
	if !f.before(w, r) {
		return
	}
	a := s.answer(r, body, f)
	f.after(w, a)
}

// answer is a reply that was not sent yet.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) send(w http.ResponseWriter) {
	a.sendHead(w)
	_, _ = w.Write(a.body)
}

func (a *answer) sendHead(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
}

// answer executes a request and completes the reply with what every reply of the service has.
func (s *Server) answer(r *http.Request, body []byte, f Fault) *answer {
	requestID := newRequestID()
	c, refusal := s.newCall(r, body)
	var a *answer
	if refusal == nil {
		c.requestID, c.pageSize, c.emptyPages = requestID, f.PageSize, f.EmptyPages
		a, refusal = s.execute(c)
	}
	if refusal != nil {
		a = refusal.answer(metadataFor(r.Header, nil), requestID, s.now())
	}
	a.header.Set("Cache-Control", "no-cache")
	a.header.Set("X-Content-Type-Options", "nosniff")
	a.header.Set("Server", "tablestest")
	a.header.Set("x-ms-request-id", requestID)
	if version := r.Header.Get("x-ms-version"); slices.Contains(versions, version) {
		a.header.Set("x-ms-version", version)
	}
	if id := r.Header.Get("x-ms-client-request-id"); id != "" {
		a.header.Set("x-ms-client-request-id", id)
	}
	return a
}

func newRequestID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
