package functionstest

import (
	"context"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Build builds the handler of the project whose root is given, for tests that run it, and
// returns the program's path, in dir. It also opens the folders of the sources: go test
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
	cmd := exec.CommandContext(ctx, "go", "build", "-o", name, "./handler")
	cmd.Dir = root
	if said, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the handler: %w\n%s", err, said)
	}
	opened := func(_ string, _ fs.DirEntry, err error) error { return err }
	if err := filepath.WalkDir(filepath.Join(root, "handler"), opened); err != nil {
		return "", fmt.Errorf("look at the handler's sources: %w", err)
	}
	return name, nil
}
