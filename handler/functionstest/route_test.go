package functionstest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoutes(t *testing.T) {
	tests := []struct {
		prefix, route string
		yes, no       []string
	}{
		{
			"api", "things/{*path}",
			[]string{"/api/things", "/api/things/", "/api/things/a", "/API/Things/a/b/c", "/api/things/a%2Fb", "/api/things/a//b", "/api/things/a//"},
			[]string{"/api", "/api/thing", "/things", "/api/things//a", "/api//things", "//api/things", "/api/thingsx", "/"},
		},
		{"api", "things/{id}", []string{"/api/things/1", "/api/things/1/"}, []string{"/api/things", "/api/things/1/2"}},
		{"api", "things/{id?}", []string{"/api/things/1", "/api/things"}, []string{"/api", "/api/things/1/2"}},
		{"api", "things/{id}/parts/{**rest}", []string{"/api/things/1/parts", "/api/things/1/parts/2/3"}, []string{"/api/things/1", "/api/things/1/x"}},
		{"", "openapi.json", []string{"/openapi.json"}, []string{"/api/openapi.json", "/"}},
		{"", "", []string{"/"}, []string{"/a"}},
		{"", "{*all}", []string{"/", "/a", "/a/b", "/a//b"}, []string{"//a"}},
		{"/v1/api/", "/x/", []string{"/v1/api/x"}, []string{"/api/x"}},
	}
	for _, test := range tests {
		f, err := newFunction("f", test.prefix, test.route, nil)
		require.NoError(t, err, test.route)
		for _, path := range test.yes {
			require.True(t, f.match(path), "%s should match %s", f.pattern, path)
		}
		for _, path := range test.no {
			require.False(t, f.match(path), "%s should not match %s", f.pattern, path)
		}
	}
	for _, route := range []string{"a/{id:int}", "a/{id=1}", "a/x{id}", "a/{id}.{ext}", "{*rest}/b", "{id?}/b", "a//b", "{}", "{*}", "a/{id"} {
		_, err := newFunction("f", "api", route, nil)
		require.Error(t, err, route)
	}
}

func TestTheFirstFunctionByNameWins(t *testing.T) {
	// Seen on the real host: a parameter that is registered first takes the path
	// from a literal.
	var a app
	for _, route := range []string{"things/{id}", "things/delta", "other"} {
		f, err := newFunction(route, "api", route, []string{"get"})
		require.NoError(t, err)
		a.functions = append(a.functions, f)
	}
	require.Equal(t, "things/{id}", a.find("GET", "/api/things/delta").name)
	require.Equal(t, "other", a.find("GET", "/api/other").name)
	require.Nil(t, a.find("POST", "/api/other"))
	require.Nil(t, a.find("get", "/api/other"), "methods have a case")
}

func TestTargets(t *testing.T) {
	tests := []struct{ sent, proxy, forward string }{
		{"/a%2fb", "/a%252fb", "/a%2fb"},
		{"/a%25b", "/a%25b", "/a%25b"},
		{"/a%2541", "/a%2541", "/aA"},
		{`/a\b`, "/a%5Cb", "/a/b"},
		{"/a%5Cb", "/a%5Cb", "/a/b"},
		{"/a%23b", "/a%23b", "/a"},
		{"/a/%2e%2e/b", "/b", "/b"},
		{"/a/..%2Fb", "/a/..%252Fb", "/a/..%2Fb"},
		{"/../../a/.", "/a/", "/a/"},
		{"/..", "/", "/"},
		{"/%C3%A9", "/%C3%A9", "/%C3%A9"},
		{"/%FF", "/%25FF", "/%FF"},
		{"/%zz%", "/%25zz%25", "/%25zz%25"},
		{"/a:b@c;d=e,f", "/a:b@c;d=e,f", "/a:b@c;d=e,f"},
		{"/a?", "/a?", "/a"},
		{"/a?a=1&A=2&b", "/a?a=1&A=2&b", "/a?A=1,2&b="},
		{"/a?=c&&d=%", "/a?=c&&d=%25", "/a?=c&d=%25"},
		{"/a?q=%FF", "/a?q=%FF", "/a?q=%EF%BF%BD"},
		{"/a?q=%c3%a9%2b", "/a?q=%C3%A9%2b", "/a?q=%C3%A9%2B"},
		{"/a?x=1&y=2&X=3&x=4", "/a?x=1&y=2&X=3&x=4", "/a?X=1,3,4&y=2"},
	}
	for _, test := range tests {
		path, query, found := strings.Cut(test.sent, "?")
		if found {
			query = "?" + query
		}
		decoded, ok := decodePath(path)
		require.True(t, ok, test.sent)
		require.Equal(t, test.proxy, proxyTarget(decoded, query), "proxy %s", test.sent)
		require.Equal(t, test.forward, forwardTarget(decoded, query), "forward %s", test.sent)
	}
}

func FuzzTargets(f *testing.F) {
	for _, seed := range []string{"/api/things/a%2Fb?x=1&x=2", "/../%2e%2e/", "/%zz?%", "/%00", "/\\..?a+b", "/%252e%252e/x#y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, query, _ := strings.Cut(target, "?")
		if !strings.HasPrefix(path, "/") {
			return
		}
		decoded, ok := decodePath(path)
		if !ok {
			return
		}
		for _, out := range []string{proxyTarget(decoded, "?"+query), forwardTarget(decoded, "?"+query)} {
			if !strings.HasPrefix(out, "/") || strings.ContainsAny(out, " \r\n\x00") {
				t.Fatalf("%q became %q", target, out)
			}
		}
	})
}
