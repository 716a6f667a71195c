// Package graphtest is the part of Microsoft Graph v1.0 that registering
// applications takes, as an HTTP server on loopback: it replaces arrays instead of
// merging them, wants scopes disabled before they change, forgets for a while what
// it has just made, and now and then is too busy. For tests.
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
	filters      = regexp.MustCompile(`^(?:(displayName|appId|clientId) eq '((?:[^']|'')*)'|` +
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
	s.wrote(r)
	merge(o, body)
	w.WriteHeader(204)
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
	if uris, _ := body["identifierUris"].([]any); len(uris) > 0 && api["requestedAccessTokenVersion"] != 2.0 {
		fail(w, 400, "InvalidAccessTokenVersion",
			"Access Token Version must be 2 with AzureADandPersonalMicrosoftAccount.")
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

// checkScopes refuses to change or drop a scope that is enabled.
func checkScopes(have, patch object) string {
	api, _ := patch["api"].(object)
	next, replaced := api["oauth2PermissionScopes"].([]any)
	if !replaced {
		return ""
	}
	haveAPI, _ := have["api"].(object)
	old, _ := haveAPI["oauth2PermissionScopes"].([]any)
	for _, o := range old {
		was := o.(object)
		if was["isEnabled"] != true {
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
