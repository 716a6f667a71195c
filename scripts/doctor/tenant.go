package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"itemsapi/handler/config"
	"itemsapi/handler/entra"
	"itemsapi/scripts/internal/loopback"
	"itemsapi/scripts/internal/report"
	"itemsapi/scripts/internal/tenants"
)

// policyRead is what the endpoints of a policy, or of a tenant without policies, said.
type policyRead struct {
	config.Policy
	tenant   tenants.Tenant
	label    string // the policy's name, or what the tenant is called
	metadata answer
	err      error // no answer for the metadata
	issuer   string
	keysURL  string
	notJSON  bool
	kids     []publishedKey
	handler  reading
}

type publishedKey struct {
	Kid string `json:"kid"`
	E   string `json:"e"`
	N   string `json:"n"`
}

// reading is how the handler's own key reader fared. Doctor does not repeat its
// rules.
type reading struct {
	err     string // empty if it has keys
	keys    int
	skipped int
	reason  string // why some were skipped
}

// tenantInIssuer finds the GUID in the forms of an issuer, and the policy in B2C's form
// with /tfp/.
var tenantInIssuer = regexp.MustCompile(`^https?://([^/]+)/(?:tfp/)?` +
	`([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:/([^/]+))?/v2\.0(/?)$`)

func (d *doctor) checkTenants(ctx context.Context, c config.Config) {
	var read []policyRead
	for _, t := range tenants.Of(c) {
		for _, p := range t.Policies {
			label := p.Name
			if label == "" {
				label = "the " + t.Label
			}
			read = append(read, policyRead{Policy: p, tenant: t, label: label})
		}
	}
	var wg sync.WaitGroup
	for i := range read {
		wg.Go(func() { read[i].read(ctx) })
	}
	wg.Wait()

	missing := 0 // if there is one policy alone, nothing tells which name is wrong
	for _, p := range read {
		if p.Name != "" && p.err == nil && p.metadata.status == http.StatusNotFound {
			missing++
		}
	}
	policies := len(c.B2C.Policies)
	tenants := map[string][]string{} // of B2C's policies
	for i := range read {
		p := &read[i]
		d.checkMetadata(p, policies, policies > 1 && missing == policies)
		if p.issuer == "" {
			continue
		}
		if tenant := d.checkIssuer(p); tenant != "" && p.Name != "" {
			tenants[tenant] = append(tenants[tenant], p.Name)
		}
		d.checkKeys(p)
	}
	if policies > 0 {
		d.checkOneTenant(c, tenants)
	}
	d.checkClock(read)
}

