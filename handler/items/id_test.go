package items_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
)

func TestCheckID(t *testing.T) {
	now := time.Date(2026, 11, 26, 17, 0, 0, 0, time.UTC)
	at := func(t time.Time) string {
		ms := fmt.Sprintf("%012x", t.UnixMilli())
		return ms[:8] + "-" + ms[8:] + "-7b0e-8f6a-5b1c2d3e4f50"
	}
	for _, good := range []time.Time{now, now.Add(5 * time.Minute), now.Add(-30 * 24 * time.Hour)} {
		require.Empty(t, items.CheckID(at(good), now), good)
	}
	for _, bad := range []time.Time{now.Add(5*time.Minute + time.Millisecond), now.Add(-30*24*time.Hour - time.Millisecond), time.UnixMilli(0), time.UnixMilli(1<<48 - 1)} {
		require.Contains(t, items.CheckID(at(bad), now), "here it is 2026-11-26T17:00:00.000Z", bad)
	}
	id := at(now)
	for _, bad := range []string{
		"", "x", strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), id + "\n", " " + id,
		strings.Replace(id, "-7b", "-4b", 1), strings.Replace(id, "-8f", "-cf", 1), strings.Replace(id, "-8f", "-0f", 1),
	} {
		require.Contains(t, items.CheckID(bad, now), "UUIDv7", "%q", bad)
	}
}
