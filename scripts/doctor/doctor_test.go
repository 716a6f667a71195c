package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/scripts/internal/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world is everything that doctor looks at, all of it well until a test breaks
// something.
type world struct {
	tenant *entratest.Server
	tables *tablestest.Server
	app    string
	env    map[string]string
	stdin  string
}

func newWorld(t testing.TB) *world {
	w := &world{app: t.TempDir()}
	var err error
	w.tenant, err = entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(w.tenant.Close)
	w.tables, err = tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(w.tables.Close)
	service, err := aztables.NewServiceClientFromConnectionString(w.tables.ConnectionString(), nil)
	require.NoError(t, err)
	_, err = service.CreateTable(context.Background(), config.Collection, nil)
	require.NoError(t, err)

	// Two functions have other names than the project's, on which no text depends then.
	for name, from := range map[string]string{
		"host.json": "", "openapi/function.json": "", "read/function.json": config.Collection + "-", "write/function.json": config.Collection + "-",
	} {
		text, err := os.ReadFile(filepath.Join("..", "..", from+name))
		require.NoError(t, err)
		w.write(t, name, string(text))
	}
	w.write(t, "bin/handler", "")
	require.NoError(t, os.Chmod(filepath.Join(w.app, "bin", "handler"), 0o755))
	w.write(t, "local.settings.json", `{"IsEncrypted":false,"Values":{"FUNCTIONS_WORKER_RUNTIME":"custom","B2C_READ_SCOPE":"read"},"Host":{"CORS":"http://localhost:9912,http://127.0.0.1:9912"}}`)
	w.env = map[string]string{
		"B2C_TENANT":               entratest.TenantName,
		"B2C_POLICIES":             entratest.PolicySignUpSignIn + "," + entratest.PolicyProfileEdit,
		"B2C_API_CLIENT_ID":        entratest.APIClientID,
		"B2C_APP_ID_URI":           entratest.AppIDURI,
		"B2C_ALLOWED_CLIENTS":      entratest.ClientID,
		"B2C_METADATA_URL":         w.tenant.MetadataTemplate(),
		"TABLES_CONNECTION_STRING": w.tables.ConnectionString(),
	}
	return w
}

func (w *world) write(t testing.TB, name, text string) {
	path := filepath.Join(w.app, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
}

// edit replaces text in a file of the app.
func (w *world) edit(t testing.TB, name, old, replacement string) {
	text, err := os.ReadFile(filepath.Join(w.app, filepath.FromSlash(name)))
	require.NoError(t, err)
	require.Contains(t, string(text), old)
	w.write(t, name, strings.ReplaceAll(string(text), old, replacement))
}

func (w *world) lookup(name string) (string, bool) {
	value, ok := w.env[name]
	return value, ok
}

// run runs doctor. Whatever it does, it must not show a key.
func (w *world) run(t testing.TB, args ...string) (stdout, stderr string, status int) {
	var out, errOut bytes.Buffer
	status = run(context.Background(), append([]string{"-app", w.app}, args...), w.lookup, strings.NewReader(w.stdin), &out, &errOut)
	for _, text := range []string{out.String(), errOut.String()} {
		require.NotContains(t, text, tablestest.AccountKey)
		require.NotRegexp(t, `eyJ[\w-]{20}`, text, "no token is shown")
	}
	return out.String(), errOut.String(), status
}

type result struct {
	OK     bool
	Checks []report.Check
}

// oneLine undoes the breaking of lines.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func (w *world) json(t testing.TB, args ...string) (result, int) {
	stdout, stderr, status := w.run(t, append([]string{"-json"}, args...)...)
	require.Empty(t, stderr)
	var r result
	d := json.NewDecoder(strings.NewReader(stdout))
	require.NoError(t, d.Decode(&r), stdout)
	_, err := d.Token()
	require.ErrorIs(t, err, io.EOF, "one document")
	require.Equal(t, status == 0, r.OK)
	return r, status
}

// with finds the checks with a name.
func (r result) with(name string) (found []report.Check) {
	for _, c := range r.Checks {
		if c.Name == name {
			found = append(found, c)
		}
	}
	return found
}

func (r result) status(status string) (names []string) {
	for _, c := range r.Checks {
		if c.Status == status {
			names = append(names, c.Name)
		}
	}
	return names
}

