package entra_test

import (
	"encoding/base64"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
)

// FuzzScan holds the scanner against a strict reader of the same bytes: what
// the scanner takes, that one takes, with the same names.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "a" : 1 } `, `{"a":"\u00e9\ud83d\ude00\n","b":[1,-0.5e+3,null,true,{"c":{}}]}`, `{"a":1,"a":2}`,
		`{"a":1,"\u0061":2}`,
		`{"a":01}`, `{"a":1.}`, `{"a":"\ud800"}`, `{"a":"\x"}`, "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}",
		`{"a":[[[[[[[[]]]]]]]]}`, `{"a":1}{}`, `null`, ``, `{"a"`, `{"a":tru}`,
		`{"a":"\u00`, `{"a":-}`, `{"":0}`, `{,}`, `{"a":1,}`, `[]`, `{"a":[1,]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		names, err := entra.ScanObject(data)
		var members map[string]jsontext.Value
		strictErr := json.Unmarshal(data, &members)
		if err == nil {
			require.NoError(t, strictErr, "%q", data)
			require.ElementsMatch(t, slices.Collect(maps.Keys(members)), names, "%q", data)
			return
		}
		// The other way round only the bounds may differ.
		if strictErr == nil && members != nil {
			deepest := 0
			depth := 0
			for _, c := range string(data) {
				switch c {
				case '{', '[':
					depth++
					deepest = max(deepest, depth)
				case '}', ']':
					depth--
				}
			}
			require.Greater(t, deepest, 8, "refused %q", data)
		}
	})
}

// FuzzParseToken: no token makes the reader panic, and what it takes has one
// spelling only.
func FuzzParseToken(f *testing.F) {
	part := base64.RawURLEncoding.EncodeToString
	f.Add(part([]byte(`{"alg":"RS256","kid":"k","typ":"JWT"}`)) + "." + part([]byte(`{"iss":"i","exp":1}`)) + ".AAAA")
	f.Add("a.b.c")
	f.Add("....")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, raw string) {
		claims, ok := entra.ParseToken(raw)
		if !ok {
			return
		}
		parts := strings.Split(raw, ".")
		require.Len(t, parts, 3)
		require.Equal(t, parts[2], part([]byte(claims["signature"])))
		for _, p := range parts[:2] {
			b, err := base64.RawURLEncoding.DecodeString(p)
			require.NoError(t, err)
			require.Equal(t, p, part(b))
		}
	})
}

// FuzzRoles: app roles are a list of strings alone, as encoding/json reads it.
func FuzzRoles(f *testing.F) {
	for _, list := range []string{`["read"]`, `[]`, `"read"`, `["a","\u0072ead",7]`, `[ "a" , "b" ]`, `[["read"]]`, `{}`, `["a\""]`} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		roles, ok := entra.Roles(`{"roles":` + list + `}`)
		if !ok {
			return
		}
		var read struct {
			Roles jsontext.Value `json:"roles"`
		}
		require.NoError(t, json.Unmarshal([]byte(`{"roles":`+list+`}`), &read))
		var values []any
		var want []string
		if json.Unmarshal(read.Roles, &values) == nil {
			for _, v := range values {
				text, isString := v.(string)
				if !isString {
					want = nil
					break
				}
				want = append(want, text)
			}
		}
		require.Equal(t, want, roles, "%q", list)
	})
}
