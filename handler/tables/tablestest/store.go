package tablestest

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxStored  = 1 << 30 // bytes in memory, roughly
	tableBytes = 1000    // what an empty table counts for

	maxPageBytes = 4 << 20
)

// store keeps tables in memory, each partition sorted by row key.
type store struct {
	mu       sync.RWMutex
	tables   map[string]*table // by lower-case name: table names ignore case
	size     int
	lastTick int64
}

type table struct {
	name       string
	partitions []*partition // sorted by key
}

type partition struct {
	key  string
	rows []*entity // sorted by row key
}

func newStore() *store { return &store{tables: map[string]*table{}} }

func (st *store) create(name string) *serviceError {
	st.mu.Lock()
	defer st.mu.Unlock()
	key := strings.ToLower(name)
	if st.tables[key] != nil {
		return errTableAlreadyExists
	}
	if st.size+tableBytes > maxStored {
		return errFull
	}
	st.tables[key] = &table{name: name}
	st.size += tableBytes
	return nil
}

func (st *store) drop(name string) *serviceError {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.tables[strings.ToLower(name)]
	if t == nil {
		return errResourceNotFound
	}
	delete(st.tables, strings.ToLower(name))
	st.size -= tableBytes
	for _, p := range t.partitions {
		for _, e := range p.rows {
			st.size -= e.size
		}
	}
	return nil
}

// names lists the tables in order of their lower-case names.
func (st *store) names() []string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	var names []string
	for _, key := range slices.Sorted(maps.Keys(st.tables)) {
		names = append(names, st.tables[key].name)
	}
	return names
}

func (st *store) dump(name string) []map[string]any {
	st.mu.RLock()
	defer st.mu.RUnlock()
	t := st.tables[strings.ToLower(name)]
	if t == nil {
		return nil
	}
	all := []map[string]any{}
	for _, p := range t.partitions {
		for _, e := range p.rows {
			all = append(all, e.dump())
		}
	}
	return all
}

func (t *table) partition(key string) (int, bool) {
	return slices.BinarySearchFunc(
		t.partitions,
		key,
		func(p *partition, key string) int { return compareKeys(p.key, key) },
	)
}

func (p *partition) row(key string) (int, bool) {
	return slices.BinarySearchFunc(p.rows, key, func(e *entity, key string) int { return compareKeys(e.rowKey, key) })
}

func (t *table) get(partitionKey, rowKey string) *entity {
	if i, ok := t.partition(partitionKey); ok {
		if j, ok := t.partitions[i].row(rowKey); ok {
			return t.partitions[i].rows[j]
		}
	}
	return nil
}

func (t *table) set(e *entity) {
	i, ok := t.partition(e.partitionKey)
	if !ok {
		t.partitions = slices.Insert(t.partitions, i, &partition{key: e.partitionKey})
	}
	p := t.partitions[i]
	j, ok := p.row(e.rowKey)
	if ok {
		p.rows[j] = e
	} else {
		p.rows = slices.Insert(p.rows, j, e)
	}
}

func (t *table) remove(partitionKey, rowKey string) {
	i, _ := t.partition(partitionKey)
	p := t.partitions[i]
	j, _ := p.row(rowKey)
	p.rows = slices.Delete(p.rows, j, j+1)
	if len(p.rows) == 0 {
		t.partitions = slices.Delete(t.partitions, i, i+1)
	}
}

func (st *store) get(name, partitionKey, rowKey string) (*entity, *serviceError) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	t := st.tables[strings.ToLower(name)]
	if t == nil {
		return nil, errTableNotFound
	}
	e := t.get(partitionKey, rowKey)
	if e == nil {
		return nil, errResourceNotFound
	}
	return e, nil
}

// change is one write of an entity.
type change struct {
	op                   string
	partitionKey, rowKey string
	ifMatch              string // "" for none
	properties           []property
}

