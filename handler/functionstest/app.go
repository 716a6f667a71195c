package functionstest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

type mode string

const (
	proxyMode   mode = "proxy"
	forwardMode mode = "forward"
)

// app is what the function app's files and the environment say.
type app struct {
	mode            mode
	executable      string
	arguments       []string
	directory       string // the handler's working directory
	root            string
	env             []string
	port            int // 0: any free one
	initTime        time.Duration
	functionTimeout time.Duration
	bodyLimit       int64
	functions       []*function // in the order in which they are tried
	origins         []string
	credentials     bool
	insights        bool // Application Insights is configured
	notes           []string
}

type hostJSON struct {
	ConfigurationProfile string `json:"configurationProfile"`
	FunctionTimeout      string `json:"functionTimeout"`
	Extensions           struct {
		HTTP struct {
			RoutePrefix *string `json:"routePrefix"`
		} `json:"http"`
	} `json:"extensions"`
	CustomHandler *struct {
		EnableProxying        bool            `json:"enableProxyingHttpRequest"`
		EnableForwarding      bool            `json:"enableForwardingHttpRequest"`
		InitializationTimeout string          `json:"initializationTimeout"`
		Port                  int             `json:"port"`
		HTTP                  json.RawMessage `json:"http"`
		Description           struct {
			DefaultExecutablePath string   `json:"defaultExecutablePath"`
			DefaultWorkerPath     string   `json:"defaultWorkerPath"`
			WorkingDirectory      string   `json:"workingDirectory"`
			WorkerDirectory       string   `json:"workerDirectory"`
			Arguments             []string `json:"arguments"`
			WorkerArguments       []string `json:"workerArguments"`
		} `json:"description"`
	} `json:"customHandler"`
}

type functionJSON struct {
	Bindings []struct {
		Type      string   `json:"type"`
		Direction string   `json:"direction"`
		Route     *string  `json:"route"`
		Methods   []string `json:"methods"`
		AuthLevel string   `json:"authLevel"`
	} `json:"bindings"`
}

type localSettings struct {
	IsEncrypted       *bool
	Values            map[string]any
	ConnectionStrings map[string]any
	Host              struct {
		CORS            string
		CORSCredentials bool
	}
}

func readApp(cfg Config) (*app, error) {
	root, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("find the function app %s: %w", cfg.Dir, err)
	}
	a := &app{root: root, origins: cfg.CORS, credentials: cfg.CORSCredentials}
	if err := a.readLocalSettings(cfg); err != nil {
		return nil, fmt.Errorf("read local.settings.json: %w", err)
	}
	prefix, err := a.readHost(cfg)
	if err != nil {
		return nil, fmt.Errorf("read host.json: %w", err)
	}
	if err := a.readFunctions(prefix); err != nil {
		return nil, err
	}

	for _, origin := range a.origins {
		if strings.HasSuffix(origin, "/") {
			a.notes = append(a.notes, fmt.Sprintf("CORS: %s ends in a slash, which no browser sends, so it allows "+
				"nothing", origin))
		}
	}
	a.insights = a.getenv("APPLICATIONINSIGHTS_CONNECTION_STRING") != "" ||
		a.getenv("APPINSIGHTS_INSTRUMENTATIONKEY") != ""
	a.functionTimeout = cmp.Or(cfg.FunctionTimeout, a.functionTimeout, defaultFunctionTime)
	a.bodyLimit = cmp.Or(cfg.BodyLimit, defaultBodyLimit)
	if limit := a.getenv("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"); limit != "" && cfg.BodyLimit == 0 {
		if a.bodyLimit, err = strconv.ParseInt(limit, 10, 64); err != nil {
			return nil, fmt.Errorf("read FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: want a number of bytes, not %q", limit)
		}
	}
	return a, nil
}

