package main

// The article that this product grew out of, replayed: a client asks for
// scopes, calls an API, and is told "not authorised". Here every wrong turn ends
// in the sentence that would have saved the day.

import (
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/handler/items/itemstest"
)

func TestTheArticle(t *testing.T) {
	const (
		theClient = "47840c35-e986-468b-8d2c-e25aa02d3d08" // B2CTest
		theAPI    = "ecfb57af-c76a-49a0-b48f-37311846956f" // B2CAPI
		read      = "https://contoso.onmicrosoft.com/b2capi/read"
		write     = "https://contoso.onmicrosoft.com/b2capi/write"
		fallback  = "https://contoso.onmicrosoft.com/b2capi/user_impersonation"
	)
	world := startArticle(t)
	runNow := world.runNowURL(read, write, fallback)

	t.Run("Run now is the client's URL, with the API's scopes", func(t *testing.T) {
		require.Equal(t, theClient, parameter(runNow, "client_id"))
		require.Equal(t, "openid "+read+" "+write+" "+fallback, parameter(runNow, "scope"))
		require.Equal(t, "id_token token", parameter(runNow, "response_type"))
		require.Equal(t, "https://jwt.ms", parameter(runNow, "redirect_uri"))
	})

	t.Run("the right access token is for the API, from the client, with the scopes asked for", func(t *testing.T) {
		token := world.signIn(runNow, "alice").Get("access_token")
		require.Equal(t, theAPI, claim(t, token, "aud"))
		require.Equal(t, theClient, claim(t, token, "azp"))
		require.Equal(t, "read write user_impersonation", claim(t, token, "scp"))

		status, _, body := send(t, "POST", world.api, token, itemstest.Text("Milk"))
		require.Equal(t, 201, status, body)
		status, _, body = send(t, "GET", world.api, token, "")
		require.Equal(t, 200, status, body)
		var page struct{ Value []json.RawMessage }
		require.NoError(t, json.Unmarshal([]byte(body), &page))
		require.Len(t, page.Value, 1)
		require.Equal(t, "Milk", itemstest.TextOf(page.Value[0]))
	})

	// The wrong turns that B2C itself refuses, before there is a token.

	t.Run("client_id is the API's: nobody signs in to the API", func(t *testing.T) {
		page := world.get(with(runNow, "client_id", theAPI))
		world.says(page, "AADB2C90007", "the client's application ID into client_id, not the API's")
	})

	t.Run("scopes by their short names: B2C expects the full values", func(t *testing.T) {
		answer := world.answer(with(runNow, "scope", "openid read write"))
		world.says(answer.Get("error_description"), "AADB2C90117", "Ask for the full value", "Expose an API")
	})

	t.Run("a scope of Microsoft Graph: B2C does not have it", func(t *testing.T) {
		answer := world.answer(with(runNow, "scope", "openid User.Read"))
		world.says(answer.Get("error_description"), "AADB2C90117", "Ask for the full value")
	})

	t.Run("an access token for no API: choose the API under Access tokens", func(t *testing.T) {
		answer := world.answer(with(runNow, "scope", "openid"))
		world.says(answer.Get("error_description"), "AADB2C90055", "choose the API under Access tokens")
	})

	t.Run("the scopes of two APIs: one token is for one API", func(t *testing.T) {
		answer := world.answer(with(runNow, "scope", "openid "+read+" "+theClient))
		world.says(answer.Get("error_description"), "AADB2C90146", "the scopes of one API in one request")
	})

	t.Run("no scope is granted: an administrator has to consent", func(t *testing.T) {
		answer := world.signIn(with(runNow, "scope", "openid "+read), "alice", "read")
		world.says(answer.Get("error_description"), "AADB2C90205", "Grant admin consent")
	})

	// The wrong turns that end in a token, and at the API in "not authorised".

	t.Run("only openid is asked for: an ID token does not open an API", func(t *testing.T) {
		url := with(with(runNow, "scope", "openid"), "response_type", "id_token")
		refused(t, world, "GET", world.signIn(url, "alice").Get("id_token"),
			401, "token.id_token", "Send the access_token. To get one, ask for the API's scope, "+read)
	})

	t.Run("the ID token is sent though there is an access token", func(t *testing.T) {
		refused(t, world, "GET", world.signIn(runNow, "alice").Get("id_token"),
			401, "token.id_token", "Send the access_token.")
	})

	t.Run("the client's own ID as scope: the token is for the client", func(t *testing.T) {
		url := with(runNow, "scope", "openid "+theClient)
		token := world.signIn(url, "alice").Get("access_token")
		require.Equal(t, theClient, claim(t, token, "aud"))
		refused(t, world, "GET", token,
			401, "aud.is_client", "Ask for the API's scope, "+read+", instead of the client's own ID.")
	})

	t.Run("a scope is not granted: B2C silently drops it", func(t *testing.T) {
		token := world.signIn(runNow, "alice", "write").Get("access_token")
		require.Equal(t, "read user_impersonation", claim(t, token, "scp"))
		refused(t, world, "POST", token,
			403, "scope.missing", "Ask for "+write+". B2C silently drops scopes that were not granted. Portal: App registrations > (the client) > API permissions: add the scope and grant admin consent.")
		status, _, body := send(t, "GET", world.api, token, "")
		require.Equal(t, 200, status, "reading was granted: %s", body)
	})

	t.Run("Graph's token: it opens Graph alone", func(t *testing.T) {
		refused(t, world, "GET", world.broken("token.graph"),
			401, "token.graph", "Ask for this API's scope, "+read+", instead of User.Read")
	})

	t.Run("another policy's key signed it: its own policy's keys alone count", func(t *testing.T) {
		claims := world.tenant.Claims(entratest.TokenRequest{Policy: entratest.PolicySignUpSignIn})
		refused(t, world, "GET", world.tenant.Sign(entratest.PolicyProfileEdit, nil, claims),
			401, "key.unknown", "it comes from another tenant or another policy than it says")
	})

	t.Run("the token is yesterday's: get a new one before each call", func(t *testing.T) {
		token, err := world.tenant.AccessToken(entratest.TokenRequest{Lifetime: -24 * time.Hour})
		require.NoError(t, err)
		refused(t, world, "GET", token,
			401, "time.expired", "Get a new one before each call")
	})

	t.Run("no token at all: which scope to ask for", func(t *testing.T) {
		refused(t, world, "GET", "", 401, "auth.missing", "with a token for the scope "+read)
	})
}

