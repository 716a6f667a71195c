package entra_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/waittest"
)

// world is a tenant and a verifier whose clock the test sets. Between two
// readings of keys it sleeps for ever after a success, and almost not at all
// after a failure.
type world struct {
	tenant *entratest.Server
	family entratest.Family
	signer string                                         // the policy, or the tenant without policies
	verify func(ctx context.Context, token string) string // the code, or empty

	verifier *entra.Verifier
	offset   atomic.Int64 // of the clock, in seconds
	refresh  chan time.Time
	log      logged
}

type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newWorld(t testing.TB, faults ...entratest.Fault) *world {
	return newWorldOf(t, entratest.B2C, faults...)
}

var families = []entratest.Family{entratest.B2C, entratest.External, entratest.Workforce}

// newWorldOf is newWorld with a tenant of another family.
func newWorldOf(t testing.TB, family entratest.Family, faults ...entratest.Fault) *world {
	w := &world{family: family, signer: string(family), refresh: make(chan time.Time)}
	if family == entratest.B2C {
		w.signer = entratest.PolicySignUpSignIn
	}
	began := time.Now() // the world's clock stands still until the test sets it on
	now := func() time.Time { return began.Add(time.Duration(w.offset.Load()) * time.Second) }
	w.tenant = tenant(t, entratest.Options{Now: now})
	for _, f := range faults {
		w.tenant.Inject(f)
	}
	c := configForOne(w.tenant, family)
	c.Now = now
	c.Log = slog.New(slog.NewTextHandler(&w.log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	w.verifier = entra.NewWithSleep(ctx, c, func(d time.Duration) <-chan time.Time {
		if d > time.Minute {
			return w.refresh
		}
		return time.After(5 * time.Millisecond)
	})
	w.verify = func(ctx context.Context, token string) string {
		_, refusal := check(ctx, w.verifier, bearer(token), "read")
		return codeOf(refusal)
	}
	return w
}

func (w *world) advance(d time.Duration) { w.offset.Add(int64(d / time.Second)) }

// scheduled lets the regular reading of keys happen, and waits until it began.
func (w *world) scheduled(t testing.TB) {
	select {
	case w.refresh <- time.Time{}:
	case <-time.After(10 * time.Second):
		require.Fail(t, "the regular reading of keys is not waiting for its time")
	}
}

func (w *world) good(t testing.TB) string {
	return accessToken(t, w.tenant, entratest.TokenRequest{Family: w.family})
}

// unknown is a token that would be good, but for the key ID.
func (w *world) unknown(kid string) string {
	return w.tenant.Sign(w.signer, map[string]any{"kid": kid}, w.tenant.Claims(entratest.TokenRequest{Family: w.family}))
}

// published are the keys of the world's tenant, asked for as by the verifier.
func (w *world) published(t testing.TB) string {
	var metadata struct {
		JWKSURI string `json:"jwks_uri"`
	}
	require.NoError(t, json.Unmarshal([]byte(fetch(t, w.metadataURL())), &metadata))
	return fetch(t, metadata.JWKSURI)
}

func (w *world) metadataURL() string {
	switch w.family {
	case entratest.External:
		return w.tenant.URL() + "/" + entratest.ExternalTenantDomain + "/v2.0/.well-known/openid-configuration"
	case entratest.Workforce:
		return w.tenant.URL() + "/" + entratest.WorkforceTenantDomain + "/v2.0/.well-known/openid-configuration"
	}
	return w.tenant.URL() + metadataOf(w.signer) + "openid-configuration"
}

func fetch(t testing.TB, url string) string {
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func (w *world) fetches() int {
	_, keys := w.tenant.Fetches(w.signer)
	return keys
}

// metadataOf is the path of a policy's metadata.
func metadataOf(policy string) string {
	return "/" + entratest.TenantDomain + "/" + policy + "/v2.0/.well-known/"
}

// eachFamily runs a test for a tenant of each family.
func eachFamily(t *testing.T, name string, test func(t *testing.T, family entratest.Family)) {
	for _, family := range families {
		t.Run(name+", "+string(family), func(t *testing.T) {
			t.Parallel()
			test(t, family)
		})
	}
}

func keysEndpoint(r *http.Request) bool { return strings.Contains(r.URL.Path, "/discovery/") }

func eventually(t testing.TB, condition func() bool, what string) {
	require.Eventually(t, condition, 20*time.Second, 2*time.Millisecond, what)
}

func TestKeyEndpointDownAtStart(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]entratest.Fault{
		"metadata 503":      {Status: 503},
		"keys 503":          {Match: keysEndpoint, Status: 503},
		"keys 404":          {Match: keysEndpoint, Status: 404},
		"connection broken": {Drop: true},
		"metadata hang":     {Hang: true},
		"keys hang":         {Match: keysEndpoint, Hang: true},
		"HTML":              {Match: keysEndpoint, Body: "<html>", ContentType: "text/html"},
		"empty object":      {Match: keysEndpoint, Body: "{}"},
		"no keys":           {Match: keysEndpoint, Body: `{"keys":[]}`},
		"metadata empty":    {Body: "{}"},
	} {
		eachFamily(t, name, func(t *testing.T, family entratest.Family) {
			s := tenant(t, entratest.Options{})
			remove := s.Inject(fault)
			c := configForOne(s, family)
			v := entra.NewWithSleep(t.Context(), c,
				func(time.Duration) <-chan time.Time { return time.After(50 * time.Millisecond) })
			token := accessToken(t, s, entratest.TokenRequest{Family: family})
			impatient, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, refusal := check(impatient, v, bearer(token), "read")
			require.Equal(t, "keys.unavailable", codeOf(refusal))
			require.Equal(t, http.StatusServiceUnavailable, refusal.Status)
			require.Positive(t, refusal.RetryAfter)
			require.Empty(t, refusal.Challenge(), "the token may be good")
			remove()
			eventually(t, func() bool {
				_, refusal := check(t.Context(), v, bearer(token), "read")
				return refusal == nil
			}, "comes up by itself")
		})
	}
}

func TestRequestWaitsForTheFirstReading(t *testing.T) {
	w := newWorld(t, entratest.Fault{Match: keysEndpoint, Delay: 300 * time.Millisecond})
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	require.Equal(t, 1, w.fetches())
}

// What a broken endpoint answers later never costs a known key.
func TestKeyEndpointBreaksLater(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]entratest.Fault{
		"503":             {Status: 503},
		"200 and nothing": {Body: " "},
		"null":            {Body: "null"},
		"{}":              {Body: "{}"},
		"no keys":         {Body: `{"keys":[]}`},
		"null keys":       {Body: `{"keys":null}`},
		"error object":    {Body: `{"error":"x"}`},
		"HTML":            {Body: "<html></html>", ContentType: "text/html"},
		"truncated":       {Body: `{"keys":[{"kty":"RSA"`},
		"trailing data":   {Body: `{"keys":[]} x`},
		"dropped":         {Drop: true},
		"symmetric key":   {Body: `{"keys":[{"kty":"oct","kid":"x","k":"AQAB"}]}`},
		"small key":       {Body: `{"keys":[{"kty":"RSA","kid":"x","e":"AQAB","n":"` + strings.Repeat("_", 171) + `"}]}`},
		"33 bad keys":     {Body: `{"keys":[` + strings.TrimSuffix(strings.Repeat(`{"kty":"RSA"},`, 33), ",") + `]}`},
		"redirect":        {Status: 302, Header: http.Header{"Location": {"/"}}},
		"huge":            {Body: `{"keys":[` + strings.Repeat(" ", 1<<20) + `]}`},
	} {
		eachFamily(t, name, func(t *testing.T, family entratest.Family) {
			w, fault := newWorldOf(t, family), fault
			require.Empty(t, w.verify(t.Context(), w.good(t)))
			fault.Match = keysEndpoint
			remove := w.tenant.Inject(fault)
			require.Equal(t, "keys.unavailable", w.verify(t.Context(), w.unknown("new")), "the key may exist")
			require.Empty(t, w.verify(t.Context(), w.good(t)), "known keys are kept")
			require.Contains(t, w.log.String(), "keys not read")
			remove()
			eventually(t, func() bool { return w.verify(t.Context(), w.unknown("new")) == "key.unknown" }, "recovers by itself")
			require.Empty(t, w.verify(t.Context(), w.good(t)))
		})
	}
	eachFamily(t, "one bad key among good ones", func(t *testing.T, family entratest.Family) {
		w := newWorldOf(t, family)
		require.Empty(t, w.verify(t.Context(), w.good(t)))
		good := w.published(t)
		var set struct {
			Keys []map[string]any `json:"keys"`
		}
		require.NoError(t, json.Unmarshal([]byte(good), &set))
		bad := []string{
			`{"kty":"RSA","kid":"b1","e":"AQAB","n":"!!"}`,
			`{"kty":"RSA","kid":"b2","use":"enc","e":"AQAB","n":"` + set.Keys[0]["n"].(string) + `"}`,
			`{"kty":"RSA","kid":"b3","alg":"RS512","e":"AQAB","n":"` + set.Keys[0]["n"].(string) + `"}`,
			`{"kty":"RSA","kid":"b4","e":"Aw","n":"` + set.Keys[0]["n"].(string) + `"}`,
			`{"kty":"RSA","e":"AQAB","n":"` + set.Keys[0]["n"].(string) + `"}`,
			`{"kty":"EC","kid":"b5"}`, `{"kid":"b6"}`, `"text"`, `{"kty":"RSA","kty":"RSA"}`,
			`{"kty":"RSA","kid":"` + set.Keys[0]["kid"].(string) + `","e":"AQAB","n":"` + strings.Repeat("_", 342) + `"}`,
		}
		body := strings.TrimSuffix(strings.TrimSpace(good), "]}") + "," + strings.Join(bad, ",") + "]}"
		w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Body: body})
		require.Equal(t, "key.unknown", w.verify(t.Context(), w.unknown("b1")))
		require.Equal(t, len(bad), w.verifier.Skipped())
		require.Empty(t, w.verify(t.Context(), w.good(t)), "the good key is used, and the first of two with one ID")
		require.Contains(t, w.log.String(), "keys skipped")
	})
}

