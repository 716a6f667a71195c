package tables

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"itemsapi/handler/items"
)

// position is a place in a delta: after the changes up to number from, and told
// will be those up to number to. As text its members stand in their order.
type position struct {
	epoch string // of the head; empty before the owner's first change
	to    uint64
	// listed is the item after which a delta goes on that lists the items that there are,
	// or allListed. A first delta does nothing else, and has its from at to. Another one tells
	// of the changes then what they deleted.
	listed string
	// from is the number of the last entry that was told whole, and skip is how
	// many items were told of the entry after it.
	from uint64
	skip int
}

// allListed stands for an item after all others.
const allListed = "-"

func (p position) String() string {
	return fmt.Sprintf("%s.%x.%s.%x.%x", p.epoch, p.to, p.listed, p.from, p.skip)
}

func readPosition(text string) (p position, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 5 {
		return p, false
	}
	p.epoch, p.listed = parts[0], parts[2]
	var errs [3]error
	var skip uint64
	p.to, errs[0] = strconv.ParseUint(parts[1], 16, 64)
	p.from, errs[1] = strconv.ParseUint(parts[3], 16, 64)
	skip, errs[2] = strconv.ParseUint(parts[4], 16, 16)
	p.skip = int(skip)
	_, isID := rowPrefix(p.listed)
	return p, errors.Join(errs[:]...) == nil && p.from <= p.to && (p.listed == "" || p.listed == allListed || isID)
}

// Delta returns what changed since a position. It implements items.Store.
//
// The position up to which it tells is noted before anything else is read. What
// changes meanwhile has a higher number: it may be told already, and will be told
// by the next delta.
func (s *Store) Delta(ctx context.Context, owner items.Owner, after string, limit int) (items.Delta, error) {
	d, err := s.delta(ctx, owner, after, limit)
	if errors.Is(err, items.ErrResync) {
		h, headErr := s.readHead(ctx, partitionKey(owner))
		if headErr != nil {
			err = headErr
		} else if !h.erasedAt.IsZero() {
			err = &items.ErasedError{At: h.erasedAt}
		}
	}
	if err != nil {
		return items.Delta{}, fmt.Errorf("delta: %w", err)
	}
	return d, nil
}

func (s *Store) delta(ctx context.Context, owner items.Owner, after string, limit int) (items.Delta, error) {
	partition := partitionKey(owner)
	p, ok := position{}, true
	if after != "" {
		if p, ok = readPosition(after); !ok {
			return items.Delta{}, fmt.Errorf("%w: %.100q", items.ErrPosition, after)
		}
	}
	if p.listed == "" && p.from == p.to { // a delta begins
		h, err := s.readHead(ctx, partition)
		if err != nil {
			return items.Delta{}, fmt.Errorf("read the last change: %w", err)
		}
		if h.etag == "" {
			h.epoch = ""
		}
		if p.epoch != "" && p.epoch != h.epoch || p.to > h.last {
			return items.Delta{}, items.ErrResync // it is of a table that was emptied since
		}
		p.epoch, p.to = h.epoch, h.last
		if after == "" {
			p.from = p.to
			return s.listed(ctx, owner, p, limit)
		}
		return s.begun(ctx, owner, p, limit, h.count)
	}
	switch p.listed {
	case "":
		entries, err := s.entries(ctx, partition, p, limit)
		if err != nil {
			return items.Delta{}, err
		}
		return s.changed(ctx, partition, p, entries, limit)
	case allListed:
		return s.deleted(ctx, partition, p, limit)
	}
	return s.listed(ctx, owner, p, limit)
}

// manyChanges are more than are told one by one without a look at what else it would cost.
const manyChanges = 100

// begun is the first part of a delta after another. Where a tenth of the items seem to
// have changed, it lists them all: 1,000 rows are read at once, and one that lies alone is
// read by itself.
func (s *Store) begun(ctx context.Context, owner items.Owner, p position, limit int, count int64) (items.Delta, error) {
	if p.from == p.to {
		return items.Delta{Changes: []items.Change{}, Next: p.String()}, nil
	}
	partition := partitionKey(owner)
	entries, err := s.entries(ctx, partition, p, limit)
	if err != nil {
		return items.Delta{}, err
	}
	changes := 0
	for _, e := range entries {
		changes += len(e.there()) + len(e.gone())
	}
	all := float64(changes) / float64(len(entries)) * float64(p.to-p.from)
	if all >= float64(s.manyChanges) && all >= float64(count)/10 {
		return s.listed(ctx, owner, p, limit)
	}
	return s.changed(ctx, partition, p, entries, limit)
}

// listed is a part of a delta that lists all items.
func (s *Store) listed(ctx context.Context, owner items.Owner, p position, limit int) (items.Delta, error) {
	page, err := s.List(ctx, owner, items.Query{Limit: limit, After: p.listed})
	if err != nil {
		return items.Delta{}, err
	}
	d := items.Delta{Changes: make([]items.Change, len(page.Items))}
	for i, item := range page.Items {
		d.Changes[i] = items.Change{Item: item}
	}
	p.listed, d.More = page.Next, true
	if page.Next == "" {
		p.listed, d.More = allListed, p.from < p.to
	}
	if !d.More {
		p.listed = ""
	}
	d.Next = p.String()
	return d, nil
}

