package entra_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"itemsapi/handler/entra"
	"itemsapi/handler/entra/entratest"
)

// contoso trusts the tenant that entratest serves in place of one in Azure, of which
// MetadataURL need not be set.
func contoso(tenant *entratest.Server) entra.Trust {
	trust := entra.B2C("contoso", "B2C_1_signupsignin")
	trust.Audience = "ecfb57af-c76a-49a0-b48f-37311846956f" // the API's application ID
	trust.AppIDURI = "https://contoso.onmicrosoft.com/b2capi"
	trust.Scopes = map[string]string{"read": "read", "write": "write"}
	trust.Clients = []string{"47840c35-e986-468b-8d2c-e25aa02d3d08"}
	trust.MetadataURL = tenant.MetadataTemplate()
	return trust
}

func ExampleVerifier_Require() {
	tenant, err := entratest.Start(entratest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer tenant.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // ends the reading of keys

	verifier, err := entra.New(ctx, entra.Config{Trust: []entra.Trust{contoso(tenant)}, Realm: "notes"})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /notes", verifier.Require(entra.Scope("read"))(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			caller, _ := entra.CallerFrom(r.Context())
			fmt.Fprintf(w, "the notes of %s", caller.Subject)
		})))

	api := httptest.NewServer(mux)
	defer api.Close()
	for _, token := range []string{tenant.Token("alice", "read"), tenant.Token("alice", "write")} {
		req, err := http.NewRequest(http.MethodGet, api.URL+"/notes", nil)
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(resp.Status)
		var problem struct{ Code, Detail string }
		if json.Unmarshal(body, &problem) == nil {
			fmt.Println(problem.Code)
			fmt.Println(problem.Detail)
		} else {
			fmt.Println(string(body))
		}
	}
	// Output:
	// 200 OK
	// the notes of a11ce000-5b7d-4c1e-8f3a-2d9e6c40b715
	// 403 Forbidden
	// scope.missing
	// scp has write, this call needs read.
}

func ExampleVerifier_Verify() {
	tenant, err := entratest.Start(entratest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer tenant.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	verifier, err := entra.New(ctx, entra.Config{Trust: []entra.Trust{contoso(tenant)}, Realm: "notes"})
	if err != nil {
		log.Fatal(err)
	}

	// The article's mistake: the client asked for a token for itself.
	broken, err := tenant.Broken("aud.is_client")
	if err != nil {
		log.Fatal(err)
	}
	for _, token := range []string{tenant.Token("alice", "read"), broken.Token} {
		sent := entra.Credentials{Authorization: []string{"Bearer " + token}}
		caller, err := verifier.Verify(ctx, sent, entra.Scope("read"))
		var refusal *entra.Refusal
		switch {
		case err == nil:
			fmt.Println(caller.Family, caller.Policy, caller.Scopes)
		case errors.As(err, &refusal):
			fmt.Println(refusal.Status, refusal.Code)
			fix, _, _ := strings.Cut(refusal.Explain().Fix, " Portal:")
			fmt.Println(fix)
		}
	}
	// Output:
	// b2c B2C_1_signupsignin [read]
	// 401 aud.is_client
	// Ask for the API's scope, https://contoso.onmicrosoft.com/b2capi/read, instead of the client's own ID.
}

// A configuration that would admit too much is an error.
func ExampleNew() {
	trust := entra.B2C("contoso", "B2C_1_signupsignin")
	trust.AppIDURI = "https://contoso.onmicrosoft.com/b2capi"
	_, err := entra.New(context.Background(), entra.Config{Trust: []entra.Trust{trust}, Realm: "notes"})
	fmt.Println(err)
	// Output:
	// entra: in Trust[0], b2c contoso: Audience "" is not an application ID, which is a GUID
	// in Trust[0], b2c contoso: Scopes is empty
}
