package loopbacktest_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/loopbacktest"
)

func TestListen(t *testing.T) {
	for _, addr := range []string{"", "127.0.0.1:0", "localhost:0", "LOCALHOST:0"} {
		listeners, err := loopbacktest.Listen(addr)
		require.NoError(t, err, addr)
		for _, l := range listeners {
			defer l.Close()
			require.Equal(t, loopbacktest.Port(listeners[0]), loopbacktest.Port(l), "one port for both families")
			require.True(t, l.Addr().(*net.TCPAddr).IP.IsLoopback())
		}
		_, err = loopbacktest.Listen("localhost:" + strconv.Itoa(loopbacktest.Port(listeners[0])))
		require.Error(t, err, "the port is taken")
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1", "x"} {
		_, err := loopbacktest.Listen(addr)
		require.Error(t, err, addr)
	}
}

func TestIsLoopback(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:80": true, "LocalHost:9911": true, "127.0.0.1": true, "127.0.0.1:1": true, "127.9.9.9": true, "[::1]": true, "[::1]:80": true, "::1": true,
		"": false, "example.com": false, "localhost.example.com": false, "127.0.0.1.example.com": false, "0.0.0.0": false, "192.0.2.1": false, "[::]": false, "localhost.": false,
	} {
		require.Equal(t, want, loopbacktest.IsLoopback(host), "%q", host)
	}
}
