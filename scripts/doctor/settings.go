package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/tenants"
)

// localSettings is local.settings.json, which Core Tools and the local host read.
type localSettings struct {
	IsEncrypted *bool             `json:"IsEncrypted"`
	Values      map[string]string `json:"Values"`
	Host        struct {
		CORS            *string `json:"CORS"`
		CORSCredentials bool    `json:"CORSCredentials"`
	} `json:"Host"`

	err    error // why it could not be read; fs.ErrNotExist if there is none
	sample bool  // it is local.settings.sample.json
}

func (d *doctor) readLocalSettings() {
	d.local.err = d.readJSON("local.settings.json", &d.local)
	for name, value := range d.local.Values {
		d.hideParts(name, value)
	}
}

const sampleFile = "local.settings.sample.json"

// takeSample takes the settings of the sample where there are no others and the local
// world, which they describe, is running: a token is explained before anybody has set
// anything.
func (d *doctor) takeSample(ctx context.Context) {
	set := func(s config.Setting) bool {
		value, _ := d.lookup(s.Name)
		return value != ""
	}
	if !errors.Is(d.local.err, fs.ErrNotExist) || slices.ContainsFunc(config.Settings, set) {
		return
	}
	sample := localSettings{sample: true}
	if d.readJSON(sampleFile, &sample) != nil {
		return
	}
	c, err := config.Load(func(name string) string {
		if name == "FUNCTIONS_CUSTOMHANDLER_PORT" {
			return "1" // the host sets it
		}
		return sample.Values[name]
	})
	if err != nil || len(c.B2C.Policies) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	a, err := call(ctx, http.MethodGet, c.B2C.Policies[0].MetadataURL, nil)
	if err == nil && a.status == http.StatusOK {
		d.local = sample
	}
}

// hideParts hides what a connection string is to hide, whatever else is wrong
// with it.
func (d *doctor) hideParts(name, value string) {
	if !strings.HasSuffix(name, "CONNECTION_STRING") {
		return
	}
	for part := range strings.SplitSeq(value, ";") {
		name, secret, _ := strings.Cut(part, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "accountkey":
			d.Hide(strings.TrimSpace(secret))
		case "sharedaccesssignature":
			d.Hide(strings.TrimSpace(secret))
			if _, sig, ok := strings.Cut(secret, "sig="); ok {
				sig, _, _ = strings.Cut(sig, "&")
				d.Hide(sig)
			}
		}
	}
}

// names are those of all settings that there are, so that a misspelt one is found.
func (d *doctor) names() []string {
	names := slices.Collect(maps.Keys(d.local.Values))
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if _, set := d.lookup(name); set {
			names = append(names, name)
		}
	}
	return names
}

// settings loads the settings as the handler would, and reports every problem.
func (d *doctor) settings() (config.Config, bool) {
	local := d.local.err == nil
	switch {
	case local && len(d.local.Values) > 0 && (d.local.IsEncrypted == nil || *d.local.IsEncrypted):
		local = false
		d.Fail("local.settings.json", `IsEncrypted is not false, so func start takes the values for encrypted ones.`,
			`Put "IsEncrypted": false into local.settings.json.`)
	case !local && !errors.Is(d.local.err, fs.ErrNotExist):
		d.Fail("local.settings.json", "It cannot be read: "+d.local.err.Error()+".",
			"Correct it there; every value of Values is a string in quotes, and none but the last has no comma "+
				"behind it.")
	}

	if runtime := d.local.Values["FUNCTIONS_WORKER_RUNTIME"]; local && len(d.local.Values) > 0 && runtime != "custom" {
		d.Warn("local.settings.json", fmt.Sprintf("FUNCTIONS_WORKER_RUNTIME is %q, so func start looks for another "+
			"language's functions.", runtime), `Put "FUNCTIONS_WORKER_RUNTIME": "custom" into Values.`)
	}

	fromEnvironment, fromFile := 0, 0
	c, err := config.Load(func(name string) string {
		value, ok := d.lookup(name)
		if ok {
			d.hideParts(name, value)
		} else if local {
			value = d.local.Values[name]
		}
		if value == "" && name == "FUNCTIONS_CUSTOMHANDLER_PORT" {
			return "1" // the host sets it
		}
		if value != "" && ok {
			fromEnvironment++
		} else if value != "" {
			fromFile++
		}
		return value
	}, d.names()...)
	problems, wrong := errors.AsType[*config.Error](err)
	switch {
	case wrong && fromEnvironment+fromFile == 0 && local:
		d.Fail("settings", "There are none: the environment has none, and local.settings.json has no Values that "+
			"count.",
			"Put them into its member \"Values\", as local.settings.sample.json has it; the rest of the file can stay.")
		return c, false
	case wrong && fromEnvironment+fromFile == 0 && !errors.Is(d.local.err, fs.ErrNotExist):
		d.Fail("settings", "The environment has none, and local.settings.json gives none that can be read.",
			"Correct local.settings.json as said above, or try it all with go run ./scripts/dev exec -- go run "+
				"./scripts/doctor.")
		return c, false
	case wrong && fromEnvironment+fromFile == 0:
		d.Fail("settings", "There are none, neither in the environment nor in "+filepath.Join(d.app,
			"local.settings.json")+".",
			"Copy local.settings.sample.json to local.settings.json and fill in your tenant, or try it all with go "+
				"run ./scripts/dev exec -- go run ./scripts/doctor.")
		return c, false
	case wrong:
		for _, p := range problems.Problems {
			what, example, _ := strings.Cut(p, ". Example: ")
			fix := "Change it, then run this again."
			if example != "" {
				fix = "Example: " + example
			}
			d.Fail(settingName.FindString(p), what+".", fix)
		}
		return c, false
	}
	for _, warning := range c.Warnings {
		d.Warn(settingName.FindString(warning), warning+".", "Correct it, or remove it if it is not needed.")
	}
	var from []string
	if fromEnvironment > 0 {
		from = append(from, "the environment")
	}
	switch {
	case d.local.sample:
		from = []string{sampleFile + ", as there are no others and the local world is running"}
	case fromFile > 0:
		from = append(from, "local.settings.json")
	}
	d.OK("settings", "complete (from %s)", strings.Join(from, " and "))
	for _, t := range tenants.Of(c) {
		detail := t.Tenant + ", API " + t.APIClientID
		if names := t.PolicyNames(); names != nil {
			detail += ", " + strings.Join(names, " ")
		}
		d.OK("the "+t.Label, "%s", detail)
	}
	for _, t := range tenants.Of(c) {
		d.compareSettings(t)
	}
	if claim := c.External.FormerIDClaim; claim != "" {
		d.Warn("EXTERNAL_FORMER_ID_CLAIM", "Whoever can set the attribute behind "+claim+" gets anybody's items of "+
			"the tenant "+c.External.FormerTenant+".",
			"See that no user can: it is not among the attributes of a user flow (Portal: External Identities > User "+
				"flows > (the flow) > User attributes), nor of a sign-up by native authentication. Unset both "+
				"EXTERNAL_FORMER_ settings once no moved user is left.")
	}
	return c, true
}

