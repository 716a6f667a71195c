package entra

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unsafe"
)

// maxToken is the longest token that is looked at, in bytes. Most have some 900;
// 200 groups, the most that Entra ID puts into one, make 12,000.
const maxToken = 16 << 10

// maxKeyID is the longest key ID, in bytes. B2C's have 43, Entra's 27.
const maxKeyID = 256

// token is a compact JWS (RFC 7515, section 3.1) as the one strict reading of
// its bytes left it. Nothing in it is proven until its signature is.
type token struct {
	signed    string // what the signature is over
	signature []byte
	fault     fault // why it cannot be read, or a claim of the wrong type

	// The header.
	alg, kid, typ string
	badAlg        bool // alg is missing or not a string
	badHeader     bool // crit, a key or a key's address, or members that no access token of B2C has
	headerNonce   bool // Microsoft Graph's tokens have one

	// The claims. A string is empty where the claim is absent.
	iss, aud, azp, tfp, acr, scp, ver, oid, sub string
	tid, appid, idtyp                           string // empty, too, where they are no strings
	roles                                       []string
	asked                                       []string          // names of claims to read besides
	more                                        map[string]string // those of them that are there and strings
	issuer                                      issuerParts
	hasScp, hasTid                              bool
	hasScope                                    bool // scope, which access tokens of others have
	signInMark                                  bool // at_hash, c_hash, auth_time or nonce
	exp, nbf, iat                               seconds
}

// fault says what about a token's bytes makes it unreadable, and how to fix it.
type fault struct{ detail, fix string }

func cutFault(detail string) fault {
	return fault{detail, "Send the token exactly as it was issued: whole, without quotes, line breaks or padding. " +
		"Terminals and tools cut long lines."}
}

func scanFault(part string, err error) fault {
	if err == errDepth {
		return fault{
			part + " is " + err.Error() + ".",
			"Have whatever adds that value write it flatter, or leave it out of the token.",
		}
	}
	return cutFault(part + " is " + err.Error() + ".")
}

// seconds is a NumericDate (RFC 7519, section 2), of which only whole numbers
// of at most 12 digits are taken.
type seconds struct {
	at             int64
	present, valid bool
}

// parse reads raw once, and with it the claims that are asked for besides the token's own.
// Where the shape is not sound, it says why raw is not a token.
func (t *token) parse(raw string, asked ...string) shape {
	t.asked = asked
	if len(raw) > maxToken {
		return tooLarge
	}
	if strings.HasPrefix(raw, "0.A") || strings.HasPrefix(raw, "1.A") {
		return codeOrRefresh // as Entra writes them, with any number of dots
	}
	switch parts := strings.Count(raw, ".") + 1; {
	case parts == 3:
	case parts == 5:
		return t.sealedShape(raw)
	case parts < 3 && strings.HasPrefix(raw, "eyJ"):
		t.fault = cutFault(fmt.Sprintf("The token has only %d of its three parts.", parts))
		return unreadable
	default:
		return opaque
	}
	if broken := t.read(raw); broken {
		t.signed = ""
		return unreadable
	}
	t.issuer = splitIssuer(t.iss)
	if strings.EqualFold(t.typ, "pop") {
		return signedRequest
	}
	return sound
}

// sealedShape says what five parts are (JWE, RFC 7516): B2C's codes and refresh tokens
// are told by their header, which names no encryption.
func (t *token) sealedShape(raw string) shape {
	header, _, _ := strings.Cut(raw, ".")
	b, err := decodeSegment(nil, header)
	has := func(name string) bool { return bytes.Contains(b, []byte(name)) }
	switch {
	case err == nil && (has(`"cpimcore_`) || has(`"zip"`) && has(`"ser"`)):
		return codeOrRefresh
	case err == nil && has(`"enc"`):
		return encrypted
	}
	t.fault = cutFault("The token has five parts, as an encrypted one has, but the first does not say how it is " +
		"encrypted.")
	return unreadable
}

// read takes the three parts of a compact JWS apart. It reports whether they cannot be
// read; a claim of the wrong type alone is noted in fault.
func (t *token) read(raw string) (broken bool) {
	fail := func(f fault) bool { t.fault = f; return true }
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	decoded, err := decodeSegment(make([]byte, 0, strict.DecodedLen(len(header)+len(payload))), header)
	if err != nil {
		return fail(cutFault("The token's header is not base64url without padding."))
	}
	n := len(decoded)
	if decoded, err = decodeSegment(decoded, payload); err != nil {
		return fail(cutFault("The token's payload is not base64url without padding."))
	}
	if t.signature, err = decodeSegment(nil, signature); err != nil {
		return fail(cutFault("The token's signature is not base64url without padding."))
	}
	t.signed = raw[:len(header)+1+len(payload)]
	text := unsafe.String(unsafe.SliceData(decoded), len(decoded)) // nothing changes decoded any more

	t.badAlg = true
	if err := scanObject(text[:n], t.headerMember); err != nil {
		return fail(scanFault("The token's header", err))
	}
	if t.kid == "" || len(t.kid) > maxKeyID {
		t.badHeader = true
	}
	if !strings.EqualFold(t.typ, "JWT") && !strings.EqualFold(t.typ, "at+jwt") {
		t.badHeader = true
	}
	wrong := ""
	if err := scanObject(text[n:], func(name string, v value) {
		if !t.claim(name, v) && wrong == "" {
			wrong = name
		}
	}); err != nil {
		return fail(scanFault("The token's payload", err))
	}
	if wrong != "" {
		t.fault = fault{
			"The claim " + wrong + " is not a string.",
			"Send an access token of the tenant's own sign-in; it has strings there. If it is one, fix what writes " +
				wrong + ".",
		}
	}
	return false
}

