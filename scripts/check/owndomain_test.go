package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestYourOwnDomain does to a copy of the repository what docs/your-own-domain.md says,
// and runs the tests of the mechanics there: those of the domain, and with
// scripts/check -long those of the server and of storage, once everything is built. Then
// it forgets a member in each of the three files.
func TestYourOwnDomain(t *testing.T) {
	long := os.Getenv("CHECK_LONG") != ""
	if testing.Short() {
		t.Skip("skipped: another domain in a copy of the repository (-short)")
	}
	page := read(t, "docs/your-own-domain.md")
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	write := func(name, content string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path(name)), 0o755))
		require.NoError(t, os.WriteFile(path(name), []byte(content), 0o644))
	}
	for _, name := range repoFiles(t) {
		write(name, read(t, name))
	}
	inCopy := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), asForAzure()...)
		cmd.Env = append(cmd.Env, "GOPROXY=off", "CI=") // without CI, what the copy lacks is skipped
		said, err := cmd.CombinedOutput()
		return string(said), err
	}

	files := regexp.MustCompile("(?ms)^`([^`\n]+)`:\n\n```[a-z]+\n(.*?)^```$").FindAllStringSubmatch(page, -1)
	require.Len(t, files, 5, "the files of the page")
	for _, file := range files {
		require.FileExists(t, path(file[1]), "the page replaces what is there")
		write(file[1], file[2])
	}
	removed := regexp.MustCompile(`(?m)^rm (.+)$`).FindAllStringSubmatch(page, -1)
	require.NotEmpty(t, removed)
	for _, file := range removed {
		// Gone already in a project that followed the page.
		if err := os.Remove(path(file[1])); !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
		}
	}
	said, err := inCopy("vet", "./handler/...")
	require.NoError(t, err, said)
	tested := []string{"test", "-short", "./handler/items/..."}
	if long {
		said, err = inCopy("build", "./...")
		require.NoError(t, err, said)
		said, err = inCopy("vet", "./scripts/...", "./clients/...")
		require.NoError(t, err, said)
		tested = append(tested, "./handler/server", "./handler/tables")
	}
	said, err = inCopy(tested...)
	require.NoError(t, err, said)

	const (
		schema  = "handler/items/content.schema.json"
		samples = "handler/items/content.samples.json"
	)
	type object = map[string]any
	edit := func(name string, change func(object)) {
		text, err := os.ReadFile(path(name))
		require.NoError(t, err)
		var whole object
		require.NoError(t, json.Unmarshal(text, &whole))
		change(whole)
		text, err = json.Marshal(whole)
		require.NoError(t, err)
		write(name, string(text))
	}
	for _, tt := range []struct {
		forgotten string
		change    func()
	}{
		{"content.go", func() {
			edit(schema, func(s object) { s["properties"].(object)["colour"] = object{"type": "string"} })
			edit(samples, func(s object) { s["good"].([]any)[1].(object)["colour"] = "red" })
		}},
		{"content.schema.json", func() { edit(schema, func(s object) { delete(s["properties"].(object), "due") }) }},
		{"content.samples.json", func() { edit(samples, func(s object) { delete(s["good"].([]any)[1].(object), "due") }) }},
	} {
		told := regexp.MustCompile("(?m)^\\| " + regexp.QuoteMeta(tt.forgotten) + " \\| `(.+)` \\|$").FindStringSubmatch(page)
		require.NotNil(t, told, "the page does not say what is said when a member is forgotten in %s", tt.forgotten)
		tt.change()
		said, err := inCopy("test", "./handler/items", "-run", "^TestContentSchemaAndSamplesAgree$")
		require.Error(t, err, "a member forgotten in %s", tt.forgotten)
		require.Contains(t, strings.Join(strings.Fields(said), " "), told[1])
		for _, file := range files { // as it was
			write(file[1], file[2])
		}
	}
}
