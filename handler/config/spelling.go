package config

import (
	"slices"
	"strings"
)

// prefixes begin the names that are this program's own.
var prefixes = []string{"B2C_", "EXTERNAL_", "ENTRA_", "TABLES_", "ITEMS_", "AUTH_", "CALLER_"}

// unused are names that scripts/dev sets for the programs that it runs.
var unused = []string{"B2C_AUTHORITY", "B2C_CLIENT_ID", "B2C_SCOPE_READ", "B2C_SCOPE_WRITE"}

// misspelt looks through the names of the environment for those that look like this
// program's. One that is nearly a setting's is a problem: a setting that does not count
// may be the one that keeps others out. Any other may be meant for somebody else.
func misspelt(names []string) (problems, warnings []string) {
	var known []string
	for _, s := range Settings {
		known = append(known, s.Name)
	}
	for _, name := range slices.Sorted(slices.Values(names)) {
		upper := strings.ToUpper(name)
		ours := slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(upper, p) })
		if !ours || slices.Contains(known, name) || slices.Contains(unused, name) {
			continue
		}
		if near := nearest(upper, known); near != "" {
			problems = append(problems, name+" is not a setting; it looks like "+near+", misspelt")
		} else {
			warnings = append(warnings, name+" is not a setting")
		}
	}
	return problems, warnings
}

// nearest is the known name that a name is nearly, or empty: two letters off, or of the
// same words in another order or number.
func nearest(name string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		if d := distance(name, k); d < least {
			best, least = k, d
		}
	}
	if best != "" {
		return best
	}
	for _, k := range known {
		if slices.Equal(words(name), words(k)) {
			return k
		}
	}
	return ""
}

// words are a name's words, without their number, in alphabetical order.
func words(name string) []string {
	all := strings.Split(name, "_")
	for i, w := range all {
		if y, ok := strings.CutSuffix(w, "IES"); ok {
			w = y + "Y"
		}
		all[i] = strings.TrimSuffix(w, "S")
	}
	slices.Sort(all)
	return all
}

// distance is how many letters have to be put in, left out, replaced, or swapped with
// their neighbour to make b of a (optimal string alignment).
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			differs := 1
			if a[i-1] == b[j-1] {
				differs = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
