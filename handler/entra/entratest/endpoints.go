package entratest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

type endpointKind string

const (
	metadataEndpoint  endpointKind = "metadata"
	keysEndpoint      endpointKind = "keys"
	authorizeEndpoint endpointKind = "authorize"
	tokenEndpoint     endpointKind = "token"
	logoutEndpoint    endpointKind = "logout"
)

// endpoint is what a URL of a tenant's asks for. There is the same thing at many URLs,
// and metadata names its endpoints in the form it was itself asked for.
type endpoint struct {
	kind    endpointKind // "" if the URL is no tenant's
	policy  *policy      // nil if the URL names none, or an unknown one
	tfp     bool         // /tfp/{tenant}/…
	tenant  string       // as asked for, lower case: domain or GUID
	inQuery bool         // ?p={policy} instead of /{tenant}/{policy}/
	v2      bool         // with /v2.0
	asked   string       // the policy's name as asked for

	// Of Entra's families.
	door   string // the host that the path begins with; "" if none
	appID  string // ?appid=
	common bool   // the address of all tenants
}

// parse recognises /{tenant}/{policy}/v2.0/.well-known/openid-configuration,
// /{tenant}/{policy}/discovery/v2.0/keys and
// /{tenant}/{policy}/oauth2/v2.0/{authorize,token,logout}, each also below /tfp,
// with the policy in ?p=, and without /v2.0.
func (s *Server) parse(r *http.Request) endpoint {
	var e endpoint
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if strings.EqualFold(parts[0], "tfp") {
		e.tfp, parts = true, parts[1:]
	}
	if !e.tfp && !r.URL.Query().Has("p") { // which B2C alone has
		if of := s.parseEntra(r, parts); of.kind != "" {
			return of
		}
	}
	if len(parts) < 3 || !s.b2c.is(parts[0]) {
		return endpoint{}
	}
	e.tenant, parts = strings.ToLower(parts[0]), parts[1:]

	if e.kind, e.v2 = endpointKindOf(parts); e.kind != "" {
		e.inQuery, e.asked = true, r.URL.Query().Get("p")
	} else if e.kind, e.v2 = endpointKindOf(parts[1:]); e.kind != "" {
		e.asked = parts[0]
	} else {
		return endpoint{}
	}
	e.policy, _ = s.findPolicy(e.asked)
	return e
}

// parseEntra recognises /{door}/{tenant}/v2.0/.well-known/openid-configuration and the
// rest, also without a door, and for the workforce tenant without /v2.0 what is of
// version 1. The external tenant has nothing of version 1.
func (s *Server) parseEntra(r *http.Request, parts []string) endpoint {
	for _, d := range []*directory{s.external, s.workforce} {
		e, rest := endpoint{policy: d.own, appID: strings.ToLower(r.URL.Query().Get("appid"))}, parts
		if d.hasDoor(rest[0]) {
			e.door, rest = strings.ToLower(rest[0]), rest[1:]
		}
		if len(rest) < 2 {
			continue
		}
		e.tenant, e.asked = strings.ToLower(rest[0]), d.name
		e.common = d == s.workforce && e.tenant == "common"
		if !d.is(rest[0]) && !e.common {
			continue
		}
		if e.kind, e.v2 = endpointKindOf(rest[1:]); e.v2 || d == s.workforce {
			return e
		}
	}
	return endpoint{}
}

func endpointKindOf(parts []string) (kind endpointKind, v2 bool) {
	path := strings.ToLower(strings.Join(parts, "/"))
	switch path {
	case "v2.0/.well-known/openid-configuration":
		return metadataEndpoint, true
	case ".well-known/openid-configuration":
		return metadataEndpoint, false
	case "discovery/v2.0/keys":
		return keysEndpoint, true
	case "discovery/keys":
		return keysEndpoint, false
	}
	if rest, ok := strings.CutPrefix(path, "oauth2/"); ok {
		rest, v2 = strings.CutPrefix(rest, "v2.0/")
		switch kind := endpointKind(rest); kind {
		case authorizeEndpoint, tokenEndpoint, logoutEndpoint:
			return kind, v2
		}
	}
	return "", false
}

