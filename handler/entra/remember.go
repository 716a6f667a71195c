package entra

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"
)

// This file remembers tokens that were admitted, so that the RSA signature of a token that
// comes again, as tokens do for an hour, is not checked again. What is remembered only
// ever admits: whatever does not fit takes the whole way, which tells why.

const (
	// remembered is how many tokens are, and maxRemembered how many bytes of text and of
	// scopes each may bring with it; together they take less than 4 MiB.
	rememberedBits = 12
	remembered     = 1 << rememberedBits
	maxRemembered  = 384
)

// memory has a place for a token by the end of its signature, which is as good as random. A
// later one takes the place of an earlier one, so strangers, whose tokens are never
// admitted, can fill nothing, and callers only make each other's tokens be checked as if
// they were new.
type memory [remembered]atomic.Pointer[admitted]

// place is where a token is kept, or nil where that cannot be.
func (m *memory) place(token string) *atomic.Pointer[admitted] {
	if len(token) < 8 || len(token) > maxToken {
		return nil
	}
	end := binary.LittleEndian.Uint64([]byte(token[len(token)-8:]))
	return &m[end*0x9E3779B97F4A7C15>>(64-rememberedBits)] // Fibonacci hashing
}

// tokenHash is the SHA-256 of a whole token.
type tokenHash [sha256.Size]byte

// bytesOf are the token's own, only to be read: copying them takes half as long as hashing.
func bytesOf(token string) []byte { return unsafe.Slice(unsafe.StringData(token), len(token)) }

// admitted is what is kept of a token: nothing that could be sent as one.
type admitted struct {
	hash        tokenHash
	entry       *entry
	kid         string
	key         any // that the signature was checked with
	from, until int64
	// caller is what the token said; its scopes or roles are all that it grants.
	caller Caller
}

// find returns the caller of a token that was admitted before and would be now, or nil.
// The key is asked for anew, as it may have been withdrawn, or replaced under the same ID.
func (m *memory) find(token string, now time.Time, needs []Need) *Caller {
	place := m.place(token)
	if place == nil {
		return nil
	}
	a := place.Load()
	if a == nil || early(now, a.from) || a.hash != sha256.Sum256(bytesOf(token)) {
		return nil
	}
	if expired(now, a.until) {
		place.CompareAndSwap(a, nil)
		return nil
	}
	// Each reading of a key set makes its keys new, so this is the set itself, too.
	if set := a.entry.keys.current(now); set == nil || set.keys[a.kid] != a.key {
		return nil
	}
	granted := a.caller.granted()
	for _, n := range needs {
		if !slices.Contains(granted, n.scope) {
			return nil
		}
	}
	own := &struct {
		Caller
		names [4]string // enough for most, so that there is one allocation
	}{Caller: a.caller}
	mine := slices.Clip(append(own.names[:0], granted...))
	if own.Application {
		own.Roles = mine
	} else {
		own.Scopes = mine
	}
	return &own.Caller
}

// keep remembers a token that was admitted, unless its texts are longer than any that
// Microsoft issues. They are copied, as they are parts of the token.
func (m *memory) keep(e *evidence, c *Caller) {
	t, place := &e.token, m.place(e.raw)
	texts := t.kid + c.Subject + c.Client
	if size := int(unsafe.Sizeof("")) * len(c.granted()); place == nil || len(texts)+size > maxRemembered {
		return
	}
	a := &admitted{
		hash: e.hash, entry: e.entry, kid: texts[:len(t.kid)], key: e.keys.keys[t.kid], from: t.from(), until: t.exp.at,
		caller: *c,
	}
	a.caller.Subject, a.caller.Client = texts[len(t.kid):][:len(c.Subject)], texts[len(t.kid)+len(c.Subject):]
	a.caller.Scopes, a.caller.Roles = slices.Clone(c.Scopes), slices.Clone(c.Roles)
	place.Store(a)
}

// granted are a user's scopes, or a program's roles.
func (c *Caller) granted() []string {
	if c.Application {
		return c.Roles
	}
	return c.Scopes
}