// compareSettings looks at what is right by itself and odd together.
func (d *doctor) compareSettings(t tenants.Tenant) {
	uri := t.Prefix + "APP_ID_URI"
	if id := strings.ToLower(guidInURI.FindString(t.AppIDURI)); id != "" && id != t.APIClientID {
		what := fmt.Sprintf("%s has the ID %s, and %s is %s.", uri, id, t.Names.Audience, t.APIClientID)
		if slices.Contains(t.AllowedClients, id) {
			d.Fail(t.Names.Audience, what+" The former is among "+t.Names.Clients+": the IDs of client and API look "+
				"swapped.",
				"Swap them: the API's ID belongs into "+t.Names.Audience+", the client's into "+t.Names.Clients+".")
		} else {
			d.Warn(uri, what+" An App ID URI with an ID mostly has the API's own.",
				"Copy both. Portal: App registrations > (the API) > Overview, and > Expose an API.")
		}
	}
	if client, _ := d.lookup("B2C_CLIENT_ID"); t.Prefix == "B2C_" && strings.EqualFold(client, t.APIClientID) {
		d.Fail(t.Names.Audience, "It is the same as B2C_CLIENT_ID, with which clients sign in.",
			"Set it to the API's own ID. Portal: App registrations > (the API) > Overview.")
	}
	if t.ReadScope == t.WriteScope {
		d.Warn(t.Names.Scopes["write"], "It is the same as "+t.Names.Scopes["read"]+", so who may read may write.",
			"Publish a scope for each. Portal: App registrations > (the API) > Expose an API.")
	}
	domain := t.Directory()
	if host := hostOf(t.AppIDURI); strings.HasSuffix(host, ".onmicrosoft.com") && host != domain &&
		strings.HasSuffix(domain, ".onmicrosoft.com") {
		d.Warn(uri, t.AppIDURI+" is of another tenant's domain than "+domain+".",
			"Copy it again. Portal: App registrations > (the API) > Expose an API > Application ID URI.")
	}
}

var guidInURI = regexp.MustCompile(`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`)

var settingName = regexp.MustCompile(`^[A-Z0-9_]+`)

// readJSON reads a file of the app as the host does: a byte order mark and
// comments are ignored.
func (d *doctor) readJSON(name string, v any) error {
	text, err := os.ReadFile(filepath.Join(d.app, name))
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	if err != nil {
		return err
	}
	text = commentOrString.ReplaceAllFunc([]byte(strings.TrimPrefix(string(text), "\ufeff")),
		func(match []byte) []byte {
			if match[0] == '"' {
				return match
			}
			return notLineEnd.ReplaceAll(match, []byte(" ")) // what follows keeps its place
		})
	err = json.Unmarshal(text, v)
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: %s is a %s where a %s is wanted", place(text, wrongType.Offset), wrongType.Field,
			wrongType.Value, wrongType.Type)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		hint := ""
		if strings.Contains(err.Error(), "beginning of object key") {
			hint = " (is there a comma too many before it?)"
		} else if strings.Contains(err.Error(), "after object key:value pair") {
			hint = " (is there a comma missing before it?)"
		}
		return fmt.Errorf("%s: %w%s", place(text, syntax.Offset), err, hint)
	}
	return err
}

// place is where the byte before an offset stands, in words.
func place(text []byte, offset int64) string {
	before := string(text[:max(0, min(offset-1, int64(len(text))))])
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", line, column)
}

var notLineEnd = regexp.MustCompile(`[^\n]`)

var commentOrString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|//[^\n]*|(?s:/\*.*?\*/)`)

// listed joins what a sentence lists, each once.
func listed(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