// result is what the change makes of the stored entity, which is nil when there is none: the properties to store.
func (c *change) result(old *entity) ([]property, *serviceError) {
	switch c.op {
	case OpInsertEntity:
		if old != nil {
			return nil, errEntityAlreadyExists
		}
	case OpUpdateEntity, OpMergeEntity, OpDeleteEntity:
		if old == nil {
			return nil, errResourceNotFound
		}
		if c.ifMatch != "*" && c.ifMatch != old.etag {
			return nil, errConditionNotSatisfied
		}
	}
	properties := c.properties
	if old != nil && (c.op == OpMergeEntity || c.op == OpInsertOrMergeEntity) {
		properties = slices.Clone(old.properties)
		for _, p := range c.properties {
			i := slices.IndexFunc(properties, func(q property) bool { return q.name == p.name })
			if i < 0 {
				properties = append(properties, p)
			} else {
				properties[i] = p
			}
		}
	}
	return properties, checkStored(c.partitionKey, c.rowKey, properties)
}

// commit makes all the changes, which are to different entities of one partition, or none. Its entities are nil where
// one was deleted; failed is the index of the change that failed.
func (st *store) commit(
	name string,
	changes []change,
	now time.Time,
) (entities []*entity, failed int, refusal *serviceError) {
	st.mu.Lock()
	defer st.mu.Unlock()
	t := st.tables[strings.ToLower(name)]
	if t == nil {
		return nil, 0, errTableNotFound
	}
	entities = make([]*entity, len(changes))
	size, tick := st.size, st.lastTick
	for i := range changes {
		c := &changes[i]
		old := t.get(c.partitionKey, c.rowKey)
		properties, refusal := c.result(old)
		if refusal != nil {
			return nil, i, refusal
		}
		if old != nil {
			size -= old.size
		}
		if c.op != OpDeleteEntity {
			tick = max(ticks(now.UTC()), tick+1)
			entities[i] = newEntity(c.partitionKey, c.rowKey, properties, tick)
			size += entities[i].size
		}
		if size > maxStored {
			return nil, i, errFull
		}
	}
	st.size, st.lastTick = size, tick
	for i := range changes {
		if entities[i] != nil {
			t.set(entities[i])
		} else {
			t.remove(changes[i].partitionKey, changes[i].rowKey)
		}
	}
	return entities, 0, nil
}

// position is where a query goes on. Without a row key it is the start of the partition.
type position struct {
	partitionKey, rowKey string
	hasRowKey            bool
}

// scan reads at most limit entities that match, from start on, and no more once they
// come to 4 MiB. next is where to go on: the first entity that was not looked at yet,
// whether it matches or not, or nil when none is left.
func (st *store) scan(
	name string,
	f *filter,
	start position,
	limit int,
) (entities []*entity, next *position, refusal *serviceError) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	t := st.tables[strings.ToLower(name)]
	if t == nil {
		return nil, nil, errTableNotFound
	}
	size := 0
	i, _ := t.partition(f.partitionKeys.from(start.partitionKey))
	for ; i < len(t.partitions); i++ {
		p := t.partitions[i]
		if f.partitionKeys.isPast(p.key) {
			break
		}
		from := f.rowKeys.from("")
		if p.key == start.partitionKey {
			from = f.rowKeys.from(start.rowKey)
		}
		j, _ := p.row(from)
		for ; j < len(p.rows); j++ {
			e := p.rows[j]
			if f.rowKeys.isPast(e.rowKey) {
				break
			}
			if len(entities) == limit || size >= maxPageBytes {
				return entities, &position{e.partitionKey, e.rowKey, j > 0}, nil
			}
			if f.matches(e) {
				entities = append(entities, e)
				size += e.jsonSize
			}
		}
	}
	return entities, nil, nil
}

// keys is a range of keys, both ends included.
type keys struct {
	low     string
	high    string
	hasHigh bool
}

func (k keys) from(start string) string {
	if compareKeys(start, k.low) > 0 {
		return start
	}
	return k.low
}

func (k keys) isPast(key string) bool { return k.hasHigh && compareKeys(key, k.high) > 0 }

// narrow takes a comparison into account that must hold.
func (k *keys) narrow(operator, key string) {
	if operator == "eq" || operator == "gt" || operator == "ge" {
		k.low = k.from(key)
	}
	if operator == "eq" || operator == "lt" || operator == "le" {
		if !k.hasHigh || compareKeys(key, k.high) < 0 {
			k.high, k.hasHigh = key, true
		}
	}
}
