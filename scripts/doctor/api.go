package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"itemsapi/handler/config"
	"itemsapi/scripts/doctor/sender"
	"itemsapi/scripts/internal/loopback"
	"itemsapi/scripts/internal/report"
)

// foreignOrigin is nobody's: the name is reserved (RFC 2606).
const foreignOrigin = "https://doctor.invalid"

// apiURL is where the API is, without /api.
func apiURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, errors.New("-url expects the API's address, such as http://localhost:7071")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("-url expects only the API's address, without a user, ? and #")
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimSuffix(path, "/"+config.Collection)
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(path, "/api")}, nil
}

// callAPI calls a running API as its clients do.
func (d *doctor) callAPI(ctx context.Context, base *url.URL, token, origin string) {
	items := base.String() + config.CollectionPath
	const bare = "API without a token"
	a, err := call(ctx, http.MethodGet, items, nil)
	if err != nil {
		fix := "Check the address."
		if loopback.Is(base.Host) {
			fix = "Start it: go run ./scripts/dev, or func start."
		}
		d.Fail(bare, fmt.Sprintf("GET %s: %s.", items, trouble(err)), fix)
		for _, name := range []string{"API with the token", "preflight"} {
			d.Skip(name, "the API cannot be reached")
		}
		return
	}
	s := sender.Of(a.status, a.header, a.body)
	switch {
	case !s.Ours:
		d.Fail(bare, fmt.Sprintf("GET %s: %s, and not by the API: %s", items, a.said(), s.Who), s.Fix)
	case a.status == http.StatusUnauthorized && (s.Problem.Code == "auth.missing" || s.Problem.Code == ""):
		d.OK(bare, "401 by the API itself, as it should be")
	case a.status == http.StatusOK:
		d.Fail(bare, "200: it lets callers in without a token.",
			"This is not how this API answers. Look for a gateway that adds a token, or another program at this "+
				"address.")
	case strings.HasPrefix(s.Problem.Code, "auth.") || strings.HasPrefix(s.Problem.Code, "token."):
		d.problem(bare, a, s, "Something on the way puts credentials of its own into the request. ")
	default:
		d.problem(bare, a, s, "")
	}

	d.callWithToken(ctx, base, items, token)
	d.checkPreflights(ctx, items, origin)
}

func (d *doctor) callWithToken(ctx context.Context, base *url.URL, items, token string) {
	const name = "API with the token"
	switch {
	case token == "":
		d.Skip(name, "no -token")
		return
	case strings.ContainsFunc(token, func(r rune) bool { return r < '!' || r > '~' }):
		d.Skip(name, "the token has characters that no header takes")
		return
	case base.Scheme == "http" && !loopback.Is(base.Host):
		d.Fail(name, "It was not sent: -url is http to another machine, where anyone on the way could read it.",
			"Use https.")
		return
	}
	a, err := call(ctx, http.MethodGet, items, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		d.Fail(name, fmt.Sprintf("GET %s: %s.", items, trouble(err)), "Try again; without a token it answered.")
		return
	}
	s := sender.Of(a.status, a.header, a.body)
	switch {
	case !s.Ours:
		d.Fail(name, fmt.Sprintf("GET %s: %s, and not by the API: %s", items, a.said(), s.Who), s.Fix)
	case a.status == http.StatusOK && d.tokenFailed():
		d.Warn(name, "200: the running API accepts what the settings here refuse.",
			"It has other settings. Compare its app settings with those here.")
	case a.status == http.StatusOK:
		d.OK(name, "200, a page of %d items", s.Items)
	default:
		hint := ""
		if a.status == http.StatusUnauthorized && !d.tokenFailed() {
			hint = "By the settings here the token is right, so the running API has other settings, or something on " +
				"the way replaces the header. "
		}
		d.problem(name, a, s, hint)
	}
}

// tokenFailed says whether examine found something wrong.
func (d *doctor) tokenFailed() bool {
	for _, c := range d.Checks() {
		if strings.HasPrefix(c.Name, "token") && c.Status != report.StatusOK {
			return true
		}
	}
	return false
}

