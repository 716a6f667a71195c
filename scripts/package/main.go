// Command package builds what is deployed: dist/app.zip, with the handler for
// Linux and the host's files, and nothing else. Two runs give the same bytes. azd
// runs it before it deploys; see azure.yaml.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"itemsapi/scripts/internal/project"
)

const usage = `usage: go run ./scripts/package [flags]

Builds the handler for Azure (linux/amd64, static) and writes it with host.json and
the function.json files to dist/app.zip, checks the result, and prints its hash. The
same sources give the same bytes, on every machine.

Flags:
`

const binary = "bin/handler"

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	f := flag.NewFlagSet("package", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	target := f.String("o", filepath.Join("dist", "app.zip"), "the `file` to write")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; see -h", f.Arg(0))
	}
	if _, err := os.Stat("host.json"); err != nil {
		return errors.New("no host.json here; run this from the project's folder")
	}
	handler, err := build(ctx)
	if err != nil {
		return err
	}
	archive, names, err := pack(os.DirFS("."), handler)
	if err != nil {
		return err
	}
	if err := check(archive); err != nil {
		return fmt.Errorf("the package is not fit to deploy: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(*target), 0o755); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	if err := os.WriteFile(*target, archive, 0o644); err != nil {
		return fmt.Errorf("write the package: %w", err)
	}
	fmt.Fprintf(out, "%s, %.1f MB, sha256 %x\n  %s\n", filepath.ToSlash(*target), float64(len(archive))/1e6,
		sha256.Sum256(archive), strings.Join(names, "\n  "))
	return nil
}

// build returns the handler as it runs in Azure.
func build(ctx context.Context) ([]byte, error) {
	dir, err := os.MkdirTemp("", "package")
	if err != nil {
		return nil, fmt.Errorf("make a folder to build in: %w", err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "handler")
	if err := project.BuildForAzure(ctx, ".", name); err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

// pack makes the archive: the handler, and of the project host.json and each
// folder's function.json.
func pack(project fs.FS, handler []byte) (archive []byte, names []string, err error) {
	files := map[string][]byte{binary: handler}
	functions, err := fs.Glob(project, "*/function.json")
	if err != nil {
		return nil, nil, fmt.Errorf("find the functions: %w", err)
	}
	for _, name := range append(functions, "host.json") {
		content, err := fs.ReadFile(project, name)
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
		// A checkout on Windows may have other line ends.
		files[name] = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
		names = append(names, name)
	}
	names = append(names, binary)
	slices.Sort(names)

	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, name := range names {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
		h.SetMode(0o644)
		if name == binary {
			h.SetMode(0o755) // which no other tool on Windows would set
		}
		w, err := z.CreateHeader(h)
		if err != nil {
			return nil, nil, fmt.Errorf("pack %s: %w", name, err)
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, nil, fmt.Errorf("pack %s: %w", name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, nil, fmt.Errorf("pack: %w", err)
	}
	return b.Bytes(), names, nil
}

// secret is what must not be in a package: a key of a storage account, of a
// signing certificate, or of an application.
var secret = regexp.MustCompile(`AccountKey=|-----BEGIN [A-Z ]*PRIVATE KEY|"clientSecret"|SharedAccessSignature=`)

// check looks at the package as the platform will.
func check(archive []byte) error {
	z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return fmt.Errorf("open it: %w", err)
	}
	content := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			return fmt.Errorf("open %s: %w", f.Name, err)
		}
		content[f.Name], err = io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("read %s: %w", f.Name, err)
		}
		if f.Name != binary && path.Base(f.Name) != "host.json" && path.Base(f.Name) != "function.json" {
			return fmt.Errorf("%s has no place in it", f.Name)
		}
		if f.Name != binary && secret.Match(content[f.Name]) {
			return fmt.Errorf("%s has a secret in it", f.Name)
		}
	}
	var host struct {
		CustomHandler struct {
			Description struct {
				DefaultExecutablePath string `json:"defaultExecutablePath"`
			} `json:"description"`
		} `json:"customHandler"`
	}
	if err := json.Unmarshal(content["host.json"], &host); err != nil {
		return fmt.Errorf("read host.json: %w", err)
	}
	if started := host.CustomHandler.Description.DefaultExecutablePath; started != binary || content[binary] == nil {
		return fmt.Errorf("host.json starts %q, and the handler is %s", started, binary)
	}
	functions := 0
	for name, text := range content {
		if path.Base(name) != "function.json" {
			continue
		}
		functions++
		if !json.Valid(text) {
			return fmt.Errorf("%s is not JSON", name)
		}
	}
	if functions == 0 {
		return errors.New("it has no function.json, so that no request would reach the handler")
	}
	return checkBinary(content[binary])
}

func checkBinary(b []byte) error {
	if len(b) > project.SizeLimit {
		return fmt.Errorf("%s has %.1f MB; the limit is %.0f", binary, float64(len(b))/1e6, project.SizeLimit/1e6)
	}
	program, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s is not a Linux program: %w", binary, err)
	}
	if program.Machine != elf.EM_X86_64 || program.Class != elf.ELFCLASS64 {
		return fmt.Errorf("%s is for %v; Azure runs x86-64", binary, program.Machine)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s wants shared libraries, which Azure's machine may lack", binary)
		}
	}
	return nil
}