// headerMember takes a member of the header. It ignores what it has no use for,
// except for what changes how a token is to be read (RFC 7515, sections 4.1.2 to
// 4.1.6 and 4.1.11; RFC 7797).
func (t *token) headerMember(name string, v value) {
	switch name {
	case "alg":
		t.alg, t.badAlg = v.string(), v.kind != '"'
	case "kid":
		t.kid = v.string()
	case "typ":
		t.typ = v.string()
	case "crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c":
		t.badHeader = true
	case "nonce":
		t.headerNonce = true
	}
}

// claim takes a claim and reports whether its type is right. The times have a
// code of their own for that.
func (t *token) claim(name string, v value) bool {
	var field *string
	switch name {
	case "iss":
		field = &t.iss
	case "aud":
		field = &t.aud
	case "azp":
		field = &t.azp
	case "tfp":
		field = &t.tfp
	case "acr":
		field = &t.acr
	case "scp":
		field, t.hasScp = &t.scp, true
	case "ver":
		field = &t.ver
	case "oid":
		field = &t.oid
	case "sub":
		field = &t.sub
	case "exp":
		t.exp = numericDate(v)
		return true
	case "nbf":
		t.nbf = numericDate(v)
		return true
	case "iat":
		t.iat = numericDate(v)
		return true
	case "tid":
		t.tid, t.hasTid = v.string(), true
		return true
	case "appid":
		t.appid = v.string()
		return true
	case "idtyp":
		t.idtyp = v.string()
		return true
	case "roles":
		t.roles = v.strings()
		return true
	case "scope":
		t.hasScope = true
		return true
	case "at_hash", "c_hash", "auth_time", "nonce":
		t.signInMark = true
		return true
	default:
		if v.kind == '"' && slices.Contains(t.asked, name) {
			if t.more == nil {
				t.more = map[string]string{}
			}
			t.more[name] = unescape(v.text)
		}
		return true
	}
	if v.kind != '"' {
		return false
	}
	*field = unescape(v.text)
	return true
}

// string is the value of a string, or empty.
func (v value) string() string {
	if v.kind != '"' {
		return ""
	}
	return unescape(v.text)
}

// strings is the value of a list of strings alone, or nil.
func (v value) strings() (list []string) {
	if v.kind != '[' {
		return nil
	}
	s := scanner{data: v.text, pos: 1}
	for {
		one, ok := s.value(1)
		if s.space(); !ok || one.kind != '"' {
			return nil
		}
		if list = append(list, unescape(one.text)); !s.take(',') {
			return list
		}
	}
}

// from is when the token becomes valid, or 0 where it does not say.
func (t *token) from() (at int64) {
	for _, s := range [...]seconds{t.nbf, t.iat} {
		if s.valid {
			at = max(at, s.at)
		}
	}
	return at
}

func numericDate(v value) seconds {
	s := seconds{present: true}
	if v.kind != '0' || len(v.text) > 12 {
		return s
	}
	for _, c := range []byte(v.text) {
		if c < '0' || c > '9' {
			return s
		}
		s.at = s.at*10 + int64(c-'0')
	}
	s.valid = s.at > 0
	return s
}

var strict = base64.RawURLEncoding.Strict()

// decodeSegment appends one part of a compact JWS to dst, decoded:
// base64url without padding (RFC 7515, section 2), no other spelling of the
// same bytes.
func decodeSegment(dst []byte, segment string) ([]byte, error) {
	out, err := strict.AppendDecode(dst, bytesOf(segment))
	if err == nil && len(out)-len(dst) != strict.DecodedLen(len(segment)) {
		// encoding/base64 has skipped line ends; RFC 4648, section 3.3, lets us refuse.
		err = base64.CorruptInputError(0)
	}
	return out, err
}

// policy is the policy that issued the token by its own word, tfp or else acr, and
// whether all places that name one agree without regard to ASCII case. An issuer of the
// tfp form is such a place. An acr that is something else, such as a level of
// assurance, is none.
func (t *token) policy() (name string, agree bool) {
	acr := t.acr
	if !looksLikePolicy(acr) {
		acr = ""
	}
	name = t.tfp
	if name == "" {
		name = acr
	}
	for _, other := range [...]string{acr, t.issuer.policy} {
		if name != "" && other != "" && !equalFoldASCII(name, other) {
			return name, false
		}
	}
	return name, true
}

func looksLikePolicy(s string) bool {
	return len(s) > 6 && equalFoldASCII(s[:6], "B2C_1_") || len(s) > 7 && equalFoldASCII(s[:7], "B2C_1A_")
}

// identifier is a claim that names a user, in lower case. B2C's sentence in place of an
// identifier counts as none.
func identifier(claim string) string {
	id := strings.ToLower(strings.TrimSpace(claim))
	if id == "not supported currently. use oid claim." {
		return ""
	}
	return id
}

// grants reports whether scp, a list that only spaces separate, has scope.
func (t *token) grants(scope string) bool {
	for granted := range strings.SplitSeq(t.scp, " ") {
		if granted == scope && scope != "" {
			return true
		}
	}
	return false
}
