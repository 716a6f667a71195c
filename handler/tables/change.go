package tables

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/google/uuid"

	"itemsapi/handler/items"
)

// keyRow remembers what an Idempotency-Key was used for: IDs and a hash. With
// them and the repeated request the first answer is made again.
type keyRow struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	Request      string `json:"request"`
	Change       change `json:"change"`
	Items        string `json:"items"` // IDs with commas between them
}

// tombstone remembers how an item was deleted.
type tombstone struct {
	PartitionKey string `json:"PartitionKey"`
	RowKey       string `json:"RowKey"`
	Change       change `json:"change"`
	// Match is the version that it was deleted in, or * if that did not matter.
	Match string `json:"match"`
}

const anyMatch = "*"

func tombstoneKey(id string) string { return "t-" + id }

// Create keeps new items. It implements items.Store.
func (s *Store) Create(ctx context.Context, owner items.Owner, drafts []items.Draft, key *items.Key) ([]items.Item, bool, error) {
	partition := partitionKey(owner)
	ids := s.clock.ids(len(drafts))
	made := changeAt(createdAt(ids[len(ids)-1]))
	created := compose(drafts, ids, made)
	entry := logRow{Change: made, Items: join(ids)}
	var operations []operation
	if key != nil {
		sum := sha256.Sum256([]byte(key.Value))
		entry.Key = "k-" + hex.EncodeToString(sum[:])
		operations = append(operations, add(entry.Key, keyRow{
			PartitionKey: partition, RowKey: entry.Key,
			Request: hex.EncodeToString(key.Request[:]), Change: made, Items: entry.Items,
		}))
	}
	for _, item := range created {
		operations = append(operations, add(itemKey(item), rowOf(partition, item)))
	}
	refused, err := s.commit(ctx, partition, entry, int64(len(drafts)), operations)
	if err != nil {
		return nil, false, fmt.Errorf("create items: %w", err)
	}
	if refused == nil {
		return created, false, nil
	}
	if key == nil || refused.operation != 0 || refused.code != string(aztables.EntityAlreadyExists) {
		return nil, false, fmt.Errorf("create items: %w", refused.unexpected())
	}
	row, _, err := get[keyRow](ctx, s, partition, entry.Key)
	if err != nil {
		return nil, false, fmt.Errorf("create items: read what the key was used for: %w", unknownRow(err))
	}
	if row.Request != hex.EncodeToString(key.Request[:]) {
		return nil, false, fmt.Errorf("create items: %w", items.ErrKeyReused)
	}
	first, err := split(row.Items)
	if err != nil || len(first) != len(drafts) {
		return nil, false, fmt.Errorf("create items: row %s cannot be read: %w", entry.Key, items.ErrUnavailable)
	}
	return compose(drafts, first, row.Change), true, nil
}

// compose makes items of drafts.
func compose(drafts []items.Draft, ids []uuid.UUID, made change) []items.Item {
	composed := make([]items.Item, len(drafts))
	for i, d := range drafts {
		composed[i] = newItem(d, ids[i], made)
	}
	return composed
}

func join(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return strings.Join(texts, ",")
}

