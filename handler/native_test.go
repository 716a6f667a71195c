package main

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"itemsapi/handler/entra/entratest"
	"itemsapi/handler/functionstest"
)

var (
	signInForm = regexp.MustCompile(`<form method="post" action="([^"]+)">`)
	aScope     = regexp.MustCompile(`name="([^"]+)" value="([^"]+)" checked`)
	aUser      = regexp.MustCompile(`<button type="submit" name="([^"]+)" value="alice"`)
)

// TestNativeApp plays the requests of AppAuth, the library that most mobile apps
// sign in with (RFC 8252): a code with PKCE, redirected to the app's own scheme or
// to any port of loopback, no Origin, refresh tokens that rotate.
func TestNativeApp(t *testing.T) {
	tenant := startTenant(t)
	host, err := functionstest.Start(t.Context(), functionstest.Config{
		Dir: "..", Executable: builtHandler(t), Env: environment(settings(tenant, startStorage(t).ConnectionString())),
	})
	require.NoError(t, err)
	t.Cleanup(func() { host.Close() })
	for _, tt := range []struct{ library, authority, redirect string }{
		{"AppAuth", tenant.URL() + "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "com.example.items:/oauth2redirect"},
		{"flutter_appauth", tenant.URL() + "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "com.example.items://oauth/redirect"},
		{"MSAL for Android", tenant.URL() + "/tfp/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "msauth://com.example.items/fh1QXYC7hDu6vDr8yxhZcQ%3D%3D"},
		{"MSAL for iOS", tenant.URL() + "/tfp/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "msauth.com.example.items://auth"},
		{"Expo Go", tenant.URL() + "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "exp://127.0.0.1:8081/--/oauth2redirect"},
		{"Capacitor", tenant.URL() + "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "capacitor://localhost/callback"},
		{"MSAL.NET", tenant.URL() + "/tfp/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "https://contoso.b2clogin.com/oauth2/nativeclient"},
		{"a desktop app", tenant.URL() + "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn, "http://127.0.0.1:51004/callback"},
	} {
		t.Run(tt.library, func(t *testing.T) {
			config := &oauth2.Config{
				ClientID: entratest.ClientID, RedirectURL: tt.redirect,
				Endpoint: oauth2.Endpoint{AuthURL: tt.authority + "/oauth2/v2.0/authorize", TokenURL: tt.authority + "/oauth2/v2.0/token", AuthStyle: oauth2.AuthStyleInParams},
				Scopes:   []string{"openid", "offline_access", entratest.AppIDURI + "/read", entratest.AppIDURI + "/write"},
			}
			verifier := oauth2.GenerateVerifier()
			code := signInAsAlice(t, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), tt.redirect)
			_, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(oauth2.GenerateVerifier()))
			require.ErrorContains(t, err, "invalid_grant", "another app that caught the redirect")
			code = signInAsAlice(t, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), tt.redirect)
			token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
			require.NoError(t, err)
			require.NotEmpty(t, token.RefreshToken)
			require.Equal(t, "Bearer", token.TokenType)
			require.WithinDuration(t, time.Now().Add(time.Hour), token.Expiry, time.Minute)
			require.NotEmpty(t, token.Extra("id_token"))
			_, err = config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
			require.ErrorContains(t, err, "invalid_grant", "a code works once")

			call := func(token *oauth2.Token) {
				resp, err := config.Client(t.Context(), token).Get(host.URL() + "/api/items")
				require.NoError(t, err)
				resp.Body.Close()
				require.Equal(t, http.StatusOK, resp.StatusCode)
			}
			require.Eventually(t, func() bool {
				status, _, _ := send(t, "GET", host.URL()+"/api/items", token.AccessToken, "")
				return status == http.StatusOK
			}, 30*time.Second, 20*time.Millisecond)
			call(token)

			// An hour later the library renews, and keeps the refresh token that it then gets.
			expired := *token
			expired.Expiry = time.Now().Add(-time.Minute)
			renewed, err := config.TokenSource(t.Context(), &expired).Token()
			require.NoError(t, err)
			require.NotEqual(t, token.RefreshToken, renewed.RefreshToken)
			call(renewed)
		})
	}

	t.Run("what is not registered", func(t *testing.T) {
		for _, redirect := range []string{"https://evil.example/", "http://192.168.0.10/callback", "items://callback"} {
			config := &oauth2.Config{
				ClientID: entratest.ClientID, RedirectURL: redirect, Scopes: []string{"openid"},
				Endpoint: oauth2.Endpoint{AuthURL: tenant.URL() + "/" + entratest.TenantDomain + "/" + entratest.PolicySignUpSignIn + "/oauth2/v2.0/authorize"},
			}
			resp, err := http.Get(config.AuthCodeURL("state"))
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode, redirect)
			require.Contains(t, string(body), "AADB2C90006")
		}
	})
}

// signInAsAlice is the browser that the app opens: it shows the page, alice presses
// her button, and the answer goes to the redirect URI byte for byte.
func signInAsAlice(t *testing.T, authorize, redirect string) (code string) {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	send := func(req *http.Request) (*http.Response, string) {
		resp, err := browser.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, authorize, nil)
	require.NoError(t, err)
	resp, page := send(req)
	require.Equal(t, http.StatusOK, resp.StatusCode, page)
	action, user := signInForm.FindStringSubmatch(page), aUser.FindStringSubmatch(page)
	require.NotNil(t, action, page)
	form := url.Values{user[1]: {"alice"}}
	for _, scope := range aScope.FindAllStringSubmatch(page, -1) {
		form.Add(scope[1], scope[2])
	}
	target, err := req.URL.Parse(html.UnescapeString(action[1]))
	require.NoError(t, err)
	req, err = http.NewRequestWithContext(context.Background(), http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, page = send(req)
	require.Contains(t, []int{http.StatusFound, http.StatusSeeOther}, resp.StatusCode, page)
	location := resp.Header.Get("Location")
	require.True(t, strings.HasPrefix(location, redirect+"?"), location)
	query, err := url.ParseQuery(strings.TrimPrefix(location, redirect+"?"))
	require.NoError(t, err)
	require.Equal(t, "state", query.Get("state"), fmt.Sprint(query))
	return query.Get("code")
}
