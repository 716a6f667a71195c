// Package report prints what a script found, for people at a terminal or as one JSON
// document. It collects checks and prints them at the end: what failed first, then what to
// look at, then what is well, in lines that fit the terminal. Checks that say the same are
// one. Nothing depends on colour. Whatever others wrote is shown without control
// characters, and no secret is shown at all. It looks at nothing itself.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// What a check came to.
const (
	StatusOK   = "ok"
	StatusWarn = "warn" // works, but look at it; does not count as failed
	StatusFail = "fail"
	StatusSkip = "skip"
)

// order is that of the printed checks: what matters most comes first.
var order = []string{StatusFail, StatusWarn, StatusOK, StatusSkip}

// Check is one thing that was looked at.
type Check struct {
	Name     string         `json:"name"`
	Status   string         `json:"status"`
	Code     string         `json:"code,omitempty"` // of a refusal or a sign-in
	Detail   string         `json:"detail"`
	Expected map[string]any `json:"expected,omitempty"`
	Actual   map[string]any `json:"actual,omitempty"`
	Fix      string         `json:"fix"`
}

// Report collects checks.
type Report struct {
	out     io.Writer
	json    bool
	screen  screen
	checks  []Check
	secrets []string
	doing   bool // the last line is one of Doing
}

// screen is what lines are made for.
type screen struct {
	width  int // columns
	colour bool
	live   bool // a line can be written over
}

const unknownWidth = 80

// screenOf finds out about a terminal. Colour is switched off by NO_COLOR
// (https://no-color.org).
func screenOf(out io.Writer) screen {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return screen{width: unknownWidth}
	}
	s := screen{width: unknownWidth, live: os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		s.width = max(width, 40)
	}
	// Windows' older console shows the codes instead of colours.
	s.live = s.live && (runtime.GOOS != "windows" || os.Getenv("WT_SESSION") != "")
	s.colour = s.live && os.Getenv("NO_COLOR") == ""
	return s
}

// New returns a report that Finish will print to out.
func New(out io.Writer, asJSON bool) *Report {
	return &Report{out: out, json: asJSON, screen: screenOf(out), checks: []Check{}}
}

// OK reports what is well.
func (r *Report) OK(name, format string, args ...any) {
	r.Add(Check{Name: name, Status: StatusOK, Detail: fmt.Sprintf(format, args...)})
}

// Skip reports what was not looked at, and why.
func (r *Report) Skip(name, why string) { r.Add(Check{Name: name, Status: StatusSkip, Detail: why}) }

// Warn reports what works but should be looked at.
func (r *Report) Warn(name, detail, fix string) {
	r.Add(Check{Name: name, Status: StatusWarn, Detail: detail, Fix: fix})
}

// Fail reports what is wrong, and how to fix it.
func (r *Report) Fail(name, detail, fix string) {
	r.Add(Check{Name: name, Status: StatusFail, Detail: detail, Fix: fix})
}

// Add takes a check. Its texts are made fit to print.
func (r *Report) Add(c Check) {
	c.Name, c.Code, c.Detail, c.Fix = r.Clean(c.Name), r.Clean(c.Code), r.Clean(c.Detail), r.Clean(c.Fix)
	for _, m := range []map[string]any{c.Expected, c.Actual} {
		for name, value := range m {
			if s, ok := value.(string); ok {
				m[name] = r.Clean(s)
			}
		}
	}
	r.checks = append(r.checks, c)
}

// Checks are those so far.
func (r *Report) Checks() []Check { return slices.Clone(r.checks) }

// Doing tells whoever waits at a terminal what takes the time. It leaves no trace.
func (r *Report) Doing(what string) {
	if !r.json && r.screen.live {
		r.wipe()
		fmt.Fprint(r.out, CutTo(r.screen.width-1, r.Clean(what)))
		r.doing = true
	}
}

func (r *Report) wipe() {
	if r.doing {
		fmt.Fprint(r.out, "\r\x1b[K")
		r.doing = false
	}
}

