package entratest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"sync"
)

// policy is a user flow: an authorization server of its own, with its own keys.
type policy struct {
	name string       // as registered; URLs may spell it in any case
	keys []signingKey // published; the last one signs

	metadataFetches, keyFetches int
}

// active is the key that signs: the last one published.
func (p *policy) active() signingKey { return p.keys[len(p.keys)-1] }

// maxKeys is how many keys a policy publishes at most; the oldest goes.
const maxKeys = 10

type signingKey struct {
	private *rsa.PrivateKey
	kid     string // RFC 7638 thumbprint, as B2C names its keys
	nbf     int64  // Unix seconds
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
	return signingKey{key, thumbprint(&key.PublicKey), nbf}
}

// makePolicies gives each policy its first key; the keys are made at once.
func (s *Server) makePolicies(names ...string) {
	s.policies = make([]*policy, len(names))
	var making sync.WaitGroup
	for i, name := range names {
		making.Go(func() {
			s.policies[i] = &policy{name: name, keys: []signingKey{newSigningKey(i, s.now().Unix())}}
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

// mustPolicy is findPolicy for callers whose names are written in Go code.
func (s *Server) mustPolicy(name string) *policy {
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
	s.mu.Lock()
	n := s.nextKey
	s.nextKey++
	s.mu.Unlock()

	key := newSigningKey(n, s.now().Unix())

	s.mu.Lock()
	defer s.mu.Unlock()
	if !keepOld {
		p.keys = nil
	}
	p.keys = append(p.keys[max(0, len(p.keys)-maxKeys+1):len(p.keys):len(p.keys)], key)
}

// jwk has the members that B2C publishes for a user flow's key, and so no alg.
type jwk struct {
	Kid string `json:"kid"`
	Nbf int64  `json:"nbf"`
	Use string `json:"use"`
	Kty string `json:"kty"`
	E   string `json:"e"`
	N   string `json:"n"`
}

type jwkSet struct {
	Keys []jwk `json:"keys"`
}

func (s *Server) jwks(p *policy) jwkSet {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := jwkSet{Keys: make([]jwk, 0, len(p.keys))}
	for _, k := range p.keys {
		e, n := jwkNumbers(&k.private.PublicKey)
		set.Keys = append(set.Keys, jwk{Kid: k.kid, Nbf: k.nbf, Use: "sig", Kty: "RSA", E: e, N: n})
	}
	return set
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
