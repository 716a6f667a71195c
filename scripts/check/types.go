package main

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

// types reports what would not compile for another system, of the packages in root and
// their tests. Of all that they import the declarations are enough, so that nothing is
// compiled; go vet compiles it all, which takes a minute for each system.
func types(root, goos string) (string, error) {
	within := func(file string) bool { return strings.HasPrefix(file, root+string(os.PathSeparator)) }
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedDeps | packages.NeedTypes | packages.NeedSyntax,
		Dir:   root,
		Env:   append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0"),
		Tests: true,
		ParseFile: func(set *token.FileSet, name string, source []byte) (*ast.File, error) {
			f, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
			if f != nil && !within(name) {
				for _, d := range f.Decls {
					if function, ok := d.(*ast.FuncDecl); ok {
						function.Body = nil
					}
				}
			}
			return f, err
		},
	}, "./...")
	if err != nil {
		return "", err
	}
	var wrong []string
	packages.Visit(loaded, nil, func(p *packages.Package) {
		for _, e := range p.Errors {
			// A package whose functions have no bodies has errors of its own.
			if e.Kind != packages.TypeError || within(e.Pos) {
				wrong = append(wrong, e.Error())
			}
		}
	})
	if len(wrong) > 0 {
		return strings.Join(wrong, "\n"), errors.New("it does not compile there")
	}
	return "", nil
}
