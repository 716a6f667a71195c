package signin_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/scripts/internal/signin"
)

// The codes that Microsoft documents for B2C, and what each explanation has to speak of.
func TestDocumentedCodes(t *testing.T) {
	rows := []struct{ code, speaks string }{
		{"90001", "sign"},
		{"90002", "LoadUri"},
		{"90006", "redirect URI"},
		{"90007", "client_id"},
		{"90008", "client_id"},
		{"90010", "scope"},
		{"90011", "client_id"},
		{"90012", "Expose an API"},
		{"90013", "response_type"},
		{"90014", "response_mode"},
		{"90016", "client_assertion_type"},
		{"90017", "client_secret"},
		{"90018", "Application (client) ID"},
		{"90019", "Policy keys"},
		{"90021", "technical profile"},
		{"90022", "SAML"},
		{"90023", "Metadata"},
		{"90025", "CryptographicKeys"},
		{"90027", "Basic"},
		{"90028", "certificate"},
		{"90031", "DefaultUserJourney"},
		{"90035", "Service Health"},
		{"90036", "post_logout_redirect_uri"},
		{"90037", "correlation ID"},
		{"90039", "client_assertion"},
		{"90040", "SendClaims"},
		{"90043", "prompt"},
		{"90044", "resolver"},
		{"90046", "cookie"},
		{"90047", "CORS"},
		{"90048", "service"},
		{"90051", "domain_hint"},
		{"90052", "password"},
		{"90053", "Sign up"},
		{"90054", "password"},
		{"90055", "full scope values"},
		{"90057", "Implicit grant"},
		{"90058", "public client"},
		{"90067", "post_logout_redirect_uri"},
		{"90068", "New registration"},
		{"90073", "Policy keys"},
		{"90075", "REST API"},
		{"90077", "prompt=none"},
		{"90079", "secret"},
		{"90080", "Token lifetime"},
		{"90081", "Value"},
		{"90083", "parameter"},
		{"90084", "client_secret"},
		{"90085", "client credentials"},
		{"90086", "grant_type"},
		{"90087", "endpoint"},
		{"90088", "policy"},
		{"90091", "Cancel"},
		{"90092", "Enabled for users"},
		{"90107", "openid"},
		{"90108", "CpimIssuerTechnicalProfileReferenceId"},
		{"90110", "openid"},
		{"90111", "Account enabled"},
		{"90114", "Wait"},
		{"90115", "openid"},
		{"90117", "Microsoft Graph"},
		{"90118", "password"},
		{"90120", "max_age"},
		{"90122", "<"},
		{"90128", "deleted"},
		{"90129", "revoked"},
		{"90145", "number"},
		{"90146", "one API"},
		{"90149", "script"},
		{"90151", "Multifactor"},
		{"90152", "Try again"},
		{"90154", "Try again"},
		{"90155", "number"},
		{"90156", "code"},
		{"90157", "retryLimit"},
		{"90158", "validation"},
		{"90159", "code"},
		{"90161", "page"},
		{"90165", "SAML"},
		{"90168", "Signature"},
		{"90178", ".pfx"},
		{"90182", "verifier"},
		{"90183", "verifier"},
		{"90184", "S256"},
		{"90188", "PartnerEntity"},
		{"90194", "UseClaimAsBearerToken"},
		{"90205", "admin consent"},
		{"90206", "once more"},
		{"90208", "exp"},
		{"90209", "IdTokenAudience"},
		{"90210", "id_token_hint"},
		{"90211", "cookies"},
		{"90212", "cookies"},
		{"90220", "certificate"},
		{"90223", "HTML"},
		{"90224", "public client flows"},
		{"90225", "local account"},
		{"90226", "POST"},
		{"90229", "Retry-After"},
		{"90232", "issuer"},
		{"90233", "key"},
		{"90235", "exp"},
		{"90237", "IdTokenAudience"},
		{"90238", "iss"},
		{"90239", "key"},
		{"90240", "three parts"},
		{"90242", "metadata"},
		{"90243", "secret"},
		{"90244", "wait"},
		{"90248", "Register it again"},
		{"90250", "samlp"},
		{"90255", "REST API"},
		{"90261", "userMessage"},
		{"90272", "id_token_hint"},
		{"90273", "authresp"},
		{"90274", "SingleLogoutService"},
		{"90276", "setting"},
		{"90277", "ContentDefinitionReferenceId"},
		{"90279", "client_id"},
		{"90284", "ProxyIdentityExperienceFramework"},
		{"90285", "ProxyIdentityExperienceFramework"},
		{"90287", "absolute"},
		{"90288", "RefreshTokenUserJourneyId"},
		{"90289", "secret"},
		{"90296", "IdentityExperienceFramework"},
		{"99002", "Sign up"},
		{"99005", "spaces"},
		{"99006", "b2c-extensions-app"},
		{"99011", "Metadata"},
		{"99013", "grant_type"},
		{"99015", "InputClaims"},
		{"99027", "ClientCredentials"},
		{"99059", "PKCE"},
		{"99068", "/.default"}, // reported, and not documented
	}
	for _, row := range rows {
		found := signin.Find("AADB2C" + row.code + ": x")
		require.Len(t, found, 1, row.code)
		require.True(t, found[0].Explained(), row.code)
		said := strings.ToLower(found[0].Meaning + " " + found[0].Cause + " " + found[0].Fix)
		require.Contains(t, said, strings.ToLower(row.speaks), row.code)
	}
	numbered := 0
	for _, e := range signin.Errors() {
		if e.From == "b2c" && e.Code != "AADB2C" {
			numbered++
		}
	}
	require.Equal(t, len(rows), numbered, "a row for each")
}

// The other codes that people were reported to meet.
func TestOtherCodes(t *testing.T) {
	for _, code := range strings.Fields(`
		AADSTS50011 AADSTS500011 AADSTS650053 AADSTS650057 AADSTS65001 AADSTS65004 AADSTS70011 AADSTS700016 AADSTS700054
		AADSTS501481 AADSTS9002326 AADSTS7000218 AADSTS900144 AADSTS54005 AADSTS28002 AADSTS28003 AADSTS50020 AADSTS50194
		AADSTS500207 AADSTS500208 AADSTS399266 AADSTS90002 AADSTS50076 AADSTS50079 AADSTS50105 AADSTS50173 AADSTS70008
		AADSTS700082 AADSTS700084 AADSTS53003 AADSTS50146 AADSTS501461 AADSTS1100001 AADSTS901002 AADSTS9010010
		IDX40001 IDX40002 IDX40004 IDX40005 IDX40009 IDX40011 IDX10503 IDX10511 IDX10214 IDX10208 IDX10206 IDX10205 IDX10223
		IDX10222 IDX10225 IDX10504 IDX10609 IDX14121 IDX20803 IDX20807 IDW10201
		interaction_in_progress endpoints_resolution_error openid_config_error untrusted_authority hash_empty_error
		no_token_request_cache_error state_mismatch monitor_window_timeout timed_out popup_window_error
	`) {
		found := signin.Find("x " + code + ": y")
		require.Len(t, found, 1, code)
		require.Equal(t, code, found[0].Code)
		require.True(t, found[0].Explained(), code)
	}
}
