package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"itemsapi/handler/config"
)

// localSettings is local.settings.json, which Core Tools and the local host read.
type localSettings struct {
	IsEncrypted *bool             `json:"IsEncrypted"`
	Values      map[string]string `json:"Values"`
	Host        struct {
		CORS            *string `json:"CORS"`
		CORSCredentials bool    `json:"CORSCredentials"`
	} `json:"Host"`

	err error // why it could not be read; fs.ErrNotExist if there is none
}

func (d *doctor) readLocalSettings() {
	d.local.err = d.readJSON("local.settings.json", &d.local)
	for name, value := range d.local.Values {
		d.hideParts(name, value)
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
			"Compare it with local.settings.sample.json; every value is a string.")
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
	if fromFile > 0 {
		from = append(from, "local.settings.json")
	}
	var tenants []string
	for _, t := range []config.Trust{c.B2C, c.External, c.Entra} {
		if t.Tenant == "" {
			continue
		}
		text := "tenant " + t.Tenant + ", API " + t.APIClientID + ","
		for _, p := range t.Policies {
			text += " " + p.Name
		}
		tenants = append(tenants, strings.Trim(text, ", "))
	}
	d.OK("settings", "%s (from %s)", strings.Join(tenants, "; "), strings.Join(from, " and "))
	if c.B2C.Tenant != "" {
		d.compareSettings(c)
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
func (d *doctor) compareSettings(c config.Config) {
	if slices.Contains(c.B2C.AllowedClients, c.B2C.APIClientID) {
		d.Warn(
			"B2C_ALLOWED_CLIENTS",
			"It names the API itself. With one registration for client and API, an ID token has the API's "+
				"audience, too.",
			"Register the client by itself and name its ID. Portal: App registrations > New registration.",
		)
	}
	if c.B2C.ReadScope == c.B2C.WriteScope {
		d.Warn(
			"B2C_WRITE_SCOPE",
			"It is the same as B2C_READ_SCOPE, so who may read may write.",
			"Publish a scope for each. Portal: App registrations > (the API) > Expose an API.",
		)
	}
	domain := c.B2C.Tenant + ".onmicrosoft.com"
	if host := hostOf(c.B2C.AppIDURI); strings.HasSuffix(host, ".onmicrosoft.com") && host != domain {
		d.Warn("B2C_APP_ID_URI", c.B2C.AppIDURI+" is of another tenant's domain than "+domain+".",
			"Copy it again. Portal: App registrations > (the API) > Expose an API > Application ID URI.")
	}
}

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
			return []byte(" ")
		})
	err = json.Unmarshal(text, v)
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s is a %s where a %s is wanted", wrongType.Field, wrongType.Value, wrongType.Type)
	}
	return err
}

var commentOrString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|//[^\n]*|(?s:/\*.*?\*/)`)

// listed joins what a sentence lists, each once.
func listed(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}
