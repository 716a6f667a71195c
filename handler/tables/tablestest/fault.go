package tablestest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Fault makes requests go wrong. What is set applies in the order of the fields below; a request that nothing stops is
// executed as usual. Delay, Hang and the errors come before authentication, so they need no signature.
type Fault struct {
	// Match picks the requests, nil for all; [Operation] tells what they ask for. It may read the body.
	Match func(*http.Request) bool
	// Times is how many requests go wrong before the fault is used up, 0 for all until it is removed.
	Times int

	// Delay waits before anything else. A request whose client leaves meanwhile is not executed.
	Delay time.Duration
	// Hang never answers and does not execute: the connection stays open until the client or the server closes it.
	Hang bool
	// DropRequest closes the connection without executing. Go's HTTP client repeats a GET on another connection by
	// itself when an idle one is closed on it.
	DropRequest bool
	// Status answers this error instead of executing, with Code ("" for the usual code of that status) and, unless 0,
	// a Retry-After header of so many seconds.
	Status     int
	Code       string
	RetryAfter int
	// Garbage is answered with status 200 instead of executing.
	Garbage string

	// EmptyPages makes a query answer so many empty pages, each with a continuation, before its first real one. Every
	// page is a request of its own and uses the fault once.
	EmptyPages int
	// PageSize is the most entities a query's page holds, 0 for the service's own 1000; the rest comes by continuation.
	PageSize int

	// DropReply executes, then closes the connection without an answer: the reply is lost, the change is stored.
	DropReply bool
	// TruncateBody executes and answers with the whole Content-Length, but closes the connection after so many bytes
	// of the body.
	TruncateBody int
	// Reset makes DropRequest and DropReply end the connection with RST instead of FIN.
	Reset bool
}

type activeFault struct {
	Fault
	used int
}

// Inject makes the requests that f matches go wrong from now on. Several faults may be active: the first that matches
// and has uses left applies to a request, alone. remove ends it, and may be called again.
func (s *Server) Inject(f Fault) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	active := &activeFault{Fault: f}
	s.faults = append(s.faults, active)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(a *activeFault) bool { return a == active })
	}
}

// take returns the fault that applies to r, the zero Fault if none does.
func (s *Server) take(r *http.Request, body []byte) Fault {
	s.mu.Lock()
	faults := slices.Clone(s.faults)
	s.mu.Unlock()
	for _, f := range faults {
		asked := r.WithContext(r.Context()) // a copy: Match may read its body
		asked.Body = io.NopCloser(bytes.NewReader(body))
		if f.Match != nil && !f.Match(asked) {
			continue
		}
		s.mu.Lock()
		left := f.Times == 0 || f.used < f.Times
		if left {
			f.used++
		}
		s.mu.Unlock()
		if left {
			return f.Fault
		}
	}
	return Fault{}
}

// before does what comes instead of executing and reports whether to execute.
func (f Fault) before(w http.ResponseWriter, r *http.Request) bool {
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return false
		}
	}
	switch {
	case f.Hang:
		<-r.Context().Done()
	case f.DropRequest:
		f.drop(w)
	case f.Status != 0:
		code := f.Code
		if code == "" {
			code = usualCode(f.Status)
		}
		requestID := newRequestID()
		e := &serviceError{f.Status, code, "This error was injected."}
		a := e.answer(metadataFor(r.Header, nil), requestID, time.Now())
		a.header.Set("x-ms-request-id", requestID)
		if f.RetryAfter != 0 {
			a.header.Set("Retry-After", strconv.Itoa(f.RetryAfter))
		}
		a.send(w)
	case f.Garbage != "":
		a := &answer{http.StatusOK, http.Header{}, []byte(f.Garbage)}
		a.header.Set("Content-Type", minimalMetadata.contentType())
		a.send(w)
	default:
		return true
	}
	return false
}

// after sends the answer of a request that was executed, or fails to.
func (f Fault) after(w http.ResponseWriter, a *answer) {
	switch {
	case f.DropReply:
		f.drop(w)
	case f.TruncateBody > 0:
		a.sendHead(w)
		_, _ = w.Write(a.body[:min(f.TruncateBody, len(a.body))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler) // net/http closes the connection
	default:
		a.send(w)
	}
}

func (f Fault) drop(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && f.Reset {
		_ = tcp.SetLinger(0) // closing sends RST
	}
	conn.Close()
}

func usualCode(status int) string {
	switch status {
	case http.StatusInternalServerError:
		return "InternalError"
	case http.StatusServiceUnavailable:
		return "ServerBusy"
	case http.StatusForbidden:
		return "AuthenticationFailed"
	case http.StatusNotFound:
		return "ResourceNotFound"
	case http.StatusConflict:
		return "EntityAlreadyExists"
	case http.StatusPreconditionFailed:
		return "UpdateConditionNotSatisfied"
	}
	return "InvalidInput"
}