// deleted is a part of a delta that has listed all items. It stops as a list does that is
// selective.
func (s *Store) deleted(ctx context.Context, partition string, p position, limit int) (items.Delta, error) {
	d := items.Delta{Changes: []items.Change{}}
	start := time.Now()
telling:
	for read := 0; p.from < p.to && read < scanRows && time.Since(start) < scanTime; {
		entries, err := s.entries(ctx, partition, p, pageRows)
		if err != nil {
			return items.Delta{}, err
		}
		read += len(entries)
		for _, e := range entries {
			for n, id := range e.gone() {
				if n < p.skip {
					continue
				}
				if len(d.Changes) == limit {
					break telling
				}
				d.Changes = append(d.Changes, deletion(id, e.Change))
				p.skip++
			}
			p.from, p.skip = p.from+1, 0
		}
	}
	if d.More = p.from < p.to; !d.More {
		p.listed = ""
	}
	d.Next = p.String()
	return d, nil
}

// changed is a part of any other delta, which tells of the entries.
func (s *Store) changed(
	ctx context.Context, partition string, p position, entries []logRow, limit int,
) (_ items.Delta, err error) {
	d := items.Delta{Changes: []items.Change{}}
	var places []position     // where to go on if a change is not told
	known := map[string]int{} // an item's place among the changes
collecting:
	for _, e := range entries {
		there := e.there()
		ids := append(there, e.gone()...)
		for n, id := range ids {
			if n < p.skip {
				continue
			}
			place, again := known[id]
			if !again {
				if len(d.Changes) == limit {
					break collecting
				}
				place = len(d.Changes)
				known[id] = place
				places = append(places, p)
				d.Changes = append(d.Changes, items.Change{Item: items.Item{ID: id}})
			}
			if n >= len(there) {
				d.Changes[place] = deletion(id, e.Change)
			}
			p.skip++
		}
		p.from, p.skip = p.from+1, 0
	}
	told := 0
	if d.Changes, told, err = s.fill(ctx, partition, d.Changes); err != nil {
		return items.Delta{}, err
	}
	if told < len(places) {
		p = places[told]
	}
	d.Next, d.More = p.String(), p.from < p.to
	return d, nil
}