func TestAllWell(t *testing.T) {
	w := newWorld(t)
	stdout, stderr, status := w.run(t)
	require.Empty(t, stderr)
	require.Equal(t, 0, status, stdout)
	golden(t, "well.txt", stdout)
	require.Empty(t, w.tables.Entities(config.Collection), "no row is left")

	r, status := w.json(t)
	require.Equal(t, 0, status)
	require.Empty(t, r.status(report.StatusFail))
	require.Contains(t, stdout, fmt.Sprintf("Nothing failed, %d ok\n", len(r.Checks)))
}

// Tenants of all three families at once, and one alone.
func TestFamilies(t *testing.T) {
	w := newWorld(t)
	maps.Copy(w.env, families(w))
	r, status := w.json(t)
	require.Equal(t, 0, status, r.Checks)
	for _, label := range []string{"B2C_1_signupsignin", "the external tenant", "the workforce tenant"} {
		for _, what := range []string{"metadata", "issuer", "keys"} {
			require.Len(t, r.with(what+" of "+label), 1)
			require.Equal(t, report.StatusOK, r.with(what + " of " + label)[0].Status)
		}
	}
	for name := range w.env {
		if strings.HasPrefix(name, "B2C_") || strings.HasPrefix(name, "EXTERNAL_") {
			delete(w.env, name)
		}
	}
	w.write(t, "local.settings.json", "{}")
	r, status = w.json(t)
	require.Equal(t, 0, status, r.Checks)
	require.Empty(t, r.with("one tenant"), "which is of B2C's policies")
	require.Equal(t, report.StatusOK, r.with("clock")[0].Status)
}

// Nothing that doctor proposes would overwrite a settings file that is there.
func TestNoOverwriting(t *testing.T) {
	for _, text := range []string{`{"Values":{"A":"b",}}`, `{"IsEncrypted":false}`, `{}`, `{"Values":{"A":1}}`, ""} {
		w := newWorld(t)
		w.env = nil
		w.write(t, "local.settings.json", text)
		stdout, _, status := w.run(t)
		require.Equal(t, 1, status)
		require.NotContains(t, oneLine(stdout), "Copy local.settings.sample.json")
	}
}

// How a failure looks.
func TestGoldenFailures(t *testing.T) {
	w := newWorld(t)
	w.env["B2C_POLICIES"] = "B2C_1_signupsignin,B2C_1_profiledit"
	w.env["ITEMS_TABLE"] = "other"
	w.edit(t, "read/function.json", `"anonymous"`, `"function"`)
	w.write(t, "local.settings.json", `{"Host":{"CORS":"*"}}`)
	stdout, _, status := w.run(t)
	require.Equal(t, 1, status)
	golden(t, "failures.txt", stdout)

	b, err := w.tenant.Broken("aud.is_client")
	require.NoError(t, err)
	w.env["B2C_POLICIES"] = entratest.PolicySignUpSignIn
	w.stdin = b.Token
	stdout, _, status = w.run(t, "-token", "-")
	require.Equal(t, 1, status)
	golden(t, "token.txt", kidAndTime.ReplaceAllString(stdout, "${1}…"))
}

// A cache's answer has the origin's Date, and an Age.
func TestClockBehindACache(t *testing.T) {
	w := newWorld(t)
	w.tenant.Inject(entratest.Fault{Header: http.Header{
		"Date": {time.Now().Add(-5 * time.Minute).UTC().Format(http.TimeFormat)}, "Age": {"300"},
	}})
	r, status := w.json(t)
	require.Equal(t, 0, status, r.Checks)
}

func golden(t testing.TB, name, got string) {
	got = regexp.MustCompile(`(localhost|127\.0\.0\.1):\d+`).ReplaceAllString(got, "$1:PORT")
	got = regexp.MustCompile(`(clock +)\d+s`).ReplaceAllString(got, "${1}0s")
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	// Where lines break depends on the project's names, and is package report's to test.
	require.Equal(t, strings.Fields(string(want)), strings.Fields(got))
}

// closedPort is an address where nothing listens.
func closedPort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// forPolicy matches a policy's requests for metadata or keys.
func forPolicy(name, kind string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		path := strings.ToLower(r.URL.Path)
		return strings.Contains(path, strings.ToLower(name)) && strings.HasSuffix(path, kind)
	}
}