func (p *policyRead) read(ctx context.Context) {
	if p.metadata, p.err = call(ctx, http.MethodGet, p.MetadataURL, nil); p.err != nil ||
		p.metadata.status != http.StatusOK {
		return
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if json.Unmarshal([]byte(p.metadata.body), &document) != nil {
		p.notJSON = true
		return
	}
	p.issuer, p.keysURL = document.Issuer, document.JWKSURI
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, readings, err := startVerifier(ctx, p.tenant.Alone(p.Policy))
	if p.handler = readings[p.Name]; p.Name == "" {
		p.handler = readings[string(p.tenant.Family)]
	}
	if err != nil {
		p.handler.err = err.Error()
	}
	if p.handler.err == "" { // so the keys are on the metadata's host
		var published struct {
			Keys []publishedKey `json:"keys"`
		}
		if a, err := call(ctx, http.MethodGet, p.keysURL, nil); err == nil &&
			json.Unmarshal([]byte(a.body), &published) == nil {
			p.kids = published.Keys
		}
	}
}

func (d *doctor) checkMetadata(p *policyRead, policies int, allMissing bool) {
	name, setting := "metadata of "+p.label, p.tenant.Prefix
	u, err := url.Parse(p.MetadataURL)
	if err != nil {
		d.Fail(name, p.MetadataURL+" is not a URL.", "Check "+setting+"METADATA_URL.")
		return
	}
	reach := "Check " + setting + "TENANT and " + setting + "METADATA_URL, and whether a proxy or firewall is in " +
		"the way."
	if p.tenant.Names.Host != "" {
		reach = "Check " + setting + "TENANT and " + setting + "HOST (the host is " + u.Host + "), and whether a " +
			"proxy or firewall is in the way."
	}
	local := loopback.Is(u.Host)
	if local {
		reach = setting + "METADATA_URL points to this machine: start the sign-in stand-in with go run " +
			"./scripts/dev, or clear " + setting + "METADATA_URL to use the tenant itself."
	}
	others, orTenant, standIn := "", "", ""
	if local {
		standIn = " The stand-in on this machine has tenants and policies of its own; for others clear " +
			"B2C_METADATA_URL."
	}
	if policies == 1 {
		others, orTenant = ", or there is no such tenant", ", and B2C_TENANT"
	}
	if strings.HasSuffix(u.Host, ".b2clogin.cn") && strings.HasSuffix(p.tenant.Directory(), ".onmicrosoft.com") {
		reach = "In that cloud the tenant's domain is another: set B2C_METADATA_URL=https://" + u.Host + "/" +
			p.tenant.Tenant + ".partner.onmschina.cn/{policy}/v2.0/.well-known/openid-configuration."
		standIn = " " + reach
	}
	missing := p.err == nil && (p.metadata.status == http.StatusNotFound ||
		p.metadata.status == http.StatusBadRequest && strings.Contains(p.metadata.body, "AADSTS90002"))
	switch a := p.metadata; {
	case p.err != nil:
		d.Fail(name, fmt.Sprintf("%s: %s.", p.MetadataURL, trouble(p.err)), reach)
	case missing && local && (allMissing || p.Name == ""):
		d.Fail(name, p.MetadataURL+" answers "+a.said()+".", "The stand-in on this machine has tenants and policies "+
			"of its own ("+u.Scheme+"://"+u.Host+" lists them). For "+p.tenant.Tenant+" itself, "+
			"empty "+setting+"METADATA_URL; "+
			"otherwise check "+setting+"TENANT and the policies.")
	case missing && p.Name == "":
		d.Fail(name, p.MetadataURL+" answers "+a.said()+": there is no such tenant.",
			"Check "+setting+"TENANT. Portal: "+
				"Microsoft Entra ID > Overview has the domain and the tenant ID.")
	case missing && allMissing:
		d.Fail(name, p.MetadataURL+" answers 404, as it does for every policy.",
			"The tenant's name is wrong rather than the policy's: check B2C_TENANT, which the URL repeats. Portal: "+
				"Azure AD B2C > Overview > Domain name.")
	case missing:
		d.Fail(name, p.MetadataURL+" answers 404: the tenant has no such policy"+others+".",
			"Check B2C_POLICIES, letter by letter"+orTenant+". Portal: Azure AD B2C > User flows (or Identity "+
				"Experience Framework) lists the names."+standIn)
	case a.status >= 300 && a.status < 400:
		d.Fail(name, fmt.Sprintf("%s answers %s, and no redirect is followed.", p.MetadataURL, a.said()),
			"Name the final address: "+setting+"HOST, or "+setting+"METADATA_URL.")
	case a.status != http.StatusOK:
		d.Fail(name, fmt.Sprintf("%s answers %s.", p.MetadataURL, a.said()),
			"If that is not the sign-in itself, "+strings.ToLower(reach[:1])+reach[1:]+" If it is, try again in a "+
				"minute.")
	case p.notJSON || p.issuer == "":
		d.Fail(name, p.MetadataURL+" answers 200, but not with OpenID Connect metadata (a JSON object with an issuer).",
			"Something else answers there. "+reach)
	default:
		d.OK(name, "read at %s", u.Host)
	}
}

// checkIssuer returns the tenant's GUID, if the issuer has one.
func (d *doctor) checkIssuer(p *policyRead) string {
	name := "issuer of " + p.label
	b2c := p.tenant.Family == entra.FamilyB2C
	m := tenantInIssuer.FindStringSubmatch(p.issuer)
	if m == nil {
		forms := "It is https://HOST/GUID/v2.0: check " + p.tenant.Prefix + "TENANT, which names one tenant (never " +
			"common)."
		if b2c {
			forms = "B2C's forms are https://HOST/GUID/v2.0/ and https://HOST/tfp/GUID/POLICY/v2.0/. Custom " +
				"policies: let IssuanceClaimPattern be AuthorityAndTenantGuid."
		}
		d.Fail(name, fmt.Sprintf("%q has no tenant GUID where one belongs.", report.Cut(p.issuer)), forms)
		return ""
	}
	host, tenant, policy, slash := strings.ToLower(m[1]), strings.ToLower(m[2]), m[3], m[4]
	switch {
	case !b2c && (slash != "" || policy != ""):
		d.Fail(name, p.issuer+" is B2C's: the issuers of this family have no policy and no slash at the end.",
			"Take the address out of "+p.tenant.Prefix+"METADATA_URL, or set B2C_TENANT for a B2C tenant.")
	case !b2c && tenants.IsGUID(p.tenant.Tenant) && p.tenant.Tenant != tenant:
		d.Fail(name, fmt.Sprintf("The metadata are of the tenant %s, and %sTENANT is %s.", tenant, p.tenant.Prefix,
			p.tenant.Tenant), "Check "+p.tenant.Prefix+"TENANT and "+p.tenant.Prefix+"METADATA_URL.")
	case !b2c:
		d.OK(name, "%s", p.issuer)
	case strings.HasSuffix(host, ".ciamlogin.com") || slash == "":
		d.Fail(name, p.issuer+" is not B2C's: its issuers end with a slash, those of Entra ID and External ID do not.",
			"For a tenant of one of those set EXTERNAL_TENANT or ENTRA_TENANT in place of B2C_TENANT. B2C's "+
				"metadata URL: Portal: Azure AD B2C > User flows > (the policy) > Run user flow, at the top.")
	case policy != "":
		d.OK(name, "%s (form with the policy, tfp)", p.issuer)
	default:
		d.OK(name, "%s (form without the policy)", p.issuer)
	}
	return tenant
}

func (d *doctor) checkKeys(p *policyRead) {
	name := "keys of " + p.label
	if p.handler.err != "" {
		fix := "The API answers keys.unavailable until this is fixed."
		metadata, _ := url.Parse(p.MetadataURL)
		keys, err := url.Parse(p.keysURL)
		switch {
		case err != nil || metadata == nil || keys.Host == "":
			fix = "The metadata name no jwks_uri that can be used; whatever answers there is not the sign-in."
		case !strings.EqualFold(keys.Host, metadata.Host) || keys.Scheme != metadata.Scheme:
			fix = "The API takes keys only from the metadata's own host. Behind a custom domain let the front end " +
				"pass on the original Host, or name in " + p.tenant.Prefix + "HOST the host that jwks_uri has."
		case strings.Contains(p.handler.err, "no usable key"):
			fix = "RSA keys of 2048 to 4096 bits with a key ID are usable. Portal: Azure AD B2C > Identity " +
				"Experience Framework > Policy keys: the signing key is RSA."
		}
		d.Fail(name, "The API cannot use them: "+p.handler.err+".", fix)
		return
	}
	thumbprints, entras := 0, ""
	for _, k := range p.kids {
		switch {
		case k.Kid != "" && k.Kid == thumbprint(k):
			thumbprints++
		case len(k.Kid) == 27:
			entras = k.Kid
		}
	}
	b2c := p.tenant.Family == entra.FamilyB2C
	detail := fmt.Sprintf("%d usable", p.handler.keys)
	switch {
	case b2c && entras != "":
		d.Warn(name, fmt.Sprintf("The key ID %q has 27 characters, as those of Entra ID have (a certificate's SHA-1); "+
			"those of B2C have 43 (the key's own thumbprint).", entras),
			"Check that the metadata URL is a B2C policy's: with Entra's, every token of B2C is refused. An old B2C "+
				"key may also look so.")
	case p.handler.skipped > 0:
		d.Warn(name, fmt.Sprintf("%d usable, %d not: %s.", p.handler.keys, p.handler.skipped,
			report.Cut(p.handler.reason)), "Tokens signed with a key that is not usable are refused. Portal: Azure "+
			"AD B2C > Identity Experience Framework > Policy keys, where the key is a policy's.")
	case b2c && thumbprints == len(p.kids) && thumbprints > 0:
		d.OK(name, "%s (key IDs of B2C's form)", detail)
	case b2c:
		d.OK(name, "%s (key IDs of another form than B2C's usual one)", detail)
	default:
		d.OK(name, "%s", detail)
	}
}

// thumbprint is RFC 7638's, SHA-256, which B2C uses as key ID.
func thumbprint(k publishedKey) string {
	sum := sha256.Sum256([]byte(`{"e":"` + k.E + `","kty":"RSA","n":"` + k.N + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (d *doctor) checkOneTenant(c config.Config, tenants map[string][]string) {
	switch len(tenants) {
	case 0:
		d.Skip("one tenant", "no policy told its tenant")
	case 1:
		for tenant := range tenants {
			d.OK("one tenant", "%s", tenant)
		}
	default:
		var parts []string
		for tenant, policies := range tenants {
			parts = append(parts, tenant+" ("+strings.Join(policies, ", ")+")")
		}
		d.Fail("one tenant", "The policies are of several tenants: "+listed(parts)+".",
			"An API belongs to one tenant: check B2C_POLICIES and B2C_METADATA_URL.")
	}
	if len(tenants) != 1 {
		return
	}
	for _, extra := range c.B2C.ExtraIssuers {
		const name, copied = "B2C_EXTRA_ISSUERS", "Copy the issuer from the other host's metadata, to the letter."
		m := tenantInIssuer.FindStringSubmatch(extra)
		switch {
		case m == nil:
			d.Fail(name, extra+" has none of the forms of B2C's issuers, so no token can match it.", copied)
		case m[4] == "":
			d.Fail(name, extra+" lacks the slash at its end, with which all of B2C's issuers end, so no token can "+
				"match it. Entra ID's have none.", "Write "+extra+"/")
		case m[2] != strings.ToLower(m[2]) || m[1] != strings.ToLower(m[1]):
			d.Fail(name, extra+" has capital letters in its host or GUID, which B2C's issuers do not, so no token can "+
				"match it.", copied)
		case tenants[m[2]] == nil:
			d.Fail(name, extra+" is not of the tenant that the metadata name, so the API ignores it.", copied)
		default:
			d.OK(name, "%s is of the same tenant", extra)
		}
	}
}

func (d *doctor) checkClock(read []policyRead) {
	for _, p := range read {
		if !p.metadata.dated {
			continue
		}
		offset := p.metadata.offset.Round(time.Second)
		word := "behind"
		if offset < 0 {
			offset, word = -offset, "ahead of"
		}
		what := fmt.Sprintf("This machine's clock is %v %s the one of %s.", offset, word, hostOf(p.MetadataURL))
		const fix = "Set the clock by a time server. Tokens are judged by this machine's clock, with 60 s of tolerance."
		switch {
		case offset >= time.Minute:
			d.Fail("clock", what, fix)
		case offset >= 30*time.Second:
			d.Warn("clock", what, fix)
		default:
			d.OK("clock", "%v from the one of %s", offset, hostOf(p.MetadataURL))
		}
		return
	}
	d.Skip("clock", "no metadata with a date to compare it with")
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Host
}

// startVerifier starts the handler's verifier and waits until it has tried to read the keys
// of each policy and tenant. Readings go by policy or family. It runs until ctx ends.
func startVerifier(ctx context.Context, c config.Config) (*entra.Verifier, map[string]reading, error) {
	log := &keyLog{readings: map[string]reading{}, reasons: map[string]string{}, wake: make(chan struct{}, 1)}
	names := make([]string, len(c.B2C.Policies))
	for i, p := range c.B2C.Policies {
		names[i] = p.Name
	}
	var trusts []entra.Trust
	add := func(t entra.Trust, from config.Trust) {
		t.Audience, t.AppIDURI, t.Clients = from.APIClientID, from.AppIDURI, from.AllowedClients
		t.Scopes = map[string]string{"read": from.ReadScope, "write": from.WriteScope}
		t.Host, t.MetadataURL, t.ExtraIssuers = from.Host, from.MetadataURL, from.ExtraIssuers
		t.FormerTenant, t.FormerIDClaim = from.FormerTenant, from.FormerIDClaim
		trusts = append(trusts, t)
	}
	if len(names) > 0 {
		add(entra.B2C(c.B2C.Tenant, names...), c.B2C)
	}
	if c.External.Tenant != "" {
		add(entra.ExternalID(c.External.Tenant), c.External)
	}
	if c.Entra.Tenant != "" {
		add(entra.Workforce(c.Entra.Tenant), c.Entra)
	}
	v, err := entra.New(ctx, entra.Config{
		Trust: trusts, Realm: config.Realm, Applications: c.Programs,
		Hints: entra.Hints{
			B2C: entra.Settings(config.B2CNames), ExternalID: entra.Settings(config.ExternalNames),
			Workforce: entra.Settings(config.EntraNames), Applications: config.ApplicationsName,
		},
		Log: slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		return nil, nil, err
	}
	waited := names
	for _, t := range trusts {
		if t.Family() != entra.FamilyB2C {
			waited = append(waited, string(t.Family()))
		}
	}
	timeout := time.NewTimer(2 * callTimeout)
	defer timeout.Stop()
	for {
		done := log.done()
		if len(done) == len(waited) {
			return v, done, nil
		}
		select {
		case <-log.wake:
			continue
		case <-timeout.C:
		case <-ctx.Done():
		}
		for _, name := range waited {
			if _, ok := done[name]; !ok {
				done[name] = reading{err: "no answer in time"}
			}
		}
		return v, done, nil
	}
}

// keyLog learns from the verifier's log how reading went: the verifier tells
// nobody else.
type keyLog struct {
	mu       sync.Mutex
	readings map[string]reading
	reasons  map[string]string // why keys were skipped
	wake     chan struct{}
}

// Write takes one line of slog's JSON.
func (l *keyLog) Write(line []byte) (int, error) {
	var e struct {
		Msg, Family, Policy, Error, Reason string
		Keys, Skipped                      int
	}
	if json.Unmarshal(line, &e) != nil {
		return len(line), nil
	}
	if e.Policy == "" {
		e.Policy = e.Family
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Msg {
	case "keys skipped": // comes before "keys read"
		l.reasons[e.Policy] = e.Reason
		return len(line), nil
	case "keys read":
		l.readings[e.Policy] = reading{keys: e.Keys, skipped: e.Skipped, reason: l.reasons[e.Policy]}
	case "keys not read":
		l.readings[e.Policy] = reading{err: e.Error}
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

func (l *keyLog) done() map[string]reading {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.readings)
}
