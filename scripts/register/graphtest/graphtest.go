// Package graphtest is the part of Microsoft Graph v1.0 that registering
// applications takes, as an HTTP server on loopback: it replaces arrays instead of
// merging them, wants scopes and app roles disabled before they change, and those of one
// value to be one thing, forgets for a while what it has just made, and now and then is
// too busy. For tests.
package graphtest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// Token is the only one that it takes.
const Token = "graph-token"

// GraphAppID is Microsoft Graph's own application.
const GraphAppID = "00000003-0000-0000-c000-000000000000"

type object = map[string]any

// Server is a tenant's directory. Set fields before the first request.
type Server struct {
	// Delay is how many requests it takes until what was made is known everywhere.
	Delay int
	// BusyEvery has every so many-th request answered with 429; 0 for none.
	BusyEvery int

	http   *httptest.Server
	mu     sync.Mutex
	domain string
	n      int
	denyAt int // from this request on everything is 403; 0 for never
	writes []string

	collections map[string][]object
	born        map[string]int // ID → request
}

// Start starts the directory of the tenant with that initial domain.
func Start(domain string) *Server {
	s := &Server{domain: domain, collections: map[string][]object{}, born: map[string]int{}}
	s.Add("servicePrincipals", object{"id": uuid.NewString(), "appId": GraphAppID})
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	return s
}

// Close stops it, and URL is its base with /v1.0.
func (s *Server) Close() { s.http.Close() }

// URL is described at Close.
func (s *Server) URL() string { return s.http.URL + "/v1.0" }

// Add puts an object into a collection, as if it had always been there.
func (s *Server) Add(collection string, o object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.collections[collection] = append(s.collections[collection], o)
}

// All are copies of a collection's objects.
func (s *Server) All(collection string) []object {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, _ := json.Marshal(s.collections[collection])
	var all []object
	_ = json.Unmarshal(text, &all)
	return all
}

// Writes are the requests that changed something, and forgets them.
func (s *Server) Writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.writes
	s.writes = nil
	return w
}

// DenyFrom has the n-th request from now, and all after it, refused for good. 0 ends
// that.
func (s *Server) DenyFrom(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.denyAt = 0
	if n > 0 {
		s.denyAt = s.n + n
	}
}

var (
	byUniqueName = regexp.MustCompile(`^/v1\.0/applications\(uniqueName='([^']+)'\)$`)
	byID         = regexp.MustCompile(`^/v1\.0/(applications|oauth2PermissionGrants)/([^/]+)$`)
	byFlow       = regexp.MustCompile(
		`^/v1\.0/identity/authenticationEventsFlows/([^/]+)/conditions/applications/includeApplications$`)
	ofApplication = regexp.MustCompile(`^microsoft\.graph\.externalUsersSelfServiceSignUpEventsFlow/conditions/` +
		`applications/includeApplications/any\(appId:appId/appId eq '([^']+)'\)$`)
	filters = regexp.MustCompile(`^(?:(displayName|appId|clientId) eq '((?:[^']|'')*)'|` +
		`identifierUris/any\(u:u eq '((?:[^']|'')*)'\))$`)
)

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	w.Header().Set("Content-Type", "application/json")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+Token:
		fail(w, 401, "InvalidAuthenticationToken", "Access token is empty or invalid.")
	case s.denyAt > 0 && s.n >= s.denyAt:
		fail(w, 403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
	case s.BusyEvery > 0 && s.n%s.BusyEvery == 0:
		w.Header().Set("Retry-After", "0")
		fail(w, 429, "TooManyRequests", "Too many requests.")
	default:
		body := object{}
		text, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil || len(text) > 0 && json.Unmarshal(text, &body) != nil {
			fail(w, 400, "BadRequest", "Unable to read JSON request payload.")
			return
		}
		s.answer(w, r, body)
	}
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, body object) {
	path := strings.TrimPrefix(r.URL.Path, "/v1.0/")
	unique, id := byUniqueName.FindStringSubmatch(r.URL.Path), byID.FindStringSubmatch(r.URL.Path)
	switch {
	case r.Method == http.MethodGet && path == "organization":
		domains := []object{{"name": s.domain, "isInitial": true}}
		reply(w, 200, object{"value": []object{{"id": "t", "verifiedDomains": domains}}})
	case r.Method == http.MethodGet && (path == "applications" || path == "servicePrincipals" ||
		path == "oauth2PermissionGrants"):
		s.list(w, path, r.URL.Query())
	case r.Method == http.MethodGet && path == flows:
		s.listFlows(w, r.URL.Query())
	case r.Method == http.MethodPost && byFlow.MatchString(r.URL.Path):
		s.link(w, r, byFlow.FindStringSubmatch(r.URL.Path)[1], body)
	case unique != nil && r.Method == http.MethodGet:
		if o := s.find("applications", "uniqueName", unique[1], true); o != nil {
			reply(w, 200, o)
			return
		}
		fail(w, 404, "Request_ResourceNotFound", "Resource '"+unique[1]+"' does not exist.")
	case unique != nil && r.Method == http.MethodPatch:
		s.upsert(w, r, unique[1], body)
	case id != nil && r.Method == http.MethodPatch:
		o := s.find(id[1], "id", id[2], true)
		if o == nil {
			fail(w, 404, "Request_ResourceNotFound", "Resource '"+id[2]+"' does not exist.")
			return
		}
		s.change(w, r, o, body)
	case r.Method == http.MethodPost && path == "servicePrincipals":
		switch app := fmt.Sprint(body["appId"]); {
		case s.find("applications", "appId", app, true) == nil:
			fail(w, 400, "Request_BadRequest", "The appId '"+app+"' of the service principal does not reference a "+
				"valid application object. NoBackingApplicationObject")
		case s.find("servicePrincipals", "appId", app, false) != nil:
			fail(w, 409, "Request_MultipleObjectsWithSameKeyValue", "The service principal exists already.")
		default:
			s.make(w, r, path, body)
		}
	case r.Method == http.MethodPost && path == "oauth2PermissionGrants":
		for _, side := range []string{"clientId", "resourceId"} {
			if s.find("servicePrincipals", "id", fmt.Sprint(body[side]), true) == nil {
				fail(w, 400, "Request_BadRequest", side+" does not exist")
				return
			}
		}
		for _, g := range s.collections[path] {
			if g["clientId"] == body["clientId"] && g["resourceId"] == body["resourceId"] &&
				g["consentType"] == body["consentType"] {
				fail(w, 409, "Request_MultipleObjectsWithSameKeyValue", "Permission entry already exists.")
				return
			}
		}
		s.make(w, r, path, body)
	default:
		fail(w, 404, "BadRequest", "graphtest knows no "+r.Method+" "+r.URL.Path)
	}
}

