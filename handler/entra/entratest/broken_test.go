package entratest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

func TestBrokenCodes(t *testing.T) {
	require.Equal(t, strings.Fields(`
		auth.malformed auth.token_in_query auth.missing auth.bearer_prefix_missing auth.scheme auth.token_empty
		token.too_large token.opaque token.code_or_refresh token.malformed token.encrypted token.pop
		token.static_web_apps token.graph token.entra_v1 token.entra token.external_id token.b2c token.upstream_idp
		token.foreign token.id_token
		token.algorithm token.header
		policy.not_allowed policy.missing tenant.mismatch
		keys.unavailable
		iss.slash_or_case iss.form iss.legacy_host iss.other_host iss.other_tenant iss.ciam_name iss.workforce_door
		iss.unknown
		key.unknown sig.invalid
		aud.is_client aud.swapped aud.is_uri aud.wrong
		time.malformed time.expired time.not_yet_valid
		subject.missing subject.no_oid azp.not_allowed caller.application
		scope.none scope.missing role.missing`), entratest.BrokenCodes())

	s := start(t, entratest.Options{})
	_, err := s.Broken("token.nosuch")
	require.ErrorContains(t, err, "auth.malformed, auth.token_in_query")
}

func TestBroken(t *testing.T) {
	s := start(t, entratest.Options{})
	noToken := []string{
		"auth.malformed", "auth.token_in_query", "auth.missing", "auth.bearer_prefix_missing",
		"auth.scheme",
	}
	seen := map[string]string{}
	for _, code := range entratest.BrokenCodes() {
		t.Run(code, func(t *testing.T) {
			b, err := s.Broken(code)
			require.NoError(t, err)
			require.Equal(t, code, b.Code)
			require.Regexp(t, `^[A-Za-z0-9].*\.$`, b.Why)
			require.Len(t, b.Curl, 2)
			require.Equal(t, "-H", b.Curl[0])
			require.True(t, strings.HasPrefix(b.Curl[1], "Authorization:"), b.Curl)
			require.Equal(t, slices.Contains(noToken, code), b.Token == "")
			if b.Token != "" {
				require.Equal(t, "Authorization: Bearer "+b.Token, b.Curl[1])
				require.NotContains(t, seen, b.Token)
				seen[b.Token] = code
			}
			require.Equal(t, code == "auth.token_in_query", b.Query != "")
			require.Equal(t, code == "keys.unavailable", b.NeedsFault)
			require.Equal(t, code == "token.too_large", len(b.Token) > 8<<10)
			require.Less(t, len(b.Curl[1]), 24<<10, "it must fit into a header")
		})
	}
}

// Each broken token has one thing wrong; the rest is right. The API's own tests
// prove that its code comes first.
func TestBrokenTokensAreOtherwiseRight(t *testing.T) {
	s := start(t, entratest.Options{})
	good := s.Claims(entratest.TokenRequest{})
	good["emails"] = []any{good["emails"].([]string)[0]}
	now := time.Now().Unix()

	for code, differs := range map[string][]string{
		"token.too_large":    {"extension_Padding"},
		"token.header":       {},
		"policy.not_allowed": {"tfp"},
		"policy.missing":     {"tfp"},
		"iss.slash_or_case":  {"iss"},
		"iss.form":           {"iss"},
		"iss.legacy_host":    {"iss"},
		"iss.other_host":     {"iss"},
		"iss.other_tenant":   {"iss"},
		"iss.unknown":        {"iss"},
		"key.unknown":        {},
		"sig.invalid":        {},
		"token.algorithm":    {},
		"aud.is_client":      {"aud"},
		"aud.swapped":        {"aud", "azp"},
		"aud.is_uri":         {"aud"},
		"aud.wrong":          {"aud"},
		"time.malformed":     {"exp"},
		"time.expired":       {"exp", "iat", "nbf"},
		"time.not_yet_valid": {"exp", "iat", "nbf"},
		"subject.missing":    {"oid", "sub"},
		"azp.not_allowed":    {"azp", "scp"},
		"scope.none":         {"scp"},
		"scope.missing":      {"scp"},
	} {
		t.Run(code, func(t *testing.T) {
			b, err := s.Broken(code)
			require.NoError(t, err)
			_, claims := decode(t, b.Token)
			var wrong []string
			for _, name := range []string{
				"iss", "aud", "azp", "scp", "tfp", "oid", "sub", "name", "ver", "exp", "iat", "nbf",
				"extension_Padding",
			} {
				switch name {
				case "exp", "iat", "nbf":
					at, ok := claims[name].(float64)
					if !ok || name == "exp" && int64(at) < now ||
						name != "exp" && (int64(at) > now+60 || int64(at) < now-60) ||
						code == "time.not_yet_valid" && name == "exp" {
						wrong = append(wrong, name)
					}
				default:
					if claims[name] != good[name] {
						wrong = append(wrong, name)
					}
				}
			}
			require.ElementsMatch(t, differs, wrong)

			key, kid := s.PrivateKey(entratest.PolicySignUpSignIn)
			_, err = jwt.Parse(b.Token, func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
				jwt.WithoutClaimsValidation())
			header, _ := decode(t, b.Token)
			switch code {
			case "sig.invalid":
				require.ErrorIs(t, err, jwt.ErrTokenSignatureInvalid)
			case "token.algorithm":
				require.Equal(t, "HS256", header["alg"])
			case "key.unknown":
				require.NoError(t, err)
				require.NotEqual(t, kid, header["kid"])
				require.Len(t, header["kid"], 43)
			default:
				require.NoError(t, err)
				require.Equal(t, kid, header["kid"])
			}
		})
	}
}

