// Package sender tells who gave an answer at the API's address: the API, the
// Functions host, or one of the many things that can stand before them.
package sender

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"itemsapi/handler/config"
)

// Problem is what of a problem document (RFC 9457) is shown.
type Problem struct {
	Type, Title, Code, Detail, Fix, Instance string
	Errors                                   []struct{ Pointer, Detail string }
}

// Sender is who gave an answer.
type Sender struct {
	// Ours says that it was the API.
	Ours bool
	// Who is a sentence about who else it was, and Fix what to do about it.
	Who, Fix string
	// Problem is the API's, if it refused.
	Problem Problem
	// Items is how many there are in the API's list, if it sent one.
	Items int
}

// Of tells the API's answers from those of whatever stands before it. Bodies that
// nobody has recorded are not guessed at: then it names the likely senders. Status is 0 for
// a body that somebody pasted alone.
func Of(status int, header http.Header, text string) Sender {
	contentType, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	a := answer{
		status: status, header: header, text: text, contentType: strings.ToLower(strings.TrimSpace(contentType)),
		challenge: header.Get("WWW-Authenticate"), empty: strings.TrimSpace(text) == "",
	}
	var s Sender
	if a.contentType == "application/problem+json" && json.Unmarshal([]byte(text), &s.Problem) == nil &&
		strings.HasPrefix(s.Problem.Type, "urn:"+config.Realm+":") ||
		strings.Contains(a.challenge, `realm="`+config.Realm+`"`) {
		s.Ours = true
		return s
	}
	var list struct {
		Value *[]json.RawMessage `json:"value"`
	}
	if status == http.StatusOK && a.contentType == "application/json" && json.Unmarshal([]byte(text), &list) == nil &&
		list.Value != nil {
		return Sender{Ours: true, Items: len(*list.Value)}
	}
	for _, tell := range []func(answer) (who, fix string){gateway, platform, sign, likely} {
		if s.Who, s.Fix = tell(a); s.Who != "" {
			break
		}
	}
	return s
}

// answer is what there is to tell by.
type answer struct {
	status      int
	header      http.Header
	text        string
	contentType string
	challenge   string
	empty       bool
}

func (a answer) says(sentences ...string) bool {
	text := strings.ToLower(a.text)
	return slices.ContainsFunc(sentences, func(s string) bool { return strings.Contains(text, strings.ToLower(s)) })
}

const (
	easyAuth = "Switch App Service authentication off (Portal: (the function app) > Settings > Authentication): the " +
		"handler checks the tokens itself."
	noCode = "If it is the host, its log says what happened to the handler: wrong settings, or a crash (go run " +
		"./scripts/doctor in the app's folder)."
	overview = "Portal: (the function app) > Overview"
)

// gateway tells API Management, by status, and Static Web Apps, by what they say of themselves.
func gateway(a answer) (who, fix string) {
	var body struct {
		Code       json.RawMessage `json:"code"`
		StatusCode int             `json:"statusCode"`
		Message    string          `json:"message"`
		ActivityID string          `json:"activityId"`
	}
	if json.Unmarshal([]byte(a.text), &body) != nil || body.Message == "" {
		return "", ""
	}
	if body.StatusCode == 0 {
		if string(body.Code) != fmt.Sprint(a.status) {
			return "", ""
		}
		return "Static Web Apps says " + quote(body.Message) + " It puts a token of its own in place of the caller's.",
			"Call the API at its own address instead of linking it to the Static Web App."
	}
	who = "API Management in front of it says " + quote(body.Message)
	says := func(word string) bool { return strings.Contains(strings.ToLower(body.Message), word) }
	switch {
	case says("subscription"):
		fix = "Send Ocp-Apim-Subscription-Key, or switch the product's subscription requirement off."
	case says("quota"):
		fix = "Wait until the quota is renewed, or raise the limit of its policy (quota, quota-by-key) or product."
	case body.StatusCode == http.StatusTooManyRequests, says("rate limit"):
		fix = "Wait as long as it says, or raise the limit of its policy (rate-limit, rate-limit-by-key)."
	case body.StatusCode == http.StatusUnauthorized:
		fix = "Correct its validate-jwt policy (audience: B2C_API_CLIENT_ID; openid-config: the policy's metadata " +
			"URL; validate-azure-ad-token does not take External ID), or let it pass tokens on unread."
	case body.StatusCode == http.StatusForbidden:
		fix = "Look for what forbids in its policies: ip-filter, or claims that validate-jwt requires."
	case body.StatusCode == http.StatusNotFound:
		fix = "It has no operation for this method and path: compare the URL suffix of its API and the operations " +
			"with " +
			config.CollectionPath + "."
	default:
		fix = "Its trace or log says which step failed: a policy, the openid-config address that it cannot read, or " +
			"the backend that does not answer."
		if body.ActivityID != "" {
			fix += " The activity ID is " + quote(body.ActivityID) + "."
		}
	}
	return who, fix
}

