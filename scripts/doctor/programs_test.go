package main

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/entra/entratest"
	"itemsapi/scripts/internal/report"
)

// Where a claim says who a moved user was, the doctor says what that takes.
func TestFormerIDClaimIsADanger(t *testing.T) {
	w := newWorld(t)
	maps.Copy(w.env, families(w))
	r, _ := w.json(t)
	require.Empty(t, r.with("EXTERNAL_FORMER_ID_CLAIM"))
	w.env["EXTERNAL_FORMER_TENANT"], w.env["EXTERNAL_FORMER_ID_CLAIM"] = entratest.TenantID, "extn.B2CObjectId"
	r, status := w.json(t)
	require.Equal(t, 0, status)
	found := r.with("EXTERNAL_FORMER_ID_CLAIM")
	require.Len(t, found, 1)
	require.Equal(t, report.StatusWarn, found[0].Status)
	require.Contains(t, found[0].Detail, "extn.B2CObjectId")
	require.Contains(t, found[0].Fix, "User attributes")
}

// A program of Entra's families is admitted by its app roles, which are shown then.
func TestTokenOfAProgram(t *testing.T) {
	w := newWorld(t)
	maps.Copy(w.env, families(w))
	w.env["APPLICATIONS"] = "accept"
	w.stdin = accessToken(t, w, entratest.TokenRequest{Family: entratest.Workforce, Application: true})
	r, status := w.json(t, "-token", "-")
	require.Equal(t, 0, status)
	require.Contains(t, r.with("token, scope")[0].Detail, "has read (roles: read write)")
}
