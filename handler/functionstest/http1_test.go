package functionstest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadMessage(t *testing.T) {
	tests := []struct {
		name, text string
		limits     limits
		err        error
	}{
		{"ordinary", "GET / HTTP/1.1\r\nA: b\r\nC:  d \r\n\r\n", requestLimits, nil},
		{"line feeds alone", "GET / HTTP/1.1\nA: b\n\n", requestLimits, nil},
		{"nothing", "", requestLimits, io.EOF},
		{"ends in the first line", "GET /", requestLimits, io.ErrUnexpectedEOF},
		{"ends in the header", "GET / HTTP/1.1\r\nA: b\r\n", requestLimits, io.ErrUnexpectedEOF},
		{"no colon", "GET / HTTP/1.1\r\nA\r\n\r\n", requestLimits, errMalformed},
		{"no name", "GET / HTTP/1.1\r\n: b\r\n\r\n", requestLimits, errMalformed},
		{"folded", "GET / HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n", requestLimits, errMalformed},
		{"a carriage return in a value", "GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", requestLimits, errMalformed},
		{"a NUL in a value", "GET / HTTP/1.1\r\nA: b\x00\r\n\r\n", requestLimits, errMalformed},
		{"a long first line", strings.Repeat("a", 100000) + "\r\n\r\n", requestLimits, errFirstTooLong},
		{"a long first line without end", strings.Repeat("a", 100000), requestLimits, errFirstTooLong},
		{"a large header", "GET / HTTP/1.1\r\nA: " + strings.Repeat("a", 33000) + "\r\n\r\n", requestLimits, errHeaderTooLarge},
		{"many headers", "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", requestLimits, errHeaderTooLarge},
		{"an answer's are larger", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 64000) + "\r\n\r\n", answerLimits, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := readMessage(bufio.NewReader(strings.NewReader(test.text)), test.limits)
			require.Equal(t, test.err, err)
		})
	}
}

func TestBodies(t *testing.T) {
	tests := []struct {
		name, text string
		framing    framing
		want, rest string
		err        error
	}{
		{"sized", "helloGET", framing{length: 5}, "hello", "GET", nil},
		{"empty", "GET", framing{}, "", "GET", nil},
		{"sized and cut", "hel", framing{length: 5}, "hel", "", io.ErrUnexpectedEOF},
		{"chunked", "5\r\nhello\r\n0\r\n\r\nGET", framing{chunked: true}, "hello", "GET", nil},
		{"chunked with trailers", "2;x=y\r\nhe\r\n0\r\nA: b\r\nC: d\r\n\r\nGET", framing{chunked: true}, "he", "GET", nil},
		{"chunked and cut", "5\r\nhel", framing{chunked: true}, "hel", "", io.ErrUnexpectedEOF},
		{"chunked and cut before the last chunk", "2\r\nhe\r\n", framing{chunked: true}, "he", "", io.ErrUnexpectedEOF},
		{"chunked and cut in the trailer", "2\r\nhe\r\n0\r\nA: b\r\n", framing{chunked: true}, "he", "", io.ErrUnexpectedEOF},
		{"endless trailers", "0\r\n" + strings.Repeat("A: b\r\n", 20000), framing{chunked: true}, "", "A: b", errHeaderTooLarge},
		{"until the end", "hello", framing{length: -1}, "hello", "", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(test.text))
			body, err := io.ReadAll(test.framing.body(r))
			require.Equal(t, test.err, err)
			require.Equal(t, test.want, string(body))
			rest, _ := io.ReadAll(r)
			require.True(t, strings.HasPrefix(string(rest), test.rest), "%q follows", rest)
		})
	}
}

func TestEachLine(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	tests := []struct {
		name, text string
		want       []string
	}{
		{"lines", "a\nb\r\n\nc\n", []string{"a", "b", "", "c"}},
		{"a last line without its end", "a\nb", []string{"a", "b"}},
		{"nothing", "", nil},
		{"2 MiB in one line", long + "\nb\n", []string{long, "b"}},
		{"more than the limit", strings.Repeat("y", 10<<20) + "\n", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			eachLine(strings.NewReader(test.text), longestLine, func(line string) { got = append(got, line) })
			if test.want == nil && test.text != "" {
				require.Greater(t, len(got), 2)
				require.Equal(t, strings.TrimSuffix(test.text, "\n"), strings.Join(got, ""))
				return
			}
			require.Equal(t, test.want, got)
		})
	}
}

func FuzzReadMessage(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /api/things?x=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"POST http://x/%2e%2e/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
		"OPTIONS * HTTP/1.0\r\n\r\n", "\r\n\r\n", "GET  HTTP/1.1\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	client, server := net.Pipe()
	f.Cleanup(func() { client.Close(); server.Close() })
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bufio.NewReader(bytes.NewReader(text))
		m, err := readMessage(r, requestLimits)
		if err != nil {
			return
		}
		again, err := readMessage(bufio.NewReader(bytes.NewReader(m.bytes())), limits{1 << 20, 1 << 20, 1 << 20})
		if err != nil || fmt.Sprint(again) != fmt.Sprint(m) {
			t.Fatalf("%q was written as %q: %v", m, m.bytes(), err)
		}
		req := &request{message: m, c: newConn(server)}
		if status, err := req.parse(); (err == nil) != (status == 0) {
			t.Fatalf("status %d with error %v", status, err)
		} else if err == nil {
			if !strings.HasPrefix(req.path, "/") {
				t.Fatalf("path %q", req.path)
			}
			_, _ = io.Copy(io.Discard, req.framing.body(r))
		}
	})
}
