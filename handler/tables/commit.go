package tables

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	jsonv2 "github.com/go-json-experiment/json"

	"itemsapi/handler/items"
)

// headRow holds the number of a partition's last change. Every change replaces it
// in its own transaction, on the condition that nobody else has: so numbers have
// no gaps, and a change with a higher one was made later, whatever the clocks say
// and however long its author was held up.
type headRow struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	Last         string `json:"last"` // as formatNumber has it
	// Epoch is made with the row. A position from before the table was emptied
	// has another.
	Epoch string `json:"epoch"`
}

// logRow is the log's entry of a change.
type logRow struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	Change       change `json:"change"`
	Items        string `json:"items"`            // IDs with commas between them
	Deleted      bool   `json:"deleted,omitzero"` // the one item is gone
	Key          string `json:"key,omitempty"`    // row key of the Idempotency-Key
	Epoch        string `json:"epoch"`            // the head's
}

func formatNumber(n uint64) string { return fmt.Sprintf("%016x", n) }

func logKey(number uint64) string { return logPrefix + formatNumber(number) }

// head is what this process knows of a partition's last change. It may be out of
// date: a transaction that relies on it fails then.
type head struct {
	turn  chan struct{} // holds one: whose turn it is to change the partition
	users int           // how many have or await the turn; guarded by heads

	known bool // the following; guarded by turn
	last  uint64
	etag  string // Azure's, of the head's row; empty if there is none yet
	epoch string
}

// heads are the partitions that this process changed lately.
type heads struct {
	mu sync.Mutex
	of map[string]*head
}

const (
	maxHeads   = 10_000
	maxWaiting = 64 // changes of one partition at a time
)

// take waits for the turn to change a partition.
func (h *heads) take(ctx context.Context, partition string) (*head, error) {
	h.mu.Lock()
	p := h.of[partition]
	if p == nil {
		if len(h.of) >= maxHeads {
			h.forget()
		}
		p = &head{turn: make(chan struct{}, 1)}
		h.of[partition] = p
	}
	if p.users >= maxWaiting {
		h.mu.Unlock()
		return nil, items.ErrBusy
	}
	p.users++
	h.mu.Unlock()
	select {
	case p.turn <- struct{}{}:
		return p, nil
	case <-ctx.Done():
		h.leave(p)
		return nil, fmt.Errorf("wait for other changes: %w: %w", items.ErrTimeout, ctx.Err())
	}
}

func (h *heads) release(p *head) {
	<-p.turn
	h.leave(p)
}

func (h *heads) leave(p *head) {
	h.mu.Lock()
	p.users--
	h.mu.Unlock()
}

// forget makes room: a tenth of the heads goes, whichever they are.
func (h *heads) forget() {
	for partition, p := range h.of {
		if p.users == 0 {
			delete(h.of, partition)
		}
		if len(h.of) <= maxHeads*9/10 {
			return
		}
	}
}

// refusal says which operation of a transaction failed, and why.
type refusal struct {
	operation int
	status    int
	code      string
}

// commit carries out operations on a partition and writes the entry to its log,
// all in one transaction. It returns a refusal if one of the operations failed;
// where others changed the partition meanwhile it tries again.
func (s *Store) commit(ctx context.Context, partition string, entry logRow, operations []aztables.TransactionAction) (*refusal, error) {
	h, err := s.heads.take(ctx, partition)
	if err != nil {
		return nil, err
	}
	number, refused, err := s.commitInTurn(ctx, partition, h, entry, operations)
	s.heads.release(h)
	if number%cleanEvery == 0 && number > 0 {
		s.clean(ctx, partition)
	}
	return refused, err
}

