package entratest_test

import (
	"fmt"
	"log"
	"net/http"
	"strings"

	"itemsapi/handler/entra/entratest"
)

// A test starts a tenant, tells the API under test where its metadata are, and calls it
// with tokens that are right, and with those that are not.
func Example() {
	s, err := entratest.Start(entratest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	// The API under test is configured with s.MetadataTemplate(), entratest.APIClientID
	// and entratest.AppIDURI.
	good := s.Token("alice", "read")
	fmt.Println(len(strings.Split(good, ".")), "parts")

	broken, err := s.Broken("aud.is_client")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(broken.Why)
	// Output:
	// 3 parts
	// The token is for the client itself: its own ID was asked for as scope.
}

// Faults show what an API does while the sign-in has trouble.
func ExampleServer_Inject() {
	s, err := entratest.Start(entratest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	metadata := strings.NewReplacer("{tenant}", entratest.TenantName, "{policy}", entratest.PolicySignUpSignIn).
		Replace(s.MetadataTemplate())
	ask := func() {
		resp, err := http.Get(metadata)
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.StatusCode)
	}

	remove := s.Inject(entratest.Fault{Status: http.StatusServiceUnavailable})
	ask()
	remove()
	ask()
	// Output:
	// 503
	// 200
}
