package entra

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"
)

// When keys are read. B2C asks its clients to look every 24 hours, and drops
// the old key at once in an emergency; an unknown key ID is the sign of that.
const (
	refreshEvery  = 15 * time.Minute // give or take a tenth
	firstRetry    = time.Second      // after a failure; doubles up to lastRetry
	lastRetry     = 30 * time.Second
	forceEvery    = 30 * time.Second // at most one refresh for unknown key IDs
	waitAtMost    = 2 * time.Second  // for a key, by one request
	waitersAtMost = 64               // requests that wait for a key at a time
	fetchTimeout  = 5 * time.Second
	warnAfter     = time.Hour
	keepAtMost    = 24 * time.Hour // a set that could not be read again

	maxMetadata = 256 << 10 // bytes, unpacked
	maxKeySet   = 1 << 20   // bytes, unpacked; 256 keys with certificates have 400 KiB
	maxKeys     = 256       // usable ones of a set; no published set has had more than 10
	maxReasons  = 16        // why keys were skipped, in a line of the log
	minKeyBits  = 2048
	maxKeyBits  = 4096
)

// keySet is what one entry's metadata and keys said when they were last read.
type keySet struct {
	issuer  string
	plain   string            // the issuer, to find what differs by hand
	tenant  string            // the GUID in the issuer's path, lower case
	issuers []string          // issuer and the extra ones of the same tenant
	keys    map[string]any    // by key ID, as golang-jwt takes them
	skipped int               // published keys that are not used
	why     map[string]string // by key ID, why a key is not used; not of all where there are many
	url     string            // of the metadata
	read    time.Time
}

func (s *keySet) has(kid string) bool {
	_, ok := s.keys[kid]
	return ok
}

// accepts reports whether a token of this issuer may be checked with these keys.
func (s *keySet) accepts(iss string) bool { return slices.Contains(s.issuers, iss) }

// keyCache keeps the key set of one entry. One goroutine, run, does all the
// reading, so that there is never more than one fetch under way, and none
// depends on a request's context. Known keys never wait.
type keyCache struct {
	urls    []string // of the metadata; each after the first is for where those before it fail
	client  *http.Client
	now     func() time.Time
	log     *slog.Logger
	waiters *atomic.Int64                        // shared by the caches of one verifier
	admit   func(*keySet) ([]string, error)      // checks a set's tenant, gives its issuers
	set     atomic.Pointer[keySet]               // the last good one
	force   chan struct{}                        // wakes run for an unknown key ID
	sleep   func(time.Duration) <-chan time.Time // time.After, but for tests

	mu         sync.Mutex
	fetching   bool          // a fetch is under way, or run has been told to start one
	fetched    chan struct{} // closed when the fetch under way, else the next one, is over
	failed     error         // of the last fetch
	lastForced time.Time
}

// run reads the keys until ctx ends.
func (c *keyCache) run(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		c.mu.Lock()
		c.fetching = true
		select {
		case <-c.force: // this fetch is the one that was asked for
		default:
		}
		c.mu.Unlock()

		set, err := c.fetch(ctx)
		age := c.age()

		c.mu.Lock()
		c.failed = err
		if set != nil {
			c.set.Store(set)
		}
		c.mu.Unlock()
		// After the set is there, as the doctor goes on when it is told; before those that
		// wait are answered, as the log says first why they were refused.
		if set != nil {
			c.log.Info("keys read", "issuer", set.issuer, "keys", len(set.keys), "skipped", set.skipped, age)
		}
		if err != nil {
			c.report(err, age)
		}
		c.mu.Lock()
		c.fetching = false
		close(c.fetched)
		c.fetched = make(chan struct{})
		c.mu.Unlock()

		var wait time.Duration
		if err == nil {
			retry = firstRetry
			wait = time.Duration(float64(refreshEvery) * (0.9 + 0.2*rand.Float64()))
		} else {
			wait = retry
			retry = min(2*retry, lastRetry)
		}
		select {
		case <-ctx.Done():
		case <-c.sleep(wait):
		case <-c.force:
		}
	}
}

func (c *keyCache) report(err error, age slog.Attr) {
	level := slog.LevelWarn
	if set := c.set.Load(); set != nil && c.now().Sub(set.read) < warnAfter {
		level = slog.LevelInfo
	}
	c.log.Log(context.Background(), level, "keys not read", age, "error", err.Error())
}

// age is how old the keys are that have been used until now; nothing before the first.
func (c *keyCache) age() slog.Attr {
	set := c.set.Load()
	if set == nil {
		return slog.Attr{}
	}
	return slog.Int64("age_s", int64(c.now().Sub(set.read).Seconds()))
}