func (a *app) readLocalSettings(cfg Config) error {
	a.env = append([]string(nil), cfg.Env...)
	var settings localSettings
	err := a.readJSON("local.settings.json", nil, &settings)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if encrypted := settings.IsEncrypted; len(settings.Values) > 0 && (encrypted == nil || *encrypted) {
		return errors.New(`IsEncrypted is true, which it also is when it is missing, and encrypted values ` +
			`cannot be read here; write "IsEncrypted": false and plain Values`)
	}
	if cfg.CORS == nil {
		for origin := range strings.SplitSeq(settings.Host.CORS, ",") {
			if origin != "" {
				a.origins = append(a.origins, origin)
			}
		}
		a.credentials = a.credentials || settings.Host.CORSCredentials
	}
	for name, value := range settings.Values {
		if err := a.setDefault("Values."+name, name, value); err != nil {
			return err
		}
	}
	for name, value := range settings.ConnectionStrings {
		if err := a.setDefault("ConnectionStrings."+name, "ConnectionStrings:"+name, value); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) setDefault(member, name string, value any) error {
	switch value.(type) {
	case string, bool, json.Number:
	default:
		return fmt.Errorf("%s: want a string", member)
	}
	if _, ok := a.lookupEnv(name); !ok {
		a.env = append(a.env, fmt.Sprintf("%s=%v", name, value))
	}
	return nil
}

func (a *app) getenv(name string) string {
	value, _ := a.lookupEnv(name)
	return value
}

func (a *app) lookupEnv(name string) (value string, ok bool) {
	for _, entry := range a.env {
		n, v, _ := strings.Cut(entry, "=")
		if n == name || runtime.GOOS == "windows" && strings.EqualFold(n, name) {
			value, ok = v, true
		}
	}
	return value, ok
}

// readHost reads host.json and returns the route prefix.
func (a *app) readHost(cfg Config) (prefix string, err error) {
	var host hostJSON
	if err := a.readJSON("host.json", a.override, &host); err != nil {
		return "", err
	}
	handler := host.CustomHandler
	switch {
	case host.ConfigurationProfile != "" && host.ConfigurationProfile != "default":
		return "", fmt.Errorf("configurationProfile %q is not known here", host.ConfigurationProfile)
	case handler == nil:
		return "", errors.New("customHandler is missing; customHandler.description.defaultExecutablePath names the " +
			"handler")
	case handler.HTTP != nil:
		return "", errors.New("customHandler.http is not known here; describe each function in its own function.json")
	case handler.EnableProxying && !cfg.Forward:
		a.mode = proxyMode
	case handler.EnableForwarding:
		a.mode = forwardMode
	case handler.EnableProxying:
		return "", errors.New("customHandler sets enableProxyingHttpRequest alone, and a host that does not know it " +
			"ignores it; set enableForwardingHttpRequest too")
	default:
		return "", errors.New("customHandler sets neither enableProxyingHttpRequest nor enableForwardingHttpRequest, " +
			"and Data/Metadata invocations are not spoken here")
	}
	a.port = handler.Port
	a.initTime = defaultInitTime
	if handler.InitializationTimeout != "" {
		if a.initTime, err = parseTimeSpan(handler.InitializationTimeout); err != nil {
			return "", fmt.Errorf("customHandler.initializationTimeout: %w", err)
		}
	}
	if host.FunctionTimeout != "" {
		if a.functionTimeout, err = parseTimeSpan(host.FunctionTimeout); err != nil {
			return "", fmt.Errorf("functionTimeout: %w", err)
		}
	}

	d := handler.Description
	a.directory = a.under(a.expand(d.WorkingDirectory))
	path := cmp.Or(cfg.Executable, a.expand(d.DefaultExecutablePath))
	if path == "" {
		return "", errors.New("customHandler.description.defaultExecutablePath is missing; it names the handler")
	}
	if a.executable, err = findExecutable(a.under(a.expand(d.WorkerDirectory)), path); err != nil {
		return "", fmt.Errorf("customHandler.description.defaultExecutablePath: %w", err)
	}
	a.arguments = a.expandArguments(d.Arguments)
	if d.DefaultWorkerPath != "" {
		a.arguments = append(a.arguments, a.expand(d.DefaultWorkerPath))
	}
	a.arguments = append(a.arguments, a.expandArguments(d.WorkerArguments)...)

	if host.Extensions.HTTP.RoutePrefix == nil {
		return "api", nil
	}
	return *host.Extensions.HTTP.RoutePrefix, nil
}

// override applies app settings such as
// AzureFunctionsJobHost__customHandler__description__defaultExecutablePath, which
// win over host.json.
func (a *app) override(host map[string]any) {
	const prefix = "azurefunctionsjobhost__"
	for _, entry := range a.env {
		name, text, _ := strings.Cut(entry, "=")
		if len(name) <= len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
			continue
		}
		var value any = text
		if b, err := strconv.ParseBool(text); err == nil && len(text) > 1 {
			value = b
		}
		object, keys := host, strings.Split(name[len(prefix):], "__")
		for i, key := range keys {
			for existing := range object {
				if strings.EqualFold(existing, key) {
					key = existing
				}
			}
			if i == len(keys)-1 {
				object[key] = value
				break
			}
			inner, ok := object[key].(map[string]any)
			if !ok {
				inner = map[string]any{}
				object[key] = inner
			}
			object = inner
		}
	}
}

