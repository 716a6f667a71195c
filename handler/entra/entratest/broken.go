package entratest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Broken is a way to be refused by the API with Code.
type Broken struct {
	Code  string
	Token string   // to send as Authorization: Bearer Token; "" if no token alone causes the code
	Curl  []string // curl arguments that cause it, without the URL; always set
	Query string   // what must stand behind the URL's ? as well: access_token=…; mostly ""
	Why   string   // one sentence: what is wrong

	// Untrusted, if not empty, is a family that the API must not trust: the code says that
	// the token is one of its tokens. All other codes come from an API that trusts all
	// three tenants.
	Untrusted Family

	// Applications says that the API must admit programs; for all other codes it must not.
	Applications bool

	// NeedsFault says that the code comes only while Fault is injected.
	NeedsFault bool
	Fault      Fault
}

// Broken makes a request that an API which trusts these tenants refuses with the code,
// and with no code before it: all else about it is right. The API is taken to accept
// three policies of B2C, without the one for forgotten passwords, and no clients but each
// tenant's client and daemon, and the call to need the scope read. The error lists the
// known codes.
func (s *Server) Broken(code string) (Broken, error) {
	for _, c := range brokenCatalogue {
		if c.code != code {
			continue
		}
		b := c.cause(s)
		b.Code, b.Why = c.code, c.why
		if b.Curl == nil {
			b.Curl = authorizationHeader("Bearer " + b.Token)
		}
		return b, nil
	}
	return Broken{}, fmt.Errorf("no refusal code %q; there are %s", short(code), strings.Join(BrokenCodes(), ", "))
}

// BrokenCodes lists every refusal code of authentication and authorization, in
// the order in which the API tries them.
func BrokenCodes() []string {
	codes := make([]string, len(brokenCatalogue))
	for i, c := range brokenCatalogue {
		codes[i] = c.code
	}
	return codes
}

// authorizationHeader gives the curl arguments for the header; curl takes an empty
// value as "do not send this one".
func authorizationHeader(value string) []string {
	return []string{"-H", strings.TrimSpace("Authorization: " + value)}
}

const someGUID = "d2f1a7c4-83b6-4e0d-a95e-1c7f0b3e6d28" // a tenant or an application of somebody else

// Kid and x5t of Entra ID are the SHA-1 thumbprint of a certificate: 27
// characters, where B2C's kid has 43.
func entraKid() string {
	sum := sha1.Sum([]byte("a certificate of Entra ID"))
	return base64url(sum[:])
}

var brokenCatalogue []brokenEntry

type brokenEntry struct {
	code, why string
	cause     func(*Server) Broken
}

