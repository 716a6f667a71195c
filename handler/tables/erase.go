package tables

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"itemsapi/handler/items"
)

// eraseTime is how long one call erases.
const eraseTime = 2 * time.Second

// Erase removes all rows of an owner but the head. It implements items.Store.
//
// Each transaction gives the head a new epoch, so that nobody who has seen some of what
// goes takes the rest for all that there is; and counts. So it can be broken off anywhere,
// and the next call goes on.
func (s *Store) Erase(ctx context.Context, owner items.Owner) (erased int64, more bool, err error) {
	if erased, more, err = s.erase(ctx, partitionKey(owner)); err != nil {
		return 0, false, fmt.Errorf("erase: %w", err)
	}
	return erased, more, nil
}

func (s *Store) erase(ctx context.Context, partition string) (erased int64, more bool, err error) {
	l, err := s.lines.enter(partition)
	if err != nil {
		return 0, false, err
	}
	defer s.lines.leave(l)
	start := time.Now()
	for left := kinds; ; {
		var keys []string
		if keys, left, err = s.keysOf(ctx, partition, left); err != nil {
			return 0, false, fmt.Errorf("look for rows: %w", err)
		}
		// Without rows there is one transaction all the same: positions become invalid.
		for first := 0; first == 0 || first < len(keys); first += maxOperations - 1 {
			n, err := s.eraseRows(ctx, partition, l, keys[first:min(first+maxOperations-1, len(keys))])
			if errors.Is(err, errRowsGone) {
				left = kinds
				break
			}
			if err != nil {
				return 0, false, err
			}
			if erased += n; time.Since(start) > eraseTime {
				return erased, true, nil
			}
		}
		if left == nil {
			return erased, false, nil
		}
	}
}

// kinds are ranges of keys that have all rows but the head between them, items first.
var kinds = [][2]string{
	{itemPrefix, after(itemPrefix)}, {"", itemPrefix}, {after(itemPrefix), headKey}, {headKey, "~"},
}

// keysOf finds rows between the keys, as many as come at once or more, and what of the
// kinds is left after that.
func (s *Store) keysOf(
	ctx context.Context,
	partition string,
	of [][2]string,
) (keys []string, left [][2]string, err error) {
	type row struct {
		RowKey string `json:"RowKey"`
	}
	var rows []row
	for i, kind := range of {
		for page, err := range query(ctx, s, partition, kind[0], kind[1], "RowKey", pageRows, collect(&rows)) {
			if err != nil {
				return nil, nil, err
			}
			for _, r := range rows {
				keys = append(keys, r.RowKey)
			}
			if len(keys) >= pageRows && page.more {
				return keys, of[i:], nil
			}
		}
	}
	return keys, nil, nil
}

var errRowsGone = errors.New("a row is gone")

// eraseRows removes rows in one transaction, and returns how many were items.
func (s *Store) eraseRows(ctx context.Context, partition string, l *line, keys []string) (erased int64, err error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for other changes: %w: %w", items.ErrTimeout, ctx.Err())
	}
	for times := 1; ; times = min(2*times, most) {
		if l.head == nil {
			if l.head, err = s.readHead(ctx, partition); err != nil {
				return 0, fmt.Errorf("read the last change: %w", err)
			}
		}
		was, is := *l.head, *l.head
		if was.etag == "" && len(keys) == 0 {
			return 0, nil
		}
		is.epoch = s.newEpoch()
		if now := s.clock.now(); now.After(is.erasedAt) {
			is.erasedAt = now
		}
		var operations []operation
		erased = 0
		for _, key := range keys {
			operations = append(operations, remove(partition, key))
			id, isTombstone := strings.CutPrefix(key, tombstoneKey(""))
			if made, _, ok := readItemKey(key); ok {
				id, erased = made.String(), erased+1
			} else if !isTombstone {
				continue
			}
			is.erasedTo = max(is.erasedTo, id)
		}
		is.count -= erased
		operations = append(operations, is.replacing(partition, was.etag))
		o := s.submit(ctx, operations, func(ctx context.Context) (bool, error) {
			h, err := s.readHead(ctx, partition)
			return err == nil && h.epoch == is.epoch, err
		})
		l.head = nil
		switch {
		case o.err != nil:
			return 0, o.err
		case o.refused == nil:
			if is.etag = o.etag; is.etag != "" {
				l.head = &is
			}
			return erased, nil
		case o.refused.operation < len(keys) && o.refused.code == string(aztables.ResourceNotFound):
			return 0, errRowsGone
		case o.refused.operation < len(keys):
			return 0, o.refused.unexpected()
		}
		l.rivalled = time.Now()
		l.pause(times)
	}
}
