// Package tables keeps items in Azure Table Storage. Its [Store] is an
// items.Store; Azure's errors, entity tags, keys, pages and retries stop here.
//
// A caller has a partition, and an item a row in it, whose key is the item's ID with its
// bits complemented, so that the newest comes first (entity.go). A change, even of fifty
// items, goes into one transaction (change.go), which it shares with what else the
// caller changes at the time (line.go, transaction.go), and takes the caller's next number
// in it (head.go); by these numbers a delta tells what it has reported (delta.go).
// What the Table service limits is checked before anything is sent: by package
// items for an item's members, by the keys' form for the rest.
package tables

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"itemsapi/handler/items"
)

// Config says where the items are.
type Config struct {
	// Endpoint is the https URL of a Table service, reached by managed
	// identity or by Credential. Exactly one of Endpoint and ConnectionString is set.
	Endpoint string
	// Credential is whose rights are used at Endpoint. Nil means managed identity.
	Credential azcore.TokenCredential
	// IdentityClientID names a user-assigned identity. Empty means the
	// system-assigned one.
	IdentityClientID string
	// ConnectionString has an account and its key, for local use.
	ConnectionString string
	// Table is the name of the table. Required.
	Table string

	// Transport carries the requests. Nil means one tuned for the Table service.
	Transport http.RoundTripper
	// Now tells the time. Nil means time.Now.
	Now func() time.Time
	// Log gets what storage does wrong. Nil discards it.
	Log *slog.Logger
}

// Store keeps items in one table. It is safe for concurrent use.
type Store struct {
	table    *aztables.Client
	identity *identity // nil with a connection string
	log      *slog.Logger
	clock    clock
	lines    lines
	logLife  time.Duration

	manyChanges int
	leftOut     sync.Once // the warning about members that are not shown
}

var _ items.Store = (*Store)(nil)

// Open makes a store. It sends nothing: see [Store.Prepare].
func Open(c Config) (*Store, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Transport == nil {
		c.Transport = newTransport()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{
		log: c.Log, clock: clock{now: c.Now}, lines: lines{by: map[string]*line{}},
		logLife: logLife, manyChanges: manyChanges,
	}
	options := &aztables.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{
			Transport:     c.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Retry:           policy.RetryOptions{MaxRetries: -1}, // attempts does it
		Telemetry:       policy.TelemetryOptions{Disabled: true},
		PerCallPolicies: []policy.Policy{attempts{}},
	}}
	var service *aztables.ServiceClient
	var err error
	switch {
	case c.ConnectionString != "":
		service, err = aztables.NewServiceClientFromConnectionString(c.ConnectionString, options)
	case c.Credential != nil:
		service, err = aztables.NewServiceClient(c.Endpoint, c.Credential, options)
	default:
		if s.identity, err = newIdentity(c.IdentityClientID); err != nil {
			return nil, err
		}
		service, err = aztables.NewServiceClient(c.Endpoint, s.identity, options)
	}
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", c.Table, err)
	}
	s.table = service.NewClient(c.Table)
	return s, nil
}

// newTransport returns a transport for many short requests to one host.
// azcore's keeps ten idle connections a host and Go's own two, so that under
// load they dial, with TLS, all the time.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(64),
		},
		TLSHandshakeTimeout:   3 * time.Second,
		MaxIdleConns:          512,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		DisableCompression:    true,
		ReadBufferSize:        32 << 10,
	}
}

