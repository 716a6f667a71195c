package entratest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"time"
)

// policy is an authorization server of its own, with its own keys: a user flow of B2C,
// or a tenant of another family.
type policy struct {
	dir    *directory
	name   string       // as registered, URLs may spell it in any case; or the family's
	keys   []signingKey // published; the last one signs
	apiKey *signingKey  // of the API alone, which signs then
	make   func()       // makes the first keys, once; B2C's are there at once

	metadataFetches, keyFetches int
}

// active is the key that signs: the API's own, else the last one published.
func (p *policy) active() signingKey {
	if p.apiKey != nil {
		return *p.apiKey
	}
	return p.keys[len(p.keys)-1]
}

// maxKeys is how many keys a policy publishes at most; the oldest goes.
const maxKeys = 10

type signingKey struct {
	private *rsa.PrivateKey
	kid     string // as B2C names its keys, RFC 7638; as Entra does, the certificate's SHA-1
	nbf     int64  // Unix seconds
	x5c     []byte // the certificate, of Entra's keys
}

// keyPool hands out the process's keys: the nth key of every server is the same
// one, because making a key costs a tenth of a second or more and tests start
// many servers. No server is given a key twice.
var keyPool struct {
	sync.Mutex
	keys []func() *rsa.PrivateKey
}

func poolKey(n int) *rsa.PrivateKey {
	keyPool.Lock()
	for len(keyPool.keys) <= n {
		keyPool.keys = append(keyPool.keys, sync.OnceValue(func() *rsa.PrivateKey {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(fmt.Sprintf("entratest: generate an RSA key: %v", err)) // the system has no randomness
			}
			return key
		}))
	}
	generate := keyPool.keys[n]
	keyPool.Unlock()
	return generate()
}

func newSigningKey(n int, nbf int64) signingKey {
	key := poolKey(n)
	return signingKey{private: key, kid: thumbprint(&key.PublicKey), nbf: nbf}
}

// newCertifiedKey is a key as Entra's families have them.
func newCertifiedKey(n int, nbf int64) signingKey {
	key := poolKey(n)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(n) + 1), Subject: pkix.Name{CommonName: "accounts.accesscontrol.windows.net"},
		NotBefore: time.Unix(nbf, 0).Add(-time.Hour), NotAfter: time.Unix(nbf, 0).AddDate(5, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(fmt.Sprintf("entratest: make a certificate: %v", err)) // cannot happen with a key of 2048 bits
	}
	sum := sha1.Sum(der)
	return signingKey{private: key, kid: base64url(sum[:]), nbf: nbf, x5c: der}
}

// makeOwnKeys gives a tenant that has no policies its keys, once somebody asks for
// them: most tests do not.
func (s *Server) makeOwnKeys(d *directory, count int) {
	p := &policy{dir: d, name: string(d.family)}
	d.own = p
	first := s.nextKey
	s.nextKey += count
	p.make = sync.OnceFunc(func() {
		keys := make([]signingKey, count)
		var making sync.WaitGroup
		for i := range keys {
			making.Go(func() { keys[i] = newCertifiedKey(first+i, s.now().Unix()) })
		}
		making.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		p.keys = keys
	})
}

// makePolicies gives each policy its first key; the keys are made at once.
func (s *Server) makePolicies(names ...string) {
	s.policies = make([]*policy, len(names))
	var making sync.WaitGroup
	for i, name := range names {
		making.Go(func() {
			s.policies[i] = &policy{
				dir: s.b2c, name: name, keys: []signingKey{newSigningKey(i, s.now().Unix())}, make: func() {},
			}
		})
	}
	making.Wait()
	s.nextKey = len(names)
}

// findPolicy finds a policy by its name in any case.
func (s *Server) findPolicy(name string) (*policy, error) {
	known := make([]string, len(s.policies))
	for i, p := range s.policies {
		if strings.EqualFold(name, p.name) {
			return p, nil
		}
		known[i] = p.name
	}
	return nil, fmt.Errorf("no policy %q; there are %s", short(name), strings.Join(known, ", "))
}

// mustPolicy is findPolicy for callers whose names are written in Go code; a tenant
// without policies goes by its family's name.
func (s *Server) mustPolicy(name string) *policy {
	for _, d := range s.directories() {
		if d.own != nil && name == string(d.family) {
			return d.own
		}
	}
	p, err := s.findPolicy(name)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return p
}