// commitInTurn is commit for who has the turn. It returns the number that the
// change got, or zero.
func (s *Store) commitInTurn(ctx context.Context, partition string, h *head, entry logRow, operations []aztables.TransactionAction) (uint64, *refusal, error) {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		if !h.known {
			if err := s.readHead(ctx, partition, h); err != nil {
				return 0, nil, fmt.Errorf("read the last change: %w", err)
			}
		}
		number := h.last + 1
		entry.PartitionKey, entry.RowKey, entry.Epoch = partition, logKey(number), h.epoch
		next := headRow{PartitionKey: partition, RowKey: headKey, Last: formatNumber(number), Epoch: h.epoch}
		all := append(slices.Clone(operations), add(entry))
		if h.etag == "" {
			all = append(all, add(next))
		} else {
			etag := azcore.ETag(h.etag)
			all = append(all, aztables.TransactionAction{ActionType: aztables.TransactionTypeUpdateReplace, Entity: encode(next), IfMatch: &etag})
		}

		var o observation
		_, err := s.table.SubmitTransaction(observe(ctx, &o), all, nil)
		etag, refused, understood := readTransaction(o.body)
		if understood && refused == nil {
			h.last, h.etag, h.known = number, etag, etag != ""
			return number, nil, nil
		}
		maybe := o.maybe || o.body != nil && !understood || refused != nil && refused.status >= http.StatusInternalServerError
		if maybe || refused == nil || refused.operation >= len(operations) {
			h.known = false
		}
		if maybe && s.committed(ctx, partition, number, entry.Change) {
			return number, nil, nil
		}
		switch {
		case refused == nil || refused.status >= http.StatusInternalServerError:
			if err == nil {
				err = fmt.Errorf("storage's answer to a transaction cannot be read: %w", items.ErrUnavailable)
			}
			err = translate(ctx, err)
			if maybe {
				err = fmt.Errorf("%w: %w", items.ErrOutcomeUnknown, err)
			}
			return 0, nil, err
		case refused.operation < len(operations):
			return 0, refused, nil
		}
		// Somebody else had the number.
		select {
		case <-time.After(rand.N(pause)):
		case <-ctx.Done():
			return 0, nil, fmt.Errorf("%w: %w", items.ErrTimeout, ctx.Err())
		}
	}
}

func (s *Store) readHead(ctx context.Context, partition string, h *head) error {
	row, etag, err := get[headRow](ctx, s, partition, headKey)
	switch {
	case errors.Is(err, items.ErrNotFound): // the owner's first change
		h.last, h.etag, h.epoch, h.known = 0, "", string(changeAt(s.clock.now())[24:]), true
		return nil
	case err != nil:
		return err
	}
	last, err := strconv.ParseUint(row.Last, 16, 64)
	if err != nil || etag == "" {
		return fmt.Errorf("the row %s cannot be read: %w", headKey, items.ErrUnavailable)
	}
	h.last, h.etag, h.epoch, h.known = last, etag, row.Epoch, true
	return nil
}

// committed reports whether the number went to that change.
func (s *Store) committed(ctx context.Context, partition string, number uint64, c change) bool {
	row, _, err := get[logRow](ctx, s, partition, logKey(number))
	return err == nil && row.Change == c
}

func add(row any) aztables.TransactionAction {
	return aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: encode(row)}
}

// remove deletes a row, which must be there.
func remove(partition, key string) aztables.TransactionAction {
	return aztables.TransactionAction{ActionType: aztables.TransactionTypeDelete, Entity: encode(map[string]string{"PartitionKey": partition, "RowKey": key})}
}

func encode(row any) []byte {
	b, err := jsonv2.Marshal(row)
	if err != nil {
		panic(err) // rows are strings in UTF-8, which package items sees to
	}
	return b
}

// readTransaction reads the service's answer to a transaction, which the SDK
// throws away: a multipart document of one HTTP answer for each operation, or of
// one alone for the operation that failed, whose number stands before the message.
// It returns the last entity tag in it, or why the transaction was refused.
func readTransaction(body []byte) (etag string, refused *refusal, understood bool) {
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		line := lines.Text()
		if status, ok := strings.CutPrefix(line, "HTTP/1.1 "); ok && len(status) >= 3 {
			n, err := strconv.Atoi(status[:3])
			if err != nil {
				return "", nil, false
			}
			understood = true
			if n >= http.StatusBadRequest {
				refused = &refusal{operation: -1, status: n}
			}
			continue
		}
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "ETag") {
			etag = strings.TrimSpace(value)
			continue
		}
		if refused == nil || !strings.HasPrefix(line, "{") {
			continue
		}
		var answer struct {
			Error struct {
				Code    string `json:"code"`
				Message struct {
					Value string `json:"value"`
				} `json:"message"`
			} `json:"odata.error"`
		}
		if json.Unmarshal([]byte(line), &answer) == nil {
			refused.code = answer.Error.Code
			if number, _, ok := strings.Cut(answer.Error.Message.Value, ":"); ok {
				if n, err := strconv.Atoi(number); err == nil {
					refused.operation = n
				}
			}
		}
	}
	if refused != nil && refused.operation < 0 && refused.status < http.StatusInternalServerError || lines.Err() != nil {
		return "", nil, false // without the operation it says nothing
	}
	return etag, refused, understood
}
