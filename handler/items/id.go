package items

import (
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// How far the time in a client's ID may be from the server's. Deletions are remembered
// for longer, so that no ID comes to a second life.
const (
	oldestID = 30 * 24 * time.Hour
	newestID = 5 * time.Minute
)

// An ID is a UUIDv7 (RFC 9562, section 5.7) in lower case.
var idRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
})

// CheckID says what is wrong with an ID that a client made for a new item, or returns
// an empty string.
func CheckID(id string, now time.Time) (detail string) {
	if !idRE().MatchString(id) {
		return "must be a UUIDv7 in lower case, such as 019ac9f0-c3d7-7b0e-8f6a-5b1c2d3e4f50"
	}
	ms, _ := strconv.ParseInt(id[:8]+id[9:13], 16, 64) // 48 bits
	at := time.UnixMilli(ms)
	if at.Before(now.Add(-oldestID)) || at.After(now.Add(newestID)) {
		return fmt.Sprintf("has the time %s; it may be 30 days ago and 5 minutes ahead at most, and here it is %s",
			FormatTime(at), FormatTime(now))
	}
	return ""
}
