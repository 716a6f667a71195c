package main

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"itemsapi/handler/config"

	"github.com/google/uuid"
)

// family is what differs between the kinds of tenants.
type family struct {
	prefix              string // of the settings
	label               string
	audience            string // signInAudience of what is made
	single              bool   // no other audience will do
	apiName, clientName string // unless others are given
	graph               []permissionOf
	idtyp               bool // a claim tells programs from users where it is asked for
	userFlow            bool // a client must be linked to one
}

// permissionOf is a scope of Microsoft Graph, with the ID that it has in each tenant.
type permissionOf struct{ scope, id string }

var (
	openid        = permissionOf{"openid", "37f7f235-527c-4136-accd-4a02d197296e"}
	offlineAccess = permissionOf{"offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"}
	profile       = permissionOf{"profile", "14dad69e-099b-42c9-810b-d002981feec1"}
)

// families by the names of -family. An external tenant refuses people at applications of
// several tenants (AADSTS500207).
var families = map[string]family{
	"b2c": {
		prefix: "B2C_", label: "Azure AD B2C", audience: "AzureADandPersonalMicrosoftAccount",
		apiName: "B2CAPI", clientName: "B2CTest", graph: []permissionOf{openid, offlineAccess},
	},
	"external": {
		prefix: "EXTERNAL_", label: "External ID", audience: "AzureADMyOrg", single: true,
		apiName: config.Realm, clientName: config.Realm + "-client", graph: []permissionOf{openid, offlineAccess},
		idtyp: true, userFlow: true,
	},
	"entra": {
		prefix: "ENTRA_", label: "Entra ID", audience: "AzureADMyOrg",
		apiName: config.Realm, clientName: config.Realm + "-client",
		graph: []permissionOf{openid, offlineAccess, profile}, idtyp: true,
	},
}

// wanted is what the tenant is to have.
type wanted struct {
	family
	tenant        string // contoso
	apiName       string // display names
	clientName    string
	appIDURI      string   // empty means api:// and the API's application ID
	apiID         string   // of an API's application that was made by hand, or empty
	clientID      string   // the same of the client's
	flow          string   // name or ID of the user flow; empty where there is one alone
	redirectURIs  []string // of the single-page app
	read, write   string   // short names of the scopes
	publicClients []string // redirect URIs of native apps
}

// registered is what it has then.
type registered struct{ apiClientID, clientID, appIDURI string }

// graphAppID is Microsoft Graph's own application, the same in each tenant.
const graphAppID = "00000003-0000-0000-c000-000000000000"

// plan compares a tenant with what it is to have, and makes it so unless it is only
// to tell.
type plan struct {
	graph *graph
	out   io.Writer
	tell  bool // changes nothing
	calls bool // shows the calls that would be made
	drift int  // how many changes were needed
}

// change makes one change. why says what is not as it should be.
func (p *plan) change(ctx context.Context, why, method, path string, body, out any) error {
	p.drift++
	fmt.Fprintf(p.out, "  %s\n", why)
	if p.calls {
		text, err := json.MarshalIndent(body, "      ", "  ")
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		fmt.Fprintf(p.out, "      %s %s\n      %s\n", method, path, text)
	}
	if p.tell {
		return nil
	}
	if err := p.graph.call(ctx, method, path, body, out); err != nil {
		return fmt.Errorf("%s: %w", why, err)
	}
	return nil
}

// unknown stands for an ID that there is only when the change before was made.
func unknown(id string) bool { return id == "" || strings.HasPrefix(id, "(") }

