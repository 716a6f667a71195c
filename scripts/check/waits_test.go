package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A test must fail, and neither hang nor lose the results of others. So nothing ends the
// test from another goroutine than its own (FailNow there ends that goroutine alone, and
// the test goes on waiting for it), and nothing on its own goroutine waits for a channel
// without a limit.
func TestNoTestHangs(t *testing.T) {
	var found []string
	looked := 0
	for _, name := range repoFiles(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		looked++
		found = append(found, waits(t, name, read(t, name))...)
	}
	require.Greater(t, looked, 40)
	require.Empty(t, found, "wait with waittest.For, and check on other goroutines with waittest.Aside")
}

// waits are the places of a test file where a test could hang.
func waits(t *testing.T, name, source string) (places []string) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, source, 0)
	require.NoError(t, err)
	at := func(n ast.Node, what string) {
		places = append(places, fmt.Sprintf("%s:%d: %s", name, files.Position(n.Pos()).Line, what))
	}
	elsewhere := map[*ast.FuncLit]bool{} // what runs on a goroutine of its own
	testers := map[string]bool{}         // what tests, and their helpers, call a *testing.T
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			if body, ok := n.Call.Fun.(*ast.FuncLit); ok {
				elsewhere[body] = true
			}
		case *ast.CallExpr:
			if method, ok := n.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "Go" && len(n.Args) == 1 {
				if body, ok := n.Args[0].(*ast.FuncLit); ok {
					elsewhere[body] = true
				}
			}
		case *ast.FuncLit:
			if isHandler(n.Type) {
				elsewhere[n] = true
			}
		case *ast.Field:
			typ := n.Type
			if pointer, ok := typ.(*ast.StarExpr); ok {
				typ = pointer.X
			}
			if typ, ok := typ.(*ast.SelectorExpr); ok && isName(typ.X, "testing") {
				for _, name := range n.Names {
					testers[name.Name] = true
				}
			}
		}
		return true
	})

	var walk func(n ast.Node, own bool)
	walk = func(n ast.Node, own bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				if elsewhere[n] && own {
					walk(n.Body, false)
					return false
				}
			case *ast.SelectStmt:
				limited := slices.ContainsFunc(n.Body.List, func(c ast.Stmt) bool { return isLimit(c.(*ast.CommClause)) })
				if own && !limited && len(n.Body.List) > 0 { // select {} is a process that hangs on purpose
					at(n, "this select waits without a limit")
				}
				for _, c := range n.Body.List {
					for _, s := range c.(*ast.CommClause).Body {
						walk(s, own)
					}
				}
				return false
			case *ast.UnaryExpr:
				if own && n.Op == token.ARROW && !isTime(n) {
					at(n, "this waits without a limit")
				}
			case *ast.CallExpr:
				if own {
					return true
				}
				if method, ok := n.Fun.(*ast.SelectorExpr); ok {
					from, _ := method.X.(*ast.Ident)
					if from != nil && testers[from.Name] && slices.Contains([]string{
						"Fatal", "Fatalf", "FailNow", "Skip", "Skipf", "SkipNow",
					}, method.Sel.Name) {
						at(n, "this ends the test from another goroutine")
					}
					if from != nil && from.Name == "assert" {
						return true
					}
				}
				for _, arg := range n.Args {
					if name, ok := arg.(*ast.Ident); ok && testers[name.Name] {
						at(n, "this may end the test from another goroutine")
					}
				}
			}
			return true
		})
	}
	for _, d := range f.Decls {
		walk(d, true)
	}
	return places
}

func isName(e ast.Expr, name string) bool {
	ident, ok := e.(*ast.Ident)
	return ok && ident.Name == name
}

// isHandler says whether a function is one of net/http's, which runs on the goroutine of
// its connection.
func isHandler(f *ast.FuncType) bool {
	if len(f.Params.List) == 0 {
		return false
	}
	first, ok := f.Params.List[0].Type.(*ast.SelectorExpr)
	return ok && isName(first.X, "http") && first.Sel.Name == "ResponseWriter"
}

// isLimit says whether a case of a select ends the wait: the default one, time, or the end
// of a context.
func isLimit(c *ast.CommClause) bool {
	limit := c.Comm == nil
	if c.Comm != nil {
		ast.Inspect(c.Comm, func(n ast.Node) bool {
			receive, ok := n.(*ast.UnaryExpr)
			limit = limit || ok && receive.Op == token.ARROW && isTime(receive)
			return true
		})
	}
	return limit
}

// isTime says whether what is received from is time.After, a timer, or a context's Done.
func isTime(receive *ast.UnaryExpr) bool {
	switch from := receive.X.(type) {
	case *ast.CallExpr:
		f, ok := from.Fun.(*ast.SelectorExpr)
		return ok && (f.Sel.Name == "Done" && isContext(f.X) || isName(f.X, "time"))
	case *ast.SelectorExpr:
		return from.Sel.Name == "C"
	case *ast.Ident:
		return from.Name == "limit" // a time.After for several waits
	}
	return false
}

func isContext(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok {
		f, ok := call.Fun.(*ast.SelectorExpr)
		return ok && f.Sel.Name == "Context"
	}
	return isName(e, "ctx")
}

func TestWaits(t *testing.T) {
	const file = `package p
import "testing"
func TestX(t *testing.T) {
	go func() { require.NoError(t, f()) }() // 4
	wg.Go(func() { t.Fatal() })             // 5
	wg.Go(func() { helper(t, 1) })          // 6
	wg.Go(func() { t.Error(); assert.True(t, ok); f(t.Context()); <-c })
	http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { require.True(t, ok) }) // 8
	<-c                                                // 9
	require.Equal(t, 1, <-c)                           // 10
	select { case <-c: case x := <-d: f(x) }           // 11
	select { case <-c: case <-time.After(1): <-d }     // 12
	select { case <-c: default: }
	select { case <-c: case <-ctx.Done(): }
	select { case <-c: case <-t.Context().Done(): }
	select { case <-c: case <-h.Done(): }              // 16
	require.Eventually(t, func() bool { return f(t) }, 1, 1)
}`
	var lines []string
	for _, place := range waits(t, "x_test.go", file) {
		lines = append(lines, strings.Split(place, ":")[1])
	}
	require.Equal(t, []string{"4", "5", "6", "8", "9", "10", "11", "12", "16"}, lines)
}