func (a *app) readFunctions(prefix string) error {
	files, err := filepath.Glob(filepath.Join(globEscape(a.root), "*", "function.json"))
	if err != nil {
		return fmt.Errorf("find the functions: %w", err)
	}
	for _, file := range files { // sorted: the host's order of registration
		name := filepath.Base(filepath.Dir(file))
		f, err := a.readFunction(name, prefix)
		if err != nil {
			return fmt.Errorf("read %s/function.json: %w", name, err)
		}
		if f != nil {
			a.functions = append(a.functions, f)
		}
	}
	if len(a.functions) == 0 {
		return fmt.Errorf("%s has no function with an httpTrigger: want FUNCTION/function.json", a.root)
	}
	return nil
}

func (a *app) readFunction(name, prefix string) (*function, error) {
	var fj functionJSON
	if err := a.readJSON(filepath.Join(name, "function.json"), nil, &fj); err != nil {
		return nil, err
	}
	trigger, other, outputs := -1, "", 0
	for i, b := range fj.Bindings {
		switch {
		case strings.EqualFold(b.Type, "httpTrigger"):
			trigger = i
		case strings.HasSuffix(strings.ToLower(b.Type), "trigger"):
			other = b.Type
		case strings.EqualFold(b.Type, "http") && strings.EqualFold(b.Direction, "out"):
			outputs++
		}
	}
	switch {
	case trigger < 0 && other != "":
		a.notes = append(a.notes, fmt.Sprintf("%s: a %s is never called here, only httpTrigger is", name, other))
		return nil, nil
	case trigger < 0:
		return nil, errors.New("bindings has no httpTrigger")
	case outputs != 1:
		return nil, fmt.Errorf(`bindings has %d http outputs; the handler's answer needs exactly one `+
			`{"type": "http", "direction": "out", "name": "res"}`, outputs)
	}
	b := fj.Bindings[trigger]
	route := name
	if b.Route != nil {
		route = *b.Route
	}
	f, err := newFunction(name, prefix, route, b.Methods)
	if err != nil {
		return nil, fmt.Errorf("bindings[%d].route: %w", trigger, err)
	}
	f.authLevel = strings.ToLower(cmp.Or(b.AuthLevel, "function"))
	return f, nil
}

// readJSON reads a file of the app into v. change, if given, may edit it first.
func (a *app) readJSON(name string, change func(map[string]any), v any) error {
	text, err := os.ReadFile(filepath.Join(a.root, name))
	if err != nil {
		return err
	}
	object, err := parseJSON(text)
	if err != nil {
		return err
	}
	if change != nil {
		change(object)
	}
	if text, err = json.Marshal(object); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(v)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("%s: want a %s, not a %s", wrong.Field, wrong.Type, wrong.Value)
	}
	return err
}

