package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/config"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/server/openapitest"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/tables/tablestest/azurite"
	"itemsapi/handler/waittest"
)

// long says that the check takes its time (scripts/check -long).
var long = os.Getenv("CHECK_LONG") != ""

// size is how much of something there is: less where the check is to be short.
func size(short, full int) int {
	if long {
		return full
	}
	return short
}

var binaryDir string // once there is one

// binary builds the handler once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "handler-test-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	return functionstest.Build(context.Background(), "..", dir)
})

func TestMain(m *testing.M) {
	// What the tests build and run is compiled as for Azure, so that this is done once.
	err := errors.Join(os.Setenv("GOFLAGS", os.Getenv("GOFLAGS")+" -trimpath"), os.Setenv("CGO_ENABLED", "0"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(binaryDir) // of nothing if there is none
	os.Exit(code)
}

// module is the root of the repository, seen from this folder.
const module = ".."

func read(t *testing.T, name string) string {
	content, err := os.ReadFile(filepath.Join(module, name))
	require.NoError(t, err)
	return string(content)
}

func builtHandler(t testing.TB) string {
	path, err := binary()
	require.NoError(t, err)
	return path
}

func settings(tenant *entratest.Server, connectionString string) map[string]string {
	return map[string]string{
		"B2C_TENANT":               entratest.TenantName,
		"B2C_POLICIES":             strings.Join([]string{entratest.PolicySignUpSignIn, entratest.PolicyProfileEdit, entratest.PolicyROPC}, ","),
		"B2C_API_CLIENT_ID":        entratest.APIClientID,
		"B2C_APP_ID_URI":           entratest.AppIDURI,
		"B2C_ALLOWED_CLIENTS":      entratest.ClientID,
		"B2C_METADATA_URL":         tenant.MetadataTemplate(),
		"EXTERNAL_TENANT":          entratest.ExternalTenantName,
		"EXTERNAL_API_CLIENT_ID":   entratest.ExternalAPIClientID,
		"EXTERNAL_ALLOWED_CLIENTS": entratest.ExternalClientID + "," + entratest.ExternalDaemonID,
		"EXTERNAL_METADATA_URL":    tenant.MetadataTemplateOf(entratest.External),
		"ENTRA_TENANT":             entratest.WorkforceTenantDomain,
		"ENTRA_API_CLIENT_ID":      entratest.WorkforceAPIClientID,
		"ENTRA_ALLOWED_CLIENTS":    entratest.WorkforceClientID + "," + entratest.WorkforceDaemonID,
		"ENTRA_METADATA_URL":       tenant.MetadataTemplateOf(entratest.Workforce),
		"TABLES_CONNECTION_STRING": connectionString,
		"CALLER_RATE":              "0",
	}
}

func environment(settings map[string]string) []string {
	var env []string
	for name, value := range settings {
		env = append(env, name+"="+value)
	}
	return env
}

func startTenant(t testing.TB) *entratest.Server {
	s, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func startStorage(t testing.TB) *tablestest.Server {
	s, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func startAzurite(t testing.TB) *azurite.Server {
	s, err := azurite.Start(t.Context(), azurite.Options{})
	if errors.Is(err, azurite.ErrNotInstalled) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// program is a handler without a host.
type program struct {
	url    string
	cmd    *exec.Cmd
	output *output
	ended  chan struct{}
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func startProgram(t testing.TB, settings map[string]string) *program {
	port := freePort(t)
	p := &program{url: "http://127.0.0.1:" + port, output: &output{}, ended: make(chan struct{})}
	p.cmd = exec.Command(builtHandler(t))
	p.cmd.Env = append(environment(settings), "FUNCTIONS_CUSTOMHANDLER_PORT="+port)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	require.NoError(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		waittest.For(t, p.ended)
	})
	require.Eventually(t, func() bool {
		resp, err := http.Get(p.url + "/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	}, 20*time.Second, 5*time.Millisecond, "GET / is answered")
	return p
}

func send(t testing.TB, method, url, token, body string, headers ...string) (int, http.Header, string) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.Header.Get("X-Content-Type-Options") != "" { // the API answered, not the host
		d, err := described()
		require.NoError(t, err)
		require.NoError(t, d.Check(req, []byte(body), resp, b))
	}
	return resp.StatusCode, resp.Header, string(b)
}

// described is the API's description.
var described = sync.OnceValues(func() (*openapitest.Document, error) {
	text, err := server.Config{Collection: config.Collection, ReadScope: "read", WriteScope: "write"}.Description()
	if err != nil {
		return nil, err
	}
	return openapitest.Load(text)
})

// version is an item as it was told, in the version that it had then, or that it was
// deleted: whatever its content is.
type version struct {
	ID, ETag string
	Deleted  bool
	JSON     string
}

func (v *version) UnmarshalJSON(text []byte) error {
	var is struct {
		ID, ETag string
		Deleted  bool
	}
	if err := json.Unmarshal(text, &is); err != nil {
		return err
	}
	*v = version{is.ID, is.ETag, is.Deleted, string(text)}
	return nil
}

func TestWrongSettingsStopTheStart(t *testing.T) {
	for name, tt := range map[string]struct {
		change map[string]string
		says   string
		first  string // on stderr
	}{
		"nothing set":                     {nil, "2 problems", "B2C_TENANT, EXTERNAL_TENANT or ENTRA_TENANT must be set"},
		"no tenant":                       {map[string]string{"B2C_TENANT": ""}, "B2C_TENANT is not set", "B2C_TENANT is not set"},
		"no storage":                      {map[string]string{"TABLES_CONNECTION_STRING": ""}, "TABLES_ENDPOINT or TABLES_CONNECTION_STRING must be set", "TABLES_ENDPOINT or TABLES_CONNECTION_STRING must be set"},
		"a client's setting misspelt":     {map[string]string{"B2C_ALLOWED_CLIENTS": "", "B2C_ALLOWED_CLIENT": entratest.ClientID}, "B2C_ALLOWED_CLIENT is not a setting; it looks like B2C_ALLOWED_CLIENTS", "B2C_ALLOWED_CLIENT is not a setting; it looks like B2C_ALLOWED_CLIENTS"},
		"local sign-in, storage in Azure": {map[string]string{"TABLES_CONNECTION_STRING": "AccountName=contoso;AccountKey=eA=="}, "B2C_METADATA_URL points to this machine", "B2C_METADATA_URL points to this machine"},
		"local sign-in, Azure's endpoint": {map[string]string{"TABLES_CONNECTION_STRING": "", "TABLES_ENDPOINT": "https://contoso.table.core.windows.net"}, "B2C_METADATA_URL points to this machine", "B2C_METADATA_URL points to this machine"},
	} {
		t.Run(name, func(t *testing.T) {
			var env map[string]string
			if tt.change != nil {
				env = settings(startTenant(t), "UseDevelopmentStorage=true")
				for n, v := range tt.change {
					env[n] = v
				}
			}
			port := freePort(t)
			cmd := exec.Command(builtHandler(t))
			cmd.Env = append(environment(env), "FUNCTIONS_CUSTOMHANDLER_PORT="+port)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Contains(t, stdout.String(), "The settings have ")
			require.Contains(t, stdout.String(), tt.says)
			// The host quotes the last lines of stderr, less what follows such words.
			require.Regexp(t, `^handler: did not start: .+\n$`, stderr.String())
			require.NotRegexp(t, `(?i)warn|key=|token=|password=|server=|\?code=|&sig=`, stderr.String())
			require.True(t, strings.HasSuffix(stdout.String(), "\n"+stderr.String()), "and is told the same in full")
			require.Contains(t, stderr.String(), tt.first)
			_, err := net.Dial("tcp", "127.0.0.1:"+port)
			require.Error(t, err, "the port was never opened")
		})
	}
}

func TestPortThatIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	env := settings(startTenant(t), startStorage(t).ConnectionString())
	_, env["FUNCTIONS_CUSTOMHANDLER_PORT"], err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	require.ErrorContains(t, run(t.Context(), nil, environment(env), io.Discard, io.Discard), "FUNCTIONS_CUSTOMHANDLER_PORT")
	require.ErrorContains(t, run(t.Context(), []string{"serve"}, environment(env), io.Discard, io.Discard), "takes no arguments")
}

// The host takes a line's level from its stream.
func TestLogStreams(t *testing.T) {
	var stdout, stderr bytes.Buffer
	log := newLog(slog.LevelDebug, &stdout, &stderr).With("a", 1).WithGroup("g")
	log.Debug("first", "b", 2)
	log.Info("second")
	log.Warn("third")
	log.Error("fourth", "b", 2)
	require.Regexp(t, `^\{.*"level":"DEBUG","msg":"first","a":1,"g":\{"b":2\}\}\n.*"level":"INFO".*"second".*\n$`, stdout.String())
	require.Regexp(t, `^\{.*"level":"WARN".*"third".*\n.*"level":"ERROR","msg":"fourth","a":1,"g":\{"b":2\}\}\n$`, stderr.String())
	require.NotRegexp(t, "(?i)warn", strings.Split(stderr.String(), "\n")[1], "an error stays one")
	quiet := newLog(slog.LevelError, &stdout, &stderr)
	require.False(t, quiet.Enabled(t.Context(), slog.LevelWarn))
	require.True(t, quiet.Enabled(t.Context(), slog.LevelError))
}

// SIGTERM and SIGINT end the handler with status 0, after what is in flight.
func TestStopFinishesWhatIsInFlight(t *testing.T) {
	tenant, storage := startTenant(t), startStorage(t)
	p := startProgram(t, settings(tenant, storage.ConnectionString()))
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, _, _ := send(t, "GET", p.url+"/api/items", token, "")
		return status == 200
	}, 20*time.Second, 10*time.Millisecond, "the table is there")

	arrived := make(chan struct{})
	var once sync.Once
	storage.Inject(tablestest.Fault{Times: 1, Delay: 700 * time.Millisecond, Match: func(r *http.Request) bool {
		if tablestest.Operation(r) != tablestest.OpTransaction {
			return false
		}
		once.Do(func() { close(arrived) })
		return true
	}})
	status := make(chan int, 1)
	go func() {
		s, _, _, _ := identityCall("POST", p.url+"/api/items", token, itemstest.Text("last"))
		status <- s
	}()
	select {
	case <-arrived:
	case s := <-status:
		require.Fail(t, "answered without a change to storage", "%d", s)
	case <-time.After(20 * time.Second):
		require.Fail(t, "no change came to storage")
	}
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	require.Equal(t, 201, waittest.For(t, status))
	waittest.For(t, p.ended)
	require.Equal(t, 0, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.output.String(), `"msg":"stopping"`)
}

// A body that has not come when the handler is asked to stop is not waited for: its sender
// is told to try again.
func TestStopCutsBodiesOff(t *testing.T) {
	tenant := startTenant(t)
	p := startProgram(t, settings(tenant, startStorage(t).ConnectionString()))
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	p.settle(t, token)
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(12*time.Second))) // less than a body's time
	_, err = fmt.Fprintf(conn, "POST /api/items HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n", token)
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line, "the body is being read")
	_, err = r.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(conn, `{"half`)
	require.NoError(t, err)
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, 503, resp.StatusCode, string(body))
	require.Contains(t, string(body), "This instance is stopping")
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
	waittest.For(t, p.ended)
	require.Equal(t, 0, p.cmd.ProcessState.ExitCode())
}

