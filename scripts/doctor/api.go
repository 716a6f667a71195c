package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"itemsapi/handler/b2c"
)

// foreignOrigin is nobody's: the name is reserved (RFC 2606).
const foreignOrigin = "https://doctor.invalid"

// apiURL is where the API is, without /api.
func apiURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
		return nil, errors.New("-url wants the API's address, such as http://localhost:7071")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("-url wants the API's address alone, without a user, ? and #")
	}
	path := strings.TrimRight(u.Path, "/")
	path = strings.TrimSuffix(path, "/items")
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: strings.TrimSuffix(path, "/api")}, nil
}

// callAPI calls a running API as its clients do.
func (d *doctor) callAPI(ctx context.Context, base *url.URL, token, origin string) {
	items := base.String() + "/api/items"
	const bare = "API without a token"
	a, err := call(ctx, http.MethodGet, items, nil)
	if err != nil {
		fix := "Check the address."
		if isLoopback(base.Host) {
			fix = "Start it: go run ./scripts/dev, or func start."
		}
		d.fail(bare, fmt.Sprintf("GET %s: %s.", items, trouble(err)), fix)
		for _, name := range []string{"API with the token", "preflight"} {
			d.skip(name, "the API cannot be reached")
		}
		return
	}
	s := whoAnswered(a)
	switch {
	case !s.ours:
		d.fail(bare, fmt.Sprintf("GET %s: %s, and not by the API: %s", items, a.said(), s.who), s.fix)
	case a.status == http.StatusUnauthorized && (s.problem.Code == "auth.missing" || s.problem.Code == ""):
		d.ok(bare, "401 by the API itself, as it should be")
	case a.status == http.StatusOK:
		d.fail(bare, "200: it lets callers in without a token.", "This is not how this API answers. Look for a gateway that adds a token, or another program at this address.")
	case strings.HasPrefix(s.problem.Code, "auth.") || strings.HasPrefix(s.problem.Code, "token."):
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
		d.skip(name, "no -token")
		return
	case strings.ContainsFunc(token, func(r rune) bool { return r < '!' || r > '~' }):
		d.skip(name, "the token has characters that no header takes")
		return
	case base.Scheme == "http" && !isLoopback(base.Host):
		d.fail(name, "It was not sent: -url is http to another machine, where everybody on the way could read it.", "Use https.")
		return
	}
	a, err := call(ctx, http.MethodGet, items, http.Header{"Authorization": {"Bearer " + token}})
	if err != nil {
		d.fail(name, fmt.Sprintf("GET %s: %s.", items, trouble(err)), "Try again; without a token it answered.")
		return
	}
	s := whoAnswered(a)
	switch {
	case !s.ours:
		d.fail(name, fmt.Sprintf("GET %s: %s, and not by the API: %s", items, a.said(), s.who), s.fix)
	case a.status == http.StatusOK && d.tokenFailed():
		d.warn(name, "200: the running API accepts what the settings here refuse.", "It has other settings. Compare its app settings with those here.")
	case a.status == http.StatusOK:
		d.ok(name, "200, a page of %d items", s.items)
	default:
		hint := ""
		if a.status == http.StatusUnauthorized && !d.tokenFailed() {
			hint = "By the settings here the token is right, so the running API has other settings, or something on the way replaces the header. "
		}
		d.problem(name, a, s, hint)
	}
}

// tokenFailed says whether examine found something wrong.
func (d *doctor) tokenFailed() bool {
	for _, c := range d.checks {
		if strings.HasPrefix(c.Name, "token") && c.Status != statusOK {
			return true
		}
	}
	return false
}

// problem reports what the API itself answered.
func (d *doctor) problem(name string, a answer, s sender, hint string) {
	detail, fix := s.problem.Detail, s.problem.Fix
	if detail == "" {
		detail = s.problem.Title
	}
	if fix == "" && a.status == http.StatusUnauthorized {
		fix = "The API explains more with AUTH_EXPLAIN=full, and this doctor with -token."
	} else if fix == "" {
		fix = "The API's log has the cause under " + cut(s.problem.Instance) + "."
	}
	d.add(check{Name: name, Status: statusFail, Code: cut(s.problem.Code), Detail: a.said() + " by the API itself. " + hint + cutTo(600, detail), Fix: cutTo(600, fix)})
}