// run brings the tenant to what is wanted. Each step looks first, so that it can be
// run again after it broke off anywhere.
func (p *plan) run(ctx context.Context, w wanted) (registered, error) {
	if err := p.checkTenant(ctx, w.tenant); err != nil {
		return registered{}, err
	}
	api, err := p.api(ctx, w)
	if err != nil {
		return registered{}, err
	}
	apiPrincipal, err := p.principal(ctx, api)
	if err != nil {
		return registered{}, err
	}
	client, err := p.client(ctx, w, api)
	if err != nil {
		return registered{}, err
	}
	clientPrincipal, err := p.principal(ctx, client)
	if err != nil {
		return registered{}, err
	}
	graphs, err := find[servicePrincipal](ctx, p.graph, "servicePrincipals", "appId eq "+quoted(graphAppID), "id,appId")
	if err != nil {
		return registered{}, fmt.Errorf("find Microsoft Graph itself: %w", err)
	}
	if len(graphs) != 1 {
		return registered{}, errors.New("the tenant has no service principal of Microsoft Graph; open App " +
			"registrations in the portal once, which makes it")
	}
	// Users of B2C and External ID cannot consent, so an administrator does for all of them.
	if err := p.consent(ctx, client, clientPrincipal, apiPrincipal, api.DisplayName, w.read, w.write); err != nil {
		return registered{}, err
	}
	var scopes []string
	for _, g := range w.graph {
		scopes = append(scopes, g.scope)
	}
	if err := p.consent(ctx, client, clientPrincipal, graphs[0].ID, "Microsoft Graph", scopes...); err != nil {
		return registered{}, err
	}
	return registered{api.AppID, client.AppID, w.uriOf(api)}, nil
}

// uriOf is the App ID URI of the API's application.
func (w *wanted) uriOf(api application) string {
	if w.appIDURI == "" {
		return "api://" + api.AppID
	}
	return w.appIDURI
}

// checkTenant refuses a token for another tenant than the one that was named.
func (p *plan) checkTenant(ctx context.Context, tenant string) error {
	var organizations struct {
		Value []struct {
			ID              string
			VerifiedDomains []struct {
				Name      string
				IsInitial bool
			}
		}
	}
	if err := p.graph.call(ctx, http.MethodGet, "/organization?$select=id,verifiedDomains", nil,
		&organizations); err != nil {
		return fmt.Errorf("ask which tenant this is: %w", err)
	}
	domain := tenant + ".onmicrosoft.com"
	var found []string
	for _, o := range organizations.Value {
		for _, d := range o.VerifiedDomains {
			if strings.EqualFold(d.Name, domain) && d.IsInitial {
				return nil
			}
			found = append(found, d.Name)
		}
	}
	return fmt.Errorf("the token is for the tenant of %s, not for %s; sign in to that: az login --tenant %s "+
		"--allow-no-subscriptions", strings.Join(found, ", "), domain, domain)
}

// api creates or repairs the API's application.
func (p *plan) api(ctx context.Context, w wanted) (application, error) {
	seed := w.appIDURI
	if seed == "" {
		seed = "urn:" + config.Realm
	}
	scopes := []scope{
		{
			ID: stableID(seed, w.read), Value: w.read, Type: "Admin", IsEnabled: true, DisplayName: "Read items",
			Description: "Read the items of the signed-in user.",
		},
		{
			ID: stableID(seed, w.write), Value: w.write, Type: "Admin", IsEnabled: true,
			DisplayName: "Change items",
			Description: "Create, change and delete the items of the signed-in user.",
		},
	}
	filter, called := "displayName eq "+quoted(w.apiName), "are called "+w.apiName
	switch {
	case w.apiID != "":
		filter = "appId eq " + quoted(w.apiID)
	case w.family.prefix == families["b2c"].prefix:
		filter, called = "identifierUris/any(u:u eq "+quoted(w.appIDURI)+")", "have the App ID URI "+w.appIDURI
	}
	found, err := find[application](ctx, p.graph, "applications", filter, "")
	if err != nil {
		return application{}, fmt.Errorf("find the API's application: %w", err)
	}
	switch {
	case len(found) == 0 && w.apiID != "":
		return application{}, fmt.Errorf("the tenant has no application %s", w.apiID)
	case len(found) == 0:
		two := 2
		app := application{
			DisplayName: w.apiName, SignInAudience: w.audience,
			API: &apiApplication{TokenVersion: &two, Scopes: scopes},
		}
		for _, s := range scopes {
			app.AppRoles = append(app.AppRoles, s.role())
		}
		if w.appIDURI != "" {
			app.IdentifierURIs = []string{w.appIDURI}
		}
		if w.idtyp {
			app.OptionalClaims = (*optionalClaims)(nil).with("idtyp")
		}
		if app, err = p.upsert(ctx, "the API's application, "+w.apiName+", is missing", w.apiName, app); err != nil {
			return app, err
		}
		return app, p.identify(ctx, w, &app)
	case len(found) > 1:
		return application{}, fmt.Errorf("%d applications %s; say which is meant with -api-id", len(found), called)
	}
	app := found[0]
	for _, repair := range []func(context.Context, wanted, *application) error{
		p.repairAudience, p.identify, p.repairVersion, p.repairClaims,
	} {
		if err := repair(ctx, w, &app); err != nil {
			return app, err
		}
	}
	return app, p.repairScopes(ctx, &app, scopes)
}

