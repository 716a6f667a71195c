package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/waittest"
	"itemsapi/scripts/internal/tenants"
	"itemsapi/scripts/internal/tokenpage"
)

// contoso are the settings of the article's tenant, as deployed.
func contoso(changes ...string) map[string]string {
	settings := map[string]string{
		"B2C_TENANT":          entratest.TenantName,
		"B2C_POLICIES":        entratest.PolicySignUpSignIn + "," + entratest.PolicyProfileEdit,
		"B2C_API_CLIENT_ID":   entratest.APIClientID,
		"B2C_APP_ID_URI":      entratest.AppIDURI,
		"B2C_ALLOWED_CLIENTS": entratest.ClientID,
	}
	for i := 0; i < len(changes); i += 2 {
		settings[changes[i]] = changes[i+1]
	}
	return settings
}

// local are the same settings with the stand-in in Azure's place.
func local(tenant *entratest.Server, changes ...string) map[string]string {
	return contoso(append([]string{"B2C_METADATA_URL", tenant.MetadataTemplate()}, changes...)...)
}

func startTenant(t *testing.T) *entratest.Server {
	s, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func in(settings map[string]string, root string, stdout io.Writer) surroundings {
	return surroundings{func(name string) (string, bool) { v, set := settings[name]; return v, set }, root, stdout, io.Discard}
}

// printed is what a run without -open prints.
func printed(t *testing.T, settings map[string]string, args ...string) (string, error) {
	var stdout bytes.Buffer
	err := run(t.Context(), args, in(settings, t.TempDir(), &stdout))
	return stdout.String(), err
}

var urlLine = regexp.MustCompile(`(?m)^  (https?://\S+)$`)

func urls(t *testing.T, output string) (all []string) {
	for _, m := range urlLine.FindAllStringSubmatch(output, -1) {
		all = append(all, m[1])
	}
	require.NotEmpty(t, all, output)
	return all
}

// parameters are a query's, decoded and in their order.
func parameters(t *testing.T, address string) (at string, pairs []string) {
	at, query, ok := strings.Cut(address, "?")
	require.True(t, ok)
	require.NotContains(t, query, "+", "a blank is %20")
	for pair := range strings.SplitSeq(query, "&") {
		decoded, err := url.QueryUnescape(pair)
		require.NoError(t, err)
		pairs = append(pairs, decoded)
	}
	return at, pairs
}

func TestPrintedURLs(t *testing.T) {
	tenant := startTenant(t)
	out, err := printed(t, local(tenant))
	require.NoError(t, err)
	both := urls(t, out)
	require.Len(t, both, 2)

	t.Run("as the portal makes it, parameter by parameter", func(t *testing.T) {
		at, pairs := parameters(t, both[0])
		require.Equal(t, tenant.URL()+"/contoso.onmicrosoft.com/oauth2/v2.0/authorize", at)
		require.Equal(t, []string{
			"p=B2C_1_signupsignin",
			"client_id=47840c35-e986-468b-8d2c-e25aa02d3d08",
			"nonce=defaultNonce",
			"redirect_uri=https://jwt.ms",
			"scope=openid https://contoso.onmicrosoft.com/b2capi/read https://contoso.onmicrosoft.com/b2capi/write",
			"response_type=id_token token",
			"prompt=login",
		}, pairs)
	})
	t.Run("with code and PKCE", func(t *testing.T) {
		at, pairs := parameters(t, both[1])
		require.Equal(t, tenant.URL()+"/contoso.onmicrosoft.com/b2c_1_signupsignin/oauth2/v2.0/authorize", at)
		require.Regexp(t, "^state=[A-Za-z0-9_-]{43}$", pairs[5])
		require.Regexp(t, "^code_challenge=[A-Za-z0-9_-]{43}$", pairs[6])
		require.Equal(t, []string{
			"client_id=47840c35-e986-468b-8d2c-e25aa02d3d08",
			"response_type=code",
			"redirect_uri=http://localhost",
			"response_mode=query",
			"scope=openid offline_access https://contoso.onmicrosoft.com/b2capi/read https://contoso.onmicrosoft.com/b2capi/write",
			pairs[5],
			pairs[6],
			"code_challenge_method=S256",
			"prompt=login",
		}, pairs)
	})
	t.Run("both sign in", func(t *testing.T) {
		p := newPerson(t)
		require.Contains(t, p.press(p.get(both[0]), "alice", "read", "write"), "https://jwt.ms#access_token=")
		require.Contains(t, p.press(p.get(both[1]), "alice", "read", "write"), "http://localhost?code=")
	})
	t.Run("the printed curl redeems the code", func(t *testing.T) {
		p := newPerson(t)
		landed, err := url.Parse(p.press(p.get(both[1]), "alice", "read", "write"))
		require.NoError(t, err)
		m := regexp.MustCompile(`curl -d '(\S+)' -d code=CODE '(\S+)'`).FindStringSubmatch(out)
		require.NotNil(t, m, out)
		resp, err := http.Post(m[2], "application/x-www-form-urlencoded", strings.NewReader(m[1]+"&code="+url.QueryEscape(landed.Query().Get("code"))))
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, "%s", body)
		require.Contains(t, string(body), `"access_token":"ey`)
	})
}