func TestHugeCompressedAnswerIsCutOff(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Handler: func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(rw)
		zeros := make([]byte, 1<<20)
		for range 200 {
			if _, err := z.Write(zeros); err != nil {
				return
			}
		}
		z.Close()
	}})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	require.Equal(t, "keys.unavailable", w.verify(t.Context(), w.unknown("new")))
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20<<20), "200 MB were not read")
	eventually(t, func() bool { return strings.Contains(w.log.String(), "more than 1048576 bytes") },
		"the log has the reason")
	require.Empty(t, w.verify(t.Context(), w.good(t)))
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	old := w.good(t)
	require.Empty(t, w.verify(t.Context(), old))
	w.tenant.Rollover(entratest.PolicySignUpSignIn, true)
	require.Empty(t, w.verify(t.Context(), w.good(t)), "the new key is fetched at once")
	require.Empty(t, w.verify(t.Context(), old), "the old one is still published")
	require.Equal(t, 2, w.fetches())

	w.advance(31 * time.Second)
	w.tenant.Rollover(entratest.PolicySignUpSignIn, false)
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	require.Equal(t, "key.unknown", w.verify(t.Context(), old), "a withdrawn key stops at once")
}

// A reading that began before the key was published does not count as a look
// for it.
func TestRotationDuringARegularReading(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	arrived, release := make(chan struct{}), make(chan struct{})
	w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Times: 1, Handler: func(rw http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		io.WriteString(rw, `{"keys":[]}`)
	}})
	w.scheduled(t)
	waittest.For(t, arrived)
	w.tenant.Rollover(entratest.PolicySignUpSignIn, true)
	answer := make(chan string)
	token := w.good(t)
	go func() { answer <- w.verify(context.Background(), token) }()
	close(release)
	require.Empty(t, waittest.For(t, answer))
}

func TestRotationWhileTheEndpointIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	remove := w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Status: 503})
	w.tenant.Rollover(entratest.PolicySignUpSignIn, true)
	token := w.good(t)
	for range 3 {
		require.Equal(t, "keys.unavailable", w.verify(t.Context(), token), "never a 401: the token is good")
	}
	remove()
	eventually(t, func() bool { return w.verify(t.Context(), token) == "" }, "admitted once the endpoint is well")
}

func TestFloodOfUnknownKeyIDs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	flood := func() (codes map[string]int) {
		codes = map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 2000 {
			token := w.unknown(fmt.Sprintf("random-%d", i))
			wg.Go(func() {
				code := w.verify(context.Background(), token)
				mu.Lock()
				defer mu.Unlock()
				codes[code]++
			})
		}
		wg.Wait()
		return codes
	}
	codes := flood()
	require.Equal(t, 2, w.fetches(), "the first reading, and one for two thousand key IDs")
	require.Equal(t, 2000, codes["key.unknown"]+codes["keys.unavailable"], "%v", codes)
	flood()
	require.Equal(t, 2, w.fetches(), "within 30 s no other")
	w.advance(31 * time.Second)
	flood()
	require.Equal(t, 3, w.fetches())
	require.Empty(t, w.verify(t.Context(), w.good(t)))

	// A token that is refused for its issuer starts none.
	w.advance(31 * time.Second)
	require.Equal(t, "iss.other_host",
		w.verify(t.Context(),
			w.tenant.Sign(entratest.PolicySignUpSignIn, map[string]any{"kid": "x"},
				with(w.tenant, map[string]any{"iss": "https://evil.example/" + entratest.TenantID + "/v2.0/"}))))
	require.Equal(t, 3, w.fetches())
}

