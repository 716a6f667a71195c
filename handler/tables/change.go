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
	Items        string `json:"items"` // IDs with commas between them, in the request's order
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

// Apply makes changes. It implements items.Store.
//
// At first it looks at no row that it need not: the transaction fails if a version is not
// the item's any more. Only then it reads, to say why.
func (s *Store) Apply(
	ctx context.Context, owner items.Owner, ops []items.Op, key *items.Key,
) ([]items.Change, bool, error) {
	made, replayed, err := s.apply(ctx, partitionKey(owner), ops, key)
	if err != nil {
		return nil, false, fmt.Errorf("change items: %w", err)
	}
	return made, replayed, nil
}

func (s *Store) apply(
	ctx context.Context, partition string, ops []items.Op, key *items.Key,
) ([]items.Change, bool, error) {
	for blind := true; ; blind = false {
		subjects, err := s.look(ctx, partition, ops, blind)
		if err != nil {
			return nil, false, err
		}
		b, failed := s.compose(partition, ops, subjects, key)
		if key != nil && (failed != nil || b.repeated > 0) {
			// A repeat of the whole fails in its parts.
			made, replayed, err := s.replay(ctx, partition, ops, key)
			if err != nil || replayed {
				return made, replayed, err
			}
		}
		switch {
		case failed != nil && blind && len(ops) > 1:
			continue // there may be more that fail
		case failed != nil:
			return nil, false, &items.OpsError{Failed: failed}
		case b.repeated == len(ops):
			return b.made, false, nil
		}
		refused, err := s.commit(ctx, partition, b.write)
		if err != nil {
			return nil, false, err
		}
		switch {
		case refused == nil:
			return b.made, false, nil
		case key != nil && refused.operation == 0 && refused.code == string(aztables.EntityAlreadyExists):
			made, replayed, err := s.replay(ctx, partition, ops, key)
			if err != nil || replayed {
				return made, replayed, err
			}
		case refused.code != string(aztables.ResourceNotFound) && refused.code != usedID:
			return nil, false, refused.unexpected()
		}
	}
}

// subject is the item that an op is about, as far as it has to be known.
type subject struct {
	was items.Item
	// repeated is what the same op has made of it before, if it has.
	repeated *items.Change
	err      error // why the op cannot be
}

// look finds the subjects. Blind, it reads only those whose content or version has to
// be known.
func (s *Store) look(ctx context.Context, partition string, ops []items.Op, blind bool) ([]subject, error) {
	subjects := make([]subject, len(ops))
	var unseen []int
	for i, op := range ops {
		known := op.Create != nil
		if blind && (op.Delete || op.Edit != nil && op.Edit.Blind) {
			subjects[i].was, known = only(op)
		}
		if !known || op.Create != nil && op.ID != "" && !blind {
			unseen = append(unseen, i)
		}
	}
	if len(unseen) >= fewItems {
		if err := items.Room(ctx, pageRoom); err != nil {
			return nil, err
		}
	}
	errs := each(len(unseen), func(n int) (err error) {
		subjects[unseen[n]], err = s.lookAt(ctx, partition, ops[unseen[n]])
		return err
	})
	for n, err := range errs {
		if err != nil && !isAboutOp(err) {
			return nil, fmt.Errorf("look at item %.40q: %w", ops[unseen[n]].ID, err)
		}
		subjects[unseen[n]].err = err
	}
	return subjects, nil
}

// isAboutOp reports whether an error says that an op cannot be, rather than that the
// storage did not answer.
func isAboutOp(err error) bool {
	for _, about := range []error{items.ErrNotFound, items.ErrChanged, items.ErrExists, items.ErrDeleted} {
		if errors.Is(err, about) {
			return true
		}
	}
	return false
}

// lookAt finds the subject of one op.
func (s *Store) lookAt(ctx context.Context, partition string, op items.Op) (sub subject, err error) {
	row, err := s.row(ctx, partition, op.ID)
	if errors.Is(err, items.ErrNotFound) {
		switch {
		case op.Create != nil:
			return sub, s.usedBefore(ctx, partition, op.ID)
		case op.Delete:
			sub.repeated, err = s.deletedBefore(ctx, partition, op)
		}
		return sub, err
	}
	if err != nil {
		return sub, err
	}
	if sub.was, err = s.item(row); err != nil {
		return sub, err
	}
	same := row.Request == hex.EncodeToString(op.Request[:])
	switch {
	case op.Create != nil && same && row.Prior == "":
		sub.repeated = &items.Change{Item: sub.was}
	case op.Create != nil:
		return sub, items.ErrExists
	case op.Match.Matches(sub.was.ETag) && op.Unless.Matches(sub.was.ETag):
		return sub, items.ErrExists
	case op.Match.Matches(sub.was.ETag):
	// What the same request has made of it is not a reason to refuse.
	case op.Edit != nil && same && row.Prior != "" && op.Match.Matches(change(row.Prior).tag()):
		sub.repeated = &items.Change{Item: sub.was}
	default:
		return sub, items.ErrChanged
	}
	return sub, nil
}

