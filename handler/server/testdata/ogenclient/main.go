// Command ogenclient has a client compiled that ogen generates from the API's OpenAPI
// document, in the package api beside this file.
package main

import "client.test/ogenclient/api"

func main() {
	var _ api.Invoker = (*api.Client)(nil)
}
