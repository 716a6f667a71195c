package spatest_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/clients/spa"
	"itemsapi/clients/spa/spatest"
)

// The file that a person edits, or scripts/register writes, has the members that
// the local world's has.
func TestConfigFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(folder, "config.json"))
	require.NoError(t, err)
	var c spa.Config
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&c))
	again, err := json.MarshalIndent(c, "", "  ")
	require.NoError(t, err)
	require.Equal(t, strings.TrimSpace(string(text)), string(again))
	require.NotEmpty(t, c.Authority)
}

// sees opens what the tests in JavaScript, and the compiler, read: go test repeats an old
// result while all that a test opened is the same.
func sees(t *testing.T) {
	for _, folder := range []string{"clients/spa", "clients/spa/tests"} {
		_, err := os.ReadDir(filepath.Join(root, folder))
		require.NoError(t, err)
	}
	_, err := os.ReadFile(filepath.Join(root, "docs", "spa.md"))
	require.NoError(t, err)
}

// The JSDoc types of the app hold.
func TestTypes(t *testing.T) {
	sees(t)
	compiler := filepath.Join("node_modules", "typescript", "bin", "tsc")
	node, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, compiler))
	}
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("skipped: " + err.Error())
	}
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), node, compiler, "--project", ".")
	cmd.Dir = folder
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
}

func TestServesTheAppAlone(t *testing.T) {
	s, err := spatest.Start("", folder)
	if errors.Is(err, spatest.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip("skipped: " + err.Error())
	}
	require.NoError(t, err)
	t.Cleanup(s.Close)
	get := func(method, path, host string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, s.CrossSite()+path, nil)
		require.NoError(t, err)
		if host != "" {
			req.Host = host
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(body)
	}
	for _, path := range []string{"/", "/app.js", "/style.css", "/icon.svg", "/manifest.webmanifest", "/redirect.html", "/worker.js", "/node_modules/@azure/msal-browser/lib/msal-browser.min.js"} {
		resp, _ := get("GET", path, "")
		require.Equal(t, 200, resp.StatusCode, path)
		if path == "/" || path == "/redirect.html" || path == "/worker.js" {
			require.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'")
		}
	}
	// What has not changed is not sent again.
	first, script := get("GET", "/app.js", "")
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.CrossSite()+"/app.js", nil)
	require.NoError(t, err)
	for tag, status := range map[string]int{first.Header.Get("ETag"): 304, `W/"other"`: 200} {
		req.Header.Set("If-None-Match", tag)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode)
		require.Equal(t, status == 200, string(body) == script)
	}
	for _, path := range []string{"/config.json", "/package.json", "/package-lock.json", "/tests/world.mjs", "/spatest/spatest.go", "/../../go.mod", "/..%2f..%2fgo.mod", "/node_modules/playwright-core/index.js", "/.hidden.js", "/nothing.js"} {
		resp, _ := get("GET", path, "")
		require.Equal(t, 404, resp.StatusCode, path)
	}
	resp, _ := get("GET", "/", "evil.example")
	require.Equal(t, 421, resp.StatusCode)
	resp, _ = get("POST", "/", "")
	require.Equal(t, 405, resp.StatusCode)
	s.SetConfig(spa.Config{ClientID: "x", API: "http://localhost:7/api"})
	resp, body := get("GET", "/signin-errors.json", "")
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	var catalogue []struct{ Code, Meaning string }
	require.NoError(t, json.Unmarshal([]byte(body), &catalogue))
	require.Greater(t, len(catalogue), 100)
	_, body = get("GET", "/config.json", "")
	require.Contains(t, body, `"clientId": "x"`)
	resp, _ = get("GET", "/", "")
	require.Contains(t, resp.Header.Get("Content-Security-Policy"), "connect-src 'self' http://localhost:7;")
}
