package entratest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"itemsapi/handler/loopbacktest"
)

// maxBody is what a form may have: bytes.
const maxBody = 64 << 10

// response notes what the log line needs.
type response struct {
	http.ResponseWriter
	status int
	code   string // AADB2C90006
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serve is the whole HTTP surface.
func (s *Server) serve(rw http.ResponseWriter, r *http.Request) {
	w := &response{ResponseWriter: rw}
	start := time.Now()
	defer func() {
		line := fmt.Sprintf("%s %s %d %s", short(r.Method), loggedPath(r.URL.Path), w.status,
			time.Since(start).Round(time.Millisecond))
		if w.code != "" {
			line += " " + w.code
		}
		s.log(line)
	}()

	if !loopbacktest.IsLoopback(r.Host) && (!s.hostGiven || r.Host != s.publicHost) {
		http.Error(w, fmt.Sprintf("This is a local sign-in stand-in. It answers to localhost only, not to the host %q.",
			short(r.Host)), http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")

	e := s.parse(r)
	s.count(e)
	if f := s.strike(r); f != nil && f.serve(w, r, s.closed) {
		return
	}
	if e.kind == "" {
		s.serveOwn(w, r)
		return
	}
	if e.policy == nil {
		// B2C answers so, too: each policy is an authorization server of its own.
		http.Error(w, fmt.Sprintf("404: no policy %q in this tenant. The policy stands in the path, /%s/%s/…, "+
			"or in the query, ?p=%s.", short(e.asked), TenantDomain, PolicySignUpSignIn, PolicySignUpSignIn),
			http.StatusNotFound)
		return
	}

	allowed := []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodOptions}
	switch e.kind {
	case metadataEndpoint, keysEndpoint:
		allowed = []string{http.MethodGet, http.MethodHead, http.MethodOptions}
		s.allowOrigin(w, r)
	case tokenEndpoint:
		allowed = []string{http.MethodPost, http.MethodOptions}
		s.allowOrigin(w, r)
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", strings.Join(allowed, ", "))
		h.Set("Access-Control-Allow-Headers", "*")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if !slices.Contains(allowed, r.Method) {
		h.Set("Allow", strings.Join(allowed, ", "))
		http.Error(
			w,
			fmt.Sprintf("405: this endpoint takes %s.", strings.Join(allowed, ", ")),
			http.StatusMethodNotAllowed,
		)
		return
	}
	switch e.kind {
	case metadataEndpoint:
		s.serveMetadata(w, r, e)
	case keysEndpoint:
		s.writeJSON(w, http.StatusOK, s.jwks(e))
	case authorizeEndpoint:
		s.serveAuthorize(w, r, e)
	case tokenEndpoint:
		s.serveToken(w, r, e)
	case logoutEndpoint:
		s.serveLogout(w, r, e.policy.dir)
	}
}

func (s *Server) count(e endpoint) {
	if e.policy == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.kind {
	case metadataEndpoint:
		e.policy.metadataFetches++
	case keysEndpoint:
		e.policy.keyFetches++
	}
}

// loggedPath keeps out of the log what may be a token that somebody put into
// the path.
func loggedPath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if len(part) > 64 {
			parts[i] = "…"
		}
	}
	return short(fmt.Sprintf("%+q", strings.Join(parts, "/")))
}

// allowOrigin lets pages of any loopback origin read the answer.
func (s *Server) allowOrigin(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && loopbacktest.IsLoopback(u.Host) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
}

// fromOwnPage says whether a request comes from one of our own pages, or from
// no browser at all.
func (s *Server) fromOwnPage(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		origin := r.Header.Get("Origin")
		return origin == "" || origin == s.origin(r)
	}
	return false
}