// Prepare does what makes the first request quick: with managed identity it gets the
// token, otherwise it creates the table. It tries again
// until it succeeds or ctx ends, and returns only then.
func (s *Store) Prepare(ctx context.Context) {
	for wait := time.Second; ; wait = min(2*wait, 30*time.Second) {
		err := s.prepare(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.log.Warn("storage not ready", "error", err.Error())
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (s *Store) prepare(ctx context.Context) (err error) {
	// This goroutine's panic would end the process.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while preparing storage: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if s.identity != nil {
		scopes := []string{"https://storage.azure.com/.default"}
		_, err := s.identity.token(ctx, policy.TokenRequestOptions{Scopes: scopes}, identityTimeout)
		return err
	}
	_, err = s.table.CreateTable(ctx, nil)
	if err != nil && errorCode(err) != "TableAlreadyExists" {
		return fmt.Errorf("create the table: %w", err)
	}
	return nil
}

// A selective list reads at most scanRows rows, or for scanTime, before it
// answers with what it has found and where to go on.
const (
	scanRows = 5000
	scanTime = 2 * time.Second
)

// List returns a page of the owner's items. It implements items.Store.
//
// Content is compared here and not by the service, which would read as many rows,
// as only keys are indexed, but would not tell where it stopped.
func (s *Store) List(ctx context.Context, owner items.Owner, q items.Query) (items.Page, error) {
	first, last, ok := rowRange(q)
	if !ok {
		return items.Page{}, fmt.Errorf("list items: %w: %q", items.ErrPosition, q.After)
	}
	selective := len(q.Filters) > 0
	wanted := q.Limit + 1 // one more than asked for tells whether there is more
	if selective {
		wanted = pageRows
	}
	done := listing{Page: items.Page{Items: make([]items.Item, 0, min(q.Limit, pageRows))}}
	var now listing
	take := func(rows iter.Seq2[*itemRow, error]) error {
		now = done
		return now.take(s, q, rows)
	}
	start := time.Now()
	for page, err := range query(ctx, s, partitionKey(owner), first, last, itemMembers, wanted, take) {
		if err != nil {
			return items.Page{}, fmt.Errorf("list items: %w", err)
		}
		done = now
		if done.full {
			break
		}
		stops := len(done.Items) == q.Limit || done.read >= scanRows || time.Since(start) > scanTime
		if selective && page.more && done.position != "" && stops {
			done.Next = done.position
			break
		}
	}
	return done.Page, nil
}

// listing is a page of a list while it is read.
type listing struct {
	items.Page
	content  content
	position string // the last item that was looked at
	read     int
	full     bool // and Next says where to go on
}

func (l *listing) take(s *Store, q items.Query, rows iter.Seq2[*itemRow, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		item, err := s.item(row)
		if err != nil {
			return err
		}
		// Of two versions of an item, one was just replaced by the second.
		if n := len(l.Items); n > 0 && l.Items[n-1].ID == item.ID {
			l.Items = l.Items[:n-1]
		}
		// There is more, as far as a selective list looks.
		if l.full = len(l.Items) == q.Limit; l.full {
			l.Next = l.position
			return nil
		}
		l.read++
		matches, err := q.Matches(item.Draft)
		if err != nil {
			return fmt.Errorf("read the content of %s: %w", row.RowKey, err)
		}
		if !matches {
			l.position = item.ID
			continue
		}
		if l.full = !l.content.add(&item); l.full {
			l.Next = l.position
			return nil
		}
		l.Items = append(l.Items, item)
		l.position = item.ID
	}
	return nil
}

// Get returns one item. It implements items.Store.
func (s *Store) Get(ctx context.Context, owner items.Owner, id string) (items.Item, error) {
	row, err := s.row(ctx, partitionKey(owner), id)
	if err != nil {
		return items.Item{}, fmt.Errorf("get item: %w", err)
	}
	return s.item(row)
}

// row returns the row of an item in the version that it has, or ErrNotFound.
func (s *Store) row(ctx context.Context, partition, id string) (*itemRow, error) {
	prefix, ok := rowPrefix(id)
	if !ok {
		return nil, items.ErrNotFound
	}
	var found *itemRow
	take := func(rows iter.Seq2[*itemRow, error]) error {
		for row, err := range rows {
			if err != nil {
				return err
			}
			found = row // of two, one was just replaced by the second
		}
		return nil
	}
	for _, err := range query(ctx, s, partition, prefix, after(prefix), itemMembers, oneRow, take) {
		if err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, items.ErrNotFound
	}
	return found, nil
}

func errorCode(err error) string {
	var response *azcore.ResponseError
	if errors.As(err, &response) {
		return response.ErrorCode
	}
	return ""
}

// translate turns what the SDK says into what package items says. It is the one
// place where that happens.
func translate(ctx context.Context, err error) error {
	var response *azcore.ResponseError
	var noIdentity *identityError
	var taken *takenError
	switch {
	case errors.As(err, &taken):
		return taken.error
	case errors.Is(err, items.ErrTooLarge):
		return err
	case errors.As(err, &noIdentity):
		return fmt.Errorf("%w: %w", items.ErrUnavailable, noIdentity)
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", items.ErrTimeout, err)
	case !errors.As(err, &response):
		return fmt.Errorf("%w: %w", items.ErrUnavailable, err) // the network, or no HTTP
	case response.StatusCode == http.StatusNotFound && response.ErrorCode == string(aztables.ResourceNotFound):
		return items.ErrNotFound
	default:
		// What is sent is right by construction, so what else is refused (the
		// table, the identity's role, the signature) is storage not set up.
		return fmt.Errorf("%w: %s: %w", items.ErrUnavailable, response.ErrorCode, err)
	}
}
