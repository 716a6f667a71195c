package main

import (
	"bytes"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/project"
)

// own is the folder of this command, which the new project does not have.
const own = "scripts/new"

// recordings are what a real host said about an app of its own. They stay as they are.
const recordings = "handler/functionstest/testdata/"

// rule is a text that is replaced: in the named files, each of which must have it, or
// everywhere.
type rule struct {
	old, new string
	files    []string
}

// rules are what changes, and all that does. Where two rules fit, the first counts.
func (n names) rules() []rule {
	const c = config.Collection
	title := strings.ToUpper(c[:1]) + c[1:]
	const importer = "handler/entra/testdata/notes/main.go"
	return []rule{
		// A path without a dot stands among the standard library's imports, one with a dot
		// after them. Everywhere else the two have groups of their own.
		{"\t\"" + project.Module + "/handler/entra\"\n", "", []string{importer}},
		{"\t\"os\"\n)", "\t\"os\"\n\n\t\"" + n.module + "/handler/entra\"\n)", []string{importer}},
		// The module: imports, and what the tests have the go command build.
		{`"` + project.Module + `/`, `"` + n.module + `/`, nil},
		{"module " + project.Module, "module " + n.module, []string{
			"go.mod", "scripts/check/tools/go.mod", "scripts/run-now/main_test.go",
		}},
		{"require " + project.Module, "require " + n.module, []string{"handler/entra/testdata/notes/go.mod"}},
		{"replace " + project.Module, "replace " + n.module, []string{"handler/entra/testdata/notes/go.mod"}},
		{
			fmt.Sprintf("-require=%[1]s@v0.0.0 -replace=%[1]s=../%[1]s", project.Module),
			fmt.Sprintf("-require=%[1]s@v0.0.0 -replace=%[1]s=../%[2]s", n.module, path.Base(n.module)),
			[]string{"docs/library.md", "handler/entra/entra.go"},
		},

		// The API's name: challenges and problem types where they are spelled out, titles,
		// and the names of the packages and of the app.
		{config.Realm, n.realm(), nil},

		// The collection's name in routes and functions.
		{config.CollectionPath, "/api/" + n.collection, nil},
		{c + "-read", n.collection + "-read", nil},
		{c + "-write", n.collection + "-write", nil},
		{c + "/{*path}", n.collection + "/{*path}", []string{c + "-read/function.json", c + "-write/function.json"}},
		{`"/` + c, `"/` + n.collection, []string{"clients/typescript/main.ts", "clients/typescript/samples.mjs"}},
		{"{{api}}/" + c, "{{api}}/" + n.collection, []string{"clients/items.http"}},
		{`"title": "` + title + `"`, `"title": "` + n.title() + `"`, []string{"handler/server/openapi.json"}},

		// In the source: what all Go code takes the names from, and the table's default in Azure.
		{`Collection = "` + c + `"`, `Collection = "` + n.collection + `"`, []string{"handler/config/names.go"}},
		{
			`"ITEMS_TABLE": "` + c + `"`, `"ITEMS_TABLE": "` + n.collection + `"`,
			append(slices.Clone(snapshots), "local.settings.sample.json"),
		},
		{
			"param itemsTable string = '" + c + "'", "param itemsTable string = '" + n.collection + "'",
			[]string{"infra/main.bicep"},
		},
		{"API_ITEMS_TABLE=" + c + "}", "API_ITEMS_TABLE=" + n.collection + "}", []string{"infra/main.parameters.json"}},
		{tablePath + c, tablePath + n.collection, snapshots},
		{`/default/` + c + `"`, `/default/` + n.collection + `"`, snapshots}, // the table's name
		{
			"ITEMS_TABLE` | `" + c + "`", "ITEMS_TABLE` | `" + n.collection + "`",
			[]string{"docs/settings.md", "infra/README.md"},
		},
		{"the table " + c + " is", "the table " + n.collection + " is", []string{"scripts/doctor/testdata/well.txt"}},

		// The single-page app's names: of the page, and of the database on the device, which
		// apps on one origin would share.
		{"<title>" + title + "<", "<title>" + n.title() + "<", []string{"clients/spa/index.html"}},
		{"<h1>" + title + "<", "<h1>" + n.title() + "<", []string{"clients/spa/index.html"}},
		{`name": "` + title + `"`, `name": "` + n.title() + `"`, []string{"clients/spa/manifest.webmanifest"}},
		{">" + title + "</a>", ">" + n.title() + "</a>", []string{"clients/spa/index.html"}},
		{
			">Your " + c + "<", ">Your " + n.collection + "<",
			[]string{"clients/spa/index.html", "clients/mobile/Items.tsx"},
		},
		{
			`name: "` + title + `"`, `name: "` + n.title() + `"`,
			[]string{"clients/spa/tests/browser.test.mjs", "clients/spa/tests/people.test.mjs"},
		},
		{
			`["` + title + `", "Token"]`, `["` + n.title() + `", "Token"]`,
			[]string{"clients/spa/tests/browser.test.mjs"},
		},
		{"`" + c + " of ", "`" + n.collection + " of ", []string{"clients/spa/store.js", "clients/spa/README.md"}},

		// What the check says of this command's own tests.
		{
			"  a new project   its own check (else parts of it), and a second new project\n", "",
			[]string{"scripts/check/main.go"},
		},

		// The mobile app's: of the app, of what opens it and of its list.
		{"com.example." + c, "com.example." + n.collection, nil},
		{`name": "` + title + `"`, `name": "` + n.title() + `"`, []string{"clients/mobile/app.json"}},
		{
			`"` + title + `"`, `"` + n.title() + `"`,
			[]string{"clients/mobile/App.tsx", "clients/mobile/tests/app.test.mjs"},
		},
		{">" + title + "<", ">" + n.title() + "<", []string{"clients/mobile/App.tsx"}},
	}
}

