package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// TestImporter: a program of another module protects a route with package entra, and
// refuses as this API does.
func TestImporter(t *testing.T) {
	tenant := startTenant(t)
	url := "http://" + startNotes(t, tenant) + "/notes"

	status, _, body := send(t, "GET", url, tenant.Token("bob", "read"), "")
	require.Equal(t, 200, status, body)
	require.Equal(t, "the notes of "+entratest.Users()[1].ObjectID+"\n", body)

	// Answers say more once the metadata of all families was read.
	for _, family := range []entratest.Family{entratest.External, entratest.Workforce} {
		token, err := tenant.AccessToken(entratest.TokenRequest{Family: family})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			status, _, _ := send(t, "GET", url, token, "")
			return status == 200
		}, 20*time.Second, 10*time.Millisecond)
	}

	// What this API answers is recorded. It also names its settings, in brackets.
	var recorded []struct {
		Code, Challenge, RetryAfter, Title, Detail, Fix string
		Status                                          int
		Verified                                        bool
		Expected, Actual                                map[string]any
		Also                                            []string
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "handler/server/testdata/refusals.json")), &recorded))
	require.Greater(t, len(recorded), 30)
	settings := regexp.MustCompile(` \((APPLICATIONS|(B2C|EXTERNAL|ENTRA)_[A-Z_, B2C]+)\)`)
	times := regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|\d+h\d+m\d+s|\d+m\d+s`)
	for _, want := range recorded {
		broken, err := tenant.Broken(want.Code)
		require.NoError(t, err)
		if broken.Untrusted != "" || broken.Applications {
			continue // the program trusts all families, and admits no programs
		}
		if broken.NeedsFault {
			status, _, body := send(t, "GET", url, tokenOf(t, tenant, entratest.PolicyROPC), "")
			require.Equal(t, 200, status, body)
			defer tenant.Inject(broken.Fault)()
		}
		header, body := sendBroken(t, url, broken)
		// What is new each time.
		body = strings.ReplaceAll(body, strings.TrimPrefix(tenant.URL(), "http://"), "localhost:9911")
		body = times.ReplaceAllString(body, "{time}")
		var got struct {
			Type, Title, Code, Detail, Fix string
			Status                         int
			Verified                       bool
			Expected, Actual               map[string]any
			Also                           []string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &got), body)
		for _, name := range []string{"kid", "exp", "nbf", "iat"} {
			if _, ok := got.Actual[name]; ok {
				got.Actual[name] = "{" + name + "}"
			}
		}
		require.Equal(t, "urn:notes:problem:"+want.Code, got.Type)
		require.Equal(t, want.Code, got.Code)
		require.Equal(t, want.Status, got.Status)
		require.Equal(t, want.Title, got.Title)
		require.Equal(t, want.Detail, got.Detail)
		require.Equal(t, settings.ReplaceAllString(want.Fix, ""), got.Fix)
		require.Equal(t, want.Verified, got.Verified)
		require.Equal(t, want.Expected, got.Expected)
		require.Equal(t, want.Actual, got.Actual)
		require.Equal(t, want.Also, got.Also)
		require.Equal(
			t,
			strings.Replace(want.Challenge, `realm="itemsapi"`, `realm="notes"`, 1),
			header.Get("WWW-Authenticate"),
		)
		require.Equal(t, want.RetryAfter, header.Get("Retry-After"))
	}
}

func tokenOf(t *testing.T, tenant *entratest.Server, policy string) string {
	token, err := tenant.AccessToken(entratest.TokenRequest{Policy: policy})
	require.NoError(t, err)
	return token
}

// sendBroken sends what curl would with the arguments of b.
func sendBroken(t *testing.T, url string, b entratest.Broken) (http.Header, string) {
	if b.Query != "" {
		url += "?" + b.Query
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	for i, arg := range b.Curl {
		if arg == "-H" {
			name, value, _ := strings.Cut(b.Curl[i+1], ":")
			if value = strings.TrimSpace(value); value != "" {
				req.Header.Add(name, value)
			}
		}
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var body strings.Builder
	_, err = bufio.NewReader(resp.Body).WriteTo(&body)
	require.NoError(t, err)
	return resp.Header, body.String()
}

// startNotes builds the program, with nothing but what is in the module cache, and runs
// it until the test ends.
func startNotes(t *testing.T, tenant *entratest.Server) (address string) {
	dir := t.TempDir()
	source := filepath.Join("entra", "testdata", "notes")
	for name, from := range map[string]string{
		"go.mod": filepath.Join(source, "go.mod"), "go.sum": filepath.Join(module, "go.sum"),
	} {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	program := filepath.Join(dir, "notes.exe") // Windows wants the ending, others do not mind
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-trimpath", "-mod=mod",
		"-modfile", filepath.Join(dir, "go.mod"), "-o", program, ".")
	build.Dir = source
	build.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	run := exec.CommandContext(t.Context(), program)
	run.Env = append(os.Environ(), "METADATA_URL="+tenant.MetadataTemplate(), "TENANT_METADATA_URL="+tenant.MetadataTemplateOf(entratest.External))
	stdout, err := run.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, run.Start())
	line := make(chan string, 1)
	go func() {
		s := bufio.NewScanner(stdout)
		s.Scan()
		line <- s.Text()
	}()
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait()
	})
	select {
	case address = <-line:
		require.NotEmpty(t, address, "the program has ended")
	case <-time.After(20 * time.Second):
		require.Fail(t, "the program does not listen")
	}
	return address
}
