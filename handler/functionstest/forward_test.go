package functionstest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMediaTypes(t *testing.T) {
	for _, good := range []string{
		"application/json", "application/json; charset=utf-8", `application/json;charset="utf-8"`, "text/html; a=b; c",
		"a/b;c", `a/b; c="; \" d"`, "a / b ; c = d", "a/b; c=d; c=d", "application/merge-patch+json",
	} {
		require.True(t, mediaType.MatchString(good), good)
	}
	for _, bad := range []string{
		"", "json", "/json", "a/", "a/b;", "a/b; ", "a/b;;c", "a/b; =c", "a/b; c=", "a/b,c/d", `a/b; c="`, "a/b; c=d e", "a/b c", "a/b\n",
	} {
		require.False(t, mediaType.MatchString(bad), bad)
	}
}

func TestAnEmptyContentTypeBesideAnotherDoesNotCount(t *testing.T) {
	t.Parallel()
	f := start(t, plainApp(forwardMode), answering(ok200))
	for _, types := range []string{"\r\nContent-Type: a/b", "a/b\r\nContent-Type:"} {
		require.NoError(t, f.write(answering(ok200)))
		g := send(t, f.dial(t), []byte("POST /api/things HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Type: "+types+"\r\n\r\nx"))
		require.Equal(t, "HTTP/1.1 200 OK", g.first)
		require.Contains(t, f.await(t, "request", false, 1)[0].Header, [2]string{"Content-Type", "a/b"})
	}
}

func TestForwardHeader(t *testing.T) {
	tests := []struct {
		name       string
		sent, want header
		whole      bool
	}{
		{
			"the body's come last",
			header{{"Content-Type", "a/b"}, {"ETag", "x"}, {"Expires", "0"}, {"Vary", "A, B"}, {"Content-Length", "7"}},
			header{{"ETag", "x"}, {"Vary", "A"}, {"Vary", "B"}, {"Content-Type", "a/b"}, {"Expires", "0"}},
			true,
		},
		{
			"none after one that is not ASCII",
			header{{"Content-Type", "a/b"}, {"ETag", "x"}, {"A", "\xe9"}, {"Location", "/"}},
			header{{"ETag", "x"}},
			false,
		},
		{
			"a file name that is not ASCII",
			header{{"Content-Disposition", "inline; filename=\xe9"}, {"ETag", "x"}},
			header{{"ETag", "x"}},
			false,
		},
		{
			"directives in .NET's order",
			header{{"Cache-Control", "max-age=60,x, Private"}, {"Cache-Control", ""}, {"Cache-Control", "no-store"}},
			header{{"Cache-Control", "no-store, max-age=60, Private, x"}},
			true,
		},
		{
			"a quoted list stays",
			header{{"Cache-Control", `private="a, b", no-store`}},
			header{{"Cache-Control", `private="a, b", no-store`}},
			true,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, whole := forwardHeader(test.sent)
			require.Equal(t, test.want, got)
			require.Equal(t, test.whole, whole)
		})
	}
}

func FuzzForwardHeader(f *testing.F) {
	for _, seed := range [][2]string{
		{"Cache-Control", "no-cache, private"},
		{"cache-control", `private="a,b", ,,x=y`},
		{"Vary", "Accept,, Origin"},
		{"Content-Type", "a/b"},
		{"A", "\xe9"},
		{"Cache-Control", " =,\tno-store\t"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		out, whole := forwardHeader(header{{name, value}, {name, value}})
		if whole != isASCII(value) {
			t.Fatalf("whole is %t for %q", whole, value)
		}
		if !whole {
			return
		}
		again, _ := forwardHeader(out)
		require.Equal(t, out, again, "%s: %q", name, value)
		for _, field := range out {
			if field.name != name || field.value == "" {
				t.Fatalf("%s: %q became %q", name, value, out)
			}
		}
	})
}
