package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items/itemstest"
	"itemsapi/handler/server"
)

// raw writes the head of a request on a connection of its own.
func (w *world) raw(t testing.TB, head string) net.Conn {
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(2*time.Minute)))
	_, err = io.WriteString(c, head)
	require.NoError(t, err)
	return c
}

func head(method, path, token string, headers ...string) string {
	h := method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n"
	if token != "" {
		h += "Authorization: Bearer " + token + "\r\n"
	}
	return h + strings.Join(append(headers, "", ""), "\r\n")
}

// Large bodies are held up to a bound, a caller's and an instance's; what does not fit is
// turned away after a while, small ones go on, and in the end nothing is missing.
func TestBodiesHaveARoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, everybody, func(c *server.Config) { c.CallerConcurrency = 256 })
	require.Equal(t, 200, w.send(t, "GET", "/api/items", "alice", "").StatusCode)
	content := `{"items":["` + strings.Repeat("x", 1_900_000)
	var stalled []net.Conn
	stall := func(caller string) {
		for range 13 { // there is room for 24, and for 12 of a caller
			c := w.raw(t, head("POST", "/api/items/batch", caller, "Content-Type: application/json", "Transfer-Encoding: chunked"))
			_, err := fmt.Fprintf(c, "%x\r\n%s\r\n", len(content), content)
			require.NoError(t, err)
			stalled = append(stalled, c)
		}
	}
	one := `{"items":[` + itemstest.LargeContent(0, "x") + strings.Repeat(" ", 1_600_000) + `]}`
	turnedAway := func(caller string, status int, code string, stalling ...string) {
		for range 10 { // on a busy machine their time is up too soon
			for _, other := range stalling {
				stall(other)
			}
			for range 3 {
				r := w.send(t, "POST", "/api/items/batch", caller, one)
				if r.StatusCode == status && r.code(t) == code && r.Header.Get("Retry-After") == "1" {
					return
				}
			}
		}
		require.Fail(t, "never turned away", caller)
	}
	turnedAway("alice", 429, "rate.limited", "alice")
	require.Equal(t, 201, w.send(t, "POST", "/api/items/batch", "bob", one).StatusCode)
	turnedAway("carol", 503, "overloaded", "alice", "bob")
	for _, caller := range []string{"alice", "bob", "carol"} {
		require.Equal(t, 200, w.send(t, "GET", "/api/items?limit=1", caller, "").StatusCode)
		require.Equal(t, 201, w.send(t, "POST", "/api/items", caller, itemstest.Text("x")).StatusCode)
	}
	for _, c := range stalled {
		_, err := io.WriteString(c, "0\r\n\r\n") // the JSON ends too early
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Contains(t, []int{400, 408, 429, 503}, resp.StatusCode)
	}
	for _, caller := range []string{"alice", "bob", "carol"} {
		require.Equal(t, 201, w.send(t, "POST", "/api/items/batch", caller, one).StatusCode)
	}
}

// What is refused is read to its end first: the host drops an answer that comes while
// it still sends. net/http itself would close the connection.
func TestARefusedBodyIsReadToItsEnd(t *testing.T) {
	w := newWorld(t)
	good := w.token(t, "alice")
	const size = 20 << 20
	for _, tt := range []struct {
		name, method, path, token string
		headers                   []string
		status                    int
	}{
		{"no token", "POST", "/api/items", "", nil, 401},
		{"a wrong token", "POST", "/api/items", good[:len(good)-4] + "AAAA", nil, 401},
		{"too large", "POST", "/api/items", good, []string{"Content-Type: application/json"}, 413},
		{"too large a batch", "POST", "/api/items/batch", good, []string{"Content-Type: application/json"}, 413},
		{"no JSON", "POST", "/api/items", good, []string{"Content-Type: text/plain"}, 415},
		{"no route", "PUT", "/api/nothing", good, nil, 404},
		{"no method", "PATCH", "/api/items", good, nil, 405},
		{"no condition", "PUT", "/api/items/0199a5a0-0000-7000-8000-000000000000", good, nil, 428},
		{"a read", "GET", "/api/items", good, nil, 200},
		{"a deletion", "DELETE", "/api/items/0199a5a0-0000-7000-8000-000000000000", good, []string{"If-Match: *"}, 404},
		{"the ping", "GET", "/", "", nil, 200},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %t", tt.name, chunked), func(t *testing.T) {
				framing := fmt.Sprintf("Content-Length: %d", size)
				if chunked {
					framing = "Transfer-Encoding: chunked"
				}
				c := w.raw(t, head(tt.method, tt.path, tt.token, append([]string{framing}, tt.headers...)...))
				piece := strings.Repeat("x", 1<<20)
				if chunked {
					piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
				}
				// As the host does: all of the body before a look at the answer.
				for range size >> 20 {
					_, err := io.WriteString(c, piece)
					require.NoError(t, err)
				}
				if chunked {
					_, err := io.WriteString(c, "0\r\n\r\n")
					require.NoError(t, err)
				}
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				require.NoError(t, err)
				require.Equal(t, tt.status, resp.StatusCode)
				require.False(t, resp.Close)
			})
		}
	}

	t.Run("a client that waits to be asked for it", func(t *testing.T) {
		c := w.raw(t, head("POST", "/api/items", "", "Content-Length: 20000000", "Expect: 100-continue"))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 401, resp.StatusCode)
	})
}
