package tables

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

const (
	// identityPatience is how long a request waits for the identity endpoint.
	// The one that asked first waits that long; who comes later, less.
	identityPatience = 900 * time.Millisecond
	// identityTimeout is how long the identity endpoint has to answer.
	identityTimeout = 10 * time.Second
	// identityPause is how long a failure stands for the next one.
	identityPause = time.Second
)

// identityError is why there is no token to reach storage with. Nothing was sent to
// storage, and asking again at once would only keep the client waiting.
type identityError struct{ cause error }

func (e *identityError) Error() string { return "get a token for storage: " + e.cause.Error() }
func (e *identityError) Unwrap() error { return e.cause }

// identity gets tokens for storage from a managed identity. azcore has one request
// ask for a token at a time, the others wait; so an endpoint that fails or hangs is
// asked in the background, once for all, and told to each request soon.
type identity struct {
	source azcore.TokenCredential

	mu      sync.Mutex
	inquiry *inquiry // under way, or failed a moment ago
}

// inquiry is one question to the identity endpoint.
type inquiry struct {
	began time.Time
	over  chan struct{}
	// Valid once over is closed.
	token azcore.AccessToken
	err   error
}

func newIdentity(clientID string) (*identity, error) {
	o := &azidentity.ManagedIdentityCredentialOptions{
		// Its own retries would go on for a minute.
		ClientOptions: azcore.ClientOptions{Retry: policy.RetryOptions{MaxRetries: -1}},
	}
	if clientID != "" {
		o.ID = azidentity.ClientID(clientID)
	}
	source, err := azidentity.NewManagedIdentityCredential(o)
	if err != nil {
		return nil, fmt.Errorf("use managed identity: %w", err)
	}
	return &identity{source: source}, nil
}

// GetToken implements azcore.TokenCredential. Every error is an [*identityError].
func (i *identity) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return i.token(ctx, o, identityPatience)
}

func (i *identity) token(
	ctx context.Context, o policy.TokenRequestOptions, patience time.Duration,
) (azcore.AccessToken, error) {
	q := i.ask(o)
	timer := time.NewTimer(time.Until(q.began.Add(patience)))
	defer timer.Stop()
	select {
	case <-q.over:
		if q.err != nil {
			return azcore.AccessToken{}, &identityError{q.err}
		}
		return q.token, nil
	case <-timer.C:
		waited := time.Since(q.began).Round(100 * time.Millisecond)
		return azcore.AccessToken{}, &identityError{fmt.Errorf("the identity endpoint has not answered for %s", waited)}
	case <-ctx.Done():
		return azcore.AccessToken{}, &identityError{ctx.Err()}
	}
}

// ask returns the inquiry under way or begins one.
func (i *identity) ask(o policy.TokenRequestOptions) *inquiry {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.inquiry != nil {
		return i.inquiry
	}
	q := &inquiry{began: time.Now(), over: make(chan struct{})}
	i.inquiry = q
	go func() {
		// Cut loose from the request: the token is for those that come later, too.
		ctx, cancel := context.WithTimeout(context.Background(), identityTimeout)
		defer cancel()
		q.token, q.err = i.get(ctx, o)
		close(q.over)
		if q.err != nil {
			time.AfterFunc(identityPause, i.forget)
			return
		}
		i.forget()
	}()
	return q
}

func (i *identity) forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.inquiry = nil
}

func (i *identity) get(ctx context.Context, o policy.TokenRequestOptions) (token azcore.AccessToken, err error) {
	// This goroutine's panic would end the process.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	token, err = i.source.GetToken(ctx, o)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("the identity endpoint did not answer within %s: %w", identityTimeout, err)
	}
	return token, err
}