// article is the article's world: the tenant, and the API behind its host.
type article struct {
	t      *testing.T
	tenant *entratest.Server
	api    string
}

func startArticle(t *testing.T) *article {
	a := &article{t: t, tenant: startTenant(t)}
	host, err := functionstest.Start(t.Context(), functionstest.Config{
		Dir: module, Executable: builtHandler(t), Env: environment(settings(a.tenant, startStorage(t).ConnectionString())),
	})
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	a.api = host.URL() + "/api/items"
	token, err := a.tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, _, _ := send(t, "GET", a.api, token, "")
		return status == 200
	}, 30*time.Second, 20*time.Millisecond, "the table is made")
	return a
}

// runNowURL is what scripts/run-now prints first, the portal's form.
func (a *article) runNowURL(scopes ...string) string {
	cmd := exec.CommandContext(a.t.Context(), "go", "run", "./scripts/run-now", "-scope", strings.Join(scopes, ","))
	cmd.Dir = module
	cmd.Env = append(os.Environ(), environment(settings(a.tenant, "UseDevelopmentStorage=true"))...)
	cmd.Env = append(cmd.Env, "B2C_HOST=", "B2C_READ_SCOPE=", "B2C_WRITE_SCOPE=")
	out, err := cmd.Output()
	require.NoError(a.t, err)
	printed := regexp.MustCompile(`(?m)^  (http\S+)$`).FindSubmatch(out)
	require.NotNil(a.t, printed, "%s", out)
	return string(printed[1])
}

