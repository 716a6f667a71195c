package main

import (
	"context"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
)

const (
	tenant  = "775527ff-9a37-4307-8b3d-cc311f58d925"
	subject = "a11ce000-0000-4000-8000-000000000001"
)

type world struct {
	storage *tablestest.Server
	store   *tables.Store
}

func newWorld(t *testing.T) world {
	storage, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(storage.Close)
	store, err := tables.Open(tables.Config{ConnectionString: storage.ConnectionString(), Table: "items"})
	require.NoError(t, err)
	store.Prepare(t.Context())
	return world{storage, store}
}

// fill gives the caller items.
func (w world) fill(t *testing.T, subject string, n int) {
	for i := range n {
		draft := itemstest.Draft(itemstest.Content(i))
		_, _, err := w.store.Apply(t.Context(), items.Owner{Tenant: tenant, Subject: subject}, []items.Op{{Create: &draft}}, nil)
		require.NoError(t, err)
	}
}

// run runs the command with that typed.
func (w world) run(typed string, args ...string) (string, error) {
	var out strings.Builder
	env := map[string]string{"TABLES_CONNECTION_STRING": w.storage.ConnectionString()}
	err := run(context.Background(), args, func(name string) string { return env[name] }, strings.NewReader(typed), &out)
	return out.String(), err
}

func TestExport(t *testing.T) {
	w := newWorld(t)
	w.fill(t, subject, 450)
	w.fill(t, "another", 1)
	file := filepath.Join(t.TempDir(), "out.ndjson")
	said, err := w.run("", "export", "-tenant", strings.ToUpper(tenant), "-subject", strings.ToUpper(subject), "-o", file)
	require.NoError(t, err)
	require.Contains(t, said, "Items    450\n")
	require.Contains(t, said, "Exported 450 items to "+file)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	require.Len(t, lines, 450)
	page, err := w.store.List(t.Context(), items.Owner{Tenant: tenant, Subject: subject}, items.Query{Limit: 1})
	require.NoError(t, err)
	require.Contains(t, lines[0], `{"id":"`+page.Items[0].ID+`",`)
	require.Contains(t, lines[0], `"createdAt":`)
	if runtime.GOOS != "windows" {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}

	// A file that is there is left as it is, and of one that fails nothing is left.
	_, err = w.run("", "export", "-tenant", tenant, "-subject", subject, "-o", file)
	require.ErrorContains(t, err, "make a new file")
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, text, again)
	require.NoError(t, os.Remove(file))
	w.storage.Inject(tablestest.Fault{Status: 403, Match: func() func(*http.Request) bool {
		queries := 0
		return func(r *http.Request) bool {
			if tablestest.Operation(r) == tablestest.OpQueryEntities {
				queries++
			}
			return queries > 1
		}
	}()})
	_, err = w.run("", "export", "-tenant", tenant, "-subject", subject, "-o", file)
	require.ErrorContains(t, err, "list items")
	require.NoFileExists(t, file)
}

func TestErase(t *testing.T) {
	w := newWorld(t)
	w.fill(t, subject, 7)
	w.fill(t, "another", 1)
	args := []string{"erase", "-tenant", tenant, "-subject", subject}
	before := len(w.storage.Entities("items"))
	for _, typed := range []string{"", "\n\n", "yes\nyes\n", tenant + "\n", tenant + "\n" + tenant + "\n", subject + "\n" + subject + "\n", tenant + " " + subject} {
		said, err := w.run(typed, args...)
		require.ErrorContains(t, err, "nothing was erased", "%q", typed)
		require.Contains(t, said, "Items    7\n")
		require.Len(t, w.storage.Entities("items"), before)
	}
	said, err := w.run(tenant+"\r\n"+strings.ToUpper(subject), args...)
	require.NoError(t, err)
	require.Contains(t, said, "Erased   7 items\n")
	left := w.storage.Entities("items")
	require.Len(t, left, 1+3)

	said, err = w.run(tenant+"\n"+subject+"\n", args...)
	require.NoError(t, err)
	require.Contains(t, said, "Items    0\nErased   last at 20")
}

func TestRefused(t *testing.T) {
	w := newWorld(t)
	w.fill(t, subject, 1)
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"no such caller", []string{"export", "-tenant", tenant, "-subject", "nobody"}},
		{"no such caller", []string{"erase", "-tenant", "00000000-0000-4000-8000-000000000000", "-subject", subject}},
		{"export or erase", nil},
		{"export or erase", []string{"delete", "-tenant", tenant, "-subject", subject}},
		{"export or erase", []string{"-tenant", tenant, "-subject", subject}},
		{"export or erase", []string{"export", "-tenant", tenant, "-subject", subject, "now"}},
		{"-tenant expects", []string{"export", "-subject", subject}},
		{"-tenant expects", []string{"export", "-tenant", "contoso", "-subject", subject}},
		{"-subject expects", []string{"erase", "-tenant", tenant}},
		{"-o is for export", []string{"erase", "-tenant", tenant, "-subject", subject, "-o", "x"}},
	} {
		_, err := w.run(tenant+"\n"+subject+"\n", tt.args...)
		require.ErrorContains(t, err, tt.want, "%v", tt.args)
	}
	_, err := w.run("", "-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	err = run(t.Context(), []string{"export", "-tenant", tenant, "-subject", subject}, func(string) string { return "" }, strings.NewReader(""), &strings.Builder{})
	require.ErrorContains(t, err, "TABLES_ENDPOINT or TABLES_CONNECTION_STRING must be set")
	require.Len(t, w.storage.Entities("items"), 3)
}
