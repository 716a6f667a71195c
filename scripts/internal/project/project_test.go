package project_test

import (
	"os"
	"os/exec"
	"path/filepath"
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
