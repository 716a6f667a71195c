package main

import (
	"runtime"
	"strings"
	"unicode/utf8"
)

// shell is how commands are written for the shell that a person has.
type shell struct {
	curl    string // the program: in Windows PowerShell curl is something else
	more    string // ends a line that the next one continues
	special string // characters that need no quotes, besides letters and digits
	quote   string // what a single quote within single quotes is written as
	// inline says that a double quote in an argument reaches the program. Windows
	// PowerShell drops it.
	inline bool
}

var (
	posix      = shell{curl: "curl", more: ` \`, special: "-_./:=@", quote: `'\''`, inline: true}
	powerShell = shell{curl: "curl.exe", more: " `", special: `-_./:=\`, quote: "''"}
)

func thisShell() shell {
	if runtime.GOOS == "windows" {
		return powerShell
	}
	return posix
}

// word quotes an argument, where it needs it.
func (s shell) word(argument string) string {
	if argument != "" && !strings.ContainsFunc(argument, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') &&
			!strings.ContainsRune(s.special, r)
	}) {
		return argument
	}
	return "'" + strings.ReplaceAll(argument, "'", s.quote) + "'"
}

// columns is the width that terminals have at least.
const columns = 80

// command writes a command of these arguments, each line but the first indented by two
// more spaces than indent. It is broken between groups, of which each is an option with
// its value, so that lines fit a terminal.
func (s shell) command(indent string, groups ...[]string) string {
	var b strings.Builder
	line := indent
	for i, group := range groups {
		words := make([]string, len(group))
		for j, argument := range group {
			words[j] = s.word(argument)
		}
		text := strings.Join(words, " ")
		more := ""
		if i < len(groups)-1 {
			more = s.more
		}
		switch {
		case i == 0:
			line += text
		case utf8.RuneCountInString(line+" "+text+more) <= columns:
			line += " " + text
		default:
			b.WriteString(line + s.more + "\n")
			line = indent + "  " + text
		}
	}
	return b.String() + line
}
