package mobile_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/clients/spa"
	"itemsapi/clients/spa/spatest"
)

const root = "../.."

// The app stays small enough to be read in one sitting.
func TestSize(t *testing.T) {
	total := 0
	for _, pattern := range []string{"*.ts", "*.tsx"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			lines := strings.Count(string(text), "\n")
			require.LessOrEqual(t, lines, 250, name)
			total += lines
		}
	}
	require.NotZero(t, total)
	require.LessOrEqual(t, total, 700)
}

// config.json has the form of the single-page app's, and the local world's values.
func TestConfig(t *testing.T) {
	read := func(name string) (c spa.Config) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		d := json.NewDecoder(strings.NewReader(string(text)))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&c))
		return c
	}
	own, spas := read("config.json"), read(filepath.Join(root, "clients", "spa", "config.json"))
	require.Equal(t, "B2C_1_passwordreset", own.Policies.PasswordReset)
	spas.Policies.PasswordReset = own.Policies.PasswordReset
	require.Equal(t, spas, own)
}

// What a store build goes by: one name, the reverse of a domain that its maker has,
// for the app and for what opens it, and no backup of what is kept on the phone.
func TestManifest(t *testing.T) {
	text, err := os.ReadFile("app.json")
	require.NoError(t, err)
	var app struct {
		Expo struct {
			Scheme  string
			Android struct {
				Package     string
				AllowBackup *bool
			}
			IOS struct{ BundleIdentifier string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &app))
	require.Contains(t, app.Expo.Scheme, ".")
	require.Equal(t, app.Expo.Scheme, app.Expo.Android.Package)
	require.Equal(t, app.Expo.Scheme, app.Expo.IOS.BundleIdentifier)
	require.NotNil(t, app.Expo.Android.AllowBackup)
	require.False(t, *app.Expo.Android.AllowBackup)
}

// node runs a program of node_modules, or skips the test where there is none. It opens the
// folders of what the program reads: go test repeats an old result while all that a test
// opened is the same.
func node(t *testing.T, dir string, env []string, program ...string) string {
	for _, folder := range []string{".", "tests", "../spa", "../spa/tests", "../../scripts/internal/signin"} {
		_, err := os.ReadDir(filepath.FromSlash(folder))
		require.NoError(t, err)
	}
	_, err := os.Stat(filepath.Join("node_modules", ".package-lock.json"))
	if err == nil {
		_, err = exec.LookPath("node")
	}
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("skipped: the mobile app (npm ci --prefix clients/mobile)")
	}
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", program...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	return string(said)
}

func TestTypes(t *testing.T) {
	node(t, ".", nil, filepath.Join("node_modules", "typescript", "bin", "tsc"), "--noEmit")
}

// TestApp bundles the app for Android, iOS and the web, offline, and drives the web's in a
// browser of a phone's size. SCREENSHOTS names a folder for pictures of each screen.
func TestApp(t *testing.T) {
	exported := t.TempDir()
	offline := []string{"EXPO_OFFLINE=1", "EXPO_NO_TELEMETRY=1", "CI=1", "MOBILE_CONFIG=tests/config.js"}
	node(t, ".", offline, filepath.Join("node_modules", "expo", "bin", "cli"), "export",
		"-p", "android", "-p", "ios", "-p", "web", "--output-dir", exported)
	for _, bundle := range []string{"android/*.hbc", "ios/*.hbc", "web/*.js"} {
		found, err := filepath.Glob(filepath.Join(exported, "_expo", "static", "js", filepath.FromSlash(bundle)))
		require.NoError(t, err)
		require.Len(t, found, 1, bundle)
	}

	browser := spatest.FindBrowser()
	_, err := os.Stat(filepath.Join(root, "clients", "spa", "node_modules", ".package-lock.json"))
	if (browser == "" || err != nil) && os.Getenv("CI") != "true" {
		t.Skip("skipped: no browser (apt-get install chromium, npm ci --prefix clients/spa)")
	}
	require.NoError(t, err)
	require.NotEmpty(t, browser, "CI must have a browser")
	b2c, external := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	pages := []string{"http://" + b2c.Listener.Addr().String(), "http://" + external.Listener.Addr().String()}
	world, err := spatest.StartWorld(t.Context(), root, pages, nil)
	require.NoError(t, err)
	t.Cleanup(world.Close)
	serve(t, b2c, exported, spatest.Local(world.Tenant, world.Host.URL()), world)
	serve(t, external, exported, spatest.LocalExternal(world.Tenant, world.Host.URL()), world)
	t.Log(node(t, "tests", []string{
		"SPA_URL=" + pages[0], "SPA_EXTERNAL_URL=" + pages[1], "SIGN_IN_URL=" + world.Tenant.URL(),
		"API_URL=" + world.Host.URL(), "BROWSER=" + browser,
	}, "--test", "--test-reporter=spec", "--test-concurrency=1", "app.test.mjs", "restart.test.mjs"))
}

// serve has a server serve what was exported, and tell it where the world is.
func serve(t *testing.T, s *httptest.Server, dir string, c spa.Config, world *spatest.World) {
	index, err := os.ReadFile(filepath.Join(dir, "index.html"))
	require.NoError(t, err)
	page := strings.Replace(string(index), "</head>", `<script src="/config.js"></script></head>`, 1)
	config, err := json.Marshal(c)
	require.NoError(t, err)
	files := http.FileServerFS(os.DirFS(dir))
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Nobody else is asked for anything. React Native's script makes its styles.
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; "+
			"img-src 'self' data:; connect-src "+world.Tenant.URL()+" "+world.Host.URL())
		switch r.URL.Path {
		case "/":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			fmt.Fprint(w, page)
		case "/config.js":
			w.Header().Set("Content-Type", "text/javascript")
			fmt.Fprintf(w, "globalThis.testConfig = %s;", config)
		case "/favicon.ico":
			w.WriteHeader(http.StatusNoContent)
		default:
			files.ServeHTTP(w, r)
		}
	})
	s.Start()
	t.Cleanup(s.Close)
}
