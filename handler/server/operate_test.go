package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/items"
	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
	"itemsapi/handler/tables/tablestest"
)

const operate = "../../docs/operate.md"

// queryText is the text of a query that docs/operate.md explains and infra deploys.
func queryText(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("../../infra/queries", name+".kql"))
	require.NoError(t, err)
	return string(text)
}

// TestQueries: over the log of requests that meet every refusal, route and fault, each
// query of docs/operate.md returns what it should.
func TestQueries(t *testing.T) {
	log := &buffer{}
	logger := slog.New(slog.NewJSONHandler(log, nil))
	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	defer tenant.Close()

	// Every refusal.
	worlds := refusing(t, tenant, logger)
	verified := map[string]bool{}
	for _, code := range entra.Codes() {
		broken, err := tenant.Broken(code)
		require.NoError(t, err)
		w := worlds[special{broken.Untrusted, broken.Applications}]
		if broken.NeedsFault {
			known, err := tenant.AccessToken(entratest.TokenRequest{Policy: entratest.PolicyROPC})
			require.NoError(t, err)
			require.Equal(t, 200, w.send(t, "GET", "/api/items", known, "").StatusCode)
			defer tenant.Inject(broken.Fault)()
		}
		r := do(t, brokenRequest(t, w, broken))
		require.Equal(t, code, r.code(t))
		verified[code] = r.json(t)["verified"] == true
	}

	// Every route, and what storage can do to it.
	w := newWorld(t, func(c *server.Config) { c.Log = logger })
	token := w.token(t, "alice")
	called := map[string]bool{}
	ask := func(method, path, body string, headers ...string) reply {
		route, _, _ := strings.Cut(path, "?")
		if strings.Count(route, "/") == 3 && len(route) > len("/api/items/00000000") {
			route = "/api/items/{id}"
		}
		called[method+" "+route] = true
		return w.send(t, method, path, token, body, headers...)
	}
	id, etag, _ := w.made(t, token, itemstest.Text("x"))
	called["POST /api/items"] = true
	path := "/api/items/" + id
	ask("GET", "/api/items", "")
	ask("GET", path, "", "X-Azure-Functions-InvocationId", "the-one")
	etag, _ = ask("PUT", path, itemstest.Text("y"), "If-Match", etag).json(t)["etag"].(string)
	require.NotEmpty(t, etag)
	ask("PATCH", path, `{}`, "If-Match", "*")
	ask("DELETE", path, "", "If-Match", "*")
	ask("GET", "/api/items/delta", "")
	ask("GET", "/api/openapi.json", "")
	ask("POST", "/api/items/batch", `{"items":[`+itemstest.Text("z")+`]}`)
	ask("POST", "/api/items/erase", `{"confirm":"erase everything"}`)
	w.storage.Inject(tablestest.Fault{Status: 500})
	require.Equal(t, "storage.unavailable", ask("GET", "/api/items", "").code(t))
	for cause, code := range map[error]string{items.ErrTimeout: "storage.timeout", fmt.Errorf("a fault"): "internal"} {
		failing := newWorld(t, func(c *server.Config) {
			c.Log, c.Store = logger, broken{c.Store, func(context.Context) { panic(cause) }}
			if cause == items.ErrTimeout {
				c.Store = late{c.Store}
			}
		})
		r := failing.send(t, "GET", "/api/items", failing.token(t, "alice"), "")
		require.Equal(t, code, r.code(t))
	}
	hurried := newWorld(t, func(c *server.Config) { c.Log, c.CallerRate = logger, 1 })
	limited := 0.0
	for range 10 {
		if hurried.send(t, "GET", "/api/items", hurried.token(t, "bob"), "").StatusCode == 429 {
			limited++
		}
	}
	require.Positive(t, limited)

	// What Application Insights makes of it.
	now := time.Now().Add(time.Second)
	var rows []row
	failed := 0.0
	for text := range strings.Lines(log.String()) {
		var line struct {
			Time   time.Time
			Level  string
			Msg    string
			Status int
		}
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		severity := map[string]float64{"INFO": 1, "WARN": 2, "ERROR": 3}[line.Level]
		rows = append(rows, row{
			"timestamp": line.Time, "message": strings.TrimSpace(text), "severityLevel": severity, "itemCount": 1.0,
		})
		if line.Msg == "request" && line.Status >= 500 {
			failed++
		}
	}
	rows = append(rows,
		row{"timestamp": now, "message": "Host started (12ms)", "severityLevel": 1.0, "itemCount": 1.0},
		row{"timestamp": now, "message": `{"msg":"storage not ready","error":"no route"}`, "severityLevel": 2.0, "itemCount": 1.0},
	)
	tables := map[string][]row{"traces": rows}
	run := func(name string, change ...string) []row {
		found, err := query(strings.NewReplacer(change...).Replace(queryText(t, name)), now, tables)
		require.NoError(t, err, name)
		return found
	}
	column := func(rows []row, name string) (values []any) {
		for _, r := range rows {
			values = append(values, r[name])
		}
		return values
	}
	sum := func(rows []row, name string) (total float64) {
		for _, r := range rows {
			total += r[name].(float64)
		}
		return total
	}

	found := run("request", "INSTANCE", "the-one")
	require.Len(t, found, 1)
	require.Contains(t, found[0]["message"], `"route":"/api/items/{id}"`)

	var codes []string
	for _, r := range run("refusals") {
		codes = append(codes, r["code"].(string))
		require.Equal(t, verified[r["code"].(string)], r["verified"], r["code"])
		require.GreaterOrEqual(t, r["requests"], 1.0)
	}
	require.ElementsMatch(t, entra.Codes(), codes, "each code once")

	for _, r := range run("refused-clients") {
		require.True(t, verified[r["code"].(string)], r["code"])
		require.NotEmpty(t, r["family"])
		require.Equal(t, r["family"] == "b2c", r["policy"] != "", r)
		delete(verified, r["code"].(string))
	}
	for code, is := range verified {
		require.False(t, is, "%s is missing among the clients", code)
	}

	var routes []string
	for _, r := range run("latency") {
		routes = append(routes, fmt.Sprint(r["method"], " ", r["route"]))
		require.LessOrEqual(t, r["p50"], r["p95"])
		require.LessOrEqual(t, r["p95"], r["p99"])
	}
	for route := range called {
		require.Contains(t, routes, route)
	}
	for _, r := range run("storage-calls") {
		if r["method"] == "PUT" {
			require.Equal(t, 1.0, r["calls"])
			require.Equal(t, 1.0, r["each"])
		}
	}
	require.Equal(t, limited, sum(run("rate-limited"), "requests"))
	require.Equal(t, []any{1.0}, slices.Compact(column(run("rate-limited"), "callers")))
	require.GreaterOrEqual(t, sum(run("keys"), "read"), float64(4*3))
	require.Positive(t, sum(run("keys"), "failed"))
	faults := run("faults")
	require.Equal(t, failed, sum(faults, "requests"))
	require.Subset(t, column(faults, "code"), []any{"storage.unavailable", "storage.timeout", "internal", "keys.unavailable"})
	require.Equal(t, []any{"storage not ready"}, column(run("troubles"), "what"))

	require.Len(t, run("alert-requests-fail"), int(failed))
	require.Len(t, run("alert-keys-unavailable"), 1)
	require.Len(t, run("alert-storage-unavailable"), 2)
	tables["_LogOperation"] = []row{
		{"Category": "Ingestion", "Detail": "OverQuota of the daily cap"}, {"Category": "Ingestion", "Detail": "Data delayed"},
	}
	require.Len(t, run("alert-log-cap"), 1)

	// A jump is three times as much as in the day before, and not a little.
	refusal := func(ago time.Duration, verified bool, n int) {
		message := fmt.Sprintf(`{"msg":"request","code":"scope.missing","verified":%t}`, verified)
		for range n {
			tables["traces"] = append(tables["traces"], row{
				"timestamp": now.Add(-ago), "message": message, "severityLevel": 1.0, "itemCount": 1.0,
			})
		}
	}
	jumps := func() int { return len(run("alert-refusals-jump")) }
	tables["traces"] = nil
	require.Zero(t, jumps())
	refusal(time.Minute, false, 1000)
	refusal(time.Minute, true, 20)
	require.Zero(t, jumps(), "anybody can send a bad token")
	refusal(time.Minute, true, 1)
	require.Equal(t, 1, jumps())
	refusal(5*time.Hour, true, 161)
	require.Zero(t, jumps(), "21 where 7 an hour are usual")
	refusal(time.Minute, true, 1)
	require.Equal(t, 1, jumps())
}

// late is a store that does not answer in time.
type late struct{ items.Store }

func (late) List(context.Context, items.Owner, items.Query) (items.Page, error) {
	return items.Page{}, items.ErrTimeout
}

// TestOperate: docs/operate.md shows each query as it is deployed, and has a section for
// each alert.
func TestOperate(t *testing.T) {
	text, err := os.ReadFile(operate)
	require.NoError(t, err)
	files, err := filepath.Glob("../../infra/queries/*.kql")
	require.NoError(t, err)
	require.Greater(t, len(files), 10)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".kql")
		require.Contains(t, string(text), "```kusto\n"+queryText(t, name)+"```\n", name)
		if alert, is := strings.CutPrefix(name, "alert-"); is {
			require.Contains(t, string(text), "\n### "+alert+"\n")
		}
	}
}
