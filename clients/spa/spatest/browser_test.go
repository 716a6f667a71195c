package spatest_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/clients/spa/spatest"
	"itemsapi/handler/entra/entratest"
)

const root = "../../.."

var folder = filepath.Join(root, "clients", "spa")

var only = flag.String("only", "", "run the browser tests alone whose names match this pattern of JavaScript's")

// TestBrowser drives the app in a real browser, against the real handler behind the
// host double, the sign-in stand-in and the strict Table service. The tests are
// clients/spa/tests. SCREENSHOTS names a folder for pictures of each state; to run a part:
//
//	go test ./clients/spa/spatest -run TestBrowser -only 'two tabs|keyboard'
func TestBrowser(t *testing.T) {
	browser := spatest.FindBrowser()
	if browser == "" && os.Getenv("CI") != "true" {
		t.Skip("skipped: no browser (apt-get install chromium)")
	}
	require.NotEmpty(t, browser, "CI must have a browser")
	sees(t)
	app, err := spatest.Start("", folder)
	if errors.Is(err, spatest.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip("skipped: " + err.Error())
	}
	require.NoError(t, err)
	app.Close()

	tests, err := filepath.Glob(filepath.Join(folder, "tests", "*.test.mjs"))
	require.NoError(t, err)
	// Much of the time a page waits. So two worlds share the files.
	var worlds [2][]string
	for i, name := range tests {
		worlds[i%2] = append(worlds[i%2], filepath.Base(name))
	}
	var ran atomic.Bool
	t.Run("worlds", func(t *testing.T) {
		for _, files := range worlds {
			t.Run(strings.Join(files, ","), func(t *testing.T) {
				t.Parallel()
				said, err := startBrowserWorld(t, browser, files)(cmp.Or(*only, "."))
				t.Log(said)
				// A whole browser on a busy machine loses a connection or a frame now and then. So a
				// failure or two are looked at again, in a new world, and said; what fails twice is
				// a fault.
				if failed := failures(said); err != nil && len(failed) > 0 && len(failed) <= 2 {
					t.Logf("run once more, as they failed: %q", failed)
					said, err = startBrowserWorld(t, browser, files)("^(" + strings.Join(failed, "|") + ")$")
					t.Log(said)
					require.NotContains(t, said, "ℹ pass 0")
				}
				require.NoError(t, err)
				if !strings.Contains(said, "ℹ pass 0") {
					ran.Store(true)
				}
			})
		}
	})
	require.True(t, ran.Load(), "no test has such a name")
}

// startBrowserWorld starts all that the tests in these files need. The function that it
// returns runs those whose name matches a pattern, and returns what node said.
func startBrowserWorld(t *testing.T, browser string, files []string) func(pattern string) (string, error) {
	app, err := spatest.Start("localhost:0", folder)
	require.NoError(t, err)
	t.Cleanup(app.Close)
	external, err := spatest.Start("localhost:0", folder)
	require.NoError(t, err)
	t.Cleanup(external.Close)
	origins := []string{app.URL(), app.CrossSite(), external.URL()}

	var offset atomic.Int64
	answering := func() {}
	t.Cleanup(func() { answering() })
	world, err := spatest.StartWorld(t.Context(), root, origins, func() time.Time {
		return time.Now().Add(time.Duration(offset.Load()))
	})
	require.NoError(t, err)
	t.Cleanup(world.Close)
	tenant, host := world.Tenant, world.Host
	app.SetConfig(spatest.Local(tenant, host.URL()))
	external.SetConfig(spatest.LocalExternal(tenant, host.URL()))

	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/blank":
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, `<!doctype html><title>Somebody else's page</title><link rel="icon" href="data:,">`)
		case "/rollover":
			tenant.Rollover(entratest.PolicySignUpSignIn, false)
		case "/clock":
			d, err := time.ParseDuration(r.URL.Query().Get("offset"))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			offset.Store(int64(d))
		case "/app/silent": // as on a network that swallows packets
			answering = app.Silence()
		case "/app/answers":
			answering()
		case "/api/silent": // the handler is stopped, and takes requests all the same
			if err := pause(host.HandlerPID(), true); err != nil {
				http.Error(w, err.Error(), http.StatusNotImplemented)
			}
		case "/api/answers":
			if err := pause(host.HandlerPID(), false); err != nil {
				http.Error(w, err.Error(), http.StatusNotImplemented)
			}
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(control.Close)

	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	t.Cleanup(cancel)
	// In one process, with one browser.
	program := ""
	for _, name := range files {
		program += fmt.Sprintf("import %q;", "./tests/"+name)
	}
	return func(pattern string) (string, error) {
		cmd := exec.CommandContext(ctx, "node", "--test-reporter=spec", "--test-name-pattern="+pattern,
			"--input-type=module", "--eval", program)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(),
			"SPA_URL="+app.URL(), "SPA_CROSS_URL="+app.CrossSite(), "SIGN_IN_URL="+tenant.URL(), "API_URL="+host.URL(),
			"SPA_EXTERNAL_URL="+external.URL(), "CONTROL_URL="+control.URL, "BROWSER="+browser)
		said, err := cmd.CombinedOutput()
		return string(said), err
	}
}

// failures are the names of the tests that node says failed, as patterns.
func failures(said string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^✖ (.+) \([0-9.]+ms\)$`).FindAllStringSubmatch(said, -1) {
		names = append(names, regexp.QuoteMeta(m[1]))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestFailures(t *testing.T) {
	require.Equal(t, []string{"by keyboard", `two tabs \(or more\)`}, failures(`✔ well (12.5ms)
✖ two tabs (or more) (27296.912828ms)
  locator.waitFor: Timeout
✖ by keyboard (1ms)
✖ failing tests:

test at tests/browser.test.mjs:315:1
✖ two tabs (or more) (27296.912828ms)

test at tests/daily.test.mjs:1:1
✖ by keyboard (1ms)
`))
	require.Empty(t, failures("✔ well (12.5ms)\nℹ fail 0\n"))
}
