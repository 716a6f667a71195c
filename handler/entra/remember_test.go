package entra_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// remembering is a world that has admitted a token and remembers it.
func remembering(t *testing.T, family entratest.Family) (w *world, token string) {
	w = newWorldOf(t, family)
	token = w.good(t)
	require.Empty(t, w.verify(t.Context(), token))
	require.True(t, w.verifier.Remembers(token))
	return w, token
}

// Whoever comes again is who they were, and has a Caller of their own.
func TestRememberedCaller(t *testing.T) {
	eachFamily(t, "a user", func(t *testing.T, family entratest.Family) {
		w, _ := remembering(t, family)
		token := accessToken(t, w.tenant, entratest.TokenRequest{Family: family, User: "bob"})
		first, refusal := check(t.Context(), w.verifier, bearer(token), "read")
		require.Nil(t, refusal)
		second, refusal := check(t.Context(), w.verifier, bearer(token), "read")
		require.Nil(t, refusal)
		require.Equal(t, first, second)
		second.Scopes[1] = "changed"
		_ = append(second.Scopes, "added")
		third, refusal := check(t.Context(), w.verifier, bearer(token), "read")
		require.Nil(t, refusal)
		require.Equal(t, first, third)
	})
	t.Run("a program", func(t *testing.T) {
		s := tenant(t, entratest.Options{})
		c := configForAll(s)
		c.Applications = true
		v := start(t, t.Context(), c)
		settled(t, v)
		token := accessToken(t, s, entratest.TokenRequest{
			Family: entratest.External, Application: true,
		})
		first, refusal := check(t.Context(), v, bearer(token), "read")
		require.Nil(t, refusal)
		require.True(t, v.Remembers(token))
		second, refusal := check(t.Context(), v, bearer(token), "read")
		require.Nil(t, refusal)
		require.Equal(t, first, second)
		require.NotEmpty(t, second.Roles)
	})
}