// What a SIGKILL at any moment leaves behind is an item or none, never a part.
func TestKillLeavesWholeItems(t *testing.T) {
	tenant, storage := startTenant(t), startStorage(t)
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	answered := 0
	for round := range 3 {
		p := startProgram(t, settings(tenant, storage.ConnectionString()))
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 4 {
			wg.Go(func() {
				for {
					req, _ := http.NewRequestWithContext(context.Background(), "POST", p.url+"/api/items", strings.NewReader(itemstest.Whole()))
					req.Header.Set("Authorization", "Bearer "+token)
					req.Header.Set("Content-Type", "application/json")
					resp, err := http.DefaultClient.Do(req)
					if err != nil {
						return
					}
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
					if err == nil && resp.StatusCode == 201 {
						mu.Lock()
						answered++
						mu.Unlock()
					}
				}
			})
		}
		want := (round + 1) * 20
		require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return answered >= want }, 30*time.Second, time.Millisecond)
		require.NoError(t, p.cmd.Process.Kill())
		wg.Wait()
	}
	p := startProgram(t, settings(tenant, storage.ConnectionString()))
	var rows []map[string]any
	for _, row := range storage.Entities(config.Collection) {
		if strings.HasPrefix(row["RowKey"].(string), "i-") {
			rows = append(rows, row)
		}
	}
	require.GreaterOrEqual(t, len(rows), answered)
	status, _, body := send(t, "GET", p.url+"/api/items?limit=200", token, "")
	require.Equal(t, 200, status)
	var page struct{ Value []map[string]json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(body), &page))
	require.Len(t, page.Value, min(200, len(rows)))
	var whole map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(itemstest.Whole()), &whole))
	for _, item := range page.Value {
		for name, value := range whole {
			require.JSONEq(t, string(value), string(item[name]), name)
		}
	}
}

