package entra

import (
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Problem is a problem document (RFC 9457) on its way out. [Verifier.Require] answers
// with the one of the refusal; an API that answers its own errors with others has them
// all look alike.
type Problem struct {
	Type     string         `json:"type"` // see [ProblemType]
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Code     string         `json:"code"`
	Detail   string         `json:"detail,omitzero"`
	Expected map[string]any `json:"expected,omitzero"` // by claim or member of the header
	Actual   map[string]any `json:"actual,omitzero"`
	Fix      string         `json:"fix,omitzero"`
	Verified *bool          `json:"verified,omitzero"` // whether the signature had been checked by then
	Also     []string       `json:"also,omitzero"`     // further codes that the same token would get
	// RetryAfter is in seconds. It stands in the body too, as a browser cannot read the
	// header across origins.
	RetryAfter int    `json:"retryAfter,omitzero"`
	Instance   string `json:"instance,omitzero"`
	// More are members of the API's own (RFC 9457, section 3.2).
	More map[string]any `json:",embed"`

	// Header has what the answer's header has besides, such as WWW-Authenticate.
	Header http.Header `json:"-"`
}

// ProblemType is the type of the problems with a code: urn:{realm}:problem:{code}.
func ProblemType(realm, code string) string { return "urn:" + realm + ":problem:" + code }

// Answer is the whole answer of HTTP. A problem that has no status of an error, or that
// cannot be written, becomes a 500.
func (p *Problem) Answer() (status int, header http.Header, body []byte) {
	body, err := json.Marshal(p, json.Deterministic(true))
	if err != nil || p.Status < 400 || p.Status > 599 {
		urn, _, _ := strings.Cut(p.Type, ":problem:")
		internal := internalError(strings.TrimPrefix(urn, "urn:"))
		internal.Instance = p.Instance
		return internal.Answer()
	}
	header = http.Header{
		"Content-Type":           {"application/problem+json"},
		"Cache-Control":          {"no-store"},
		"X-Content-Type-Options": {"nosniff"},
	}
	maps.Copy(header, p.Header)
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	return p.Status, header, append(body, '\n')
}

// internalError is all that a caller is told of a fault of the API.
func internalError(realm string) *Problem {
	return &Problem{
		Type: ProblemType(realm, "internal"), Title: "Internal error", Status: http.StatusInternalServerError,
		Code: "internal",
	}
}

// Problem is the refusal as an answer, with its challenge. Unless Config.CodesOnly is
// set it has the explanation.
func (r *Refusal) Problem() *Problem {
	v := r.evidence.verifier
	p := &Problem{
		Type: ProblemType(v.realm, r.Code), Title: r.Title, Status: r.Status, Code: r.Code,
		RetryAfter: int((r.RetryAfter + time.Second - 1) / time.Second), Header: http.Header{},
	}
	if challenge := r.Challenge(); challenge != "" {
		p.Header.Set("Www-Authenticate", challenge) // spelt as Set would have to make it
	}
	if !v.codesOnly {
		x := r.Explain()
		p.Detail, p.Expected, p.Actual, p.Fix, p.Also = x.Detail, x.Expected, x.Actual, x.Fix, x.Also
		p.Verified = &r.Verified
	}
	return p
}