func (s *Server) wrote(r *http.Request) { s.writes = append(s.writes, r.Method+" "+r.URL.Path) }

func (s *Server) make(w http.ResponseWriter, r *http.Request, collection string, o object) {
	s.wrote(r)
	o["id"] = uuid.NewString()
	s.born[o["id"].(string)] = s.n
	s.collections[collection] = append(s.collections[collection], o)
	reply(w, 201, o)
}

// change is PATCH of what is there.
func (s *Server) change(w http.ResponseWriter, r *http.Request, o, body object) {
	if refused := checkScopes(o, body); refused != "" {
		fail(w, 400, "CannotDeleteOrUpdateEnabledEntitlement", refused)
		return
	}
	next := object{}
	text, _ := json.Marshal(o)
	_ = json.Unmarshal(text, &next)
	merge(next, body)
	if refused := s.checkApplication(next); refused != "" {
		fail(w, 400, "Request_BadRequest", refused)
		return
	}
	s.wrote(r)
	merge(o, body)
	w.WriteHeader(204)
}

// checkApplication refuses what an application cannot be: an App ID URI of a form that one
// directory does not take, or a scope and an app role of one value that are two things.
func (s *Server) checkApplication(o object) string {
	uris, _ := o["identifierUris"].([]any)
	for _, uri := range uris {
		own := uri == "api://"+fmt.Sprint(o["appId"]) || strings.HasPrefix(fmt.Sprint(uri), "https://"+s.domain+"/")
		if !own && o["signInAudience"] == "AzureADMyOrg" {
			return fmt.Sprint("Failed to add identifier URI ", uri, ". All newly added URIs must contain a tenant "+
				"verified domain, tenant ID, or app ID.")
		}
	}
	api, _ := o["api"].(object)
	scopes, _ := api["oauth2PermissionScopes"].([]any)
	roles, _ := o["appRoles"].([]any)
	for _, a := range scopes {
		for _, b := range roles {
			scope, role := a.(object), b.(object)
			switch sameID := scope["id"] == role["id"]; {
			case !sameID && scope["value"] == role["value"]:
				return "It contains duplicate value."
			case sameID && (scope["value"] != role["value"] || scope["isEnabled"] != role["isEnabled"] ||
				scope["adminConsentDisplayName"] != role["displayName"] ||
				scope["adminConsentDescription"] != role["description"]):
				return fmt.Sprint("The following values must match for the 'oauth2Permissions' and 'appRoles' "+
					"properties with identifier ", scope["id"])
			}
		}
	}
	return ""
}

const flows = "identity/authenticationEventsFlows"

// AddFlow adds a user flow of an external tenant, with the applications of these IDs.
func (s *Server) AddFlow(id, name string, applications ...string) {
	linked := []any{}
	for _, a := range applications {
		linked = append(linked, a)
	}
	s.Add(flows, object{"id": id, "displayName": name, "linked": linked})
}

// Linked are the application IDs of a user flow.
func (s *Server) Linked(flow string) []any {
	for _, f := range s.All(flows) {
		if f["id"] == flow {
			return f["linked"].([]any)
		}
	}
	return nil
}

