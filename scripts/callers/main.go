// Command callers is for the operator of the API: it exports what is kept of one caller, and
// erases it. Neither goes through the API, so neither needs the caller's token; both need
// access to the storage.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	jsonv2 "github.com/go-json-experiment/json"

	"itemsapi/handler/config"
	"itemsapi/handler/items"
	"itemsapi/handler/tables"
)

const usage = `usage: go run ./scripts/callers export|erase -tenant GUID -subject ID [flags]

export  writes the caller's items to a new file, one JSON object a line
erase   removes everything that is kept of the caller: items, the log of changes,
        tombstones, keys. One row is left, with the time, so that devices drop their
        copies. The two IDs have to be typed again before anything is erased.

The tenant is the GUID of the directory, and the subject the user's object ID there
(oid; sub in tokens of B2C that have no oid). Both first say what there is.

Where the items are is read from the environment: TABLES_ENDPOINT, reached with the
rights of az login or another of DefaultAzureCredential's sources, which need the role
Storage Table Data Contributor (for an export, Reader), or TABLES_CONNECTION_STRING;
and ITEMS_TABLE. Exit code 1 if there is no such caller.

Flags:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "callers:", err)
		os.Exit(1)
	}
}

// callTimeout is how long one call of the store may take.
const callTimeout = 30 * time.Second

var guidRE = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func run(ctx context.Context, args []string, getenv func(string) string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("callers", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	tenant := f.String("tenant", "", "the directory's `GUID`")
	subject := f.String("subject", "", "the user's object `ID`")
	file := f.String("o", "", "the `file` that export makes; default caller-TIME.ndjson")
	command := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	owner := items.Owner{Tenant: strings.ToLower(*tenant), Subject: strings.ToLower(*subject)}
	switch {
	case command != "export" && command != "erase" || f.NArg() > 0:
		return errors.New("say export or erase first, then the flags; -h shows how")
	case !guidRE.MatchString(owner.Tenant):
		return errors.New("-tenant expects the directory's GUID")
	case owner.Subject == "":
		return errors.New("-subject expects the user's object ID")
	case command == "erase" && *file != "":
		return errors.New("-o is for export")
	}
	store, where, err := open(getenv)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sum, err := store.Summary(limited, owner)
	if err != nil {
		return fmt.Errorf("look for the caller in %s: %w", where, err)
	}
	if !sum.Known {
		return fmt.Errorf("there is no such caller in %s: nothing is kept of %s", where, nameOf(owner))
	}
	fmt.Fprintf(out, "Caller   %s\nStorage  %s\nItems    %d\n", nameOf(owner), where, sum.Count)
	if !sum.ErasedAt.IsZero() {
		fmt.Fprintf(out, "Erased   last at %s\n", items.FormatTime(sum.ErasedAt))
	}
	if command == "export" {
		if *file == "" {
			*file = time.Now().UTC().Format("caller-20060102T150405Z.ndjson")
		}
		return export(ctx, store, owner, *file, out)
	}
	if err := confirm(ctx, owner, in, out); err != nil {
		return err
	}
	return erase(ctx, store, owner, out)
}

func nameOf(owner items.Owner) string {
	return "subject " + owner.Subject + " of tenant " + owner.Tenant
}

// open opens the store that the settings name, and says where it is.
func open(getenv func(string) string) (store *tables.Store, where string, err error) {
	c, err := config.LoadStorage(getenv)
	if err != nil {
		return nil, "", err
	}
	t := tables.Config{Endpoint: c.TablesEndpoint, ConnectionString: c.TablesConnectionString, Table: c.Table}
	where = "the table " + c.Table + " of TABLES_CONNECTION_STRING"
	if c.TablesEndpoint != "" {
		where = "the table " + c.Table + " at " + c.TablesEndpoint
		if t.Credential, err = azidentity.NewDefaultAzureCredential(nil); err != nil {
			return nil, "", fmt.Errorf("find a credential: %w", err)
		}
	}
	store, err = tables.Open(t)
	return store, where, err
}

// export writes the items to a new file that nobody else can read.
func export(ctx context.Context, store *tables.Store, owner items.Owner, name string, out io.Writer) (err error) {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("make a new file: %w", err)
	}
	defer func() {
		if err != nil { // half of it would pass for the whole
			file.Close()
			os.Remove(name)
		}
	}()
	w := bufio.NewWriter(file)
	written := 0
	for q := (items.Query{Limit: 200}); ; {
		page, err := listed(ctx, store, owner, q)
		if err != nil {
			return fmt.Errorf("list items: %w", err)
		}
		for _, item := range page.Items {
			line, err := jsonv2.Marshal(item)
			if err != nil {
				return fmt.Errorf("encode item %s: %w", item.ID, err)
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			written++
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	fmt.Fprintf(out, "Exported %d items to %s\n", written, name)
	return nil
}

func listed(ctx context.Context, store *tables.Store, owner items.Owner, q items.Query) (items.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return store.List(ctx, owner, q)
}

// confirm has the two IDs typed again.
func confirm(ctx context.Context, owner items.Owner, in io.Reader, out io.Writer) error {
	fmt.Fprintln(out, "\nAll of that will be erased, and cannot be had back. Type the IDs again to go on.")
	typed := make(chan string, 2)
	go func() { // it may wait for ever
		defer close(typed)
		for lines := bufio.NewScanner(in); len(typed) < cap(typed) && lines.Scan(); {
			typed <- strings.ToLower(strings.TrimSpace(lines.Text()))
		}
	}()
	for _, id := range []struct{ name, value string }{{"tenant", owner.Tenant}, {"subject", owner.Subject}} {
		fmt.Fprintf(out, "%s: ", id.name)
		var text string
		select {
		case text = <-typed:
		case <-ctx.Done():
		}
		if text != id.value {
			fmt.Fprintln(out)
			return fmt.Errorf("the %s was not typed as it is in -%s; nothing was erased", id.name, id.name)
		}
	}
	fmt.Fprintln(out)
	return nil
}

func erase(ctx context.Context, store *tables.Store, owner items.Owner, out io.Writer) error {
	for erased := int64(0); ; {
		limited, cancel := context.WithTimeout(ctx, callTimeout)
		n, more, err := store.Erase(limited, owner)
		cancel()
		if err != nil {
			return fmt.Errorf("%d items are erased, and it is not all; type the same again to go on: %w", erased, err)
		}
		erased += n
		fmt.Fprintf(out, "Erased   %d items\n", erased)
		if !more {
			return nil
		}
	}
}