// PrivateKey returns the key that signs the policy's tokens now, and its kid.
// It panics if there is no such policy.
func (s *Server) PrivateKey(policy string) (*rsa.PrivateKey, string) {
	k := s.activeKey(s.mustPolicy(policy))
	return k.private, k.kid
}

func (s *Server) activeKey(p *policy) signingKey {
	p.make()
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.active()
}

// Rollover gives the policy a new key, which signs from now on. With keepOld
// the old ones stay published beside it, 10 in all, else they are withdrawn, as
// B2C does in an emergency. It panics if there is no such policy.
func (s *Server) Rollover(policy string, keepOld bool) {
	s.rollover(s.mustPolicy(policy), keepOld)
}

func (s *Server) rollover(p *policy, keepOld bool) {
	p.make()
	s.mu.Lock()
	n := s.nextKey
	s.nextKey++
	s.mu.Unlock()

	newKey := newSigningKey
	if p.dir != s.b2c {
		newKey = newCertifiedKey
	}
	key := newKey(n, s.now().Unix())

	s.mu.Lock()
	defer s.mu.Unlock()
	if !keepOld {
		p.keys = nil
	}
	p.keys = append(p.keys[max(0, len(p.keys)-maxKeys+1):len(p.keys):len(p.keys)], key)
}

// jwk has the members that Microsoft publishes: for a user flow's key of B2C nbf, for
// Entra's families a certificate and, for tokens of version 2, the issuer that the key is
// for. None has alg.
type jwk struct {
	Kid    string   `json:"kid"`
	Nbf    int64    `json:"nbf,omitempty"`
	Use    string   `json:"use"`
	Kty    string   `json:"kty"`
	X5t    string   `json:"x5t,omitempty"`
	E      string   `json:"e"`
	N      string   `json:"n"`
	X5c    []string `json:"x5c,omitempty"`
	Issuer string   `json:"issuer,omitempty"`
}

type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// jwks are the keys that an endpoint publishes.
func (s *Server) jwks(e endpoint) jwkSet {
	p := e.policy
	p.make()
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := p.keys
	if e.door == workforceDoor && p.dir == s.external {
		keys = keys[:len(keys)-1] // this door lacks the newest one
	}
	if p.apiKey != nil && e.appID == p.dir.apiID {
		keys = append(slices.Clip(keys), *p.apiKey)
	}
	set := jwkSet{Keys: make([]jwk, 0, len(keys))}
	for _, k := range keys {
		set.Keys = append(set.Keys, k.published(s.keyIssuer(e)))
	}
	if e.common {
		set.Keys = append(set.Keys, s.accountsKey().published("https://"+workforceDoor+"/"+accountsTenantID+"/v2.0"))
	}
	return set
}

// accountsTenantID is the tenant of all Microsoft accounts, whose keys are for it alone.
const accountsTenantID = "9188040d-6c67-4c5b-b112-36a304b66dad"

// keyIssuer is the issuer that keys are published for.
func (s *Server) keyIssuer(e endpoint) string {
	switch {
	case e.policy.dir == s.b2c || !e.v2:
		return ""
	case e.common:
		return "https://" + s.publicHost + "/{tenantid}/v2.0"
	}
	return s.issuer(e.policy.dir, e.door, true)
}

func (k signingKey) published(issuer string) jwk {
	e, n := jwkNumbers(&k.private.PublicKey)
	j := jwk{Kid: k.kid, Use: "sig", Kty: "RSA", E: e, N: n, Issuer: issuer}
	if k.x5c == nil {
		j.Nbf = k.nbf
	} else {
		j.X5t, j.X5c = k.kid, []string{base64.StdEncoding.EncodeToString(k.x5c)}
	}
	return j
}

func jwkNumbers(key *rsa.PublicKey) (e, n string) {
	return base64url(big.NewInt(int64(key.E)).Bytes()), base64url(key.N.Bytes())
}

// thumbprint is the JWK thumbprint of RFC 7638 with SHA-256.
func thumbprint(key *rsa.PublicKey) string {
	e, n := jwkNumbers(key)
	sum := sha256.Sum256([]byte(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`))
	return base64url(sum[:])
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
