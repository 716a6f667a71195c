package project_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/scripts/internal/project"
)

func TestRoot(t *testing.T) {
	root, err := project.Root(t.Context())
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(root, "host.json"))
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	require.Contains(t, string(gomod), "module "+project.Module+"\n")

	t.Chdir(t.TempDir())
	_, err = project.Root(t.Context())
	require.ErrorContains(t, err, "run this from the project's folder")
}

func TestFiles(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o600))
	}
	write("b/tracked", "")
	write("a.go", "")
	write("ignored", "")
	write("node_modules/x", "")
	write(".gitignore", "ignored\nnode_modules\n")

	_, err := project.Tracked(t.Context(), root)
	require.ErrorIs(t, err, project.ErrNoClone)
	files, err := project.Files(t.Context(), root)
	require.NoError(t, err)
	require.Equal(t, []string{".gitignore", "a.go", "b/tracked", "ignored"}, files)

	git := func(args ...string) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	git("init", "-q")
	git("add", "b", ".gitignore")
	files, err = project.Tracked(t.Context(), root)
	require.NoError(t, err)
	require.Equal(t, []string{".gitignore", "b/tracked"}, files)
	files, err = project.Files(t.Context(), root)
	require.NoError(t, err)
	require.Equal(t, []string{".gitignore", "a.go", "b/tracked"}, files)
	require.NoError(t, os.Remove(filepath.Join(root, "b/tracked")))
	files, err = project.Tracked(t.Context(), root)
	require.NoError(t, err)
	require.Equal(t, []string{".gitignore"}, files)
}

// Without a network the go command says the same of each package, and not what to do.
func TestBuildWithoutNetwork(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "handler"), 0o755))
	for name, text := range map[string]string{
		"go.mod":          "module x\n\ngo 1.26.0\n\nrequire github.com/google/uuid v1.6.0\n",
		"handler/main.go": "package main\n\nimport _ \"github.com/google/uuid\"\n\nfunc main() {}\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(text), 0o600))
	}
	for name, value := range map[string]string{
		"GOPROXY": "http://127.0.0.1:1", "GOMODCACHE": filepath.Join(dir, "cache"), "GOFLAGS": "-mod=mod", "GONOSUMDB": "*",
	} {
		t.Setenv(name, value)
	}
	err := project.Build(t.Context(), dir)
	require.ErrorContains(t, err, "could not be downloaded")
	require.ErrorContains(t, err, "HTTPS_PROXY")
	require.Len(t, strings.Split(err.Error(), "\n"), 2)
}
