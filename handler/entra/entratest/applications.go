package entratest

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"itemsapi/handler/loopbacktest"
)

// application is a registered client.
type application struct {
	dir         *directory
	id, name    string
	principal   string              // object ID of a program that signs in as itself
	permissions []string            // scopes of the API, for a program its app roles, that it was granted
	redirects   map[string]platform // fixed redirect URIs
	native      bool                // loopback and private-use redirect URIs too
	implicit    bool                // "Access tokens" and "ID tokens" under Authentication are ticked
	password    bool                // may use the password grant
}

// platform is what a redirect URI is registered as. It decides how a code sent
// there is redeemed.
type platform string

const (
	spa    platform = "spa"    // with an Origin header and PKCE
	native platform = "native" // without one, with PKCE
	web    platform = "web"    // with a client secret; nobody here has one
)

// publishedScopes are the API's.
var publishedScopes = []string{"read", "write", "user_impersonation"}

// appRoles are the API's, for programs that sign in as themselves.
var appRoles = []string{"read", "write"}

func findPublished(scope string) bool { return slices.Contains(publishedScopes, scope) }

// spaPages are the redirect URIs of single-page apps.
func spaPages(origins []string) map[string]platform {
	pages := map[string]platform{}
	for _, origin := range append([]string{"http://localhost:9912", "http://127.0.0.1:9912"}, origins...) {
		pages[origin+"/"], pages[origin+"/redirect.html"] = spa, spa
	}
	return pages
}

// testRedirects are the redirect URIs of the client that Run now uses.
func testRedirects(pages map[string]platform) map[string]platform {
	test := map[string]platform{"https://jwt.ms/": web}
	maps.Copy(test, pages)
	return test
}

// findApplication finds an application by its ID.
func (d *directory) findApplication(id string) (*application, *failure) {
	if id == "" {
		return nil, fail("AADB2C90008")
	}
	var clients []string
	for _, a := range d.applications {
		if strings.EqualFold(id, a.id) {
			return a, nil
		}
		if a.id != d.apiID {
			clients = append(clients, a.name+", "+a.id)
		}
	}
	return nil, fail("AADB2C90018", id, d.domain).
		withHint("The clients of this tenant are %s.", strings.Join(clients, ", and "))
}

// findClient finds a client by ID or name, for callers who are people. No name means
// the tenant's client application.
func (d *directory) findClient(idOrName string) (*application, error) {
	if idOrName == "" {
		return d.client(), nil
	}
	var clients []string
	for _, a := range d.applications {
		if a.id == d.apiID {
			continue
		}
		if strings.EqualFold(idOrName, a.id) || strings.EqualFold(idOrName, a.name) {
			return a, nil
		}
		clients = append(clients, fmt.Sprintf("%s (%s)", a.name, a.id))
	}
	return nil, fmt.Errorf("no client %q; there are %s", short(idOrName), strings.Join(clients, " and "))
}

// redirectPlatform checks a redirect URI. It must equal a registered one byte
// for byte, but for an empty path, which equals "/". Native ones are any port of
// a loopback address (RFC 8252, 7.3), the forms that MSAL and AppAuth make of an
// app's package or bundle, the pages of Microsoft's own that desktop apps end at,
// Expo Go's and Capacitor's addresses, and any scheme that is a reversed domain
// name (RFC 8252, 7.1).
func (a *application) redirectPlatform(uri string) (platform, *failure) {
	if len(a.redirects) == 0 && !a.native {
		return "", fail("AADB2C90007", a.id).
			withHint("client_id is the ID of the client, %s: %s.", a.dir.client().name, a.dir.client().id)
	}
	if uri == "" {
		return "", fail("AADB2C90083", "redirect_uri")
	}
	for _, c := range []byte(uri) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '<' || c == '>' || c == '\\' {
			return "", fail("AADB2C90287", fmt.Sprintf("%+q", uri))
		}
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" || strings.Contains(uri, "#") || u.User != nil {
		return "", fail("AADB2C90287", fmt.Sprintf("%+q", uri))
	}
	if p, ok := a.redirects[withSlash(uri, u)]; ok {
		return p, nil
	}
	_, ofSPA := a.redirects[u.Scheme+"://"+u.Host+"/"]
	if a.native && !ofSPA && a.isNativeRedirect(uri, u) {
		return native, nil
	}
	return "", fail("AADB2C90006", uri, a.id)
}

func withSlash(uri string, u *url.URL) string {
	if u.Host != "" && u.Path == "" && u.RawQuery == "" && !u.ForceQuery {
		return uri + "/"
	}
	return uri
}