// deletedBefore returns what deleted an item with the same Match, or ErrNotFound. The
// item is not there.
func (s *Store) deletedBefore(ctx context.Context, partition string, op items.Op) (*items.Change, error) {
	if _, ok := rowPrefix(op.ID); !ok {
		return nil, items.ErrNotFound
	}
	t, _, err := get[tombstone](ctx, s, partition, tombstoneKey(op.ID))
	if err != nil {
		return nil, err
	}
	if op.Match.Any != (t.Match == anyMatch) || !op.Match.Any && !op.Match.Matches(change(t.Match).tag()) {
		return nil, items.ErrNotFound
	}
	gone := deletion(op.ID, t.Change)
	return &gone, nil
}

// usedBefore returns ErrDeleted if an item that is not there was there before.
func (s *Store) usedBefore(ctx context.Context, partition, id string) error {
	_, _, err := get[tombstone](ctx, s, partition, tombstoneKey(id))
	if err == nil {
		return items.ErrDeleted
	}
	if !errors.Is(err, items.ErrNotFound) {
		return err
	}
	h, err := s.readHead(ctx, partition)
	if err == nil && id <= h.erasedTo {
		return items.ErrDeleted
	}
	return err
}

// composed is a request on its way to a transaction, and its answer.
type composed struct {
	write    write
	made     []items.Change
	repeated int // of the ops
}

// compose makes operations and an answer of what is asked for. All of it is one change.
func (s *Store) compose(
	partition string, ops []items.Op, subjects []subject, key *items.Key,
) (b composed, failed []items.FailedOp) {
	fail := func(i int, err error) { failed = append(failed, items.FailedOp{Index: i, Err: err}) }
	now := s.clock.now()
	ids := s.idsFor(ops)
	for i, sub := range subjects {
		if earliest := sub.was.UpdatedAt.Add(time.Millisecond); !sub.was.UpdatedAt.IsZero() && earliest.After(now) {
			now = earliest // of one item, each change is later than the one before
		}
		if ops[i].Create != nil && createdAt(ids[i]).After(now) {
			now = createdAt(ids[i])
		}
		if sub.repeated != nil {
			b.repeated++
		}
	}
	made := changeAt(now)
	b.made = make([]items.Change, len(ops))
	w := &b.write
	w.entry.Change = made
	var there, gone []string
	for i, op := range ops {
		sub := subjects[i]
		switch {
		case sub.err != nil:
			fail(i, sub.err)
		case sub.repeated != nil:
			b.made[i] = *sub.repeated
			if b.repeated < len(ops) { // the rest is another request's, and so is this
				fail(i, otherwise(op))
			}
		case op.Create != nil:
			item := newItem(*op.Create, ids[i], made)
			row := rowOf(partition, item)
			if op.ID != "" {
				row.Request = hex.EncodeToString(op.Request[:])
				w.unused = append(w.unused, op.ID)
			}
			w.operations = append(w.operations, add(row.RowKey, row))
			w.more++
			there = append(there, item.ID)
			b.made[i].Item = item
		case op.Edit != nil:
			draft, err := op.Edit.Apply(sub.was)
			if err != nil {
				fail(i, err)
				continue
			}
			item := newItem(draft, ids[i], made)
			row := rowOf(partition, item)
			prior, _ := changeOf(sub.was.ETag)
			row.Prior, row.Request = string(prior), hex.EncodeToString(op.Request[:])
			w.operations = append(w.operations, remove(partition, itemKey(sub.was)), add(row.RowKey, row))
			there = append(there, item.ID)
			b.made[i].Item = item
		case op.Delete:
			match := anyMatch
			if prior, _ := changeOf(sub.was.ETag); !op.Match.Any {
				match = string(prior)
			}
			t := tombstone{PartitionKey: partition, RowKey: tombstoneKey(op.ID), Change: made, Match: match}
			w.operations = append(w.operations, remove(partition, itemKey(sub.was)), add(t.RowKey, t))
			w.more--
			gone = append(gone, op.ID)
			b.made[i] = deletion(op.ID, made)
		}
	}
	w.entry.Items, w.entry.Gone = strings.Join(there, ","), strings.Join(gone, ",")
	if key != nil {
		row := keyRow{
			PartitionKey: partition, RowKey: keyKey(key),
			Request: hex.EncodeToString(key.Request[:]), Change: made, Items: join(ids),
		}
		w.entry.Key = row.RowKey
		w.operations = slices.Insert(w.operations, 0, add(row.RowKey, row))
	}
	return b, failed
}

