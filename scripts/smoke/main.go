// Command smoke calls an API that was just deployed, as its clients will, and says
// whether it works: who answers, how it refuses, whether pages may call it, and how
// long it takes. It changes nothing but an item of its own, and only with a token.
// For causes that lie in the settings or the tenant there is scripts/doctor.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"itemsapi/handler/config"
	"itemsapi/handler/items/itemstest"
	"itemsapi/scripts/doctor/sender"
	"itemsapi/scripts/internal/loopback"
	"itemsapi/scripts/internal/report"
)

const usage = `Usage: go run ./scripts/smoke -url URL [flags]

Calls a deployed API as its clients will: without a token (401, by the API
itself), across origins, and, with a token, creates, reads and deletes one
item. Says who answered, and how long it took. Exit code 1 if something is not
as it should be.

The token is taken from -token or, so that it stays out of the shell's history,
from the environment variable SMOKE_TOKEN.

Flags:
`

// foreignOrigin is nobody's: the name is reserved (RFC 2606).
const foreignOrigin = "https://smoke.invalid"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "smoke:", err)
		os.Exit(1)
	}
}

// smoke is one run.
type smoke struct {
	*report.Report
	base string // without /api
}

func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) error {
	f := flag.NewFlagSet("smoke", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprint(f.Output(), usage)
		f.PrintDefaults()
	}
	address := f.String("url", "", "the API's `address`, such as https://NAME.azurewebsites.net")
	token := f.String("token", getenv("SMOKE_TOKEN"), "an access `token` with both scopes; default SMOKE_TOKEN")
	f.Lookup("token").DefValue = ""
	origins := f.String("origin", "", "`origins` that the API's CORS must allow, with commas between them, such as\n"+
		"https://app.contoso.com")
	wait := f.Duration("wait", 2*time.Minute, "how long the first answer may take: roles and a new instance\ntake a "+
		"while")
	if err := f.Parse(args); err != nil {
		return err
	}
	u, err := url.Parse(*address)
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; see -h", f.Arg(0))
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "":
		return errors.New("-url expects the API's address, such as https://NAME.azurewebsites.net")
	case *token != "" && u.Scheme == "http" && !loopback.Is(u.Host):
		return errors.New("a token is not sent over http to another machine; use https")
	}
	s := &smoke{report.New(out, false), u.Scheme + "://" + u.Host +
		strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/api")}
	s.Hide(*token)
	fmt.Fprintf(out, "%s\n\n", s.base)
	if s.withoutToken(ctx, *wait) {
		s.crossOrigin(ctx, *origins)
		s.withToken(ctx, *token)
		s.warm(ctx)
	}
	if s.Finish() != 0 {
		return errors.New("not all is as it should be")
	}
	return nil
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

var client = &http.Client{
	Timeout:       60 * time.Second, // a cold start
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (s *smoke) call(ctx context.Context, method, path, body string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return answer{resp.StatusCode, resp.Header, bytes.TrimSpace(b), time.Since(start)}, err
}

// refused reports an answer that should have been another.
func (s *smoke) refused(name string, a answer, fix string) {
	who := sender.Of(a.status, a.header, string(a.body))
	if !who.Ours {
		s.Fail(name, fmt.Sprintf("%d, and not by the API: %s", a.status, who.Who), who.Fix)
		return
	}
	if who.Problem.Fix != "" {
		fix = who.Problem.Fix
	}
	detail := strings.TrimSpace(fmt.Sprintf("%d %s %s", a.status, who.Problem.Code, who.Problem.Detail))
	for _, e := range who.Problem.Errors {
		detail += fmt.Sprintf(" %s: %s.", e.Pointer, e.Detail)
	}
	if who.Problem.Instance != "" {
		fix += " The API's log has more under the instance " + who.Problem.Instance + "."
	}
	s.Fail(name, detail, fix)
}

// withoutToken waits for the first answer, which must be our own 401. Until wait is
// over, what a platform says while an app starts is not a fault yet.
func (s *smoke) withoutToken(ctx context.Context, wait time.Duration) bool {
	const name = "without a token"
	deadline := time.Now().Add(wait)
	for {
		s.Doing(fmt.Sprintf("Waiting for the first answer of %s, for at most %v …", s.base, wait))
		a, err := s.call(ctx, http.MethodGet, config.CollectionPath, "")
		starting := err != nil || a.status == http.StatusNotFound || a.status >= http.StatusInternalServerError
		if starting && ctx.Err() == nil && time.Now().Before(deadline) {
			select {
			case <-ctx.Done():
			case <-time.After(min(2*time.Second, time.Until(deadline))):
			}
			continue
		}
		switch {
		case err != nil:
			s.Fail(name, "no answer: "+err.Error(),
				"Check the address: azd env get-value SERVICE_API_URI. Portal: (the function app) > Overview says "+
					"whether it runs.")
			return false
		case a.status != http.StatusUnauthorized || !sender.Of(a.status, a.header, string(a.body)).Ours:
			if a.status == http.StatusOK && sender.Of(a.status, a.header, string(a.body)).Ours {
				s.Fail(name, "200: it lets callers in without a token.",
					"Look for another program at this address, or a gateway that adds a token.")
				return false
			}
			s.refused(name, a, "Call it without a token again, by curl, and compare.")
			return false
		}
		s.OK(name, "401 by the API itself, first answer after %s", round(a.took))
		if challenge := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(challenge,
			`Bearer realm="`+config.Realm+`"`) {
			s.Fail("challenge", fmt.Sprintf("WWW-Authenticate is %q", challenge),
				"Something on the way changes headers; call the app's own address.")
		}
		return true
	}
}

func (s *smoke) crossOrigin(ctx context.Context, origins string) {
	preflight := func(origin string) (string, error) {
		a, err := s.call(ctx, http.MethodOptions, config.CollectionPath, "", "Origin", origin,
			"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
		return a.header.Get("Access-Control-Allow-Origin"), err
	}
	if strings.Trim(origins, ", ") == "" {
		s.Skip("a page of yours", "no -origin")
	}
	for origin := range strings.SplitSeq(origins, ",") {
		if origin = strings.TrimSpace(origin); origin == "" {
			continue
		}
		if allowed, err := preflight(origin); err != nil || allowed != origin {
			s.Fail("a page of yours", origin+" may not call.",
				"Add it, without a slash at its end: azd env set API_CORS_ORIGINS "+
					""+origin+", then azd provision. Portal: (the function app) > API > CORS.")
			continue
		}
		s.OK("a page of yours", "%s may call", origin)
	}
	switch allowed, err := preflight(foreignOrigin); {
	case err != nil:
		s.Fail("a foreign page", err.Error(), "Try again.")
	case allowed != "":
		s.Fail("a foreign page", "may call, as may any: "+allowed,
			"List the origins of your own pages. Portal: (the function app) > API > CORS.")
	default:
		s.OK("a foreign page", "may not call")
	}
}

// withToken makes an item, reads it, and deletes it again.
func (s *smoke) withToken(ctx context.Context, token string) {
	const name = "with a token"
	if token == "" {
		s.Skip(name, "no -token, no SMOKE_TOKEN; go run ./scripts/run-now -open gets one")
		return
	}
	bearer := []string{"Authorization", "Bearer " + token}
	key := rand.Text()
	var item struct{ ID, ETag string }
	of := func() string { return config.CollectionPath + "/" + item.ID }
	collection := func() string { return config.CollectionPath }
	for _, step := range []struct {
		name, method string
		path         func() string
		body         string
		header       func() []string
		want         int
		fix          string
	}{
		{
			"list", http.MethodGet, func() string { return config.CollectionPath + "?limit=1" }, "", nil, http.StatusOK,
			"go run ./scripts/doctor -token - explains the token.",
		},
		{
			"create", http.MethodPost, collection, itemstest.Text("smoke test"),
			func() []string { return []string{"Idempotency-Key", key} }, http.StatusCreated,
			"Where the content is at fault: the deployed handler has another handler/items than this folder; deploy " +
				"again.",
		},
		{"read", http.MethodGet, of, "", nil, http.StatusOK, "Run this again."},
		{
			"delete", http.MethodDelete, of, "", func() []string {
				return []string{
					"If-Match",
					item.ETag,
				}
			}, http.StatusOK,
			"Run this again.",
		},
	} {
		s.Doing(step.name + " …")
		headers := bearer
		if step.header != nil {
			headers = append(slices.Clip(headers), step.header()...)
		}
		a, err := s.call(ctx, step.method, step.path(), step.body, headers...)
		if err != nil {
			s.Fail(step.name, err.Error(), "Try again; without a token it answered.")
			return
		}
		if a.status != step.want {
			s.refused(step.name, a, step.fix)
			return
		}
		if step.name == "create" {
			if err := json.Unmarshal(a.body, &item); err != nil || item.ID == "" {
				s.Fail(step.name, "the answer is not an item", "go run ./scripts/doctor -url "+s.base)
				return
			}
		}
		s.OK(step.name, "%d after %s", a.status, round(a.took))
	}
}

// warm measures what a caller waits when all is warm.
func (s *smoke) warm(ctx context.Context) {
	var best time.Duration
	for range 5 {
		a, err := s.call(ctx, http.MethodGet, config.CollectionPath, "")
		if err != nil {
			s.Fail("warm", err.Error(), "Try again.")
			return
		}
		if best == 0 || a.took < best {
			best = a.took
		}
	}
	s.OK("warm", "a refusal takes %s, the way there and back included", round(best))
}

func round(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}
