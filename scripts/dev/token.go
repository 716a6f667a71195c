package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const tokenUsage = `Usage: go run ./scripts/dev token [-family NAME] [-user NAME] [-scope LIST]
                                    [-policy NAME] [-client ID]
       go run ./scripts/dev token -application [-family NAME] [-scope LIST]
       go run ./scripts/dev token -broken CODE [-curl]

Prints an access token of the sign-in stand-in, which must be running:

  curl -H "Authorization: Bearer $(go run ./scripts/dev token)" \
    http://localhost:7071/api/items

With -application, that of a program which signed in as itself, the tenant's
daemon. The API admits it by its app roles: B2C's always, the other families'
with APPLICATIONS=accept in the environment of go run ./scripts/dev.

With -broken, one that the API refuses with that code. With -curl as well, the
arguments that make curl cause it, quoted for a POSIX shell, or on Windows for
PowerShell:

  a=$(go run ./scripts/dev token -broken auth.scheme -curl)
  eval "curl $a http://localhost:7071/api/items"

  $a = go run ./scripts/dev token -broken auth.scheme -curl
  iex "curl.exe $a http://localhost:7071/api/items"

The stand-in is the one at the origin of B2C_AUTHORITY, else http://localhost:9911.

Flags:
`

// runToken asks the running stand-in for a token.
func runToken(ctx context.Context, args []string) error {
	f := newFlags("token", tokenUsage)
	family := f.String("family", "b2c", "whose token: b2c, external or entra")
	user := f.String("user", "alice", "alice or bob; for the other families carol, too, a guest")
	application := f.Bool("application", false, "a program's own token, without a user")
	scope := f.String("scope", "read,write", "comma list of scopes, or of a program's app roles")
	policy := f.String("policy", "", "policy of B2C that issues it (default B2C_1_signupsignin)")
	client := f.String("client", "", "application ID of the client (default the tenant's test client)")
	broken := f.String("broken", "", "refusal `code` that the token is to cause")
	curl := f.Bool("curl", false, "with -broken: print curl's arguments instead")
	if err := parse(f, args); err != nil {
		return err
	}
	if *curl && *broken == "" {
		return errors.New("-curl goes with -broken CODE")
	}
	named := map[string]bool{}
	f.Visit(func(f *flag.Flag) { named[f.Name] = true })
	if *application && (named["user"] || named["broken"]) {
		return errors.New("-application goes with neither -user nor -broken: no user is behind a program")
	}
	if *broken == "" {
		q := url.Values{
			"family": {*family},
			"user":   {*user},
			"scope":  {*scope},
			"policy": {*policy},
			"client": {*client},
		}
		if *application {
			q.Set("application", "true")
			q.Del("user")
		}
		token, err := askStandIn(ctx, "/dev/token", q)
		if err != nil {
			return err
		}
		fmt.Println(token)
		return nil
	}

	answer, err := askStandIn(ctx, "/dev/broken", url.Values{"code": {*broken}})
	if err != nil {
		return err
	}
	var b struct {
		Token, Query, Untrusted string
		Applications            bool
		Curl                    []string
	}
	if err := json.Unmarshal([]byte(answer), &b); err != nil {
		return fmt.Errorf("read the stand-in's answer: %w", err)
	}
	if b.Untrusted != "" {
		fmt.Fprintf(
			os.Stderr,
			"dev: only an API that does not trust the family %s answers %s; the local world's trusts all three\n",
			b.Untrusted,
			*broken,
		)
	}
	if b.Applications {
		fmt.Fprintf(os.Stderr, "dev: only an API that admits programs answers %s; the local world's does with "+
			"APPLICATIONS=accept in the environment of go run ./scripts/dev\n", *broken)
	}
	switch {
	case *curl:
		arguments := b.Curl
		if b.Query != "" {
			arguments = append(arguments, "-G", "-d", b.Query)
		}
		for i, a := range arguments {
			arguments[i] = thisShell().word(a)
		}
		fmt.Println(strings.Join(arguments, " "))
	case b.Token == "":
		return fmt.Errorf(
			"no token alone causes %s; -curl prints what does: go run ./scripts/dev token -broken %s -curl",
			*broken,
			*broken,
		)
	default:
		fmt.Println(b.Token)
	}
	return nil
}

// askStandIn asks for what only a stand-in gives.
func askStandIn(ctx context.Context, path string, q url.Values) (string, error) {
	origin := "http://localhost:9911"
	if authority := os.Getenv("B2C_AUTHORITY"); authority != "" {
		u, err := url.Parse(authority)
		if err != nil || u.Host == "" {
			return "", fmt.Errorf("B2C_AUTHORITY is not a URL: %q", authority)
		}
		origin = u.Scheme + "://" + u.Host
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, origin+path+"?"+q.Encode(), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf(
			"no sign-in stand-in answers at %s: start one with go run ./scripts/dev, or run this inside go run "+
				"./scripts/dev exec",
			origin,
		)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("read the stand-in's answer: %w", err)
	}
	answer := strings.TrimSpace(string(body))
	switch resp.StatusCode {
	case http.StatusOK:
		return answer, nil
	case http.StatusBadRequest:
		return "", errors.New(answer)
	default:
		return "", fmt.Errorf("what answers at %s is no sign-in stand-in: %s", origin, resp.Status)
	}
}
