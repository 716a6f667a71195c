package loopback_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/scripts/internal/loopback"
)

func TestIs(t *testing.T) {
	for _, host := range []string{
		"localhost", "LOCALHOST:80", "127.0.0.1", "127.9.9.9:1", "::1", "[::1]", "[::1]:80", "::ffff:127.0.0.1",
	} {
		require.True(t, loopback.Is(host), host)
	}
	for _, host := range []string{
		"", "localhost.example", "example.localhost.com:80", "10.0.0.1", "128.0.0.1:80", "[::2]:80", "127.0.0.1.example", "0.0.0.0",
	} {
		require.False(t, loopback.Is(host), host)
	}
}
