// Package sender tells who gave an answer at the API's address: the API, the
// Functions host, or one of the many things that can stand before them.
package sender

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
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
// nobody has recorded are not guessed at: then it names the likely senders.
func Of(status int, header http.Header, text string) Sender {
	contentType, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	contentType = strings.ToLower(strings.TrimSpace(contentType))
	challenge := header.Get("WWW-Authenticate")
	var s Sender
	if contentType == "application/problem+json" && json.Unmarshal([]byte(text), &s.Problem) == nil &&
		strings.HasPrefix(s.Problem.Type, "urn:"+config.Realm+":") ||
		strings.Contains(challenge, `realm="`+config.Realm+`"`) {
		s.Ours = true
		return s
	}
	var list struct {
		Value *[]json.RawMessage `json:"value"`
	}
	if status == http.StatusOK && contentType == "application/json" && json.Unmarshal([]byte(text), &list) == nil &&
		list.Value != nil {
		return Sender{Ours: true, Items: len(*list.Value)}
	}
	who, fix := other(status, header, text, contentType, challenge)
	return Sender{Who: who, Fix: fix}
}

func other(status int, header http.Header, text, contentType, challenge string) (who, fix string) {
	var body struct {
		Code       json.RawMessage `json:"code"`
		StatusCode int             `json:"statusCode"`
		Message    string          `json:"message"`
	}
	isJSON := json.Unmarshal([]byte(text), &body) == nil
	empty := strings.TrimSpace(text) == ""
	unauthorized := status == http.StatusUnauthorized || status == http.StatusForbidden
	location := header.Get("Location")
	target, _ := url.Parse(location)
	const easyAuth = "Switch App Service authentication off (Portal: (the function app) > Settings > " +
		"Authentication): the handler checks the tokens itself."
	const noCode = "If it is the host, its log says what happened to the handler: wrong settings, or a crash (go run " +
		"./scripts/doctor in the app's folder)."

	switch {
	case isJSON && body.StatusCode != 0 && body.Message != "":
		fix = "Fix its validate-jwt policy (audience: B2C_API_CLIENT_ID; openid-config: the policy's metadata URL), " +
			"or let it pass tokens on unread."
		if strings.Contains(strings.ToLower(body.Message), "subscription") {
			fix = "Send Ocp-Apim-Subscription-Key, or switch the product's subscription requirement off."
		}
		return "API Management in front of it says " + quote(body.Message), fix
	case isJSON && string(body.Code) == fmt.Sprint(status) && body.Message != "":
		return "Static Web Apps says " + quote(body.Message) +
				" It puts a token of its own in place of the caller's.", "Call the API at its own address instead of " +
				"linking it to the Static Web App."
	case status/100 == 3 && target != nil && (strings.HasPrefix(target.Path, "/.auth/login") ||
		strings.HasSuffix(target.Path, "/authorize")):
		return "App Service authentication (EasyAuth) or another sign-in in front of it redirects to a sign-in " +
			"page.", easyAuth
	case status/100 == 3:
		return "something in front of it redirects to " +
			quote(hostOf(location)), "Use the final address; clients do not send the token along on redirects."
	case unauthorized && strings.HasPrefix(challenge, "Bearer") &&
		(strings.Contains(challenge, "authorization_uri=") || header.Get("X-Ms-Middleware-Request-Id") != ""):
		return "App Service authentication (EasyAuth), by the look of its challenge.", easyAuth
	case unauthorized && strings.HasPrefix(challenge, "Bearer") && empty:
		return "ASP.NET's JwtBearer, by the look of its challenge (" + quote(challenge) +
				") and its empty body: another program, or a gateway built on it.", "Check that the address is this " +
				"API's, and what stands before it."
	case unauthorized && challenge != "" && strings.HasPrefix(strings.TrimSpace(text), "Unauthorized"):
		return "a Node API with passport, by the look of its body.", "Check that the address is this API's."
	case status == http.StatusUnauthorized && empty:
		return "the Functions host that wants a function key, or App Service authentication (EasyAuth): both answer " +
				"401 with an empty body.",
			"Set authLevel to anonymous in every function.json and deploy again (go run ./scripts/doctor checks " +
				"them). " + easyAuth
	case status == http.StatusForbidden && (empty || strings.Contains(contentType, "html")):
		return "likely senders are the platform (the app is stopped, or its access restrictions keep this machine " +
				"out), App Service authentication, or a web application firewall.",
			"Portal: (the function app) > Overview says whether it runs, > Networking who may reach it."
	case status == http.StatusNotFound && empty:
		return "the Functions host, which has no function for GET " + config.CollectionPath + ".",
			"Compare the address, extensions.http.routePrefix of host.json, and the routes of " + config.Collection +
				"-read/function.json; a deployment may have failed."
	case status == http.StatusServiceUnavailable && strings.Contains(text, "Function host is not running"):
		return "the Functions host, which is not running.", "Portal: (the function app) > Diagnose and solve " +
			"problems; its log stream says why it stops."
	case status == http.StatusInternalServerError && empty:
		return "the Functions host, which could not reach the handler, or read its answer.", noCode
	case header.Get("X-Azure-Ref") != "":
		return "Azure Front Door (X-Azure-Ref).",
			"Check its origin, route and firewall policy, or call the app's own address."
	case header.Get("Cf-Ray") != "" || strings.EqualFold(header.Get("Server"), "cloudflare"):
		return "Cloudflare.", "Check its rules, or call the app's own address."
	case status >= 500:
		return "likely senders are a gateway or content delivery network that does not reach the app, the platform " +
			"while the app starts, or the Functions " +
			"host.", "Call the app's own address (https://NAME.azurewebsites.net). " + noCode
	case strings.Contains(contentType, "html"):
		return "a web page: a single-page app's server that answers every path, a sign-in page, or a platform's " +
			"page.", "Check the address: the API's is the function app's, not the page's."
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
