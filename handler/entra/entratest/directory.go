package entratest

import (
	"fmt"
	"slices"
	"strings"
)

// Family is the kind of a tenant. It is a name for Sign and the like, too, where a
// tenant has no policies.
type Family string

// The families, one tenant of each.
const (
	B2C       Family = "b2c"      // Azure AD B2C: contoso
	External  Family = "external" // Entra External ID: contosocustomers
	Workforce Family = "entra"    // Entra ID: contosoworkforce
)

// The external tenant and what is registered in it.
const (
	ExternalTenantName   = "contosocustomers"
	ExternalTenantDomain = "contosocustomers.onmicrosoft.com"
	ExternalTenantID     = "c0574c57-0e2d-4f6b-a1d3-5b8e9f20c714"
	ExternalClientID     = "e1c51e27-6b0f-4d83-9a57-30d8c4f1b962" // the client application
	ExternalDaemonID     = "e1dae303-92c8-47b1-8e06-d5a1f37b4c80" // a program that signs in as itself
	ExternalAPIClientID  = "e1a91000-3d5e-4c92-b7f8-6a04e2d9c135" // the API
	ExternalAppIDURI     = "api://" + ExternalAPIClientID
	ExternalCustomHost   = "login.contosocustomers.example" // its custom URL domain
)

// The workforce tenant and what is registered in it.
const (
	WorkforceTenantName   = "contosoworkforce"
	WorkforceTenantDomain = "contosoworkforce.onmicrosoft.com"
	WorkforceTenantID     = "3af0c1de-58b4-4e97-8c26-f1d07a93e5b8"
	WorkforceClientID     = "3ac11e47-e5f2-4b09-a683-97c0d12e58f4"
	WorkforceDaemonID     = "3adae305-17c4-4f8a-9d2b-c86b0e5f43a1"
	WorkforceAPIClientID  = "3aa91000-8f16-4d7c-a0b5-24e9c7d3f608"
	WorkforceAppIDURI     = "api://" + WorkforceAPIClientID
)

// directory is a tenant.
type directory struct {
	family       Family
	label        string // what people call the family
	name, domain string
	id           string
	apiID        string
	appIDURI     string
	applications []*application
	own          *policy // who signs, where there are no policies
	users        []User

	versionOne bool // the API's manifest asks for tokens of version 1; Server.mu guards it
}

func (s *Server) makeDirectories(o Options) {
	users := func(alice, bob, carol string) []User {
		list := Users()
		list[0].ObjectID, list[1].ObjectID = alice, bob
		return append(list, User{
			Name: "carol", ObjectID: carol, DisplayName: "Carol Clark", Email: "carol@fabrikam.example", guest: true,
		})
	}
	s.b2c = &directory{
		family: B2C, label: "Azure AD B2C", name: TenantName, domain: TenantDomain, id: TenantID, apiID: APIClientID,
		appIDURI: AppIDURI, users: Users(),
	}
	s.external = &directory{
		family: External, label: "Entra External ID", name: ExternalTenantName, domain: ExternalTenantDomain,
		id: ExternalTenantID, apiID: ExternalAPIClientID, appIDURI: ExternalAppIDURI,
		users: users("ea11ce00-7c39-4b52-8d16-0f4e93a7c2b5", "eb0b0000-1f84-4e6a-95d7-c30b82e1f49a",
			"eca20100-b6d3-4075-a9e8-41f7c05d8e23"),
	}
	s.workforce = &directory{
		family: Workforce, label: "Entra ID", name: WorkforceTenantName, domain: WorkforceTenantDomain,
		id: WorkforceTenantID, apiID: WorkforceAPIClientID, appIDURI: WorkforceAppIDURI,
		users: users("3a11ce00-d82f-46a1-b05c-7e93f14b06d8", "3b0b0000-60e5-4c9b-8f72-a9d4e1c8357f",
			"3ca20100-2e7a-4816-9bc3-d50f68e9a174"),
	}
	if o.SameDirectory {
		s.external.id = s.b2c.id
		for i, moved := range s.b2c.users {
			s.external.users[i].ObjectID = moved.ObjectID
		}
	}
	pages := spaPages(o.SPAOrigins)
	for _, a := range []struct {
		dir    *directory
		client application
		others []application
	}{
		{
			s.b2c,
			application{id: ClientID, name: "B2CTest", password: true},
			[]application{
				{id: OtherClientID, name: "B2COther", permissions: []string{"read"}, redirects: pages, native: true},
				{id: DaemonID, name: "B2CDaemon", principal: "bd5e0000-6c27-4a0f-b3d8-95e1f47a02c6"},
				{id: APIClientID, name: "B2CAPI"},
			},
		},
		{
			s.external,
			application{id: ExternalClientID, name: "Test"},
			[]application{
				{id: ExternalDaemonID, name: "Daemon", principal: "ed5e0000-4b71-4f93-8a2c-60f7d1c8e35b"},
				{id: ExternalAPIClientID, name: "API"},
			},
		},
		{
			s.workforce,
			application{id: WorkforceClientID, name: "Test"},
			[]application{
				{id: WorkforceDaemonID, name: "Daemon", principal: "3d5e0000-a9c4-4e27-b681-0f35d7e29c4a"},
				{id: WorkforceAPIClientID, name: "API"},
			},
		},
	} {
		a.client.permissions, a.client.redirects = publishedScopes, testRedirects(pages)
		a.client.native, a.client.implicit = true, true
		a.dir.applications = []*application{&a.client}
		for i := range a.others {
			of := &a.others[i]
			if of.principal != "" {
				of.permissions = appRoles
			}
			a.dir.applications = append(a.dir.applications, of)
		}
		for _, of := range a.dir.applications {
			of.dir = a.dir
		}
	}
}