const (
	metadataPath = "openid-configuration"
	keysPath     = "keys"
)

// keysWithID publishes a policy's own key under another ID.
func keysWithID(t testing.TB, w *world, kid string) string {
	key, _ := w.tenant.PrivateKey(entratest.PolicySignUpSignIn)
	text, err := json.Marshal(map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "kid": kid, "e": "AQAB",
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
	}}})
	require.NoError(t, err)
	return string(text)
}

// Each breakage is named by the check that it belongs to.
func TestBreakages(t *testing.T) {
	const (
		signUp = "metadata of B2C_1_signupsignin"
		keys   = "keys of B2C_1_signupsignin"
	)
	dateIn := func(offset time.Duration) func(testing.TB, *world) {
		return func(_ testing.TB, w *world) {
			w.tenant.Inject(entratest.Fault{Header: http.Header{"Date": {time.Now().Add(offset).UTC().Format(http.TimeFormat)}}})
		}
	}
	metadata := func(issuer, jwks string) func(testing.TB, *world) {
		return func(_ testing.TB, w *world) {
			if jwks == "" {
				jwks = w.tenant.URL() + "/" + entratest.TenantDomain + "/b2c_1_signupsignin/discovery/v2.0/keys"
			}
			w.tenant.Inject(entratest.Fault{Match: forPolicy("signupsignin", metadataPath), Body: fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, jwks)})
		}
	}
	set := func(name, value string) func(testing.TB, *world) {
		return func(_ testing.TB, w *world) { w.env[name] = value }
	}
	local := func(text string) func(testing.TB, *world) {
		return func(t testing.TB, w *world) { w.write(t, "local.settings.json", text) }
	}
	edit := func(name, old, replacement string) func(testing.TB, *world) {
		return func(t testing.TB, w *world) { w.edit(t, name, old, replacement) }
	}
	answer := func(kind string, f entratest.Fault) func(testing.TB, *world) {
		return func(_ testing.TB, w *world) {
			f.Match = forPolicy("signupsignin", kind)
			w.tenant.Inject(f)
		}
	}
	refuse := func(op string, status int, code string) func(testing.TB, *world) {
		return func(_ testing.TB, w *world) {
			w.tables.Inject(tablestest.Fault{Match: func(r *http.Request) bool { return op == "" || tablestest.Operation(r) == op }, Status: status, Code: code})
		}
	}
	const otherTenant = "775527ff-9a37-4307-8b3d-cc311f58d925"

	for _, tt := range []struct {
		name   string
		broken func(testing.TB, *world)
		check  string
		says   string // in what or fix
		warn   bool
	}{
		{"setting missing", set("B2C_POLICIES", ""), "B2C_POLICIES", "is not set", false},
		{"setting is the domain", set("B2C_TENANT", "contoso.onmicrosoft.com"), "B2C_TENANT", "B2C_TENANT=contoso", false},
		{"full URI as scope setting", set("B2C_READ_SCOPE", entratest.AppIDURI+"/read"), "B2C_READ_SCOPE", "tokens carry the short name", false},
		{"App ID URI as audience", set("B2C_API_CLIENT_ID", entratest.AppIDURI), "B2C_API_CLIENT_ID", "a GUID", false},
		{"two storages", set("TABLES_ENDPOINT", "https://contosoitems.table.core.windows.net"), "TABLES_ENDPOINT", "both set", false},
		{"settings encrypted", local(`{"Values":{"B2C_TENANT":"contoso"}}`), "local.settings.json", "IsEncrypted", false},
		{"settings no JSON", local(`{"Values":`), "local.settings.json", "cannot be read", false},
		{"a comma too many", local("{\n  // comment\n  \"IsEncrypted\": false,\n}"), "local.settings.json", "line 4, column 1: ", false},
		{"a comma too many, said so", local(`{"Values":{"A":"b",}}`), "local.settings.json", "line 1, column 20: invalid character '}' looking for beginning of object key string (is there a comma too many", false},
		{"a comma missing", local("{\"Values\":{\"A\":\"ä\" /*\n*/ \"B\":\"c\"}}"), "local.settings.json", "line 2, column 4: ", false},
		{"no Values", func(t testing.TB, w *world) {
			w.env = nil
			w.write(t, "local.settings.json", `{"IsEncrypted":false}`)
		}, "settings", "no Values", false},
		{"host.json no JSON", func(t testing.TB, w *world) { w.write(t, "host.json", "{\n\"a\" 1}") }, "host.json", "line 2, column 5", false},
		{"setting no string", local(`{"IsEncrypted":false,"Values":{"B2C_TENANT":1}}`), "local.settings.json", "is a number", false},

		{"the API as client", set("B2C_ALLOWED_CLIENTS", entratest.APIClientID), "B2C_ALLOWED_CLIENTS", "the API's own ID", true},
		{"IDs swapped", func(_ testing.TB, w *world) {
			w.env["B2C_API_CLIENT_ID"], w.env["B2C_ALLOWED_CLIENTS"] = entratest.ClientID, entratest.APIClientID
			w.env["B2C_APP_ID_URI"] = "api://" + entratest.APIClientID
		}, "B2C_API_CLIENT_ID", "look swapped", false},
		{"App ID URI with another ID", set("B2C_APP_ID_URI", "api://"+otherTenant), "B2C_APP_ID_URI", "has the API's own", true},
		{"the client's ID as the API's", set("B2C_CLIENT_ID", entratest.APIClientID), "B2C_API_CLIENT_ID", "with which clients sign in", false},
		{"tenant of another family", set("B2C_TENANT", "https://contoso.ciamlogin.com"), "B2C_TENANT", `just the name: "contoso"`, false},
		{"one scope for both", set("B2C_WRITE_SCOPE", "read"), "B2C_WRITE_SCOPE", "may write", true},
		{"App ID URI of another tenant", set("B2C_APP_ID_URI", "https://fabrikam.onmicrosoft.com/b2capi"), "B2C_APP_ID_URI", "another tenant's domain", true},
		{"another worker", local(`{"IsEncrypted":false,"Values":{"FUNCTIONS_WORKER_RUNTIME":"node"}}`), "local.settings.json", "custom", true},

		{"tenant misspelt", set("B2C_TENANT", "contosso"), signUp, "check B2C_TENANT", false},
		{"policy misspelt", set("B2C_POLICIES", "B2C_1_signupsignin,B2C_1_profiledit"), "metadata of B2C_1_profiledit", "no such policy", false},
		{"the one policy or the tenant misspelt", set("B2C_POLICIES", "B2C_1_x"), "metadata of B2C_1_x", "or there is no such tenant", false},
		{"metadata hang", answer(metadataPath, entratest.Fault{Hang: true}), signUp, "no answer within 5s", false},
		{"metadata host down", func(t testing.TB, w *world) {
			w.env["B2C_METADATA_URL"] = "http://" + closedPort(t) + "/{policy}"
		}, signUp, "nothing listens", false},
		{"metadata host unknown", func(_ testing.TB, w *world) {
			w.env["B2C_METADATA_URL"] = "https://contoso.invalid/{policy}"
		}, signUp, "contoso.invalid", false},
		{"metadata 500", answer(metadataPath, entratest.Fault{Status: 500}), signUp, "500", false},
		{"metadata a redirect", answer(metadataPath, entratest.Fault{Status: 302, Header: http.Header{"Location": {"https://contoso.invalid/"}}}), signUp, "no redirect is followed", false},
		{"metadata a page", answer(metadataPath, entratest.Fault{Body: "<html>", ContentType: "text/html"}), signUp, "not with OpenID Connect metadata", false},
		{"metadata dropped", answer(metadataPath, entratest.Fault{Drop: true}), signUp, "closed before", false},
		{"issuer of Entra ID", metadata("https://login.microsoftonline.com/"+otherTenant+"/v2.0", ""), "issuer of B2C_1_signupsignin", "not B2C's", false},
		{"issuer of External ID", metadata("https://"+otherTenant+".ciamlogin.com/"+otherTenant+"/v2.0/", ""), "issuer of B2C_1_signupsignin", "not B2C's", false},
		{"issuer without a tenant", metadata("https://localhost/v2.0/", ""), "issuer of B2C_1_signupsignin", "no tenant GUID", false},
		{"two tenants", metadata("https://localhost/"+otherTenant+"/v2.0/", ""), "one tenant", otherTenant + " (B2C_1_signupsignin)", false},
		{"keys elsewhere", metadata("https://localhost/"+entratest.TenantID+"/v2.0/", "http://127.0.0.2:9/keys"), keys, "not at the metadata's own host", false},
		{"keys missing", metadata("https://localhost/"+entratest.TenantID+"/v2.0/", "none"), keys, "no jwks_uri", false},
		{"keys empty", answer(keysPath, entratest.Fault{Body: "{}"}), keys, "no usable key", false},
		{"keys 404", answer(keysPath, entratest.Fault{Status: 404}), keys, "404", false},
		{"key ID of Entra ID", func(t testing.TB, w *world) {
			w.tenant.Inject(entratest.Fault{Match: forPolicy("signupsignin", keysPath), Body: keysWithID(t, w, "2u0UNvza0sxtDrvOtzG5Fxu895o")})
		}, keys, "27 characters", true},
		{"one key not usable", func(t testing.TB, w *world) {
			good := strings.TrimSuffix(keysWithID(t, w, "a"), "]}")
			w.tenant.Inject(entratest.Fault{Match: forPolicy("signupsignin", keysPath), Body: good + `,{"kty":"EC","kid":"b"}]}`})
		}, keys, "1 usable, 1 not", true},
		{"extra issuer of another tenant", set("B2C_EXTRA_ISSUERS", "https://login.microsoftonline.com/"+otherTenant+"/v2.0/"), "B2C_EXTRA_ISSUERS", "the API ignores it", false},
		{"extra issuer without its slash", set("B2C_EXTRA_ISSUERS", "https://login.contoso.com/"+entratest.TenantID+"/v2.0"), "B2C_EXTRA_ISSUERS", "slash", false},
		{"extra issuer in capitals", set("B2C_EXTRA_ISSUERS", "https://Login.contoso.com/"+entratest.TenantID+"/v2.0/"), "B2C_EXTRA_ISSUERS", "capital", false},
		{"extra issuer of no form", set("B2C_EXTRA_ISSUERS", "https://login.contoso.com/contoso.onmicrosoft.com/v2.0/"), "B2C_EXTRA_ISSUERS", "none of the forms", false},
		{"external tenant misspelt", func(_ testing.TB, w *world) {
			maps.Copy(w.env, families(w))
			w.env["EXTERNAL_TENANT"] = "contosocustomer"
		}, "metadata of the external tenant", "stand-in", false},
		{"workforce tenant of another GUID", func(_ testing.TB, w *world) {
			maps.Copy(w.env, families(w))
			w.env["ENTRA_TENANT"] = otherTenant
			w.env["ENTRA_METADATA_URL"] = strings.Replace(w.env["ENTRA_METADATA_URL"], "{tenant}", entratest.WorkforceTenantDomain, 1)
		}, "issuer of the workforce tenant", "ENTRA_TENANT is " + otherTenant, false},
		{"B2C's metadata as an external tenant's", func(_ testing.TB, w *world) {
			maps.Copy(w.env, families(w))
			w.env["EXTERNAL_METADATA_URL"] = strings.Replace(w.env["B2C_METADATA_URL"], "{policy}", "B2C_1_signupsignin", 1)
			w.env["EXTERNAL_METADATA_URL"] = strings.Replace(w.env["EXTERNAL_METADATA_URL"], "{tenant}", "contoso", 1)
		}, "issuer of the external tenant", "is B2C's", false},
		{"clock 5 min behind", dateIn(5 * time.Minute), "clock", "behind", false},
		{"clock 5 min ahead", dateIn(-5 * time.Minute), "clock", "ahead of", false},
		{"clock 45 s behind", dateIn(45 * time.Second), "clock", "behind", true},

		{"no host.json", func(t testing.TB, w *world) {
			require.NoError(t, os.Remove(filepath.Join(w.app, "host.json")))
		}, "host.json", "-app", false},
		{"neither flag", edit("host.json", `HttpRequest": true`, `HttpRequest": false`), "host.json", "every 401 of the handler into a 500", false},
		{"forwarding flag missing", edit("host.json", "enableForwardingHttpRequest", "enableForwarding"), "host.json", "enableForwardingHttpRequest is not set", false},
		{"proxying flag missing", edit("host.json", "enableProxyingHttpRequest", "enableProxying"), "host.json", "enableProxyingHttpRequest is not set", false},
		{"route prefix", edit("host.json", `"api"`, `"v1"`), "route prefix", "/api", false},
		{"executable missing", func(t testing.TB, w *world) {
			require.NoError(t, os.Remove(filepath.Join(w.app, "bin", "handler")))
		}, "executable", "go build -o bin/ ./handler", false},
		{"executable without x", func(t testing.TB, w *world) {
			require.NoError(t, os.Chmod(filepath.Join(w.app, "bin", "handler"), 0o644))
		}, "executable", "chmod +x", false},
		{"authLevel function", edit("read/function.json", `"anonymous"`, `"function"`), "function read", "function key", false},
		{"authLevel missing", edit("write/function.json", `"authLevel"`, `"level"`), "function write", "is missing, which means function", false},
		{"method missing", edit("write/function.json", `, "delete"`, ""), "route " + config.Collection + "/{*path}", "DELETE", false},
		{"route misspelt", edit("openapi/function.json", `"openapi.json"`, `"openapi"`), "route openapi.json", "GET, HEAD", false},
		{"function disabled", edit("openapi/function.json", `"bindings"`, `"disabled": true, "bindings"`), "function openapi", "disabled", false},
		{"no answer binding", edit("openapi/function.json", `"http",`, `"queue",`), "function openapi", "no http binding", false},
		{"function no JSON", func(t testing.TB, w *world) { w.write(t, "openapi/function.json", "{") }, "function openapi", "cannot be read", false},
		{"CORS with a slash", local(`{"Host":{"CORS":"http://localhost:9912/"}}`), "CORS", "Write http://localhost:9912", false},
		{"CORS with a blank", local(`{"Host":{"CORS":"http://localhost:1, http://localhost:2"}}`), "CORS", "a space", false},
		{"CORS with a path", local(`{"Host":{"CORS":"http://localhost:1/app"}}`), "CORS", "not an origin", false},
		{"CORS * with credentials", local(`{"Host":{"CORS":"*","CORSCredentials":true}}`), "CORS", "500", false},
		{"CORS * and more", local(`{"Host":{"CORS":"*,http://localhost:1"}}`), "CORS", "remove the *", false},
		{"CORS *", local(`{"Host":{"CORS":"*"}}`), "CORS", "every web page", true},
		{"CORS empty entry", local(`{"Host":{"CORS":"http://localhost:1,"}}`), "CORS", "comma too many", false},

		{"storage down", func(_ testing.TB, w *world) { w.tables.Close() }, "storage", "nothing listens", false},
		{"wrong account key", func(_ testing.TB, w *world) {
			w.env["TABLES_CONNECTION_STRING"] = strings.Replace(w.tables.ConnectionString(), "AccountKey=E", "AccountKey=A", 1)
		}, "storage", "AuthenticationFailed", false},
		{"account key no base64", func(_ testing.TB, w *world) {
			w.env["TABLES_CONNECTION_STRING"] = strings.Replace(w.tables.ConnectionString(), "AccountKey=E", "AccountKey=*", 1)
		}, "storage", "cannot be used", false},
		{"table missing", set("ITEMS_TABLE", "other"), "storage", "there is no table other", false},
		{"storage read-only", refuse(tablestest.OpInsertEntity, 403, "AuthorizationPermissionMismatch"), "storage, writing", "may read, add, update and delete", false},
		{"storage busy", refuse("", 503, "ServerBusy"), "storage", "503 ServerBusy", false},
		{"row stays", refuse(tablestest.OpDeleteEntity, 503, "ServerBusy"), "storage, writing", "could not be deleted: PartitionKey doctor", false},
		{"account unknown", func(_ testing.TB, w *world) {
			delete(w.env, "TABLES_CONNECTION_STRING")
			delete(w.env, "B2C_METADATA_URL")
			w.env["B2C_HOST"] = "login.invalid"
			w.env["TABLES_ENDPOINT"] = "https://contosoitems.table.invalid"
		}, "storage", "contosoitems.table.invalid", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.name == "executable without x" && runtime.GOOS == "windows" {
				t.Skip("skipped: Windows has no such bit")
			}
			w := newWorld(t)
			tt.broken(t, w)
			r, status := w.json(t)
			want, wantStatus := report.StatusFail, 1
			if tt.warn {
				want, wantStatus = report.StatusWarn, 0
			}
			require.Equal(t, wantStatus, status, r.Checks)
			named := false
			for _, c := range r.with(tt.check) {
				named = named || c.Status == want && strings.Contains(c.Detail+" "+c.Fix, tt.says)
			}
			require.True(t, named, "%s %q, of %+v", tt.check, tt.says, r.Checks)
			for _, c := range r.Checks {
				require.Equal(t, c.Status == report.StatusFail || c.Status == report.StatusWarn, c.Fix != "", "what fails has a fix: %+v", c)
			}
		})
	}
}

