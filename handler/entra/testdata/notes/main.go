// Command notes is a program of another module. It protects a route with the access
// tokens of a tenant of each family:
//
//	METADATA_URL=… TENANT_METADATA_URL=… notes
//
// prints the address it listens on, and serves GET /notes until it is ended.
package main

import (
	"context"
	"fmt"
	"itemsapi/handler/entra"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	trust := entra.B2C("contoso", "B2C_1_signupsignin", "B2C_1_profileedit", "B2C_1_ropc")
	trust.Audience, trust.AppIDURI = "ecfb57af-c76a-49a0-b48f-37311846956f", "https://contoso.onmicrosoft.com/b2capi"
	trust.Clients, trust.Scopes = []string{"47840c35-e986-468b-8d2c-e25aa02d3d08"}, map[string]string{"read": "read"}
	trust.MetadataURL = os.Getenv("METADATA_URL") // without it the tenant's own

	customers, employees := entra.ExternalID("contosocustomers"), entra.Workforce("contosoworkforce.onmicrosoft.com")
	customers.Audience = "e1a91000-3d5e-4c92-b7f8-6a04e2d9c135"
	customers.AppIDURI = "api://e1a91000-3d5e-4c92-b7f8-6a04e2d9c135"
	employees.Audience = "3aa91000-8f16-4d7c-a0b5-24e9c7d3f608"
	employees.AppIDURI = "api://3aa91000-8f16-4d7c-a0b5-24e9c7d3f608"
	customers.Scopes, employees.Scopes = trust.Scopes, trust.Scopes
	customers.MetadataURL, employees.MetadataURL = os.Getenv("TENANT_METADATA_URL"), os.Getenv("TENANT_METADATA_URL")

	trusts := []entra.Trust{trust, customers, employees}
	verifier, err := entra.New(context.Background(), entra.Config{Trust: trusts, Realm: "notes"})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("GET /notes", verifier.Require(entra.Scope("read"))(http.HandlerFunc(list)))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, nil))
}

func list(w http.ResponseWriter, r *http.Request) {
	caller, _ := entra.CallerFrom(r.Context())
	fmt.Fprintf(w, "the notes of %s\n", caller.Subject)
}
