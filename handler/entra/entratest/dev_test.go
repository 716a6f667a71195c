package entratest_test

import (
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/waittest"
)

func TestOverview(t *testing.T) {
	s := start(t, entratest.Options{})
	got := newBrowser(t).get(s.URL() + "/")
	require.Equal(t, http.StatusOK, got.StatusCode)
	want := append(entratest.BrokenCodes(), entratest.TenantDomain, entratest.TenantID, entratest.AppIDURI,
		entratest.ClientID, entratest.OtherClientID, entratest.APIClientID,
		"alice", "bob", s.Issuer(), "not Azure", "https://jwt.ms/ (web)", "read, write, user_impersonation")
	for _, policy := range []string{entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit, entratest.PolicyROPC} {
		_, kid := s.PrivateKey(policy)
		want = append(want, policy, kid,
			"/contoso.onmicrosoft.com/"+strings.ToLower(policy)+"/v2.0/.well-known/openid-configuration")
	}
	for _, text := range want {
		require.Contains(t, got.body, text)
	}
}

// The overview's Run now ends where Options say, and at jwt.ms on request, for each family.
func TestOverviewsRunNow(t *testing.T) {
	got := make(chan url.Values, 1)
	s := start(t, entratest.Options{RunNow: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() == nil {
			got <- r.PostForm
		}
	})})
	b := newBrowser(t)
	overview := b.get(s.URL() + "/").body
	for _, tenant := range []string{entratest.TenantDomain, entratest.ExternalTenantDomain, entratest.WorkforceTenantDomain} {
		m := regexp.MustCompile(`<a href="(/` + regexp.QuoteMeta(tenant) + `[^"]+)">Run now</a><br><a href="([^"]+)">Run now at jwt.ms<`).FindStringSubmatch(overview)
		require.NotNil(t, m, overview)
		require.Contains(t, m[2], "redirect_uri=https%3A%2F%2Fjwt.ms&")
		page := b.click(b.get(s.URL()+html.UnescapeString(m[1])), "alice", "read", "write")
		require.Contains(t, page.body, `action="`+s.URL()+`/run-now"`)
		form := url.Values{}
		for _, field := range regexp.MustCompile(`name="([^"]+)" value="([^"]+)"`).FindAllStringSubmatch(page.body, -1) {
			form.Set(field[1], html.UnescapeString(field[2]))
		}
		resp, err := http.PostForm(s.URL()+"/run-now", form)
		require.NoError(t, err)
		resp.Body.Close()
		sent := waittest.For(t, got)
		require.NotEmpty(t, sent.Get("access_token"))
		require.NotEmpty(t, sent.Get("id_token"))
	}

	s = start(t, entratest.Options{})
	overview = b.get(s.URL() + "/").body
	require.NotContains(t, overview, ">Run now</a>")
	require.Contains(t, overview, ">Run now at jwt.ms</a>")
	require.Equal(t, 404, b.get(s.URL()+"/run-now").StatusCode)
}

func TestDevToken(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)

	for _, row := range []struct {
		name, query string
		claims      map[string]any
	}{
		{
			"as it comes", "",
			map[string]any{
				"scp": "read write", "oid": entratest.Users()[0].ObjectID, "tfp": "B2C_1_signupsignin",
				"azp": entratest.ClientID,
			},
		},
		{
			"everything chosen", "?user=bob&scope=write,user_impersonation&policy=b2c_1_ropc&client=B2CTest",
			map[string]any{"scp": "write user_impersonation", "oid": entratest.Users()[1].ObjectID, "tfp": "B2C_1_ropc"},
		},
		{
			"full scope, with a blank", "?scope=" + url.QueryEscape(entratest.AppIDURI+"/read write"),
			map[string]any{"scp": "read write"},
		},
		{"no scope", "?scope=", map[string]any{"scp": nil}},
		{
			"the other client has read alone", "?client=B2COther",
			map[string]any{"scp": "read", "azp": entratest.OtherClientID},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := b.get(s.URL() + "/dev/token" + row.query)
			require.Equal(t, http.StatusOK, got.StatusCode, got.body)
			require.Equal(t, "text/plain; charset=utf-8", got.Header.Get("Content-Type"))
			require.Equal(t, "no-store", got.Header.Get("Cache-Control"))
			claims, err := verify(t, s, got.body)
			require.NoError(t, err)
			for name, want := range row.claims {
				require.Equal(t, want, claims[name], name)
			}
		})
	}

	for query, says := range map[string]string{
		"?user=carol":                  "alice and bob",
		"?scope=reed":                  "read, write, user_impersonation",
		"?scope=Read":                  "read, write, user_impersonation",
		"?policy=B2C_1_x":              "B2C_1_signupsignin, B2C_1_profileedit, B2C_1_ropc",
		"?client=x":                    "B2CTest",
		"?client=B2COther&scope=write": "it has read",
		"?scopes=read":                 "user, scope, policy and client",
	} {
		got := b.get(s.URL() + "/dev/token" + query)
		require.Equal(t, http.StatusBadRequest, got.StatusCode, query)
		require.Contains(t, got.body, says, query)
	}
	require.NoError(t, s.RemoveUser("bob"))
	require.Equal(t, http.StatusBadRequest, b.get(s.URL()+"/dev/token?user=bob").StatusCode)
}

