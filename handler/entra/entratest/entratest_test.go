package entratest_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/waittest"
)

const (
	page = "http://localhost:9912/redirect.html" // the single-page app's
	app  = "com.example.app://oauth/redirect"    // a native app's
)

func start(t *testing.T, o entratest.Options) *entratest.Server {
	t.Helper()
	s, err := entratest.Start(o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

func (a answer) json(t *testing.T) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &v), a.body)
	return v
}

// location is where the response redirects to: the URI before its parameters,
// and the parameters, wherever they are.
func (a answer) location(t *testing.T) (uri string, params url.Values) {
	t.Helper()
	require.Equal(t, http.StatusFound, a.StatusCode, a.body)
	location := a.Header.Get("Location")
	i := strings.IndexAny(location, "?#")
	if i < 0 {
		return location, url.Values{}
	}
	params, err := url.ParseQuery(location[i+1:])
	require.NoError(t, err)
	return location[:i], params
}

// browser keeps cookies and follows no redirect.
type browser struct {
	t      *testing.T
	client *http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &browser{t, &http.Client{
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) send(method, target string, form url.Values, header ...string) answer {
	b.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, target, body)
	require.NoError(b.t, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

func (b *browser) do(req *http.Request) answer {
	b.t.Helper()
	resp, err := b.client.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	return answer{resp, string(read)}
}

func (b *browser) get(target string, header ...string) answer {
	b.t.Helper()
	return b.send(http.MethodGet, target, nil, header...)
}

// click sends the sign-in page's form as the button with this text does, with
// the ticked scopes.
func (b *browser) click(on answer, button string, ticked ...string) answer {
	b.t.Helper()
	require.Equal(b.t, http.StatusOK, on.StatusCode, on.body)
	form := readForm(b.t, on.body)
	i := slices.IndexFunc(form.buttons, func(c control) bool { return c.text == button })
	require.GreaterOrEqual(b.t, i, 0, "no button %q among %v", button, form.buttons)
	values := url.Values{form.buttons[i].name: {form.buttons[i].value}}
	for _, c := range form.boxes {
		require.True(b.t, c.checked, "the box %s is not ticked", c.value)
		if slices.Contains(ticked, c.value) {
			values.Add(c.name, c.value)
		}
	}
	action, err := on.Request.URL.Parse(form.action)
	require.NoError(b.t, err)
	return b.send(http.MethodPost, action.String(), values, "Origin", "http://"+on.Request.URL.Host, "Sec-Fetch-Site",
		"same-origin")
}

type htmlForm struct {
	action         string
	buttons, boxes []control
	hidden         url.Values
}

type control struct {
	name, value, text string
	checked           bool
}

// readForm reads the first form of an HTML page.
func readForm(t *testing.T, html string) htmlForm {
	t.Helper()
	form := htmlForm{hidden: url.Values{}}
	d := xml.NewDecoder(strings.NewReader(html))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var inForm, inButton bool
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		switch tok := tok.(type) {
		case xml.StartElement:
			attr := map[string]string{}
			for _, a := range tok.Attr {
				attr[a.Name.Local] = a.Value
			}
			_, checked := attr["checked"]
			c := control{name: attr["name"], value: attr["value"], checked: checked}
			switch {
			case tok.Name.Local == "form" && form.action == "":
				inForm, form.action = true, attr["action"]
				require.Equal(t, "post", attr["method"])
			case !inForm:
			case tok.Name.Local == "button":
				inButton = true
				form.buttons = append(form.buttons, c)
			case tok.Name.Local == "input" && attr["type"] == "checkbox":
				form.boxes = append(form.boxes, c)
			case tok.Name.Local == "input" && attr["type"] == "hidden":
				form.hidden.Add(c.name, c.value)
			}
		case xml.CharData:
			if inButton {
				form.buttons[len(form.buttons)-1].text += strings.TrimSpace(string(tok))
			}
		case xml.EndElement:
			switch tok.Name.Local {
			case "button":
				inButton = false
			case "form":
				inForm = false
			}
		}
	}
	require.NotEmpty(t, form.action, html)
	return form
}

// at is the URL of an endpoint: /authorize, /token or /logout.
func at(s *entratest.Server, policy, endpoint string) string {
	return s.URL() + "/" + entratest.TenantDomain + "/" + policy + "/oauth2/v2.0" + endpoint
}

func scopes(short ...string) string {
	full := []string{"openid", "offline_access"}
	for _, s := range short {
		full = append(full, entratest.AppIDURI+"/"+s)
	}
	return strings.Join(full, " ")
}

func TestStart(t *testing.T) {
	t.Run("refuses what is not loopback", func(t *testing.T) {
		for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:0", "[::]:0", "localhost"} {
			_, err := entratest.Start(entratest.Options{Addr: addr})
			require.Error(t, err, addr)
		}
	})
	t.Run("says that a port is taken", func(t *testing.T) {
		s := start(t, entratest.Options{Addr: "localhost:0"})
		_, err := entratest.Start(entratest.Options{Addr: strings.TrimPrefix(s.URL(), "http://")})
		require.ErrorContains(t, err, "in use")
	})
	t.Run("listens on both families for localhost", func(t *testing.T) {
		s := start(t, entratest.Options{Addr: "localhost:0"})
		port := s.URL()[strings.LastIndex(s.URL(), ":"):]
		hosts := []string{"http://127.0.0.1" + port, "http://localhost" + port}
		if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
			l.Close()
			hosts = append(hosts, "http://[::1]"+port)
		}
		for _, host := range hosts {
			require.Equal(t, http.StatusOK, newBrowser(t).get(host+"/").StatusCode, host)
		}
	})
	t.Run("spells names with PublicHost", func(t *testing.T) {
		s := start(t, entratest.Options{PublicHost: "login.contoso.test"})
		require.Equal(t, "http://login.contoso.test", s.URL())
		require.Equal(t, "https://login.contoso.test/"+entratest.TenantID+"/v2.0/", s.Issuer())
		require.Equal(t, "http://login.contoso.test/{tenant}.onmicrosoft.com/{policy}/v2.0/.well-known/openid-configuration",
			s.MetadataTemplate())
	})
	t.Run("spells URLs with PublicURL where it is asked there", func(t *testing.T) {
		s := start(t, entratest.Options{PublicURL: "https://localhost:9443"})
		b := newBrowser(t)
		metadata := s.URL() + "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn + "/v2.0/.well-known/openid-configuration"
		require.Contains(t, b.get(metadata, "Host", "localhost:9443").body, `"https://localhost:9443/contoso.onmicrosoft.com/`)
		require.NotContains(t, b.get(metadata).body, "9443")
		require.NotContains(t, b.get(metadata, "X-Forwarded-Proto", "https").body, `":"https://`+strings.TrimPrefix(s.URL(), "http://")+"/contoso")
		for _, row := range []struct {
			host, origin string
			status       int
		}{
			{"localhost:9443", "https://localhost:9443", http.StatusFound},
			{"localhost:9443", "http://localhost:9443", http.StatusForbidden},
			{"localhost:9444", "https://localhost:9444", http.StatusForbidden},
		} {
			form := readForm(t, b.get(authorize(s, "prompt", "login")).body)
			button := form.buttons[0]
			posted := b.send("POST", s.URL()+form.action, url.Values{button.name: {button.value}}, "Host", row.host, "Origin", row.origin)
			require.Equal(t, row.status, posted.StatusCode, row)
		}
		for _, bad := range []string{"http://localhost:9443", "https://login.example", "https://localhost:9443/", "localhost:9443"} {
			_, err := entratest.Start(entratest.Options{PublicURL: bad})
			require.ErrorContains(t, err, "must be https://localhost:PORT", bad)
		}
	})
	t.Run("stops for good", func(t *testing.T) {
		s := start(t, entratest.Options{})
		s.Close()
		s.Close()
		_, err := http.Get(s.URL())
		require.Error(t, err)
	})
}