// Where anything is other than it was, a token that was admitted is judged as a new one.
func TestRememberedTokenIsJudgedAnew(t *testing.T) {
	eachFamily(t, "one bit changed", func(t *testing.T, family entratest.Family) {
		w, token := remembering(t, family)
		start := strings.IndexByte(token, '.') + 1
		for at := start; at < len(token); at += 7 {
			changed := []byte(token)
			changed[at] ^= 1
			require.NotEmpty(t, w.verify(t.Context(), string(changed)), "byte %d", at)
		}
		require.Empty(t, w.verify(t.Context(), token))
	})
	eachFamily(t, "expired meanwhile", func(t *testing.T, family entratest.Family) {
		w, token := remembering(t, family)
		w.advance(time.Hour + 40*time.Second)
		require.Empty(t, w.verify(t.Context(), token), "the skew is the same")
		w.advance(20 * time.Second)
		require.Equal(t, "time.expired", w.verify(t.Context(), token))
		require.False(t, w.verifier.Remembers(token))
	})
	eachFamily(t, "the clock set back", func(t *testing.T, family entratest.Family) {
		w, token := remembering(t, family)
		w.advance(-10 * time.Minute)
		require.Equal(t, "time.not_yet_valid", w.verify(t.Context(), token))
	})
	eachFamily(t, "key withdrawn", func(t *testing.T, family entratest.Family) {
		w, token := remembering(t, family)
		w.tenant.Rollover(w.signer, false)
		w.scheduled(t)
		eventually(t, func() bool { return w.verify(t.Context(), token) == "key.unknown" }, "it stops at once")
	})
	eachFamily(t, "key replaced under the same ID", func(t *testing.T, family entratest.Family) {
		w, token := remembering(t, family)
		_, kid := w.tenant.PrivateKey(w.signer)
		w.tenant.Rollover(w.signer, false)
		_, newID := w.tenant.PrivateKey(w.signer)
		replaced := strings.ReplaceAll(w.published(t), newID, kid)
		w.tenant.Inject(entratest.Fault{Match: keysEndpoint, Body: replaced})
		w.scheduled(t)
		eventually(t, func() bool { return w.verify(t.Context(), token) == "sig.invalid" }, "it is not the same key")
	})
	eachFamily(t, "the same key read again", func(t *testing.T, family entratest.Family) {
		w, token := remembering(t, family)
		before := w.fetches()
		w.scheduled(t)
		eventually(t, func() bool { return w.fetches() > before }, "the keys are read again")
		require.Empty(t, w.verify(t.Context(), token))
	})
	eachFamily(t, "set too old", func(t *testing.T, family entratest.Family) {
		// The token is good for longer than the keys are.
		w := newWorldOf(t, family)
		claims := w.tenant.Claims(entratest.TokenRequest{Family: family})
		claims["exp"] = time.Now().Add(48 * time.Hour).Unix()
		token := w.tenant.Sign(w.signer, nil, claims)
		require.Empty(t, w.verify(t.Context(), token))
		require.True(t, w.verifier.Remembers(token))
		w.tenant.Inject(entratest.Fault{Handler: func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(503) }})
		w.scheduled(t)
		w.advance(23 * time.Hour)
		require.Empty(t, w.verify(t.Context(), token))
		w.advance(2 * time.Hour)
		impatient, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		require.Equal(t, "keys.unavailable", w.verify(impatient, token))
	})
	eachFamily(t, "other scope", func(t *testing.T, family entratest.Family) {
		w, _ := remembering(t, family)
		token := accessToken(t, w.tenant, entratest.TokenRequest{Family: family, Scopes: []string{"read"}})
		require.Empty(t, w.verify(t.Context(), token))
		for range 2 {
			_, refusal := check(t.Context(), w.verifier, bearer(token), "write")
			require.Equal(t, "scope.missing", codeOf(refusal))
			require.Empty(t, w.verify(t.Context(), token))
		}
		_, err := w.verifier.Verify(t.Context(), bearer(token), entra.Scope("read"), entra.Scope("write"))
		require.EqualError(t, err, "scope.missing")
		_, err = w.verifier.Verify(t.Context(), bearer(token), entra.Scope("none such"))
		require.ErrorContains(t, err, "no Trust has a scope")
	})
	t.Run("other policy", func(t *testing.T) {
		w, token := remembering(t, entratest.B2C) // it accepts one policy
		other := accessToken(t, w.tenant, entratest.TokenRequest{Policy: entratest.PolicyProfileEdit})
		parts, with := strings.Split(token, "."), strings.Split(other, ".")
		for range 2 {
			require.Equal(t, "policy.not_allowed", w.verify(t.Context(), other))
			require.NotEmpty(t, w.verify(t.Context(), with[0]+"."+with[1]+"."+parts[2]))
			require.NotEmpty(t, w.verify(t.Context(), parts[0]+"."+with[1]+"."+parts[2]))
		}
	})
	t.Run("beside another credential", func(t *testing.T) {
		w, token := remembering(t, entratest.B2C)
		for _, c := range []entra.Credentials{
			{Authorization: []string{"Bearer " + token, "Bearer " + token}},
			{Authorization: []string{"Bearer " + token}, InQuery: true},
			{Authorization: []string{"Basic " + token}},
			{Authorization: []string{token}},
		} {
			_, refusal := check(t.Context(), w.verifier, c, "read")
			require.NotNil(t, refusal, "%v", c)
		}
	})
}

func TestRefusedTokenIsNotRemembered(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configForAll(s))
	settled(t, v)
	for _, code := range entra.Codes() {
		broken, err := s.Broken(code)
		if err != nil || broken.Token == "" {
			continue
		}
		for range 2 {
			_, refusal := check(t.Context(), v, bearer(broken.Token), "read")
			require.NotNil(t, refusal, code)
		}
		require.False(t, v.Remembers(broken.Token), code)
	}
}

// Texts longer than Microsoft's are not remembered, and cost nothing but the time.
func TestLongTextsAreNotRemembered(t *testing.T) {
	w := newWorld(t)
	claims := w.tenant.Claims(entratest.TokenRequest{})
	delete(claims, "oid")
	claims["sub"] = strings.Repeat("s", 600)
	token := w.tenant.Sign(w.signer, nil, claims)
	for range 2 {
		require.Empty(t, w.verify(t.Context(), token))
		require.False(t, w.verifier.Remembers(token))
	}
}

func TestMemoryOfTokensIsBounded(t *testing.T) {
	w, _ := remembering(t, entratest.B2C)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 100_000 {
		w.verifier.Remember(fmt.Sprintf("%08x", i))
	}
	require.Less(t, int64(heap()-before), int64(4<<20))
	require.Equal(t, "token.opaque", w.verify(t.Context(), "ffffffff"), "where each place is taken")
	token := w.good(t)
	require.Empty(t, w.verify(t.Context(), token))
	require.True(t, w.verifier.Remembers(token), "a new one takes the place of an older one")
}
