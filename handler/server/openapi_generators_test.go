package server_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/server"
)

// TestMoreGenerators has ogen, hey-api and orval make clients of the description, and has
// them compiled. It fetches the generators, and is a part of check's long form.
func TestMoreGenerators(t *testing.T) {
	if os.Getenv("CHECK_LONG") == "" {
		t.Skip("skipped: more generators of clients (go run ./scripts/check -long)")
	}
	text, err := server.Config{
		Collection: config.Collection, ReadScope: "read", WriteScope: "write",
		SignIn: server.SignIn{
			AuthorizationURL: "https://sign.in/authorize", TokenURL: "https://sign.in/token",
			AppIDURI: "https://contoso.onmicrosoft.com/b2capi",
		},
	}.Description()
	require.NoError(t, err)
	in := func(folder string) (run func(name string, args ...string)) {
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", folder))))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "openapi.json"), text, 0o644))
		return func(name string, args ...string) {
			cmd := exec.CommandContext(t.Context(), name, args...)
			cmd.Dir = dir
			said, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s %v: %s", name, args, said)
		}
	}
	t.Run("ogen", func(t *testing.T) {
		run := in("ogenclient")
		run("go", "tool", "ogen", "--target", "api", "--package", "api", "openapi.json")
		run("go", "vet", "./...")
	})
	t.Run("hey-api and orval", func(t *testing.T) {
		if _, err := exec.LookPath("npm"); err != nil {
			t.Skip("skipped: hey-api and orval (npm)")
		}
		run := in("generators")
		// Not under its usual name, so that nobody installs it who does not run this.
		run("node", "-e", `require("fs").renameSync("lock.json", "package-lock.json")`)
		run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
		run("npx", "openapi-ts", "-i", "openapi.json", "-o", "hey")
		run("npx", "orval", "--input", "openapi.json", "--output", "orval/api.ts", "--client", "fetch")
		run("npx", "tsc", "-p", ".")
	})
}
