package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// reportedCase is something that people had in hand, by a public report or a documented
// form, and what doctor has to make of it. match and not are regular expressions for the
// output, of which each check is one line, its spaces single.
type reportedCase struct {
	Name, Kind, About, Source string
	Text                      string
	Settings                  map[string]string
	Args                      []string
	Answer                    struct {
		Status  int
		Headers map[string]string
		Body    string
	}
	Exit       []int
	Match, Not []string
}

func TestReported(t *testing.T) {
	b, err := os.ReadFile("testdata/reported.json")
	require.NoError(t, err)
	var cases []reportedCase
	require.NoError(t, json.Unmarshal(b, &cases))
	require.Greater(t, len(cases), 50)
	base := newWorld(t)
	base.env["B2C_POLICIES"] = "B2C_1_signupsignin,B2C_1_ropc"
	id, err := base.tenant.IDToken(entratest.TokenRequest{})
	require.NoError(t, err)
	for _, c := range cases {
		if c.Kind == "run-now" {
			continue // scripts/run-now has them
		}
		t.Run(c.Name, func(t *testing.T) {
			w := *base
			w.env = maps.Clone(base.env)
			if c.Kind == "authorize" {
				delete(w.env, "B2C_METADATA_URL")
			}
			for name, value := range c.Settings {
				w.env[name] = strings.NewReplacer("@METADATA/tfp", base.tenant.URL()+"/tfp", "@TID", entratest.TenantID).Replace(value)
			}
			args := []string{"-token", "-"}
			switch c.Kind {
			case "settings":
				args = nil
			case "answer":
				s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
					for name, value := range c.Answer.Headers {
						rw.Header().Set(name, value)
					}
					rw.WriteHeader(c.Answer.Status)
					_, _ = rw.Write([]byte(c.Answer.Body))
				}))
				defer s.Close()
				args = []string{"-url", s.URL}
			default:
				w.stdin = strings.ReplaceAll(c.Text, "@IDTOKEN", id)
			}
			stdout, stderr, status := w.run(t, args...)
			require.Empty(t, stderr)
			lines := checkLines(stdout)
			require.Contains(t, c.Exit, status, lines)
			for _, match := range c.Match {
				require.Regexp(t, match, lines)
			}
			for _, not := range c.Not {
				require.NotRegexp(t, not, lines)
			}
		})
	}
}

// checkLines makes one line of each check.
func checkLines(stdout string) string {
	return regexp.MustCompile(`[ \t]+`).ReplaceAllString(regexp.MustCompile(`\n[ \t]+`).ReplaceAllString(stdout, " "), " ")
}

// What tokens were said to be that they are not: nothing is added to a list of clients for a
// token that names none, and a program is not called a user.
func TestReportedTokens(t *testing.T) {
	w := newWorld(t)
	sign := func(changes map[string]any) string {
		claims := w.tenant.Claims(entratest.TokenRequest{})
		for name, value := range changes {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		return w.tenant.Sign(entratest.PolicySignUpSignIn, nil, claims)
	}
	id, err := w.tenant.IDToken(entratest.TokenRequest{})
	require.NoError(t, err)
	many := map[string]any{}
	for i := range 60 {
		many[fmt.Sprintf("extension_Attr%02d", i)] = "abc"
	}
	for _, tt := range []struct {
		name, token string
		status      int
		match, not  string
	}{
		{"no azp", sign(map[string]any{"azp": nil}), 1, `azp\.not_allowed`, "client absent|add this one"},
		{"no azp, no scp, for the client", sign(map[string]any{"azp": nil, "scp": nil, "aud": entratest.ClientID}), 1, "b2capi/read", "client absent"},
		{"an ID token", id, 1, `token\.id_token`, `azp\.not_allowed|client absent`},
		{"60 custom attributes", sign(many), 0, "Nothing failed", "(?m)^FAIL "},
		{"a program by its app role", sign(map[string]any{"scp": "Items.All", "tfp": "B2C_1_signupsignin", "oid": nil}), 1, "app roles?", `(?m)^\w+ token, caller a user(,| with)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := *w
			w.stdin = "Authorization: Bearer " + tt.token
			stdout, _, status := w.run(t, "-token", "-")
			lines := checkLines(stdout)
			require.Equal(t, tt.status, status, lines)
			require.Regexp(t, tt.match, lines)
			require.NotRegexp(t, tt.not, lines)
		})
	}
}