// current is the last good set, or nil if there is none that may still be used.
func (c *keyCache) current(now time.Time) *keySet {
	set := c.set.Load()
	if set == nil || now.Sub(set.read) > keepAtMost {
		return nil
	}
	return set
}

// ready returns the set, and waits a little for it if it was never read. It
// returns nil if that failed.
func (c *keyCache) ready(ctx context.Context, now time.Time) (set *keySet) {
	if set = c.current(now); set != nil {
		return set
	}
	c.wait(ctx, func() (over <-chan struct{}) {
		if set = c.current(c.now()); set != nil {
			return nil
		}
		return c.fetched
	})
	return set
}

// find waits for a set that has kid, which the current one lacks, as long as a
// fetch is under way or may be started. It returns the set and nil, or nil and
// what went wrong: errUnknownKey if the last fetch succeeded and lacks kid.
func (c *keyCache) find(ctx context.Context, kid string) (*keySet, error) {
	var found *keySet
	var failed error
	forced := false
	inTime := c.wait(ctx, func() (over <-chan struct{}) {
		now := c.now()
		failed = c.failed
		switch set := c.current(now); {
		case set != nil && set.has(kid):
			found = set
			return nil
		case c.fetching:
			// It may have begun before the key was published.
		case forced || now.Sub(c.lastForced) < forceEvery:
			return nil
		default:
			forced = true
			c.lastForced = now
			c.fetching = true // from now on, so that the next request waits for it
			select {
			case c.force <- struct{}{}:
			default:
			}
		}
		return c.fetched
	})
	switch {
	case found != nil:
		return found, nil
	case failed != nil:
		return nil, failed
	case !inTime:
		return nil, errors.New("the keys are being read")
	}
	return nil, errUnknownKey
}

var errUnknownKey = errors.New("no such key is published")