// path spells another endpoint of the same policy in the form of e. B2C writes
// the policy's name in lower case here.
func (e endpoint) path(kind endpointKind) string {
	b := "/" + e.tenant
	if e.tfp {
		b = "/tfp" + b
	}
	if e.door != "" {
		b = "/" + e.door + b
	}
	name := strings.ToLower(e.policy.name)
	if !e.inQuery && e.policy.dir.family == B2C {
		b += "/" + name
	}
	version := ""
	if e.v2 {
		version = "v2.0/"
	}
	switch kind {
	case metadataEndpoint:
		b += "/" + version + ".well-known/openid-configuration"
	case keysEndpoint:
		b += "/discovery/" + version + "keys"
	default:
		b += "/oauth2/" + version + string(kind)
	}
	if e.inQuery {
		b += "?p=" + url.QueryEscape(name)
	}
	if e.appID != "" && kind == keysEndpoint {
		b += "?appid=" + url.QueryEscape(e.appID)
	}
	return b
}

// metadata has the members of OpenID Connect Discovery that B2C publishes, in
// its order.
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	ResponseModes         []string `json:"response_modes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	IDTokenAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	TokenEndpointAuth     []string `json:"token_endpoint_auth_methods_supported"`
	Claims                []string `json:"claims_supported"`
}

func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request, e endpoint) {
	base := s.baseURL(r)
	if e.policy.dir != s.b2c {
		s.writeJSON(w, http.StatusOK, s.entraMetadata(base, e))
		return
	}
	s.writeJSON(w, http.StatusOK, metadata{
		Issuer:                s.Issuer(),
		AuthorizationEndpoint: base + e.path(authorizeEndpoint),
		TokenEndpoint:         base + e.path(tokenEndpoint),
		EndSessionEndpoint:    base + e.path(logoutEndpoint),
		JWKSURI:               base + e.path(keysEndpoint),
		ResponseModes:         []string{"query", "fragment", "form_post"},
		ResponseTypes: []string{
			"code", "code id_token", "code token", "code id_token token", "id_token",
			"id_token token", "token", "token id_token",
		},
		Scopes:            []string{"openid"},
		SubjectTypes:      []string{"pairwise"},
		IDTokenAlgorithms: []string{"RS256"},
		TokenEndpointAuth: []string{"client_secret_post", "client_secret_basic"},
		Claims: []string{
			"name", "emails", "oid", "sub", "tfp", "iss", "iat", "exp", "aud", "acr", "nonce",
			"auth_time",
		},
	})
}

// entraMetadata has the members that Entra's families publish.
func (s *Server) entraMetadata(base string, e endpoint) map[string]any {
	issuer := s.issuer(e.policy.dir, e.door, e.v2)
	if e.common {
		issuer = s.keyIssuer(e)
	}
	return map[string]any{
		"issuer":                 issuer,
		"authorization_endpoint": base + e.path(authorizeEndpoint),
		"token_endpoint":         base + e.path(tokenEndpoint),
		"end_session_endpoint":   base + e.path(logoutEndpoint),
		"jwks_uri":               base + e.path(keysEndpoint),
		"userinfo_endpoint":      "https://graph.microsoft.com/oidc/userinfo",
		"token_endpoint_auth_methods_supported": []string{
			"client_secret_post",
			"private_key_jwt",
			"client_secret_basic",
		},
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"request_uri_parameter_supported":       false,
		"http_logout_supported":                 true,
		"frontchannel_logout_supported":         true,
		"claims_supported": []string{
			"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host",
			"aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash",
			"c_hash", "email",
		},
		"tenant_region_scope":   "EU",
		"cloud_instance_name":   "microsoftonline.com",
		"cloud_graph_host_name": "graph.windows.net",
		"msgraph_host":          "graph.microsoft.com",
		"rbac_url":              "https://pas.windows.net",
	}
}

// baseURL is what B2C's metadata uses too: the host that was asked, so that
// 127.0.0.1 and forwarded ports work. The guard on Host keeps it on loopback.
func (s *Server) baseURL(r *http.Request) string {
	if s.hostGiven {
		return s.URL()
	}
	return s.origin(r)
}

// origin is how the one who asks spells us. A proxy's X-Forwarded-Proto does not count:
// anybody can send it.
func (s *Server) origin(r *http.Request) string {
	if s.publicURL == "https://"+r.Host {
		return s.publicURL
	}
	return "http://" + r.Host
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}
