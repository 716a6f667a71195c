package tables

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	jsonv2 "github.com/go-json-experiment/json"

	"itemsapi/handler/items"
)

const (
	// maxOperations is how many rows a transaction may be about.
	maxOperations = 100
	// maxTransaction is the most bytes that the service takes as one transaction.
	maxTransaction = 4 << 20
	// operationSize is more than what an operation takes besides its entity, in bytes.
	operationSize = 1 << 10
)

// operation is one row's part of a transaction.
type operation struct {
	aztables.TransactionAction
	key string // the row's
}

// refusal says which operation of a transaction, or of a write, failed, and why.
type refusal struct {
	operation int
	status    int
	code      string
}

func (r *refusal) unexpected() error {
	return fmt.Errorf("%w: %s in operation %d of a transaction", items.ErrUnavailable, r.code, r.operation)
}

func add(key string, row any) operation {
	return operation{aztables.TransactionAction{ActionType: aztables.TransactionTypeAdd, Entity: encode(row)}, key}
}

// remove deletes a row, which must be there.
func remove(partition, key string) operation {
	row := map[string]string{"PartitionKey": partition, "RowKey": key}
	return operation{aztables.TransactionAction{ActionType: aztables.TransactionTypeDelete, Entity: encode(row)}, key}
}

func encode(row any) []byte {
	b, err := jsonv2.Marshal(row)
	if err != nil {
		panic(err) // rows are strings in UTF-8, which package items sees to
	}
	return b
}

// size is how many bytes an operation takes as the SDK sends it, at most.
func (o operation) size() int {
	n := operationSize + len(o.Entity)
	for _, escaped := range []string{"<", ">", "&", "\u2028", "\u2029"} {
		n += bytes.Count(o.Entity, []byte(escaped)) * (len(`\u003c`) - len(escaped))
	}
	return n
}

// outcome is what became of a transaction. If it was neither refused nor failed, it
// was kept.
type outcome struct {
	etag    string // of the last row, where the answer has it
	refused *refusal
	err     error // wraps ErrOutcomeUnknown if it may have been kept
}

// submit sends a transaction. Where it cannot be told from the answer whether it was
// kept, kept is asked.
func (s *Store) submit(ctx context.Context, operations []operation, kept func(context.Context) (bool, error)) outcome {
	actions := make([]aztables.TransactionAction, len(operations))
	for i, o := range operations {
		actions[i] = o.TransactionAction
	}
	var o observation
	_, err := s.table.SubmitTransaction(observe(ctx, &o), actions, nil)
	etag, refused, understood := readTransaction(o.body)
	if understood && refused == nil {
		return outcome{etag: etag}
	}
	failed := refused == nil || refused.status >= http.StatusInternalServerError
	maybe := o.maybe || o.body != nil && !understood || refused != nil && failed
	if maybe {
		was, unknown := kept(ctx)
		if was {
			return outcome{}
		}
		if unknown != nil && !failed {
			failed, err = true, errors.Join(err, unknown)
		}
	}
	if !failed {
		return outcome{refused: refused}
	}
	if err == nil {
		err = fmt.Errorf("storage's answer to a transaction cannot be read: %w", items.ErrUnavailable)
	}
	err = translate(ctx, err)
	if maybe {
		err = fmt.Errorf("%w: %w", items.ErrOutcomeUnknown, err)
	}
	return outcome{err: err}
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
	if refused != nil && refused.operation < 0 && refused.status < http.StatusInternalServerError ||
		lines.Err() != nil {
		return "", nil, false // without the operation it says nothing
	}
	return etag, refused, understood
}