// The implicit form needs no network, so it is there for a tenant that no test
// can reach.
func TestImplicitURLOfATenant(t *testing.T) {
	const query = "?p=B2C_1_signupsignin&client_id=47840c35-e986-468b-8d2c-e25aa02d3d08&nonce=defaultNonce&redirect_uri=https%3A%2F%2Fjwt.ms" +
		"&scope=openid%20https%3A%2F%2Fcontoso.onmicrosoft.com%2Fb2capi%2Fread%20https%3A%2F%2Fcontoso.onmicrosoft.com%2Fb2capi%2Fwrite&response_type=id_token%20token&prompt=login"
	for _, tt := range []struct {
		name, host, flag, want string
	}{
		{"B2C's host", "", "", "https://contoso.b2clogin.com/contoso.onmicrosoft.com/oauth2/v2.0/authorize"},
		{"a custom domain", "login.contoso.com", "", "https://login.contoso.com/contoso.onmicrosoft.com/oauth2/v2.0/authorize"},
		{"a custom domain to try", "", "login.contoso.com", "https://login.contoso.com/contoso.onmicrosoft.com/oauth2/v2.0/authorize"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadSettings(in(contoso("B2C_HOST", tt.host), t.TempDir(), io.Discard), tt.flag)
			require.NoError(t, err)
			r, err := newRequest(tenants.Of(c)[0], wishes{redirect: "https://jwt.ms"})
			require.NoError(t, err)
			require.Equal(t, tt.want+query, r.implicitURL())
		})
	}
}

func TestWishes(t *testing.T) {
	tenant := startTenant(t)
	out, err := printed(t, local(tenant),
		"-policy", "b2c_1_profileedit", "-redirect", "http://127.0.0.1:4711/back",
		"-scope", "openid,offline_access,profile,https://contoso.onmicrosoft.com/b2capi/user_impersonation,https://contoso.onmicrosoft.com/b2capi/user_impersonation")
	require.NoError(t, err)
	_, implicit := parameters(t, urls(t, out)[0])
	require.Equal(t, "p=B2C_1_profileedit", implicit[0])
	require.Equal(t, "redirect_uri=http://127.0.0.1:4711/back", implicit[3])
	require.Equal(t, "scope=openid profile https://contoso.onmicrosoft.com/b2capi/user_impersonation", implicit[4])
	at, code := parameters(t, urls(t, out)[1])
	require.Contains(t, at, "/b2c_1_profileedit/")
	require.Equal(t, "redirect_uri=http://127.0.0.1:4711/back", code[2])

	t.Run("the client of the environment, where no list has one", func(t *testing.T) {
		out, err := printed(t, local(tenant, "B2C_ALLOWED_CLIENTS", "", "B2C_CLIENT_ID", entratest.OtherClientID))
		require.NoError(t, err)
		require.Contains(t, out, "client_id="+entratest.OtherClientID)
	})
}

