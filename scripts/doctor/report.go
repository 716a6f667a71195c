package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// The rules of the output: one line a check, what it found behind its name. A
// check that failed adds indented lines, what is wrong and how to fix it.
// Nothing depends on colour. Whatever others wrote is shown without control
// characters, and no secret is shown at all.

const (
	statusOK   = "ok"
	statusWarn = "warn" // works, but look at it; does not count as failed
	statusFail = "fail"
	statusSkip = "skip"
)

// check is one thing that was looked at.
type check struct {
	Name     string         `json:"name"`
	Status   string         `json:"status"`
	Code     string         `json:"code,omitempty"` // of a refusal or of B2C
	Detail   string         `json:"detail"`
	Expected map[string]any `json:"expected,omitempty"`
	Actual   map[string]any `json:"actual,omitempty"`
	Fix      string         `json:"fix"`
}

// report collects checks, and prints each as it comes unless it is to be JSON.
type report struct {
	out     io.Writer
	json    bool
	checks  []check
	secrets []string
}

func newReport(out io.Writer, asJSON bool) *report {
	return &report{out: out, json: asJSON, checks: []check{}}
}

func (r *report) ok(name, detail string, args ...any) {
	r.add(check{Name: name, Status: statusOK, Detail: fmt.Sprintf(detail, args...)})
}

func (r *report) skip(name, why string) { r.add(check{Name: name, Status: statusSkip, Detail: why}) }

func (r *report) warn(name, detail, fix string) {
	r.add(check{Name: name, Status: statusWarn, Detail: detail, Fix: fix})
}

func (r *report) fail(name, detail, fix string) {
	r.add(check{Name: name, Status: statusFail, Detail: detail, Fix: fix})
}

func (r *report) add(c check) {
	c.Name, c.Detail, c.Fix = r.clean(c.Name), r.clean(c.Detail), r.clean(c.Fix)
	for _, m := range []map[string]any{c.Expected, c.Actual} {
		for name, value := range m {
			if s, ok := value.(string); ok {
				m[name] = r.clean(s)
			}
		}
	}
	r.checks = append(r.checks, c)
	if !r.json {
		r.print(c)
	}
}

func (r *report) print(c check) {
	const nameWidth = 34
	if c.Status == statusOK || c.Status == statusSkip {
		fmt.Fprintf(r.out, "%-6s%-*s  %s\n", c.Status, nameWidth, c.Name, c.Detail)
		return
	}
	word := c.Status
	if word == statusFail {
		word = "FAIL"
	}
	fmt.Fprintf(r.out, "%-6s%s\n", word, strings.TrimRight(fmt.Sprintf("%-*s  %s", nameWidth, c.Name, c.Code), " "))
	for _, line := range []struct{ label, text string }{
		{"what", c.Detail}, {"expected", members(c.Expected)}, {"actual", members(c.Actual)}, {"fix", c.Fix},
	} {
		if line.text == "" {
			continue
		}
		for i, part := range wrap(line.text, 88) {
			if i > 0 {
				line.label = ""
			}
			fmt.Fprintf(r.out, "      %-10s%s\n", line.label, part)
		}
	}
}

// finish prints what comes last and returns the exit status.
func (r *report) finish() int {
	count := map[string]int{}
	for _, c := range r.checks {
		count[c.Status]++
	}
	failed := count[statusFail] > 0
	if r.json {
		e := json.NewEncoder(r.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		_ = e.Encode(struct {
			OK     bool    `json:"ok"`
			Checks []check `json:"checks"`
		}{!failed, r.checks})
	} else {
		fmt.Fprintf(r.out, "\n%d ok, %d to look at, %d failed, %d skipped\n", count[statusOK], count[statusWarn],
			count[statusFail], count[statusSkip])
	}
	if failed {
		return 1
	}
	return 0
}

// hide keeps a secret out of whatever is reported from now on. What is short is
// no secret, and would be found everywhere.
func (r *report) hide(secret string) {
	if len(secret) >= 16 {
		r.secrets = append(r.secrets, secret)
	}
}

// Codes, refresh tokens and tokens all start so: it is {" in base64url.
var tokenLike = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{12,}(\.[A-Za-z0-9_-]*)*`)

// clean makes foreign text fit to print.
func (r *report) clean(s string) string {
	for _, secret := range r.secrets {
		s = strings.ReplaceAll(s, secret, short(secret))
	}
	s = tokenLike.ReplaceAllStringFunc(s, short)
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

// short is all that is ever shown of a token.
func short(token string) string {
	if len(token) < 16 {
		return fmt.Sprintf("… (%d characters)", len(token))
	}
	return fmt.Sprintf("%s… (%d characters)", token[:min(10, len(token)/2)], len(token))
}

// cut shortens what others wrote, for a sentence.
func cut(s string) string { return cutTo(160, s) }

func cutTo(most int, s string) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
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

// wrap breaks text between words into lines of at most width bytes; a longer
// word stays whole.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
