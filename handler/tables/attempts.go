package tables

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"itemsapi/handler/items"
)

// How often and how long storage is asked. Together it fits in the 10 s that a
// request may take; azcore's own defaults would wait as long for an endpoint
// that is simply dead, and for ever for one that hangs.
const (
	maxAttempts  = 3
	readTimeout  = 5500 * time.Millisecond // the service itself stops a query after 5 s
	writeTimeout = 3 * time.Second
	firstPause   = 100 * time.Millisecond // then 300 ms, give or take half
	longestPause = time.Second            // a longer Retry-After is the client's to keep
)

// attempts is the one place where a call to storage is sent, counted, and sent
// again. It also keeps the body of an answer for those who asked with withBody:
// the SDK would decode it to maps, encode those, and leave us to decode again.
type attempts struct{}

func (attempts) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	timeout := writeTimeout
	if req.Raw().Method == http.MethodGet {
		timeout = readTimeout
	}
	pause := firstPause
	for attempt := 1; ; attempt++ {
		items.Called(ctx)
		resp, err := once(req, timeout)
		if attempt == maxAttempts || ctx.Err() != nil || !again(resp, err) {
			if err == nil {
				keepBody(ctx, resp)
			}
			return resp, err
		}
		wait := pause/2 + rand.N(pause)
		pause *= 3
		if resp != nil {
			if s, convErr := strconv.Atoi(resp.Header.Get("Retry-After")); convErr == nil {
				wait = max(wait, time.Duration(s)*time.Second)
			}
		}
		if deadline, ok := ctx.Deadline(); wait > longestPause || ok && time.Until(deadline) < wait {
			return resp, err
		}
		select {
		case <-ctx.Done():
			return resp, err
		case <-time.After(wait):
		}
		if err := req.RewindBody(); err != nil {
			return nil, err
		}
	}
}

func once(req *policy.Request, timeout time.Duration) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Raw().Context(), timeout)
	defer cancel() // azcore has read the body by then
	return req.Clone(ctx).Next()
}

// again reports whether another attempt may go better.
func again(resp *http.Response, err error) bool {
	if err != nil {
		return !errors.Is(err, context.Canceled)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

type bodyKey struct{}

// withBody has the body of a successful answer kept in body.
func withBody(ctx context.Context, body *[]byte) context.Context {
	return context.WithValue(ctx, bodyKey{}, body)
}

func keepBody(ctx context.Context, resp *http.Response) {
	body, ok := ctx.Value(bodyKey{}).(*[]byte)
	if !ok || resp.StatusCode != http.StatusOK {
		return
	}
	kept, err := runtime.Payload(resp)
	if err != nil {
		return // the SDK meets the same error
	}
	*body = kept
	resp.Body = io.NopCloser(bytes.NewReader([]byte("{}")))
}
