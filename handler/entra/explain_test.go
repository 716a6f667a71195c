package entra_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// FuzzExplain: whatever a token says, an explanation has no byte that breaks a
// header or a line of a log, and never much of a claim.
func FuzzExplain(f *testing.F) {
	s := tenant(f, entratest.Options{})
	v := start(f, f.Context(), configFor(s))
	_, refusal := check(f.Context(), v, bearer(accessToken(f, s, entratest.TokenRequest{})), "read")
	require.Nil(f, refusal)
	f.Add("aud", "x\r\nSet-Cookie: y", true)
	f.Add("scp", strings.Repeat("Read ", 500), true)
	f.Add("scp", "https://x/read \u2028\u202e", true)
	f.Add("tfp", "B2C_1_\x1b[31m", false)
	f.Add("iss", "https://login.microsoftonline.com/\u0000", false)
	f.Add("azp", strings.Repeat("é", 3000), true)
	f.Add("acr", "\"}", false)
	f.Add("kid", "a\nb", true)
	f.Add("typ", "\u0085", true)
	f.Fuzz(func(t *testing.T, name, value string, signed bool) {
		changes, header := map[string]any{name: value}, map[string]any{}
		if name == "kid" || name == "typ" || name == "alg" {
			changes, header = nil, changes
		}
		var token string
		if signed {
			token = s.Sign(entratest.PolicySignUpSignIn, header, with(s, changes))
		} else {
			payload, err := json.Marshal(with(s, changes))
			require.NoError(t, err)
			part := base64.RawURLEncoding.EncodeToString
			token = part([]byte(`{"alg":"RS256","typ":"JWT","kid":"x"}`)) + "." + part(payload) + ".AAAA"
		}
		_, refusal := check(t.Context(), v, bearer(token), "read")
		if refusal == nil {
			return
		}
		x := refusal.Explain()
		texts := []string{x.Detail, x.Fix, refusal.Challenge(), refusal.Title}
		for _, m := range []map[string]any{x.Expected, x.Actual} {
			for _, shown := range m {
				texts = append(texts, fmt.Sprint(shown))
			}
		}
		for _, text := range texts {
			require.True(t, utf8.ValidString(text))
			for _, r := range text {
				require.True(t, unicode.IsPrint(r) || r == unicode.ReplacementChar, "%U in %q", r, text)
			}
		}
		for name, shown := range x.Actual {
			require.LessOrEqual(t, utf8.RuneCountInString(fmt.Sprint(shown)), 200, name)
		}
		// A sentence may show two claims, and has words of its own.
		require.LessOrEqual(t, utf8.RuneCountInString(x.Detail), 2*200+300)
	})
}

// BenchmarkExplain is what a refusal costs on top of the check that failed:
//
//	go test ./handler/entra -run xxx -bench Explain
func BenchmarkExplain(b *testing.B) {
	s := tenant(b, entratest.Options{})
	v := start(b, b.Context(), configFor(s))
	for _, bench := range []struct {
		name    string
		changes map[string]any
	}{
		{"scope", map[string]any{"scp": "write"}},
		{"everything", map[string]any{"aud": entratest.ClientID, "scp": "", "exp": time.Now().Unix() - 4000}},
	} {
		token := s.Sign(entratest.PolicySignUpSignIn, nil, with(s, bench.changes))
		_, refusal := check(b.Context(), v, bearer(token), "read")
		require.NotNil(b, refusal)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if refusal.Explain().Detail == "" {
					b.Fatal("not explained")
				}
			}
		})
	}
}
