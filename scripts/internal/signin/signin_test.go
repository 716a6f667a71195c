package signin_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/scripts/internal/signin"
)

func TestErrors(t *testing.T) {
	var codes []string
	for _, e := range signin.Errors() {
		require.Contains(t, []string{"b2c", "entra", "msal", "oauth", "dotnet", "browser"}, e.From, e.Code)
		form := map[string]string{
			"b2c": `^AADB2C([0-9]{5})?$`, "entra": `^AADSTS[0-9]{5,7}$`, "msal": `^[a-z]+(_[a-z]+)+$`, "oauth": `^[a-z]+(_[a-z]+)+$`,
			"dotnet": `^ID[XW][0-9]{5}$`, "browser": `^browser\.[a-z_]+$`,
		}
		require.Regexp(t, form[e.From], e.Code)
		for _, sentence := range []string{e.Meaning, e.Cause, e.Fix} {
			require.Regexp(t, `^[\w].*\.$`, sentence, e.Code)
			require.NotRegexp(t, `  |\.\.$`, sentence, e.Code)
			require.Equal(t, strings.Count(sentence, "("), strings.Count(sentence, ")"), "%s: %s", e.Code, sentence)
		}
		for _, says := range e.Says {
			require.Equal(t, []signin.Error{e}, signin.Find("x "+says+" y"), says)
		}
		codes = append(codes, e.Code)
	}
	slices.Sort(codes)
	require.Len(t, slices.Compact(slices.Clone(codes)), len(codes), "each code once")

	signin.Errors()[0].Code = "changed"
	require.NotEqual(t, "changed", signin.Errors()[0].Code, "callers get a copy")
}

// Whatever the stand-in can answer with is explained.
func TestErrorsCoverTheStandIn(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "handler", "entra", "entratest", "*.go"))
	require.NoError(t, err)
	emitted := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, code := range regexp.MustCompile(`AADB2C\d+`).FindAllString(string(source), -1) {
			emitted[code] = true
		}
	}
	require.Greater(t, len(emitted), 30, "the stand-in's codes were not found")
	for code := range emitted {
		found := signin.Find(code)
		require.Len(t, found, 1, code)
		require.True(t, found[0].Explained(), code)
	}
}

func TestFind(t *testing.T) {
	const description = "AADB2C90117: The scope 'read' provided in the request is not supported.\r\nCorrelation " +
		"ID: 4a1c\r\nTimestamp: 2026-11-24 12:00:00Z\r\n"
	for _, tt := range []struct{ name, text, code string }{
		{"a description", description, "AADB2C90117"},
		{
			"a fragment as the browser shows it",
			"https://jwt.ms/#error=invalid_request&error_description=" + url.QueryEscape(description), "AADB2C90117",
		},
		{"encoded twice", url.QueryEscape(url.QueryEscape(description)), "AADB2C90117"},
		{"every character encoded", "%41%41%44%42%32%43%39%30%31%31%37", "AADB2C90117"},
		{"after a line end, encoded", "x%0AAADB2C90117", "AADB2C90117"},
		{"in lower case", "login failed: aadb2c90091", "AADB2C90091"},
		{"a log line with a bare percent sign", `level=error msg="100% AADB2C90205: no permission"`, "AADB2C90205"},
		{"the first of two", "AADB2C90091 after AADB2C90117", "AADB2C90091"},
		{"after something that only looks like one", "AADB2C9 AADB2C901171 AADB2C90006", "AADB2C90006"},
		{"at the very end", "AADB2C90006", "AADB2C90006"},
		{"Entra's", "AADSTS9002326: Cross-origin token redemption", "AADSTS9002326"},
		{"behind B2C's, the provider's", "AADB2C90273: 'Error: invalid_client, AADSTS7000222'", "AADB2C90273"},
		{"the policy's REST API", "error_description=AADB2C%3a+No+such+number.%0d%0a", "AADB2C"},
		{"MSAL's, the innermost", "ClientAuthError: endpoints_resolution_error: Detail: ClientConfigurationError: untrusted_authority: x", "untrusted_authority"},
		{"the sign-in's in MSAL's", "InteractionRequiredAuthError: interaction_required: AADB2C90077: x", "AADB2C90077"},
		{".NET's", "IDX10214: Audience validation failed. Audiences: '(null)'", "IDX10214"},
		{".NET's, without a code", "The audience '47840c35-e986-468b-8d2c-e25aa02d3d08' is invalid", "IDX10214"},
		{"OAuth's, where nothing says more", "error=invalid_grant&error_description=oops", "invalid_grant"},
		{"what says more than OAuth's", `Bearer error="invalid_token", error_description="The audience 'x' is invalid"`, "IDX10214"},
		{"the browser's", "Access to fetch at 'https://a' from origin 'https://b' has been blocked by CORS policy: x", "browser.cors"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := signin.Find(tt.text)
			require.NotEmpty(t, got)
			require.Equal(t, tt.code, got[0].Code)
			require.NotEmpty(t, got[0].Fix)
		})
	}
	for _, tt := range []struct{ name, text string }{
		{"empty", ""},
		{"no code", "denied"},
		{"too few digits", "AADB2C9011"},
		{"too many digits", "AADB2C901170"},
		{"a colon, encoded, and then something else", "%3AADB2C90117"},
		{"behind 16 KiB", strings.Repeat(" ", 16<<10) + "AADB2C90117"},
	} {
		t.Run(tt.name, func(t *testing.T) { require.Empty(t, signin.Find(tt.text)) })
	}
	t.Run("a code that is not explained", func(t *testing.T) {
		got := signin.Find("aadb2c00000: An invalid response was received, after AADB2C90117, AADSTS1234")
		require.Len(t, got, 3)
		require.Equal(t, signin.Error{Code: "AADB2C00000", From: "b2c"}, got[0])
		require.False(t, got[0].Explained())
		require.Equal(t, "AADB2C90117", got[1].Code)
		require.Equal(t, signin.Error{Code: "AADSTS1234", From: "entra"}, got[2])
	})
}

func TestSaid(t *testing.T) {
	for _, tt := range []struct{ text, code, want string }{
		{"log: AADB2C90117: The scope 'read'\r\n is not supported.\r\nCorrelation ID: 1\r\n", "AADB2C90117", "AADB2C90117: The scope 'read' is not supported."},
		{"https://jwt.ms/#error=x&error_description=aadb2c90117%3a+The+scope%0d%0aTrace+ID%3a+1", "AADB2C90117", "aadb2c90117: The scope"},
		{"no code  at all", "AADB2C90117", "no code at all"},
		{strings.Repeat("ä", 300), "", strings.Repeat("ä", 240) + "…"},
		{"Timestamp: 1", "", "Timestamp: 1"},
	} {
		require.Equal(t, tt.want, signin.Said(tt.text, tt.code))
	}
}

// FuzzFind: what is found is in the text, and encoding the text
// changes nothing.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{"AADB2C90117: The scope", "%3AADB2C90117", "x AADB2C901 " +
		"aadb2c99059%", ":ADB2C90117", "AADB2C90273", "\xaaDB2C90006"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := signin.Find(text)
		require.LessOrEqual(t, len(got), 3)
		for _, e := range got {
			signin.Said(text, e.Code)
		}
		if len(text) > 1000 || strings.ContainsAny(text, "%+") {
			return
		}
		for _, e := range got {
			if len(e.Says) == 0 {
				require.Contains(t, strings.ToUpper(text), strings.ToUpper(e.Code))
			}
		}
		require.Equal(t, got, signin.Find(url.QueryEscape(text)))
	})
}
