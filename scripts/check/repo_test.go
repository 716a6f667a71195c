package main

// The repository tests itself: what it promises about its packages, its files
// and its documentation.

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"itemsapi/handler/config"
	"itemsapi/handler/server"
)

// module is the root of the repository, seen from this folder.
const module = "../.."

// repoFiles are the files that are or could be committed, with slashes.
func repoFiles(t *testing.T) []string {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = module
	list, err := cmd.Output()
	if err != nil && os.Getenv("CI") != "true" {
		t.Skip("skipped: this is no clone, or there is no git")
	}
	require.NoError(t, err)
	var files []string
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(module, name)); err == nil { // not if it was just deleted
			files = append(files, name)
			// go test repeats an old result while the files and folders that were opened are the same.
			_, err := os.ReadDir(filepath.Join(module, path.Dir(name)))
			require.NoError(t, err)
		}
	}
	require.Greater(t, len(files), 50)
	return files
}

func read(t *testing.T, name string) string {
	content, err := os.ReadFile(filepath.Join(module, name))
	require.NoError(t, err)
	return string(content)
}

// sourcePackage is a package of this module without its tests, for all platforms.
type sourcePackage struct {
	dir   string // handler/entra
	files map[string]*ast.File
}

func (p sourcePackage) imports() []string {
	var imports []string
	for _, f := range p.files {
		for _, i := range f.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			imports = append(imports, imported)
		}
	}
	slices.Sort(imports)
	return slices.Compact(imports)
}

func sourcePackages(t *testing.T) []sourcePackage {
	byDir := map[string]sourcePackage{}
	for _, name := range repoFiles(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "/testdata/") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, read(t, name), parser.ParseComments)
		require.NoError(t, err)
		p := byDir[path.Dir(name)]
		if p.files == nil {
			p = sourcePackage{path.Dir(name), map[string]*ast.File{}}
			byDir[p.dir] = p
		}
		p.files[name] = f
	}
	packages := make([]sourcePackage, 0, len(byDir))
	for _, p := range byDir {
		packages = append(packages, p)
	}
	require.GreaterOrEqual(t, len(packages), 8)
	return packages
}

func TestPackageComments(t *testing.T) {
	for _, p := range sourcePackages(t) {
		var comments []string
		want := "Package " + path.Base(p.dir) + " "
		for _, f := range p.files {
			if f.Name.Name == "main" {
				want = "Command " + path.Base(p.dir) + " "
			}
			if f.Doc != nil {
				comments = append(comments, f.Doc.Text())
			}
		}
		require.Len(t, comments, 1, "package comments of %s", p.dir)
		require.True(t, strings.HasPrefix(comments[0], want), "the package comment of %s starts with %q", p.dir, want)
	}
}

func TestImports(t *testing.T) {
	// The edges between the packages of this module: what each one may import.
	edges := map[string][]string{
		"handler":         {"handler/config", "handler/entra", "handler/server", "handler/tables"},
		"handler/config":  {},
		"handler/entra":   {},
		"handler/items":   {},
		"handler/server":  {"handler/entra", "handler/items"},
		"handler/tables":  {"handler/items"},
		"scripts":         {"clients/spa", "handler/config", "handler/entra"}, // all of them, with each other
		"scripts/callers": {"handler/items", "handler/tables"},

		"clients/spa/spatest": {"handler/config"}, // to start the handler
	}
	for _, p := range sourcePackages(t) {
		top, _, _ := strings.Cut(p.dir, "/")
		allowed, product := edges[p.dir]
		if top == "scripts" {
			allowed = append(slices.Clone(allowed), edges["scripts"]...)
		}
		require.True(t, product || top != "handler" || forTests(p.dir), "%s is not part of the design: add it to the edges", p.dir)
		for _, imported := range p.imports() {
			if ours, isOurs := strings.CutPrefix(imported, "itemsapi/"); isOurs {
				within := top == "scripts" && strings.HasPrefix(ours, "scripts/")
				toTests := forTests(ours) && (!product || top != "handler")
				ofItsOwn := forTests(p.dir) && ours == path.Dir(p.dir) // what a test package is for
				require.True(t, within || toTests || ofItsOwn || slices.Contains(allowed, ours), "%s imports %s", p.dir, imported)
			}
			if p.dir == "handler/items" && !strings.HasPrefix(imported, "github.com/go-json-experiment/json") {
				require.NotContains(t, strings.Split(imported, "/")[0], ".", "items imports the standard library and JSON alone, not %s", imported)
			}
			// Doctor tries the storage step by step and names Azure's own error codes, which handler/tables hides;
			// callers uses the credential of the person at the keyboard; plain is what bench compares with.
			azure := []string{"handler/tables", "scripts/doctor", "scripts/callers", "scripts/bench/plain"}
			if !slices.Contains(azure, p.dir) {
				require.NotRegexp(t, "^github.com/Azure/", imported, "%s imports %s: Azure stops at handler/tables", p.dir, imported)
			}
		}
	}
}