// A reply that is lost leaves it open whether the row was written.
func TestLeavesNoRow(t *testing.T) {
	for name, fault := range map[string]tablestest.Fault{
		"reply lost":       {DropReply: true, Times: 1},
		"reply cut":        {TruncateBody: 3, Times: 1},
		"request lost":     {DropRequest: true, Times: 1},
		"refused":          {Status: 403, Times: 1},
		"refused, perhaps": {Status: 500, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			fault.Match = func(r *http.Request) bool { return tablestest.Operation(r) == tablestest.OpInsertEntity }
			w.tables.Inject(fault)
			w.json(t)
			require.Empty(t, w.tables.Entities(config.Collection))
			deletes := 0
			for _, r := range w.tables.Requests() {
				if r.Op == tablestest.OpDeleteEntity {
					deletes++
				}
			}
			require.Equal(t, name != "refused", deletes == 1, "it is deleted unless it was certainly not written")
		})
	}
}

func TestMisspeltSettings(t *testing.T) {
	w := newWorld(t)
	w.write(t, "local.settings.json", `{"IsEncrypted":false,"Values":{"FUNCTIONS_WORKER_RUNTIME":"custom","B2C_ALLOWED_CLIENT":"x"}}`)
	stdout, _, status := w.run(t)
	require.Equal(t, 1, status)
	require.Contains(t, oneLine(stdout), "it looks like B2C_ALLOWED_CLIENTS, misspelt")
	w.write(t, "local.settings.json", `{"IsEncrypted":false,"Values":{"FUNCTIONS_WORKER_RUNTIME":"custom","B2C_LOGO_COLOUR":"red"}}`)
	stdout, _, _ = w.run(t)
	require.Contains(t, stdout, "B2C_LOGO_COLOUR is not a setting.")
}

