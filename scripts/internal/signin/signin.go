// Package signin explains what goes wrong before there is a token that an API could
// refuse: the error codes of Azure AD B2C and Entra ID, those of MSAL and of .NET's token
// validation, and what a browser says of CORS. The catalogue is errors.json, which the
// single-page app reads, too. The package asks nobody, and reads nothing but the text
// that it is given.
package signin

import (
	_ "embed"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Error is one error, explained.
type Error struct {
	Code    string   // AADB2C90117, AADSTS50011, interaction_in_progress, IDX10214
	From    string   // who says it: b2c, entra, msal, oauth (RFC 6749), dotnet or browser
	Says    []string // sentences that tell the error where no code does
	Meaning string   // what is said with it
	Cause   string   // what most often leads to it
	Fix     string   // how to fix it, with the path through the portal where there is one
}

// Explained reports whether the catalogue has the code.
func (e Error) Explained() bool { return e.Meaning != "" }

//go:embed errors.json
var file []byte

var (
	catalogue []Error
	byCode    = map[string]Error{} // in lower case
)

func init() {
	if err := json.Unmarshal(file, &catalogue); err != nil {
		panic("errors.json: " + err.Error())
	}
	for _, e := range catalogue {
		byCode[strings.ToLower(e.Code)] = e
	}
}

// Errors returns the errors that are explained: B2C's, Entra ID's, MSAL's, OAuth's, .NET's
// and the browser's, each in order of code.
func Errors() []Error { return slices.Clone(catalogue) }

// codes finds what has the form of a code; MSAL's have no other mark than their underscores.
var codes = regexp.MustCompile(`(?i)AADB2C\d+|AADB2C:|AADSTS\d+|ID[XW]\d+|[a-z]+(?:_[a-z]+)+`)

const (
	mostRead  = 16 << 10 // bytes of a text
	mostFound = 3
)

// Find finds the errors in a text: an error_description, a line of a log, or a URL with
// one in its query or fragment, percent-encoded (RFC 3986, section 2.1) or not. It reads
// the first 16 KiB. The sign-in's own codes come first, in the text's order and at most
// three; one that is not explained comes with Code and From alone. Where there is none, the
// innermost code of MSAL, which wraps others, and the first of .NET are found, else a
// sentence of theirs or of the browser, else OAuth's code, which says least.
func Find(text string) []Error {
	text = decoded(text)
	var found []Error
	var wrapped, dotnet, general *Error
	add := func(e Error) {
		known := slices.ContainsFunc(found, func(f Error) bool { return f.Code == e.Code })
		if !known && len(found) < mostFound {
			found = append(found, e)
		}
	}
	for _, code := range codes.FindAllString(text, -1) {
		e, from := byCode[strings.ToLower(strings.TrimSuffix(code, ":"))], origin(code)
		switch {
		case from == "" && !e.Explained():
		case e.From == "oauth" && general == nil:
			general = &e
		case e.From == "oauth":
		case from == "":
			wrapped = &e
		case !e.Explained():
			add(Error{Code: strings.ToUpper(code), From: from})
		case from == "dotnet" && dotnet == nil:
			dotnet = &e
		case from != "dotnet":
			add(e)
		}
	}
	if found != nil {
		return found
	}
	for _, e := range []*Error{wrapped, dotnet} {
		if e != nil {
			found = append(found, *e)
		}
	}
	if found == nil {
		for _, e := range catalogue {
			if slices.ContainsFunc(e.Says, func(s string) bool { return strings.Contains(text, s) }) {
				return []Error{e}
			}
		}
		if general != nil {
			return []Error{*general}
		}
	}
	return found
}

// origin tells by a code's form who says it; empty where it may be MSAL's.
func origin(code string) string {
	upper := strings.ToUpper(code)
	digits := len(strings.TrimLeft(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_"))
	switch {
	case upper == "AADB2C:", strings.HasPrefix(upper, "AADB2C") && len(upper) == len("AADB2C90117"):
		return "b2c"
	case strings.HasPrefix(upper, "AADSTS") && digits >= 4 && digits <= 8:
		return "entra"
	case strings.HasPrefix(upper, "ID") && digits == 5:
		return "dotnet"
	}
	return ""
}

// endOfMessage is where Microsoft's messages go on with what is for support alone.
var endOfMessage = regexp.MustCompile(`(?i)\s*(Correlation ID|Trace ID|Timestamp|error_uri)\b`)

// Said is what a text says with a code: from the code on, without the IDs that follow a
// message, in one line of at most 240 characters. Where the code is not in the text, it
// is the text's beginning.
func Said(text, code string) string {
	text = decoded(text)
	if at := strings.Index(strings.ToUpper(text), strings.ToUpper(code)); at >= 0 && at <= len(text) {
		text = text[at:]
	}
	if end := endOfMessage.FindStringIndex(text); end != nil && end[0] > 0 {
		text = text[:end[0]]
	}
	line := []rune(strings.Join(strings.Fields(strings.ToValidUTF8(text, "\ufffd")), " "))
	if len(line) > 240 {
		line = append(line[:240], '…')
	}
	return string(line)
}

func decoded(text string) string {
	text = text[:min(len(text), mostRead)]
	if plain, err := url.QueryUnescape(text); err == nil {
		return plain
	}
	return text
}
