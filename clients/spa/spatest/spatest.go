// Package spatest serves the single-page app in clients/spa on loopback, for local
// runs and for tests in a browser. It serves the app's own files and MSAL.js from
// node_modules, the catalogue of sign-in errors as signin-errors.json, nothing else, and a
// config.json of the world that it is in.
package spatest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"itemsapi/clients/spa"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/loopbacktest"
)

// Local is the configuration for the sign-in stand-in and an API at apiURL, which
// has no /api.
func Local(tenant *entratest.Server, apiURL string) spa.Config {
	path := "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn
	c := spa.Config{
		ClientID: entratest.ClientID,
		// Never asked: MSAL takes no authority that is spelt http.
		Authority:     strings.Replace(tenant.URL(), "http:", "https:", 1) + path,
		LocalMetadata: tenant.URL() + path + "/v2.0/.well-known/openid-configuration",
		API:           apiURL + "/api",
	}
	c.Scopes.Read, c.Scopes.Write = entratest.AppIDURI+"/read", entratest.AppIDURI+"/write"
	c.Policies.SignUpSignIn, c.Policies.EditProfile = entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit
	c.Policies.PasswordReset = entratest.PolicyPasswordReset
	return c
}

// LocalExternal is the configuration for the same stand-in's external tenant.
func LocalExternal(tenant *entratest.Server, apiURL string) spa.Config {
	path := "/" + entratest.ExternalTenantDomain
	c := spa.Config{
		ClientID:      entratest.ExternalClientID,
		Authority:     strings.Replace(tenant.URL(), "http:", "https:", 1) + path,
		LocalMetadata: tenant.URL() + path + "/v2.0/.well-known/openid-configuration",
		API:           apiURL + "/api",
	}
	c.Scopes.Read, c.Scopes.Write = entratest.ExternalAppIDURI+"/read", entratest.ExternalAppIDURI+"/write"
	return c
}

// ErrNotInstalled says that MSAL.js is not there: npm ci --prefix clients/spa.
var ErrNotInstalled = errors.New("MSAL.js is not installed; run npm ci --prefix clients/spa")

// Server serves the app.
type Server struct {
	dir    string
	http   *http.Server
	port   int
	config atomic.Pointer[spa.Config]
	silent atomic.Pointer[chan struct{}] // closed when answers come again

	compressed sync.Map // by ETag
}

// Start serves the app's folder at a loopback address, "" for a free port of
// 127.0.0.1. Until SetConfig, config.json is not there.
func Start(addr, dir string) (*Server, error) {
	if _, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json")); err != nil {
		return nil, ErrNotInstalled
	}
	listeners, err := loopbacktest.Listen(addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the single-page app: %w", err)
	}
	s := &Server{dir: dir, port: loopbacktest.Port(listeners[0])}
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout: time.Minute,
	}
	for _, l := range listeners {
		go func(l net.Listener) { _ = s.http.Serve(l) }(l)
	}
	return s, nil
}

// SetConfig sets what config.json says.
func (s *Server) SetConfig(c spa.Config) { s.config.Store(&c) }

// URL is the app's address, http://localhost:PORT, and CrossSite the same server by
// another name, which to a browser is another site than localhost.
func (s *Server) URL() string { return "http://localhost:" + strconv.Itoa(s.port) }

// CrossSite is described at URL.
func (s *Server) CrossSite() string { return "http://127.0.0.1:" + strconv.Itoa(s.port) }

// Silence has the server take requests and not answer them, like a network that
// swallows packets, until the function that it returns is called.
func (s *Server) Silence() (end func()) {
	silent := make(chan struct{})
	s.silent.Store(&silent)
	return sync.OnceFunc(func() {
		s.silent.CompareAndSwap(&silent, nil)
		close(silent)
	})
}

// Close stops the server.
func (s *Server) Close() { _ = s.http.Close() }

const (
	msal      = "/node_modules/@azure/msal-browser/lib/"
	catalogue = "../../scripts/internal/signin/errors.json" // from the app's folder
)

var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json",
}

// file is the name of what is served at a path, or "".
func file(path string) string {
	switch {
	case path == "/":
		return "index.html"
	case path == msal+"msal-browser.min.js", path == msal+"redirect-bridge/msal-redirect-bridge.min.js":
		return path[1:]
	case path == "/signin-errors.json":
		return catalogue
	case strings.Count(path, "/") == 1 && !strings.HasPrefix(path, "/."):
		if name := path[1:]; types[filepath.Ext(name)] != "" {
			return name
		}
	}
	return ""
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if !loopbacktest.IsLoopback(r.Host) {
		http.Error(w, "This server is for this machine alone; open http://localhost.", http.StatusMisdirectedRequest)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "Only GET and HEAD.", http.StatusMethodNotAllowed)
		return
	}
	if silent := s.silent.Load(); silent != nil {
		select {
		case <-*silent:
		case <-r.Context().Done():
			return
		}
	}
	var content []byte
	var err error
	name := file(r.URL.Path)
	switch config := s.config.Load(); {
	case r.URL.Path == "/config.json" && config != nil:
		name = "config.json"
		content, err = json.MarshalIndent(config, "", "  ")
	case name != "":
		content, err = os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(name)))
	default:
		err = os.ErrNotExist
	}
	if err != nil {
		http.Error(w, "There is nothing here.", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", cmp.Or(types[filepath.Ext(name)], "application/json"))
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	if filepath.Ext(name) == ".html" || name == "worker.js" {
		h.Set("Content-Security-Policy", s.policy()) // it counts for documents and workers
	}
	h.Set("Vary", "Accept-Encoding")
	tag := fmt.Sprintf(`W/"%x"`, sha256.Sum256(content))
	h.Set("ETag", tag)
	switch {
	case r.Header.Get("If-None-Match") == tag:
		w.WriteHeader(http.StatusNotModified)
		return
	case strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"):
		h.Set("Content-Encoding", "gzip")
		content = s.compress(tag, content)
	}
	_, _ = w.Write(content) // the browser is gone if this fails
}

// compress compresses each content once.
func (s *Server) compress(tag string, content []byte) []byte {
	if done, ok := s.compressed.Load(tag); ok {
		return done.([]byte)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(content) // neither fails in memory
	_ = z.Close()
	s.compressed.Store(tag, b.Bytes())
	return b.Bytes()
}

// policy lets the app load its own files, call the API and the sign-in, and have
// the sign-in in a hidden frame, as MSAL does to renew. A page that is served with
// it can be framed by itself alone.
func (s *Server) policy() string {
	connect, frame := "'self'", "'self'"
	if c := s.config.Load(); c != nil {
		for _, text := range []string{c.API, c.Authority, c.LocalMetadata} {
			if u, err := url.Parse(text); err == nil && u.Host != "" {
				connect += " " + u.Scheme + "://" + u.Host
				frame += " " + u.Scheme + "://" + u.Host
			}
		}
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
		"manifest-src 'self'; worker-src 'self'; connect-src " + connect + "; frame-src " + frame +
		"; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
}