func init() {
	// Here and not in the declaration: causes call Broken's methods, which read
	// the catalogue.
	brokenCatalogue = []brokenEntry{
		{"auth.malformed", "Something stands behind the token in the Authorization header.", func(s *Server) Broken {
			return Broken{Curl: authorizationHeader("Bearer " + s.good() + " and more")}
		}},
		{
			"auth.token_in_query", "The token is in the query, where logs and browser histories keep it.",
			func(s *Server) Broken {
				return Broken{Curl: authorizationHeader(""), Query: "access_token=" + s.good()}
			},
		},
		{"auth.missing", "There is no Authorization header.", func(*Server) Broken {
			return Broken{Curl: authorizationHeader("")}
		}},
		{
			"auth.bearer_prefix_missing", "The Authorization header has only the token, without the word Bearer.",
			func(s *Server) Broken {
				return Broken{Curl: authorizationHeader(s.good())}
			},
		},
		{"auth.scheme", "The Authorization header holds a user name and password (Basic).", func(*Server) Broken {
			return Broken{
				Curl: authorizationHeader("Basic " + base64.StdEncoding.EncodeToString([]byte("alice:password"))),
			}
		}},
		{
			"auth.token_empty", "A JavaScript client sent the word undefined, because its request for a token gave " +
				"none.",
			brokenToken(func(*Server) string {
				return "undefined"
			}),
		},

		{"token.too_large", "The token is longer than 16 KiB.", changedClaims(func(c map[string]any) {
			c["extension_Padding"] = strings.Repeat("padding ", 2048)
		})},
		{"token.opaque", "The token is a random string, not a JWT.", brokenToken(func(*Server) string {
			return randomText(32)
		})},
		{
			"token.code_or_refresh", "This is a refresh token; only the token endpoint takes it.",
			brokenToken(func(s *Server) string {
				return sealed(s.b2c)
			}),
		},
		{"token.malformed", "Half of the token's payload was lost when it was " +
			"copied.", brokenToken(func(s *Server) string {
			part := strings.Split(s.good(), ".")
			return part[0] + "." + part[1][:len(part[1])/8*4] + "." + part[2]
		})},
		{
			"token.encrypted", "The token is encrypted for the API, which reads signed ones.",
			brokenToken(func(s *Server) string {
				header := map[string]any{
					"alg": "RSA-OAEP", "enc": "A256CBC-HS512", "typ": "JWT", "cty": "JWT",
					"kid": entraKid(), "x5t": entraKid(),
				}
				return base64url(
					mustJSON(header),
				) + "." + randomText(
					256,
				) + "." + randomText(
					16,
				) + "." + randomText(
					600,
				) + "." +
					randomText(
						32,
					)
			}),
		},
		{
			"token.pop", "The client signed its request and put the access token into that (proof of possession).",
			brokenToken(func(s *Server) string {
				return s.Sign(string(Workforce), map[string]any{"typ": "pop", "kid": randomText(32)}, map[string]any{
					"at": s.goodOf(Workforce), "ts": s.now().Unix(), "nonce": randomText(16),
					"m": "GET", "u": "localhost:7071", "p": "/",
				})
			}),
		},

		{
			"token.static_web_apps", "Azure Static Web Apps put its own token in place of the client's.",
			brokenToken(func(s *Server) string {
				return signHS256(map[string]any{"alg": "HS256", "typ": "JWT"}, map[string]any{
					"iss": "https://" + someGUID + ".scm.azurewebsites.net",
					"aud": "https://" + someGUID + ".azurewebsites.net/azurefunctions",
					"nbf": s.now().Unix(), "iat": s.now().Unix(), "exp": s.now().Add(5 * time.Minute).Unix(),
				}, []byte(randomText(32)))
			}),
		},
		{"token.graph", "The token is for Microsoft Graph, which alone can check " +
			"it.", brokenToken(func(s *Server) string {
			g, _ := s.resolve(TokenRequest{Family: Workforce, Scopes: []string{"openid", "profile", "User.Read"}})
			c := s.accessClaims(g)
			s.makeVersionOne(c, g)
			c["aud"], c["appid"] = "00000003-0000-0000-c000-000000000000", ClientID
			c["iss"], c["tid"] = "https://sts.windows.net/"+TenantID+"/", TenantID
			return s.sign(g.policy, map[string]any{"nonce": randomText(32)}, c)
		})},
		{
			"token.entra_v1", "The token is of version 1 of Entra ID, as the API's manifest asks for.",
			brokenToken(func(s *Server) string {
				g, _ := s.resolve(TokenRequest{Family: Workforce})
				c := s.accessClaims(g)
				s.makeVersionOne(c, g)
				return s.sign(g.policy, nil, c)
			}),
		},
		{
			"token.entra", "The token is from Entra ID in a national cloud.",
			brokenToken(func(s *Server) string {
				c := s.claimsOf(Workforce)
				c["iss"] = "https://login.microsoftonline.us/" + WorkforceTenantID + "/v2.0"
				return s.Sign(string(Workforce), map[string]any{"kid": entraKid()}, c)
			}),
		},
		{
			"token.external_id", "The token is from Entra External ID, B2C's successor.",
			untrusted(External, func(s *Server) string {
				c := s.claimsOf(External)
				c["iss"] = "https://" + ExternalTenantID + ciamSuffix + "/" + ExternalTenantID + "/v2.0"
				return s.Sign(string(External), nil, c)
			}),
		},
		{"token.b2c", "The token is from Azure AD B2C.", untrusted(B2C, func(s *Server) string {
			c := s.Claims(TokenRequest{})
			c["iss"] = "https://" + TenantName + ".b2clogin.com/" + TenantID + "/v2.0/"
			return s.Sign(PolicySignUpSignIn, nil, c)
		})},
		{
			"token.upstream_idp", "The token is from Google, through which the user signed in, not from B2C.",
			brokenToken(func(s *Server) string {
				now := s.now()
				return s.Sign(
					PolicySignUpSignIn,
					map[string]any{"kid": "f4a1c60be92d7385f4a1c60be92d73859b3e0d17"},
					map[string]any{
						"iss": "https://accounts.google.com",
						"aud": "1234567890-abc.apps.googleusercontent.com",
						"azp": "1234567890-abc.apps.googleusercontent.com",
						"sub": "110169484474386276334", "email": "alice@gmail.example", "email_verified": true,
						"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
					},
				)
			}),
		},
		{
			"token.foreign", "The token is from Auth0.",
			brokenToken(func(s *Server) string {
				now := s.now()
				return s.Sign(PolicySignUpSignIn, map[string]any{"kid": randomText(16)}, map[string]any{
					"iss": "https://contoso.eu.auth0.com/", "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
					"aud": []string{"https://api.contoso.example", "https://contoso.eu.auth0.com/userinfo"},
					"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "azp": "my_client_id",
					"scope": "openid profile read:items",
				})
			}),
		},
		{
			"token.id_token", "This is the ID token, which tells the client who signed in; the API wants the " +
				"access token.",
			brokenToken(func(s *Server) string {
				t, _ := s.IDToken(TokenRequest{})
				return t
			}),
		},

		{
			"token.algorithm", "The token is signed with HS256 and the public key as secret, a well-known attack.",
			brokenToken(func(s *Server) string {
				key, kid := s.PrivateKey(PolicySignUpSignIn)
				der, _ := x509.MarshalPKIXPublicKey(&key.PublicKey)
				public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
				return signHS256(
					map[string]any{"alg": "HS256", "kid": kid, "typ": "JWT"},
					s.Claims(TokenRequest{}),
					public,
				)
			}),
		},
		{"token.header", "The token's header brings along the key to check it " +
			"with.", brokenToken(func(s *Server) string {
			key, kid := s.PrivateKey(PolicySignUpSignIn)
			e, n := jwkNumbers(&key.PublicKey)
			jwk := map[string]any{"kty": "RSA", "kid": kid, "e": e, "n": n}
			return s.Sign(PolicySignUpSignIn, map[string]any{"jwk": jwk}, s.Claims(TokenRequest{}))
		})},

		{
			"policy.not_allowed", "The token was issued by a policy that the API does not accept.",
			changedClaims(func(c map[string]any) {
				c["tfp"] = PolicyPasswordReset
			}),
		},
		{"policy.missing", "Neither tfp nor acr says which policy issued the " +
			"token.", changedClaims(func(c map[string]any) {
			delete(c, "tfp")
		})},
		{"tenant.mismatch", "tid names another tenant than iss.", changedOf(External, func(c map[string]any) {
			c["tid"] = someGUID
		})},

		{
			"keys.unavailable",
			"The token names a new key, and the key endpoint is down. Within 30 s of another unknown key " +
				"of " + PolicyROPC + " the API does not ask, and answers key.unknown.",
			func(s *Server) Broken {
				c := s.Claims(TokenRequest{Policy: PolicyROPC})
				return Broken{
					Token:      s.Sign(PolicyROPC, map[string]any{"kid": randomText(32)}, c),
					NeedsFault: true,
					Fault:      Fault{Match: s.keysOf(PolicyROPC), Status: http.StatusServiceUnavailable},
				}
			},
		},

		{"iss.slash_or_case", "The final slash of iss is missing.", otherIssuer(func(s *Server) string {
			return strings.TrimSuffix(s.Issuer(), "/")
		})},
		{
			"iss.form", "iss has the form with /tfp/ and the policy's name, which is another setting of the user flow.",
			otherIssuer(func(s *Server) string {
				return "https://" + s.publicHost + "/tfp/" + TenantID + "/" + strings.ToLower(
					PolicySignUpSignIn,
				) + "/v2.0/"
			}),
		},
		{"iss.legacy_host", "iss is of B2C's old host, login.microsoftonline.com.", otherIssuer(func(*Server) string {
			return "https://login.microsoftonline.com/" + TenantID + "/v2.0/"
		})},
		{
			"iss.other_host", "iss is of the same tenant on another host, such as a custom domain.",
			otherIssuer(func(*Server) string {
				return "https://login.contoso.example/" + TenantID + "/v2.0/"
			}),
		},
		{"iss.other_tenant", "iss is of another tenant.", otherIssuer(func(s *Server) string {
			return "https://" + s.publicHost + "/" + someGUID + "/v2.0/"
		})},
		{
			"iss.ciam_name", "iss has the tenant's name where External ID writes its GUID.",
			changedOf(External, func(c map[string]any) {
				c["iss"] = "https://" + ExternalTenantName + ciamSuffix + "/" + ExternalTenantID + "/v2.0"
			}),
		},
		{
			"iss.workforce_door", "The client asked " + workforceDoor + " for a token of the external tenant.",
			brokenToken(func(s *Server) string {
				g, _ := s.resolve(TokenRequest{Family: External})
				g.door = workforceDoor
				return s.sign(g.policy, nil, s.accessClaims(g))
			}),
		},
		{"iss.unknown", "iss starts with http.", otherIssuer(func(s *Server) string {
			return strings.Replace(s.Issuer(), "https:", "http:", 1)
		})},

		{"key.unknown", "The token names a key that the policy does not publish.", brokenToken(func(s *Server) string {
			return s.Sign(PolicySignUpSignIn, map[string]any{"kid": randomText(32)}, s.Claims(TokenRequest{}))
		})},
		{"sig.invalid", "One bit of the signature was changed.", brokenToken(func(s *Server) string {
			part := strings.Split(s.good(), ".")
			sig, _ := base64.RawURLEncoding.DecodeString(part[2])
			sig[len(sig)/2] ^= 1
			return part[0] + "." + part[1] + "." + base64url(sig)
		})},

		{
			"aud.is_client", "The token is for the client itself: its own ID was asked for as scope.",
			changedClaims(func(c map[string]any) {
				c["aud"] = ClientID
			}),
		},
		{
			"aud.swapped", "aud is the client, and azp the API: so it looks where the two settings are swapped.",
			changedClaims(func(c map[string]any) {
				c["aud"], c["azp"] = ClientID, APIClientID
			}),
		},
		{"aud.is_uri", "aud is the App ID URI; B2C writes the application ID.", changedClaims(func(c map[string]any) {
			c["aud"] = AppIDURI
		})},
		{"aud.wrong", "The token is for another API.", changedClaims(func(c map[string]any) {
			c["aud"] = someGUID
		})},

		{"time.malformed", "The token does not say when it expires.", changedClaims(func(c map[string]any) {
			delete(c, "exp")
		})},
		{"time.expired", "The token expired an hour ago.", brokenToken(func(s *Server) string {
			t, _ := s.AccessToken(TokenRequest{Lifetime: -time.Hour})
			return t
		})},
		{"time.not_yet_valid", "The token becomes valid in an hour: a clock is " +
			"wrong.", brokenToken(func(s *Server) string {
			c := s.Claims(TokenRequest{})
			now := s.now()
			c["iat"], c["nbf"], c["exp"] = now.Add(time.Hour).
				Unix(),
				now.Add(time.Hour).
					Unix(),
				now.Add(2*time.Hour).
					Unix()
			return s.Sign(PolicySignUpSignIn, nil, c)
		})},

		{"subject.missing", "There is no oid, and sub says only to use it.", changedClaims(func(c map[string]any) {
			delete(c, "oid")
			c["sub"] = "Not supported currently. Use oid claim."
		})},
		{
			"subject.no_oid", "The client did not ask for profile, so the token has no oid.",
			brokenToken(func(s *Server) string {
				g, _ := s.resolve(TokenRequest{Family: External})
				g.profile = false
				return s.sign(g.policy, nil, s.accessClaims(g))
			}),
		},
		{
			"azp.not_allowed", "The token was issued to B2COther, a client that the API does not admit.",
			brokenToken(func(s *Server) string {
				t, _ := s.AccessToken(TokenRequest{Client: OtherClientID, Scopes: []string{"read"}})
				return t
			}),
		},
		{
			"caller.application", "The token was issued to a program that signed in as itself.",
			brokenToken(func(s *Server) string {
				t, _ := s.AccessToken(TokenRequest{Family: Workforce, Application: true})
				return t
			}),
		},

		{"scope.none", "The token has no scopes.", brokenToken(func(s *Server) string {
			t, _ := s.AccessToken(TokenRequest{Scopes: []string{}})
			return t
		})},
		{"scope.missing", "The token has the scope write, and reading needs read.", brokenToken(func(s *Server) string {
			t, _ := s.AccessToken(TokenRequest{Scopes: []string{"write"}})
			return t
		})},
		{"role.missing", "The program has the app role write, and reading needs read.", func(s *Server) Broken {
			t, _ := s.AccessToken(TokenRequest{Family: Workforce, Application: true, Scopes: []string{"write"}})
			return Broken{Token: t, Applications: true}
		}},
	}
}

