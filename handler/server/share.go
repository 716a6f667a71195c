package server

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"itemsapi/handler/items"
)

// This file bounds what one caller may have of an instance, so that the others find
// theirs. What is over a share is 429, which is the caller's own doing, and not 503.

// shares are those of the callers that have one lately.
type shares struct {
	concurrency int // requests of a caller that are worked on at a time
	rate        int // requests of a caller a second, twice as many in a burst; 0: no limit

	mu      sync.Mutex
	of      map[items.Owner]*share
	forgets int // how many there may be before idle ones are forgotten
}

// share is what one caller has.
type share struct {
	room   *room
	bucket *rate.Limiter // nil: no limit

	// Guarded by the shares' mutex: how many requests hold anything of it, and how many of
	// those are not answered yet.
	holders, working int
}

// fewShares are kept, however idle.
const fewShares = 1000

func newShares(concurrency, rate int) *shares {
	return &shares{concurrency: concurrency, rate: rate, of: map[items.Owner]*share{}, forgets: fewShares}
}

// join takes a request into its caller's share, unless that is used up.
func (s *shares) join(owner items.Owner) (*share, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.of[owner]
	if one == nil {
		if len(s.of) >= s.forgets {
			s.forget()
		}
		one = &share{room: newRoom(callerPart)}
		if s.rate > 0 {
			one.bucket = rate.NewLimiter(rate.Limit(s.rate), burst*s.rate)
		}
		s.of[owner] = one
	}
	switch {
	case one.working >= s.concurrency:
		const detail = "%d requests of this caller are being worked on, as many as may be at a time. Wait for their " +
			"answers."
		return nil, limited(fmt.Sprintf(detail, s.concurrency))
	case one.bucket != nil && !one.bucket.Allow():
		p := limited(fmt.Sprintf("This caller may make %d requests a second, and %d in a burst.", s.rate, burst*s.rate))
		// draft-ietf-httpapi-ratelimit-headers-11
		p.header = http.Header{
			"Ratelimit-Policy": {fmt.Sprintf(`"caller";q=%d;w=%d`, burst*s.rate, burst)},
			"Ratelimit":        {`"caller";r=0;t=1`},
		}
		return nil, p
	}
	one.holders++
	one.working++
	return one, nil
}

// burst is how many seconds' requests may come at once.
const burst = 2

// answered says that a request of the share is worked on no more.
func (s *shares) answered(one *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.working--
}

// leave says that a request holds nothing of the share any more.
func (s *shares) leave(one *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one.holders--
}

// forget drops those that are as good as new. The others are few: at most as many as
// requests are answered, and as callers have come in the time in which a bucket fills.
func (s *shares) forget() {
	for owner, one := range s.of {
		if one.holders == 0 && (one.bucket == nil || one.bucket.Tokens() >= float64(one.bucket.Burst())) {
			delete(s.of, owner)
		}
	}
	s.forgets = max(fewShares, 2*len(s.of))
}

// limited is about a request that is more than its caller's share.
func limited(detail string) *problem {
	return &problem{Code: "rate.limited", Detail: detail, retryAfter: time.Second}
}
