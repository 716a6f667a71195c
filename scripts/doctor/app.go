package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/scripts/internal/report"
)

// neededRoutes are the methods that some function.json must pass on: the host
// answers 404 with an empty body to every other.
var neededRoutes = []struct {
	route   string
	methods []string
}{
	{config.Collection + "/{*path}", []string{"get", "head", "post", "put", "patch", "delete"}},
	{"openapi.json", []string{"get", "head"}},
}

func (d *doctor) checkHostFile() {
	var host struct {
		Extensions struct {
			HTTP struct {
				RoutePrefix *string `json:"routePrefix"`
			} `json:"http"`
		} `json:"extensions"`
		CustomHandler struct {
			Description struct {
				DefaultExecutablePath string `json:"defaultExecutablePath"`
			} `json:"description"`
			Proxying   bool `json:"enableProxyingHttpRequest"`
			Forwarding bool `json:"enableForwardingHttpRequest"`
		} `json:"customHandler"`
	}
	if err := d.readJSON("host.json", &host); err != nil {
		d.Fail("host.json", fmt.Sprintf("%s cannot be read: %v.", filepath.Join(d.app, "host.json"), err),
			"Run this in the function app's folder, or name it with -app.")
		return
	}
	switch h := host.CustomHandler; {
	case h.Proxying && h.Forwarding:
		d.OK("host.json", "requests reach the handler as they are (proxying, and forwarding for older hosts)")
	case !h.Proxying && !h.Forwarding:
		d.Fail("host.json", "Neither enableProxyingHttpRequest nor enableForwardingHttpRequest is set: the host wraps "+
			"each request into JSON, and turns every 401 of the handler into a 500.",
			"Set both to true in customHandler.")
	case !h.Forwarding:
		d.Fail("host.json", "enableForwardingHttpRequest is not set: a host too old for enableProxyingHttpRequest "+
			"turns every 401 of the handler into a 500.", "Set both to true in customHandler.")
	default:
		d.Fail("host.json", "enableProxyingHttpRequest is not set: forwarding loses headers, joins repeated "+
			"parameters and answers chunked bodies with 500.", "Set both to true in customHandler.")
	}
	if prefix := host.Extensions.HTTP.RoutePrefix; prefix != nil && *prefix != "api" {
		d.Fail("route prefix", fmt.Sprintf("extensions.http.routePrefix of host.json is %q; the handler's routes "+
			"start with /api.", *prefix), `Set it to "api".`)
	}

	path := host.CustomHandler.Description.DefaultExecutablePath
	if path == "" {
		d.Fail("executable", "host.json has no customHandler.description.defaultExecutablePath.",
			`Set it to "bin/handler".`)
		return
	}
	full := filepath.FromSlash(path)
	if !filepath.IsAbs(full) {
		full = filepath.Join(d.app, full)
	}
	info, err := os.Stat(full)
	if err != nil && runtime.GOOS == "windows" {
		info, err = os.Stat(full + ".exe")
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.Fail("executable", "There is no "+path+", which host.json has the host start.",
			"Build it: go build -o bin/ ./handler")
	case err != nil:
		d.Fail("executable", path+" cannot be looked at: "+errors.Unwrap(err).Error()+".",
			"Build it again: go build -o bin/ ./handler")
	case !info.Mode().IsRegular():
		d.Fail("executable", path+" is not a file.", "Build it: go build -o bin/ ./handler")
	case runtime.GOOS != "windows" && info.Mode()&0o111 == 0:
		d.Fail("executable", path+" may not be executed.", "chmod +x "+path)
	default:
		d.OK("executable", "%s", path)
	}
}

// function is what of a function.json matters here.
type function struct {
	Disabled bool `json:"disabled"`
	Bindings []struct {
		Type      string   `json:"type"`
		Direction string   `json:"direction"`
		Route     string   `json:"route"`
		Methods   []string `json:"methods"`
		AuthLevel string   `json:"authLevel"`
	} `json:"bindings"`
}

