package functionstest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// HTTP/1.1 is read and written here, not by net/http, on both sides: what the host
// does to a message shows in single header lines, in bytes that net/http refuses or
// tidies, and in how a connection ends.

type field struct{ name, value string }

// header is the header lines of a message, in order.
type header []field

func (h header) values(name string) []string {
	var values []string
	for _, f := range h {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values
}

func (h header) get(name string) string {
	if values := h.values(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

func (h header) has(name string) bool { return len(h.values(name)) > 0 }

// names lists the different names in order of first appearance.
func (h header) names() []string {
	var names []string
	for _, f := range h {
		if !containsFold(names, f.name) {
			names = append(names, f.name)
		}
	}
	return names
}

func (h *header) add(name, value string) { *h = append(*h, field{name, value}) }

func (h *header) del(name string) {
	*h = slices.DeleteFunc(*h, func(f field) bool { return strings.EqualFold(f.name, name) })
}

func (h *header) set(name, value string) {
	h.del(name)
	h.add(name, value)
}

// hasToken looks for token in the comma lists of name's values.
func (h header) hasToken(name, token string) bool {
	for _, value := range h.values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

func (h header) ascii() bool {
	return !slices.ContainsFunc(h, func(f field) bool { return !isASCII(f.value) })
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func containsFold(list []string, s string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return strings.EqualFold(e, s) })
}

// message is the head of a request or an answer.
type message struct {
	first  string // request line or status line
	header header
}

var (
	errMalformed      = errors.New("malformed HTTP message")
	errFirstTooLong   = errors.New("request line too long")
	errHeaderTooLarge = errors.New("header too large")
)

// limits of a message head: bytes of the first line, bytes and number of the header
// lines.
type limits struct{ first, header, fields int }

var (
	requestLimits = limits{first: 8 << 10, header: 32 << 10, fields: 100}
	answerLimits  = limits{first: 64 << 10, header: 64 << 10, fields: 64 << 10}
)

// readMessage reads a head. The error is io.EOF only if not a byte came.
func readMessage(r *bufio.Reader, limit limits) (message, error) {
	first, err := readLine(r, limit.first, errFirstTooLong)
	if err != nil {
		return message{}, err
	}
	m := message{first: first}
	size := 0
	for {
		line, err := readLine(r, limit.header-size, errHeaderTooLarge)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return message{}, err
		}
		if line == "" {
			return m, nil
		}
		size += len(line) + len("\r\n")
		name, value, ok := strings.Cut(line, ":")
		if value = strings.Trim(value, " \t"); !ok || !isToken(name) || strings.ContainsAny(value, "\r\x00") {
			return message{}, errMalformed
		}
		m.header.add(name, value)
		if len(m.header) > limit.fields {
			return message{}, errHeaderTooLarge
		}
	}
}

// readLine reads up to and including a line feed and returns the line without its
// end.
func readLine(r *bufio.Reader, limit int, tooLong error) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit+len("\r\n") {
			return "", tooLong
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err == io.EOF && len(line) > 0 {
			return "", io.ErrUnexpectedEOF
		}
		if err != nil {
			return "", err
		}
		return string(bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))), nil
	}
}

func isToken(s string) bool {
	for i := range len(s) {
		if strings.IndexByte(alphanumeric+"!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func (m message) bytes() []byte {
	b := append([]byte(m.first), "\r\n"...)
	for _, f := range m.header {
		b = append(append(append(append(b, f.name...), ": "...), f.value...), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// framing says how a body is delimited.
type framing struct {
	chunked bool
	length  int64 // -1: until the connection ends
}

// framing reads Transfer-Encoding and Content-Length. absent is the length where
// there is neither.
func (h header) framing(absent int64) (framing, error) {
	if encodings := h.values("Transfer-Encoding"); len(encodings) > 0 {
		if !strings.EqualFold(strings.Join(encodings, ","), "chunked") {
			return framing{}, errMalformed
		}
		return framing{chunked: true, length: -1}, nil
	}
	switch lengths := h.values("Content-Length"); len(lengths) {
	case 0:
		return framing{length: absent}, nil
	case 1:
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil {
			return framing{}, errMalformed
		}
		return framing{length: int64(n)}, nil
	default:
		return framing{}, errMalformed
	}
}

// body reads what follows the head; an end that comes too early is
// io.ErrUnexpectedEOF.
func (f framing) body(r *bufio.Reader) io.Reader {
	switch {
	case f.chunked:
		return &chunkedBody{r: r, chunks: httputil.NewChunkedReader(r)}
	case f.length < 0:
		return r
	default:
		return &sizedBody{r: r, left: f.length}
	}
}

type sizedBody struct {
	r    io.Reader
	left int64
}

func (b *sizedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if b.left == 0 {
		return n, io.EOF
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

type chunkedBody struct {
	r      *bufio.Reader
	chunks io.Reader
	ended  bool
}

func (b *chunkedBody) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	n, err := b.chunks.Read(p)
	if err == io.EOF {
		b.ended = true
		for size := 0; ; { // trailers end here: the host passes none on
			line, lineErr := readLine(b.r, answerLimits.header-size, errHeaderTooLarge)
			if lineErr == io.EOF {
				lineErr = io.ErrUnexpectedEOF
			}
			if lineErr != nil {
				return n, lineErr
			}
			if line == "" {
				break
			}
			size += len(line)
		}
	}
	return n, err
}

func writeChunk(w io.Writer, p []byte) error {
	b := fmt.Appendf(make([]byte, 0, len(p)+16), "%x\r\n", len(p))
	_, err := w.Write(append(append(b, p...), "\r\n"...))
	return err
}

const lastChunk = "0\r\n\r\n"

// conn is a TCP connection whose end can be noticed while nobody reads it.
type conn struct {
	net.Conn
	r *bufio.Reader
}

func newConn(c net.Conn) *conn { return &conn{c, bufio.NewReaderSize(c, 16<<10)} }

var longAgo = time.Unix(1, 0)

// watch calls event once when the peer sends something (nil) or the connection ends
// (its error). stop ends the watch and reports whether nothing happened. Between the
// two nobody else may read.
func (c *conn) watch(event func(error)) (stop func() bool) {
	result := make(chan error, 1)
	go func() {
		_, err := c.r.Peek(1)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			event(err)
		}
		result <- err
	}()
	return func() bool {
		_ = c.SetReadDeadline(longAgo)
		err := <-result
		_ = c.SetReadDeadline(time.Time{})
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
}

// reset closes the connection so that the peer sees an error, not an end.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.Close()
}

// finish closes the connection so that the peer can still read what was sent, even
// if it is sending something itself.
func (c *conn) finish() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, _ = io.CopyN(io.Discard, c.r, 8<<20)
	}
	c.Close()
}