func (s *Server) directories() []*directory { return []*directory{s.b2c, s.external, s.workforce} }

func (s *Server) findDirectory(f Family) (*directory, error) {
	for _, d := range s.directories() {
		if d.family == f || f == "" && d == s.b2c {
			return d, nil
		}
	}
	return nil, fmt.Errorf("no family %q; there are b2c, external and entra", short(string(f)))
}

func (d *directory) client() *application { return d.applications[0] }

// daemon is the program that signs in as itself.
func (d *directory) daemon() *application {
	return d.applications[slices.IndexFunc(d.applications, func(a *application) bool { return a.principal != "" })]
}

// is says whether a path names the tenant.
func (d *directory) is(name string) bool {
	return strings.EqualFold(name, d.domain) || strings.EqualFold(name, d.id)
}

// A door is the host, first in the path, that a tenant's address stands for: what is at
// https://contosocustomers.ciamlogin.com/… in Microsoft's world is at
// http://localhost:PORT/contosocustomers.ciamlogin.com/… here, too.
const (
	workforceDoor = "login.microsoftonline.com"
	ciamSuffix    = ".ciamlogin.com"
)

// doors are the hosts that have the tenant's addresses.
func (d *directory) doors() []string {
	switch d.family {
	case External:
		return []string{d.name + ciamSuffix, d.id + ciamSuffix, ExternalCustomHost, workforceDoor}
	case Workforce:
		return []string{workforceDoor}
	}
	return nil
}

func (d *directory) hasDoor(host string) bool {
	return slices.Contains(d.doors(), strings.ToLower(host))
}

// issuer is the iss of what is issued at a door: of version 2, and of version 1 where it
// is asked for.
func (s *Server) issuer(d *directory, door string, v2 bool) string {
	switch {
	case d == s.b2c:
		return "https://" + s.publicHost + "/" + d.id + "/v2.0/"
	case !v2:
		return "https://sts.windows.net/" + d.id + "/"
	case d == s.external && door == workforceDoor:
		return "https://" + workforceDoor + "/" + d.id + "/v2.0"
	}
	return "https://" + s.publicHost + "/" + d.id + "/v2.0"
}

// IssuerOf is the iss of the tokens of a family's tenant:
// https://localhost:PORT/{tenant ID}/v2.0, with a slash at the end for B2C. It panics if
// there is no such family.
func (s *Server) IssuerOf(f Family) string { return s.issuer(s.mustDirectory(f), "", true) }

func (s *Server) mustDirectory(f Family) *directory {
	d, err := s.findDirectory(f)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return d
}

// MetadataTemplateOf is MetadataTemplate for a tenant of another family, without
// {policy}. It has {host} in it: which of the tenant's hosts is asked.
func (s *Server) MetadataTemplateOf(f Family) string {
	if s.mustDirectory(f) == s.b2c {
		return s.MetadataTemplate()
	}
	return s.URL() + "/{host}/{tenant}/v2.0/.well-known/openid-configuration"
}

// SetTokenVersion sets requestedAccessTokenVersion in the manifest of the API in an
// external or workforce tenant: 1 (also what Microsoft makes of null) or 2, the default
// here.
func (s *Server) SetTokenVersion(f Family, version int) {
	d := s.mustDirectory(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	d.versionOne = version == 1
}

// UseOwnKey has the tokens for the API in an external or workforce tenant signed with a
// key of the API's own, as they are when its claims are mapped. That key is published
// only under ?appid= and the API's ID.
func (s *Server) UseOwnKey(f Family, on bool) {
	p := s.mustDirectory(f).own
	s.mu.Lock()
	n := s.nextKey
	s.nextKey++
	s.mu.Unlock()
	key := newCertifiedKey(n, s.now().Unix())
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.apiKey = nil; on {
		p.apiKey = &key
	}
}