func (d *doctor) checkFunctions() {
	names, _ := filepath.Glob(filepath.Join(globEscape(d.app), "*", "function.json")) // the pattern is right
	if len(names) == 0 {
		d.Fail("functions", "There is no function.json in any folder of "+d.app+".",
			"Run this in the function app's folder, or name it with -app.")
		return
	}
	served := map[string][]string{}
	for _, name := range names {
		dir := filepath.Base(filepath.Dir(name))
		label := "function " + dir
		var f function
		if err := d.readJSON(filepath.Join(dir, "function.json"), &f); err != nil {
			d.Fail(label, fmt.Sprintf("%s/function.json cannot be read: %v.", dir, err),
				"Compare it with "+config.Collection+"-read/function.json.")
			continue
		}
		if f.Disabled {
			d.Fail(label, "It is disabled.", `Remove "disabled" from `+dir+"/function.json.")
			continue
		}
		triggers, outputs := 0, 0
		for _, b := range f.Bindings {
			switch {
			case strings.EqualFold(b.Type, "http"):
				outputs++
			case strings.EqualFold(b.Type, "httpTrigger"):
				triggers++
				route := b.Route
				if route == "" {
					route = dir
				}
				methods := b.Methods
				if len(methods) == 0 {
					methods = []string{"get", "head", "post", "put", "patch", "delete", "options"}
				}
				for _, m := range methods {
					served[route] = append(served[route], strings.ToLower(m))
				}
				if strings.EqualFold(b.AuthLevel, "anonymous") {
					d.OK(label, "%s /api/%s, no function key", strings.ToUpper(strings.Join(methods, " ")), route)
					continue
				}
				level := "is " + b.AuthLevel
				if b.AuthLevel == "" {
					level = "is missing, which means function"
				}
				d.Fail(label, "authLevel "+level+": in Azure (not locally) the host answers 401 with an empty body to "+
					"every call without a function key, and the handler never sees it.",
					`Set "authLevel": "anonymous" in `+dir+"/function.json; the handler checks the tokens.")
			}
		}
		if triggers > 0 && outputs == 0 {
			d.Fail(label, "It has an httpTrigger and no http binding for the answer.",
				`Add {"type":"http","direction":"out","name":"res"} to its bindings.`)
		}
	}
	for _, needed := range neededRoutes {
		var missing []string
		for _, m := range needed.methods {
			if !slices.Contains(served[needed.route], m) {
				missing = append(missing, strings.ToUpper(m))
			}
		}
		if missing != nil {
			d.Fail("route "+needed.route, "No function passes on "+strings.Join(missing, ", ")+
				": the host answers 404 with an empty body.",
				"Add the methods to the function.json with the route "+needed.route+".")
		}
	}
}

func globEscape(path string) string {
	if runtime.GOOS == "windows" {
		return path // there the separator is the escape character
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func (d *doctor) checkCORS() {
	const name = "CORS"
	switch {
	case errors.Is(d.local.err, fs.ErrNotExist):
		d.Skip(name, "no local.settings.json; in Azure the origins are the app's own setting")
		return
	case d.local.err != nil:
		d.Skip(name, "local.settings.json cannot be read")
		return
	case d.local.Host.CORS == nil || *d.local.Host.CORS == "":
		d.Skip(name, "Host.CORS has no origins: every preflight is answered 404, which is right if no browser calls")
		return
	}
	text := *d.local.Host.CORS
	const compared = "The host compares origins letter by letter."
	failed := false
	fail := func(what, fix string) {
		failed = true
		d.Fail(name, what, fix)
	}
	for origin := range strings.SplitSeq(text, ",") {
		trimmed := strings.TrimSpace(origin)
		u, err := url.Parse(trimmed)
		switch {
		case trimmed == "":
			fail("Host.CORS has an empty entry.", "Take out the comma too many.")
		case trimmed != origin:
			fail(fmt.Sprintf("Host.CORS has a space beside %q. %s", trimmed, compared),
				"Separate origins by commas, without spaces.")
		case trimmed == "*" && d.local.Host.CORSCredentials:
			fail("Host.CORS is * and Host.CORSCredentials is true. No browser takes the two together, and the host "+
				"answers 500.", "List the origins, or remove CORSCredentials: the API needs no cookies.")
		case trimmed == "*" && strings.Contains(text, ","):
			fail("Host.CORS has * and other origins beside it.", "List the origins and remove the *.")
		case trimmed == "*":
			d.Warn(name, "Host.CORS is *: every web page may call the API from its user's browser.",
				"List the origins of the pages that call it.")
			failed = true // it has its line
		case strings.HasSuffix(trimmed, "/"):
			fail(fmt.Sprintf("%q of Host.CORS ends with a slash, so no page matches. %s", trimmed, compared),
				"Write "+strings.TrimRight(trimmed, "/"))
		case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Path != "" ||
			u.RawQuery != "" || u.Fragment != "" || u.User != nil:
			fail(fmt.Sprintf("%q of Host.CORS is not an origin.", report.Cut(trimmed)),
				"An origin is scheme, host and port: http://localhost:9912")
		}
	}
	if !failed {
		d.OK(name, "%s", text)
	}
}