func TestMistakes(t *testing.T) {
	const read = entratest.AppIDURI + "/read"
	for _, tt := range []struct {
		name string
		args []string
		says []string
	}{
		{"the API's own ID as client", []string{"-client", strings.ToUpper(entratest.APIClientID)}, []string{"is the API's own ID", "client_id is the client's", "Overview"}},
		{"a client that is no ID", []string{"-client", "B2CTest"}, []string{"is not an application ID"}},
		{"a client that the API does not admit", []string{"-client", entratest.OtherClientID}, []string{"azp.not_allowed", entratest.ClientID}},
		{"a short scope name", []string{"-scope", "openid,read"}, []string{"AADB2C90117", "the full value: " + read}},
		{"no scope of an API", []string{"-scope", "openid,profile,offline_access"}, []string{"no scope of an API", "ID token", read}},
		{"the client's own ID as scope", []string{"-scope", entratest.ClientID}, []string{"aud.is_client", "Ask for " + read}},
		{"scopes of two APIs", []string{"-scope", read + ",https://contoso.onmicrosoft.com/other/read"}, []string{"AADB2C90146", "a token is for one"}},
		{"Graph's scope", []string{"-scope", "https://graph.microsoft.com/User.Read"}, []string{"token.graph", "Ask for " + read}},
		{"Graph's scope by its name", []string{"-scope", "User.Read"}, []string{"Microsoft Graph", "Ask for " + read}},
		{"a name that no scope is known to have", []string{"-scope", "tasks"}, []string{"is not a full value", "The API's own are " + read}},
		{"a program's scope", []string{"-scope", entratest.AppIDURI + "/.default"}, []string{"programs that sign in as themselves", read}},
		{"another case", []string{"-scope", entratest.AppIDURI + "/Read"}, []string{"in case", read}},
		{"no name", []string{"-scope", entratest.AppIDURI + "/"}, []string{"no name after the slash"}},
		{"a family that is not set", []string{"-family", "external"}, []string{"They have b2c"}},
		{"a policy that the API does not accept", []string{"-policy", "B2C_1_passwordreset"}, []string{"policy.not_allowed", "B2C_1_signupsignin, B2C_1_profileedit"}},
		{"a redirect URI on http", []string{"-redirect", "http://contoso.com/"}, []string{"neither https nor http on loopback"}},
		{"a redirect URI of an app's scheme", []string{"-redirect", "com.example.app://oauth"}, []string{"neither https nor http on loopback"}},
		{"a redirect URI with a fragment", []string{"-redirect", "https://jwt.ms/#x"}, []string{"-redirect"}},
		{"several at once", []string{"-client", entratest.APIClientID, "-scope", "read", "-policy", "B2C_1_x"}, []string{"API's own ID", "AADB2C90117", "policy.not_allowed"}},
		{"-print-token alone", []string{"-print-token"}, []string{"go with -open"}},
		{"a word", []string{"open"}, []string{`"open" is not a flag`}},
		{"no patience", []string{"-open", "-timeout", "0s"}, []string{"-timeout"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// No network is reached: the mistake is found before.
			out, err := printed(t, contoso(), tt.args...)
			for _, sentence := range tt.says {
				require.ErrorContains(t, err, sentence)
			}
			require.Empty(t, out)
		})
	}
	t.Run("no client at all", func(t *testing.T) {
		_, err := printed(t, contoso("B2C_ALLOWED_CLIENTS", ""))
		require.ErrorContains(t, err, "no client: pass -client ID")
	})
	t.Run("a host that the metadata URL does not follow", func(t *testing.T) {
		_, err := printed(t, local(startTenant(t)), "-host", "login.contoso.com")
		require.ErrorContains(t, err, "B2C_METADATA_URL names a host itself")
	})
	t.Run("a wrong flag", func(t *testing.T) {
		_, err := printed(t, contoso(), "-nothing")
		require.ErrorIs(t, err, errFlags)
	})
}