// file is a file of the new project.
type file struct {
	name    string
	content []byte
	mode    fs.FileMode
}

func (f file) write(dir string) error {
	name := filepath.Join(dir, filepath.FromSlash(f.name))
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make a folder of the project: %w", err)
	}
	if err := os.WriteFile(name, f.content, f.mode); err != nil {
		return fmt.Errorf("write the project: %w", err)
	}
	return nil
}

// rename makes the new project's files of the repository's. A rule that finds nothing
// where it should is an error: the repository has changed, and the rule has not.
func (n names) rename(repository fs.FS, tracked []string) ([]file, error) {
	rules := n.rules()
	for _, r := range rules {
		for _, name := range r.files {
			text, err := fs.ReadFile(repository, name)
			if err != nil || !bytes.Contains(text, []byte(r.old)) {
				return nil, fmt.Errorf("%s does not say %q any more: correct the rules in %s", name, r.old, own)
			}
		}
	}
	var made []file
	for _, name := range tracked {
		if strings.HasPrefix(name, own+"/") {
			continue
		}
		text, err := fs.ReadFile(repository, name)
		if err != nil {
			return nil, fmt.Errorf("read the repository: %w", err)
		}
		info, err := fs.Stat(repository, name)
		if err != nil {
			return nil, fmt.Errorf("read the repository: %w", err)
		}
		f := file{name, text, 0o644}
		if info.Mode()&0o111 != 0 {
			f.mode = 0o755
		}
		if !strings.HasPrefix(name, recordings) && utf8.Valid(text) { // pictures stay as they are, too
			if err := n.apply(rules, &f); err != nil {
				return nil, err
			}
		}
		made = append(made, f)
	}
	return made, nil
}

func (n names) apply(rules []rule, f *file) error {
	var pairs []string
	for _, r := range rules {
		if r.files == nil || slices.Contains(r.files, f.name) {
			pairs = append(pairs, r.old, r.new)
		}
	}
	text := string(f.content)
	if path.Ext(f.name) == ".md" {
		text = withoutOwn(text)
	}
	if slices.Contains(snapshots, f.name) {
		from, to := n.assignments(text)
		pairs = append(pairs, from, to)
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	if strings.Contains(text, own) {
		return fmt.Errorf("%s speaks of %s, which the new project does not have", f.name, own)
	}
	f.content = []byte(text)
	if path.Ext(f.name) == ".go" { // what stands in columns has another width
		formatted, err := format.Source(f.content)
		if err != nil {
			return fmt.Errorf("format %s: %w", f.name, err)
		}
		f.content = formatted
	}
	// All of it is in the root but for the functions' folders.
	f.name = regexp.MustCompile(`^`+config.Collection+`(-read|-write)/`).ReplaceAllString(f.name, n.collection+"$1/")
	return nil
}

// withoutOwn leaves out what a page says about this command: rows of tables, and
// paragraphs.
func withoutOwn(page string) string {
	row := regexp.MustCompile(`(?m)^\|.*` + own + `\b.*\n`)
	paragraphs := strings.Split(row.ReplaceAllString(page, ""), "\n\n")
	paragraphs = slices.DeleteFunc(paragraphs, func(p string) bool { return strings.Contains(p, own) })
	return strings.Join(paragraphs, "\n\n")
}

// snapshots are what Bicep makes of infra. The name of the role assignment on the table
// is a hash of the table's path, among others, as guid() in roles.bicep makes it.
var snapshots = []string{
	"infra/tests/dev.snapshot.json", "infra/tests/network.snapshot.json", "infra/tests/prod.snapshot.json",
}

const (
	tablePath  = "/tableServices/default/tables/"
	tableRole  = "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3" // Storage Table Data Contributor
	bicepSpace = "11fb06fb-712d-4ddd-98c7-e71bbd588830" // the namespace of guid()
)

// assignments are the names of the role assignment on the table, as a snapshot has it,
// and as the new project's will.
func (n names) assignments(snapshot string) (from, to string) {
	table := regexp.MustCompile(`"id": "(/[^"]+` + tablePath + `)` + config.Collection + `"`).
		FindStringSubmatch(snapshot)
	identity := regexp.MustCompile(`"id": "(/[^"]+/userAssignedIdentities/[^"/]+)"`).FindStringSubmatch(snapshot)
	if table == nil || identity == nil {
		return "\x00", "" // a test says that they are there
	}
	name := func(collection string) string {
		parts := strings.Join([]string{table[1] + collection, identity[1], tableRole}, "-")
		return uuid.NewSHA1(uuid.MustParse(bicepSpace), []byte(parts)).String()
	}
	return name(config.Collection), name(n.collection)
}