func (s *Server) listFlows(w http.ResponseWriter, query url.Values) {
	filter := ofApplication.FindStringSubmatch(query.Get("$filter"))
	if filter == nil && query.Has("$filter") {
		fail(w, 400, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause.")
		return
	}
	found := []object{}
	for _, f := range s.collections[flows] {
		if filter == nil || slices.Contains(f["linked"].([]any), any(filter[1])) {
			found = append(found, object{"id": f["id"], "displayName": f["displayName"]})
		}
	}
	reply(w, 200, object{"value": found})
}

// link puts an application into a flow; it may be in one alone.
func (s *Server) link(w http.ResponseWriter, r *http.Request, flow string, body object) {
	app := fmt.Sprint(body["appId"])
	f := s.find(flows, "id", flow, false)
	switch {
	case f == nil:
		fail(w, 404, "Request_ResourceNotFound", "Resource '"+flow+"' does not exist.")
	case body["@odata.type"] != "#microsoft.graph.authenticationConditionApplication":
		fail(w, 400, "BadRequest", "The type of the application is missing.")
	case s.find("applications", "appId", app, true) == nil:
		fail(w, 404, "Request_ResourceNotFound", "Resource '"+app+"' does not exist.")
	case slices.ContainsFunc(s.collections[flows], func(f object) bool {
		return slices.Contains(f["linked"].([]any), any(app))
	}):
		fail(w, 409, "Conflict", "The application is in a user flow already.")
	default:
		s.wrote(r)
		f["linked"] = append(f["linked"].([]any), app)
		reply(w, 201, body)
	}
}

// upsert is PATCH by the unique name, which makes what is not there.
func (s *Server) upsert(w http.ResponseWriter, r *http.Request, name string, body object) {
	if o := s.find("applications", "uniqueName", name, false); o != nil {
		s.change(w, r, o, body)
		return
	}
	if !strings.Contains(r.Header.Get("Prefer"), "create-if-missing") {
		fail(w, 404, "Request_ResourceNotFound", "Resource '"+name+"' does not exist.")
		return
	}
	api, _ := body["api"].(object)
	if uris, _ := body["identifierUris"].([]any); len(uris) > 0 && api["requestedAccessTokenVersion"] != 2.0 &&
		body["signInAudience"] == "AzureADandPersonalMicrosoftAccount" {
		fail(w, 400, "InvalidAccessTokenVersion",
			"Access Token Version must be 2 with AzureADandPersonalMicrosoftAccount.")
		return
	}
	if refused := s.checkApplication(body); refused != "" {
		fail(w, 400, "Request_BadRequest", refused)
		return
	}
	body["uniqueName"], body["appId"] = name, uuid.NewString()
	s.make(w, r, "applications", body)
}

// known says whether an object is known everywhere by now.
func (s *Server) known(o object) bool {
	born, made := s.born[fmt.Sprint(o["id"])]
	return !made || s.n > born+s.Delay
}

func (s *Server) find(collection, member, value string, everywhere bool) object {
	for _, o := range s.collections[collection] {
		if o[member] == value && (!everywhere || s.known(o)) {
			return o
		}
	}
	return nil
}

func (s *Server) list(w http.ResponseWriter, collection string, query url.Values) {
	m := filters.FindStringSubmatch(query.Get("$filter"))
	if m == nil {
		fail(w, 400, "Request_UnsupportedQuery", "Unsupported or invalid query filter clause.")
		return
	}
	found := []object{}
	for _, o := range s.collections[collection] {
		uris, _ := o["identifierUris"].([]any)
		value := strings.ReplaceAll(m[2]+m[3], "''", "'")
		if s.known(o) && (m[1] != "" && o[m[1]] == value || m[1] == "" && slices.Contains(uris, any(value))) {
			found = append(found, o)
		}
	}
	reply(w, 200, object{"value": found})
}

// checkScopes refuses to change or drop a scope or an app role that is enabled.
func checkScopes(have, patch object) string {
	haveAPI, _ := have["api"].(object)
	api, _ := patch["api"].(object)
	for _, list := range [][2]any{
		{haveAPI["oauth2PermissionScopes"], api["oauth2PermissionScopes"]},
		{have["appRoles"], patch["appRoles"]},
	} {
		old, _ := list[0].([]any)
		next, replaced := list[1].([]any)
		for _, o := range old {
			was := o.(object)
			if was["isEnabled"] != true || !replaced {
				continue
			}
			same := slices.ContainsFunc(next, func(n any) bool {
				is := maps.Clone(n.(object))
				enabled := is["isEnabled"]
				is["isEnabled"] = true
				text, _ := json.Marshal(is)
				before, _ := json.Marshal(was)
				return string(text) == string(before) && enabled != nil
			})
			if !same {
				return "Permission (scope or role) cannot be deleted or updated unless disabled first: " +
					fmt.Sprint(was["value"])
			}
		}
	}
	return ""
}

// merge replaces members, arrays whole, objects member by member.
func merge(o, patch object) {
	for name, value := range patch {
		if inner, ok := value.(object); ok {
			if old, ok := o[name].(object); ok {
				merge(old, inner)
				continue
			}
		}
		o[name] = value
	}
}

func reply(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
}

func fail(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, object{"error": object{"code": code, "message": message}})
}
