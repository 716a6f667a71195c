package entra

import (
	"context"
	"slices"
	"strings"
	"time"
)

// evidence is what is known of a request. It grows from step to step.
type evidence struct {
	verifier *Verifier
	needs    []Need
	now      time.Time

	shape shape
	raw   string // what stands where the token should
	token token  // empty unless it could be read

	policy   string // that the token names
	agree    bool   // all places that name one name the same
	entry    *entry // whose token it is; nil if policy is not accepted
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
	if e.policy, e.agree = e.token.policy(); e.agree {
		for x := range e.verifier.entriesFor(e.policy) {
			e.entry = x
			break
		}
	}
}

// load gets the keys, waiting for them where it makes sense.
func (e *evidence) load(ctx context.Context) {
	if e.entry == nil {
		return
	}
	if e.route(ctx); e.keys == nil {
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

// route finds the one entry that the token is checked against: of those for its policy,
// the one that iss is an issuer of, else the first, to explain by. An entry whose
// metadata was never read may be the one, so it is waited for; while one cannot be
// read, there are no keys.
func (e *evidence) route(ctx context.Context) {
	var unread []*entry
	for x := range e.verifier.entriesFor(e.policy) {
		if set := x.keys.current(e.now); set == nil {
			unread = append(unread, x)
		} else if e.take(x, set) {
			return
		}
	}
	if unread == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, waitAtMost)
	defer cancel()
	for _, x := range unread {
		set := x.keys.ready(ctx, e.now)
		if set == nil {
			e.entry, e.keys = x, nil
			return
		}
		if e.take(x, set) {
			return
		}
	}
}

// take notes an entry and its keys, and reports whether the token's issuer is theirs.
func (e *evidence) take(x *entry, set *keySet) bool {
	its := set.accepts(e.token.iss)
	if its || e.keys == nil {
		e.entry, e.keys = x, set
	}
	return its
}

// verify checks the signature, with the entry's own keys.
func (e *evidence) verify() {
	if e.keys != nil && e.keyError == nil {
		e.verified = verifySignature(e.keys.keys[e.token.kid], &e.token)
	}
}

// readable reports whether there is a token that could be read.
func (e *evidence) readable() bool { return e.shape == sound && e.token.signed != "" }

// trusted is the entry that the token must fit: its own, else the first, to explain by.
func (e *evidence) trusted() *entry {
	if e.entry != nil {
		return e.entry
	}
	return e.verifier.entries[0]
}

// subject is who the token is about, or empty.
func (e *evidence) subject() string {
	id := identifier(e.token.oid)
	if id == "" && e.trusted().subjectInSub {
		id = identifier(e.token.sub)
	}
	return id
}

// missing is the first scope that is needed and not granted, as the token would spell
// it, or empty.
func (e *evidence) missing() string {
	for _, n := range e.needs {
		if scope := e.trusted().scopes[n.scope]; !e.token.grants(scope) {
			return scope
		}
	}
	return ""
}

// scopes are what a token needs, as it would spell them: where nothing is needed, any
// that there is.
func (e *evidence) scopes() []string {
	x := e.trusted()
	var scopes []string
	for _, n := range e.needs {
		scopes = append(scopes, x.scopes[n.scope])
	}
	if len(e.needs) == 0 {
		for _, name := range x.names {
			scopes = append(scopes, x.scopes[name])
		}
	}
	return scopes
}

// fullScope is what a client asks for to be granted what is needed.
func (e *evidence) fullScope() string {
	scopes := e.scopes()
	for i, scope := range scopes {
		scopes[i] = e.trusted().appIDURI + "/" + scope
	}
	return strings.Join(scopes, " ")
}

// caller is who the verified token speaks for.
func (e *evidence) caller() *Caller {
	x := e.entry
	c := &Caller{
		Family: x.name, Tenant: e.keys.tenant, Subject: e.subject(), Client: e.token.azp, Policy: x.policy,
		Scopes: make([]string, 0, len(x.names)), Expires: time.Unix(e.token.exp.at, 0),
	}
	for _, name := range x.names {
		if e.token.grants(x.scopes[name]) {
			c.Scopes = append(c.Scopes, name)
		}
	}
	return c
}

// named puts those settings that have a name into brackets, behind what they mean.
func named(settings ...string) string {
	given := slices.DeleteFunc(settings, func(s string) bool { return s == "" })
	if len(given) == 0 {
		return ""
	}
	return " (" + strings.Join(given, ", ") + ")"
}
