package functionstest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Build builds the handler of the project whose root is given, for tests that run it, and
// returns the program's path, in dir. It is built as for Azure, without C, so that its
// packages are compiled once for both. It also opens the folders of the sources: go test
// repeats an old result while all that a test opened is the same, and does not see what
// go build opens.
func Build(ctx context.Context, root, dir string) (string, error) {
	name, err := filepath.Abs(filepath.Join(dir, "handler"))
	if err != nil {
		return "", err
	}
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", name, "./handler")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the handler: %w\n%s", err, said)
	}
	opened := func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "node_modules" {
			return fs.SkipDir
		}
		return err
	}
	if err := filepath.WalkDir(filepath.Join(root, "handler"), opened); err != nil {
		return "", fmt.Errorf("look at the handler's sources: %w", err)
	}
	return name, nil
}
