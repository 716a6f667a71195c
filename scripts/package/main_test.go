package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/scripts/internal/project"
)

const root = "../.."

var deployed = []string{
	"bin/handler", "host.json", "items-read/function.json", "items-write/function.json", "openapi/function.json",
}

// The package is the same twice, and runs from an empty folder.
func TestPackage(t *testing.T) {
	t.Chdir(root)
	var written [2][]byte
	for i := range written {
		file := filepath.Join(t.TempDir(), "deep", "app.zip")
		var said bytes.Buffer
		require.NoError(t, run(context.Background(), []string{"-o", file}, &said))
		require.Regexp(t, `sha256 [0-9a-f]{64}\n`, said.String())
		var err error
		written[i], err = os.ReadFile(file)
		require.NoError(t, err)
	}
	require.True(t, bytes.Equal(written[0], written[1]), "two runs differ")

	z, err := zip.NewReader(bytes.NewReader(written[0]), int64(len(written[0])))
	require.NoError(t, err)
	app := t.TempDir()
	var names []string
	for _, f := range z.File {
		names = append(names, f.Name)
		wanted := fs.FileMode(0o644)
		if f.Name == binary {
			wanted = 0o755
		}
		require.Equal(t, wanted, f.Mode(), f.Name)
		r, err := f.Open()
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		target := filepath.Join(app, filepath.FromSlash(f.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
		require.NoError(t, os.WriteFile(target, content, f.Mode()))
	}
	require.Equal(t, deployed, names)
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("skipped: the package runs on linux/amd64 alone")
	}

	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(tenant.Close)
	storage, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(storage.Close)
	host, err := functionstest.Start(t.Context(), functionstest.Config{Dir: app, Env: []string{
		"B2C_TENANT=" + entratest.TenantName, "B2C_POLICIES=" + entratest.PolicySignUpSignIn, "B2C_API_CLIENT_ID=" + entratest.APIClientID,
		"B2C_METADATA_URL=" + tenant.MetadataTemplate(), "TABLES_CONNECTION_STRING=" + storage.ConnectionString(),
	}})
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	require.NoError(t, host.Ready(t.Context()))
	resp, err := http.Get(host.URL() + "/api/items")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, `Bearer realm="itemsapi"`, resp.Header.Get("WWW-Authenticate"))
}

// published are those of names that Core Tools upload, as they read .funcignore (their
// GitIgnoreParser): each line is a regular expression that a name begins with, ending at
// the border of a word, and what follows a ! wins.
func published(t *testing.T, names ...string) []string {
	text, err := os.ReadFile(".funcignore")
	require.NoError(t, err)
	var out, in []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, let := strings.CutPrefix(line, "!")
		pattern := strings.NewReplacer(`\*\*`, `(.+)`, `\*`, `([^/]+)`).Replace(regexp.QuoteMeta(strings.TrimPrefix(name, "/")))
		if let {
			in = append(in, pattern)
		} else {
			out = append(out, pattern)
		}
	}
	begins := func(patterns []string) *regexp.Regexp {
		return regexp.MustCompile("^((" + strings.Join(patterns, ")|(") + `))\b`)
	}
	require.NotEmpty(t, in)
	require.NotEmpty(t, out)
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return !begins(in).MatchString(name) && begins(out).MatchString(name)
	})
}

// What lies about in the folder stays where it is, by either way.
func TestStrays(t *testing.T) {
	t.Chdir(root)
	tracked, err := project.Tracked(t.Context(), ".")
	require.NoError(t, err)
	strays := []string{
		"bin/.env", "bin/staticcheck", "bin/handler2", "bin/sub/handler", "items-read/notes.md", "items-read/.env",
		"items-read-notes.md", "openapi.draft.yaml", "openapi/x", "hostXjson", "old/host.json", "local.settings.json",
		"dist/app.zip", "handler/handler", "items-write/function.js",
	}
	require.ElementsMatch(t, deployed, published(t, append(append(tracked, strays...), binary)...))
	// What .funcignore cannot keep back, and says so.
	extended := []string{"host.json.orig", "bin/handler.exe"}
	require.Equal(t, extended, published(t, extended...))

	app := fstest.MapFS{}
	for _, name := range append(append(strays, extended...), deployed...) {
		app[name] = &fstest.MapFile{Data: []byte("{}")}
	}
	_, packed, err := pack(app, []byte("program"))
	require.NoError(t, err)
	require.Equal(t, deployed, packed)
}

func TestUnfitPackages(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	thisProgram, err := os.ReadFile(self) // linked with C, with -race
	require.NoError(t, err)
	host := `{"customHandler":{"description":{"defaultExecutablePath":"%s"}}}`
	for _, tt := range []struct {
		name    string
		project fstest.MapFS
		handler []byte
		says    string
	}{
		{"another path in host.json", fstest.MapFS{"host.json": {Data: fmt.Appendf(nil, host, "handler")}, "f/function.json": {Data: []byte("{}")}}, nil, `starts "handler"`},
		{"no function", fstest.MapFS{"host.json": {Data: fmt.Appendf(nil, host, binary)}}, nil, "no function.json"},
		{"a secret", fstest.MapFS{"host.json": {Data: fmt.Appendf(nil, host+`"AccountKey=x"`, binary)}, "f/function.json": {Data: []byte("{}")}}, nil, "secret"},
		{"no program", fstest.MapFS{"host.json": {Data: fmt.Appendf(nil, host, binary)}, "f/function.json": {Data: []byte("{}")}}, []byte("MZ"), "not a Linux program"},
		{"a large program", fstest.MapFS{"host.json": {Data: fmt.Appendf(nil, host, binary)}, "f/function.json": {Data: []byte("{}")}}, make([]byte, project.SizeLimit+1), "MB"},
		{"broken JSON", fstest.MapFS{"host.json": {Data: fmt.Appendf(nil, host, binary)}, "f/function.json": {Data: []byte("{")}}, nil, "not JSON"},
	} {
		archive, _, err := pack(tt.project, tt.handler)
		require.NoError(t, err, tt.name)
		require.ErrorContains(t, check(archive), tt.says, tt.name)
	}
	_, _, err = pack(fstest.MapFS{}, nil)
	require.ErrorContains(t, err, "host.json")
	if runtime.GOOS == "linux" && bytes.Contains(thisProgram, []byte("ld-linux")) {
		require.Error(t, checkBinary(thisProgram))
	}
	require.ErrorContains(t, run(context.Background(), []string{"x"}, io.Discard), "unexpected argument")
	require.ErrorContains(t, run(context.Background(), nil, io.Discard), "project's folder")
}

// azd itself takes the package, where azd is.
func TestAzdPackage(t *testing.T) {
	azd, err := exec.LookPath("azd")
	if err != nil {
		t.Skip("skipped: azd package (no azd on PATH)")
	}
	t.Chdir(root)
	target := filepath.Join(t.TempDir(), "api.zip")
	cmd := exec.CommandContext(t.Context(), azd, "package", "api", "--output-path", target, "--no-prompt", "-e", "test")
	cmd.Env = append(os.Environ(), "AZD_ALPHA_ENABLE_LANGUAGE_CUSTOM=true", "AZURE_DEV_COLLECT_TELEMETRY=no", "AZURE_ENV_NAME=test")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	archive, err := os.ReadFile(target)
	require.NoError(t, err)
	require.NoError(t, check(archive))
}