func TestSettingsFrom(t *testing.T) {
	w := newWorld(t)
	w.env["FUNCTIONS_WORKER_RUNTIME"] = "custom"
	values, err := json.Marshal(w.env)
	require.NoError(t, err)
	w.write(t, "local.settings.json", "\ufeff// as func start takes it\n"+`{"IsEncrypted":false,"Values":`+string(values)+`,"Host":{/* none */}}`)
	w.env = nil
	r, status := w.json(t)
	require.Equal(t, 0, status, r.Checks)
	require.Contains(t, r.with("settings")[0].Detail, "(from local.settings.json)")
	require.Equal(t, report.StatusSkip, r.with("CORS")[0].Status)

	// What is set and empty counts as not set, and hides the file's value.
	w.env = map[string]string{"B2C_TENANT": ""}
	r, status = w.json(t)
	require.Equal(t, 1, status)
	require.Equal(t, []string{"B2C_TENANT"}, r.status(report.StatusFail))

	require.NoError(t, os.Remove(filepath.Join(w.app, "local.settings.json")))
	w.env = nil
	r, _ = w.json(t)
	require.Equal(t, []string{"settings"}, r.status(report.StatusFail), "one line, not one for each setting")
}

// Before anybody has set anything, a token is explained by the sample's settings, as long
// as the local world that they describe is there.
func TestSample(t *testing.T) {
	w := newWorld(t)
	w.env = nil
	require.NoError(t, os.Remove(filepath.Join(w.app, "local.settings.json")))
	sample, err := os.ReadFile(filepath.Join("..", "..", sampleFile))
	require.NoError(t, err)
	local := strings.TrimPrefix(w.tenant.URL(), "http://")
	w.write(t, sampleFile, strings.ReplaceAll(string(sample), "localhost:9911", local))
	broken, err := w.tenant.Broken("aud.is_client")
	require.NoError(t, err)
	w.stdin = broken.Token
	r, status := w.json(t, "-token", "-")
	require.Equal(t, 1, status)
	require.Equal(t, []string{"token, audience"}, r.status(report.StatusFail))
	require.Equal(t, "aud.is_client", r.with("token, audience")[0].Code)
	require.Contains(t, r.with("settings")[0].Detail, sampleFile)
	r, _ = w.json(t)
	require.Contains(t, r.status(report.StatusFail), "settings", "whoever checks settings has to have some")

	w.env = map[string]string{"B2C_TENANT": "contoso"}
	r, _ = w.json(t, "-token", "-")
	require.NotContains(t, r.status(report.StatusFail), "token, audience", "settings are never mixed with the sample's")

	w.env = nil
	w.tenant.Close()
	r, _ = w.json(t, "-token", "-")
	require.Equal(t, []string{"settings"}, r.status(report.StatusFail))
}

