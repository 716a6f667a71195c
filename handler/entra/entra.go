// Package entra decides who is calling, and says why not. It verifies the access
// tokens that Microsoft's sign-in issues for one API: those of Azure AD B2C, of its
// successor Microsoft Entra External ID, and of Microsoft Entra ID.
//
// [New] takes a [Config] and refuses one that would admit too much. [Verifier.Require]
// protects a net/http handler. [Verifier.Verify] is the same without net/http: it
// answers with the [Caller], or with a [*Refusal], whose code, status, challenge and
// explanation come from one catalogue (catalogue.go).
//
// A token is admitted if the key set of the very entry that it belongs to verifies its
// RS256 signature, and its issuer, audience, times, client and scopes are those that
// were configured. The issuer says which entry that is, and for B2C the policy too: keys
// are no boundary, as tenants and families may share them. Programs that signed in as
// themselves are refused, where that can be told, or admitted by their app roles
// ([Config.Applications]). Before the signature was checked a token's claims only serve
// to explain a refusal. Keys come from the configured metadata addresses and from nowhere
// that a token could name; they are read in the background and kept while the sign-in
// cannot be reached (keys.go).
//
// The package has no routes, no items and no settings in it, and no switch that
// leaves out a check.
//
// # Use it in another module
//
// The module has no public address yet. Get a copy of the repository, and in your own
// module:
//
//	go mod edit -require=itemsapi@v0.0.0 -replace=itemsapi=../itemsapi
//	go mod tidy
//
// or copy the folder handler/entra into your module, with entratest for your tests and
// handler/loopbacktest, which that needs; then replace the import paths.
package entra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Config says whose tokens are accepted, and what the API is called.
type Config struct {
	// Trust has the tenants whose tokens are accepted; at least one.
	Trust []Trust
	// Realm is what the API calls itself: in every challenge (RFC 9110, section 11.5),
	// and in the types of its problems, urn:{realm}:problem:{code}. Letters, digits and
	// dashes, 2 to 32 of them. Required.
	Realm string
	// Hints are names that an explanation may mention.
	Hints Hints
	// Applications admits programs that signed in as themselves to tenants of Entra's
	// families (client credentials, managed identities, agents), by app roles named like
	// the scopes; without it they are refused. B2C's cannot be told from users: B2C writes
	// their app roles into scp, and they are admitted by those.
	Applications bool
	// CodesOnly leaves the explanation out of the answers: they say code and title, and
	// nothing of the token.
	CodesOnly bool

	// Transport reads metadata and keys. Nil means one like http.DefaultTransport.
	Transport http.RoundTripper
	// Now is the clock that tokens are judged by. Nil means time.Now.
	Now func() time.Time
	// Log gets trouble with keys and faults of this package, and nothing of a token. Nil
	// discards it.
	Log *slog.Logger
}

// Hints are the names that an explanation may mention, so that it tells the people who
// run the API where to look. Each may be zero.
type Hints struct {
	B2C, ExternalID, Workforce Settings
	Applications               string // what the operator calls Config.Applications
}

func (h *Hints) of(f *family) Settings {
	switch f {
	case &externalID:
		return h.ExternalID
	case &workforce:
		return h.Workforce
	default:
		return h.B2C
	}
}

// Settings are what the operator calls the parts of a [Trust], such as
// NOTES_CLIENTS for its Clients.
type Settings struct {
	Tenant, Policies, Audience, Clients, Host, ExtraIssuers string
	// Scopes has the setting for each name in Trust.Scopes.
	Scopes map[string]string
}

// Caller is who a verified token speaks for.
type Caller struct {
	Family  Family
	Tenant  string    // GUID of the directory, lower case
	Subject string    // identifier of the user or program (oid, for B2C alone else sub), lower case
	Client  string    // application ID of the client (azp), as in the token; may be empty
	Policy  string    // of B2C that the user signed in with, as configured
	Scopes  []string  // those that a user granted, by their names in Trust.Scopes, sorted
	Expires time.Time // when the token does

	// Application says that a program of Entra's families signed in as itself; Roles are its
	// app roles then, by the names that Trust.Scopes has for them, sorted, and Scopes is
	// empty. A program of B2C has Scopes, as a user does.
	Application bool
	Roles       []string

	// Former says that Tenant and Subject are those that the user had before a move: the
	// FormerTenant of the Trust, and what its FormerIDClaim said.
	Former bool
}

// Need is what a call needs the token to grant.
type Need struct{ scope string }

// Scope is the need for a scope, by its name in Trust.Scopes.
func Scope(name string) Need { return Need{name} }

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	realm        string
	codesOnly    bool
	applications bool     // are admitted
	setting      string   // that admits them, or empty
	entries      []*entry // at least one
	claims       []string // to be read besides those that every token has
	memory       memory   // of tokens that were admitted
	now          func() time.Time
	log          *slog.Logger
}

// entry is one kind of tokens that is accepted: who issues them and with what keys
// (both in the cache, which reads them), and for whom. Each policy of B2C has one.
type entry struct {
	*family
	settings  Settings
	tenant    string                // as configured
	policy    string                // empty for a family that has none
	authority string                // where clients sign in; empty where the metadata's address does not tell
	form      func(iss string) bool // whether an issuer could be the entry's, as far as its form tells
	audience  string
	appIDURI  string
	scopes    map[string]string // by the names that Need has
	names     []string          // of the scopes, sorted
	clients   map[string]bool
	// Of users who were moved; empty for other entries.
	formerTenant, formerClaim string
	keys                      *keyCache
}

