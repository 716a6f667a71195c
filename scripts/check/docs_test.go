package main

// What the pages promise: links lead somewhere, every page is found, every setting and
// code is explained, and the README stays short.

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
)

// page is a Markdown file, as GitHub shows it.
type page struct {
	anchors  []string          // of its headings
	links    []string          // of links and pictures
	pictures map[string]string // by address, the text for those who do not see it
}

func readPage(source []byte) page {
	p := page{pictures: map[string]string{}}
	markdown := goldmark.New(goldmark.WithExtensions(extension.GFM))
	words := func(n ast.Node) string {
		var b strings.Builder
		_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			switch n := n.(type) {
			case *ast.Text:
				if entering {
					b.Write(n.Segment.Value(source))
				}
			case *ast.String:
				if entering {
					b.Write(n.Value)
				}
			}
			return ast.WalkContinue, nil
		})
		return b.String()
	}
	_ = ast.Walk(markdown.Parser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			slug := slugOf(words(n))
			anchor := slug
			for i := 1; slices.Contains(p.anchors, anchor); i++ {
				anchor = fmt.Sprintf("%s-%d", slug, i)
			}
			p.anchors = append(p.anchors, anchor)
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
			p.pictures[string(n.Destination)] = words(n)
		case *ast.RawHTML: // a picture that is not to be as wide as the page
			p.image(n.Segments.Value(source))
		case *ast.HTMLBlock:
			p.image(n.Lines().Value(source))
		}
		return ast.WalkContinue, nil
	})
	return p
}

func (p *page) image(html []byte) {
	if m := imgTag.FindSubmatch(bytes.TrimSpace(html)); m != nil {
		p.links = append(p.links, string(m[1]))
		p.pictures[string(m[1])] = string(m[2])
	}
}

var imgTag = regexp.MustCompile(`^<img src="([^"]+)" width="\d+" alt="([^"]+)">$`)

// slugOf is the anchor that GitHub gives a heading: lower case, hyphens for spaces, and
// of everything else letters, digits, hyphens and underscores alone.
func slugOf(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case unicode.IsLetter(r), unicode.IsMark(r), unicode.IsDigit(r), r == '-', r == '_':
			return unicode.ToLower(r)
		default:
			return -1
		}
	}, strings.TrimSpace(heading))
}

func TestReadPage(t *testing.T) {
	p := readPage([]byte("# What `x_y` is, and a [link](a.md)\n\n## Twice\n## Twice\n\n`[no](code.md)`\n\n" +
		"```\n[nor](this.md)\n# No heading\n```\n\n<img src=\"w.png\" width=\"9\" alt=\"wide\"> x\n\n| ![alt](p.png) |\n|---|\n| [in a table](b.md#c) |\n\n[by name][n]\n\n[n]: d.md\n"))
	require.Equal(t, []string{"what-x_y-is-and-a-link", "twice", "twice-1"}, p.anchors)
	require.Equal(t, []string{"a.md", "w.png", "p.png", "b.md#c", "d.md"}, p.links)
	require.Equal(t, map[string]string{"p.png": "alt", "w.png": "wide"}, p.pictures)
	require.Equal(t, "whats-new--some-täst", slugOf("What's new: — some Täst?"))
}

// pages are all Markdown files of the repository.
func pages(t *testing.T) map[string]page {
	all := map[string]page{}
	for _, name := range repoFiles(t) {
		if path.Ext(name) == ".md" {
			all[name] = readPage([]byte(read(t, name)))
		}
	}
	return all
}