// entries reads the log from a position on: at least one entry, at most limit.
func (s *Store) entries(ctx context.Context, partition string, p position, limit int) ([]logRow, error) {
	var entries, rows []logRow
	first, last := logKey(p.from), logKey(p.to+1)
	const members = "RowKey,change,items,gone,epoch"
	for _, err := range query(ctx, s, partition, first, last, members, limit, collect(&rows)) {
		if err != nil {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		for _, e := range rows {
			// Numbers have no gaps, so what is missing was cleaned away.
			if e.RowKey != logKey(p.from+1+uint64(len(entries))) || e.Epoch != p.epoch {
				return nil, items.ErrResync
			}
			if entries = append(entries, e); len(entries) == limit {
				return entries, nil
			}
		}
	}
	if entries == nil {
		return nil, items.ErrResync
	}
	return entries, nil
}

// fill reads the items of changes, as an entry of the log has only their IDs. Those
// that are gone are left out: an entry with a higher number says so. told is how many
// changes fit into one answer.
func (s *Store) fill(
	ctx context.Context, partition string, changes []items.Change,
) (there []items.Change, told int, err error) {
	wanted := map[string]int{} // row prefix → place
	for i, c := range changes {
		if prefix, ok := rowPrefix(c.ID); ok && c.Gone == nil {
			wanted[prefix] = i
		}
	}
	gone := make([]bool, len(changes))
	var ranges, held content
	rows, enough := 2*len(wanted), fewItems
	for len(wanted) >= fewItems {
		before := len(wanted)
		full, err := s.fillRange(ctx, partition, changes, wanted, gone, rows, &ranges)
		if err != nil {
			return nil, 0, fmt.Errorf("read items: %w", err)
		}
		if full || before-len(wanted) < enough {
			break
		}
		rows, enough = pageRows, manyInAPage
	}
	missing := make([]bool, len(changes))
	for _, i := range wanted {
		missing[i] = true
	}
	there = changes[:0]
	for first := 0; first < len(changes); first += atOnce {
		window := changes[first:min(first+atOnce, len(changes))]
		if err := s.fillEach(ctx, partition, window, missing[first:], gone[first:]); err != nil {
			return nil, 0, err
		}
		for i := range window {
			if gone[first+i] {
				continue
			}
			if !held.add(&window[i].Item) {
				return there, first + i, nil
			}
			there = append(there, window[i])
		}
	}
	return there, len(changes), nil
}

const (
	// fewItems are read one by one.
	fewItems = 4
	// manyInAPage are so many that a page that has as many is better than to read them one
	// by one, some at a time.
	manyInAPage = 8
)

// fillEach reads those items one by one that are missing.
func (s *Store) fillEach(
	ctx context.Context, partition string, changes []items.Change, missing, gone []bool,
) error {
	var places []int
	for i := range changes {
		if missing[i] {
			places = append(places, i)
		}
	}
	if len(places) >= fewItems {
		if err := items.Room(ctx, pageRoom); err != nil {
			return err
		}
	}
	errs := each(len(places), func(n int) error { return s.fillOne(ctx, partition, &changes[places[n]]) })
	for n, i := range places {
		gone[i] = errors.Is(errs[n], items.ErrNotFound)
		if errs[n] != nil && !gone[i] {
			return fmt.Errorf("read item %s: %w", changes[i].ID, errs[n])
		}
	}
	return nil
}

// fillRange reads the rows from the first item that is wanted on, in one page: items
// that were created together lie together. It removes from wanted what it found, or found
// missing. full is whether an answer holds no more.
func (s *Store) fillRange(
	ctx context.Context, partition string, changes []items.Change, wanted map[string]int, gone []bool, rows int,
	held *content,
) (full bool, err error) {
	prefixes := slices.Sorted(maps.Keys(wanted))
	before := *held
	var seen string // up to here
	take := func(rows iter.Seq2[*itemRow, error]) error {
		*held, seen, full = before, "", false
		for row, err := range rows {
			if err != nil {
				return err
			}
			item, err := s.item(row)
			if err != nil {
				return err
			}
			prefix, _ := rowPrefix(item.ID)
			if place, ok := wanted[prefix]; ok {
				if full = !held.add(&item); full {
					return nil
				}
				changes[place].Item = item // of two versions, the second has just replaced the first
			}
			seen = row.RowKey
		}
		return nil
	}
	last := after(prefixes[len(prefixes)-1])
	for page, err := range query(ctx, s, partition, prefixes[0], last, itemMembers, rows, take) {
		if err != nil {
			return false, err
		}
		if !page.more && !full {
			seen = after(itemPrefix)
		}
		break
	}
	for _, prefix := range prefixes {
		if place := wanted[prefix]; after(prefix) <= seen {
			gone[place] = changes[place].ETag == ""
			delete(wanted, prefix)
		}
	}
	return full, nil
}

func (s *Store) fillOne(ctx context.Context, partition string, c *items.Change) error {
	row, err := s.row(ctx, partition, c.ID)
	if err != nil {
		return err
	}
	c.Item, err = s.item(row)
	return err
}

const (
	// logLife is how long the log, tombstones and keys are kept: a day more than
	// what is promised of positions, and much more than of keys.
	logLife = 31 * 24 * time.Hour
	// At every cleanEvery-th change of a partition, at least cleanAtOnce entries go: more
	// than were added since.
	cleanEvery  = 16
	cleanAtOnce = 32
	cleanTime   = time.Second
)

// clean deletes what is older than logLife, oldest first, by the service's clock
// alone. What it does not get done, the next call does.
func (s *Store) clean(ctx context.Context, partition string) {
	ctx, cancel := context.WithTimeout(ctx, cleanTime)
	defer cancel()
	for cleaned := 0; cleaned < cleanAtOnce; {
		n, more, err := s.cleanOnce(ctx, partition)
		if err != nil {
			s.log.Warn("cleaning up failed", "error", err.Error())
		}
		if err != nil || !more {
			return
		}
		cleaned += n
	}
}

// cleanOnce makes one transaction of the oldest entries, and reports how many they
// were, and whether there was no room for more.
func (s *Store) cleanOnce(ctx context.Context, partition string) (entries int, more bool, err error) {
	var operations []operation
	type dated struct {
		logRow
		Timestamp time.Time `json:"Timestamp"`
	}
	var rows []dated
	const members = "RowKey,Timestamp,gone,key"
	end, most := after(logPrefix), maxOperations/2
	for page, err := range query(ctx, s, partition, logPrefix, end, members, most, collect(&rows)) {
		if err != nil {
			return 0, false, err
		}
		for _, e := range rows {
			if page.served.Sub(e.Timestamp) <= s.logLife {
				break
			}
			of := []operation{remove(partition, e.RowKey)}
			for _, id := range e.gone() {
				of = append(of, remove(partition, tombstoneKey(id)))
			}
			if e.Key != "" {
				of = append(of, remove(partition, e.Key))
			}
			if more = len(operations)+len(of) > maxOperations; more {
				break
			}
			operations = append(operations, of...)
			entries++
		}
		if len(rows) > 0 {
			break // the rest, if any, next time
		}
	}
	if operations == nil {
		return 0, false, nil
	}
	o := s.submit(ctx, operations, func(context.Context) (bool, error) { return false, nil })
	if o.refused != nil && o.refused.code != string(aztables.ResourceNotFound) { // which another instance cleaned
		return 0, false, o.refused.unexpected()
	}
	return entries, more, o.err
}