// TestEndToEnd is what a client sees through the host, in both of its modes and
// on both storages.
func TestEndToEnd(t *testing.T) {
	for _, storage := range []struct {
		name  string
		start func(t testing.TB) (connectionString string)
	}{
		{"strict storage", func(t testing.TB) string { return startStorage(t).ConnectionString() }},
		{"Azurite", func(t testing.TB) string { return startAzurite(t).ConnectionString() }},
	} {
		for _, mode := range []struct {
			name    string
			forward bool
		}{{"proxy", false}, {"forward", true}} {
			t.Run(storage.name+", "+mode.name, func(t *testing.T) {
				tenant := startTenant(t)
				var log output
				host, err := functionstest.Start(t.Context(), functionstest.Config{
					Dir: "..", Executable: builtHandler(t), Forward: mode.forward,
					Env:    environment(settings(tenant, storage.start(t))),
					CORS:   []string{"http://localhost:9912"},
					Output: func(_, line string) { fmt.Fprintln(&log, line) },
				})
				require.NoError(t, err)
				t.Cleanup(func() { host.Close() })
				testEndToEnd(t, tenant, host.URL())
				require.Equal(t, 1, host.Starts())
				require.NotContains(t, log.String(), "eyJ")
			})
		}
	}
}

// TestLostReplies loses the reply to each kind of change after it was stored: on
// the way from storage, then on the way from a handler that is killed, whereupon
// the host sends what has no body again, and the client the rest.
func TestLostReplies(t *testing.T) {
	for _, forward := range []bool{false, true} {
		t.Run(map[bool]string{false: "proxy", true: "forward"}[forward], func(t *testing.T) {
			t.Parallel()
			tenant, storage := startTenant(t), startStorage(t)
			token, err := tenant.AccessToken(entratest.TokenRequest{})
			require.NoError(t, err)
			for _, killed := range []bool{false, true} {
				for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
					// A host of its own: the third crash would stop it.
					host, err := functionstest.Start(t.Context(), functionstest.Config{
						Dir: "..", Executable: builtHandler(t), Forward: forward,
						Env: environment(settings(tenant, storage.ConnectionString())),
					})
					require.NoError(t, err)
					t.Cleanup(func() { host.Close() })
					require.Eventually(t, func() bool {
						status, _, _ := send(t, "GET", host.URL()+"/api/items", token, "")
						return status == 200
					}, 30*time.Second, 20*time.Millisecond)
					name := fmt.Sprintf("%s-killed-%t", method, killed)
					var item version
					_, _, body := send(t, "POST", host.URL()+"/api/items", token, itemstest.Text(name))
					require.NoError(t, json.Unmarshal([]byte(body), &item), body)
					_, _, body = send(t, "GET", host.URL()+"/api/items/delta", token, "")
					_, link, _ := strings.Cut(body, `"deltaLink":"`)
					link, _, _ = strings.Cut(link, `"`)

					path, headers := "/api/items/"+item.ID, []string{"If-Match", item.ETag}
					if method == "POST" {
						path, headers = "/api/items", []string{"Idempotency-Key", name}
					}
					sent := ""
					if method != "DELETE" {
						sent = itemstest.Text(name + "-changed")
					}
					pid := host.HandlerPID()
					storage.Inject(tablestest.Fault{Times: 1, DropReply: true, Match: func(r *http.Request) bool {
						if tablestest.Operation(r) != tablestest.OpTransaction {
							return false
						}
						if killed {
							process, err := os.FindProcess(pid)
							if err == nil {
								_ = process.Kill()
							}
						}
						return true
					}})
					var answers []string
					require.Eventually(t, func() bool {
						status, _, body := send(t, method, host.URL()+path, token, sent, headers...)
						if status >= 500 {
							require.True(t, killed, "%s: %d %s", name, status, body)
							return false // the host's own, and the client tries again
						}
						require.Contains(t, []int{200, 201}, status, "%s: %s", name, body)
						answers = append(answers, body)
						return len(answers) == 2
					}, 30*time.Second, 50*time.Millisecond)
					require.Equal(t, answers[0], answers[1], name)
					status, _, delta := send(t, "GET", host.URL()+link, token, "")
					require.Equal(t, 200, status)
					require.True(t, strings.HasPrefix(delta, `{"value":[`+strings.TrimSpace(answers[0])+`],"deltaLink"`), "%s: once: %s", name, delta)
				}
			}
		})
	}
}

