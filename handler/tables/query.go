package tables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"itemsapi/handler/items"
)

// pageRows is how many rows the service gives at once, at most.
const pageRows = 1000

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
	options := &aztables.ListEntitiesOptions{Filter: &filter, Select: &members, Top: &limit}
	pager := s.table.NewListEntitiesPager(options)
	return func(yield func(page, error) bool) {
		for pager.More() {
			o := observation{rows: func(body io.Reader) error { return readRows(body, take) }}
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

// content is how much of items an answer holds so far.
type content struct {
	bytes int
	roomy bool // room for a whole page was made
}

// fewBytes may be held without asking for room: what most pages have.
const fewBytes = 64 << 10

// add counts an item's content, unless it would be more than an answer may hold.
func (c *content) add(ctx context.Context, item *items.Item) (fits bool, err error) {
	n := len(item.Name) + len(item.Properties)
	if c.bytes > 0 && c.bytes+n > items.MaxPage {
		return false, nil
	}
	if c.bytes += n; c.bytes > fewBytes && !c.roomy {
		if err := items.Room(ctx); err != nil {
			return false, err
		}
		c.roomy = true
	}
	return true, nil
}
