package report

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func printed(s screen, add func(*Report)) (string, int) {
	var out bytes.Buffer
	r := New(&out, false)
	r.screen = s
	add(r)
	status := r.Finish()
	return out.String(), status
}

func mixed(r *Report) {
	r.Doing("reading")
	r.OK("keys of A", "%d usable", 1)
	r.OK("keys of B", "1 usable")
	r.OK("metadata", "https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin/v2.0/.well-known/openid-configuration")
	r.OK("tenant", "a detail of a good many words that does not fit beside its name on a line of eighty columns")
	r.Skip("CORS", "fix the settings first")
	r.Skip("storage", "fix the settings first")
	r.Warn("clock", "It is late.", "Set it.")
	for _, name := range []string{"API without a token", "API with the token"} {
		r.Add(Check{
			Name: name, Status: StatusFail, Code: "aud.is_client", Detail: strings.Repeat("some words ", 12),
			Expected: map[string]any{"aud": "b", "exp": int64(1)}, Actual: map[string]any{"aud": "a"}, Fix: "Do it.",
		})
	}
	r.Doing("waiting")
}

func TestPrinted(t *testing.T) {
	out, status := printed(screen{width: 80}, mixed)
	require.Equal(t, 1, status)
	require.Equal(t, `FAIL  API without a token and API with the token  aud.is_client
      what      some words some words some words some words some words some
                words some words some words some words some words some words
                some words
      expected  aud = b, exp = 1
      actual    aud = a
      fix       Do it.

warn  clock
      what      It is late.
      fix       Set it.

ok    keys of A and B   1 usable
ok    metadata
      https://contoso.b2clogin.com/contoso…v2.0/.well-known/openid-configuration
ok    tenant            a detail of a good many words that does not fit beside
                        its name on a line of eighty columns
skip  CORS and storage  fix the settings first

2 failed (API without a token and API with the token), 1 to look at, 4 ok, 2
skipped
`, out)

	wide, _ := printed(screen{width: 200}, mixed)
	require.Contains(t, wide, "ok    metadata          https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signupsignin/v2.0/.well-known/openid-configuration\n")
	require.NotContains(t, out+wide, "\x1b")

	for width := 40; width < 130; width++ {
		out, _ := printed(screen{width: width}, mixed)
		for line := range strings.SplitSeq(out, "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), width, line)
			require.Equal(t, strings.TrimRight(line, " "), line)
		}
	}

	coloured, _ := printed(screen{width: 80, colour: true, live: true}, mixed)
	require.Contains(t, coloured, "\x1b[1;31mFAIL\x1b[0m  \x1b[1mAPI without a token and API with the token  aud.is_client\x1b[0m\n")
	require.Contains(t, coloured, "\x1b[32mok\x1b[0m    keys of A and B   1 usable\n")
	require.Equal(t, 2, strings.Count(coloured, "\r\x1b[K"), "what took the time is wiped out")
}

func TestNothingFailed(t *testing.T) {
	out, status := printed(screen{width: 80}, func(r *Report) { r.OK("a", "b") })
	require.Equal(t, 0, status)
	require.Equal(t, "ok    a  b\n\nNothing failed, 1 ok\n", out)
	out, status = printed(screen{width: 80}, func(r *Report) { r.Warn("a", "b", "c") })
	require.Equal(t, 0, status)
	require.Equal(t, "warn  a\n      what      b\n      fix       c\n\nNothing failed, 1 to look at\n", out)
}

func TestJoined(t *testing.T) {
	for want, names := range map[string][]string{
		"a": {"a"}, "a and b": {"a", "b"}, "a, b and c": {"a", "b", "c"}, "keys of A and B": {"keys of A", "keys of B"},
		"token, kind, key and time": {"token, kind", "token, key", "token, time"}, "keys of A and token, key": {"keys of A", "token, key"},
	} {
		require.Equal(t, want, joined(names))
	}
}

func TestJSON(t *testing.T) {
	var out bytes.Buffer
	r := New(&out, true)
	mixed(r)
	require.Equal(t, 1, r.Finish())
	var document struct {
		OK     *bool
		Checks []Check
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &document))
	require.False(t, *document.OK)
	require.Len(t, document.Checks, 9, "all, and unfolded")
}

func TestClean(t *testing.T) {
	r := New(io.Discard, false)
	r.Hide("0123456789abcdef")
	require.Equal(t, "a … (16 characters) b", r.Clean("a 0123456789abcdef b"))
	require.Equal(t, "\ufffd[31mred line", r.Clean("\x1b[31mred\nline"))
	require.NotContains(t, r.Clean("eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJ.x"), "JSUzI1")
	require.Equal(t, "äöü…", CutTo(4, "äöüßx"))
	require.Equal(t, "äöüß", CutTo(4, "äöüß"))
}

func TestScreenOf(t *testing.T) {
	require.Equal(t, screen{width: 80}, screenOf(io.Discard))
	t.Setenv("NO_COLOR", "1")
	require.False(t, screenOf(io.Discard).colour)
}