// Finish prints everything and returns the exit status: 1 if something failed, else 0.
func (r *Report) Finish() int {
	r.wipe()
	failed := slices.ContainsFunc(r.checks, func(c Check) bool { return c.Status == StatusFail })
	if r.json {
		e := json.NewEncoder(r.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		_ = e.Encode(struct {
			OK     bool    `json:"ok"`
			Checks []Check `json:"checks"`
		}{!failed, r.checks})
	} else {
		r.print()
	}
	if failed {
		return 1
	}
	return 0
}

func (r *Report) print() {
	shown := fold(r.checks)
	column := 0 // of the details: behind the longest name that leaves them most of the line
	for _, c := range shown {
		n := utf8.RuneCountInString(c.Name)
		if (c.Status == StatusOK || c.Status == StatusSkip) && n <= r.screen.width*3/10 {
			column = max(column, n)
		}
	}
	lines := 0
	for _, status := range order {
		blocks := 0
		for _, c := range shown {
			switch {
			case c.Status != status:
				continue
			case status == StatusOK || status == StatusSkip:
				r.line(c, column)
				lines++
			default:
				r.block(c)
				blocks++
			}
		}
		if blocks > 0 {
			fmt.Fprintln(r.out)
		}
	}
	if lines > 0 {
		fmt.Fprintln(r.out)
	}
	for _, line := range wrap(r.summary(shown), r.screen.width) {
		fmt.Fprintln(r.out, line)
	}
}

const indent = 6 // of what stands below a name

// line prints what needs no reading: the name, and what was found behind it, or below it
// where that does not fit.
func (r *Report) line(c Check, column int) {
	word, name := r.paint(c.Status), c.Name
	room := r.screen.width - indent - column - 2
	long := slices.ContainsFunc(strings.Fields(c.Detail), func(w string) bool {
		return utf8.RuneCountInString(w) > room
	})
	if utf8.RuneCountInString(name) > column || long {
		r.heading(word, name, false)
		for _, part := range wrap(elide(c.Detail, r.screen.width-indent), r.screen.width-indent) {
			fmt.Fprintf(r.out, "%*s%s\n", indent, "", part)
		}
		return
	}
	for _, part := range wrap(c.Detail, room) {
		fmt.Fprintln(r.out, strings.TrimRight(word+pad(name, column)+"  "+part, " "))
		word, name = strings.Repeat(" ", indent), ""
	}
}

// block prints what is to be read.
func (r *Report) block(c Check) {
	name := c.Name
	if c.Code != "" {
		name += "  " + c.Code
	}
	r.heading(r.paint(c.Status), name, r.screen.colour)
	const label = 10
	for _, line := range []struct{ label, text string }{
		{"what", c.Detail}, {"expected", members(c.Expected)}, {"actual", members(c.Actual)}, {"fix", c.Fix},
	} {
		if line.text == "" {
			continue
		}
		for _, part := range wrap(line.text, r.screen.width-indent-label) {
			fmt.Fprintf(r.out, "%*s%s%s\n", indent, "", pad(line.label, label), part)
			line.label = ""
		}
	}
}

// heading prints a name, which may be that of many checks.
func (r *Report) heading(word, name string, bold bool) {
	parts := []string{name}
	if utf8.RuneCountInString(name) > r.screen.width-indent {
		parts = wrap(name, r.screen.width-indent)
	}
	for _, part := range parts {
		if bold {
			part = "\x1b[1m" + part + "\x1b[0m"
		}
		fmt.Fprintf(r.out, "%s%s\n", word, part)
		word = strings.Repeat(" ", indent)
	}
}

// paint spells a status, as wide as indent.
func (r *Report) paint(status string) string {
	word, colour := status, map[string]string{
		StatusOK: "32", StatusWarn: "1;33", StatusFail: "1;31", StatusSkip: "2",
	}[status]
	if status == StatusFail {
		word = "FAIL"
	}
	rest := strings.Repeat(" ", indent-len(word))
	if !r.screen.colour {
		return word + rest
	}
	return "\x1b[" + colour + "m" + word + "\x1b[0m" + rest
}

func (r *Report) summary(shown []Check) string {
	var names []string
	for _, c := range shown {
		if c.Status == StatusFail {
			names = append(names, c.Name)
		}
	}
	count := map[string]int{}
	for _, c := range r.checks {
		count[c.Status]++
	}
	parts := []string{"Nothing failed"}
	if names != nil {
		parts[0] = fmt.Sprintf("%d failed (%s)", count[StatusFail], strings.Join(names, "; "))
	}
	for _, part := range []struct{ status, says string }{
		{StatusWarn, "to look at"}, {StatusOK, "ok"}, {StatusSkip, "skipped"},
	} {
		if n := count[part.status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, part.says))
		}
	}
	return strings.Join(parts, ", ")
}