func TestHangingEndpointHurtsNobodyWithAKnownKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.good(t)
	require.Empty(t, w.verify(t.Context(), good))
	w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Hang: true})

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	codes := make(chan string, 1000)
	var wg sync.WaitGroup
	for i := range 200 {
		token := w.unknown(fmt.Sprintf("random-%d", i))
		wg.Go(func() { codes <- w.verify(ctx, token) })
	}
	// 64 wait; all others are answered while the endpoint still hangs.
	for range 200 - 64 {
		require.Equal(t, "keys.unavailable", waittest.For(t, codes))
	}
	for range 500 {
		require.Empty(t, w.verify(ctx, good))
	}
	cancel()
	wg.Wait()
	require.Equal(t, 2, w.fetches())
}

func TestCallerHangsUpDuringAFetch(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	arrived, release := make(chan struct{}), make(chan struct{})
	w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Times: 1, Handler: func(rw http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-release:
			http.Redirect(rw, r, "/", http.StatusFound) // whatever: replaced below
		case <-r.Context().Done():
		}
	}})
	w.tenant.Rollover(entratest.PolicySignUpSignIn, true)
	token := w.good(t)
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan string)
	go func() { answer <- w.verify(ctx, token) }()
	waittest.For(t, arrived)
	cancel()
	require.Equal(t, "keys.unavailable", waittest.For(t, answer))
	close(release)
	// The fetch was not cut off with its caller, so its failure leads to the next
	// one soon, and the next caller gets in.
	eventually(t, func() bool { return w.verify(t.Context(), token) == "" }, "the next caller is admitted")
}

func TestKeysGrowOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	w.tenant.Inject(entratest.Fault{Status: 503})
	w.advance(30 * time.Minute)
	w.scheduled(t)
	eventually(t, func() bool { return strings.Contains(w.log.String(), "level=INFO msg=\"keys not read\"") }, "logged")
	require.NotContains(t, w.log.String(), "level=WARN")
	w.advance(31 * time.Minute)
	eventually(t, func() bool { return strings.Contains(w.log.String(), "level=WARN msg=\"keys not read\"") },
		"a warning from 1 h on")
	w.advance(22*time.Hour + 58*time.Minute)
	require.Empty(t, w.verify(t.Context(), w.good(t)), "kept for 24 h")
	w.advance(2 * time.Minute)
	require.Equal(t, "keys.unavailable", w.verify(t.Context(), w.good(t)), "and no longer")
}

func TestRegularReadingTakesNewKeys(t *testing.T) {
	w := newWorld(t)
	old := w.good(t)
	require.Empty(t, w.verify(t.Context(), old))
	w.tenant.Rollover(entratest.PolicySignUpSignIn, false)
	w.scheduled(t)
	eventually(t, func() bool { return w.verify(t.Context(), old) == "key.unknown" },
		"the withdrawn key is gone without anybody asking")
	require.Empty(t, w.verify(t.Context(), w.good(t)))
	require.LessOrEqual(t, w.fetches(), 3)
}

func TestPoliciesOfTwoTenants(t *testing.T) {
	t.Parallel()
	one := tenant(t, entratest.Options{})
	var log logged
	c := configFor(one, entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	v := start(t, t.Context(), c)
	_, refusal := check(t.Context(), v, bearer(accessToken(t, one, entratest.TokenRequest{})), "read")
	require.Nil(t, refusal)

	one.Inject(entratest.Fault{
		Match: func(r *http.Request) bool {
			return strings.HasPrefix(r.URL.Path, metadataOf(entratest.PolicyProfileEdit))
		},
		Body: `{"issuer":"https://x.b2clogin.com/99999999-9999-4999-8999-999999999999/v2.0/","jwks_uri":"` +
			one.URL() + `/keys"}`,
	})
	v = start(t, t.Context(), c)
	var codes [2]string
	eventually(t, func() bool {
		for i, policy := range []string{entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit} {
			_, refusal := check(t.Context(), v, bearer(accessToken(t, one, entratest.TokenRequest{Policy: policy})), "read")
			codes[i] = codeOf(refusal)
		}
		return codes[1] == "keys.unavailable"
	}, "the other tenant's policy is not trusted")
	require.Contains(t, log.String(), "another policy's names")
}

func TestKeysElsewhereAreNotFetched(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	for name, fault := range map[string]entratest.Fault{
		"jwks_uri at another host": {
			Body: `{"issuer":"https://localhost/` + entratest.TenantID + `/v2.0/","jwks_uri":"` + elsewhere.URL + `/keys"}`,
		},
		"redirect":                {Status: http.StatusFound, Header: http.Header{"Location": {elsewhere.URL}}},
		"issuer without a tenant": {Body: `{"issuer":"https://localhost/v2.0/","jwks_uri":"` + elsewhere.URL + `/keys"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fault)
			require.Equal(t, "keys.unavailable", w.verify(t.Context(), w.good(t)))
			require.Zero(t, asked.Load())
		})
	}
}

type panicky struct{ calls atomic.Int64 }

func (p *panicky) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.calls.Add(1) == 1 {
		panic("transport")
	}
	return http.DefaultTransport.RoundTrip(r)
}

// The keys are read in a goroutine of their own, whose panic nobody else could
// recover.
func TestPanicWhileReadingKeys(t *testing.T) {
	s := tenant(t, entratest.Options{})
	c := configFor(s, entratest.PolicySignUpSignIn)
	c.Transport = &panicky{}
	v := entra.NewWithSleep(t.Context(), c, func(time.Duration) <-chan time.Time { return time.After(time.Millisecond) })
	_, refusal := check(t.Context(), v, bearer(accessToken(t, s, entratest.TokenRequest{})), "read")
	require.Nil(t, refusal, "the next reading succeeded")
}