// patch changes an application.
func (p *plan) patch(ctx context.Context, app *application, why string, with application) error {
	return p.change(ctx, app.DisplayName+" "+why, http.MethodPatch, "/applications/"+app.ID, with, nil)
}

func (p *plan) repairAudience(ctx context.Context, w wanted, app *application) error {
	if !w.single || app.SignInAudience == w.audience {
		return nil
	}
	return p.patch(ctx, app, "is not for this directory alone, which an external tenant's must be",
		application{SignInAudience: w.audience})
}

// identify gives the API's application its App ID URI, which may have an ID in it that is
// known only when the application was made.
func (p *plan) identify(ctx context.Context, w wanted, app *application) error {
	uri := w.uriOf(*app)
	if slices.Contains(app.IdentifierURIs, uri) {
		return nil
	}
	return p.patch(ctx, app, "lacks the App ID URI "+uri,
		application{IdentifierURIs: append(slices.Clone(app.IdentifierURIs), uri)})
}

func (p *plan) repairVersion(ctx context.Context, _ wanted, app *application) error {
	if app.API == nil {
		app.API = &apiApplication{}
	}
	if v := app.API.TokenVersion; v != nil && *v == 2 {
		return nil
	}
	two := 2
	app.API.TokenVersion = &two
	return p.patch(ctx, app, "issues tokens of version 1", application{API: app.API})
}

func (p *plan) repairClaims(ctx context.Context, w wanted, app *application) error {
	if !w.idtyp || app.OptionalClaims.has("idtyp") {
		return nil
	}
	return p.patch(ctx, app, "does not put idtyp into access tokens, the surest sign of a program",
		application{OptionalClaims: app.OptionalClaims.with("idtyp")})
}

// has reports whether access tokens have an optional claim.
func (c *optionalClaims) has(name string) bool {
	return c != nil && slices.ContainsFunc(c.AccessToken, func(claim json.RawMessage) bool {
		var is struct{ Name string }
		return json.Unmarshal(claim, &is) == nil && is.Name == name
	})
}

// with adds a claim to access tokens.
func (c *optionalClaims) with(name string) *optionalClaims {
	next := optionalClaims{IDToken: []json.RawMessage{}, SAML2Token: []json.RawMessage{}}
	if c != nil {
		next = *c
	}
	claim := json.RawMessage(`{"name":"` + name + `","source":null,"essential":false,"additionalProperties":[]}`)
	next.AccessToken = append(slices.Clip(next.AccessToken), claim)
	return &next
}

// role is the app role of a scope's name. Microsoft Graph takes it only like this.
func (s scope) role() appRole {
	return appRole{
		ID: s.ID, Value: s.Value, For: []string{"Application"}, IsEnabled: true,
		DisplayName: s.DisplayName, Description: s.Description,
	}
}

