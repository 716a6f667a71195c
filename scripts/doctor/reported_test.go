package main

import (
	"encoding/json"
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
