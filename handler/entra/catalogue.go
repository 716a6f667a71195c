package entra

// Group is a part of the catalogue: the rules that are tried on the same evidence.
type Group int

// The groups, in the order in which they are tried.
const (
	GroupRequest  Group = iota // what stands where the token should be
	GroupForm                  // whether it is a token, and can be read
	GroupKind                  // whose token it is, and what for
	GroupHeader                // how it is signed
	GroupFamily                // which policy or tenant issued it
	GroupKeys                  // whether that one's keys are at hand
	GroupIssuer                // iss
	GroupKey                   // the key and the signature
	GroupAudience              // aud
	GroupTime                  // exp, nbf and iat
	GroupCaller                // who the user and the client are
	GroupScope                 // scp
)

// String is the group's name in one word.
func (g Group) String() string {
	return [...]string{
		"request", "form", "kind", "header", "family", "keys", "issuer", "key", "audience", "time", "caller", "scope",
	}[g]
}

// catalogue is every refusal, in the order in which they are tried. Adding a code is
// adding a row to its group's table: request and form are in catalogue_request.go, kind
// and header in catalogue_kind.go, family to key in catalogue_issuer.go, audience to scope
// in catalogue_grant.go.
var catalogue = [...][]rule{
	GroupRequest:  requestRules,
	GroupForm:     formRules,
	GroupKind:     kindRules,
	GroupHeader:   headerRules,
	GroupFamily:   familyRules,
	GroupKeys:     keysRules,
	GroupIssuer:   issuerRules,
	GroupKey:      keyRules,
	GroupAudience: audienceRules,
	GroupTime:     timeRules,
	GroupCaller:   callerRules,
	GroupScope:    scopeRules,
}

// rule is one way to be refused. A rule is told from others by its address.
type rule struct {
	code   string
	status int
	title  string
	// description is the challenge's error_description (RFC 6750, section 3). It is
	// ASCII without quotes, and has nothing of the token. Without one the challenge has
	// neither error nor description.
	description string
	// hides are groups in which whatever else is wrong follows from this.
	hides []Group
	// applies looks at the evidence and does nothing else.
	applies func(*evidence) bool
	// explain says what was found and how to fix it.
	explain func(*evidence) (detail, fix string)
	// expected and actual are what to show beside each other.
	expected, actual []claim
}

// claim is a member of a token's header or payload that an answer may show. None of
// them names a person.
type claim string

const (
	claimAlg   claim = "alg"
	claimKid   claim = "kid"
	claimTyp   claim = "typ"
	claimIss   claim = "iss"
	claimAud   claim = "aud"
	claimAzp   claim = "azp"
	claimAppid claim = "appid"
	claimTid   claim = "tid"
	claimIdtyp claim = "idtyp"
	claimTfp   claim = "tfp"
	claimAcr   claim = "acr"
	claimScp   claim = "scp"
	claimRoles claim = "roles"
	claimVer   claim = "ver"
	claimExp   claim = "exp"
	claimNbf   claim = "nbf"
	claimIat   claim = "iat"
)

const portal = "Portal: App registrations > "