// Each link to another file, and to a heading, leads there.
func TestLinks(t *testing.T) {
	all := pages(t)
	files := repoFiles(t)
	checked := 0
	for name, p := range all {
		for _, link := range p.links {
			u, err := url.Parse(link)
			require.NoError(t, err, name)
			if u.Scheme != "" {
				require.Contains(t, []string{"https", "http"}, u.Scheme, "%s links to %s", name, link)
				continue
			}
			checked++
			target := name
			if u.Path != "" {
				target = path.Join(path.Dir(name), u.Path)
				folder := func(file string) bool { return strings.HasPrefix(file, target+"/") }
				require.True(t, slices.Contains(files, target) || slices.ContainsFunc(files, folder),
					"%s links to %s, which is not there", name, link)
			}
			if u.Fragment != "" {
				require.Contains(t, all, target, "%s links into %s, which is no page", name, link)
				require.Contains(t, all[target].anchors, u.Fragment, "%s links to a heading that is not there", name)
			}
		}
	}
	require.Greater(t, checked, 50)
}

// docs/README.md leads to every page of docs, and the README of the project to it.
func TestContents(t *testing.T) {
	all := pages(t)
	for name := range all {
		if path.Dir(name) == "docs" && name != "docs/README.md" {
			require.Contains(t, all["docs/README.md"].links, path.Base(name), "the contents lack a page")
		}
	}
	require.Contains(t, all["README.md"].links, "docs/README.md")
}

// The README is a page for somebody who comes by: three screens.
func TestReadmeIsShort(t *testing.T) {
	require.LessOrEqual(t, strings.Count(read(t, "README.md"), "\n"), 125)
}

// Every picture is shown somewhere, is small enough for a slow line, and has words for
// those who do not see it. go run ./scripts/pictures makes them.
func TestPictures(t *testing.T) {
	shown := map[string]bool{}
	for name, p := range pages(t) {
		for picture, words := range p.pictures {
			require.GreaterOrEqual(t, len(strings.Fields(words)), 4, "%s shows %s without saying what is seen", name, picture)
			shown[path.Join(path.Dir(name), picture)] = true
		}
	}
	for _, name := range repoFiles(t) {
		if path.Ext(name) != ".png" {
			continue
		}
		require.True(t, shown[name], "no page shows %s", name)
		info, err := os.Stat(filepath.Join(module, filepath.FromSlash(name)))
		require.NoError(t, err)
		require.Less(t, info.Size(), int64(300_000), name)
	}
}

// Every setting has its row, and every code its explanation.
func TestReference(t *testing.T) {
	for _, code := range entra.Codes() {
		require.Contains(t, read(t, "docs/refusals.md"), "## `"+code+"`")
	}
	settings := read(t, "docs/settings.md")
	for _, s := range config.Settings {
		require.Contains(t, settings, "`"+s.Name+"`", "docs/settings.md lacks it")
	}
	kinds := regexp.MustCompile(`(?m)^\t"([a-z_.]+)":\s+\{http\.Status`).
		FindAllStringSubmatch(read(t, "handler/server/problem.go"), -1)
	require.GreaterOrEqual(t, len(kinds), 16, "the table of kinds was not understood")
	errors := read(t, "docs/errors.md")
	for _, kind := range kinds {
		require.Contains(t, errors, "`"+kind[1]+"`", "docs/errors.md lacks it")
	}
}

// What docs/library.md shows can be compiled.
func TestLibraryPage(t *testing.T) {
	code := regexp.MustCompile("(?s)```go\n(.*?)```").FindStringSubmatch(read(t, "docs/library.md"))[1]
	program := "package main\n\nimport (\n\t\"context\"\n\t\"log\"\n\t\"net/http\"\n\n\t\"itemsapi/handler/entra\"\n)\n\n" +
		"func main() {\n\tctx, mux := context.Background(), http.NewServeMux()\n" + code + "}\n\n" +
		"func list(w http.ResponseWriter, r *http.Request) { _, _ = entra.CallerFrom(r.Context()) }\n"
	dir := filepath.Join(t.TempDir(), "page")
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "page.exe"),
		filepath.Join(dir, "main.go"))
	build.Dir = module
	build.Env = append(os.Environ(), asForAzure()...)
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s\n%s", said, program)
}
