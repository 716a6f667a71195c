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
		require.Regexp(t, `^AADB2C[0-9]{5}$`, e.Code)
		for _, sentence := range []string{e.Meaning, e.Cause, e.Fix} {
			require.Regexp(t, `^[\w].*\.$`, sentence, e.Code)
		}
		codes = append(codes, e.Code)
	}
	require.True(t, slices.IsSorted(codes), "in order of code")
	require.Len(t, slices.Compact(slices.Clone(codes)), len(codes), "each code once")

	signin.Errors()[0].Code = "changed"
	require.Equal(t, codes[0], signin.Errors()[0].Code, "callers get a copy")
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
		_, explained := signin.Find(code)
		require.True(t, explained, code)
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
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, explained := signin.Find(tt.text)
			require.True(t, explained)
			require.Equal(t, tt.code, got.Code)
			require.NotEmpty(t, got.Fix)
		})
	}
	for _, tt := range []struct{ name, text string }{
		{"empty", ""},
		{"no code", "access_denied"},
		{"Entra's codes", "AADSTS9002326"},
		{"too few digits", "AADB2C9011"},
		{"too many digits", "AADB2C901170"},
		{"a colon, encoded, and then something else", "%3AADB2C90117"},
		{"behind 16 KiB", strings.Repeat(" ", 16<<10) + "AADB2C90117"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, explained := signin.Find(tt.text)
			require.False(t, explained)
			require.Empty(t, got)
		})
	}
	t.Run("a code that is not explained", func(t *testing.T) {
		got, explained := signin.Find("AADB2C90273: An invalid response was received, after AADB2C90117")
		require.False(t, explained)
		require.Equal(t, signin.Error{Code: "AADB2C90273"}, got)
	})
}

// FuzzFind: what is found is in the text, and encoding the text
// changes nothing.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{"AADB2C90117: The scope", "%3AADB2C90117", "x AADB2C901 " +
		"aadb2c99059%", ":ADB2C90117", "AADB2C90273", "\xaaDB2C90006"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, explained := signin.Find(text)
		if explained {
			require.NotEmpty(t, got.Meaning)
		} else {
			require.Empty(t, got.Meaning)
		}
		if len(text) > 1000 || strings.ContainsAny(text, "%+") {
			return
		}
		if got.Code != "" {
			require.Contains(t, strings.ToUpper(text), got.Code)
		}
		encoded, _ := signin.Find(url.QueryEscape(text))
		require.Equal(t, got, encoded)
	})
}