// parseJSON reads an object as the host does: a byte order mark and comments are
// ignored.
func parseJSON(text []byte) (map[string]any, error) {
	text = blankComments(bytes.TrimPrefix(text, []byte("\ufeff")))
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	err := decoder.Decode(&object)
	if err == nil && object == nil {
		return nil, errors.New("want an object, not null")
	}
	if err == nil && len(bytes.TrimSpace(text[decoder.InputOffset():])) > 0 {
		err = errors.New("text after the end of the object")
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("want an object, not a %s", wrong.Value)
	}
	if err != nil {
		offset := decoder.InputOffset()
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			offset = max(0, syntax.Offset-1)
		} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			offset = int64(len(text))
		}
		before := text[:min(int(offset), len(text))]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := len(before) - bytes.LastIndexByte(before, '\n')
		return nil, fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return object, nil
}

var commentOrString = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|//[^\n]*|(?s:/\*.*?\*/)`)

func blankComments(text []byte) []byte {
	return commentOrString.ReplaceAllFunc(text, func(match []byte) []byte {
		if match[0] == '"' {
			return match
		}
		space := bytes.Repeat([]byte(" "), len(match))
		for i, c := range match {
			if c == '\n' {
				space[i] = c
			}
		}
		return space
	})
}

var timeSpan = regexp.MustCompile(`^(?:(\d{1,6})\.)?(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d{1,7})?)$`)

// parseTimeSpan reads .NET's form of a duration, [days.]hours:minutes:seconds. "-1",
// the host's word for no limit, is about 290 years.
func parseTimeSpan(text string) (time.Duration, error) {
	if text == "-1" {
		return math.MaxInt64, nil
	}
	m := timeSpan.FindStringSubmatch(text)
	if m == nil {
		return 0, fmt.Errorf(`want hours:minutes:seconds such as "00:05:00", not %q`, text)
	}
	days, _ := strconv.Atoi(cmp.Or(m[1], "0"))
	if days > 100000 {
		return 0, fmt.Errorf("%q is too long", text)
	}
	d, err := time.ParseDuration(m[2] + "h" + m[3] + "m" + m[4] + "s")
	return d + time.Duration(days)*24*time.Hour, err
}

var percentVariable = regexp.MustCompile(`%[^%]+%`)

func (a *app) expand(text string) string {
	return percentVariable.ReplaceAllStringFunc(text, func(match string) string {
		return a.getenv(match[1 : len(match)-1])
	})
}

// expandArguments splits at spaces, because the host joins all arguments into one
// command line without quoting any.
func (a *app) expandArguments(arguments []string) []string {
	var split []string
	for _, argument := range arguments {
		split = append(split, strings.Fields(a.expand(argument))...)
	}
	return split
}

// under places a relative path in the app's folder.
func (a *app) under(path string) string {
	path = filepath.FromSlash(path)
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(a.root, path)
}

// findExecutable looks in the app's folder first and then, for a bare name, on PATH.
func findExecutable(dir, path string) (string, error) {
	path = filepath.FromSlash(path)
	full := path
	if !filepath.IsAbs(path) {
		full = filepath.Join(dir, path)
	}
	candidates := []string{full}
	if runtime.GOOS == "windows" && filepath.Ext(full) == "" {
		candidates = append(candidates, full+".exe")
	}
	for _, candidate := range candidates {
		if info, err := os.Stat(candidate); err == nil && !info.IsDir() {
			return candidate, nil
		}
	}
	if filepath.Base(path) == path {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
		return "", fmt.Errorf("%s is neither in %s nor on PATH; build it first", path, dir)
	}
	return "", fmt.Errorf("%s does not exist; build it first", full)
}

func globEscape(path string) string {
	if runtime.GOOS == "windows" {
		return path // there the separator is the escape character, and none is needed
	}
	return regexp.MustCompile(`[\\*?\[]`).ReplaceAllString(path, `\$0`)
}
