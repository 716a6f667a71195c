package entra_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// found spells checks as "group: codes", leaving out what passed.
func found(checks []entra.Check) (failed, skipped []string) {
	for _, c := range checks {
		var codes []string
		for _, r := range c.Refusals {
			codes = append(codes, r.Code)
		}
		if codes != nil {
			failed = append(failed, c.Group.String()+": "+strings.Join(codes, " "))
		}
		if c.Skipped != "" {
			skipped = append(skipped, c.Group.String())
		}
	}
	return failed, skipped
}

func TestExamine(t *testing.T) {
	s := tenant(t, entratest.Options{})
	v := start(t, t.Context(), configFor(s))
	good := accessToken(t, s, entratest.TokenRequest{})
	for _, tt := range []struct {
		name            string
		sent            entra.Credentials
		failed, skipped []string
	}{
		{"good", bearer(good), nil, nil},
		{
			"nothing",
			entra.Credentials{},
			[]string{"request: auth.missing"},
			strings.Fields("form kind header family keys issuer key audience time caller scope"),
		},
		{
			"opaque", bearer("x"),
			[]string{"form: token.opaque"},
			strings.Fields("kind header family keys issuer key audience time caller scope"),
		},
		{
			"several things",
			changed(s, map[string]any{"aud": entratest.ClientID, "exp": time.Now().Unix() - 4000, "scp": "write"}),
			[]string{"audience: aud.is_client", "time: time.expired", "scope: scope.missing"},
			nil,
		},
		{
			"a policy that is not accepted", changed(s, map[string]any{"tfp": "B2C_1_x"}),
			[]string{"family: policy.not_allowed"},
			strings.Fields("keys issuer key"),
		},
		{
			"a key that nobody published",
			bearer(s.Sign(entratest.PolicySignUpSignIn, map[string]any{"kid": "x"}, s.Claims(entratest.TokenRequest{}))),
			[]string{"key: key.unknown"},
			nil,
		},
		{"a forged one", bearer(good[:len(good)-20] + strings.Repeat("A", 20)), []string{"key: sig.invalid"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checks, err := v.Examine(t.Context(), tt.sent, entra.Scope("read"))
			require.NoError(t, err)
			failed, skipped := found(checks)
			require.Equal(t, tt.failed, failed)
			require.Equal(t, tt.skipped, skipped)
			require.Len(t, checks, 12)
		})
	}
	// The first that Examine finds is what Verify says.
	v = start(t, t.Context(), configForAll(s))
	settled(t, v)
	for _, code := range entratest.BrokenCodes() {
		broken, err := s.Broken(code)
		require.NoError(t, err)
		if broken.Token == "" || broken.NeedsFault || broken.Untrusted != "" || broken.Applications {
			continue
		}
		checks, err := v.Examine(t.Context(), bearer(broken.Token), entra.Scope("read"))
		require.NoError(t, err)
		failed, _ := found(checks)
		require.NotEmpty(t, failed, code)
		_, first, _ := strings.Cut(failed[0], ": ")
		require.Equal(t, code, strings.Fields(first)[0])
	}
}
