package server_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/server"
)

var update = flag.Bool("update", false, "write testdata/refusals.json and docs/refusals.md")

// What depends on the clock: instants, and how far away they are.
var timeOfDay = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\d+h\d+m\d+s|\d+m\d+s`)

// refused is what a client sees of a refusal, but for the words.
type refused struct {
	Code       string         `json:"code"`
	Status     int            `json:"status"`
	Challenge  string         `json:"challenge,omitempty"`
	RetryAfter string         `json:"retryAfter,omitempty"`
	Verified   bool           `json:"verified"`
	Expected   map[string]any `json:"expected,omitempty"`
	Actual     map[string]any `json:"actual,omitempty"`
	Also       []string       `json:"also,omitempty"`
	Title      string         `json:"title"`
	Detail     string         `json:"detail"`
	Fix        string         `json:"fix"`
}

// TestRefusals causes each code with the stand-in's broken token or request, and
// holds the answer against testdata/refusals.json, and docs/refusals.md against the
// answers: go test ./handler/server -run TestRefusals -update writes both.
func TestRefusals(t *testing.T) {
	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	defer tenant.Close()
	worlds := refusing(t, tenant, nil)
	var got []refused
	for _, code := range entra.Codes() {
		broken, err := tenant.Broken(code)
		require.NoError(t, err)
		w := worlds[special{broken.Untrusted, broken.Applications}]
		if broken.NeedsFault {
			// The keys are known before the endpoint fails.
			known, err := tenant.AccessToken(entratest.TokenRequest{Policy: entratest.PolicyROPC})
			require.NoError(t, err)
			require.Equal(t, 200, w.send(t, "GET", "/api/items", known, "").StatusCode)
			defer tenant.Inject(broken.Fault)()
		}
		r := do(t, brokenRequest(t, w, broken))
		var answer struct {
			Type, Title, Code, Detail, Fix, Instance string
			Status, RetryAfter                       int
			Expected, Actual                         map[string]any
			Verified                                 *bool
			Also                                     []string
		}
		decoder := json.NewDecoder(strings.NewReader(string(r.body)))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&answer), "%s", r.body)
		require.Equal(t, code, answer.Code, "%s", r.body)
		require.Equal(t, "urn:itemsapi:problem:"+code, answer.Type)
		require.Equal(t, r.StatusCode, answer.Status)
		require.NotNil(t, answer.Verified)
		require.NotEmpty(t, answer.Detail, code)
		require.NotEmpty(t, answer.Fix, code)
		require.Equal(t, isASCII(r.Header.Get("WWW-Authenticate")), true)
		for _, name := range []string{"kid", "exp", "nbf", "iat"} { // new each time
			if _, ok := answer.Actual[name]; ok {
				answer.Actual[name] = "{" + name + "}"
			}
		}
		got = append(got, refused{
			Code: code, Status: r.StatusCode, Challenge: r.Header.Get("WWW-Authenticate"), RetryAfter: r.Header.Get("Retry-After"), Verified: *answer.Verified,
			Expected: answer.Expected, Actual: answer.Actual, Also: answer.Also, Title: answer.Title, Detail: answer.Detail, Fix: answer.Fix,
		})
	}
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	require.NoError(t, encoder.Encode(got))
	text := strings.ReplaceAll(b.String(), strings.TrimPrefix(tenant.URL(), "http://"), "localhost:9911")
	text = timeOfDay.ReplaceAllString(text, "{time}")

	holds(t, filepath.Join("testdata", "refusals.json"), text)
	var answers []refused
	require.NoError(t, json.Unmarshal([]byte(text), &answers))
	holds(t, filepath.Join("..", "..", "docs", "refusals.md"), document(answers))
}

// trustingAllBut is how an API is configured that belongs to the tenants of all families
// but one, as main does it.
func trustingAllBut(tenant *entratest.Server, untrusted entratest.Family) entra.Config {
	c := trusting(tenant)
	c.Hints.Applications = config.ApplicationsName
	c.Hints.ExternalID, c.Hints.Workforce = entra.Settings(config.ExternalNames), entra.Settings(config.EntraNames)
	external, workforce := entra.ExternalID(entratest.ExternalTenantName), entra.Workforce(entratest.WorkforceTenantDomain)
	external.Audience, workforce.Audience = entratest.ExternalAPIClientID, entratest.WorkforceAPIClientID
	external.AppIDURI, workforce.AppIDURI = entratest.ExternalAppIDURI, entratest.WorkforceAppIDURI
	external.Clients = []string{entratest.ExternalClientID, entratest.ExternalDaemonID}
	workforce.Clients = []string{entratest.WorkforceClientID, entratest.WorkforceDaemonID}
	external.MetadataURL = tenant.MetadataTemplateOf(entratest.External)
	workforce.MetadataURL = tenant.MetadataTemplateOf(entratest.Workforce)
	external.Scopes, workforce.Scopes = c.Trust[0].Scopes, c.Trust[0].Scopes
	c.Trust = slices.DeleteFunc(append(c.Trust, external, workforce), func(x entra.Trust) bool {
		return x.Family() == entra.Family(untrusted)
	})
	return c
}

// special is what an API has to be like for some of the codes.
type special struct {
	untrusted    entratest.Family
	applications bool // are admitted
}

// refusing are APIs of all kinds that the codes need. They log to log, if it is not nil.
func refusing(t *testing.T, tenant *entratest.Server, log *slog.Logger) map[special]*world {
	worlds := map[special]*world{}
	for _, is := range []special{{}, {untrusted: entratest.B2C}, {untrusted: entratest.External}, {applications: true}} {
		c := trustingAllBut(tenant, is.untrusted)
		c.Applications, c.Log = is.applications, log
		verifier, err := entra.New(t.Context(), c)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return verifier.Ready() == nil }, 20*time.Second, 10*time.Millisecond)
		worlds[is] = newWorld(t, func(c *server.Config) { c.Verify, c.Log = verifier.Verify, cmp.Or(log, c.Log) })
	}
	return worlds
}

// brokenRequest is the one that is refused with a code.
func brokenRequest(t *testing.T, w *world, broken entratest.Broken) *http.Request {
	path := "/api/items"
	if broken.Query != "" {
		path += "?" + broken.Query
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+path, nil)
	require.NoError(t, err)
	for i, arg := range broken.Curl {
		if arg == "-H" {
			name, value, _ := strings.Cut(broken.Curl[i+1], ":")
			if value = strings.TrimSpace(value); value != "" {
				req.Header.Add(name, value)
			}
		}
	}
	return req
}

// holds compares a file with what it should be, and writes it with -update.
func holds(t *testing.T, name, text string) {
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, string(want), text, "go test ./handler/server -run TestRefusals -update writes it")
}

// document is docs/refusals.md.
func document(answers []refused) string {
	var b strings.Builder
	b.WriteString(`# Refusals