// TestEntraNamesNothingOfThisAPI: the package is for other programs, too. It and its
// tests name no setting, no script and no route.
func TestEntraNamesNothingOfThisAPI(t *testing.T) {
	var names []string
	for _, s := range config.Settings {
		names = append(names, s.Name)
	}
	for _, r := range servedRoutes() {
		if prefix, _, _ := strings.Cut(r.Path, "{"); prefix != "/" {
			names = append(names, prefix)
		}
	}
	scripts, err := os.ReadDir(filepath.Join(module, "scripts"))
	require.NoError(t, err)
	for _, s := range scripts {
		names = append(names, "scripts/"+s.Name())
	}
	names = append(names, `"`+config.Realm+`"`, "urn:"+config.Realm)
	looked := 0
	for _, name := range repoFiles(t) {
		if !strings.HasPrefix(name, "handler/entra/") {
			continue
		}
		looked++
		for _, ours := range names {
			require.NotContains(t, read(t, name), ours, name)
		}
	}
	require.Greater(t, looked, 40)
}

// forTests says whether a package is one of those that serve tests and local runs.
func forTests(dir string) bool {
	return slices.ContainsFunc(strings.Split(dir, "/"), func(part string) bool { return strings.HasSuffix(part, "test") })
}

func TestDeployedBinaryHasNothingForTests(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "itemsapi/handler")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	list, err := cmd.Output()
	require.NoError(t, err)
	packages := strings.Fields(string(list))
	require.Contains(t, packages, "itemsapi/handler/server")
	for _, p := range packages {
		within, isOurs := strings.CutPrefix(p, "itemsapi/")
		ours := isOurs && forTests(within)
		require.False(t, ours || p == "testing" || strings.HasPrefix(p, "testing/") || p == "net/http/httptest", "the deployed binary links %s", p)
	}
}

// Only config reads the environment, through what main passes to it.
func TestEnvironment(t *testing.T) {
	for _, p := range sourcePackages(t) {
		if !strings.HasPrefix(p.dir+"/", "handler/") || p.dir == "handler/config" || forTests(p.dir) {
			continue
		}
		for name, f := range p.files {
			for _, i := range f.Imports {
				if i.Path.Value == `"os"` || i.Path.Value == `"syscall"` {
					require.Nil(t, i.Name, "%s renames %s, which would hide what it reads", name, i.Path.Value)
				}
			}
			passed := 0
			ast.Inspect(f, func(n ast.Node) bool {
				selector, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				from, ok := selector.X.(*ast.Ident)
				if !ok || (from.Name != "os" && from.Name != "syscall") {
					return true
				}
				if name == "handler/main.go" && selector.Sel.Name == "Environ" {
					passed++ // to config, as a whole
					return true
				}
				if slices.Contains([]string{"Getenv", "LookupEnv", "Environ", "ExpandEnv"}, selector.Sel.Name) {
					require.Fail(t, name+" reads the environment with "+from.Name+"."+selector.Sel.Name)
				}
				return true
			})
			require.LessOrEqual(t, passed, 1, name)
		}
	}
}

// servedRoutes are the lines of the server's table of routes.
func servedRoutes() []server.Route {
	return server.Config{Collection: config.Collection}.Routes()
}

