package tables

import (
	"time"

	"itemsapi/handler/items"
)

// SetLogLife changes how long the log is kept.
// SetManyChanges sets from how many on all items may be told again.
func (s *Store) SetManyChanges(n int) { s.manyChanges = n }

func (s *Store) SetLogLife(d time.Duration) { s.logLife = d }

// ColumnsOf spreads stored content over columns, and ContentOf puts them together again.
func ColumnsOf(text, shape string) (columns []string, again string, err error) {
	d, _, err := items.FromStore(text, shape)
	if err != nil {
		return nil, "", err
	}
	var row itemRow
	row.setContent(d)
	for _, c := range row.columns() {
		columns = append(columns, *c)
	}
	back, _, err := row.content()
	again, _ = back.Stored()
	return columns[:row.Columns], again, err
}

// Waiting is how many of the owner's changes wait, or are under way.
func (s *Store) Waiting(owner items.Owner) int {
	s.lines.mu.Lock()
	defer s.lines.mu.Unlock()
	if l := s.lines.by[partitionKey(owner)]; l != nil {
		return len(l.waiting)
	}
	return 0
}

// PartitionKey is the partition of an owner.
func PartitionKey(owner items.Owner) string { return partitionKey(owner) }
