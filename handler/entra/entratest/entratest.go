// Package entratest is three tenants of Microsoft's sign-in, served over HTTP on
// loopback: contoso of Azure AD B2C, contosocustomers of Entra External ID and
// contosoworkforce of Entra ID. They have metadata, keys, sign-in pages, token endpoints
// and every kind of broken token. It is for tests, those of other modules too, and for
// local runs, in the manner of net/http/httptest. It is never part of a deployed binary.
//
//	s, err := entratest.Start(entratest.Options{})
//	defer s.Close()
//	// configure the API with s.MetadataTemplate(), entratest.APIClientID, entratest.AppIDURI
//	s.Token("alice", "read")     // a token that is admitted
//	s.Broken("aud.is_client")    // one that is refused with this code
//	s.Inject(entratest.Fault{…}) // metadata and keys that fail
//
// The B2C tenant has the applications B2CTest (the client), B2CAPI (the API, with the
// scopes read, write and user_impersonation) and B2COther (a client with permission for
// read only), two users, alice and bob, and four user flows, each with a key of its
// own. The other two have a client, the API, alice, bob and a guest, carol, under other
// IDs, and no policies. Each tenant has a daemon, which signs in as itself (client
// credentials; its secret is its name) and has the API's app roles read and write. Keys
// are new in each process.
//
// What it does not do: real passwords, user accounts that change, custom policies, SAML,
// clients of users with a secret, multi-factor authentication, page customisation.
package entratest

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"itemsapi/handler/loopbacktest"
)

// The B2C tenant and what is registered in it.
const (
	TenantName   = "contoso"
	TenantDomain = "contoso.onmicrosoft.com"
	TenantID     = "6f2d9a1e-3c47-4b8e-9d05-71c2ab84e0f3"

	ClientID      = "47840c35-e986-468b-8d2c-e25aa02d3d08" // B2CTest, the client application
	OtherClientID = "b9d0c1f4-52a7-4e36-8b1d-0e6f93a7c258" // B2COther, a client with permission for read alone
	DaemonID      = "bdae3000-7c41-4f5e-9a26-e80d13f4b7c9" // B2CDaemon, a program that signs in as itself
	APIClientID   = "ecfb57af-c76a-49a0-b48f-37311846956f" // B2CAPI, the API
	AppIDURI      = "https://contoso.onmicrosoft.com/b2capi"

	PolicySignUpSignIn = "B2C_1_signupsignin"
	PolicyProfileEdit  = "B2C_1_profileedit"
	PolicyROPC         = "B2C_1_ropc"

	// PolicyPasswordReset is where a client goes after AADB2C90118. No API should accept
	// its tokens.
	PolicyPasswordReset = "B2C_1_passwordreset"
)

// Options configure Start. The zero value suits tests.
type Options struct {
	// Addr is where to listen; "" means 127.0.0.1:0. "localhost:9911" listens
	// on 127.0.0.1 and, where it exists, on ::1. Only loopback is allowed.
	Addr string

	// Now is the clock that tokens, codes and sessions go by; nil means
	// time.Now. It must be safe for concurrent use.
	Now func() time.Time

	// AccessTokenLifetime is the life of access and ID tokens; 0 means 60 min.
	AccessTokenLifetime time.Duration

	// PublicHost is the host, with port, that issuer and URLs are spelled
	// with; "" means localhost:PORT.
	PublicHost string

	// PublicURL is the origin, such as https://localhost:9443, of a TLS proxy in front that
	// keeps the Host: MSAL's native libraries speak https alone. What is asked for there is
	// answered with URLs that are spelled so. Only loopback is allowed; "" is none.
	PublicURL string

	// SPAOrigins are origins, such as http://localhost:40123, whose / and
	// /redirect.html are registered as single-page app redirect URIs, besides
	// those of http://localhost:9912 and http://127.0.0.1:9912.
	SPAOrigins []string

	// RunNow, if not nil, gets what a sign-in posts (response_mode=form_post) that the
	// overview's Run now started. Without it, Run now ends at https://jwt.ms alone, as the
	// portal's does.
	RunNow http.Handler

	// SameDirectory makes the external tenant one of External ID's hybrid mode: it has the
	// GUID of the B2C tenant, and the users' object IDs. Its applications are others.
	SameDirectory bool

	// FormerIDClaim is a claim in the external tenant's tokens with the object ID that a
	// user of the same name has in the B2C tenant: alice and bob were moved from there,
	// carol was not. "" for none.
	FormerIDClaim string

	// Log, if not nil, gets one line per request. A line holds method, path,
	// status and AADB2C code, never a query, a body or a token. It must be safe
	// for concurrent use.
	Log func(line string)
}