// nativeClients are pages that show nothing: a desktop app reads the address of the
// browser that it embeds.
func (a *application) nativeClients() []string {
	pages := []string{"https://login.microsoftonline.com/common/oauth2/nativeclient"}
	if a.dir.family == B2C {
		pages = append(pages, "https://"+a.dir.name+".b2clogin.com/oauth2/nativeclient")
	}
	return pages
}

func (a *application) isNativeRedirect(uri string, u *url.URL) bool {
	// url.Parse lower-cases the scheme, and the comparison is of bytes.
	scheme, _, _ := strings.Cut(uri, ":")
	switch {
	case scheme == "http":
		return loopbacktest.IsLoopback(u.Host)
	case scheme == "https":
		return slices.Contains(a.nativeClients(), uri)
	case scheme == "exp": // Expo Go, whose address is that of the development server
		return u.Host != ""
	case scheme == "capacitor":
		return u.Host == "localhost"
	case scheme == "msauth":
		return u.Host != "" && len(u.Path) > 1
	case strings.HasPrefix(scheme, "msauth."):
		return uri == scheme+"://auth" || uri == scheme+"://auth/"
	case scheme == "msal"+a.id:
		return uri == scheme+"://auth"
	}
	return strings.Contains(scheme, ".")
}

// registered lists the redirect URIs for people.
func (a *application) registered() []string {
	var list []string
	for uri, p := range a.redirects {
		list = append(list, fmt.Sprintf("%s (%s)", uri, p))
	}
	slices.Sort(list)
	if a.native {
		list = append(list, "http://127.0.0.1:PORT/… and http://localhost:PORT/… (native)",
			"msauth://PACKAGE/SIGNATURE, msauth.BUNDLE://auth, msal"+a.id+"://auth, com.example.app:/… (native)",
			"exp://HOST:PORT/--/… and capacitor://localhost/… (native)",
			strings.Join(a.nativeClients(), " and ")+" (native)")
	}
	return list
}

// scopeRequest is a scope parameter, understood.
type scopeRequest struct {
	text     string
	openid   bool
	offline  bool
	api      []string // short names of the API's scopes, in the order asked for
	profile  bool     // who the user is; what it does is for Entra's tenants alone
	clientID bool     // the client's own ID: an access token for itself
}

func (q scopeRequest) resource() bool { return q.clientID || len(q.api) > 0 }

func parseScopes(a *application, text string) (scopeRequest, *failure) {
	q := scopeRequest{text: text}
	asked := strings.Fields(text)
	if len(asked) == 0 {
		return q, fail("AADB2C90010")
	}
	for _, c := range text {
		if c == '"' || c == '\\' || c < ' ' || c > '~' {
			return q, fail("AADB2C99005", c)
		}
	}
	resources := map[string]bool{}
	var unsupported *failure
	for _, scope := range asked {
		short, ofAPI := strings.CutPrefix(scope, a.dir.appIDURI+"/")
		switch {
		case scope == "openid":
			q.openid = true
		case scope == "offline_access":
			q.offline = true
		case scope == "profile":
			q.profile = true
		case scope == "email":
		case strings.EqualFold(scope, a.id):
			q.clientID = true
			resources[a.id] = true
		case ofAPI && findPublished(short):
			if !slices.Contains(q.api, short) {
				q.api = append(q.api, short)
			}
			resources[a.dir.appIDURI] = true
		default:
			if unsupported == nil {
				unsupported = fail("AADB2C90117", scope)
			}
			if i := strings.LastIndex(scope, "/"); i > 0 {
				resources[scope[:i]] = true
			}
		}
	}
	if len(resources) > 1 {
		return q, fail("AADB2C90146", text)
	}
	return q, unsupported
}

// grant is the part of the request that the client has permission for and the
// user did not decline.
func (q scopeRequest) grant(a *application, declined []string) (scopes []string, err *failure) {
	for _, scope := range q.api {
		if slices.Contains(a.permissions, scope) && !slices.Contains(declined, scope) {
			scopes = append(scopes, scope)
		}
	}
	if len(q.api) > 0 && len(scopes) == 0 {
		return nil, fail("AADB2C90205")
	}
	return scopes, nil
}

// granted spells what was granted in the response's scope member, in the words
// of the request: clients look their tokens up by it.
func (q scopeRequest) granted(a *application, scopes []string) string {
	var list []string
	for _, scope := range strings.Fields(q.text) {
		if short, ofAPI := strings.CutPrefix(scope, a.dir.appIDURI+"/"); ofAPI && !slices.Contains(scopes, short) {
			continue
		}
		if !slices.Contains(list, scope) {
			list = append(list, scope)
		}
	}
	return strings.Join(list, " ")
}
