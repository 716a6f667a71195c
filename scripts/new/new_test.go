package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/scripts/internal/project"
)

// makeProject runs the command, and returns what it printed.
func makeProject(t *testing.T, args ...string) (string, error) {
	var out bytes.Buffer
	err := run(t.Context(), args, &out)
	return out.String(), err
}

// contents are the files below a folder, by their names with slashes.
func contents(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		all[name] = string(text)
		return err
	})
	require.NoError(t, err)
	return all
}

func in(t *testing.T, dir, command string, args ...string) string {
	cmd := exec.CommandContext(t.Context(), command, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CHECK_LONG=", "CI=") // a copy of a copy is not made, nor is npm's work repeated
	if os.Getenv("CHECK_LONG") == "" {
		// What was compiled before, as for Azure, serves again. The long form is the new
		// project's own check, whose race detector takes C.
		cmd.Env = append(cmd.Env, "GOFLAGS="+os.Getenv("GOFLAGS")+" -trimpath", "CGO_ENABLED=0")
	}
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", command, strings.Join(args, " "), said)
	return strings.TrimSpace(string(said))
}

func TestNew(t *testing.T) {
	root, err := project.Root(t.Context())
	require.NoError(t, err)
	if _, err := project.Tracked(t.Context(), root); err != nil && os.Getenv("CI") != "true" {
		t.Skip("skipped: " + err.Error())
	}
	dir := filepath.Join(t.TempDir(), "deep", "notes")
	out, err := makeProject(t, "-module", "example.com/you/notes", "-collection", "notes", dir)
	require.NoError(t, err)
	require.Contains(t, out, "module example.com/you/notes")
	made := contents(t, dir)

	for name, text := range made {
		if strings.HasPrefix(name, recordings) {
			continue
		}
		for _, left := range []string{"itemsapi", "/api/items", "items-read", "items-write", "scripts/new"} {
			require.NotContains(t, text, left, name)
			require.NotContains(t, "/"+name, left)
		}
	}
	tracked, err := project.Tracked(t.Context(), root)
	require.NoError(t, err)
	for _, name := range tracked {
		if strings.HasPrefix(name, recordings) || name == "LICENSE" || filepath.Ext(name) == ".png" {
			text, err := os.ReadFile(filepath.Join(root, name))
			require.NoError(t, err)
			require.Equal(t, string(text), made[name], "%s stays", name)
		}
		name = strings.NewReplacer("items-read/", "notes-read/", "items-write/", "notes-write/").Replace(name)
		require.Equal(t, !strings.HasPrefix(name, "scripts/new/"), made[name] != "", name)
		delete(made, name)
	}
	require.Empty(t, made, "what git does not track")
	made = contents(t, dir)
	for name, want := range map[string]string{
		"go.mod": "module example.com/you/notes\n", "notes-read/function.json": `"route": "notes/{*path}"`,
		"README.md": "# notesapi\n", "handler/items/store.go": "package items", "clients/spa/index.html": "<title>Notes</title>",
		"infra/main.bicep": "param itemsTable string = 'notes'", "handler/server/problem.go": `"item.not_found"`,
	} {
		require.Contains(t, made[name], want, name)
	}
	script, err := os.Stat(filepath.Join(dir, ".ci", "run"))
	require.NoError(t, err)
	require.NotZero(t, script.Mode()&0o100, "what can be run still can")

	again := filepath.Join(t.TempDir(), "again")
	require.NoError(t, os.Mkdir(again, 0o755), "an empty folder will do")
	_, err = makeProject(t, "-module", "example.com/you/notes", "-collection", "notes", again)
	require.NoError(t, err)
	require.Equal(t, made, contents(t, again))

	if testing.Short() {
		t.Skip("skipped: checks of the new project (-short)")
	}
	// Without history, but with git, so that the tests of the files run, too.
	in(t, dir, "git", "init", "-q")
	if os.Getenv("CHECK_LONG") != "" {
		in(t, dir, "go", "run", "./scripts/check")
		return
	}
	var goFiles []string
	for name := range made {
		if strings.HasSuffix(name, ".go") {
			goFiles = append(goFiles, name)
		}
	}
	require.Empty(t, in(t, dir, "go", append([]string{"tool", "-modfile=scripts/check/tools/go.mod", "gofumpt", "-l"}, goFiles...)...))
	in(t, dir, "go", "vet", "./...")
	in(t, dir, "go", "test", "-short", "./handler/config", "./handler/items/...", "./infra", "./scripts/internal/...",
		"./scripts/check")
	in(t, dir, "go", "test", "-short", "./handler", "-run", "^TestImporter$")
}

// Names of another length, of which a table's columns and the tests of the imports
// might be shaken.
func TestOtherNames(t *testing.T) {
	root, err := project.Root(t.Context())
	require.NoError(t, err)
	if _, err := project.Tracked(t.Context(), root); err != nil && os.Getenv("CI") != "true" {
		t.Skip("skipped: " + err.Error())
	}
	if os.Getenv("CHECK_LONG") == "" {
		t.Skip("skipped: another new project (scripts/check -long)")
	}
	dir := t.TempDir()
	_, err = makeProject(t, "-module", "items.example.com/itemsapi/v2", "-collection", "purchaseorders", dir)
	require.NoError(t, err)
	in(t, dir, "git", "init", "-q")
	in(t, dir, "go", "test", "-short", "./infra", "./scripts/doctor", "-run", "^Test(Golden.*|Snapshots|Planted.*|Well.*)$")
	in(t, dir, "go", "test", "-short", "./scripts/check")
}

func TestRefused(t *testing.T) {
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, ".keep"), nil, 0o600))
	file := filepath.Join(full, ".keep")
	target := filepath.Join(t.TempDir(), "new")
	const module, collection = "example.com/you/notes", "notes"
	for _, tt := range []struct {
		name                    string
		module, collection, dir string
		says                    []string
	}{
		{"a folder that is not empty", module, collection, full, []string{"is not empty (.keep is in it)", "an empty folder"}},
		{"a file", module, collection, file, []string{"look at the folder"}},
		{"the repository", module, collection, "../..", []string{"within this repository"}},
		{"a folder of the repository", module, collection, "notes", []string{"within this repository"}},
		{"no module", "", collection, target, []string{"-module is missing", "example.com/you/notes"}},
		{"a module without a dot", "notes", collection, target, []string{`"notes"`, "has a dot", "example.com/you/notes"}},
		{"a module with a space", "example.com/my notes", collection, target, []string{"example.com/you/notes", "invalid char"}},
		{"a module that is a flag", "-x.com/y", collection, target, []string{"cannot be a module's path"}},
		{"an unknown gopkg.in", "gopkg.in/notes", collection, target, []string{"example.com/you/notes"}},
		{"a module that is needed", "github.com/stretchr/testify", collection, target, []string{"the project needs"}},
		{"no collection", module, "", target, []string{"-collection is missing", "such as notes"}},
		{"upper case", module, "Notes", target, []string{`"Notes"`, "lower-case"}},
		{"a dash", module, "my-notes", target, []string{`"my-notes"`, "letters and digits"}},
		{"a digit first", module, "1notes", target, []string{"a letter first"}},
		{"too short", module, "no", target, []string{"3 to 50"}},
		{"too long", module, strings.Repeat("n", 51), target, []string{"3 to 50"}},
		{"this project's own", module, "items", target, []string{"what it is called here", "such as notes"}},
		{"a name that storage has", module, "tables", target, []string{"reserves", "such as notes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := makeProject(t, "-module", tt.module, "-collection", tt.collection, tt.dir)
			for _, part := range tt.says {
				require.ErrorContains(t, err, part)
			}
			require.NoFileExists(t, target)
			require.NoDirExists(t, target)
			require.NoDirExists(t, "notes")
			entries, err := os.ReadDir(full)
			require.NoError(t, err)
			require.Len(t, entries, 1, "nothing was written")
		})
	}
	for _, args := range [][]string{{}, {"a", "b"}, {"-nonsense"}} {
		_, err := makeProject(t, args...)
		require.Error(t, err)
	}
}

// A rule that no longer fits is told; what was left out would be left.
func TestRulesFit(t *testing.T) {
	repository := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(repository, "go.mod"), []byte("module other\n"), 0o600))
	_, err := names{"example.com/notes", "notes"}.rename(os.DirFS(repository), []string{"go.mod"})
	require.ErrorContains(t, err, "correct the rules in scripts/new")
}

func TestWithoutOwn(t *testing.T) {
	require.Equal(t, "# a\n\n| x | y |\n| last | z |\n\nend\n",
		withoutOwn("# a\n\nSee scripts/new,\nwhich is good.\n\n| x | y |\n| `go run ./scripts/new` | n |\n| last | z |\n\nend\n"))
}
