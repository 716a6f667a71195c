package entratest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"itemsapi/handler/loopbacktest"

	"github.com/stretchr/testify/require"
)

// A URL is one of B2C's or none, and what metadata names in its form is
// recognised as the same policy's again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"/contoso.onmicrosoft.com/B2C_1_ropc/v2.0/.well-known/openid-configuration",
		"/tfp/" + TenantID + "/b2c_1_ropc/discovery/v2.0/keys",
		"/contoso.onmicrosoft.com/oauth2/v2.0/authorize?p=B2C_1_signupsignin",
		"/contoso.onmicrosoft.com/oauth2/v2.0/", "/tfp", "//", "/", "/contoso.onmicrosoft.com/oauth2/oauth2/token",
	} {
		f.Add(seed)
	}
	s := fuzzServer(f)
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		e := s.parse(&http.Request{URL: u})
		if e.kind == "" {
			require.Nil(t, e.policy)
			return
		}
		if e.policy == nil {
			return
		}
		for _, kind := range []endpointKind{
			metadataEndpoint, keysEndpoint, authorizeEndpoint, tokenEndpoint,
			logoutEndpoint,
		} {
			u, err := url.Parse(e.path(kind))
			require.NoError(t, err)
			again := s.parse(&http.Request{URL: u})
			require.Equal(t, kind, again.kind)
			require.Same(t, e.policy, again.policy)
		}
	})
}

// Whatever the request, nothing is sent to a redirect URI that is not the
// client's, and nothing breaks.
func FuzzAuthorize(f *testing.F) {
	f.Add("client_id="+ClientID+"&response_type=code&redirect_uri=https%3A%2F%2Fjwt.ms&scope=openid",
		"entratest_action=alice")
	f.Add("client_id="+ClientID+"&response_type=id_token+token&redirect_uri=com.example.app:/x"+
		"&scope=openid+"+AppIDURI+"/read", "entratest_action=alice&entratest_scope=read")
	f.Add("client_id="+OtherClientID+"&response_type=code&redirect_uri=http://localhost:9912/&scope=openid&prompt=none",
		"entratest_action=cancel")
	f.Add("redirect_uri=http://localhost:1@attacker.example/&client_id="+ClientID, "")
	s := fuzzServer(f)
	f.Fuzz(func(t *testing.T, query, body string) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(body))
		r.URL = &url.URL{Path: "/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/authorize", RawQuery: query}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.serve(w, r)

		require.Contains(t, []int{http.StatusOK, http.StatusFound, http.StatusBadRequest}, w.Code)
		location := w.Header().Get("Location")
		if w.Code != http.StatusFound {
			require.Empty(t, location)
			return
		}
		requireNoForeign(t, location)
	})
}

func requireNoForeign(t *testing.T, location string) {
	t.Helper()
	u, err := url.Parse(location)
	require.NoError(t, err)
	require.False(t, strings.ContainsFunc(location, func(c rune) bool { return c <= ' ' || c > '~' }), "%q", location)
	switch strings.ToLower(u.Scheme) {
	case "http":
		require.True(t, loopbacktest.IsLoopback(u.Host), location)
	case "https":
		require.Equal(t, "jwt.ms", u.Host)
	default:
		require.True(t, strings.Contains(u.Scheme, ".") || strings.HasPrefix(u.Scheme, "msa"), location)
	}
}

// A token request never breaks, and gives no tokens for what was not given out.
func FuzzToken(f *testing.F) {
	f.Add("grant_type=authorization_code&client_id=" + ClientID + "&code=eyJ..a.b.c&redirect_uri=x")
	f.Add("grant_type=refresh_token&refresh_token=%00&client_id=" + ClientID)
	f.Add("grant_type=password&username=alice&password=bob&scope=openid&client_id=" + ClientID)
	f.Add("%zz")
	s := fuzzServer(f)
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/contoso.onmicrosoft.com/B2C_1_ropc/oauth2/v2.0/token",
			strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		s.serve(w, r)
		if w.Code == http.StatusOK {
			require.Contains(t, []string{"alice", "bob"}, r.PostForm.Get("password"))
			return
		}
		require.Equal(t, http.StatusBadRequest, w.Code)
		require.Contains(t, w.Body.String(), `"error_description":"AAD`)
	})
}

func fuzzServer(f *testing.F) *Server {
	s, err := Start(Options{})
	require.NoError(f, err)
	f.Cleanup(s.Close)
	return s
}

// Each error is in the table, each in the table can happen, and a test makes it
// happen.
func TestErrorTable(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	used, tested := map[string]bool{}, ""
	for _, name := range files {
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		if strings.HasSuffix(name, "_test.go") {
			tested += string(source)
			continue
		}
		for _, m := range regexp.MustCompile(`fail\("(\w+)"`).FindAllSubmatch(source, -1) {
			used[string(m[1])] = true
		}
	}
	for code := range used {
		require.Contains(t, errorTable, code)
	}
	for code := range errorTable {
		require.True(t, used[code], "%s never happens", code)
		require.Contains(t, tested, code)
	}
}

func TestPublishedKeysAreFew(t *testing.T) {
	s, err := Start(Options{})
	require.NoError(t, err)
	defer s.Close()
	p := s.mustPolicy(PolicyROPC)
	oldest := p.keys[0]
	for len(p.keys) < maxKeys {
		p.keys = append(p.keys, signingKey{private: oldest.private, kid: newGUID(), nbf: oldest.nbf})
	}
	s.Rollover(PolicyROPC, true)
	require.Len(t, p.keys, maxKeys)
	require.NotEqual(t, oldest.kid, p.keys[0].kid)
}

func TestStoreForgetsTheOldest(t *testing.T) {
	var s store[int]
	for i := range storeSize + 2 {
		s.put(strings.Repeat("x", i%7)+string(rune('a'+i%26))+newGUID(), i)
	}
	require.Len(t, s.values, storeSize)
	require.Len(t, s.order, storeSize)
	first := s.order[0]
	require.Equal(t, 2, s.values[first])
	s.put(first, 7)
	require.Len(t, s.order, storeSize, "a known name takes no room")
	s.remove(first)
	_, ok := s.get(first)
	require.False(t, ok)
	require.True(t, slices.Contains(s.order, first))
}