// Server serves the tenants. Its methods may be used from several goroutines.
type Server struct {
	now        func() time.Time
	lifetime   time.Duration
	publicHost string
	hostGiven  bool
	publicURL  string // Options'
	formerID   string // the claim
	log        func(string)
	runNow     http.Handler

	b2c, external, workforce *directory
	accountsKey              func() signingKey // of Microsoft accounts

	http      *http.Server
	serving   sync.WaitGroup
	closed    chan struct{}
	closeOnce sync.Once

	mu       sync.Mutex
	policies []*policy
	nextKey  int
	faults   []*fault
	grants   grants
	switches switches
}

// Start listens and serves. It fails if the address is taken or not loopback.
func Start(o Options) (*Server, error) {
	if u, err := url.Parse(o.PublicURL); o.PublicURL != "" &&
		(err != nil || u.Scheme != "https" || !loopbacktest.IsLoopback(u.Host) || "https://"+u.Host != o.PublicURL) {
		return nil, fmt.Errorf("the sign-in's public URL %q must be https://localhost:PORT, without a path",
			short(o.PublicURL))
	}
	listeners, err := loopbacktest.Listen(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("start the sign-in stand-in: %w", err)
	}
	s := &Server{
		now:        o.Now,
		lifetime:   o.AccessTokenLifetime,
		publicHost: o.PublicHost,
		hostGiven:  o.PublicHost != "",
		publicURL:  o.PublicURL,
		formerID:   o.FormerIDClaim,
		log:        o.Log,
		runNow:     o.RunNow,
		closed:     make(chan struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.lifetime == 0 {
		s.lifetime = 60 * time.Minute
	}
	if s.publicHost == "" {
		s.publicHost = "localhost:" + strconv.Itoa(loopbacktest.Port(listeners[0]))
	}
	if s.log == nil {
		s.log = func(string) {}
	}
	s.makeDirectories(o)
	s.makePolicies(PolicySignUpSignIn, PolicyProfileEdit, PolicyROPC, PolicyPasswordReset)
	s.makeOwnKeys(s.external, 2)
	s.makeOwnKeys(s.workforce, 1)
	n := s.nextKey
	s.nextKey++
	s.accountsKey = sync.OnceValue(func() signingKey { return newCertifiedKey(n, s.now().Unix()) })

	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		// net/http's own messages are about browsers that try https first.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	for _, l := range listeners {
		s.serving.Go(func() { _ = s.http.Serve(l) })
	}
	return s, nil
}

// Close stops listening, cuts every connection and releases what a Fault holds
// back. It may be called more than once.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		close(s.closed)
		_ = s.http.Close()
		s.serving.Wait()
	})
}

// URL is where the tenants are served: http://localhost:PORT.
func (s *Server) URL() string { return "http://" + s.publicHost }

// Issuer is the iss of every token of the B2C tenant: https://localhost:PORT/{TenantID}/v2.0/. It
// is spelled https though the tenant is served by http: an issuer is only a
// name, and clients and APIs may keep their rule that it be https.
func (s *Server) Issuer() string { return s.IssuerOf(B2C) }

// MetadataTemplate is the address of the B2C tenant's metadata, with {tenant} and {policy} left to
// fill in: the value for entra.Trust.MetadataURL.
func (s *Server) MetadataTemplate() string {
	return s.URL() + "/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration"
}

// User is a person who can sign in.
type User struct {
	Name        string // what the sign-in button says: alice
	ObjectID    string // the claims oid and sub: a lower-case GUID, the same in each run
	DisplayName string // the claim name
	Email       string // the one element of the claim emails

	guest bool // has an account elsewhere: the claim idp
}

// Users returns alice and bob, as the B2C tenant has them.
func Users() []User {
	return []User{
		{
			Name: "alice", ObjectID: "a11ce000-5b7d-4c1e-8f3a-2d9e6c40b715", DisplayName: "Alice Adams",
			Email: "alice@contoso.example",
		},
		{
			Name: "bob", ObjectID: "b0b00000-94e2-4a6f-b1c8-7f35d2e8a06c", DisplayName: "Bob Brown",
			Email: "bob@contoso.example",
		},
	}
}

// is says whether somebody who signs in by this name or address is the user.
func (u User) is(name string) bool {
	return strings.EqualFold(name, u.Name) || strings.EqualFold(name, u.Email)
}

func (d *directory) findUser(name string) (User, error) {
	var names []string
	for _, u := range d.users {
		if u.is(name) {
			return u, nil
		}
		names = append(names, u.Name)
	}
	return User{}, fmt.Errorf("no user %q; there are %s", short(name), strings.Join(names, " and "))
}

// short keeps a foreign string from filling a message.
func short(s string) string {
	const limit = 300
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
