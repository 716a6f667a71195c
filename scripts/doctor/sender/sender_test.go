package sender_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/scripts/doctor/sender"
)

// A body that somebody pasted alone has neither status nor headers.
func TestBodyAlone(t *testing.T) {
	for _, tt := range []struct{ text, says string }{
		{`{ "statusCode": 401, "message": "Unauthorized. Access token is missing or invalid." }`, "API Management"},
		{"You do not have permission to view this directory or page.", "EasyAuth"},
		{"Function host is not running.", "the Functions host"},
		{"<title>Web App - Unavailable</title>", "stopped"},
		{"Bad Request - Request Too Long", "too long"},
		{"<!doctype html><title>My app</title>", "a web page"},
	} {
		s := sender.Of(0, http.Header{"Content-Type": {"text/html"}}, tt.text)
		require.False(t, s.Ours)
		require.Contains(t, s.Who, tt.says, tt.text)
		require.NotEmpty(t, s.Fix)
	}
	s := sender.Of(0, http.Header{"Content-Type": {"application/problem+json"}}, `{"type":"urn:itemsapi:problem:x","code":"x","fix":"f"}`)
	require.True(t, s.Ours)
	require.Equal(t, "f", s.Problem.Fix)
}