// repairScopes makes the scopes what they are to be, and the app roles of their names.
func (p *plan) repairScopes(ctx context.Context, app *application, wanted []scope) error {
	scopes, roles := slices.Clone(app.API.Scopes), slices.Clone(app.AppRoles)
	var why []string
	locked := map[string]bool{} // values whose scope and role must be disabled before they are changed
	for _, s := range wanted {
		i := slices.IndexFunc(scopes, func(have scope) bool { return have.Value == s.Value })
		j := slices.IndexFunc(roles, func(have appRole) bool { return have.Value == s.Value })
		if i < 0 {
			why = append(why, "has no scope "+s.Value)
			if j >= 0 {
				s.ID, s.DisplayName, s.Description = roles[j].ID, roles[j].DisplayName, roles[j].Description
			}
			scopes, i = append(scopes, s), len(scopes)
		}
		if j < 0 {
			why = append(why, "has no app role "+s.Value+" for programs")
			roles, j = append(roles, scopes[i].role()), len(roles)
		}
		is, role := &scopes[i], &roles[j]
		if is.Type != s.Type {
			why = append(why, "lets users consent to "+s.Value+", which an administrator is to do")
			locked[s.Value] = locked[s.Value] || is.IsEnabled
			is.Type = s.Type
		}
		if !slices.Contains(role.For, "Application") {
			why = append(why, "has an app role "+s.Value+" that is not for programs")
			locked[s.Value] = locked[s.Value] || role.IsEnabled
			role.For = append(slices.Clone(role.For), "Application")
		}
		if !is.IsEnabled || !role.IsEnabled {
			why = append(why, "has the scope "+s.Value+" disabled")
			is.IsEnabled, role.IsEnabled = true, true
		}
	}
	if why == nil {
		return nil
	}
	patch := func(why string, scopes []scope, roles []appRole) error {
		return p.patch(ctx, app, why, application{
			API: &apiApplication{TokenVersion: app.API.TokenVersion, Scopes: scopes}, AppRoles: roles,
		})
	}
	off, offRoles := slices.Clone(app.API.Scopes), slices.Clone(app.AppRoles)
	for i := range off {
		off[i].IsEnabled = off[i].IsEnabled && !locked[off[i].Value]
	}
	for i := range offRoles {
		offRoles[i].IsEnabled = offRoles[i].IsEnabled && !locked[offRoles[i].Value]
	}
	if slices.Contains(slices.Collect(maps.Values(locked)), true) {
		if err := patch("has a scope or role that has to be disabled to be changed", off, offRoles); err != nil {
			return err
		}
	}
	app.API.Scopes, app.AppRoles = scopes, roles
	return patch(strings.Join(why, ", "), scopes, roles)
}

// client creates or repairs the client's application.
func (p *plan) client(ctx context.Context, w wanted, api application) (application, error) {
	ids := map[string]string{}
	for _, s := range api.API.Scopes {
		ids[s.Value] = s.ID
	}
	access := []resourceAccess{
		{AppID: api.AppID, Access: []permission{{ids[w.read], "Scope"}, {ids[w.write], "Scope"}}},
	}
	ofGraph := resourceAccess{AppID: graphAppID}
	for _, g := range w.graph {
		ofGraph.Access = append(ofGraph.Access, permission{g.id, "Scope"})
	}
	access = append(access, ofGraph)
	filter := "displayName eq " + quoted(w.clientName)
	if w.clientID != "" {
		filter = "appId eq " + quoted(w.clientID)
	}
	found, err := find[application](ctx, p.graph, "applications", filter, "")
	if err != nil {
		return application{}, fmt.Errorf("find the client's application: %w", err)
	}
	switch {
	case len(found) == 0 && w.clientID != "":
		return application{}, fmt.Errorf("the tenant has no application %s", w.clientID)
	case len(found) == 0:
		app := application{
			DisplayName: w.clientName, SignInAudience: w.audience,
			SPA: &redirects{w.redirectURIs}, Access: access,
		}
		if len(w.publicClients) > 0 {
			app.PublicClient = &redirects{w.publicClients}
		}
		return p.upsert(ctx, "the client's application, "+w.clientName+", is missing", w.clientName, app)
	case len(found) > 1:
		return application{}, fmt.Errorf("%d applications are called %s; say which is meant with -client-id",
			len(found), w.clientName)
	}
	app := found[0]
	if err := p.repairAudience(ctx, w, &app); err != nil {
		return app, err
	}
	for _, kind := range []struct {
		have  *redirects
		want  []string
		what  string
		patch func(*redirects) application
	}{
		{app.SPA, w.redirectURIs, "single-page app", func(r *redirects) application { return application{SPA: r} }},
		{
			app.PublicClient, w.publicClients, "native app",
			func(r *redirects) application { return application{PublicClient: r} },
		},
	} {
		merged := redirects{}
		if kind.have != nil {
			merged.URIs = slices.Clone(kind.have.URIs)
		}
		var missing []string
		for _, uri := range kind.want {
			if !slices.Contains(merged.URIs, uri) {
				missing, merged.URIs = append(missing, uri), append(merged.URIs, uri)
			}
		}
		if missing == nil {
			continue
		}
		lacks := fmt.Sprintf("lacks the %s redirect URI %s", kind.what, strings.Join(missing, ", "))
		if err := p.patch(ctx, &app, lacks,
			kind.patch(&merged)); err != nil {
			return app, err
		}
	}
	merged, missing := mergeAccess(app.Access, access)
	if missing {
		if err := p.patch(ctx, &app, "lacks permissions", application{Access: merged}); err != nil {
			return app, err
		}
	}
	return app, nil
}

