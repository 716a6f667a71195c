package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// What the Functions host logs for a request (4.1037, as seen on a running one), by category
// and level, and what it takes from the handler.
var hostLines = []struct{ category, level string }{
	{"Host.Results", "Information"},             // a record in requests
	{"Function.items-read", "Information"},      // Executing …
	{"Function.items-read", "Information"},      // Executed …
	{"Function.items-read.User", "Information"}, // of the invocation
	{"Host.Aggregator", "Information"},          // once in a while
	{"Host.Function.Console", "Information"},    // a line of the handler's stdout
	{"Microsoft.AspNetCore.Hosting", "Information"},
}

// TestWhatApplicationInsightsKeeps: with the levels of host.json a request, admitted or
// refused, is one record of the host's and the handler's one line, of the length that
// docs/operate.md counts with. Nothing is sampled away.
func TestWhatApplicationInsightsKeeps(t *testing.T) {
	var host struct {
		Logging struct {
			LogLevel            map[string]string
			ApplicationInsights struct{ SamplingSettings struct{ IsEnabled *bool } }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "host.json")), &host))
	require.NotNil(t, host.Logging.ApplicationInsights.SamplingSettings.IsEnabled)
	require.False(t, *host.Logging.ApplicationInsights.SamplingSettings.IsEnabled)
	rank := map[string]int{"Trace": 0, "Debug": 1, "Information": 2, "Warning": 3, "Error": 4}
	var kept []string
	for _, line := range hostLines {
		least, longest := host.Logging.LogLevel["default"], 0
		for category, level := range host.Logging.LogLevel {
			if strings.HasPrefix(line.category, category) && len(category) > longest {
				least, longest = level, len(category)
			}
		}
		require.Contains(t, rank, least)
		if rank[line.level] >= rank[least] {
			kept = append(kept, line.category)
		}
	}
	require.Equal(t, []string{"Host.Results", "Host.Function.Console"}, kept)

	tenant := startTenant(t)
	p := startProgram(t, settings(tenant, startStorage(t).ConnectionString()))
	token, err := tenant.AccessToken(entratest.TokenRequest{})
	require.NoError(t, err)
	p.settle(t, token)
	swapped, err := tenant.Broken("aud.is_client")
	require.NoError(t, err)
	for _, call := range []struct {
		path, token string
		status      int
	}{
		{"/api/items/delta", token, 200},
		{"/api/items/delta", swapped.Token, 401},
		{"/api/openapi.json", "", 200}, // its line comes after theirs
	} {
		status, _, _ := send(t, "GET", p.url+call.path, call.token, "")
		require.Equal(t, call.status, status)
	}
	require.Eventually(t, func() bool { return strings.Contains(p.output.String(), `"route":"/api/openapi.json"`) },
		10*time.Second, time.Millisecond)
	var lengths []int
	for line := range strings.Lines(p.output.String()) {
		if strings.Contains(line, `"route":"/api/items/delta"`) {
			lengths = append(lengths, len(line))
		}
	}
	require.Len(t, lengths, 2, "one line each")
	for _, n := range lengths {
		require.LessOrEqual(t, n, 500)
	}
	t.Logf("bytes: admitted %d, refused %d", lengths[0], lengths[1])
}