func TestManagedIdentity(t *testing.T) {
	d := &doctor{Report: report.New(io.Discard, true)}
	w := newWorld(t)
	d.checkEndpoint(context.Background(), w.tables.URL())
	require.Equal(t, report.StatusOK, d.Checks()[0].Status, d.Checks())
	require.Contains(t, d.Checks()[1].Detail, "only in Azure")
	d.checkEndpoint(context.Background(), w.tenant.URL())
	require.Contains(t, d.Checks()[2].Detail, "not as a storage account does")
}

func TestIssuerWithPolicy(t *testing.T) {
	w := newWorld(t)
	w.tenant.Inject(entratest.Fault{
		Match: forPolicy("signupsignin", metadataPath),
		Body: fmt.Sprintf(`{"issuer":"https://localhost/tfp/%s/b2c_1_signupsignin/v2.0/","jwks_uri":%q}`, entratest.TenantID,
			w.tenant.URL()+"/"+entratest.TenantDomain+"/b2c_1_signupsignin/discovery/v2.0/keys"),
	})
	r, status := w.json(t)
	require.Equal(t, 0, status, r.Checks)
	require.Contains(t, r.with("issuer of B2C_1_signupsignin")[0].Detail, "tfp")
	require.Equal(t, report.StatusOK, r.with("one tenant")[0].Status)
}