// mergeAccess adds what is wanted to what there is.
func mergeAccess(have, want []resourceAccess) (merged []resourceAccess, missing bool) {
	for _, h := range have {
		merged = append(merged, resourceAccess{h.AppID, slices.Clone(h.Access)})
	}
	for _, w := range want {
		i := slices.IndexFunc(merged, func(m resourceAccess) bool { return m.AppID == w.AppID })
		if i < 0 {
			merged, missing = append(merged, w), true
			continue
		}
		for _, p := range w.Access {
			if !slices.Contains(merged[i].Access, p) {
				merged[i].Access, missing = append(merged[i].Access, p), true
			}
		}
	}
	return merged, missing
}

// upsert makes an application under a unique name, so that a run that broke off
// after it does not make a second one.
func (p *plan) upsert(ctx context.Context, why, name string, app application) (application, error) {
	unique := config.Realm + "-" + strings.ToLower(strings.ReplaceAll(name, " ", "-"))
	path := "/applications(uniqueName=" + quoted(unique) + ")"
	made := application{}
	if err := p.change(ctx, why, http.MethodPatch, path, app, &made); err != nil {
		return application{}, err
	}
	if p.tell {
		app.ID, app.AppID = "(ID of "+name+")", "(application ID of "+name+")"
		return app, nil
	}
	if made.ID == "" { // Graph answers 204 where it was there already
		if err := p.graph.call(ctx, http.MethodGet, path, nil, &made); err != nil {
			return application{}, fmt.Errorf("read %s back: %w", name, err)
		}
	}
	app.ID, app.AppID = made.ID, made.AppID
	return app, nil
}

// principal is the ID of an application's service principal, without which nobody
// can sign in to it.
func (p *plan) principal(ctx context.Context, app application) (string, error) {
	if !unknown(app.AppID) {
		found, err := find[servicePrincipal](ctx, p.graph, "servicePrincipals", "appId eq "+quoted(app.AppID),
			"id,appId")
		if err != nil {
			return "", fmt.Errorf("find the service principal of %s: %w", app.DisplayName, err)
		}
		if len(found) > 0 {
			return found[0].ID, nil
		}
	}
	made := servicePrincipal{}
	if err := p.change(ctx, app.DisplayName+" has no service principal", http.MethodPost, "/servicePrincipals",
		servicePrincipal{AppID: app.AppID}, &made); err != nil {
		return "", err
	}
	if p.tell {
		made.ID = "(service principal of " + app.DisplayName + ")"
	}
	return made.ID, nil
}