// platform tells Azure's own pages, and App Service authentication.
func platform(a answer) (who, fix string) {
	target, _ := url.Parse(a.header.Get("Location"))
	unauthorized := a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
	switch {
	case a.status/100 == 3 && target != nil && (strings.HasPrefix(target.Path, "/.auth/login") ||
		strings.HasSuffix(target.Path, "/authorize")):
		return "App Service authentication (EasyAuth) or another sign-in in front of it redirects to a sign-in page.",
			easyAuth
	case unauthorized && strings.HasPrefix(a.challenge, "Bearer") &&
		(strings.Contains(a.challenge, "authorization_uri=") || a.header.Get("X-Ms-Middleware-Request-Id") != ""):
		return "App Service authentication (EasyAuth), by the look of its challenge.", easyAuth
	case a.says("web app is stopped", "Web App - Unavailable"):
		return "Azure: the app is stopped.", overview + " > Start. A stopped app may also be over its quota."
	case a.says("has blocked your access"), a.header.Get("X-Ms-Forbidden-Ip") != "":
		return "Azure: the app's access restrictions keep this machine out.",
			"Portal: (the function app) > Settings > Networking > Public network access: add this machine's " +
				"address, or call it from the network that may."
	case a.says("You do not have permission to view this directory or page"):
		return "App Service authentication (EasyAuth), by its sentence: there is no token, or it is not one that it " +
			"admits (its issuer, audiences, or \"only from this application itself\").", easyAuth
	case a.says("Request Too Long", "Request Header Or Cookie Too Large", "size of the request headers is too long"),
		a.status == http.StatusRequestHeaderFieldsTooLarge:
		return "the platform in front of the Functions host: the request's headers are too long, most often by a " +
				"token with many groups or claims, or by cookies.",
			"Make the token smaller: fewer claims in the policy, groups as roles. Delete the cookies of the API's " +
				"host; the API uses none."
	case a.says("Function host is not running"):
		return "the Functions host, which is not running.",
			"Portal: (the function app) > Diagnose and solve problems; its log stream says why it stops."
	case a.says("404 Web Site not found"):
		return "Azure: no app has this name.", "Check the address: the app's own is at " + overview + " > Default " +
			"domain."
	case a.says("<title>Application Error", ":( Application Error"):
		return "Azure: the app did not start.", "Portal: (the function app) > Log stream says why."
	case a.says("Your Functions app is up and running", "Your Azure Function App is up and running"):
		return "the Functions host's own page: the path is not one of the API's.",
			"Call it with its path: the API is at " + config.CollectionPath + "."
	}
	return "", ""
}

// sign tells other programs by their marks.
func sign(a answer) (who, fix string) {
	unauthorized := a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
	switch {
	case a.status/100 == 3:
		return "something in front of it redirects to " + quote(hostOf(a.header.Get("Location"))),
			"Use the final address; clients do not send the token along on redirects."
	case unauthorized && strings.HasPrefix(a.challenge, "Bearer") && a.empty:
		return "ASP.NET's JwtBearer, by the look of its challenge (" + quote(a.challenge) +
				") and its empty body: another program, or a gateway built on it.",
			"Check that the address is this API's, and what stands before it."
	case unauthorized && a.challenge != "" && strings.HasPrefix(strings.TrimSpace(a.text), "Unauthorized"):
		return "a Node API with passport, by the look of its body.", "Check that the address is this API's."
	case a.header.Get("X-Azure-Ref") != "":
		return "Azure Front Door (X-Azure-Ref).",
			"Check its origin, route and firewall policy, or call the app's own address."
	case a.header.Get("Cf-Ray") != "" || strings.EqualFold(a.header.Get("Server"), "cloudflare"):
		return "Cloudflare.", "Check its rules, or call the app's own address."
	}
	return "", ""
}

// likely goes by the status alone.
func likely(a answer) (who, fix string) {
	switch {
	case a.status == http.StatusUnauthorized && a.empty:
		return "the Functions host that wants a function key, or App Service authentication (EasyAuth): both answer " +
				"401 with an empty body.",
			"Set authLevel to anonymous in every function.json and deploy again (go run ./scripts/doctor checks " +
				"them). " + easyAuth
	case a.status == http.StatusForbidden && (a.empty || strings.Contains(a.contentType, "html")):
		return "likely senders are the platform (the app is stopped, or its access restrictions keep this machine " +
				"out), App Service authentication, or a web application firewall.",
			overview + " says whether it runs, > Networking who may reach it."
	case a.status == http.StatusNotFound && a.empty:
		return "the Functions host, which has no function for GET " + config.CollectionPath + ".",
			"Compare the address, extensions.http.routePrefix of host.json, and the routes of " + config.Collection +
				"-read/function.json; a deployment may have failed."
	case a.status == http.StatusInternalServerError && a.empty:
		return "the Functions host, which could not reach the handler, or read its answer.", noCode
	case a.status >= http.StatusInternalServerError:
		return "likely senders are a gateway or content delivery network that does not reach the app, the platform " +
				"while the app starts, or the Functions host.",
			"Call the app's own address (https://NAME.azurewebsites.net). " + noCode
	case strings.Contains(a.contentType, "html"):
		return "a web page: a single-page app's server that answers every path, a sign-in page, or a platform's page.",
			"Check the address: the API's is the function app's, not the page's."
	}
	return "the answer has none of the API's marks.", "Check that the address is this API's. Likely senders are " +
		"another program, a gateway or a proxy."
}

func quote(s string) string {
	const most = 160
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}
