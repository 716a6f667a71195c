package main

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"itemsapi/handler/config"

	"github.com/google/uuid"
)

// wanted is what the tenant is to have.
type wanted struct {
	tenant        string // contoso
	apiName       string // display names
	clientName    string
	appIDURI      string
	clientID      string   // of a client application that was made by hand, or empty
	redirectURIs  []string // of the single-page app
	read, write   string   // short names of the scopes
	publicClients []string // redirect URIs of native apps
}

// registered is what it has then.
type registered struct{ apiClientID, clientID string }

// Microsoft Graph's own application and two of its scopes, the same in each tenant.
const (
	graphAppID    = "00000003-0000-0000-c000-000000000000"
	openidID      = "37f7f235-527c-4136-accd-4a02d197296e"
	offlineAccess = "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"
)

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
	// Users of B2C cannot consent, so an administrator does for all of them.
	if err := p.consent(ctx, client, clientPrincipal, apiPrincipal, api.DisplayName, w.read, w.write); err != nil {
		return registered{}, err
	}
	if err := p.consent(ctx, client, clientPrincipal, graphs[0].ID, "Microsoft Graph", "openid",
		"offline_access"); err != nil {
		return registered{}, err
	}
	return registered{api.AppID, client.AppID}, nil
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
	scopes := []scope{
		{
			ID: stableID(w.appIDURI, w.read), Value: w.read, Type: "Admin", IsEnabled: true, DisplayName: "Read items",
			Description: "Read the items of the signed-in user.",
		},
		{
			ID: stableID(w.appIDURI, w.write), Value: w.write, Type: "Admin", IsEnabled: true,
			DisplayName: "Change items",
			Description: "Create, change and delete the items of the signed-in user.",
		},
	}
	two := 2
	found, err := find[application](ctx, p.graph, "applications", "identifierUris/any(u:u eq "+quoted(w.appIDURI)+")",
		"")
	if err != nil {
		return application{}, fmt.Errorf("find the API's application: %w", err)
	}
	switch len(found) {
	case 0:
		app := application{
			DisplayName: w.apiName, SignInAudience: "AzureADandPersonalMicrosoftAccount",
			IdentifierURIs: []string{w.appIDURI},
			API:            &apiApplication{TokenVersion: &two, Scopes: scopes},
		}
		return p.upsert(ctx, "the API's application, "+w.apiName+", is missing", w.apiName, app)
	case 1:
	default:
		return application{}, fmt.Errorf("%d applications have the App ID URI %s", len(found), w.appIDURI)
	}
	app := found[0]
	if app.API == nil {
		app.API = &apiApplication{}
	}
	if v := app.API.TokenVersion; v == nil || *v != 2 {
		if err := p.change(ctx, app.DisplayName+" issues tokens of version 1", http.MethodPatch,
			"/applications/"+app.ID,
			application{API: &apiApplication{TokenVersion: &two, Scopes: app.API.Scopes}}, nil); err != nil {
			return app, err
		}
		app.API.TokenVersion = &two
	}
	return app, p.repairScopes(ctx, &app, scopes)
}

func (p *plan) repairScopes(ctx context.Context, app *application, scopes []scope) error {
	repaired := slices.Clone(app.API.Scopes)
	var why []string
	locked := false // an enabled scope must be disabled before it is changed
	for _, s := range scopes {
		i := slices.IndexFunc(repaired, func(have scope) bool { return have.Value == s.Value })
		switch {
		case i < 0:
			why = append(why, "has no scope "+s.Value)
			repaired = append(repaired, s)
		case repaired[i].Type != s.Type:
			why = append(why, "lets users consent to "+s.Value+", which B2C does not")
			locked = locked || repaired[i].IsEnabled
			repaired[i].Type, repaired[i].IsEnabled = s.Type, true
		case !repaired[i].IsEnabled:
			why = append(why, "has the scope "+s.Value+" disabled")
			repaired[i].IsEnabled = true
		}
	}
	if why == nil {
		return nil
	}
	path, patch := "/applications/"+app.ID, func(scopes []scope) application {
		return application{API: &apiApplication{TokenVersion: app.API.TokenVersion, Scopes: scopes}}
	}
	if locked {
		off := slices.Clone(app.API.Scopes)
		for i := range off {
			if slices.ContainsFunc(scopes, func(s scope) bool {
				return s.Value == off[i].Value && s.Type != off[i].Type
			}) {
				off[i].IsEnabled = false
			}
		}
		if err := p.change(ctx, app.DisplayName+" has a scope that has to be disabled to be changed", http.MethodPatch,
			path, patch(off), nil); err != nil {
			return err
		}
	}
	app.API.Scopes = repaired
	return p.change(ctx, app.DisplayName+" "+strings.Join(why, ", "), http.MethodPatch, path, patch(repaired), nil)
}

// client creates or repairs the client's application.
func (p *plan) client(ctx context.Context, w wanted, api application) (application, error) {
	ids := map[string]string{}
	for _, s := range api.API.Scopes {
		ids[s.Value] = s.ID
	}
	access := []resourceAccess{
		{AppID: api.AppID, Access: []permission{{ids[w.read], "Scope"}, {ids[w.write], "Scope"}}},
		{AppID: graphAppID, Access: []permission{{openidID, "Scope"}, {offlineAccess, "Scope"}}},
	}
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
			DisplayName: w.clientName, SignInAudience: "AzureADandPersonalMicrosoftAccount",
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
	repair := func(why string, patch application) error {
		return p.change(ctx, app.DisplayName+" "+why, http.MethodPatch, "/applications/"+app.ID, patch, nil)
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
		if err := repair(fmt.Sprintf("lacks the %s redirect URI %s", kind.what, strings.Join(missing, ", ")),
			kind.patch(&merged)); err != nil {
			return app, err
		}
	}
	merged, missing := mergeAccess(app.Access, access)
	if missing {
		if err := repair("lacks permissions", application{Access: merged}); err != nil {
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

// stableID is the ID of a scope: a UUIDv5 (RFC 9562, section 5.5), so that a second
// tenant, or a second try, has the same.
func stableID(appIDURI, value string) string {
	return uuid.NewHash(sha1.New(), uuid.NameSpaceURL, []byte(appIDURI+"/"+value), 5).String()
}
