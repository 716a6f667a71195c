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

	kind     kind
	policy   string // that the token names
	agree    bool   // all places that name one name the same
	home     *entry // whose token it seems to be, to explain by; nil without a token
	entry    *entry // whose token it is by issuer and policy; nil if the policy is not accepted
	keys     *keySet
	keyError error // why there are no keys, or errUnknownKey
	verified bool  // the signature is right
	hash     tokenHash
}

// gather goes through the verification from the first step to the last. After each
// step it has the groups of rules tried that the evidence now suffices for, and ends
// when pass reports false.
func (e *evidence) gather(ctx context.Context, pass func(Group) bool) {
	if !pass(GroupRequest) {
		return
	}
	if e.parse(); !pass(GroupForm) || !pass(GroupKind) || !pass(GroupHeader) || !pass(GroupFamily) {
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
	if e.shape = e.token.parse(e.raw, e.verifier.claims...); e.shape != sound {
		return
	}
	e.policy, e.agree = e.token.policy()
	e.kind = e.findKind(e.find())
	if e.kind == graph || e.kind == entraV1 {
		e.explainByTenant()
	}
}

// explainByTenant has a token of the wrong kind explained by the entry of its tenant.
func (e *evidence) explainByTenant() {
	for _, x := range e.verifier.entries {
		if set := x.keys.current(e.now); set != nil && set.tenant == e.token.issuer.tenant {
			e.home, e.entry = x, nil
			return
		}
	}
}

// nearness is how near an entry is to a token's issuer.
type nearness int

const (
	far           nearness = iota
	sameTenant             // but another family's form
	sameFamily             // by the issuer's form, of another tenant
	sameHome               // family and tenant
	differsByHand          // only in what people get wrong who write an issuer by hand
	perhaps                // the metadata was never read, and its issuer may be this one
	accepted               // it is the entry's issuer
)

// near compares the token's issuer with the one of an entry that does not accept it.
func (e *evidence) near(x *entry, named *family, plainIss string) nearness {
	set, tenant := x.keys.current(e.now), x.tenant
	switch {
	case set == nil && x.form(e.token.iss):
		return perhaps
	case set == nil:
	case set.plain == plainIss:
		return differsByHand
	default:
		tenant = set.tenant
	}
	same := tenant == e.token.issuer.tenant
	switch {
	case same && (named == x.family || named == &workforce && x.family == &externalID):
		return sameHome // an external tenant's other door is where workforce tenants are
	case named == x.family:
		return sameFamily
	case same:
		return sameTenant
	}
	return far
}

// nearest is the first entry of a policy that accepts the token's issuer, else the one
// that it is the nearest to.
func (e *evidence) nearest(policy string) (found *entry, best nearness) {
	for _, x := range e.verifier.entries {
		if set := x.keys.current(e.now); set != nil && x.isOf(policy) && set.accepts(e.token.iss) {
			return x, accepted
		}
	}
	named, plainIss := e.token.issuer.named(), plain(e.token.iss)
	for _, x := range e.verifier.entries {
		if n := e.near(x, named, plainIss); x.isOf(policy) && (found == nil || n > best) {
			found, best = x, n
		}
	}
	return found, best
}

// find says whose token it is, from what has been read so far: the entry that its
// issuer is the nearest to, among those of B2C the one of its policy. It waits for
// nothing.
func (e *evidence) find() nearness {
	home, best := e.nearest("")
	e.home, e.entry = home, home
	if home.byPolicy {
		e.entry = nil
		if e.agree && e.policy != "" {
			if e.entry, _ = e.nearest(e.policy); e.entry != nil {
				e.home = e.entry
			}
		}
	}
	return best
}

// load gets the keys, waiting for them where it makes sense. An entry whose metadata was
// never read may be the token's, so it is waited for; while it cannot be read, there are
// no keys.
func (e *evidence) load(ctx context.Context) {
	if e.entry == nil {
		return
	}
	if e.entry.keys.current(e.now) == nil && !e.awaitMetadata(ctx) {
		e.keyError = errNeverRead
		return
	}
	e.keys = e.home.keys.current(e.now)
	if e.keys == nil || e.keys.has(e.token.kid) {
		return
	}
	if e.entry == nil || !e.keys.accepts(e.token.iss) {
		// The token is refused for its issuer; no stranger's token starts a fetch.
		e.keyError = e.home.keys.lastError()
		return
	}
	set, err := e.entry.keys.find(ctx, e.token.kid)
	if err != nil {
		e.keyError = err
		return
	}
	e.keys = set
}

// awaitMetadata waits until an entry has been read that the token may belong to. It
// reports false if that took too long.
func (e *evidence) awaitMetadata(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, waitAtMost)
	defer cancel()
	for e.entry != nil && e.entry.keys.current(e.now) == nil {
		read := e.entry.keys.ready(ctx, e.now) != nil
		e.find() // what was read, this or another, may be the token's or not
		if !read {
			break
		}
	}
	return e.entry == nil || e.entry.keys.current(e.now) != nil
}

