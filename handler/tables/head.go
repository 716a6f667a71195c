package tables

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"itemsapi/handler/items"
)

// headRow holds the number of a partition's last change, and how many items there are
// since. Every transaction replaces it
// on the condition that nobody else has: so numbers have no gaps, and a change with a
// higher one was made later, whatever the clocks say and however long its author was
// held up.
type headRow struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	Last         string `json:"last"`  // as formatNumber has it
	Count        string `json:"count"` // of the items
	// Epoch is made with the row, and made again when anything is erased. A position from
	// before that, or from before the table was emptied, has another.
	Epoch string `json:"epoch"`
	// ErasedAt is when the last was erased, and ErasedTo the newest of all IDs that were.
	ErasedAt string `json:"erasedAt,omitempty"`
	ErasedTo string `json:"erasedTo,omitempty"`
}

// logRow is the log's entry of a change.
type logRow struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	Change       change `json:"change"`
	Items        string `json:"items,omitempty"` // IDs of those that are there then, with commas between them
	Gone         string `json:"gone,omitempty"`  // IDs of those that are not
	Key          string `json:"key,omitempty"`   // row key of the Idempotency-Key
	Epoch        string `json:"epoch"`           // the head's
}

func (e *logRow) there() []string { return idsIn(e.Items) }
func (e *logRow) gone() []string  { return idsIn(e.Gone) }

func idsIn(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func formatNumber(n uint64) string { return fmt.Sprintf("%016x", n) }

func logKey(number uint64) string { return logPrefix + formatNumber(number) }

// head is what a partition's head row said.
type head struct {
	last  uint64
	count int64
	etag  string // Azure's; empty if there is no row yet
	epoch string

	erasedAt time.Time // zero if nothing ever was
	erasedTo string
}

func (s *Store) newEpoch() string { return string(changeAt(s.clock.now())[24:]) }

func (s *Store) readHead(ctx context.Context, partition string) (*head, error) {
	row, etag, err := get[headRow](ctx, s, partition, headKey)
	switch {
	case errors.Is(err, items.ErrNotFound): // the owner's first change
		return &head{epoch: s.newEpoch()}, nil
	case err != nil:
		return nil, err
	}
	h := &head{etag: etag, epoch: row.Epoch, erasedTo: row.ErasedTo}
	var errs [3]error
	h.last, errs[0] = strconv.ParseUint(row.Last, 16, 64)
	h.count, errs[1] = strconv.ParseInt(row.Count, 10, 64)
	if row.ErasedAt != "" {
		h.erasedAt, errs[2] = time.Parse(time.RFC3339, row.ErasedAt)
	}
	if err := errors.Join(errs[:]...); err != nil || etag == "" {
		err = fmt.Errorf("the row %s is not of the form that this version writes: %w", headKey, err)
		return nil, fmt.Errorf("%w: %w", items.ErrUnavailable, err)
	}
	return h, nil
}

// Summary tells of an owner's items without reading them. It implements items.Store.
func (s *Store) Summary(ctx context.Context, owner items.Owner) (items.Summary, error) {
	h, err := s.readHead(ctx, partitionKey(owner))
	if err != nil {
		return items.Summary{}, fmt.Errorf("count items: %w", err)
	}
	return items.Summary{Count: h.count, Known: h.etag != "", ErasedAt: h.erasedAt}, nil
}

// replacing is the head's part of a transaction that makes it this, from what it was.
func (h head) replacing(partition, etag string) operation {
	row := headRow{
		PartitionKey: partition, RowKey: headKey,
		Last: formatNumber(h.last), Count: strconv.FormatInt(h.count, 10), Epoch: h.epoch, ErasedTo: h.erasedTo,
	}
	if !h.erasedAt.IsZero() {
		row.ErasedAt = h.erasedAt.UTC().Format(time.RFC3339Nano)
	}
	if etag == "" {
		return add(headKey, row)
	}
	o := operation{key: headKey}
	o.ActionType, o.Entity, o.IfMatch = aztables.TransactionTypeUpdateReplace, encode(row), (*azcore.ETag)(&etag)
	return o
}
