package main

import (
	"errors"
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

// TestTypeScriptClient generates a client from the document that the API serves,
// compiles a program that uses it, and runs that against the API.
func TestTypeScriptClient(t *testing.T) {
	modules, err := filepath.Abs("../clients/typescript/node_modules")
	require.NoError(t, err)
	_, err = os.Stat(filepath.Join(modules, ".package-lock.json"))
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skip("skipped: TypeScript client (npm ci --prefix clients/typescript)")
	}
	require.NoError(t, err)
	// In a copy, as other tests look at the repository.
	root := t.TempDir()
	for _, name := range []string{
		"handler/items/content.samples.json", "handler/items/content.schema.json", "clients/typescript/main.ts",
		"clients/typescript/package.json", "clients/typescript/samples.mjs", "clients/typescript/tsconfig.json",
	} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(read(t, name)), 0o644))
	}
	dir := filepath.Join(root, "clients", "typescript")
	require.NoError(t, os.Symlink(modules, filepath.Join(dir, "node_modules")))
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

	npm := func(name string, args ...string) {
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "OPENAPI="+host.URL()+"/api/openapi.json", "API_URL="+host.URL(), "TOKEN="+token)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s %v: %s", name, args, out)
	}
	npm("npm", "run", "generate")
	npm("npm", "run", "build")
	npm("node", "build/main.js")
}