func TestWrongUsage(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ args, says string }{
		{"word", "no flag"},
		{"-nonsense", "not defined"},
		{"-scope delete", "read or write"},
		{"-url localhost:7071", "-url expects"},
		{"-url http://me:secret@localhost", "without a user"},
		{"-origin http://localhost", "goes with -url"},
		{"-token absent", "read the file"},
		{"-token eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ", "shells keep what is typed"},
		{"-app absent", "not a folder"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			stdout, stderr, status := w.run(t, strings.Fields(tt.args)...)
			require.Equal(t, 2, status)
			require.Contains(t, stderr, tt.says)
			require.Empty(t, stdout)
		})
	}
	w.stdin = strings.Repeat("x", maxPaste+1)
	_, stderr, status := w.run(t, "-token", "-")
	require.Equal(t, 2, status)
	require.Contains(t, stderr, "64 KiB")

	stdout, _, status := w.run(t, "-h")
	require.Equal(t, 0, status)
	for _, flag := range []string{"-app", "-json", "-token", "-scope", "-url", "-origin", "Examples:"} {
		require.Contains(t, stdout, flag)
	}
	for line := range strings.SplitSeq(stdout, "\n") {
		require.LessOrEqual(t, len(line), 110, line)
	}
}

func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out bytes.Buffer
	require.Equal(t, 1, run(ctx, []string{"-app", w.app}, w.lookup, strings.NewReader(""), &out, io.Discard))
	require.Contains(t, out.String(), "It was interrupted.")
	require.Empty(t, w.tables.Entities(config.Collection))
}

func TestHiddenParts(t *testing.T) {
	d := &doctor{Report: report.New(io.Discard, false)}
	d.hideParts("TABLES_CONNECTION_STRING", "AccountName=a; AccountKey="+tablestest.AccountKey+";TableEndpoint=https://a")
	require.NotContains(t, d.Clean("x "+tablestest.AccountKey+" y"), tablestest.AccountKey[16:])
	d.hideParts("TABLES_CONNECTION_STRING", "AccountName=a;SharedAccessSignature=sv=2019-02-02&sig=0123456789%2Babcdefghi&se=2030")
	require.NotContains(t, d.Clean("https://a/items?sig=0123456789%2Babcdefghi"), "abcdefghi")
}