// String is what the log and people call the entry.
func (x *entry) String() string {
	if x.byPolicy {
		return "the policy " + x.policy
	}
	return "the " + x.label + " tenant " + x.tenant
}

// called is what an explanation calls the family.
func (x *entry) called() string { return strings.TrimPrefix(x.label, "Azure AD ") }

// New returns a verifier and starts reading the keys, until ctx ends. It waits for
// nothing. The error lists everything in c that would admit too much, or nobody.
func New(ctx context.Context, c Config) (*Verifier, error) {
	v, err := prepare(c)
	if err != nil {
		return nil, err
	}
	for _, x := range v.entries {
		go x.keys.run(ctx)
	}
	return v, nil
}

func prepare(c Config) (*Verifier, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("entra: %w", err)
	}
	v := &Verifier{
		realm: c.Realm, codesOnly: c.CodesOnly, applications: c.Applications, setting: c.Hints.Applications,
		now: c.Now, log: c.Log,
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	client := newFetchClient(c.Transport)
	waiters := new(atomic.Int64)
	tenants := &tenants{families: map[string]*family{}}
	for _, t := range c.Trust {
		x := t.entry(c.Hints)
		if x.formerClaim != "" {
			v.claims, tenants.former = append(v.claims, x.formerClaim), append(tenants.former, x.formerTenant)
		}
		guard := &tenantGuard{
			family: t.family, extra: slices.Clone(t.ExtraIssuers), setting: x.settings.ExtraIssuers,
			log: v.log, all: tenants,
		}
		if !t.family.byPolicy && isGUID(t.tenant) {
			guard.tenant = t.tenant
		}
		for policy, address := range t.addresses() {
			own := x
			own.policy, own.form = policy, t.form(address)
			if authority, ok := strings.CutSuffix(address, "/v2.0/.well-known/openid-configuration"); ok {
				own.authority = authority
			}
			own.keys = &keyCache{
				urls: []string{address}, client: client, now: v.now, log: v.log.With("family", t.family.name),
				waiters: waiters, sleep: time.After, force: make(chan struct{}, 1), fetched: make(chan struct{}),
				admit: func(set *keySet) ([]string, error) { return guard.admit(set, own.form) },
			}
			if t.family.byPolicy {
				own.keys.log = own.keys.log.With("policy", policy)
			} else {
				// An application may have a key of its own, which is published only so.
				own.keys.urls = []string{withAppID(address, own.audience), address}
			}
			v.entries = append(v.entries, &own)
		}
	}
	return v, nil
}

// accepts reports whether a policy of B2C is accepted that tokens call so.
func (v *Verifier) accepts(policy string) bool {
	return slices.ContainsFunc(v.entries, func(x *entry) bool { return policy != "" && x.isOf(policy) })
}

// isOf reports whether tokens of the entry name this policy. All are of an empty one.
func (x *entry) isOf(policy string) bool { return policy == "" || equalFoldASCII(x.policy, policy) }

// policies are the names of those that are accepted.
func (v *Verifier) policies() []string {
	var names []string
	for _, x := range v.entries {
		if x.byPolicy {
			names = append(names, x.policy)
		}
	}
	return names
}

// trusts reports whether tokens of the family are accepted.
func (v *Verifier) trusts(f *family) bool {
	return slices.ContainsFunc(v.entries, func(x *entry) bool { return x.family == f })
}

// labels are what people call the families whose tokens are accepted.
func (v *Verifier) labels() string {
	var labels []string
	for _, x := range v.entries {
		if !slices.Contains(labels, x.label) {
			labels = append(labels, x.label)
		}
	}
	last := len(labels) - 1
	if last == 0 {
		return labels[0]
	}
	return strings.Join(labels[:last], ", ") + " and " + labels[last]
}

// Verify says who calls, if the token grants all that is needed; without a need it is
// enough that the token grants any scope. Otherwise the error is a [*Refusal], or says
// that no Trust has a scope of that name. Verify waits at most 2 s for keys, and only
// for keys that are not known yet.
func (v *Verifier) Verify(ctx context.Context, c Credentials, need ...Need) (*Caller, error) {
	now := v.now()
	raw, shape := c.token()
	if shape == sound {
		if caller := v.memory.find(raw, now, need); caller != nil {
			return caller, nil
		}
	}
	if err := v.checkNeeds(need); err != nil {
		return nil, err
	}
	// A copy of need, so that a call that ends above allocates none of it.
	e := &evidence{verifier: v, needs: slices.Clone(need), now: now, raw: raw, shape: shape}
	var broken *rule
	e.gather(ctx, func(g Group) bool {
		broken = e.broken(g)
		return broken == nil
	})
	if broken != nil {
		return nil, newRefusal(broken, e)
	}
	caller := e.caller()
	v.memory.keep(e, caller)
	return caller, nil
}

// checkNeeds finds needs that no token could fulfil. All entries have the same names.
func (v *Verifier) checkNeeds(need []Need) error {
	for _, n := range need {
		if _, known := v.entries[0].scopes[n.scope]; !known {
			return fmt.Errorf("entra: no Trust has a scope with the name %q", n.scope)
		}
	}
	return nil
}

// Ready says why some tokens cannot be checked yet: the error names each policy and
// tenant whose keys are not at hand. It is nil once all of them are.
func (v *Verifier) Ready() error {
	var missing []error
	for _, x := range v.entries {
		if x.keys.current(v.now()) == nil {
			missing = append(missing, fmt.Errorf("keys of %s: %w", x, x.keys.trouble()))
		}
	}
	return errors.Join(missing...)
}