// wait calls next, under the lock, before it starts and whenever a fetch is
// over, until next returns nil. It reports false if it gave up before that: the
// time or ctx ran out, or too many are waiting already.
func (c *keyCache) wait(ctx context.Context, next func() (over <-chan struct{})) bool {
	locked := func() <-chan struct{} {
		c.mu.Lock()
		defer c.mu.Unlock()
		return next()
	}
	over := locked()
	if over == nil {
		return true
	}
	defer c.waiters.Add(-1)
	if c.waiters.Add(1) > waitersAtMost {
		return false
	}
	timeout := time.NewTimer(waitAtMost)
	defer timeout.Stop()
	for ; over != nil; over = locked() {
		select {
		case <-over:
		case <-timeout.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// withAppID asks for the metadata of one application, whose keys are those of the tenant
// and, if it has any, those of its own.
func withAppID(address, id string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address // New has refused it
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += "appid=" + id
	return u.String()
}

// fetch reads metadata and keys at the first address, or at another where that fails.
// There may be both a set and an error: the set is good, and there could be more keys. A
// set that the first address gave is kept for an hour rather than replaced by a smaller
// one. A panic below it must not end the process: it is this goroutine that would.
func (c *keyCache) fetch(ctx context.Context) (set *keySet, err error) {
	defer func() {
		if p := recover(); p != nil {
			set, err = nil, fmt.Errorf("panic while reading keys: %v\n%s", p, debug.Stack())
		}
	}()
	var failed []error
	for i, address := range c.urls {
		if set, err = c.fetchAt(ctx, address); err == nil {
			break
		}
		failed = append(failed, err)
		last := c.set.Load()
		if ctx.Err() != nil || i == 0 && last != nil && last.url == address && c.now().Sub(last.read) < warnAfter {
			break
		}
	}
	if set != nil && len(failed) > 0 {
		if status, ok := errors.AsType[statusError](failed[0]); ok && status.code/100 == 4 {
			c.log.Info("keys read without those of the application alone", "reason", failed[0].Error())
			return set, nil // there are none
		}
	}
	return set, errors.Join(failed...)
}

func (c *keyCache) fetchAt(ctx context.Context, address string) (*keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var metadata struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := c.get(ctx, address, maxMetadata, &metadata); err != nil {
		return nil, fmt.Errorf("read metadata: %w", err)
	}
	set := &keySet{
		issuer: metadata.Issuer, plain: plain(metadata.Issuer), tenant: splitIssuer(metadata.Issuer).tenant,
		keys: map[string]any{}, why: map[string]string{}, url: address, read: c.now(),
	}
	var err error
	if set.issuers, err = c.admit(set); err != nil {
		return nil, fmt.Errorf("read metadata at %s: %w", address, err)
	}
	if err := sameHost(address, metadata.JWKSURI); err != nil {
		return nil, fmt.Errorf("read metadata at %s: %w", address, err)
	}

	var published struct {
		Keys []jsontext.Value `json:"keys"`
	}
	// One key that is spelled badly must not cost the others.
	if err := c.get(ctx, metadata.JWKSURI, maxKeySet, &published, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	storage := jwkset.NewMemoryStorage()
	find, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	if err != nil {
		return nil, fmt.Errorf("keep keys: %w", err)
	}
	var reasons []error
	for _, raw := range published.Keys {
		kid, key, err := signingKey(raw, set)
		switch {
		case err != nil:
		case set.has(kid):
			err = fmt.Errorf("key ID %q is there twice", kid)
		case len(set.keys) == maxKeys:
			err = fmt.Errorf("key %.64q: there are %d usable keys before it, and no more are used", kid, maxKeys)
		}
		if err != nil {
			set.skip(kid, err)
			if len(reasons) < maxReasons {
				reasons = append(reasons, err)
			}
			continue
		}
		if err := storage.KeyWrite(ctx, key); err != nil {
			return nil, fmt.Errorf("keep key: %w", err)
		}
		// keyfunc is asked once for each key, and not for each token: what it does to find
		// one takes longer the more there are.
		set.keys[kid], err = find.Keyfunc(&jwt.Token{Header: map[string]any{"alg": "RS256", "kid": kid}})
		if err != nil {
			return nil, fmt.Errorf("keep key: %w", err)
		}
	}
	if len(set.keys) == 0 {
		return nil, fmt.Errorf("read keys at %s: no usable key: %w", metadata.JWKSURI, errors.Join(reasons...))
	}
	if set.skipped > 0 {
		c.log.Warn("keys skipped", "skipped", set.skipped, "reason", errors.Join(reasons...).Error())
	}
	return set, nil
}

// skip notes a key that is not used.
func (s *keySet) skip(kid string, why error) {
	s.skipped++
	if kid != "" && len(s.why) < maxKeys && !s.has(kid) {
		s.why[kid] = why.Error()
	}
}

// statusError is an answer of HTTP that has no document.
type statusError struct {
	code int
	text string
}

func (e statusError) Error() string { return e.text }

// get reads one JSON document. Redirects count as failures: the client follows
// none.
func (c *keyCache) get(ctx context.Context, address string, most int64, doc any, options ...json.Options) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return statusError{resp.StatusCode, fmt.Sprintf("%s answered %s", address, resp.Status)}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	if int64(len(body)) > most {
		return fmt.Errorf("%s: more than %d bytes", address, most)
	}
	if err := json.Unmarshal(body, doc, options...); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}

// signingKey reads one published key, which must be an RSA key to check RS256
// signatures with (RFC 7517; RFC 7518, section 3.3, asks for 2048 bits). Microsoft
// publishes no alg, and for Entra's families a certificate, which tells nothing more. A
// key that names an issuer is used for that one alone. Where there is an error the key
// ID is still there, as far as it could be read.
func signingKey(raw jsontext.Value, set *keySet) (kid string, key jwkset.JWK, err error) {
	// NewJWKFromRawJSON would fold the case of names and let the last of two win.
	var m struct {
		KeyType string         `json:"kty"`
		KeyID   string         `json:"kid"`
		Use     string         `json:"use"`
		Alg     string         `json:"alg"`
		N       string         `json:"n"`
		E       string         `json:"e"`
		Issuer  jsontext.Value `json:"issuer"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m.KeyID, key, fmt.Errorf("read key: %w", err)
	}
	kid = m.KeyID
	if m.KeyType != "RSA" {
		return kid, key, fmt.Errorf("key %.64q: its type is %.20q, not RSA", kid, m.KeyType)
	}
	key, err = jwkset.NewJWKFromMarshal(
		jwkset.JWKMarshal{
			KTY: jwkset.KtyRSA, KID: kid, USE: jwkset.USE(m.Use), ALG: jwkset.ALG(m.Alg), N: m.N, E: m.E,
		}, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return kid, key, fmt.Errorf("key %.64q: %w", kid, err)
	}
	public, ok := key.Key().(*rsa.PublicKey)
	switch {
	case !ok:
		err = errors.New("not an RSA public key")
	case kid == "" || len(kid) > maxKeyID:
		err = errors.New("no key ID, or one that is too long")
	case m.Use != "" && m.Use != jwkset.UseSig.String():
		err = fmt.Errorf("its use is %q", m.Use)
	case m.Alg != "" && m.Alg != jwkset.AlgRS256.String():
		err = fmt.Errorf("its algorithm is %q", m.Alg)
	case public.N.BitLen() < minKeyBits || public.N.BitLen() > maxKeyBits:
		err = fmt.Errorf("%d bits", public.N.BitLen())
	case public.E < 65537 || public.E%2 == 0:
		err = fmt.Errorf("public exponent %d", public.E)
	default:
		err = set.checkIssuerOf(m.Issuer)
	}
	if err != nil {
		return kid, key, fmt.Errorf("key %.64q: %w", kid, err)
	}
	return kid, key, nil
}

// checkIssuerOf checks the issuer that a key is for, where it names one as a string:
// each {tenantid} in it stands for the tenant.
func (s *keySet) checkIssuerOf(raw jsontext.Value) error {
	var issuer string
	if len(raw) == 0 || json.Unmarshal(raw, &issuer) != nil || strings.TrimSpace(issuer) == "" {
		return nil
	}
	own := strings.ReplaceAll(issuer, "{tenantid}", issuerGUID(s.issuer))
	if own != s.issuer {
		return fmt.Errorf("its issuer is %.200q, the tenant's is %.200q", issuer, s.issuer)
	}
	return nil
}

// sameHost refuses keys from elsewhere than where the metadata came from.
func sameHost(metadata, keys string) error {
	m, err := url.Parse(metadata)
	if err != nil {
		return err
	}
	k, err := url.Parse(keys)
	if err != nil {
		return err
	}
	if k.Scheme != m.Scheme || !equalFoldASCII(k.Host, m.Host) {
		return fmt.Errorf("jwks_uri is at %s://%s, not at the metadata's own host", k.Scheme, k.Host)
	}
	return nil
}

// newFetchClient returns a client that follows no redirect, so that nothing but
// the configured host is ever asked.
func newFetchClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxResponseHeaderBytes = 64 << 10
		transport = t
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       fetchTimeout,
	}
}

// tenants are those of Entra's two families that were read: no tenant is of both, and none
// is one that users were moved from.
type tenants struct {
	former   []string // GUIDs
	mu       sync.Mutex
	families map[string]*family
}

// tenantGuard makes sure that all policies of a Trust are of one tenant: the configured
// one where its GUID is known, else the one that the first metadata named.
type tenantGuard struct {
	family  *family
	extra   []string
	setting string // that extra comes from, for the log
	log     *slog.Logger
	all     *tenants

	mu     sync.Mutex
	tenant string
	told   []string
}

func (g *tenantGuard) admit(set *keySet, form func(string) bool) ([]string, error) {
	if set.tenant == "" {
		return nil, fmt.Errorf("issuer %.200q has no tenant GUID in its path", set.issuer)
	}
	if !form(set.issuer) {
		return nil, fmt.Errorf("issuer %.200q does not have the form of those of %s", set.issuer, g.family.label)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.tenant != "" && set.tenant != g.tenant && g.family.byPolicy:
		return nil, fmt.Errorf("issuer names tenant %s, another policy's names %s", set.tenant, g.tenant)
	case g.tenant != "" && set.tenant != g.tenant:
		return nil, fmt.Errorf("issuer names tenant %s, and not %s", set.tenant, g.tenant)
	case !g.family.byPolicy && slices.Contains(g.all.former, set.tenant):
		return nil, fmt.Errorf("issuer names tenant %s, from which users are said to have been moved", set.tenant)
	case !g.family.byPolicy && !g.all.take(set.tenant, g.family):
		return nil, fmt.Errorf("issuer names tenant %s, which is there as one of another family", set.tenant)
	}
	g.tenant = set.tenant
	issuers := []string{set.issuer}
	for _, extra := range g.extra {
		why := ""
		switch {
		case !form(extra):
			why = "it does not have the form of this family's issuers"
		case splitIssuer(extra).tenant != g.tenant:
			why = "it is of another tenant"
		default:
			issuers = append(issuers, extra)
			continue
		}
		if !slices.Contains(g.told, extra) {
			g.told = append(g.told, extra)
			g.log.Error("extra issuer refused: "+why, "setting", g.setting, "issuer", extra, "tenant", g.tenant)
		}
	}
	return issuers, nil
}

// take notes a tenant as one of a family, and reports false if it is another's.
func (t *tenants) take(tenant string, f *family) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if other := t.families[tenant]; other != nil && other != f {
		return false
	}
	t.families[tenant] = f
	return true
}

var errNeverRead = errors.New("the keys were never read")

// trouble is why there are no keys.
func (c *keyCache) trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	return errNeverRead
}

// lastError is why the last fetch failed; errUnknownKey if it did not.
func (c *keyCache) lastError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	return errUnknownKey
}
