// Package entra decides who is calling, and says why not. It verifies the access
// tokens that Azure AD B2C issues for one API: [Verifier.Verify] takes what a
// request carries in place of a token and answers with the [Caller] or with a
// [*Refusal], whose code, status and challenge come from the one table in
// catalogue.go.
//
// A token is admitted if the key set of the very policy that it names verifies
// its RS256 signature, and its issuer, audience, times, client and scopes are
// those that were configured. Its claims before that only serve to explain a
// refusal. Keys come from the configured metadata URLs and from nowhere that a
// token could name; they are read in the background and kept while B2C cannot
// be reached (keys.go).
//
// The package knows no routes, no items, and no way of being told to skip a
// check.
package entra

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Config says whose tokens are accepted, and for what.
type Config struct {
	// Policies are the user flows and custom policies that may have issued the
	// token; at least one. Each has metadata and keys of its own.
	Policies []Policy
	// Audience is the API's application ID, the one aud accepted. Required.
	Audience string
	// AppIDURI is the prefix of the full scope values in answers. Required.
	AppIDURI string
	// AllowedClients are the azp accepted. Empty means any.
	AllowedClients []string
	// ExtraIssuers are accepted besides each policy's own, if they are of the
	// same tenant.
	ExtraIssuers []string

	// Transport reads metadata and keys. Nil means one like
	// http.DefaultTransport.
	Transport http.RoundTripper
	// Now is the clock that tokens are judged by. Nil means time.Now.
	Now func() time.Time
	// Log gets trouble with keys, never with tokens. Nil discards it.
	Log *slog.Logger
}

// Policy is a user flow or custom policy.
type Policy struct {
	Name        string // in any case
	MetadataURL string
}

// Caller is who a verified token speaks for.
type Caller struct {
	Tenant  string // GUID of the directory, lower case
	Subject string // identifier of the user (oid, else sub), lower case
	Client  string // application ID of the client (azp), as in the token; may be empty
}

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	appIDURI string
	clients  map[string]bool
	trust    []trust // at least one
	now      func() time.Time
}

// trust is one kind of tokens that is accepted: who issues them and with what
// keys (both in the cache, which reads them), for whom, and by which policy. A
// family without policies would be one more entry with none.
type trust struct {
	policy   string
	audience string
	keys     *keyCache
}

// New returns a verifier and starts reading the keys, until ctx ends. It waits
// for nothing.
func New(ctx context.Context, c Config) *Verifier {
	v := prepare(c)
	for _, t := range v.trust {
		go t.keys.run(ctx)
	}
	return v
}

func prepare(c Config) *Verifier {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{appIDURI: c.AppIDURI, clients: map[string]bool{}, now: c.Now}
	for _, client := range c.AllowedClients {
		v.clients[strings.ToLower(client)] = true
	}
	client := newFetchClient(c.Transport)
	guard := &tenantGuard{extra: c.ExtraIssuers, log: c.Log}
	waiters := new(atomic.Int64)
	for _, p := range c.Policies {
		v.trust = append(v.trust, trust{policy: p.Name, audience: c.Audience, keys: &keyCache{
			policy: p.Name, url: p.MetadataURL, client: client, now: c.Now, log: c.Log,
			waiters: waiters, admit: guard.admit, sleep: time.After,
			force: make(chan struct{}, 1), fetched: make(chan struct{}),
		}})
	}
	return v
}

// trustFor is the entry of a policy, or nil. A token is never checked against
// another one.
func (v *Verifier) trustFor(policy string) *trust {
	for i := range v.trust {
		if equalFoldASCII(v.trust[i].policy, policy) {
			return &v.trust[i]
		}
	}
	return nil
}

// FullScope is the value that a client asks for to be granted scope.
func (v *Verifier) FullScope(scope string) string {
	return v.appIDURI + "/" + scope
}

// Verify says who calls, if that caller's token grants scope; otherwise why
// not. It waits at most 2 s for keys, and only for keys that are not known yet.
func (v *Verifier) Verify(ctx context.Context, c Credentials, scope string) (Caller, *Refusal) {
	e := &evidence{verifier: v, scope: scope, now: v.now()}
	for i := range catalogue {
		g := &catalogue[i]
		if g.gather != nil {
			g.gather(ctx, e, c)
		}
		for j := range g.rules {
			if r := &g.rules[j]; r.applies(e) {
				return Caller{}, newRefusal(r, e)
			}
		}
	}
	return Caller{Tenant: e.keys.tenant, Subject: e.token.subject(), Client: e.token.azp}, nil
}

// evidence is what is known of a request, growing from group to group.
type evidence struct {
	verifier *Verifier
	scope    string // that the route needs
	now      time.Time

	shape string // a code of the request or form group, or empty
	raw   string
	token token

	policy   string // that the token names
	agree    bool   // all places that name one name the same
	trust    *trust // nil if policy is not accepted
	keys     *keySet
	keyError error // why there are no keys, or errUnknownKey
	verified bool  // the signature is right
}

// parse reads the token.
func (e *evidence) parse(context.Context, Credentials) {
	e.token, e.shape = parseToken(e.raw)
	e.policy, e.agree = e.token.policy()
	if e.agree && e.policy != "" {
		e.trust = e.verifier.trustFor(e.policy)
	}
}

// load gets the policy's keys, waiting where it makes sense.
func (e *evidence) load(ctx context.Context, _ Credentials) {
	if e.keys = e.trust.keys.ready(ctx, e.now); e.keys == nil {
		e.keyError = errNeverRead
		return
	}
	if e.keys.has(e.token.kid) {
		return
	}
	if !e.issuerAccepted() {
		// The token is refused for its issuer; no stranger's token starts a fetch.
		e.keyError = e.trust.keys.lastError()
		return
	}
	set, err := e.trust.keys.find(ctx, e.token.kid)
	if err != nil {
		e.keyError = err
		return
	}
	e.keys = set
}

// verify checks the signature, by the policy's own keys.
func (e *evidence) verify(context.Context, Credentials) {
	if e.keyError == nil {
		e.verified = verifySignature(e.keys.key, &e.token)
	}
}

// audience is the one that the token must be for: its policy's, else that of the
// first entry, to explain by.
func (e *evidence) audience() string {
	if e.trust != nil {
		return e.trust.audience
	}
	return e.verifier.trust[0].audience
}

func (e *evidence) issuerAccepted() bool {
	for _, issuer := range e.keys.issuers {
		if issuer == e.token.iss {
			return true
		}
	}
	return false
}