// parameter is a parameter of a URL.
func parameter(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// with is a URL after somebody edited a parameter.
func with(address, name, value string) string {
	at, query, _ := strings.Cut(address, "?")
	q, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	q.Set(name, value)
	return at + "?" + q.Encode()
}

// claim is a claim of a token, as jwt.ms shows it.
func claim(t *testing.T, token, name string) any {
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3, "no token: %q", token)
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(payload, &claims))
	return claims[name]
}

// browse opens a page, and stays where it would be sent on.
func (a *article) browse(req *http.Request) (page, location string) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	require.NoError(a.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(a.t, err)
	return string(body), resp.Header.Get("Location")
}

func (a *article) get(address string) (page string) {
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, address, nil)
	require.NoError(a.t, err)
	page, _ = a.browse(req)
	return page
}

// answer is what jwt.ms gets to see in the fragment, without a sign-in.
func (a *article) answer(address string) url.Values {
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, address, nil)
	require.NoError(a.t, err)
	page, location := a.browse(req)
	require.NotEmpty(a.t, location, page)
	return fragment(a.t, location)
}

// signIn presses the user's button on the sign-in page, after taking the ticks
// off the declined scopes, and returns what jwt.ms gets to see.
func (a *article) signIn(address, user string, declined ...string) url.Values {
	page := a.get(address)
	form := url.Values{}
	for _, box := range regexp.MustCompile(`<input type="checkbox" name="([^"]+)" value="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		if !slices.Contains(declined, box[2]) {
			form.Add(box[1], box[2])
		}
	}
	button := regexp.MustCompile(`<button type="submit" name="([^"]+)" value="` + user + `"`).FindStringSubmatch(page)
	action := regexp.MustCompile(`<form method="post" action="([^"]+)"`).FindStringSubmatch(page)
	require.NotNil(a.t, button, page)
	require.NotNil(a.t, action, page)
	form.Set(button[1], user)
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.tenant.URL()+html.UnescapeString(action[1]), strings.NewReader(form.Encode()))
	require.NoError(a.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", a.tenant.URL())
	page, location := a.browse(req)
	require.NotEmpty(a.t, location, page)
	return fragment(a.t, location)
}

func fragment(t *testing.T, location string) url.Values {
	after, ok := strings.CutPrefix(location, "https://jwt.ms#")
	require.True(t, ok, location)
	values, err := url.ParseQuery(after)
	require.NoError(t, err)
	return values
}

func (a *article) broken(code string) string {
	b, err := a.tenant.Broken(code)
	require.NoError(a.t, err)
	return b.Token
}

// says holds what scripts/doctor says of B2C's own refusal against code and cure.
func (a *article) says(text, code string, fix ...string) {
	cmd := exec.CommandContext(a.t.Context(), "go", "run", "./scripts/doctor", "-json", "-token", "-")
	cmd.Dir = module
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	require.ErrorAs(a.t, err, new(*exec.ExitError), "what B2C refuses is a failure")
	var report struct {
		Checks []struct{ Code, Fix string }
	}
	require.NoError(a.t, json.Unmarshal(out, &report), "%s", out)
	last := report.Checks[len(report.Checks)-1]
	require.Equal(a.t, code, last.Code, "%s", out)
	for _, sentence := range fix {
		require.Contains(a.t, last.Fix, sentence)
	}
}

// refused holds the API's refusal of a call against status, code and cure.
func refused(t *testing.T, a *article, method, token string, status int, code, fix string) {
	body := ""
	if method == http.MethodPost {
		body = itemstest.Text("Milk")
	}
	got, _, answer := send(t, method, a.api, token, body)
	var problem struct{ Code, Fix string }
	require.NoError(t, json.Unmarshal([]byte(answer), &problem), answer)
	require.Equal(t, code, problem.Code, answer)
	require.Equal(t, status, got)
	require.Contains(t, problem.Fix, fix)
}
