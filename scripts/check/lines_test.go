package main

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// Lines of code, but for imports and tests, have at most 120 columns, a tab being four.
func TestLines(t *testing.T) {
	for _, name := range repoFiles(t) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		var long []string
		for i, line := range strings.Split(read(t, name), "\n") {
			imports := strings.HasPrefix(line, "\t\"") && strings.Count(line, `"`) == 2 && !strings.Contains(line, " ")
			if columns := utf8.RuneCountInString(strings.ReplaceAll(line, "\t", "    ")); columns > 120 && !imports {
				long = append(long, fmt.Sprintf("%s:%d has %d columns", name, i+1, columns))
			}
		}
		require.Empty(t, long)
	}
}