func TestSettings(t *testing.T) {
	root := t.TempDir()
	write := func(content string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, "local.settings.json"), []byte(content), 0o600))
	}
	load := func(environment map[string]string) (string, error) {
		c, err := loadSettings(in(environment, root, io.Discard), "")
		return c.B2C.Host + " " + c.B2C.AppIDURI, err
	}

	_, err := load(nil)
	require.ErrorContains(t, err, "ENTRA_TENANT must be set")
	require.ErrorContains(t, err, "copy local.settings.sample.json")

	sample, err := os.ReadFile(filepath.Join("..", "..", "local.settings.sample.json"))
	require.NoError(t, err)
	write("\ufeff" + string(sample))
	got, err := load(nil)
	require.NoError(t, err)
	require.Equal(t, "contoso.b2clogin.com https://contoso.onmicrosoft.com/b2capi", got)

	got, err = load(map[string]string{"B2C_TENANT": "fabrikam", "B2C_APP_ID_URI": ""})
	require.NoError(t, err)
	require.Equal(t, "fabrikam.b2clogin.com https://fabrikam.onmicrosoft.com/"+entratest.APIClientID, got, "the environment wins, and an empty value there too")

	write(`{"IsEncrypted":true,"Values":{}}`)
	_, err = load(nil)
	require.ErrorContains(t, err, "encrypted")
	write(`{`)
	_, err = load(nil)
	require.ErrorContains(t, err, "read local.settings.json")
}

// person is somebody at a browser, which keeps cookies and stops at redirects.
type person struct {
	t      *testing.T
	client *http.Client
}

type shown struct {
	at     *url.URL
	status int
	body   string
}

func newPerson(t *testing.T) person {
	return person{t, &http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (p person) do(req *http.Request) (shown, string) {
	resp, err := p.client.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return shown{resp.Request.URL, resp.StatusCode, string(body)}, resp.Header.Get("Location")
}

func (p person) get(address string) shown {
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, address, nil)
	require.NoError(p.t, err)
	page, _ := p.do(req)
	return page
}

// press sends the sign-in form with a button and the ticked scopes, and returns
// where the browser is sent.
func (p person) press(page shown, button string, ticked ...string) (location string) {
	require.Equal(p.t, http.StatusOK, page.status, page.body)
	find := func(pattern string) string {
		m := regexp.MustCompile(pattern).FindStringSubmatch(page.body)
		require.NotNil(p.t, m, "%s in %s", pattern, page.body)
		return html.UnescapeString(m[1])
	}
	form := url.Values{find(`<button [^>]*name="([^"]+)" value="` + button + `"`): {button}}
	for _, scope := range ticked {
		form.Add(find(`<input type="checkbox" name="([^"]+)" value="`+scope+`"`), scope)
	}
	action, err := page.at.Parse(find(`<form method="post" action="([^"]+)"`))
	require.NoError(p.t, err)
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, action.String(), strings.NewReader(form.Encode()))
	require.NoError(p.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "http://"+page.at.Host)
	sent, location := p.do(req)
	require.Equal(p.t, http.StatusFound, sent.status, sent.body)
	return location
}

// opened is a run of -open -no-browser that waits for the person.
type opened struct {
	t      *testing.T
	url    string
	output *bytes.Buffer // to be read after end
	ended  chan error
}