func TestBrokenKinds(t *testing.T) {
	s := start(t, entratest.Options{})
	token := func(code string) (header, claims map[string]any) {
		b, err := s.Broken(code)
		require.NoError(t, err)
		return decode(t, b.Token)
	}
	header, claims := token("token.static_web_apps")
	require.Equal(t, "HS256", header["alg"])
	require.Regexp(t, `^https://[0-9a-f-]{36}\.scm\.azurewebsites\.net$`, claims["iss"])
	require.Regexp(t, `\.azurewebsites\.net/azurefunctions$`, claims["aud"])

	header, claims = token("token.graph")
	require.Contains(t, header, "nonce")
	require.Equal(t, "00000003-0000-0000-c000-000000000000", claims["aud"])

	header, claims = token("token.entra")
	require.Len(t, header["kid"], 27)
	require.NotContains(t, claims, "tfp")
	require.Equal(t, "https://login.microsoftonline.us/"+entratest.WorkforceTenantID+"/v2.0", claims["iss"])
	require.Equal(t, "2.0", claims["ver"])

	header, claims = token("token.entra_v1")
	require.Equal(t, header["x5t"], header["kid"])
	require.Equal(t, "https://sts.windows.net/"+entratest.WorkforceTenantID+"/", claims["iss"])
	require.Contains(t, claims, "appid")
	require.NotContains(t, claims, "azp")

	_, claims = token("token.external_id")
	const external = entratest.ExternalTenantID
	require.Equal(t, "https://"+external+".ciamlogin.com/"+external+"/v2.0", claims["iss"])

	_, claims = token("token.b2c")
	require.Equal(t, "https://contoso.b2clogin.com/"+entratest.TenantID+"/v2.0/", claims["iss"])

	header, claims = token("token.pop")
	require.Equal(t, "pop", header["typ"])
	require.Contains(t, claims, "at")

	_, claims = token("subject.no_oid")
	require.NotContains(t, claims, "oid")
	require.Contains(t, claims, "tid")

	_, claims = token("caller.application")
	require.Equal(t, claims["oid"], claims["sub"])
	require.NotContains(t, claims, "scp")

	_, claims = token("token.upstream_idp")
	require.Equal(t, "https://accounts.google.com", claims["iss"])

	_, claims = token("token.id_token")
	require.Equal(t, entratest.ClientID, claims["aud"])
	require.Contains(t, claims, "auth_time")

	b, err := s.Broken("token.code_or_refresh")
	require.NoError(t, err)
	require.Equal(t, 4, strings.Count(b.Token, "."))
	b, err = s.Broken("token.opaque")
	require.NoError(t, err)
	require.NotContains(t, b.Token, ".")

	if dir := os.Getenv("B2C_FIXTURES"); dir != "" {
		for code, file := range map[string]string{
			"token.entra_v1": "entra-access-token-v1-doc.json", "token.entra": "entra-access-token-v2-doc.json",
			"token.static_web_apps": "swa-injected-token.json",
		} {
			var doc struct{ Header, Payload map[string]any }
			read, err := os.ReadFile(dir + "/" + file)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(read, &doc))
			header, claims := token(code)
			for name := range doc.Header {
				require.Contains(t, header, name, code)
			}
			for name := range doc.Payload {
				if name != "idp" { // of users from another directory
					require.Contains(t, claims, name, code)
				}
			}
		}
	}
}

func TestKeysUnavailable(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	keys := func(policy string) int {
		return b.get(s.URL() + "/contoso.onmicrosoft.com/" + policy + "/discovery/v2.0/keys").StatusCode
	}
	broken, err := s.Broken("keys.unavailable")
	require.NoError(t, err)
	header, claims := decode(t, broken.Token)
	require.Equal(t, entratest.PolicyROPC, claims["tfp"])
	require.NotContains(t, publishedKeys(t, s, entratest.PolicyROPC), header["kid"])

	remove := s.Inject(broken.Fault)
	require.Equal(t, http.StatusServiceUnavailable, keys(entratest.PolicyROPC))
	require.Equal(t, http.StatusOK, keys(entratest.PolicySignUpSignIn), "honest users are not hurt")
	remove()
	require.Equal(t, http.StatusOK, keys(entratest.PolicyROPC))

	for range 2 {
		require.Equal(t, http.StatusOK, b.get(s.URL()+"/dev/broken?code=keys.unavailable").StatusCode)
	}
	require.Equal(t, http.StatusServiceUnavailable, keys(entratest.PolicyROPC), "it is armed")
}

func TestDevBroken(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	for _, code := range entratest.BrokenCodes() {
		got := b.get(s.URL() + "/dev/broken?code=" + code)
		require.Equal(t, http.StatusOK, got.StatusCode, got.body)
		require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
		var answer struct {
			Code, Token, Query, Why string
			Curl                    []string
		}
		require.NoError(t, json.Unmarshal([]byte(got.body), &answer))
		require.Equal(t, code, answer.Code)
		require.NotEmpty(t, answer.Curl)
		require.NotEmpty(t, answer.Why)
		if code == "auth.token_in_query" {
			q, err := url.ParseQuery(answer.Query)
			require.NoError(t, err)
			_, err = verify(t, s, q.Get("access_token"))
			require.NoError(t, err)
		}
	}
	got := b.get(s.URL() + "/dev/broken?code=nonsense")
	require.Equal(t, http.StatusBadRequest, got.StatusCode)
	require.Contains(t, got.body, "scope.missing")
}
