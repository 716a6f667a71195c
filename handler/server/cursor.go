package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"time"

	"itemsapi/handler/items"
)

// A cursor is a position in a list as text: opaque, not secret, without a key,
// so that it works on every instance and after a restart. Its bytes are
//
//	version, kind, time of issue (seconds, 8 bytes), checksum (8 bytes), position
//
// The time of issue is that of the next full hour, so that a page which is read
// again, and is the same, has the same bytes.
//
// The checksum is over all of it, the caller and the filters, so that a cursor
// that was cut, altered, or given to somebody else is noticed. It protects
// nothing: a forged one reaches rows of the forger's own partition.
const (
	cursorVersion = 1
	listCursor    = 'l'
	deltaCursor   = 'n' // within a delta
	deltaToken    = 'd' // between two
	cursorLife    = 24 * time.Hour
	tokenLife     = 30 * 24 * time.Hour

	cursorHead = 1 + 1 + 8
	cursorSum  = 8
)

func sealCursor(kind byte, position string, owner items.Owner, filters string, now time.Time) string {
	b := []byte{cursorVersion, kind}
	b = binary.BigEndian.AppendUint64(b, uint64(now.Add(time.Hour-1).Truncate(time.Hour).Unix()))
	b = append(b, checksum(b, position, owner, filters)...)
	b = append(b, position...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// openCursor returns the position in a cursor of that kind.
func openCursor(
	cursor string,
	kind byte,
	owner items.Owner,
	filters string,
	now time.Time,
) (position string, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) <= cursorHead+cursorSum || b[0] != cursorVersion || b[1] != kind {
		return "", cursorInvalid()
	}
	head, sum, position := b[:cursorHead], b[cursorHead:cursorHead+cursorSum], string(b[cursorHead+cursorSum:])
	if subtle.ConstantTimeCompare(sum, checksum(head, position, owner, filters)) != 1 {
		return "", cursorInvalid()
	}
	issued := time.Unix(int64(binary.BigEndian.Uint64(head[2:])), 0)
	switch age := now.Sub(issued); {
	case kind == deltaToken && age > tokenLife:
		return "", deltaResync(time.Time{})
	case kind != deltaToken && age > cursorLife:
		return "", &problem{
			Code:   "cursor.expired",
			Detail: "A cursor is valid for 24 hours. Start again from the first page.",
		}
	}
	return position, nil
}

func checksum(head []byte, position string, owner items.Owner, filters string) []byte {
	h := sha256.New()
	h.Write(head)
	for _, part := range []string{owner.Tenant, owner.Subject, filters, position} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write([]byte(part))
	}
	return h.Sum(nil)[:cursorSum]
}

func cursorInvalid() *problem {
	return &problem{
		Code: "cursor.invalid",
		Detail: "A cursor or token is taken from nextLink or deltaLink as it is, by the same caller and with the " +
			"same filters. Start again from the first page.",
	}
}

// deltaResync is about a token that is out of date. erasedAt is when the caller's items
// were erased, or zero.
func deltaResync(erasedAt time.Time) *problem {
	p := &problem{
		Code: "delta.resync",
		Detail: "What changed since this token is no longer remembered. Start again from the delta without a " +
			"token, and drop what it does not name.",
	}
	if !erasedAt.IsZero() {
		p.ErasedAt = items.FormatTime(erasedAt)
		p.Detail += " Everything was erased at " + p.ErasedAt + ": drop what you have queued from before, too."
	}
	return p
}
