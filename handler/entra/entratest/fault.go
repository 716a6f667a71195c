package entratest

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Fault makes the tenant misbehave. The parts apply in this order: Delay, then
// the first of Hang, Drop, Handler and Status or Body that is set; with none of
// these the request is answered as usual, with Header added.
type Fault struct {
	// Match chooses requests; nil means metadata and keys of all policies.
	// It must be safe for concurrent use.
	Match func(*http.Request) bool

	// Times is how often the fault strikes; 0 means until it is removed.
	Times int

	// Delay waits before anything else; it ends when the client goes.
	Delay time.Duration

	// Hang never answers: the connection is dropped when the fault is removed
	// or the server closed.
	Hang bool

	// Drop closes the connection without an answer.
	Drop bool

	// Handler answers instead of the tenant.
	Handler http.HandlerFunc

	// Status and Body are the answer; a Status alone has an empty body, a Body
	// alone has status 200. ContentType "" means application/json.
	Status      int
	Body        string
	ContentType string

	// Header is added to the answer.
	Header http.Header
}

type fault struct {
	Fault
	left    int // how often it may strike still; below 0: no limit
	removed chan struct{}
}

// Inject arms a fault; of several that match, the one injected first strikes.
// remove disarms it and may be called more than once.
func (s *Server) Inject(f Fault) (remove func()) {
	armed := &fault{Fault: f, left: f.Times, removed: make(chan struct{})}
	if f.Times <= 0 {
		armed.left = -1
	}
	if f.Match == nil {
		armed.Match = func(r *http.Request) bool {
			e := s.parse(r)
			return e.kind == metadataEndpoint || e.kind == keysEndpoint
		}
	}
	s.mu.Lock()
	s.faults = append(s.faults, armed)
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		close(armed.removed)
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, other := range s.faults {
			if other == armed {
				s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
				return
			}
		}
	})
}

// strike finds the fault that the request runs into.
func (s *Server) strike(r *http.Request) *fault {
	s.mu.Lock()
	armed := s.faults
	s.mu.Unlock()
	for _, f := range armed {
		if !f.Match(r) {
			continue
		}
		s.mu.Lock()
		spent := f.left == 0
		if f.left > 0 {
			f.left--
		}
		s.mu.Unlock()
		if !spent {
			return f
		}
	}
	return nil
}

// serve answers the request and reports whether that was all; if not, the
// request goes on to the tenant.
func (f *fault) serve(w http.ResponseWriter, r *http.Request, closed <-chan struct{}) bool {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-closed:
		}
	}
	if f.Hang {
		select {
		case <-r.Context().Done():
		case <-f.removed:
		case <-closed:
		}
	}
	if f.Hang || f.Drop {
		drop(w)
		return true
	}
	maps.Copy(w.Header(), f.Header)
	if f.Handler != nil {
		f.Handler(w, r)
		return true
	}
	if f.Status == 0 && f.Body == "" {
		return false
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", orDefault(f.ContentType, "application/json"))
	}
	w.WriteHeader(max(f.Status, http.StatusOK))
	_, _ = io.WriteString(w, f.Body)
	return true
}

// drop closes the connection under the response.
func drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.Close()
}

// Fetches returns how often the policy's metadata and keys were asked for, as
// requests arrive, faulted ones too. It panics if there is no such policy.
func (s *Server) Fetches(policy string) (metadata, keys int) {
	p := s.mustPolicy(policy)
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.metadataFetches, p.keyFetches
}

// ResetFetches sets all counts to zero.
func (s *Server) ResetFetches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range append(slices.Clone(s.policies), s.external.own, s.workforce.own) {
		p.metadataFetches, p.keyFetches = 0, 0
	}
}