func (d *doctor) checkPreflights(ctx context.Context, items, origin string) {
	var origins []string
	switch {
	case origin != "":
		origins = []string{origin}
	case d.local.err == nil && d.local.Host.CORS != nil && *d.local.Host.CORS != "":
		origins = strings.Split(*d.local.Host.CORS, ",")
	default:
		d.skip("preflight", "no origins in Host.CORS of local.settings.json, and no -origin")
	}
	preflight := func(origin string) (answer, error) {
		return call(ctx, http.MethodOptions, items, http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"GET"}, "Access-Control-Request-Headers": {"authorization"},
		})
	}
	every := false
	for _, o := range origins {
		o = strings.TrimSpace(o)
		name := "preflight of " + cut(o)
		if o == "*" {
			every = true
			continue
		}
		a, err := preflight(o)
		if err != nil {
			d.fail(name, trouble(err)+".", "Check the address.")
			continue
		}
		allowed := a.header.Get("Access-Control-Allow-Origin")
		fix := "Add " + cut(o) + ", without a slash at its end, to Host.CORS of local.settings.json; in Azure to the app's own. Portal: (the function app) > API > CORS."
		switch {
		case a.status/100 == 2 && (allowed == o || allowed == "*") && allowsHeader(a.header, "authorization"):
			d.ok(name, "allowed")
		case a.status/100 == 2 && (allowed == o || allowed == "*"):
			d.fail(name, "The origin is allowed, the header Authorization is not.", "The Functions host allows every header; find what answers in its place: a gateway's CORS policy.")
		case a.status/100 == 2:
			d.fail(name, "The origin is not allowed, so the browser shows a CORS error and hides the API's answer.", fix)
		case a.status == http.StatusNotFound:
			d.fail(name, "404: no CORS is set up at all.", fix)
		default:
			d.fail(name, a.said()+": the preflight has no token, and something in front of the API asks for one, or fails.", "Let OPTIONS through: CORS must be answered before authentication. Switch App Service authentication off, or give the gateway a CORS policy.")
		}
	}

	const name = "preflight of a foreign page"
	a, err := preflight(foreignOrigin)
	switch allowed := a.header.Get("Access-Control-Allow-Origin"); {
	case err != nil:
		d.fail(name, trouble(err)+".", "Check the address.")
	case allowed == foreignOrigin:
		d.fail(name, "The API allows whatever origin asks.", "List the origins of the pages that call it; something echoes the Origin header.")
	case allowed == "*" && strings.EqualFold(a.header.Get("Access-Control-Allow-Credentials"), "true"):
		d.fail(name, "It allows * with credentials, which no browser takes.", "List the origins, and switch credentials off.")
	case allowed == "*" && !every:
		d.warn(name, "Every origin is allowed (*).", "List the origins of the pages that call the API.")
	case allowed == "*":
		d.ok(name, "allowed, as Host.CORS is *")
	default:
		d.ok(name, "not allowed")
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

// problemDocument is what of RFC 9457's is shown.
type problemDocument struct {
	Type, Title, Code, Detail, Fix, Instance string
}

// sender is who gave an answer.
type sender struct {
	ours    bool
	who     string // a sentence, if it was somebody else
	fix     string
	problem problemDocument // ours
	items   int             // ours
}

// whoAnswered tells the API's answers from those of whatever stands before it.
// Bodies that nobody has recorded are not guessed at: then it names the likely
// senders.
func whoAnswered(a answer) sender {
	contentType, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	contentType = strings.ToLower(strings.TrimSpace(contentType))
	challenge := a.header.Get("WWW-Authenticate")
	var s sender
	if contentType == "application/problem+json" && json.Unmarshal([]byte(a.body), &s.problem) == nil && strings.HasPrefix(s.problem.Type, "urn:itemsapi:") ||
		strings.Contains(challenge, `realm="`+b2c.Realm+`"`) {
		s.ours = true
		return s
	}
	var list struct {
		Value *[]json.RawMessage `json:"value"`
	}
	if a.status == http.StatusOK && contentType == "application/json" && json.Unmarshal([]byte(a.body), &list) == nil && list.Value != nil {
		return sender{ours: true, items: len(*list.Value)}
	}
	who, fix := otherSender(a, contentType, challenge)
	return sender{who: who, fix: fix}
}

func otherSender(a answer, contentType, challenge string) (who, fix string) {
	var body struct {
		Code       json.RawMessage `json:"code"`
		StatusCode int             `json:"statusCode"`
		Message    string          `json:"message"`
	}
	isJSON := json.Unmarshal([]byte(a.body), &body) == nil
	empty := strings.TrimSpace(a.body) == ""
	unauthorized := a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
	location := a.header.Get("Location")
	target, _ := url.Parse(location)
	const easyAuth = "Switch App Service authentication off (Portal: (the function app) > Settings > Authentication): the handler checks the tokens itself."
	const noCode = "If it is the host, its log says what happened to the handler: wrong settings, or a crash (go run ./scripts/doctor in the app's folder)."

	switch {
	case isJSON && body.StatusCode != 0 && body.Message != "":
		fix = "Mend its validate-jwt policy (audience: B2C_API_CLIENT_ID; openid-config: the policy's metadata URL), or let it pass tokens on unread."
		if strings.Contains(strings.ToLower(body.Message), "subscription") {
			fix = "Send Ocp-Apim-Subscription-Key, or switch the product's subscription requirement off."
		}
		return "API Management in front of it says " + quote(body.Message), fix
	case isJSON && string(body.Code) == fmt.Sprint(a.status) && body.Message != "":
		return "Static Web Apps says " + quote(body.Message) + " It puts a token of its own in place of the caller's.", "Call the API at its own address instead of linking it to the Static Web App."
	case a.status/100 == 3 && target != nil && (strings.HasPrefix(target.Path, "/.auth/login") || strings.HasSuffix(target.Path, "/authorize")):
		return "App Service authentication (EasyAuth) or another sign-in in front of it redirects to a sign-in page.", easyAuth
	case a.status/100 == 3:
		return "something in front of it redirects to " + quote(hostOf(location)), "Use the final address; clients do not send the token along on redirects."
	case unauthorized && strings.HasPrefix(challenge, "Bearer") && (strings.Contains(challenge, "authorization_uri=") || a.header.Get("X-Ms-Middleware-Request-Id") != ""):
		return "App Service authentication (EasyAuth), by the look of its challenge.", easyAuth
	case unauthorized && strings.HasPrefix(challenge, "Bearer") && empty:
		return "ASP.NET's JwtBearer, by the look of its challenge (" + quote(challenge) + ") and its empty body: another program, or a gateway built on it.", "Check that the address is this API's, and what stands before it."
	case unauthorized && challenge != "" && strings.HasPrefix(strings.TrimSpace(a.body), "Unauthorized"):
		return "a Node API with passport, by the look of its body.", "Check that the address is this API's."
	case a.status == http.StatusUnauthorized && empty:
		return "the Functions host that wants a function key, or App Service authentication (EasyAuth): both answer 401 with an empty body.",
			"Set authLevel to anonymous in every function.json and deploy again (go run ./scripts/doctor checks them). " + easyAuth
	case a.status == http.StatusForbidden && (empty || strings.Contains(contentType, "html")):
		return "likely senders are the platform (the app is stopped, or its access restrictions keep this machine out), App Service authentication, or a web application firewall.",
			"Portal: (the function app) > Overview says whether it runs, > Networking who may reach it."
	case a.status == http.StatusNotFound && empty:
		return "the Functions host, which has no function for GET /api/items.", "Compare the address, extensions.http.routePrefix of host.json, and the routes of items-read/function.json; a deployment may have failed."
	case a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "Function host is not running"):
		return "the Functions host, which is not running.", "Portal: (the function app) > Diagnose and solve problems; its log stream says why it stops."
	case a.status == http.StatusInternalServerError && empty:
		return "the Functions host, which could not reach the handler, or read its answer.", noCode
	case a.header.Get("X-Azure-Ref") != "":
		return "Azure Front Door (X-Azure-Ref).", "Check its origin, route and firewall policy, or call the app's own address."
	case a.header.Get("Cf-Ray") != "" || strings.EqualFold(a.header.Get("Server"), "cloudflare"):
		return "Cloudflare.", "Check its rules, or call the app's own address."
	case a.status >= 500:
		return "likely senders are a gateway or content delivery network that does not reach the app, the platform while the app starts, or the Functions host.", "Call the app's own address (https://NAME.azurewebsites.net). " + noCode
	case strings.Contains(contentType, "html"):
		return "a web page: a single-page app's server that answers every path, a sign-in page, or a platform's page.", "Check the address: the API's is the function app's, not the page's."
	}
	return "the answer has none of the API's marks.", "Check that the address is this API's. Likely senders are another program, a gateway or a proxy."
}

func quote(s string) string { return fmt.Sprintf("%q", cut(s)) }
