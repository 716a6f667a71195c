// Package spa is what Go programs share about the single-page app: the form of its
// config.json. The app itself is HTML and JavaScript.
package spa

// Config is the app's config.json. Against a tenant it is a file that a person, or
// scripts/register, writes.
type Config struct {
	ClientID string `json:"clientId"`
	// Authority is https://HOST/TENANT/POLICY of B2C's sign-up or sign-in policy, and
	// https://HOST/TENANT of External ID and Entra ID, which have no policies.
	Authority string `json:"authority"`
	// LocalMetadata is where a sign-in that speaks http has its metadata.
	LocalMetadata string `json:"localMetadata,omitempty"`
	Scopes        struct {
		Read  string `json:"read"` // full values
		Write string `json:"write"`
	} `json:"scopes"`
	API      string `json:"api"` // with /api
	Policies struct {
		SignUpSignIn string `json:"signUpSignIn"`
		EditProfile  string `json:"editProfile,omitempty"`
		// PasswordReset is where people go who forgot theirs, if the sign-in does not see
		// to that itself, as B2C's older policies do not.
		PasswordReset string `json:"passwordReset,omitempty"`
	} `json:"policies,omitzero"`
}