func brokenToken(make func(*Server) string) func(*Server) Broken {
	return func(s *Server) Broken { return Broken{Token: make(s)} }
}

// changedClaims changes the claims of a good token.
func changedClaims(change func(map[string]any)) func(*Server) Broken {
	return brokenToken(func(s *Server) string {
		c := s.Claims(TokenRequest{})
		change(c)
		return s.Sign(PolicySignUpSignIn, nil, c)
	})
}

// changedOf is changedClaims for another family's token.
func changedOf(f Family, change func(map[string]any)) func(*Server) Broken {
	return brokenToken(func(s *Server) string {
		c := s.claimsOf(f)
		change(c)
		return s.Sign(string(f), nil, c)
	})
}

// untrusted is for a token of a family that the API does not trust.
func untrusted(f Family, make func(*Server) string) func(*Server) Broken {
	return func(s *Server) Broken { return Broken{Token: make(s), Untrusted: f} }
}

func otherIssuer(iss func(*Server) string) func(*Server) Broken {
	return brokenToken(func(s *Server) string {
		c := s.Claims(TokenRequest{})
		c["iss"] = iss(s)
		return s.Sign(PolicySignUpSignIn, nil, c)
	})
}

func (s *Server) good() string { return s.goodOf(B2C) }

func (s *Server) goodOf(f Family) string {
	t, _ := s.AccessToken(TokenRequest{Family: f})
	return t
}

func (s *Server) claimsOf(f Family) map[string]any { return s.Claims(TokenRequest{Family: f}) }

func signHS256(header, claims map[string]any, secret []byte) string {
	signed := base64url(mustJSON(header)) + "." + base64url(mustJSON(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64url(mac.Sum(nil))
}

// sealed makes a value that looks as codes and refresh tokens do: B2C's are a JWE whose
// second part is empty. Nobody can read it; it is only a name.
func sealed(d *directory) string {
	if d.family != B2C {
		return "1.A" + randomText(90) + "." + randomText(240)
	}
	header := `{"kid":"cpimcore_09252015","ver":"1.0","zip":"Deflate","ser":"1.0"}`
	return base64url([]byte(header)) + ".." + randomText(12) + "." + randomText(192) + "." + randomText(16)
}

// randomText is n random bytes in base64url.
func randomText(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return base64url(b)
}

// keysOf matches requests for the policy's keys.
func (s *Server) keysOf(policy string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		e := s.parse(r)
		return e.kind == keysEndpoint && e.policy != nil && e.policy.name == policy
	}
}
