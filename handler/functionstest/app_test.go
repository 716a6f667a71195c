package functionstest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	goodHost     = `{"customHandler": {"description": {"defaultExecutablePath": "handler"}, "enableProxyingHttpRequest": true}}`
	goodFunction = `{"bindings": [{"type": "httpTrigger", "direction": "in", "name": "req"}, {"type": "http", "direction": "out", "name": "res"}]}`
)

// writeApp writes an app with an executable named handler and one function named f.
func writeApp(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{"host.json": goodHost, "f/function.json": goodFunction, "handler": ""}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		if text == "absent" {
			continue
		}
		file := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o700))
	}
	return dir
}

func TestAppErrorsNameFileAndMember(t *testing.T) {
	handler := func(members string) string {
		return `{"customHandler": {"description": {"defaultExecutablePath": "handler"}, ` + members + `}}`
	}
	trigger := `{"type": "httpTrigger", "direction": "in", "name": "req"%s}`
	tests := []struct {
		name, file, text string
		want             []string
	}{
		{"no host.json", "host.json", "absent", []string{"read host.json", "no such file"}},
		{"no object", "host.json", `[]`, []string{"read host.json", "want an object"}},
		{"null", "host.json", `null`, []string{"read host.json", "want an object"}},
		{"empty", "host.json", ``, []string{"read host.json", "line 1, column 1"}},
		{"not JSON", "host.json", "{\n  \"version\": \"2.0\",\n  oops\n}", []string{"read host.json", "line 3, column 3", "invalid character 'o'"}},
		{"cut off", "host.json", "{\n  \"version\": ", []string{"read host.json", "line 2", "unexpected EOF"}},
		{"more than one value", "host.json", "{}\n{}", []string{"read host.json", "line 1, column 3", "text after the end"}},
		{"no customHandler", "host.json", `{"version": "2.0"}`, []string{"read host.json", "customHandler is missing"}},
		{"a flag that is a string", "host.json", handler(`"enableProxyingHttpRequest": "yes"`), []string{"read host.json: customHandler.enableProxyingHttpRequest: want a bool, not a string"}},
		{"an object that is a number", "host.json", `{"extensions": {"http": 1}}`, []string{"read host.json: extensions.http", "not a number"}},
		{"no executable", "host.json", `{"customHandler": {"enableProxyingHttpRequest": true}}`, []string{"read host.json", "customHandler.description.defaultExecutablePath is missing"}},
		{"neither mode", "host.json", handler(`"port": 0`), []string{"read host.json", "neither enableProxyingHttpRequest nor enableForwardingHttpRequest"}},
		{"a bad time", "host.json", handler(`"enableProxyingHttpRequest": true, "initializationTimeout": "30s"`), []string{"read host.json: customHandler.initializationTimeout", `"00:05:00"`, `"30s"`}},
		{"a bad functionTimeout", "host.json", strings.Replace(goodHost, "{", `{"functionTimeout": "5 minutes", `, 1), []string{"read host.json: functionTimeout"}},
		{"routes", "host.json", handler(`"enableProxyingHttpRequest": true, "http": {}`), []string{"read host.json: customHandler.http"}},
		{"a profile", "host.json", `{"configurationProfile": "web-app-custom-handler"}`, []string{"read host.json: configurationProfile"}},
		{"the executable is missing", "handler", "absent", []string{"read host.json: customHandler.description.defaultExecutablePath: handler is neither in", "build it first"}},

		{"no functions", "f/function.json", "absent", []string{"has no function with an httpTrigger"}},
		{"function.json is not JSON", "f/function.json", "{", []string{"read f/function.json", "line 1"}},
		{"bindings is no list", "f/function.json", `{"bindings": {}}`, []string{"read f/function.json: bindings: want", "not a object"}},
		{"methods is no list", "f/function.json", `{"bindings": [{"type": "httpTrigger", "methods": "get"}]}`, []string{"read f/function.json: bindings", "methods", "not a string"}},
		{"no bindings", "f/function.json", `{}`, []string{"read f/function.json", "no httpTrigger"}},
		{"no http output", "f/function.json", `{"bindings": [` + strings.Replace(trigger, "%s", "", 1) + `]}`, []string{"read f/function.json", "0 http outputs", `"direction": "out"`}},
		{"a constraint", "f/function.json", strings.Replace(goodFunction, `"name": "req"`, `"route": "a/{id:int}"`, 1), []string{"read f/function.json: bindings[0].route: {id:int}"}},
		{"only a timer", "f/function.json", `{"bindings": [{"type": "timerTrigger", "direction": "in"}]}`, []string{"has no function with an httpTrigger"}},

		{"settings are not JSON", "local.settings.json", "{]", []string{"read local.settings.json", "line 1, column 2"}},
		{"encrypted settings", "local.settings.json", `{"Values": {"A": "x"}}`, []string{"read local.settings.json", "IsEncrypted"}},
		{"a setting that is an object", "local.settings.json", `{"IsEncrypted": false, "Values": {"A": {}}}`, []string{"read local.settings.json: Values.A: want a string"}},
		{"CORS is a list", "local.settings.json", `{"Host": {"CORS": ["*"]}}`, []string{"read local.settings.json: Host.CORS: want a string"}},
		{"a limit that is no number", "local.settings.json", `{"IsEncrypted": false, "Values": {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "1 MB"}}`, []string{"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT", "1 MB"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Start(t.Context(), Config{Dir: writeApp(t, map[string]string{test.file: test.text})})
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestAnExecutableThatCannotBeStarted(t *testing.T) {
	dir := writeApp(t, nil)
	require.NoError(t, os.Chmod(filepath.Join(dir, "handler"), 0o600))
	_, err := Start(t.Context(), Config{Dir: dir})
	require.ErrorContains(t, err, "start handler: ")
}

func TestAppSettings(t *testing.T) {
	read := func(t *testing.T, cfg Config, files map[string]string) *app {
		cfg.Dir = writeApp(t, files)
		a, err := readApp(cfg)
		require.NoError(t, err)
		return a
	}

	t.Run("defaults", func(t *testing.T) {
		a := read(t, Config{}, nil)
		require.Equal(t, proxyMode, a.mode)
		require.Equal(t, 30*time.Second, a.initTime)
		require.Equal(t, 30*time.Minute, a.functionTimeout)
		require.EqualValues(t, 104857600, a.bodyLimit)
		require.Equal(t, filepath.Join(a.root, "handler"), a.executable)
		require.Equal(t, "/api/f", a.functions[0].pattern)
		require.Equal(t, "function", a.functions[0].authLevel)
		require.Empty(t, a.origins)
	})
	t.Run("host.json with comments and a byte order mark", func(t *testing.T) {
		a := read(t, Config{}, map[string]string{"host.json": "\ufeff" + `{
			// the handler
			"functionTimeout": "00:01:30", /* at most */ "extensions": {"http": {"routePrefix": ""}},
			"customHandler": {"description": {"defaultExecutablePath": "handler", "arguments": ["http://x//y"]},
				"enableProxyingHttpRequest": true, "initializationTimeout": "00:00:05", "port": 3000}}`})
		require.Equal(t, 90*time.Second, a.functionTimeout)
		require.Equal(t, 5*time.Second, a.initTime)
		require.Equal(t, 3000, a.port)
		require.Equal(t, "/f", a.functions[0].pattern)
		require.Equal(t, []string{"http://x//y"}, a.arguments)
	})
	t.Run("app settings override host.json", func(t *testing.T) {
		a := read(t, Config{Env: []string{
			"AzureFunctionsJobHost__customHandler__description__defaultExecutablePath=other",
			"AZUREFUNCTIONSJOBHOST__CUSTOMHANDLER__ENABLEPROXYINGHTTPREQUEST=false",
			"AzureFunctionsJobHost__customHandler__enableForwardingHttpRequest=true",
		}}, map[string]string{
			"other":               "",
			"local.settings.json": `{"IsEncrypted": false, "Values": {"AzureFunctionsJobHost__functionTimeout": "00:02:00"}}`,
		})
		require.Equal(t, filepath.Join(a.root, "other"), a.executable)
		require.Equal(t, forwardMode, a.mode)
		require.Equal(t, 2*time.Minute, a.functionTimeout)
	})
	t.Run("the body limit", func(t *testing.T) {
		env := []string{"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT=1000"}
		require.EqualValues(t, 1000, read(t, Config{Env: env}, nil).bodyLimit)
		require.EqualValues(t, 5, read(t, Config{Env: env, BodyLimit: 5}, nil).bodyLimit)
	})
	t.Run("an executable on PATH", func(t *testing.T) {
		bin := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(bin, "onpath"), nil, 0o700))
		t.Setenv("PATH", bin)
		a := read(t, Config{Executable: "onpath"}, nil)
		require.Equal(t, filepath.Join(bin, "onpath"), a.executable)
	})
	t.Run("other triggers are told of", func(t *testing.T) {
		a := read(t, Config{}, map[string]string{"tick/function.json": `{"bindings": [{"type": "timerTrigger", "direction": "in"}]}`})
		require.Len(t, a.functions, 1)
		require.Equal(t, []string{"tick: a timerTrigger is never called here, only httpTrigger is"}, a.notes)
	})
	t.Run("CORS", func(t *testing.T) {
		files := map[string]string{"local.settings.json": `{"Host": {"CORS": "http://a,http://b"}}`}
		require.Equal(t, []string{"http://a", "http://b"}, read(t, Config{}, files).origins)
		require.Equal(t, []string{"http://c"}, read(t, Config{CORS: []string{"http://c"}}, files).origins)
		require.Empty(t, read(t, Config{CORS: []string{}}, files).origins)
	})
}

func TestTheAppOfThisRepository(t *testing.T) {
	root := filepath.Join("..", "..")
	if _, err := os.Stat(filepath.Join(root, "host.json")); err != nil {
		t.Skip(err)
	}
	for _, forward := range []bool{false, true} {
		a, err := readApp(Config{Dir: root, Forward: forward, Executable: os.Args[0], Env: os.Environ()})
		require.NoError(t, err)
		require.Equal(t, forward, a.mode == forwardMode)
		for method, path := range map[string]string{"GET": "/api/items", "DELETE": "/api/items/1", "HEAD": "/api/openapi.json"} {
			require.NotNil(t, a.find(method, path), "%s %s", method, path)
		}
		require.Nil(t, a.find("OPTIONS", "/api/items"))
	}
}

func TestParseTimeSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:05:00": 5 * time.Minute, "1:2:3": time.Hour + 2*time.Minute + 3*time.Second, "1.00:00:00": 24 * time.Hour, "00:00:00.25": 250 * time.Millisecond,
	} {
		d, err := parseTimeSpan(text)
		require.NoError(t, err, text)
		require.Equal(t, want, d, text)
	}
	forever, err := parseTimeSpan("-1")
	require.NoError(t, err)
	require.Greater(t, forever, 100*365*24*time.Hour)
	require.Equal(t, forever, saturate(forever, time.Hour))
	for _, text := range []string{"", "5", "5m", "00:00", "a:b:c", "00:00:00x", "-00:01:00", "999999.00:00:00"} {
		_, err := parseTimeSpan(text)
		require.Error(t, err, text)
	}
}

func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{goodHost, goodFunction, "{} // x", `{"a": "/* b */"}`, "/*", `{"a": "\"//"}`, "\ufeff{}", "{\"a\": 1e999}", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		object, err := parseJSON(text)
		if (err == nil) == (object == nil) {
			t.Fatalf("object %v, error %v", object, err)
		}
	})
}

func FuzzParseTimeSpan(f *testing.F) {
	for _, seed := range []string{"00:05:00", "-1", "1.00:00:00.1234567", "99:99:99"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parseTimeSpan(text); err == nil && d < 0 {
			t.Fatalf("%s is %s", text, d)
		}
	})
}