func TestHostGuard(t *testing.T) {
	s := start(t, entratest.Options{})
	b := newBrowser(t)
	for host, status := range map[string]int{
		"localhost":            http.StatusOK,
		"LOCALHOST:1":          http.StatusOK,
		"127.0.0.1:9911":       http.StatusOK,
		"127.8.9.1":            http.StatusOK,
		"[::1]:9911":           http.StatusOK,
		"attacker.example":     http.StatusForbidden,
		"localhost.attacker":   http.StatusForbidden,
		"attacker.localhost":   http.StatusForbidden,
		"127.0.0.1.nip.io:80":  http.StatusForbidden,
		"localhost@attacker":   http.StatusForbidden,
		"10.0.2.2:9911":        http.StatusForbidden,
		"contoso.b2clogin.com": http.StatusForbidden,
	} {
		for _, path := range []string{"/", "/dev/token", "/contoso.onmicrosoft.com/B2C_1_ropc/discovery/v2.0/keys"} {
			require.Equal(t, status, b.get(s.URL()+path, "Host", host).StatusCode, "%s at %s", host, path)
		}
	}
}

func TestLogHasNoSecrets(t *testing.T) {
	lines := make(chan string, 100)
	s := start(t, entratest.Options{Log: func(line string) { lines <- line }})
	b := newBrowser(t)

	token, err := s.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	b.get(s.URL() + "/" + token)
	b.get(s.URL() + "/?access_token=" + token)
	b.send(http.MethodPost, at(s, entratest.PolicySignUpSignIn, "/token"), url.Values{
		"grant_type": {"refresh_token"}, "client_id": {entratest.ClientID}, "refresh_token": {token},
	})

	require.Regexp(t, `^GET "/\\u2026" 404 `, waittest.For(t, lines))
	require.Regexp(t, `^GET "/" 200 `, waittest.For(t, lines))
	last := waittest.For(t, lines)
	require.Regexp(t, `^POST "/contoso.onmicrosoft.com/B2C_1_signupsignin/oauth2/v2.0/token" 400 .* AADB2C90085$`, last)
	require.Empty(t, lines)
}
