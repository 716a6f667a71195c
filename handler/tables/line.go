package tables

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"itemsapi/handler/items"
)

// The changes of one caller wait in a line, on each instance that has some. The one that
// holds the turn makes one transaction of what waits:
//
//	waiting ───── its client leaves ────▶ given up: certainly not kept
//	 │   ▲
//	 │   │ another instance was first, or another change in the transaction was refused
//	 ▼   │
//	under way ─── its client leaves ────▶ given up: perhaps kept, never tried again
//	 │
//	 ▼
//	settled: kept under a number of its own, refused, or failed
//
// A transaction does not end with the request that began it, so that no change fails
// because the client of another one has left.

// write is a change on its way through the line.
type write struct {
	ctx        context.Context // of the client's request
	operations []operation
	entry      logRow // what the log will say of it
	more       int64  // items than before
	// unused are IDs under which no item may be, or have been.
	unused []string
	size   int // of all that as it is sent, in bytes, at most

	underWay bool // guarded by the lines' mutex, as is
	left     bool // whether its client has, while it was under way
	result        // when settled is closed
	settled  chan struct{}
}

// result is what became of a write. If it was neither refused nor failed, it was kept.
type result struct {
	number  uint64
	refused *refusal
	err     error
}

// line is where the writes of one partition wait.
type line struct {
	users   int      // guarded by the lines' mutex, as is
	waiting []*write // also those under way; the first to come first

	turn     chan struct{} // holds one while somebody has the turn, who alone uses what follows
	head     *head         // as last seen; nil if it has to be read
	rivalled time.Time     // when another instance was last in the way
	took     time.Duration // the last transaction, up to slowest

	cleaning sync.Mutex
}

// lines are those of the partitions that this process changed lately.
type lines struct {
	mu sync.Mutex
	by map[string]*line
}

const (
	maxLines   = 10_000
	maxWaiting = 64 // writes of one partition at a time
)

// enter returns a partition's line. Whoever enters it leaves it.
func (ls *lines) enter(partition string) (*line, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.by[partition]
	if l == nil {
		if len(ls.by) >= maxLines {
			ls.forget()
		}
		l = &line{turn: make(chan struct{}, 1)}
		ls.by[partition] = l
	}
	if l.users >= maxWaiting {
		return nil, items.ErrBusy
	}
	l.users++
	return l, nil
}

func (ls *lines) leave(l *line) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.users--
}

// forget makes room: a tenth of the lines goes, whichever they are.
func (ls *lines) forget() {
	for partition, l := range ls.by {
		if l.users == 0 && len(l.turn) == 0 {
			delete(ls.by, partition)
		}
		if len(ls.by) <= maxLines*9/10 {
			return
		}
	}
}

func (ls *lines) wait(l *line, w *write) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l.waiting = append(l.waiting, w)
}

// next takes along what waits, as much as a transaction holds. No two of a group are
// about the same row.
func (ls *lines) next(l *line) (group []*write) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	operations, size := 1, operationSize // of the head
	rows := map[string]bool{}
	for _, w := range l.waiting {
		meets := slices.ContainsFunc(w.rows(), func(key string) bool { return rows[key] })
		fits := operations+len(w.operations)+1 <= maxOperations && size+w.size <= maxTransaction
		if group != nil && (meets || !fits) {
			continue
		}
		w.underWay = true
		group = append(group, w)
		operations += len(w.operations) + 1
		size += w.size
		for _, key := range w.rows() {
			rows[key] = true
		}
	}
	return group
}

// rows are the keys that no other write in the transaction may have.
func (w *write) rows() (keys []string) {
	for _, o := range w.operations {
		keys = append(keys, o.key)
	}
	return append(keys, w.unused...)
}

// again has those of a group wait that are not settled, but for those whose client has
// left: what it does next must not be overtaken by this.
func (ls *lines) again(l *line, group []*write) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, w := range group {
		w.underWay = false
	}
	l.waiting = slices.DeleteFunc(l.waiting, func(w *write) bool { return w.left && !w.underWay })
}

func (ls *lines) settle(l *line, r result, group ...*write) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, w := range group {
		if i := slices.Index(l.waiting, w); i >= 0 {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			w.result = r
			close(w.settled)
		}
	}
}

// giveUp is for a client that waits no longer.
func (ls *lines) giveUp(l *line, w *write) result {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	i := slices.Index(l.waiting, w)
	if i < 0 {
		return w.result // it was settled in this moment
	}
	if w.underWay {
		w.left = true
		err := fmt.Errorf("wait for the transaction: %w: %w", items.ErrTimeout, w.ctx.Err())
		return result{err: fmt.Errorf("%w: %w", items.ErrOutcomeUnknown, err)}
	}
	l.waiting = slices.Delete(l.waiting, i, i+1)
	return result{err: fmt.Errorf("wait for other changes: %w: %w", items.ErrTimeout, w.ctx.Err())}
}

