package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
)

// TestGoClient generates a Go client from the document that the API serves, compiles a
// program that uses it, and runs that against the API.
func TestGoClient(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: Go client, which takes a while to compile (-short)")
	}
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "main.go"} {
		text, err := os.ReadFile(filepath.Join("testdata", "goclient", name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "api"), 0o755))
	tools, err := filepath.Abs(filepath.Join("..", "scripts", "check", "tools", "go.mod"))
	require.NoError(t, err)
	samples, err := filepath.Abs(filepath.Join("items", "content.samples.json"))
	require.NoError(t, err)
	run := func(in string, env []string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = in, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if said, err := run(dir, nil, "mod", "download"); err != nil && os.Getenv("CI") != "true" {
		t.Skipf("skipped: Go client (its modules cannot be downloaded: %.200s)", said)
	}

	tenant := startTenant(t)
	host, err := functionstest.Start(t.Context(), functionstest.Config{
		Dir: "..", Executable: builtHandler(t), Env: environment(settings(tenant, startStorage(t).ConnectionString())),
	})
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, _, _ := send(t, http.MethodGet, host.URL()+"/api/items", token, "")
		return status == http.StatusOK
	}, 30*time.Second, 20*time.Millisecond)
	_, _, document := send(t, http.MethodGet, host.URL()+"/api/openapi.json", "", "")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "openapi.json"), []byte(document), 0o644))

	said, err := run("..", nil, "tool", "-modfile="+tools, "oapi-codegen", "-generate", "types,client",
		"-package", "api", "-o", filepath.Join(dir, "api", "api.gen.go"), filepath.Join(dir, "openapi.json"))
	require.NoError(t, err, said)
	said, err = run(dir, nil, "vet", "./...")
	require.NoError(t, err, said)
	said, err = run(dir, []string{"API_URL=" + host.URL(), "TOKEN=" + token, "SAMPLES=" + samples}, "run", ".")
	require.NoError(t, err, said)
}
