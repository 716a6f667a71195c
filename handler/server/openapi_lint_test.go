package server_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/server"
)

// TestLinters has Redocly and Spectral judge the description: no errors, and no warnings but
// those of rules that linters/spectral.yaml turns off and says why.
func TestLinters(t *testing.T) {
	folder := filepath.Join("openapitest", "linters")
	_, err := os.Stat(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skip("skipped: linters of the OpenAPI document (npm ci --prefix handler/server/openapitest/linters)")
	}
	require.NoError(t, err)
	text, err := server.Config{
		Collection: config.Collection, ReadScope: "read", WriteScope: "write",
		SignIn: server.SignIn{
			AuthorizationURL: "https://sign.in/authorize", TokenURL: "https://sign.in/token",
			AppIDURI: "https://contoso.onmicrosoft.com/b2capi",
		},
	}.Description()
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "openapi.json")
	require.NoError(t, os.WriteFile(name, text, 0o644))
	run := func(tool string, args ...string) (stdout []byte, err error) {
		cmd := exec.CommandContext(t.Context(), filepath.Join("node_modules", ".bin", tool), args...)
		cmd.Dir = folder
		cmd.Env = append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true")
		return cmd.Output()
	}

	said, err := run("redocly", "lint", "--format=json", name)
	require.NoError(t, err, "%s", said)
	var judged struct {
		Totals   *struct{ Errors, Warnings int }
		Problems []any
	}
	require.NoError(t, json.Unmarshal(said, &judged), "%s", said)
	require.NotNil(t, judged.Totals)
	require.Zero(t, judged.Totals.Errors+judged.Totals.Warnings, "%v", judged.Problems)

	said, err = run("spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint", name)
	require.NoError(t, err, "%s", said)
}