What the API answers when it does not accept a token, and how to fix it. The codes are
in the order in which they are tried: the first that applies is ` + "`code`" + `, and ` + "`also`" + ` lists
what else is wrong with the same token. Statuses and codes do not change; the sentences
below are examples, those of the local world, and depend on the token at hand. The local
world trusts a tenant of each family, so it never answers ` + "`token.external_id`" + ` and
` + "`token.b2c`" + `: an API does that does not trust the family. It refuses programs that sign in as
themselves; one that admits them (` + "`APPLICATIONS=accept`" + `) answers ` + "`role.missing`" + ` where the
local world answers ` + "`caller.application`" + `.

This page is written by ` + "`go test ./handler/server -run TestRefusals -update`" + `. To see an
answer: ` + "`go run ./scripts/dev token -broken CODE`" + ` prints a token that is refused with it.

| code | status | what it means |
|---|---|---|
`)
	for _, a := range answers {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %d | %s |\n", a.Code, strings.ReplaceAll(a.Code, ".", ""), a.Status, a.Title)
	}
	prose := strings.NewReplacer("{time}", "…", "<", "&lt;")
	for _, a := range answers {
		fmt.Fprintf(&b, "\n## `%s`\n\n%d: %s.\n\n", a.Code, a.Status, a.Title)
		fmt.Fprintf(&b, "- What was found: %s\n- Fix: %s\n", prose.Replace(a.Detail), prose.Replace(a.Fix))
		if a.Challenge == "" {
			b.WriteString("- Challenge: none, as the token may be good\n")
		} else {
			fmt.Fprintf(&b, "- Challenge: `%s`\n", a.Challenge)
		}
		if a.RetryAfter != "" {
			fmt.Fprintf(&b, "- `Retry-After: %s`\n", a.RetryAfter)
		}
	}
	return b.String()
}

func isASCII(s string) bool {
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			return false
		}
	}
	return true
}