// verify checks the signature, with the entry's own keys.
func (e *evidence) verify() {
	if e.entry != nil && e.keys != nil && e.keyError == nil {
		e.verified, e.hash = verifySignature(e.keys.keys[e.token.kid], e.raw, &e.token)
	}
}

// readable reports whether there is a token that could be read.
func (e *evidence) readable() bool { return e.shape == sound && !e.wrongType() }

// wrongType reports whether a claim has a type that no token of the families has in it.
// Tokens of others may.
func (e *evidence) wrongType() bool {
	return e.shape == sound && e.token.fault != (fault{}) && e.kind == ourKind
}

// trusted is the entry that the token must fit: its own, else the nearest, to explain by.
func (e *evidence) trusted() *entry {
	switch {
	case e.entry != nil:
		return e.entry
	case e.home != nil:
		return e.home
	default:
		return e.verifier.entries[0]
	}
}

// subject is who the token is about, or empty.
func (e *evidence) subject() string {
	if !e.trusted().byPolicy {
		return objectID(e.token.oid)
	}
	id := identifier(e.token.oid)
	if id == "" {
		id = identifier(e.token.sub)
	}
	return id
}

// noGUID is a GUID that stands for none.
const noGUID = "00000000-0000-0000-0000-000000000000"

// scopeless reports whether no scope was granted at all. Entra's families may write a
// slash then.
func (e *evidence) scopeless() bool {
	scp := strings.Trim(e.token.scp, " ")
	return scp == "" || scp == "/" && !e.trusted().byPolicy
}

// application reports whether a program signed in as itself, by signs that are certain.
// B2C's tokens have none, and an ID token is a user's.
func (e *evidence) application() bool {
	t := &e.token
	return !e.trusted().byPolicy && !e.isIDToken() &&
		(t.idtyp == "app" || e.scopeless() && !t.signInMark && t.oid != "" && t.oid == t.sub)
}

// grants reports whether a user granted a scope, or a program has the app role of that
// name. The roles of users stand for nothing, nor do those of a token that a client got
// at a sign-in.
func (e *evidence) grants(scope string) bool {
	if e.application() {
		return !e.token.signInMark && slices.Contains(e.token.roles, scope)
	}
	return e.token.grants(scope)
}

// granted are the scopes and roles that e.grants, by their names.
func (e *evidence) granted() []string {
	x := e.trusted()
	granted := make([]string, 0, len(x.names))
	for _, name := range x.names {
		if e.grants(x.scopes[name]) {
			granted = append(granted, name)
		}
	}
	return granted
}

// missing is the first scope that is needed and not granted, as the token would spell
// it, or empty.
func (e *evidence) missing() string {
	for _, n := range e.needs {
		if scope := e.trusted().scopes[n.scope]; !e.grants(scope) {
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
	if e.application() {
		return e.trusted().programScope()
	}
	return e.userScope()
}

// userScope is what a client asks for in the name of a user.
func (e *evidence) userScope() string {
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
		Expires: time.Unix(e.token.exp.at, 0), Application: e.application(),
	}
	if c.Application {
		c.Roles = e.granted()
		return c
	}
	c.Scopes = e.granted()
	if former := e.formerSubject(); former != "" {
		c.Tenant, c.Subject, c.Former = x.formerTenant, former, true
	}
	return c
}

// formerSubject is the ID that a user had in the tenant that they were moved from, or
// empty. Only tokens of the entry that was configured so are asked.
func (e *evidence) formerSubject() string {
	return objectID(e.token.more[e.entry.formerClaim])
}

// objectID is a GUID in lower case, or empty where id is none, or that of nobody.
func objectID(id string) string {
	if id = strings.ToLower(id); isGUID(id) && id != noGUID {
		return id
	}
	return ""
}

// named puts those settings that have a name into brackets, behind what they mean.
func named(settings ...string) string {
	given := slices.DeleteFunc(settings, func(s string) bool { return s == "" })
	if len(given) == 0 {
		return ""
	}
	return " (" + strings.Join(given, ", ") + ")"
}
