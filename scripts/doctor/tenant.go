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
)

// policyRead is what one policy's endpoints said.
type policyRead struct {
	config.Policy
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

// tenantInIssuer finds the GUID in both of B2C's forms of an issuer, and the
// policy in the one with /tfp/.
var tenantInIssuer = regexp.MustCompile(`^https?://([^/]+)/(?:tfp/)?` +
	`([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:/([^/]+))?/v2\.0(/?)$`)

func (d *doctor) checkTenant(ctx context.Context, c config.Config) {
	const notYet = "its metadata and keys are not looked at yet; -token reads them"
	if c.External.Tenant != "" {
		d.Skip("external tenant", notYet)
	}
	if c.Entra.Tenant != "" {
		d.Skip("workforce tenant", notYet)
	}
	if c.B2C.Tenant == "" {
		return
	}
	c.External, c.Entra = config.Trust{}, config.Trust{}
	read := make([]policyRead, len(c.B2C.Policies))
	var wg sync.WaitGroup
	for i, p := range c.B2C.Policies {
		wg.Go(func() { read[i] = readPolicy(ctx, c, p) })
	}
	wg.Wait()

	missing := 0 // if there is one policy alone, nothing tells which name is wrong
	for _, p := range read {
		if p.err == nil && p.metadata.status == http.StatusNotFound {
			missing++
		}
	}
	tenants := map[string][]string{}
	for i := range read {
		p := &read[i]
		d.checkMetadata(c, p, len(read) > 1 && missing == len(read))
		if p.issuer == "" {
			continue
		}
		if tenant := d.checkIssuer(p); tenant != "" {
			tenants[tenant] = append(tenants[tenant], p.Name)
		}
		d.checkKeys(p)
	}
	d.checkOneTenant(c, tenants)
	d.checkClock(read)
}

func readPolicy(ctx context.Context, c config.Config, policy config.Policy) policyRead {
	p := policyRead{Policy: policy}
	if p.metadata, p.err = call(ctx, http.MethodGet, policy.MetadataURL, nil); p.err != nil ||
		p.metadata.status != http.StatusOK {
		return p
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if json.Unmarshal([]byte(p.metadata.body), &document) != nil {
		p.notJSON = true
		return p
	}
	p.issuer, p.keysURL = document.Issuer, document.JWKSURI
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_, readings, err := startVerifier(ctx, c, []config.Policy{policy})
	if p.handler = readings[policy.Name]; err != nil {
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
	return p
}

func (d *doctor) checkMetadata(c config.Config, p *policyRead, allMissing bool) {
	name := "metadata of " + p.Name
	u, err := url.Parse(p.MetadataURL)
	if err != nil {
		d.Fail(name, p.MetadataURL+" is not a URL.", "Check B2C_METADATA_URL.")
		return
	}
	reach := "Check B2C_TENANT and B2C_HOST (without it the host is " + c.B2C.Tenant + ".b2clogin.com), and " +
		"whether a proxy or firewall is in the way."
	if loopback.Is(u.Host) {
		reach = "B2C_METADATA_URL points to this machine: start the sign-in stand-in with go run ./scripts/dev, or " +
			"empty B2C_METADATA_URL to use the tenant itself."
	}
	others, orTenant := "", ""
	if len(c.B2C.Policies) == 1 {
		others, orTenant = ", or there is no such tenant", ", and B2C_TENANT"
	}
	switch a := p.metadata; {
	case p.err != nil:
		d.Fail(name, fmt.Sprintf("%s: %s.", p.MetadataURL, trouble(p.err)), reach)
	case a.status == http.StatusNotFound && allMissing:
		d.Fail(name, p.MetadataURL+" answers 404, as it does for every policy.",
			"The tenant's name is wrong rather than the policy's: check B2C_TENANT, which the URL repeats. Portal: "+
				"Azure AD B2C > Overview > Domain name.")
	case a.status == http.StatusNotFound:
		d.Fail(name, p.MetadataURL+" answers 404: the tenant has no such policy"+others+".",
			"Check B2C_POLICIES, letter by letter"+orTenant+". Portal: Azure AD B2C > User flows (or Identity "+
				"Experience Framework) lists the names.")
	case a.status >= 300 && a.status < 400:
		d.Fail(name, fmt.Sprintf("%s answers %s, and no redirect is followed.", p.MetadataURL, a.said()),
			"Name the final address: B2C_HOST, or B2C_METADATA_URL.")
	case a.status != http.StatusOK:
		d.Fail(name, fmt.Sprintf("%s answers %s.", p.MetadataURL, a.said()),
			"If that is not B2C itself, "+strings.ToLower(reach[:1])+reach[1:]+" If it is, try again in a minute.")
	case p.notJSON || p.issuer == "":
		d.Fail(name, p.MetadataURL+" answers 200, but not with OpenID Connect metadata (a JSON object with an issuer).",
			"Something else answers there. "+reach)
	default:
		d.OK(name, "%s", p.MetadataURL)
	}
}

// checkIssuer returns the tenant's GUID, if the issuer has one.
func (d *doctor) checkIssuer(p *policyRead) string {
	name := "issuer of " + p.Name
	m := tenantInIssuer.FindStringSubmatch(p.issuer)
	if m == nil {
		d.Fail(name, fmt.Sprintf("%q has no tenant GUID where B2C puts one.", report.Cut(p.issuer)),
			"B2C's forms are https://HOST/GUID/v2.0/ and https://HOST/tfp/GUID/POLICY/v2.0/. Custom policies: let "+
				"IssuanceClaimPattern be AuthorityAndTenantGuid.")
		return ""
	}
	host, tenant, policy, slash := strings.ToLower(m[1]), strings.ToLower(m[2]), m[3], m[4]
	switch {
	case strings.HasSuffix(host, ".ciamlogin.com") || slash == "":
		d.Fail(name, p.issuer+" is not B2C's: its issuers end with a slash, those of Entra ID and External ID do not.",
			"The API accepts tokens of B2C alone. Take the metadata URL from Portal: Azure AD B2C > User flows > (the "+
				"policy) > Run user flow, at the top.")
	case policy != "":
		d.OK(name, "%s (form with the policy, tfp)", p.issuer)
	default:
		d.OK(name, "%s (form without the policy)", p.issuer)
	}
	return tenant
}

func (d *doctor) checkKeys(p *policyRead) {
	name := "keys of " + p.Name
	if p.handler.err != "" {
		fix := "The API answers keys.unavailable until this is fixed."
		metadata, _ := url.Parse(p.MetadataURL)
		keys, err := url.Parse(p.keysURL)
		switch {
		case err != nil || metadata == nil || keys.Host == "":
			fix = "The metadata name no jwks_uri that can be used; whatever answers there is not B2C."
		case !strings.EqualFold(keys.Host, metadata.Host) || keys.Scheme != metadata.Scheme:
			fix = "The API takes keys from the metadata's own host alone. Behind a custom domain let the front end " +
				"pass on the original Host, or name in B2C_HOST the host that jwks_uri has."
		case strings.Contains(p.handler.err, "no usable key"):
			fix = "RSA keys of 2048 to 4096 bits with a key ID are usable. Portal: Azure AD B2C > Identity " +
				"Experience Framework > Policy keys: the signing key is RSA."
		}
		d.Fail(name, "The API cannot use them: "+p.handler.err+".", fix)
		return
	}
	thumbprints, entra := 0, ""
	for _, k := range p.kids {
		switch {
		case k.Kid != "" && k.Kid == thumbprint(k):
			thumbprints++
		case len(k.Kid) == 27:
			entra = k.Kid
		}
	}
	detail := fmt.Sprintf("%d usable, %s", p.handler.keys, p.keysURL)
	switch {
	case entra != "":
		d.Warn(name, fmt.Sprintf("The key ID %q has 27 characters, as those of Entra ID have (a certificate's SHA-1); "+
			"those of B2C have 43 (the key's own thumbprint).", entra),
			"Check that the metadata URL is a B2C policy's: with Entra's, every token of B2C is refused. An old B2C "+
				"key may also look so.")
	case p.handler.skipped > 0:
		d.Warn(name, fmt.Sprintf("%d usable, %d not: %s.", p.handler.keys, p.handler.skipped, report.Cut(p.handler.reason)),
			"Tokens signed with a key that is not usable are refused. Portal: Azure AD B2C > Identity Experience "+
				"Framework > Policy keys.")
	case thumbprints == len(p.kids) && thumbprints > 0:
		d.OK(name, "%s (key IDs of B2C's form)", detail)
	default:
		d.OK(name, "%s (key IDs of another form than B2C's usual one)", detail)
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
		m := tenantInIssuer.FindStringSubmatch(extra)
		if m != nil && tenants[strings.ToLower(m[2])] != nil {
			d.OK("B2C_EXTRA_ISSUERS", "%s is of the same tenant", extra)
			continue
		}
		d.Fail("B2C_EXTRA_ISSUERS", extra+" is not of the tenant that the metadata name, so the API ignores it.",
			"Copy the issuer from the other host's metadata, or take it out.")
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

// startVerifier starts the handler's verifier over some policies and waits until
// it has tried to read the keys of each, and of the other families' tenants. Readings go
// by policy or family. It runs until ctx ends.
func startVerifier(
	ctx context.Context, c config.Config, policies []config.Policy,
) (*entra.Verifier, map[string]reading, error) {
	log := &keyLog{readings: map[string]reading{}, reasons: map[string]string{}, wake: make(chan struct{}, 1)}
	names := make([]string, len(policies))
	for i, p := range policies {
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
