package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
)

// The local world has no rate, unless it is asked for shares.
func TestCallerSettings(t *testing.T) {
	tenant, err := entratest.Start(entratest.Options{})
	require.NoError(t, err)
	defer tenant.Close()
	t.Setenv("CALLER_RATE", "")
	t.Setenv("CALLER_CONCURRENCY", "")
	env := settings(tenant, "")
	require.Contains(t, env, "CALLER_RATE=0")
	require.Contains(t, env, "CALLER_CONCURRENCY=")
	t.Setenv("CALLER_CONCURRENCY", "4")
	env = settings(tenant, "")
	require.Contains(t, env, "CALLER_RATE=")
	require.Contains(t, env, "CALLER_CONCURRENCY=4")
}
