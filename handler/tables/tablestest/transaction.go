package tablestest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const maxOperations = 100

// transact executes an entity group transaction: all of its changes or none. What one of them is refused for is the
// whole answer, a single part inside status 202 (Microsoft, "Perform entity group transactions").
func (s *Server) transact(c *call) (*answer, *serviceError) {
	parts, refusal := readBatch(c.header.Get("Content-Type"), c.body)
	if refusal != nil {
		return nil, refusal
	}
	fail := func(index int, e *serviceError) (*answer, *serviceError) {
		header := parts[index].header
		a := e.inTransaction(index, len(parts)).answer(metadataFor(header, nil), c.requestID, s.now())
		if prefer := header.Get("Prefer"); prefer == "return-no-content" || prefer == "return-content" {
			a.header.Set("Preference-Applied", prefer)
		}
		return batchAnswer(a), nil
	}

	var calls []*call
	var changes []change
	for i, p := range parts {
		if i == maxOperations {
			return fail(
				i-1,
				invalidInput("The batch request operation exceeds the maximum 100 changes per change set."),
			)
		}
		pc, ch, refusal := p.change(c.base)
		if refusal != nil {
			return fail(i, refusal)
		}
		if i > 0 &&
			(ch.partitionKey != changes[0].partitionKey || !strings.EqualFold(pc.target.table, calls[0].target.table)) {
			return fail(i, errDifferentPartitions)
		}
		if slices.ContainsFunc(changes, func(other change) bool { return other.rowKey == ch.rowKey }) {
			return fail(i, errDuplicateRow)
		}
		calls, changes = append(calls, pc), append(changes, ch)
	}
	entities, failed, refusal := s.store.commit(calls[0].target.table, changes, s.now())
	if refusal != nil {
		return fail(failed, refusal)
	}
	answers := make([]*answer, len(entities))
	for i, e := range entities {
		answers[i] = calls[i].changed(e)
	}
	return batchAnswer(answers...), nil
}

// batchPart is one HTTP request inside a transaction's body.
type batchPart struct {
	method string
	url    *url.URL
	header http.Header
	body   []byte
}

// change reads what the part wants to write.
func (p batchPart) change(base string) (*call, change, *serviceError) {
	t, ok := parsePath(p.url.Path)
	if !ok || t.kind != entitiesTarget && t.kind != entityTarget {
		return nil, change{}, invalidInput("Bad Request - Error in query syntax.")
	}
	c, refusal := newCall(p.method, t, p.url.RawQuery, p.header, p.body, base)
	if refusal != nil {
		return nil, change{}, refusal
	}
	if c.op == OpGetEntity || c.op == OpQueryEntities {
		return nil, change{}, errNotImplemented
	}
	ch, refusal := c.change()
	return c, ch, refusal
}

// readBatch reads a multipart/mixed body with one change set, itself multipart/mixed, of application/http parts (OData
// v3, "Batch processing"). It reads no more parts than it takes to see that they are too many.
func readBatch(contentType string, body []byte) ([]batchPart, *serviceError) {
	outer, ok := multipartReader(contentType, bytes.NewReader(body))
	if !ok {
		return nil, invalidInput("The body is not multipart/mixed.")
	}
	set, err := outer.NextRawPart()
	if err != nil {
		return nil, invalidInput("The batch is malformed.")
	}
	inner, ok := multipartReader(set.Header.Get("Content-Type"), set)
	if !ok {
		return nil, invalidInput("The batch holds something else than a change set.")
	}
	var parts []batchPart
	for len(parts) <= maxOperations {
		raw, err := inner.NextRawPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, invalidInput("The change set is malformed.")
		}
		p, err := readPart(raw)
		if err != nil {
			return nil, invalidInput("Operation %d of the change set is malformed: %.200s.", len(parts), err.Error())
		}
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil, invalidInput("The change set is empty.")
	}
	if len(parts) <= maxOperations {
		if _, err := outer.NextRawPart(); err != io.EOF {
			return nil, invalidInput("The batch holds more than one change set, or its end is missing.")
		}
	}
	return parts, nil
}

func multipartReader(contentType string, r io.Reader) (*multipart.Reader, bool) {
	mediaType, parameters, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "multipart/mixed" || parameters["boundary"] == "" {
		return nil, false
	}
	return multipart.NewReader(r, parameters["boundary"]), true
}

func readPart(raw *multipart.Part) (batchPart, error) {
	if mediaType, _, err := mime.ParseMediaType(raw.Header.Get("Content-Type")); err != nil ||
		mediaType != "application/http" {
		return batchPart{}, fmt.Errorf("its Content-Type is not application/http")
	}
	if !strings.EqualFold(raw.Header.Get("Content-Transfer-Encoding"), "binary") {
		return batchPart{}, fmt.Errorf("its Content-Transfer-Encoding is not binary")
	}
	buffered := bufio.NewReader(raw)
	reader := textproto.NewReader(buffered)
	line, err := reader.ReadLine()
	if err != nil {
		return batchPart{}, fmt.Errorf("no request line: %w", err)
	}
	words := strings.Split(line, " ")
	if len(words) != 3 || words[2] != "HTTP/1.1" {
		return batchPart{}, fmt.Errorf("no request line of HTTP/1.1")
	}
	p := batchPart{method: words[0]}
	if p.url, err = url.Parse(words[1]); err != nil {
		return batchPart{}, err
	}
	header, err := reader.ReadMIMEHeader()
	if err != nil {
		return batchPart{}, err
	}
	p.header = http.Header(header)
	if p.body, err = io.ReadAll(buffered); err != nil {
		return batchPart{}, err
	}
	if length := p.header.Get("Content-Length"); length != "" && length != strconv.Itoa(len(p.body)) {
		return batchPart{}, fmt.Errorf("its Content-Length is %s and its body has %d bytes", length, len(p.body))
	}
	return p, nil
}

// batchAnswer wraps answers in a multipart body of their own.
func batchAnswer(answers ...*answer) *answer {
	batch, set := "batchresponse_"+newRequestID(), "changesetresponse_"+newRequestID()
	var b bytes.Buffer
	fmt.Fprintf(&b, "--%s\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n", batch, set)
	for _, a := range answers {
		fmt.Fprintf(&b, "--%s\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n", set)
		fmt.Fprintf(
			&b,
			"HTTP/1.1 %d %s\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nDataServiceVersion: "+
				"3.0;\r\n",
			a.status,
			http.StatusText(a.status),
		)
		for _, name := range slices.Sorted(maps.Keys(a.header)) {
			fmt.Fprintf(&b, "%s: %s\r\n", name, a.header.Get(name))
		}
		fmt.Fprintf(&b, "\r\n%s\r\n", a.body)
	}
	fmt.Fprintf(&b, "--%s--\r\n--%s--\r\n", set, batch)
	a := &answer{http.StatusAccepted, http.Header{}, b.Bytes()}
	a.header.Set("Content-Type", "multipart/mixed; boundary="+batch)
	return a
}