// fold makes one of the checks that say the same.
func fold(checks []Check) (folded []Check) {
	var names [][]string
	for _, c := range checks {
		i := slices.IndexFunc(folded, func(f Check) bool {
			f.Name = c.Name
			return reflect.DeepEqual(f, c)
		})
		switch {
		case i < 0:
			folded, names = append(folded, c), append(names, []string{c.Name})
		case !slices.Contains(names[i], c.Name):
			names[i] = append(names[i], c.Name)
		}
	}
	for i := range folded {
		folded[i].Name = joined(names[i])
	}
	return folded
}

// joined names several checks: "keys of A" and "keys of B" are "keys of A and B", "token,
// key" and "token, time" are "token, key and time".
func joined(names []string) string {
	subject := names[0]
	for _, between := range []string{" of ", ", "} {
		before, _, ok := strings.Cut(names[0], between)
		if subject = before + between; ok && !slices.ContainsFunc(names, func(name string) bool {
			return !strings.HasPrefix(name, subject)
		}) {
			break
		}
		subject = ""
	}
	list := names[0]
	for i, name := range names[1:] {
		between := ", "
		if i == len(names)-2 {
			between = " and "
		}
		list += between + strings.TrimPrefix(name, subject)
	}
	return list
}

// Hide keeps a secret out of whatever is reported from now on. What is shorter than 16
// bytes would be found everywhere, and is not hidden.
func (r *Report) Hide(secret string) {
	if len(secret) >= 16 {
		quoted := strconv.Quote(secret) // as %q shows it
		r.secrets = append(r.secrets, secret, quoted[1:len(quoted)-1])
	}
}

// Shown is what others wrote, for a sentence: made fit to print, then shortened, so that no
// part of a secret is left over.
func (r *Report) Shown(s string) string { return Cut(r.Clean(s)) }

// Codes, refresh tokens and tokens all start so: it is {" in base64url.
var tokenLike = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{12,}(\.[A-Za-z0-9_-]*)*`)

// Clean makes foreign text fit to print.
func (r *Report) Clean(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, Short(secret))
	}
	s = tokenLike.ReplaceAllStringFunc(s, Short)
	return strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case !unicode.IsPrint(c):
			return unicode.ReplacementChar
		}
		return c
	}, s)
}

// Short is all that is ever shown of a token: how one begins is no secret.
func Short(token string) string {
	start := "…"
	if strings.HasPrefix(token, "eyJ") && len(token) >= 20 {
		start = strings.ToValidUTF8(token[:10], "") + "…"
	}
	return fmt.Sprintf("%s (%d characters)", start, utf8.RuneCountInString(token))
}

// Cut shortens what others wrote, for a sentence.
func Cut(s string) string { return CutTo(160, s) }

// CutTo shortens what others wrote to so many characters.
func CutTo(most int, s string) string {
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// elide takes the middle out of words that are longer than width.
func elide(text string, width int) string {
	words := strings.Fields(text)
	for i, w := range words {
		if runes := []rune(w); len(runes) > width {
			half := (width - 1) / 2
			words[i] = string(runes[:half]) + "…" + string(runes[len(runes)-(width-1-half):])
		}
	}
	return strings.Join(words, " ")
}

// members spells a claim or two for people.
func members(m map[string]any) string {
	var parts []string
	for name, value := range m {
		text := fmt.Sprint(value)
		if n, ok := value.(int64); ok {
			text = strconv.FormatInt(n, 10)
		}
		parts = append(parts, name+" = "+text)
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-utf8.RuneCountInString(s)))
}

// wrap breaks text between words into lines of at most width characters; a longer word
// stays whole, so that it can be copied.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