func open(t *testing.T, settings map[string]string, root string, args ...string) *opened {
	read, write := io.Pipe()
	o := &opened{t: t, output: &bytes.Buffer{}, ended: make(chan error, 1)}
	found := make(chan string, 1)
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		buffer := make([]byte, 4096)
		for {
			n, err := read.Read(buffer)
			o.output.Write(buffer[:n])
			if m := urlLine.FindStringSubmatch(o.output.String()); m != nil && found != nil {
				found <- m[1]
				found = nil
			}
			if err != nil {
				return
			}
		}
	}()
	waiting := found
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		err := run(ctx, append([]string{"-open", "-no-browser"}, args...), in(settings, root, write))
		write.Close()
		<-copied
		o.ended <- err
	}()
	select {
	case o.url = <-waiting:
	case err := <-o.ended:
		require.NoError(t, err, "it ended before it asked to sign in")
	case <-time.After(30 * time.Second):
		require.Fail(t, "no URL was printed")
	}
	return o
}

// end waits for the run and returns what it printed.
func (o *opened) end() (string, error) {
	select {
	case err := <-o.ended:
		return o.output.String(), err
	case <-time.After(30 * time.Second):
		require.Fail(o.t, "the run does not end")
		return "", nil
	}
}

func TestOpen(t *testing.T) {
	tenant := startTenant(t)

	t.Run("alice signs in", func(t *testing.T) {
		o, p := open(t, local(tenant), t.TempDir()), newPerson(t)
		page := p.get(p.press(p.get(o.url), "alice", "read", "write"))
		require.Equal(t, 200, page.status)
		require.Contains(t, page.body, "You may close this window.")
		require.Contains(t, page.body, "Access token")
		require.Contains(t, page.body, "ID token")
		require.NotContains(t, page.body, ">NO<")
		out, err := o.end()
		require.NoError(t, err)
		oneLine := strings.Join(strings.Fields(out), " ")
		require.Contains(t, oneLine, "ok aud "+entratest.APIClientID+" (the API's ID)")
		require.Contains(t, oneLine, "ok azp "+entratest.ClientID+" (a client that may call)")
		require.Contains(t, oneLine, "ok scp read write (all that was asked for)")
		require.Contains(t, oneLine, "ok iss "+tenant.Issuer()+" (the issuer of the metadata)")
		require.Contains(t, oneLine, "ok tfp B2C_1_signupsignin (a policy that is accepted)")
		require.Regexp(t, `ok exp 20\S*Z, in (1h0m0s|59m\d+s) \(a time still to come\)`, oneLine)
		require.Contains(t, oneLine, "Nothing failed, 6 ok")
		require.NotContains(t, out, "eyJ", "a token is not printed unasked")
	})

	t.Run("on a path of one's own", func(t *testing.T) {
		o, p := open(t, local(tenant), t.TempDir(), "-redirect", "http://127.0.0.1/back?x=1"), newPerson(t)
		location := p.press(p.get(o.url), "alice", "read", "write")
		require.Regexp(t, `^http://127\.0\.0\.1:\d+/back\?x=1&code=`, location)
		require.Equal(t, 200, p.get(location).status)
		_, err := o.end()
		require.NoError(t, err)
	})

	t.Run("with metadata that have the policy in the query", func(t *testing.T) {
		settings := local(tenant, "B2C_METADATA_URL", tenant.URL()+"/{tenant}.onmicrosoft.com/v2.0/.well-known/openid-configuration?p={policy}")
		o, p := open(t, settings, t.TempDir()), newPerson(t)
		require.Contains(t, o.url, "/authorize?p=b2c_1_signupsignin&client_id=")
		p.get(p.press(p.get(o.url), "alice", "read", "write"))
		_, err := o.end()
		require.NoError(t, err)
	})

	t.Run("the token alone on standard output", func(t *testing.T) {
		// The URL is on the other stream, so a browser has to be told: xdg-open here.
		if runtime.GOOS != "linux" {
			t.Skip("skipped: the browser is a shell script")
		}
		told := filepath.Join(t.TempDir(), "url")
		bin := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(bin, "xdg-open"), []byte("#!/bin/sh\nprintf %s \"$1\" >'"+told+".part' && mv '"+told+".part' '"+told+"'\n"), 0o700))
		t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
		var stdout bytes.Buffer
		ended := make(chan error, 1)
		go func() {
			ended <- run(t.Context(), []string{"-open", "-print-token"}, in(local(tenant), t.TempDir(), &stdout))
		}()
		var address []byte
		require.Eventually(t, func() bool {
			var err error
			address, err = os.ReadFile(told)
			return err == nil
		}, 30*time.Second, 5*time.Millisecond)
		p := newPerson(t)
		p.get(p.press(p.get(string(address)), "alice", "read", "write"))
		require.NoError(t, waittest.For(t, ended))
		require.Regexp(t, `^eyJ[\w-]+\.[\w-]+\.[\w-]+\n$`, stdout.String())
	})

	t.Run("a scope that is not granted is named", func(t *testing.T) {
		o, p := open(t, local(tenant), t.TempDir()), newPerson(t)
		page := p.get(p.press(p.get(o.url), "alice", "read"))
		require.Contains(t, page.body, "write was not granted")
		out, err := o.end()
		require.NoError(t, err)
		require.Regexp(t, `FAIL scp what read fix The API expects all that was asked for: write was not granted.*API permissions`,
			strings.Join(strings.Fields(out), " "))
	})

	t.Run("cancel is explained", func(t *testing.T) {
		o, p := open(t, local(tenant), t.TempDir()), newPerson(t)
		page := p.get(p.press(p.get(o.url), "cancel"))
		require.Equal(t, 200, page.status)
		require.Contains(t, page.body, "AADB2C90091: The user cancelled.")
		_, err := o.end()
		require.ErrorContains(t, err, "the sign-in was refused: access_denied: AADB2C90091")
		require.ErrorContains(t, err, "The user cancelled.")
	})

	t.Run("a refusal at the token endpoint is explained", func(t *testing.T) {
		o, p := open(t, local(tenant), t.TempDir()), newPerson(t)
		location := p.press(p.get(o.url), "bob", "read", "write")
		require.NoError(t, tenant.RemoveUser("bob"))
		require.Contains(t, p.get(location).body, "AADB2C90128")
		_, err := o.end()
		require.ErrorContains(t, err, "the code was not redeemed: invalid_grant: AADB2C90128")
		require.ErrorContains(t, err, "Sign in again")
	})

	t.Run("what is not the answer is turned away, and the answer still taken", func(t *testing.T) {
		o, p := open(t, local(tenant), t.TempDir()), newPerson(t)
		location := p.press(p.get(o.url), "alice", "read", "write")
		for _, tt := range []struct {
			name   string
			change func(*http.Request, url.Values)
			status int
		}{
			{"another state", func(_ *http.Request, q url.Values) { q.Set("state", "x") }, 400},
			{"no state", func(_ *http.Request, q url.Values) { q.Del("state") }, 400},
			{"two states", func(_ *http.Request, q url.Values) { q.Add("state", "x") }, 400},
			{"no code", func(_ *http.Request, q url.Values) { q.Del("code") }, 400},
			{"two codes", func(_ *http.Request, q url.Values) { q.Add("code", "x") }, 400},
			{"a code and an error", func(_ *http.Request, q url.Values) { q.Add("error", "x") }, 400},
			{"another path", func(r *http.Request, _ url.Values) { r.URL.Path = "/favicon.ico" }, 400},
			{"another method", func(r *http.Request, _ url.Values) { r.Method = http.MethodPost }, 405},
			{"a rebound name", func(r *http.Request, _ url.Values) { r.Host = "attacker.example" }, 403},
			{"another port's name", func(r *http.Request, _ url.Values) { r.Host = "localhost:1" }, 403},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, location, nil)
			require.NoError(t, err)
			q := req.URL.Query()
			tt.change(req, q)
			req.URL.RawQuery = q.Encode()
			page, _ := p.do(req)
			require.Equal(t, tt.status, page.status, tt.name)
			require.NotContains(t, page.body, "You may close", tt.name)
		}
		require.Equal(t, 200, p.get(location).status)
		_, err := o.end()
		require.NoError(t, err)
	})

	t.Run("nobody comes", func(t *testing.T) {
		_, err := open(t, local(tenant), t.TempDir(), "-timeout", "50ms").end()
		require.ErrorContains(t, err, "nobody signed in within 50ms")
	})

	t.Run("the doctor gets the token on standard input", func(t *testing.T) {
		root := t.TempDir()
		for name, content := range map[string]string{
			"go.mod":                 "module itemsapi\n\ngo 1.26\n",
			"scripts/doctor/main.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"io\"\n\t\"os\"\n\t\"strings\"\n)\n\nfunc main() {\n\ttoken, _ := io.ReadAll(os.Stdin)\n\tfmt.Println(os.Args[1:], strings.Count(string(token), \".\"), \"dots\")\n\tos.Exit(3)\n}\n",
		} {
			require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o600))
		}
		o, p := open(t, local(tenant), root), newPerson(t)
		p.get(p.press(p.get(o.url), "alice", "read", "write"))
		out, err := o.end()
		require.ErrorContains(t, err, "scripts/doctor", "its verdict is this one's")
		require.Contains(t, out, "[-token -] 2 dots\n")
	})
}