// problem reports what the API itself answered.
func (d *doctor) problem(name string, a answer, s sender.Sender, hint string) {
	detail, fix := s.Problem.Detail, s.Problem.Fix
	if detail == "" {
		detail = s.Problem.Title
	}
	if fix == "" && a.status == http.StatusUnauthorized {
		fix = "The API explains more with AUTH_EXPLAIN=full, and this doctor with -token."
	} else if fix == "" {
		fix = "The API's log has the cause under " + report.Cut(s.Problem.Instance) + "."
	}
	d.Add(report.Check{Name: name, Status: report.StatusFail, Code: report.Cut(s.Problem.Code), Detail: a.said() +
		" by the API itself. " +
		hint + report.CutTo(600, d.Clean(detail)), Fix: report.CutTo(600, d.Clean(fix))})
}

func (d *doctor) checkPreflights(ctx context.Context, items, origin string) {
	var origins []string
	switch {
	case origin != "":
		origins = []string{origin}
	case d.local.err == nil && d.local.Host.CORS != nil && *d.local.Host.CORS != "":
		origins = strings.Split(*d.local.Host.CORS, ",")
	default:
		d.Skip("preflight", "no origins in Host.CORS of local.settings.json, and no -origin")
	}
	preflight := func(origin string) (answer, error) {
		return call(ctx, http.MethodOptions, items, http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"GET"},
			"Access-Control-Request-Headers": {"authorization"},
		})
	}
	every := false
	for _, o := range origins {
		o = strings.TrimSpace(o)
		name := "preflight of " + report.Cut(o)
		if o == "*" {
			every = true
			continue
		}
		a, err := preflight(o)
		if err != nil {
			d.Fail(name, trouble(err)+".", "Check the address.")
			continue
		}
		allowed := a.header.Get("Access-Control-Allow-Origin")
		fix := "Add " + report.Cut(o) +
			", without a slash at its end, to Host.CORS of local.settings.json; in Azure to the " +
			"app's own. Portal: (the function app) > API > CORS."
		switch {
		case a.status/100 == 2 && (allowed == o || allowed == "*") && allowsHeader(a.header, "authorization"):
			d.OK(name, "allowed")
		case a.status/100 == 2 && (allowed == o || allowed == "*"):
			d.Fail(name, "The origin is allowed, the header Authorization is not.",
				"The Functions host allows every header; find what answers in its place: a gateway's CORS policy.")
		case a.status/100 == 2:
			d.Fail(name, "The origin is not allowed, so the browser shows a CORS error and hides the API's answer.",
				fix)
		case a.status == http.StatusNotFound:
			d.Fail(name, "404: no CORS is set up at all.", fix)
		default:
			d.Fail(name, a.said()+": the preflight has no token, and something in front of the API asks for one, or "+
				"fails.", "Let OPTIONS through: CORS must be answered before authentication. Switch App Service "+
				"authentication off, or give the gateway a CORS policy.")
		}
	}

	const name = "preflight of a foreign page"
	a, err := preflight(foreignOrigin)
	switch allowed := a.header.Get("Access-Control-Allow-Origin"); {
	case err != nil:
		d.Fail(name, trouble(err)+".", "Check the address.")
	case allowed == foreignOrigin:
		d.Fail(name, "The API allows whatever origin asks.",
			"List the origins of the pages that call it; something echoes the Origin header.")
	case allowed == "*" && strings.EqualFold(a.header.Get("Access-Control-Allow-Credentials"), "true"):
		d.Fail(name, "It allows * with credentials, which no browser accepts.",
			"List the origins, and switch credentials off.")
	case allowed == "*" && !every:
		d.Warn(name, "Every origin is allowed (*).", "List the origins of the pages that call the API.")
	case allowed == "*":
		d.OK(name, "allowed, as Host.CORS is *")
	default:
		d.OK(name, "not allowed")
	}
}

func allowsHeader(h http.Header, name string) bool {
	for allowed := range strings.SplitSeq(strings.Join(h.Values("Access-Control-Allow-Headers"), ","), ",") {
		if strings.EqualFold(strings.TrimSpace(allowed), name) { // * does not stand for Authorization
			return true
		}
	}
	return false
}
