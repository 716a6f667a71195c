package tables_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/tables/tablestest/azurite"
)

// identityEndpoint stands for what an app in Azure gets its identity's tokens from.
type identityEndpoint struct {
	url string

	mu     sync.Mutex
	asked  []string // the identities that were asked for
	claims jwt.MapClaims
	delay  time.Duration
}

func startIdentity(t *testing.T) *identityEndpoint {
	e := &identityEndpoint{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.asked = append(e.asked, r.FormValue("client_id"))
		delay, now := e.delay, time.Now()
		claims := jwt.MapClaims{
			"iss": "https://sts.windows.net/775527ff-9a37-4307-8b3d-cc311f58d925/", "aud": r.FormValue("resource"),
			"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(),
		}
		for name, value := range e.claims {
			claims[name] = value
		}
		e.mu.Unlock()
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("nobody checks it here"))
		if err != nil || r.Header.Get("X-IDENTITY-HEADER") != "secret" {
			http.Error(w, "not asked as an app asks", http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": token, "token_type": "Bearer", "resource": r.FormValue("resource"),
			"expires_on": now.Add(time.Hour).Unix(),
		})
	}))
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

// now has the next tokens made otherwise, after a while.
func (e *identityEndpoint) now(claims jwt.MapClaims, delay time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.claims, e.delay = claims, delay
}

func (e *identityEndpoint) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

// TestBearer: what runs in Azure, a managed identity's tokens over TLS, against the strict
// service and Azurite.
func TestBearer(t *testing.T) {
	identity := startIdentity(t)
	t.Setenv("IDENTITY_ENDPOINT", identity.url)
	t.Setenv("IDENTITY_HEADER", "secret")
	lender := httptest.NewTLSServer(nil) // of a certificate
	defer lender.Close()
	certificate := lender.TLS.Certificates[0]
	roots := x509.NewCertPool()
	roots.AddCert(lender.Certificate())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()

	test := func(t *testing.T, endpoint string) {
		// A client ID of its own each time: azidentity keeps tokens for the whole process.
		open := func(table string) (*tables.Store, string) {
			id := uuid.NewString()
			s, err := tables.Open(tables.Config{
				Endpoint: endpoint, IdentityClientID: id, Table: table, Transport: transport,
			})
			require.NoError(t, err)
			return s, id
		}
		table := newTable()
		// In Azure the deployment makes the table.
		credential, err := azidentity.NewManagedIdentityCredential(
			&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(uuid.NewString())})
		require.NoError(t, err)
		service, err := aztables.NewServiceClient(endpoint, credential, &aztables.ClientOptions{
			ClientOptions: azcore.ClientOptions{Transport: &http.Client{Transport: transport}},
		})
		require.NoError(t, err)
		_, err = service.NewClient(table).CreateTable(t.Context(), nil)
		require.NoError(t, err)

		owner := someone("bearer")
		t.Run("list, create, batch, replay, delta", func(t *testing.T) {
			identity.now(nil, 300*time.Millisecond) // slow, but not too slow
			s, id := open(table)
			require.Empty(t, list(t, s, owner))
			create(t, s, owner, "one")
			batch := []items.Draft{draft("two"), draft("three")}
			made, replayed, err := keep(t.Context(), s, owner, batch, key("k", "k"))
			require.NoError(t, err)
			require.False(t, replayed)
			again, replayed, err := keep(t.Context(), s, owner, batch, key("k", "k"))
			require.NoError(t, err)
			require.True(t, replayed)
			require.Equal(t, made, again)
			require.Len(t, list(t, s, owner), 3)
			told, _ := delta(t, s, owner, "", 100)
			require.Len(t, told, 3)
			asked := 0
			for _, one := range identity.requests() {
				if one == id {
					asked++
				}
			}
			require.Equal(t, 1, asked, "one token serves all")
		})
		for name, claims := range map[string]jwt.MapClaims{
			"expired":          {"exp": time.Now().Add(-time.Second).Unix()},
			"not yet valid":    {"nbf": time.Now().Add(time.Hour).Unix()},
			"another's":        {"aud": "https://graph.microsoft.com"},
			"another issuer's": {"iss": "https://example.com/"},
		} {
			t.Run("token refused: "+name, func(t *testing.T) {
				identity.now(claims, 0)
				s, _ := open(table)
				_, err := s.Get(t.Context(), owner, newID())
				require.ErrorIs(t, err, items.ErrUnavailable)
				_, _, err = keep(t.Context(), s, owner, []items.Draft{draft("x")}, nil)
				require.ErrorIs(t, err, items.ErrUnavailable)
				require.NotErrorIs(t, err, items.ErrOutcomeUnknown, "it was refused")
			})
		}
		t.Run("identity too slow, then well", func(t *testing.T) {
			identity.now(nil, 1500*time.Millisecond)
			s, _ := open(table)
			_, err := s.Get(t.Context(), owner, newID())
			require.ErrorIs(t, err, items.ErrUnavailable)
			require.ErrorContains(t, err, "the identity endpoint has not answered for")
			require.Eventually(t, func() bool {
				_, err := s.Get(t.Context(), owner, newID())
				return errors.Is(err, items.ErrNotFound)
			}, 20*time.Second, 50*time.Millisecond)
		})
	}

	t.Run("strict", func(t *testing.T) {
		s, err := tablestest.Start(tablestest.Options{Certificate: &certificate})
		require.NoError(t, err)
		t.Cleanup(s.Close)
		test(t, s.URL())
	})
	t.Run("Azurite", func(t *testing.T) {
		dir := t.TempDir()
		o := azurite.Options{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
		secret, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
		require.NoError(t, err)
		for name, block := range map[string]*pem.Block{
			o.Certificate: {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]},
			o.Key:         {Type: "PRIVATE KEY", Bytes: secret},
		} {
			require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
		}
		a, err := azurite.Start(context.Background(), o)
		if errors.Is(err, azurite.ErrNotInstalled) && os.Getenv("CI") != "true" {
			t.Skip(err)
		}
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, a.Close()) })
		test(t, a.URL())
	})
}
