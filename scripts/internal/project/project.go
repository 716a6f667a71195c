// Package project is what the scripts share about the repository: its module, its
// folder, its files, and the two ways to build the handler. It reads and builds; it
// changes no file of the repository.
package project

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"itemsapi/handler/config"
)

// Module is the path in go.mod.
var Module = strings.TrimSuffix(reflect.TypeFor[config.Config]().PkgPath(), "/handler/config")

// Root is the folder of go.mod, so that a script works in any folder of the repository.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", Module).Output()
	if err != nil {
		return "", fmt.Errorf("no module %s here; run this from the project's folder", Module)
	}
	return strings.TrimSpace(string(out)), nil
}

// ErrNoClone says that git lists no files: the folder is not a clone, or there is no git.
var ErrNoClone = errors.New("git lists no files here; is this a clone?")

// Tracked are the files that git tracks in root and that are there, with slashes, in
// alphabetical order. The error may be ErrNoClone.
func Tracked(ctx context.Context, root string) ([]string, error) {
	return gitFiles(ctx, root)
}

// Files are the files that are tracked or could be, as git sees it; where there is no
// git, all but what the tools download and build. They have slashes and are in
// alphabetical order.
func Files(ctx context.Context, root string) ([]string, error) {
	files, err := gitFiles(ctx, root, "--others", "--exclude-standard")
	if errors.Is(err, ErrNoClone) {
		return walk(root)
	}
	return files, err
}

func gitFiles(ctx context.Context, root string, more ...string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"ls-files", "-z", "--cached"}, more...)...)
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil || len(list) == 0 {
		return nil, errors.Join(ErrNoClone, ctx.Err())
	}
	files := strings.Split(strings.TrimRight(string(list), "\x00"), "\x00")
	files = slices.DeleteFunc(files, func(name string) bool {
		_, err := os.Lstat(filepath.Join(root, filepath.FromSlash(name)))
		return err != nil // deleted, and not committed yet
	})
	slices.Sort(files)
	return slices.Compact(files), nil
}

func walk(root string) ([]string, error) {
	var files []string
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			files = append(files, name)
		case slices.Contains([]string{".git", "node_modules", "bin", "dist", ".dev", ".azure"}, path.Base(name)):
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the files: %w", err)
	}
	slices.Sort(files)
	return files, nil
}

// Build builds the handler for this machine, as root/bin/handler.
func Build(ctx context.Context, root string) error {
	return build(ctx, root, nil, "-o", "bin"+string(filepath.Separator))
}

// SizeLimit is how many bytes the handler may have in Azure, which copies it at each
// cold start.
const SizeLimit = 12e6

// BuildForAzure builds the handler as it runs in Azure (linux/amd64, static), as the
// file name. Without paths, VCS stamp and build ID its bytes depend on the sources alone.
func BuildForAzure(ctx context.Context, root, name string) error {
	name, err := filepath.Abs(name)
	if err != nil {
		return fmt.Errorf("build the handler: %w", err)
	}
	return build(
		ctx, root, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "GOFLAGS="},
		"-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", name,
	)
}

func build(ctx context.Context, root string, env []string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"build"}, args, []string{"./handler"})...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	said, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, "dial tcp") { // one of some thirty that say the same
			return fmt.Errorf("build the handler: its modules could not be downloaded; the first build needs a "+
				"network, or behind a proxy HTTPS_PROXY or GOPROXY\n%s", strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("build the handler: %w\n%s", err, said)
}