func TestFunctions(t *testing.T) {
	type binding struct {
		Type, Direction, Route, AuthLevel string
		Methods                           []string
	}
	covers := map[string]func(server.Route) bool{}
	for _, name := range repoFiles(t) {
		if path.Base(name) != "function.json" {
			continue
		}
		var function struct{ Bindings []binding }
		require.NoError(t, json.Unmarshal([]byte(read(t, name)), &function), name)
		require.Len(t, function.Bindings, 2, name)
		in, out := function.Bindings[0], function.Bindings[1]
		require.Equal(t, "httpTrigger in, http out", in.Type+" "+in.Direction+", "+out.Type+" "+out.Direction, name)
		require.Equal(t, "anonymous", in.AuthLevel, "%s: the handler checks tokens, the host must not ask for a key", name)
		require.NotEmpty(t, in.Methods, name)
		covers[name] = func(r server.Route) bool {
			at, anyBelow := strings.CutSuffix("/api/"+in.Route, "/{*path}")
			return slices.Contains(in.Methods, strings.ToLower(r.Method)) &&
				(r.Path == at || anyBelow && strings.HasPrefix(r.Path, at+"/"))
		}
	}
	for _, r := range servedRoutes() {
		var by []string
		for name, covers := range covers {
			if covers(r) {
				by = append(by, name)
			}
		}
		if r.Path == "/" { // the host asks it itself
			require.Empty(t, by)
			continue
		}
		require.Len(t, by, 1, "the functions for %s %s", r.Method, r.Path)
	}
}

func TestHost(t *testing.T) {
	var host struct {
		Extensions    struct{ HTTP struct{ RoutePrefix string } }
		CustomHandler struct {
			Description               struct{ DefaultExecutablePath string }
			EnableProxyingHTTPRequest bool
			// the fallback of hosts that do not know the first
			EnableForwardingHTTPRequest bool
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "host.json")), &host))
	require.Equal(t, "api", host.Extensions.HTTP.RoutePrefix)
	require.Equal(t, "bin/handler", host.CustomHandler.Description.DefaultExecutablePath)
	require.True(t, host.CustomHandler.EnableProxyingHTTPRequest)
	require.True(t, host.CustomHandler.EnableForwardingHTTPRequest)
}

