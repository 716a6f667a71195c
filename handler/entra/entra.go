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
	entries []entry // at least one
	now     func() time.Time
}

// entry is one kind of tokens that is accepted: who issues them and with what
// keys (both in the cache, which reads them), by which policy, and for whom.
type entry struct {
	policy   string
	audience string
	appIDURI string
	clients  map[string]bool
	keys     *keyCache
}

// New returns a verifier and starts reading the keys, until ctx ends. It waits
// for nothing.
func New(ctx context.Context, c Config) *Verifier {
	v := prepare(c)
	for _, x := range v.entries {
		go x.keys.run(ctx)
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
	v := &Verifier{now: c.Now}
	clients := map[string]bool{}
	for _, client := range c.AllowedClients {
		clients[strings.ToLower(client)] = true
	}
	client := newFetchClient(c.Transport)
	guard := &tenantGuard{extra: c.ExtraIssuers, log: c.Log}
	waiters := new(atomic.Int64)
	for _, p := range c.Policies {
		v.entries = append(v.entries, entry{
			policy: p.Name, audience: c.Audience, appIDURI: c.AppIDURI, clients: clients,
			keys: &keyCache{
				policy: p.Name, url: p.MetadataURL, client: client, now: c.Now, log: c.Log,
				waiters: waiters, admit: guard.admit, sleep: time.After,
				force: make(chan struct{}, 1), fetched: make(chan struct{}),
			},
		})
	}
	return v
}

// entryFor is the entry of a policy, or nil. A token is never checked against
// another one.
func (v *Verifier) entryFor(policy string) *entry {
	for i := range v.entries {
		if equalFoldASCII(v.entries[i].policy, policy) {
			return &v.entries[i]
		}
	}
	return nil
}

// policies are the names of those that are accepted.
func (v *Verifier) policies() []string {
	var names []string
	for _, x := range v.entries {
		names = append(names, x.policy)
	}
	return names
}

// Verify says who calls, if that caller's token grants scope; otherwise why
// not. It waits at most 2 s for keys, and only for keys that are not known yet.
func (v *Verifier) Verify(ctx context.Context, c Credentials, scope string) (Caller, *Refusal) {
	e := &evidence{verifier: v, scope: scope, now: v.now()}
	var broken *rule
	e.gather(ctx, c, func(g Group) bool {
		broken = e.broken(g)
		return broken == nil
	})
	if broken != nil {
		return Caller{}, newRefusal(broken, e)
	}
	return Caller{Tenant: e.keys.tenant, Subject: e.token.subject(), Client: e.token.azp}, nil
}