// A second answer is not taken, even while the first is being redeemed.
func TestTheAnswerIsTakenOnce(t *testing.T) {
	l := &landing{redirect: url.URL{Scheme: "http", Host: "localhost"}, state: "s", landed: make(chan url.Values, 1), shown: make(chan tokenpage.Page, 1)}
	l.shown <- tokenpage.Page{}
	listeners, err := listen(&l.redirect)
	require.NoError(t, err)
	server := &http.Server{Handler: l}
	t.Cleanup(func() { server.Close() })
	for _, listener := range listeners {
		go func() { _ = server.Serve(listener) }()
	}
	p := newPerson(t)
	require.Equal(t, 200, p.get(l.redirect.String()+"?state=s&code=1").status)
	require.Equal(t, 400, p.get(l.redirect.String()+"?state=s&code=2").status)
	require.Equal(t, "1", waittest.For(t, l.landed).Get("code"))
}

func TestMetadata(t *testing.T) {
	tenant := startTenant(t)
	for _, tt := range []struct{ name, body, says string }{
		{"the token endpoint on plain http", `{"issuer":"i","authorization_endpoint":"https://a.example/","token_endpoint":"http://a.example/"}`, "neither https nor http on loopback"},
		{"a script for an endpoint", `{"issuer":"i","authorization_endpoint":"javascript:alert(1)","token_endpoint":"https://a.example/"}`, "neither https nor http on loopback"},
		{"no endpoints", `{}`, "neither https nor http on loopback"},
		{"no JSON", `<html>`, "is not JSON"},
		{"too much", `{"issuer":"` + strings.Repeat("x", 1<<20) + `"}`, "is not JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Cleanup(tenant.Inject(entratest.Fault{Body: tt.body}))
			_, err := printed(t, local(tenant), "-open", "-no-browser")
			require.ErrorContains(t, err, tt.says)
		})
	}
	t.Run("a policy that is not there", func(t *testing.T) {
		t.Cleanup(tenant.Inject(entratest.Fault{Status: 404, Body: `{}`}))
		out, err := printed(t, local(tenant))
		require.ErrorContains(t, err, "check the settings B2C_…")
		require.Len(t, urls(t, out), 1, "the portal's form is printed all the same")
	})
	t.Run("a redirect is not followed", func(t *testing.T) {
		t.Cleanup(tenant.Inject(entratest.Fault{Status: 302, Body: `{}`, Header: http.Header{"Location": {"https://a.example/"}}}))
		_, err := printed(t, local(tenant), "-open", "-no-browser")
		require.ErrorContains(t, err, "answers 302")
	})
	t.Run("a tenant that does not answer", func(t *testing.T) {
		t.Cleanup(tenant.Inject(entratest.Fault{Drop: true}))
		_, err := printed(t, local(tenant), "-open", "-no-browser")
		require.ErrorContains(t, err, "read the metadata")
	})
}

