package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items/itemstest"
)

func TestShells(t *testing.T) {
	groups := func(s shell, path string) [][]string {
		return [][]string{{s.curl, "-i"}, {"-H", "@" + path}, {"-H", "Content-Type: application/json"}, {"http://localhost:7071"}}
	}
	for _, tt := range []struct {
		name, path, want string
		shell            shell
	}{
		{"POSIX", "/tmp/a", "  curl -i -H @/tmp/a -H 'Content-Type: application/json' http://localhost:7071", posix},
		{
			"POSIX, a long path", "/var/folders/zz/zyxvpxvq6csfxvn_n0/T/itemsapi-1/alice",
			"  curl -i -H @/var/folders/zz/zyxvpxvq6csfxvn_n0/T/itemsapi-1/alice \\\n" +
				"    -H 'Content-Type: application/json' http://localhost:7071", posix,
		},
		{
			"POSIX, a path with a space and a quote", "/tmp/it's a/b",
			"  curl -i -H '@/tmp/it'\\''s a/b' -H 'Content-Type: application/json' \\\n    http://localhost:7071", posix,
		},
		{
			"PowerShell", `C:\Users\Ann O'Hara\AppData\Local\Temp\itemsapi-1\alice`,
			"  curl.exe -i -H '@C:\\Users\\Ann O''Hara\\AppData\\Local\\Temp\\itemsapi-1\\alice' `\n" +
				"    -H 'Content-Type: application/json' http://localhost:7071", powerShell,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, tt.shell.command("  ", groups(tt.shell, tt.path)...))
		})
	}
	require.Equal(t, "''", posix.word(""))
	require.Equal(t, `'{"a":"$b"}'`, posix.word(`{"a":"$b"}`))
}

// The screen fits the narrowest terminal, and says for each shell what that one takes.
func TestScreenFits(t *testing.T) {
	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(tenant.Close)
	w := &world{
		tenant: tenant, apiURL: "http://localhost:7071", spa: "http://localhost:9912",
		storage: "http://127.0.0.1:10002/devstoreaccount1", kept: "a strict stand-in for Table Storage, in memory",
	}
	for _, tt := range []struct {
		shell shell
		dir   string
		body  string
	}{
		{posix, "/tmp/itemsapi-2861573125", "-d '" + itemstest.Text(exampleText) + "'"},
		{powerShell, `C:\Users\ann\AppData\Local\Temp\itemsapi-2861573125`, "item.json'"},
	} {
		shows := screen(w, &tokens{tenant: tenant, dir: tt.dir}, tt.shell)
		require.Contains(t, shows, tt.body)
		for line := range strings.SplitSeq(shows, "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), columns, line)
		}
	}
}