// commit carries out a write on a partition, in one transaction with what else waits. It
// returns a refusal if one of the operations failed; where others changed the partition
// meanwhile it tries again.
func (s *Store) commit(ctx context.Context, partition string, one write) (*refusal, error) {
	w := &one
	w.ctx, w.settled, w.size = ctx, make(chan struct{}), add("", w.entry).size()
	for _, o := range w.operations {
		w.size += o.size()
	}
	if w.size+operationSize > maxTransaction {
		return nil, items.ErrTooLarge
	}
	l, err := s.lines.enter(partition)
	if err != nil {
		return nil, err
	}
	defer s.lines.leave(l)
	s.lines.wait(l, w)
	for {
		select {
		case <-w.settled:
			if w.number > 0 && w.number%cleanEvery == 0 && l.cleaning.TryLock() {
				s.clean(ctx, partition)
				l.cleaning.Unlock()
			}
			return w.refused, w.err
		case l.turn <- struct{}{}:
			go s.work(partition, l)
		case <-ctx.Done():
			r := s.lines.giveUp(l, w)
			return r.refused, r.err
		}
	}
}

const (
	// Pauses are random, and measured by how long the last transaction took. After another
	// instance was in the way they are at first as long, and twice as long each time it is
	// again, up to most times.
	most = 8
	// For as long as rivalry, each transaction is followed by a pause of at most courtesy times.
	rivalry  = time.Second
	courtesy = 2
	// slowest bounds that measure.
	slowest = 25 * time.Millisecond

	// longestWork is for a client that would wait for ever.
	longestWork = 10 * time.Second
)

// work makes one transaction of what waits, however often it takes. It has the turn.
func (s *Store) work(partition string, l *line) {
	defer func() { <-l.turn }()
	var group []*write
	// This goroutine's panic would end the process.
	defer func() {
		if p := recover(); p != nil {
			l.head = nil
			err := fmt.Errorf("%w: panic: %v\n%s", items.ErrOutcomeUnknown, p, debug.Stack())
			s.lines.settle(l, result{err: err}, group...)
		}
	}()
	for times := 1; ; times = min(2*times, most) {
		if group = s.lines.next(l); group == nil {
			return
		}
		if s.write(partition, l, group) {
			break
		}
		l.rivalled = time.Now()
		l.pause(times)
	}
	if time.Since(l.rivalled) < rivalry {
		l.pause(courtesy) // others get their turn, and more comes together
	}
}

func (l *line) pause(times int) { time.Sleep(rand.N(time.Duration(times)*l.took + 1)) }

// write makes one transaction of a group, and settles those of whom it is clear what
// became of them. It returns false if another instance changed the partition meanwhile.
func (s *Store) write(partition string, l *line, group []*write) bool {
	ctx, cancel := patience(group)
	defer cancel()
	if l.head == nil {
		h, err := s.readHead(ctx, partition)
		if err != nil {
			s.lines.settle(l, result{err: fmt.Errorf("read the last change: %w", err)}, group...)
			return true
		}
		l.head = h
	}
	if group = s.withoutUsed(ctx, partition, l, group); group == nil {
		return true
	}
	was, is := *l.head, *l.head
	var operations []operation
	for _, w := range group {
		is.last++
		is.count += w.more
		entry := w.entry
		entry.PartitionKey, entry.RowKey, entry.Epoch = partition, logKey(is.last), is.epoch
		operations = append(append(operations, w.operations...), add(entry.RowKey, entry))
	}
	operations = append(operations, is.replacing(partition, was.etag))

	start := time.Now()
	o := s.submit(ctx, operations, func(ctx context.Context) (bool, error) {
		row, _, err := get[logRow](ctx, s, partition, logKey(was.last+1))
		if errors.Is(err, items.ErrNotFound) {
			return false, nil
		}
		return err == nil && row.Change == group[0].entry.Change, err
	})
	l.took = min(time.Since(start), slowest)
	l.head = nil
	switch {
	case o.err != nil:
		s.lines.settle(l, result{err: o.err}, group...)
		return true
	case o.refused == nil:
		if is.etag = o.etag; is.etag != "" {
			l.head = &is
		}
		for i, w := range group {
			s.lines.settle(l, result{number: was.last + 1 + uint64(i)}, w)
		}
		return true
	}
	s.lines.again(l, group)
	first := 0 // operation of the write
	for _, w := range group {
		if n := o.refused.operation - first; n < len(w.operations) {
			l.head = &was
			s.lines.settle(l, result{refused: &refusal{n, o.refused.status, o.refused.code}}, w)
			return true
		}
		if first += len(w.operations) + 1; o.refused.operation < first {
			break // somebody has written this entry of the log
		}
	}
	return false
}

// withoutUsed is a group without those of whose new IDs one was used before. Nothing can
// happen between this and the transaction of which that would not hear.
func (s *Store) withoutUsed(ctx context.Context, partition string, l *line, group []*write) (left []*write) {
	var ids []string
	for _, w := range group {
		ids = append(ids, w.unused...)
	}
	used, err := s.used(ctx, partition, ids)
	for _, w := range group {
		switch {
		case w.unused != nil && err != nil:
			s.lines.settle(l, result{err: err}, w)
		case slices.ContainsFunc(w.unused, func(id string) bool { return used[id] || id <= l.head.erasedTo }):
			s.lines.settle(l, result{refused: &refusal{code: usedID}}, w)
		default:
			left = append(left, w)
		}
	}
	return left
}

// patience is a context that lasts as long as one of a group waits. What is done under
// it is counted for the first.
func patience(group []*write) (context.Context, context.CancelFunc) {
	var last time.Time
	for _, w := range group {
		deadline, ok := w.ctx.Deadline()
		if !ok {
			deadline = time.Now().Add(longestWork)
		}
		if deadline.After(last) {
			last = deadline
		}
	}
	return context.WithDeadline(context.WithoutCancel(group[0].ctx), last)
}