func TestDevRefusesForeignPages(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	_, kid := s.PrivateKey(entratest.PolicyROPC)
	rollover := url.Values{"policy": {entratest.PolicyROPC}, "old": {"withdraw"}}

	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://attacker.example"},
		{"Origin", "http://localhost:9912"},
		{"Origin", "null"},
		{"Sec-Fetch-Site", "none", "Host", "attacker.example"},
	} {
		for _, path := range []string{"/dev/token", "/dev/broken?code=keys.unavailable"} {
			require.Equal(t, http.StatusForbidden, b.get(s.URL()+path, header...).StatusCode, "%v", header)
		}
		require.Equal(t, http.StatusForbidden,
			b.send(http.MethodPost, s.URL()+"/dev/rollover", rollover, header...).StatusCode)
		require.Equal(t, http.StatusForbidden,
			b.send(http.MethodPost, s.URL()+"/dev/keys", url.Values{"state": {"down"}}, header...).StatusCode)
	}
	_, same := s.PrivateKey(entratest.PolicyROPC)
	require.Equal(t, kid, same)
	require.Equal(t, http.StatusOK, b.get(s.URL()+"/contoso.onmicrosoft.com/B2C_1_ropc/discovery/v2.0/keys").StatusCode)

	require.Equal(t, http.StatusForbidden, b.get(s.URL()+"/dev/token", "Origin", s.URL()).StatusCode,
		"a script cannot read it, wherever it runs")
	require.Equal(t, http.StatusOK, b.get(s.URL()+"/dev/token", "Sec-Fetch-Site", "none").StatusCode,
		"typed into the address bar")
	require.Equal(t, http.StatusMethodNotAllowed, b.get(s.URL()+"/dev/rollover").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, b.send(http.MethodPost, s.URL()+"/dev/token", url.Values{}).StatusCode)
}

func TestSwitches(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	keys := s.URL() + "/contoso.onmicrosoft.com/B2C_1_signupsignin/discovery/v2.0/keys"
	post := func(path string, form url.Values) answer {
		return b.send(http.MethodPost, s.URL()+path, form, "Origin", s.URL(), "Sec-Fetch-Site", "same-origin")
	}

	_, first := s.PrivateKey(entratest.PolicySignUpSignIn)
	got := post("/dev/rollover", url.Values{"policy": {entratest.PolicySignUpSignIn}, "old": {"keep"}})
	require.Equal(t, http.StatusSeeOther, got.StatusCode)
	require.Equal(t, "/", got.Header.Get("Location"))
	require.Len(t, publishedKeys(t, s, entratest.PolicySignUpSignIn), 2)
	post("/dev/rollover", url.Values{"policy": {entratest.PolicySignUpSignIn}, "old": {"withdraw"}})
	require.NotContains(t, publishedKeys(t, s, entratest.PolicySignUpSignIn), first)
	require.Equal(t, http.StatusBadRequest, post("/dev/rollover", url.Values{"policy": {"x"}, "old": {"keep"}}).StatusCode)
	require.Equal(t, http.StatusBadRequest, post("/dev/rollover", url.Values{"policy": {entratest.PolicyROPC}}).StatusCode)

	require.Equal(t, http.StatusSeeOther, post("/dev/keys", url.Values{"state": {"down"}}).StatusCode)
	require.Equal(t, http.StatusServiceUnavailable, b.get(keys).StatusCode)
	require.Contains(t, b.get(s.URL()+"/").body, "<strong>down</strong>")

	post("/dev/keys", url.Values{"state": {"hanging"}})
	hung := make(chan error, 1)
	go func() {
		resp, err := http.Get(keys)
		if err == nil {
			resp.Body.Close()
		}
		hung <- err
	}()
	require.Contains(t, b.get(s.URL()+"/").body, "<strong>hanging</strong>")
	post("/dev/keys", url.Values{"state": {"well"}})
	if err := waittest.For(t, hung); err != nil {
		require.ErrorIs(t, err, io.EOF)
	}
	require.Equal(t, http.StatusOK, b.get(keys).StatusCode)
	require.Equal(t, http.StatusBadRequest, post("/dev/keys", url.Values{"state": {"sideways"}}).StatusCode)
}