func split(list string) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	for text := range strings.SplitSeq(list, ",") {
		id, err := uuid.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%.40q is no ID: %w", text, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// Update changes an item. It implements items.Store.
func (s *Store) Update(ctx context.Context, owner items.Owner, id string, m items.Match, e items.Edit) (items.Item, error) {
	item, err := s.update(ctx, partitionKey(owner), id, m, e)
	if err != nil {
		return items.Item{}, fmt.Errorf("update item: %w", err)
	}
	return item, nil
}

func (s *Store) update(ctx context.Context, partition, id string, m items.Match, e items.Edit) (items.Item, error) {
	old, ok := only(id, m)
	for blind := ok && e.Blind; ; blind = false {
		if !blind {
			row, err := s.row(ctx, partition, id)
			if err != nil {
				return items.Item{}, err
			}
			if old, err = s.item(row); err != nil {
				return items.Item{}, err
			}
			if !matches(m, old.ETag) {
				// What the same request has made of it is no reason to refuse.
				if row.Request == hex.EncodeToString(e.Request[:]) && matches(m, change(row.Prior).tag()) {
					return old, nil
				}
				return items.Item{}, items.ErrChanged
			}
		}
		draft, err := e.Apply(old)
		if err != nil {
			return items.Item{}, err
		}
		made := s.changeAfter(old)
		updated := items.Item{ID: id, Draft: draft, CreatedAt: old.CreatedAt, UpdatedAt: made.time(), ETag: made.tag()}
		row := rowOf(partition, updated)
		prior, _ := changeOf(old.ETag)
		row.Prior, row.Request = string(prior), hex.EncodeToString(e.Request[:])
		refused, err := s.commit(ctx, partition, logRow{Change: made, Items: id}, 0, []operation{
			remove(partition, itemKey(old)), add(row.RowKey, row),
		})
		if err != nil {
			return items.Item{}, err
		}
		if refused == nil {
			return updated, nil
		}
		if !refused.absent() {
			return items.Item{}, refused.unexpected()
		}
		// It has another version, or is gone.
	}
}

// Delete deletes an item. It implements items.Store.
func (s *Store) Delete(ctx context.Context, owner items.Owner, id string, m items.Match) (items.Tombstone, error) {
	made, err := s.delete(ctx, partitionKey(owner), id, m)
	if err != nil {
		return items.Tombstone{}, fmt.Errorf("delete item: %w", err)
	}
	return items.Tombstone{ID: id, DeletedAt: made.time()}, nil
}

func deletion(id string, made change) items.Change {
	return items.Change{Item: items.Item{ID: id}, Gone: &items.Tombstone{ID: id, DeletedAt: made.time()}}
}

func (s *Store) delete(ctx context.Context, partition, id string, m items.Match) (change, error) {
	old, ok := only(id, m)
	for blind := ok; ; blind = false {
		if !blind {
			row, err := s.row(ctx, partition, id)
			if errors.Is(err, items.ErrNotFound) {
				return s.deleted(ctx, partition, id, m)
			}
			if err != nil {
				return "", err
			}
			if old, err = s.item(row); err != nil {
				return "", err
			}
			if !matches(m, old.ETag) {
				return "", items.ErrChanged
			}
		}
		made := s.changeAfter(old)
		match := anyMatch
		if prior, _ := changeOf(old.ETag); !m.Any {
			match = string(prior)
		}
		refused, err := s.commit(ctx, partition, logRow{Change: made, Items: id, Deleted: true}, -1, []operation{
			remove(partition, itemKey(old)),
			add(tombstoneKey(id), tombstone{PartitionKey: partition, RowKey: tombstoneKey(id), Change: made, Match: match}),
		})
		if err != nil {
			return "", err
		}
		if refused == nil {
			return made, nil
		}
		if !refused.absent() {
			return "", refused.unexpected()
		}
		// It has another version, or is gone.
	}
}

// deleted returns the change that deleted an item with the same Match, for a
// request that is sent again. The item is not there.
func (s *Store) deleted(ctx context.Context, partition, id string, m items.Match) (change, error) {
	if _, ok := rowPrefix(id); !ok {
		return "", items.ErrNotFound
	}
	t, _, err := get[tombstone](ctx, s, partition, tombstoneKey(id))
	if err != nil {
		return "", err
	}
	if m.Any != (t.Match == anyMatch) || !m.Any && !matches(m, change(t.Match).tag()) {
		return "", items.ErrNotFound
	}
	return t.Change, nil
}

// only is what is known of an item from its ID and the one version that a change
// is meant for, or false.
func only(id string, m items.Match) (items.Item, bool) {
	if _, ok := rowPrefix(id); !ok || m.Any || len(m.Tags) != 1 {
		return items.Item{}, false
	}
	made, ok := changeOf(m.Tags[0])
	if !ok {
		return items.Item{}, false
	}
	return items.Item{ID: id, CreatedAt: createdAt(uuid.MustParse(id)), UpdatedAt: made.time(), ETag: made.tag()}, true
}

func matches(m items.Match, tag string) bool { return m.Any || slices.Contains(m.Tags, tag) }

// changeAfter makes a change of now that is later than the item's last.
func (s *Store) changeAfter(item items.Item) change {
	now := s.clock.now()
	if earliest := item.UpdatedAt.Add(time.Millisecond); now.Before(earliest) {
		now = earliest
	}
	return changeAt(now)
}

// absent reports whether the first operation did not find its row.
func (r *refusal) absent() bool {
	return r.operation == 0 && r.code == string(aztables.ResourceNotFound)
}

func (r *refusal) unexpected() error {
	return fmt.Errorf("%w: %s in operation %d of a transaction", items.ErrUnavailable, r.code, r.operation)
}

// unknownRow is for a row that must be there.
func unknownRow(err error) error {
	if errors.Is(err, items.ErrNotFound) {
		return fmt.Errorf("%w: it is gone", items.ErrUnavailable)
	}
	return err
}
