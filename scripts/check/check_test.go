package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	present := need{"Azurite", "", true}
	optional := need{"Core Tools", "no func", false}
	required := need{"Azurite", "no npm", true}
	for _, tt := range []struct {
		name             string
		need             need
		ci               bool
		skipped, missing []string
	}{
		{"present", present, false, nil, nil},
		{"present in CI", present, true, nil, nil},
		{"optional", optional, false, []string{"Core Tools (no func)"}, nil},
		{"optional in CI", optional, true, []string{"Core Tools (no func)"}, nil},
		{"required", required, false, []string{"Azurite (no npm)"}, nil},
		{"required in CI", required, true, nil, []string{"Azurite (no npm)"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			skipped, missing := judge([]need{tt.need}, tt.ci)
			require.Equal(t, tt.skipped, skipped)
			require.Equal(t, tt.missing, missing)
		})
	}
}

func TestNeeds(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("PATH", "")
	t.Setenv("B2C_FIXTURES", "")
	lacks := func(short bool) []string {
		skipped, _ := judge(needs(short, "no cgo"), false)
		return skipped
	}
	always := []string{"Azure Functions Core Tools (no func)", "the documents that B2C publishes (B2C_FIXTURES is not set)", "Bicep (no bicep)", "azd (no azd)"}
	require.Equal(t, append(always, "Azurite and the mobile app (no npm)", "the race detector, which takes a C compiler (no cgo)"), lacks(false))
	require.Equal(t, append(always, "npm ci and the race detector (-short)"), lacks(true))

	require.NoError(t, os.MkdirAll("clients/spa", 0o700))
	require.Contains(t, lacks(false), "the browser (no chromium)")

	t.Setenv("B2C_FIXTURES", t.TempDir())
	require.NotContains(t, lacks(false), always[1])
}

func TestTestArgs(t *testing.T) {
	require.Equal(t, []string{"-timeout", "30m", "-race", "./..."}, testArgs(true, false, ""))
	require.Equal(t, []string{"-timeout", "30m", "-run", "TestX", "./..."}, testArgs(false, false, "TestX"))
	require.Equal(t, []string{"-timeout", "90m", "-race", "./..."}, testArgs(true, true, ""))
}

func TestStale(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, age time.Duration) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
	}
	write("package-lock.json", time.Hour)
	require.True(t, stale(dir), "nothing is installed")
	write("node_modules/azurite/package.json", 0)
	require.True(t, stale(dir), "npm was interrupted")
	write("node_modules/.package-lock.json", 0)
	require.False(t, stale(dir))
	write("node_modules/.package-lock.json", 2*time.Hour)
	require.True(t, stale(dir), "the lock file is newer")
}

func TestTypes(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	write("go.mod", "module example.com/m\n\ngo 1.26\n")
	write("m.go", "package m\n\nimport \"strings\"\n\nvar X = strings.ToUpper(\"x\")\n")
	for _, goos := range []string{"linux", "darwin", "windows"} {
		said, err := types(root, goos)
		require.NoError(t, err, said)
	}
	write("m_test.go", "package m\n\nimport \"syscall\"\n\nvar kill = syscall.Kill\n")
	_, err = types(root, "darwin")
	require.NoError(t, err)
	said, err := types(root, "windows")
	require.Error(t, err)
	require.Regexp(t, `m_test\.go:5:20: undefined: syscall\.Kill`, said)
	write("m_test.go", "package m\n\nimport \"example.com/nothing\"\n\nvar _ = nothing.X\n")
	said, err = types(root, "windows")
	require.Error(t, err)
	require.Contains(t, said, "example.com/nothing")
}