func keyKey(key *items.Key) string {
	sum := sha256.Sum256([]byte(key.Value))
	return "k-" + hex.EncodeToString(sum[:])
}

func deletion(id string, made change) items.Change {
	return items.Change{Item: items.Item{ID: id}, Gone: &items.Tombstone{ID: id, DeletedAt: made.time()}}
}

// replay makes the answer again that was given for the key, if it was used.
func (s *Store) replay(
	ctx context.Context, partition string, ops []items.Op, key *items.Key,
) (made []items.Change, replayed bool, err error) {
	row, _, err := get[keyRow](ctx, s, partition, keyKey(key))
	switch {
	case errors.Is(err, items.ErrNotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, fmt.Errorf("read what the key was used for: %w", err)
	case row.Request != hex.EncodeToString(key.Request[:]):
		return nil, false, items.ErrKeyReused
	}
	ids := strings.Split(row.Items, ",")
	if len(ids) != len(ops) {
		err := fmt.Errorf("the row %s is not of the form that this version writes", row.RowKey)
		return nil, false, fmt.Errorf("%w: %w", items.ErrUnavailable, err)
	}
	for i, op := range ops {
		id, err := uuid.Parse(ids[i])
		if err != nil {
			return nil, false, fmt.Errorf("read the row %s: %w: %w", row.RowKey, items.ErrUnavailable, err)
		}
		switch {
		case op.Create != nil:
			made = append(made, items.Change{Item: newItem(*op.Create, id, row.Change)})
		case op.Delete:
			made = append(made, deletion(ids[i], row.Change))
		default:
			made = append(made, items.Change{Item: newItem(items.Draft{}, id, row.Change)})
		}
	}
	return made, true, nil
}

// idsFor gives each op the ID of its item.
func (s *Store) idsFor(ops []items.Op) []uuid.UUID {
	ids := make([]uuid.UUID, len(ops))
	var without []int
	for i, op := range ops {
		if ids[i], _ = uuid.Parse(op.ID); op.ID == "" { // one that is none is not found
			without = append(without, i)
		}
	}
	for n, id := range s.clock.ids(len(without)) {
		ids[without[n]] = id
	}
	return ids
}

// otherwise is why an op cannot be that was made before, if this is not a repeat.
func otherwise(op items.Op) error {
	switch {
	case op.Create != nil:
		return items.ErrExists
	case op.Delete:
		return items.ErrNotFound
	}
	return items.ErrChanged
}

// usedID is the code of a refusal of ours: an ID was used before.
const usedID = "UsedID"

// used tells which of the IDs are or were items'.
func (s *Store) used(ctx context.Context, partition string, ids []string) (map[string]bool, error) {
	errs := each(2*len(ids), func(i int) (err error) {
		if id := ids[i/2]; i%2 == 0 {
			_, err = s.row(ctx, partition, id)
		} else {
			_, _, err = get[tombstone](ctx, s, partition, tombstoneKey(id))
		}
		return err
	})
	used := map[string]bool{}
	for i, err := range errs {
		if err != nil && !errors.Is(err, items.ErrNotFound) {
			return nil, fmt.Errorf("look for an ID: %w", err)
		}
		used[ids[i/2]] = used[ids[i/2]] || err == nil
	}
	return used, nil
}

func join(ids []uuid.UUID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return strings.Join(texts, ",")
}

// only is what is known of an item from its ID and the one version that a change
// is meant for, or false.
func only(op items.Op) (items.Item, bool) {
	_, isID := rowPrefix(op.ID)
	if !isID || op.Match.Any || len(op.Match.Tags) != 1 || op.Unless.Any || op.Unless.Tags != nil {
		return items.Item{}, false
	}
	made, ok := changeOf(op.Match.Tags[0])
	if !ok {
		return items.Item{}, false
	}
	created := createdAt(uuid.MustParse(op.ID))
	return items.Item{ID: op.ID, CreatedAt: created, UpdatedAt: made.time(), ETag: made.tag()}, true
}