// consent grants scopes of a resource to a client, for all users.
func (p *plan) consent(ctx context.Context, client application, clientPrincipal, resourcePrincipal, resource string,
	scopes ...string,
) error {
	var have *grant
	if !unknown(clientPrincipal) && !unknown(resourcePrincipal) {
		grants, err := find[grant](ctx, p.graph, "oauth2PermissionGrants", "clientId eq "+quoted(clientPrincipal), "")
		if err != nil {
			return fmt.Errorf("find what %s was granted: %w", client.DisplayName, err)
		}
		for i := range grants {
			if grants[i].ResourceID == resourcePrincipal && grants[i].ConsentType == "AllPrincipals" {
				have = &grants[i]
			}
		}
	}
	granted := []string{}
	if have != nil {
		granted = strings.Fields(have.Scope)
	}
	var missing []string
	for _, s := range scopes {
		if !slices.Contains(granted, s) {
			missing = append(missing, s)
		}
	}
	if missing == nil {
		return nil
	}
	why := fmt.Sprintf("%s was not granted %s of %s by an administrator", client.DisplayName,
		strings.Join(missing, " and "), resource)
	all := strings.Join(append(granted, missing...), " ")
	if have != nil {
		return p.change(ctx, why, http.MethodPatch, "/oauth2PermissionGrants/"+have.ID, grant{Scope: all}, nil)
	}
	return p.change(ctx, why, http.MethodPost, "/oauth2PermissionGrants",
		grant{ClientID: clientPrincipal, ConsentType: "AllPrincipals", ResourceID: resourcePrincipal, Scope: all}, nil)
}

// link puts the client into a user flow of the external tenant, without which people get a
// page that asks for a password and signs nobody up.
func (p *plan) link(ctx context.Context, w wanted, clientID string) error {
	const flows = "identity/authenticationEventsFlows"
	if !unknown(clientID) {
		linked, err := find[userFlow](ctx, p.graph, flows, "microsoft.graph.externalUsersSelfServiceSignUpEventsFlow/"+
			"conditions/applications/includeApplications/any(appId:appId/appId eq "+quoted(clientID)+")", "")
		if err != nil {
			return byHand(fmt.Errorf("find the user flow of %s: %w", w.clientName, err))
		}
		switch {
		case len(linked) == 0:
		case w.flow == "" || linked[0].is(w.flow):
			return nil
		default:
			return fmt.Errorf("%s is linked to the user flow %s, and an application has only one; take it out there: "+
				"%s", w.clientName, linked[0].DisplayName, flowPortal)
		}
	}
	all, err := find[userFlow](ctx, p.graph, flows, "", "")
	if err != nil {
		return byHand(fmt.Errorf("find the user flows: %w", err))
	}
	var chosen []userFlow
	var called []string
	for _, f := range all {
		if w.flow == "" || f.is(w.flow) {
			chosen = append(chosen, f)
		}
		called = append(called, f.DisplayName)
	}
	switch {
	case len(all) == 0:
		return fmt.Errorf("the tenant has no user flow; make one, then run this again. %s", flowPortal)
	case len(chosen) == 0:
		return fmt.Errorf("the tenant has no user flow %s; there are %s", w.flow, strings.Join(called, ", "))
	case len(chosen) > 1:
		return fmt.Errorf("say with -flow which user flow the client is for: %s", strings.Join(called, ", "))
	}
	return byHand(p.change(ctx, w.clientName+" is not linked to the user flow "+chosen[0].DisplayName, http.MethodPost,
		"/"+flows+"/"+chosen[0].ID+"/conditions/applications/includeApplications",
		flowApplication{"#microsoft.graph.authenticationConditionApplication", clientID}, nil))
}

const flowPortal = "Portal: External Identities > User flows > (the flow) > Applications"

// is reports whether somebody who says name or ID means the flow.
func (f userFlow) is(nameOrID string) bool {
	return strings.EqualFold(f.DisplayName, nameOrID) || f.ID == nameOrID
}

// byHand says what to do where the token may not see or change user flows, as Azure CLI's
// may not.
func byHand(err error) error {
	if refused, ok := errors.AsType[*graphError](err); ok && refused.status == http.StatusForbidden {
		return fmt.Errorf("%w. User flows take a GRAPH_TOKEN with EventListener.ReadWrite.All, which Azure CLI's does "+
			"not have. Or do it by hand: %s > Add application", err, flowPortal)
	}
	return err
}

// stableID is the ID of a scope: a UUIDv5 (RFC 9562, section 5.5), so that a second
// tenant, or a second try, has the same.
func stableID(appIDURI, value string) string {
	return uuid.NewHash(sha1.New(), uuid.NameSpaceURL, []byte(appIDURI+"/"+value), 5).String()
}