// TestEndToEndFunc runs the same under Azure Functions Core Tools. It is asked
// for by FUNC_E2E=1, as it needs func on PATH and a free port 7071.
func TestEndToEndFunc(t *testing.T) {
	path, err := exec.LookPath("func")
	if os.Getenv("FUNC_E2E") == "" || err != nil {
		t.Skip("skipped: real Functions host (set FUNC_E2E=1, with func on PATH)")
	}
	tenant := startTenant(t)
	out, err := exec.Command("go", "build", "-o", filepath.Join("..", "bin")+string(filepath.Separator), ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	cmd := exec.Command(path, "start", "--port", "7071", "--cors", "http://localhost:9912")
	cmd.Dir = ".."
	cmd.Env = append(append(os.Environ(), environment(settings(tenant, startStorage(t).ConnectionString()))...), "FUNCTIONS_WORKER_RUNTIME=custom")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://localhost:7071/api/items")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 401
	}, time.Minute, 100*time.Millisecond)
	testEndToEnd(t, tenant, "http://localhost:7071")
}

func testEndToEnd(t *testing.T, tenant *entratest.Server, url string) {
	token := func(r entratest.TokenRequest) string {
		s, err := tenant.AccessToken(r)
		require.NoError(t, err)
		return s
	}
	alice, bob := token(entratest.TokenRequest{}), token(entratest.TokenRequest{User: "bob", Policy: entratest.PolicyProfileEdit})
	require.Eventually(t, func() bool {
		status, _, _ := send(t, "GET", url+"/api/items", alice, "")
		return status == 200
	}, 30*time.Second, 20*time.Millisecond, "the table is made")

	t.Run("create, read, list", func(t *testing.T) {
		var ids []string
		for i := range 5 {
			status, header, body := send(t, "POST", url+"/api/items", alice, itemstest.Variant(i, fmt.Sprint("thing ", i)))
			require.Equal(t, 201, status, body)
			location := header.Get("Location")
			require.True(t, strings.HasPrefix(location, "/api/items/"), location)
			status, header, again := send(t, "GET", url+location, alice, "")
			require.Equal(t, 200, status)
			require.Equal(t, body, again)
			require.NotEmpty(t, header.Get("ETag"))
			status, _, empty := send(t, "HEAD", url+location, alice, "")
			require.Equal(t, 200, status)
			require.Empty(t, empty)
			ids = append(ids, strings.TrimPrefix(location, "/api/items/"))
			status, _, _ = send(t, "GET", url+location, bob, "")
			require.Equal(t, 404, status)
		}
		status, _, body := send(t, "GET", url+"/api/items?limit=3", alice, "")
		require.Equal(t, 200, status)
		require.Less(t, strings.Index(body, ids[4]), strings.Index(body, ids[3]), "newest first")
		_, next, ok := strings.Cut(body, `"nextLink":"`)
		require.True(t, ok, body)
		next, _, _ = strings.Cut(next, `"`)
		status, _, body = send(t, "GET", url+next, alice, "")
		require.Equal(t, 200, status, body)
		require.Contains(t, body, ids[0])
		require.NotContains(t, body, "nextLink")
		status, _, body = send(t, "GET", url+next, bob, "")
		require.Equal(t, 400, status)
		require.Contains(t, body, "cursor.invalid")
		status, _, body = send(t, "GET", url+"/api/items", bob, "")
		require.Equal(t, 200, status)
		require.Equal(t, "{\"value\":[]}\n", body)
	})

	t.Run("change, delete, sync", func(t *testing.T) {
		token := token(entratest.TokenRequest{User: "bob"})
		var batch struct{ Value []version }
		two := `{"items":[` + itemstest.Text("a") + `,` + itemstest.Whole() + `]}`
		status, _, body := send(t, "POST", url+"/api/items/batch", token, two, "Idempotency-Key", "key")
		require.Equal(t, 201, status, body)
		require.NoError(t, json.Unmarshal([]byte(body), &batch))
		status, header, again := send(t, "POST", url+"/api/items/batch", token, two, "Idempotency-Key", "key")
		require.Equal(t, 201, status)
		require.Equal(t, "true", header.Get("Idempotency-Replayed"))
		require.Equal(t, body, again)
		_, _, body = send(t, "GET", url+"/api/items/delta", token, "")
		require.Equal(t, 2, strings.Count(body, `"etag"`))
		_, link, _ := strings.Cut(body, `"deltaLink":"`)
		link, _, _ = strings.Cut(link, `"`)

		a, b := batch.Value[0], batch.Value[1]
		status, header, body = send(t, "PUT", url+"/api/items/"+a.ID, token, itemstest.Text("a2"), "If-Match", a.ETag)
		require.Equal(t, 200, status, body)
		require.NotEqual(t, a.ETag, header.Get("ETag"))
		status, _, body = send(t, "PATCH", url+"/api/items/"+a.ID, token, itemstest.PatchText("a3"), "If-Match", a.ETag)
		require.Equal(t, 412, status, body)
		status, _, body = send(t, "PATCH", url+"/api/items/"+a.ID, token, itemstest.PatchText("a3"), "If-Match", header.Get("ETag"), "Content-Type", "application/merge-patch+json")
		require.Equal(t, 200, status, body)
		status, _, gone := send(t, "DELETE", url+"/api/items/"+b.ID, token, "", "If-Match", b.ETag)
		require.Equal(t, 200, status, gone)
		status, _, delta := send(t, "GET", url+link, token, "")
		require.Equal(t, 200, status, delta)
		require.True(t, strings.HasPrefix(delta, `{"value":[`+strings.TrimSpace(body)+`,`+strings.TrimSpace(gone)+`],"deltaLink":"`), delta)
		status, _, body = send(t, "DELETE", url+"/api/items/"+a.ID, token, "")
		require.Equal(t, 428, status, body)
		status, _, _ = send(t, "DELETE", url+"/api/items/"+a.ID, alice, "", "If-Match", "*")
		require.Equal(t, 404, status)
		status, _, _ = send(t, "DELETE", url+"/api/items/"+a.ID, token, "", "If-Match", "*")
		require.Equal(t, 200, status)
	})

	t.Run("refusals", func(t *testing.T) {
		status, header, body := send(t, "GET", url+"/api/items", "", "")
		require.Equal(t, 401, status)
		require.Equal(t, `Bearer realm="itemsapi"`, header.Get("WWW-Authenticate"))
		require.Equal(t, "application/problem+json", header.Get("Content-Type"))
		require.Contains(t, body, `"code":"auth.missing"`)
		require.Regexp(t, `"instance":"[0-9a-f-]{36}"`, body)

		status, header, body = send(t, "POST", url+"/api/items", token(entratest.TokenRequest{Scopes: []string{"read"}}), itemstest.Text("x"))
		require.Equal(t, 403, status)
		require.Contains(t, header.Get("WWW-Authenticate"), `scope="https://contoso.onmicrosoft.com/b2capi/write"`)
		require.Contains(t, body, `"code":"scope.missing"`)

		for _, code := range entratest.BrokenCodes() {
			broken, err := tenant.Broken(code)
			require.NoError(t, err)
			if broken.Token == "" || broken.NeedsFault || broken.Untrusted != "" || broken.Applications {
				continue
			}
			_, _, body := send(t, "GET", url+"/api/items", broken.Token, "")
			require.Contains(t, body, `"code":"`+code+`"`)
		}
	})

	t.Run("forged invocation ID", func(t *testing.T) {
		_, _, body := send(t, "GET", url+"/api/items", "", "", "X-Azure-Functions-InvocationId", "forged")
		require.NotContains(t, body, "forged")
		require.Regexp(t, `"instance":"[0-9a-f-]{36}"`, body)
	})

	t.Run("two Authorization headers", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/api/items", nil)
		require.NoError(t, err)
		req.Header["Authorization"] = []string{"Bearer " + alice, "Bearer " + bob}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 400, resp.StatusCode)
	})

	t.Run("bad input", func(t *testing.T) {
		for _, tt := range []struct{ method, path, body, code string }{
			{"POST", "/api/items", `{"a":`, "request.malformed"},
			{"POST", "/api/items", `{"a":"x","a":"y"}`, "request.malformed"},
			{"POST", "/api/items", string(itemstest.Load().Bad[0].Content), "item.invalid"},
			{"POST", "/api/items", strings.Replace(itemstest.Text("x"), "{", `{"no-such-member":1,`, 1), "item.invalid"},
			{"POST", "/api/items", itemstest.Text(strings.Repeat("x", 300<<10)), "body.too_large"},
			{"GET", "/api/items?limit=201", "", "parameter.invalid"},
			{"GET", "/api/items?x=1", "", "parameter.unknown"},
			{"GET", "/api/items/x", "", "item.not_found"},
			{"DELETE", "/api/items", "", "method.not_allowed"},
			{"GET", "/api/items/a/b", "", "route.not_found"},
		} {
			status, header, body := send(t, tt.method, url+tt.path, alice, tt.body)
			require.GreaterOrEqual(t, status, 400)
			require.Contains(t, body, `"code":"`+tt.code+`"`, "%s %s", tt.method, tt.path)
			require.Equal(t, "no-store", header.Get("Cache-Control"))
		}
	})

	t.Run("CORS is the host's", func(t *testing.T) {
		status, header, _ := send(t, "OPTIONS", url+"/api/items", "", "", "Origin", "http://localhost:9912", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
		require.Equal(t, 204, status)
		require.Equal(t, "http://localhost:9912", header.Get("Access-Control-Allow-Origin"))
		_, header, _ = send(t, "GET", url+"/api/items", "", "", "Origin", "http://localhost:9912")
		require.Equal(t, "http://localhost:9912", header.Get("Access-Control-Allow-Origin"), "on a refusal too")
		_, header, _ = send(t, "GET", url+"/api/items", alice, "", "Origin", "https://evil.example")
		require.Empty(t, header.Get("Access-Control-Allow-Origin"))
	})
}
