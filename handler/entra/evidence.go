package entra

import (
	"context"
	"time"
)

// evidence is what is known of a request. It grows from step to step.
type evidence struct {
	verifier *Verifier
	scope    string // that the route needs
	now      time.Time

	shape shape
	raw   string // what stands where the token should
	token token  // empty unless it could be read

	policy   string // that the token names
	agree    bool   // all places that name one name the same
	entry    *entry // nil if policy is not accepted
	keys     *keySet
	keyError error // why there are no keys, or errUnknownKey
	verified bool  // the signature is right
}

// gather goes through the verification from the first step to the last. After each
// step it has the groups of rules tried that the evidence now suffices for, and ends
// when pass reports false.
func (e *evidence) gather(ctx context.Context, c Credentials, pass func(Group) bool) {
	if e.read(c); !pass(GroupRequest) {
		return
	}
	if e.parse(); !pass(GroupForm) || !pass(GroupKind) || !pass(GroupHeader) || !pass(GroupPolicy) {
		return
	}
	if e.load(ctx); !pass(GroupKeys) || !pass(GroupIssuer) {
		return
	}
	if e.verify(); !pass(GroupKey) || !pass(GroupAudience) || !pass(GroupTime) || !pass(GroupCaller) {
		return
	}
	pass(GroupScope)
}

// broken is the first rule of a group that refuses the request, or nil.
func (e *evidence) broken(g Group) *rule {
	for i := range catalogue[g] {
		if r := &catalogue[g][i]; r.applies(e) {
			return r
		}
	}
	return nil
}

// parse reads the token and finds whose it says it is.
func (e *evidence) parse() {
	if e.shape != sound {
		return
	}
	e.token, e.shape = parseToken(e.raw)
	e.policy, e.agree = e.token.policy()
	if e.agree && e.policy != "" {
		e.entry = e.verifier.entryFor(e.policy)
	}
}

// load gets the keys, waiting for them where it makes sense.
func (e *evidence) load(ctx context.Context) {
	if e.entry == nil {
		return
	}
	if e.keys = e.entry.keys.ready(ctx, e.now); e.keys == nil {
		e.keyError = errNeverRead
		return
	}
	if e.keys.has(e.token.kid) {
		return
	}
	if !e.keys.accepts(e.token.iss) {
		// The token is refused for its issuer; no stranger's token starts a fetch.
		e.keyError = e.entry.keys.lastError()
		return
	}
	set, err := e.entry.keys.find(ctx, e.token.kid)
	if err != nil {
		e.keyError = err
		return
	}
	e.keys = set
}

// verify checks the signature, with the entry's own keys.
func (e *evidence) verify() {
	if e.keys != nil && e.keyError == nil {
		e.verified = verifySignature(e.keys.key, &e.token)
	}
}

// readable reports whether there is a token that could be read.
func (e *evidence) readable() bool { return e.shape == sound && e.token.signed != "" }

// trusted is the entry that the token must fit: its own, else the first, to explain by.
func (e *evidence) trusted() *entry {
	if e.entry != nil {
		return e.entry
	}
	return &e.verifier.entries[0]
}

// fullScope is what a client asks for to be granted the scope that is needed.
func (e *evidence) fullScope() string { return e.trusted().appIDURI + "/" + e.scope }