func TestFiles(t *testing.T) {
	// published by Microsoft, the same in every emulator
	const emulatorKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	var (
		absolute = regexp.MustCompile(`(^|[^\w.])/(work|root)/`)
		beside   = regexp.MustCompile(`\.\./shared`)
		checksum = regexp.MustCompile(`sha512-[A-Za-z0-9+/]{86}==`)
		secrets  = []struct {
			what    string
			has     string // which is found sooner than the pattern
			pattern *regexp.Regexp
		}{
			{"a storage key", "==", regexp.MustCompile(`[A-Za-z0-9+/]{86}==`)},
			{"a private key", "PRIVATE KEY", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{20}`)},
			{"a signed token", ".eyJ", regexp.MustCompile(`eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{40}`)},
			{"a shared access", "sig=", regexp.MustCompile(`[?&;]sig=[A-Za-z0-9%+/]{40}`)},
			{"an application's secret", "8Q~", regexp.MustCompile(`[\w~.-]{3}8Q~[\w~.-]{31}`)},
			{"a token of a code host's", "gh", regexp.MustCompile(`\bgh[opsur]_[A-Za-z0-9]{36}`)},
		}
	)
	for _, name := range repoFiles(t) {
		content := read(t, name)
		if !strings.Contains("/"+name, "/testdata/") {
			require.LessOrEqual(t, len(content), 1<<20, name)
		}
		if path.Base(name) == "package-lock.json" {
			require.NotContains(t, content, `"resolved"`, "%s names a registry: npm install --omit-lockfile-registry-resolved", name)
		}
		for _, top := range []string{"work", "root"} {
			if !strings.Contains(content, "/"+top+"/") {
				continue
			}
			require.Empty(t, absolute.FindString(content), "%s names a folder of one machine", name)
		}
		if name != ".ci/run" {
			require.Empty(t, beside.FindString(content), "%s names a folder beside the repository", name)
		}
		if strings.Contains(content, "==") {
			content = strings.ReplaceAll(checksum.ReplaceAllString(content, ""), emulatorKey, "")
		}
		for _, secret := range secrets {
			if strings.Contains(content, secret.has) {
				require.Empty(t, secret.pattern.FindString(content), "%s seems to contain %s", name, secret.what)
			}
		}
	}
}

func TestSampleSettings(t *testing.T) {
	var sample struct {
		IsEncrypted bool
		Values      map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "local.settings.sample.json")), &sample))
	require.False(t, sample.IsEncrypted)

	want := []string{"FUNCTIONS_WORKER_RUNTIME"}
	for _, s := range config.Settings {
		// Azure alone has the first two, and the host sets the port. The sample is B2C's.
		if !slices.Contains([]string{"TABLES_ENDPOINT", "AZURE_CLIENT_ID", "FUNCTIONS_CUSTOMHANDLER_PORT"}, s.Name) &&
			!strings.HasPrefix(s.Name, "EXTERNAL_") && !strings.HasPrefix(s.Name, "ENTRA_") {
			want = append(want, s.Name)
		}
	}
	var got []string
	for name := range sample.Values {
		got = append(got, name)
	}
	require.ElementsMatch(t, want, got)
	require.Equal(t, "custom", sample.Values["FUNCTIONS_WORKER_RUNTIME"])

	sample.Values["FUNCTIONS_CUSTOMHANDLER_PORT"] = "7072"
	_, err := config.Load(func(name string) string { return sample.Values[name] })
	require.NoError(t, err)
}

// clients/items.http shows every operation that the API describes, and no other.
func TestItemsHTTP(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]json.RawMessage
	}
	text, err := server.Config{Collection: config.Collection, ReadScope: "read", WriteScope: "write"}.Description()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &doc))
	var described []string
	for path, operations := range doc.Paths {
		for method := range operations {
			if method != "parameters" && method != "head" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	id := regexp.MustCompile(`\{\{id\}\}`)
	request := regexp.MustCompile(`(?m)^(GET|POST|PUT|PATCH|DELETE) \{\{api\}\}([^?\s]+)`)
	text = []byte(read(t, "clients/items.http"))
	// Variables of the file are what all editors have; answers' members and scripts are not.
	for _, used := range regexp.MustCompile(`\{\{(.*?)\}\}`).FindAllSubmatch(text, -1) {
		require.Contains(t, string(text), "\n@"+string(used[1])+" = ")
	}
	require.NotRegexp(t, `(?m)^[<>] |# @name`, string(text))
	var shown []string
	for _, m := range request.FindAllStringSubmatch(string(text), -1) {
		shown = append(shown, m[1]+" "+id.ReplaceAllString(m[2], "{id}"))
	}
	slices.Sort(described)
	slices.Sort(shown)
	require.Equal(t, described, slices.Compact(shown))
}

// What is written down to be typed is there, and what machines read can be read.
func TestWhatIsTyped(t *testing.T) {
	script := regexp.MustCompile(`go run \./(scripts/[a-z-]+)`)
	for _, name := range repoFiles(t) {
		switch path.Ext(name) {
		case ".md", ".yml", ".yaml":
		default:
			continue
		}
		text := read(t, name)
		for _, m := range script.FindAllStringSubmatch(text, -1) {
			require.DirExists(t, filepath.Join(module, m[1]), "%s says %s", name, m[0])
		}
		if path.Ext(name) != ".md" {
			var anything map[string]any
			require.NoError(t, yaml.Unmarshal([]byte(text), &anything), name)
			require.NotEmpty(t, anything)
		}
	}
	var container struct{ Build struct{ Dockerfile string } }
	require.NoError(t, json.Unmarshal([]byte(read(t, ".devcontainer/devcontainer.json")), &container))
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))[1]
	require.Contains(t, read(t, ".devcontainer/"+container.Build.Dockerfile), "/go:"+version+"-")
	for name, want := range map[string][]string{
		".github/workflows/check.yml":     {"go-version-file: go.mod", "contents: read"},
		".github/workflows/azure-dev.yml": {"id-token: write", "--federated-credential-provider github"},
		"azure.yaml":                      {"dist: dist/app.zip", "language: custom", "host: function"},
	} {
		for _, line := range want {
			require.Contains(t, read(t, name), line)
		}
		require.NotContains(t, read(t, name), "secrets.", "%s needs no secret", name)
	}
}
