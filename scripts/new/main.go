// Command new makes a project of one's own out of this repository: what git tracks,
// with another module path, and another name for what the API keeps. What an item is
// about stays as it is here; docs/your-own-domain.md tells how to replace it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/project"
)

const usage = `usage: go run ./scripts/new -module PATH -collection NAME DIR

Makes a project of your own in the folder DIR, which must be empty or absent: this
repository's files under another module path, with /api/NAME in place of
` + config.CollectionPath + `, the functions NAME-read and NAME-write, the table NAME, and the realm
NAMEapi. For example:

  go run ./scripts/new -module example.com/you/notes -collection notes ../notes

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "new:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("new", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	var n names
	f.StringVar(&n.module, "module", "", "module `path` of the new project, such as example.com/you/notes")
	f.StringVar(&n.collection, "collection", "", "`name` of what the API keeps, such as notes")
	if err := f.Parse(args); err != nil {
		return err
	}
	switch {
	case f.NArg() == 0:
		return errors.New("name the folder to make; see -h")
	case f.NArg() > 1:
		return fmt.Errorf("unexpected argument %q; flags come before the folder, see -h", f.Arg(1))
	}
	dir, err := filepath.Abs(f.Arg(0))
	if err != nil {
		return fmt.Errorf("find the folder: %w", err)
	}
	root, err := project.Root(ctx)
	if err != nil {
		return err
	}
	if err := n.check(ctx, root); err != nil {
		return err
	}
	if err := checkTarget(root, dir); err != nil {
		return err
	}
	files, err := project.Tracked(ctx, root)
	if errors.Is(err, project.ErrNoClone) {
		return fmt.Errorf("%s is not a clone, or there is no git: which files belong to the project is what git tracks",
			root)
	}
	if err != nil {
		return err
	}
	made, err := n.rename(os.DirFS(root), files)
	if err != nil {
		return err
	}
	for _, file := range made {
		if err := file.write(dir); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, `%s: module %s, %d files.

Next, in that folder:
  git init
  go run ./scripts/dev     runs it on this machine
  go run ./scripts/check   checks it
docs/your-own-domain.md tells how to replace what an item is about.
`, dir, n.module, len(made))
	return nil
}

// names are what the new project is called.
type names struct{ module, collection string }

func (n names) realm() string { return n.collection + "api" }

// title is the collection's name for people.
func (n names) title() string { return strings.ToUpper(n.collection[:1]) + n.collection[1:] }

// collectionForm is what a route's segment, a function's folder, a table of Azure's (a
// letter, then letters and digits, 63 at most) and an npm package can all be called,
// with room for the endings that are added.
var collectionForm = regexp.MustCompile(`^[a-z][a-z0-9]{2,49}$`)

// check refuses names that would not work.
func (n names) check(ctx context.Context, root string) error {
	const form = "it must be 3 to 50 lower-case letters and digits, a letter first, such as notes"
	switch {
	case n.collection == "":
		return errors.New("-collection is missing: " + form)
	case !collectionForm.MatchString(n.collection):
		return fmt.Errorf("-collection %q cannot be the name of a route and of a table: %s", n.collection, form)
	case n.collection == config.Collection:
		return fmt.Errorf("-collection %s is what it is called here; choose another name, such as notes", n.collection)
	case n.collection == "tables":
		return errors.New("-collection tables cannot be: Azure Table Storage reserves the name; choose another, such " +
			"as notes")
	}
	return n.checkModule(ctx, root)
}

func (n names) checkModule(ctx context.Context, root string) error {
	const form = "it must be a module path whose first element has a dot, such as example.com/you/notes"
	if n.module == "" {
		return errors.New("-module is missing: " + form)
	}
	first, _, _ := strings.Cut(n.module, "/")
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*\.[a-z0-9.-]+$`).MatchString(first) {
		return fmt.Errorf("-module %q cannot be a module's path: %s", n.module, form)
	}
	// The go command has the rules for the rest.
	dir, err := os.MkdirTemp("", "new")
	if err != nil {
		return fmt.Errorf("make a folder to try the module path in: %w", err)
	}
	defer os.RemoveAll(dir)
	try := exec.CommandContext(ctx, "go", "mod", "init", "--", n.module)
	try.Dir = dir
	try.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if said, err := try.CombinedOutput(); err != nil {
		why := strings.TrimPrefix(strings.TrimSpace(string(said)), "go: ")
		return fmt.Errorf("-module %q cannot be a module's path: %s; %s", n.module, form, why)
	}
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return fmt.Errorf("read go.mod: %w", err)
	}
	if strings.Contains(string(gomod), "\t"+n.module+" v") {
		return fmt.Errorf("-module %s is a module that the project needs; choose a path of your own, such as "+
			"example.com/you/notes", n.module)
	}
	return nil
}

// checkTarget refuses a folder that has anything in it, or that is part of the repository.
func checkTarget(root, dir string) error {
	if within, err := filepath.Rel(root, dir); err == nil && filepath.IsLocal(within) {
		return fmt.Errorf("%s is within this repository; name a folder outside of it", dir)
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at the folder to make: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty (%s is in it); name an empty folder, or one that is not there yet", dir,
			entries[0].Name())
	}
	return nil
}
