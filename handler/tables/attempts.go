package tables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

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
// again. It tells those who asked with observe what the SDK does not.
type attempts struct{}

func (attempts) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	timeout := writeTimeout
	if req.Raw().Method == http.MethodGet {
		timeout = readTimeout
	}
	if req.Raw().ContentLength > maxTransaction {
		return nil, items.ErrTooLarge
	}
	content, err := contentOf(req)
	if err != nil {
		return nil, err
	}
	o, _ := ctx.Value(observationKey{}).(*observation)
	pause := firstPause
	for attempt := 1; ; attempt++ {
		if content != nil {
			body := streaming.NopCloser(bytes.NewReader(content))
			if err := req.SetBody(body, req.Raw().Header.Get("Content-Type")); err != nil {
				return nil, fmt.Errorf("set the body: %w", err)
			}
		}
		resp, err := once(req, timeout, o)
		if _, unsent := errors.AsType[*identityError](err); unsent {
			return nil, err
		}
		items.Called(ctx)
		if attempt == maxAttempts || ctx.Err() != nil || !again(resp, err) {
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
	}
}

// contentOf is the body of a request. Each attempt reads it by itself: a transport may go on
// reading what it was given after it has returned (net/http.RoundTripper), so the SDK's one
// reader cannot be used again at once.
func contentOf(req *policy.Request) ([]byte, error) {
	if req.Body() == nil {
		return nil, nil
	}
	content, err := io.ReadAll(req.Body())
	if err != nil {
		return nil, fmt.Errorf("read the body to send: %w", err)
	}
	return content, nil
}

func once(req *policy.Request, timeout time.Duration, o *observation) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Raw().Context(), timeout)
	defer cancel()             // the body was read by then
	req = req.WithContext(ctx) // the SDK makes a copy of its own below
	if o == nil {
		return req.Next()
	}
	if o.rows != nil {
		runtime.SkipBodyDownload(req)
	}
	resp, err := req.Next()
	return o.note(resp, err)
}

// again reports whether another attempt may go better.
func again(resp *http.Response, err error) bool {
	if err != nil {
		_, taken := errors.AsType[*takenError](err)
		return !taken && !errors.Is(err, context.Canceled)
	}
	switch resp.StatusCode {
	case http.StatusRequestTimeout,
		http.StatusTooManyRequests,
		http.StatusInternalServerError,
		http.StatusBadGateway,
		http.StatusServiceUnavailable,
		http.StatusGatewayTimeout:
		return true
	}
	return false
}

// observation is what the author of a call wants to know of it.
type observation struct {
	// body is that of a successful answer. Of a page or an entity the SDK gets
	// nothing then: it would decode it to maps, encode those, and leave us to
	// decode again.
	body []byte
	// rows, where it is set, reads a successful answer as it comes, in place of body.
	rows func(body io.Reader) error
	// served is the service's time.
	served time.Time
	// maybe says that an attempt may have been carried out although it failed.
	maybe bool
}

type observationKey struct{}

func observe(ctx context.Context, o *observation) context.Context {
	return context.WithValue(ctx, observationKey{}, o)
}

func (o *observation) note(resp *http.Response, err error) (*http.Response, error) {
	if err != nil {
		dial, ok := errors.AsType[*net.OpError](err)
		o.maybe = o.maybe || !ok || dial.Op != "dial"
		return resp, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		o.served = at
	}
	if o.rows != nil && resp.StatusCode == http.StatusOK {
		err := o.rows(resp.Body)
		resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader("{}"))
		return resp, err
	}
	body, err := runtime.Payload(resp) // kept in resp for the SDK
	if err != nil {
		o.maybe = true
		return resp, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		o.body = body
		resp.Body = io.NopCloser(strings.NewReader("{}"))
	case http.StatusAccepted:
		o.body = body
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		o.maybe = true
	case http.StatusServiceUnavailable: // a server too busy has done nothing
		o.maybe = o.maybe || bytes.Contains(body, []byte("OperationTimedOut"))
	}
	return resp, nil
}