// What people reported, and what run-now has to make of it; the cases are doctor's file.
func TestReported(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "doctor", "testdata", "reported.json"))
	require.NoError(t, err)
	var cases []struct {
		Name, Kind string
		Args       []string
		Settings   map[string]string
		Exit       []int
		Match, Not []string
	}
	require.NoError(t, json.Unmarshal(b, &cases))
	tenant := startTenant(t)
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"issuer":"i","authorization_endpoint":"https://login.example/authorize","token_endpoint":"https://login.example/token"}`)
	}))
	t.Cleanup(metadata.Close)
	replayed := 0
	for _, c := range cases {
		if c.Kind != "run-now" {
			continue
		}
		replayed++
		t.Run(c.Name, func(t *testing.T) {
			settings := local(tenant)
			for name, value := range c.Settings {
				settings[name] = strings.ReplaceAll(value, "@METADATA", metadata.URL)
			}
			for i, arg := range c.Args {
				c.Args[i] = strings.NewReplacer("@API", entratest.APIClientID, "@CLIENT", entratest.ClientID).Replace(arg)
			}
			out, err := printed(t, settings, c.Args...)
			status := 0
			if err != nil {
				out, status = out+err.Error(), 1
			}
			require.Contains(t, c.Exit, status, out)
			for _, match := range c.Match {
				require.Regexp(t, match, out)
			}
			for _, not := range c.Not {
				require.NotRegexp(t, not, out)
			}
		})
	}
	require.Equal(t, 7, replayed)
}

// The families without policies.
func TestFamilies(t *testing.T) {
	tenant := startTenant(t)
	settings := local(
		tenant,
		"EXTERNAL_TENANT", entratest.ExternalTenantName, "EXTERNAL_API_CLIENT_ID", entratest.ExternalAPIClientID,
		"EXTERNAL_ALLOWED_CLIENTS", entratest.ExternalClientID, "EXTERNAL_METADATA_URL", tenant.MetadataTemplateOf(entratest.External),
		"ENTRA_TENANT", entratest.WorkforceTenantDomain, "ENTRA_API_CLIENT_ID", entratest.WorkforceAPIClientID,
		"ENTRA_ALLOWED_CLIENTS", entratest.WorkforceClientID, "ENTRA_METADATA_URL", tenant.MetadataTemplateOf(entratest.Workforce),
	)
	for _, family := range []string{"external", "entra"} {
		t.Run(family, func(t *testing.T) {
			out, err := printed(t, settings, "-family", family)
			require.NoError(t, err)
			_, pairs := parameters(t, urls(t, out)[0])
			require.Regexp(t, "^client_id=", pairs[0], "no policy")
			require.Contains(t, pairs[3], "scope=openid profile api://")
			p := newPerson(t)
			require.Contains(t, p.press(p.get(urls(t, out)[0]), "alice", "read", "write"), "https://jwt.ms#access_token=")

			o := open(t, settings, t.TempDir(), "-family", family)
			page := p.get(p.press(newPerson(t).get(o.url), "alice", "read", "write"))
			require.Contains(t, page.body, "whose items are meant")
			out, err = o.end()
			require.NoError(t, err)
			require.Contains(t, out, "Nothing failed, 7 ok")
		})
	}
	_, err := printed(t, settings, "-family", "entra", "-host", "login.contoso.com")
	require.ErrorContains(t, err, "no host of its own")
	_, err = printed(t, settings, "-family", "external", "-policy", "B2C_1_x")
	require.ErrorContains(t, err, "has no policies")
}
