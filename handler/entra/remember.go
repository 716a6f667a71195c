package entra

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

// This file remembers tokens that were admitted, so that the RSA signature of a token that
// comes again, as tokens do for an hour, is not checked again. What is remembered only
// ever admits: whatever does not fit takes the whole way, which tells why.

const (
	// remembered is how many tokens are, and maxRemembered how many bytes of text each may
	// bring with it; together they take less than 4 MiB.
	remembered    = 4096
	maxRemembered = 512
)

// memory has a place for a token by its hash. A later one takes the place of an earlier
// one, so strangers, whose tokens are never admitted, can fill nothing, and callers only
// make each other's tokens be checked as if they were new.
type memory [remembered]atomic.Pointer[admitted]

type tokenHash [sha256.Size]byte

// hashOf does not change the token's bytes, and copying them would take as long as the rest.
func hashOf(token string) tokenHash {
	return sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token)))
}

// admitted is what is kept of a token: nothing that could be sent as one.
type admitted struct {
	hash        tokenHash // of the whole token
	entry       *entry
	kid         string
	key         any // that the signature was checked with
	from, until int64
	// caller is what the token said; its scopes or roles are all that it grants.
	caller Caller
}

func (m *memory) place(hash *tokenHash) *atomic.Pointer[admitted] {
	return &m[binary.LittleEndian.Uint64(hash[:])%remembered]
}

// find returns the caller of a token that was admitted before and would be now, or nil.
// The key is asked for anew, as it may have been withdrawn, or replaced under the same ID.
func (m *memory) find(hash *tokenHash, now time.Time, needs []Need) *Caller {
	a := m.place(hash).Load()
	if a == nil || a.hash != *hash || early(now, a.from) || expired(now, a.until) {
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
// Microsoft issues. The texts are copied, as they are parts of the token.
func (m *memory) keep(hash *tokenHash, e *evidence, c *Caller) {
	t := &e.token
	if len(t.kid)+len(c.Tenant)+len(c.Subject)+len(c.Client) > maxRemembered {
		return
	}
	a := &admitted{
		hash: *hash, entry: e.entry, kid: strings.Clone(t.kid), key: e.keys.keys[t.kid], from: t.from(), until: t.exp.at,
		caller: *c,
	}
	a.caller.Tenant, a.caller.Subject = strings.Clone(c.Tenant), strings.Clone(c.Subject)
	a.caller.Client = strings.Clone(c.Client)
	a.caller.Scopes, a.caller.Roles = slices.Clone(c.Scopes), slices.Clone(c.Roles)
	m.place(hash).Store(a)
}

// granted are a user's scopes, or a program's roles.
func (c *Caller) granted() []string {
	if c.Application {
		return c.Roles
	}
	return c.Scopes
}
