package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items/itemstest"
)

// TestPreconditions holds every method, with each If-Match and each If-None-Match, in each
// state of the item, against what RFC 9110 says. own stands for the item's ETag.
func TestPreconditions(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.token(t, "alice"), w.token(t, "bob")
	const other = `"another"`
	ifMatches := []string{"", "*", "own", "W/own", other, other + ", own", "W/own, own"}
	ifNoneMatches := append(slices.Clone(ifMatches), "no tag")

	// Section 13.1.1: strong comparison. Section 13.1.2: weak comparison.
	matchHolds := func(ifMatch string) bool {
		return slices.Contains([]string{"*", "own", other + ", own", "W/own, own"}, ifMatch)
	}
	noneMatchFails := func(ifNoneMatch string) bool {
		return ifNoneMatch == "*" || strings.Contains(ifNoneMatch, "own")
	}
	// A weak tag of a list is never equal, strongly.
	listMatchHolds := func(ifMatch string) bool { return ifMatch == "*" }

	type outcome struct {
		status int
		code   string
	}
	expected := func(method, state, ifMatch, ifNoneMatch string) outcome {
		read := method == "GET" || method == "HEAD"
		list, there := state == "list", state == "there" || state == "list"
		switch {
		case method == "POST": // it is about no item yet
			return outcome{201, ""}
		// This API's own: a change has to say which version it is for, but PUT may create.
		case method == "PUT" && ifMatch == "" && ifNoneMatch == "*" && state == "deleted":
			return outcome{410, "item.deleted"}
		case method == "PUT" && ifMatch == "" && ifNoneMatch == "*" && !there:
			return outcome{201, ""}
		case method == "PUT" && ifMatch == "" && ifNoneMatch == "*":
			return outcome{412, "item.exists"}
		case !read && ifMatch == "":
			return outcome{428, "if_match.required"}
		// Section 13.2.1: what would not succeed without them is not about preconditions.
		case !there:
			return outcome{404, "item.not_found"}
		// Section 13.2.2, step 1.
		case ifMatch != "" && !list && !matchHolds(ifMatch), ifMatch != "" && list && !listMatchHolds(ifMatch):
			return outcome{412, "item.changed"}
		// Steps 2 and 4: nothing here has a date. Step 3.
		case ifNoneMatch != "" && noneMatchFails(ifNoneMatch) && read:
			return outcome{304, ""}
		case ifNoneMatch != "" && noneMatchFails(ifNoneMatch):
			return outcome{412, "item.exists"}
		}
		return outcome{200, ""}
	}

	fill := func(value, own string) string {
		own = strings.TrimPrefix(own, "W/")
		return strings.ReplaceAll(value, "own", own)
	}
	for _, state := range []string{"there", "never there", "deleted", "another's", "list", "delta", "description"} {
		methods := []string{"GET", "HEAD", "PUT", "PATCH", "DELETE"}
		if state == "list" {
			methods = []string{"GET", "HEAD", "POST"}
		} else if state == "delta" {
			methods = []string{"GET", "HEAD"}
		} else if state == "description" {
			methods = []string{"GET"}
		}
		for _, method := range methods {
			t.Run(method+" "+state, func(t *testing.T) {
				for _, ifMatch := range ifMatches {
					for _, ifNoneMatch := range ifNoneMatches {
						name := fmt.Sprintf("If-Match %q, If-None-Match %q", ifMatch, ifNoneMatch)
						expect := state
						path, own := "/api/items/"+newID(), `"of-none"`
						switch state {
						case "there", "deleted":
							id, etag, _ := w.made(t, alice, itemstest.Text("x"))
							path, own = "/api/items/"+id, etag
							if state == "deleted" {
								require.Equal(t, 200, w.send(t, "DELETE", path, alice, "", "If-Match", other+", "+etag).StatusCode)
								own = `"of-none"`
							}
						case "another's":
							var id string
							id, own, _ = w.made(t, bob, itemstest.Text("x"))
							path = "/api/items/" + id
						case "list", "delta", "description":
							path = map[string]string{
								"list": "/api/items?limit=1", "delta": "/api/items/delta?limit=1", "description": "/api/openapi.json",
							}[state]
							if method == "POST" {
								path = "/api/items"
							}
							own, expect = w.send(t, "GET", path, alice, "").Header.Get("ETag"), "list"
						}
						body := ""
						if method == "POST" || method == "PUT" || method == "PATCH" {
							body = itemstest.Text("y")
						}
						var headers []string
						if ifMatch != "" {
							headers = append(headers, "If-Match", fill(ifMatch, own))
						}
						if ifNoneMatch != "" {
							headers = append(headers, "If-None-Match", fill(ifNoneMatch, own))
						}
						r := w.send(t, method, path, alice, body, headers...)
						want := expected(method, expect, ifMatch, ifNoneMatch)
						require.Equal(t, want.status, r.StatusCode, "%s: %s", name, r.body)
						if want.code != "" && method != "HEAD" {
							require.Equal(t, want.code, r.code(t), name)
						}
					}
				}
			})
		}
	}

	// What is no list of tags is said, where it would have decided.
	id, _, _ := w.made(t, alice, itemstest.Text("x"))
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
		body := ""
		if method != "GET" && method != "DELETE" {
			body = itemstest.Text("y")
		}
		r := w.send(t, method, "/api/items/"+id, alice, body, "If-Match", "without-quotes")
		require.Equal(t, 400, r.StatusCode)
		require.Equal(t, "parameter.invalid", r.code(t))
	}
	r := w.send(t, "GET", "/api/items", alice, "", "If-Match", `"x"`)
	require.Contains(t, r.json(t)["detail"], "weak")
}
