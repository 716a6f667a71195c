package tables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"itemsapi/handler/items"
)

const (
	// pageRows is how many rows the service gives at once, at most.
	pageRows = 1000
	// oneRow asks for an item's row: there may be two, when it was just replaced.
	oneRow = 2

	// fewBytes of a page are read before there is room for more: most have no more.
	fewBytes = 32 << 10
	// rowRoom is what a row takes while an item is made of it, and pageRoom what a
	// page takes, of items.MaxPage: as text, as items, and as an answer.
	rowRoom  = 1 << 20
	pageRoom = 4 * items.MaxPage
)

// roomyReader reads the service's answer, and makes room before it is large.
type roomyReader struct {
	ctx  context.Context
	body io.Reader
	room int64
	read int
}

func (r *roomyReader) Read(p []byte) (int, error) {
	if r.read >= fewBytes {
		if err := items.Room(r.ctx, r.room); err != nil {
			return 0, &takenError{err}
		}
		r.read = math.MinInt
	}
	n, err := r.body.Read(p)
	r.read += n
	return n, err
}

// page is what is known of the service's answer to a query once its rows were read.
// It may be short or empty and still not be the last.
type page struct {
	served time.Time
	more   bool
}

// query reads a partition's rows between two keys, neither of them included. For
// each page it calls take, which reads as many of the page's rows as it wants, one
// by one as they come. When a page has to be read again, take is called again, too:
// what an unfinished call has taken does not count.
func query[row any](
	ctx context.Context, s *Store, partition, first, last, members string, top int,
	take func(iter.Seq2[*row, error]) error,
) iter.Seq2[page, error] {
	filter := fmt.Sprintf("PartitionKey eq '%s' and RowKey gt '%s' and RowKey lt '%s'", partition, first, last)
	limit := int32(min(top, pageRows))
	room := int64(pageRoom)
	if top <= oneRow {
		room = rowRoom
	}
	format := aztables.MetadataFormatNone
	options := &aztables.ListEntitiesOptions{Filter: &filter, Select: &members, Top: &limit, Format: &format}
	pager := s.table.NewListEntitiesPager(options)
	return func(yield func(page, error) bool) {
		for pager.More() {
			o := observation{rows: func(body io.Reader) error {
				return readRows(&roomyReader{ctx: ctx, body: body, room: room}, take)
			}}
			if _, err := pager.NextPage(observe(ctx, &o)); err != nil {
				yield(page{}, translate(ctx, err))
				return
			}
			if !yield(page{o.served, pager.More()}, nil) {
				return
			}
		}
	}
}

// takenError is an error after which reading the page again would not help.
type takenError struct{ error }

func (e *takenError) Unwrap() error { return e.error }

// readRows reads a page. Where take stops early, the rest of it is left alone.
func readRows[row any](body io.Reader, take func(iter.Seq2[*row, error]) error) error {
	dec := jsontext.NewDecoder(body)
	if err := seekRows(dec); err != nil {
		return pageError(err)
	}
	var broken error
	ended := false
	err := take(func(yield func(*row, error) bool) {
		for dec.PeekKind() != ']' {
			one := new(row)
			if broken = jsonv2.UnmarshalDecode(dec, one); broken != nil {
				yield(nil, broken)
				return
			}
			if !yield(one, nil) {
				return
			}
		}
		ended = true
	})
	switch {
	case broken != nil:
		return pageError(broken)
	case err != nil:
		return &takenError{err}
	}
	for ended { // to the very end, so that the connection can be used again
		if _, err := dec.ReadToken(); err == io.EOF {
			break
		} else if err != nil {
			return pageError(err)
		}
	}
	return nil
}

// pageError says that a page could not be read. One that came whole and is not as it
// should be is not worth another attempt.
func pageError(err error) error {
	if taken, ok := errors.AsType[*takenError](err); ok {
		return taken
	}
	_, network := errors.AsType[net.Error](err)
	if err = fmt.Errorf("read a page: %w", err); network || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return &takenError{fmt.Errorf("%w: %w", items.ErrUnavailable, err)}
}

// seekRows reads up to the first row.
func seekRows(dec *jsontext.Decoder) error {
	if token, err := dec.ReadToken(); err != nil || token.Kind() != '{' {
		return errors.Join(errors.New("not an object"), err)
	}
	for {
		switch name, err := dec.ReadToken(); {
		case err != nil:
			return err
		case name.Kind() != '"':
			return errors.New("it has no rows")
		case name.String() == "value":
			if token, err := dec.ReadToken(); err != nil || token.Kind() != '[' {
				return errors.Join(errors.New("the rows are not an array"), err)
			}
			return nil
		}
		if err := dec.SkipValue(); err != nil {
			return err
		}
	}
}

// collect takes all rows of a page, in place of those of the page before.
func collect[row any](into *[]row) func(iter.Seq2[*row, error]) error {
	return func(rows iter.Seq2[*row, error]) error {
		*into = (*into)[:0]
		for one, err := range rows {
			if err != nil {
				return err
			}
			*into = append(*into, *one)
		}
		return nil
	}
}

// get reads one row, or returns ErrNotFound.
func get[row any](ctx context.Context, s *Store, partition, key string) (row, string, error) {
	var r row
	var o observation
	answer, err := s.table.GetEntity(observe(ctx, &o), partition, key, nil)
	if err != nil {
		return r, "", translate(ctx, err)
	}
	if err := jsonv2.Unmarshal(o.body, &r); err != nil {
		return r, "", fmt.Errorf("read an entity: %w: %w", err, items.ErrUnavailable)
	}
	return r, string(answer.ETag), nil
}

// content is how many bytes of items an answer holds so far.
type content int

// add counts an item, unless it would be more than an answer may hold.
func (c *content) add(item *items.Item) (fits bool) {
	n := content(item.Bytes())
	if *c > 0 && *c+n > items.MaxPage {
		return false
	}
	*c += n
	return true
}

// atOnce is how many rows are asked for at a time, one by one.
const atOnce = 16

// each calls f with the numbers below n, several at a time, and returns its errors.
func each(n int, f func(int) error) []error {
	errs := make([]error, n)
	places := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			// This goroutine's panic would end the process.
			defer func() {
				if p := recover(); p != nil {
					errs[i] = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
				}
			}()
			errs[i] = f(i)
		})
	}
	wg.Wait()
	return errs
}
