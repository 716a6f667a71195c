package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"itemsapi/scripts/internal/report"
)

const (
	callTimeout = 5 * time.Second
	maxAnswer   = 1 << 20 // bytes of a body that are read
)

// client follows no redirect, so that nobody is asked but whom the settings and
// the arguments name.
var client = &http.Client{
	Timeout:       callTimeout,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   string
	offset time.Duration // how far its clock is ahead of this one, if it has a Date
	dated  bool
}

// call sends a request without a body.
func call(ctx context.Context, method, address string, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return answer{}, err
	}
	for name, values := range header {
		req.Header[name] = values
	}
	sent := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	took := time.Since(sent)
	a := answer{status: resp.StatusCode, header: resp.Header}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// Date was cut to whole seconds: half a second is right on average. A cache
		// sends the origin's Date and adds an Age (RFC 9111, section 5.1).
		age, _ := strconv.ParseUint(resp.Header.Get("Age"), 10, 31)
		date = date.Add(time.Duration(age)*time.Second + 500*time.Millisecond)
		a.dated, a.offset = true, date.Sub(sent.Add(took/2))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return answer{}, err
	}
	a.body = string(body)
	return a, nil
}

// said is the status line for people.
func (a answer) said() string {
	if a.status == 0 {
		return "an answer"
	}
	if text := http.StatusText(a.status); text != "" {
		return fmt.Sprintf("%d %s", a.status, text)
	}
	return fmt.Sprint(a.status)
}

// trouble says why no answer came, without the URL, which may have a secret in
// it.
func trouble(err error) string {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return "there is no host " + dns.Name
		}
		return "the name " + dns.Name + " could not be looked up"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "its certificate is not trusted: " + report.Cut(err.Error())
	}
	switch timeout, ok := errors.AsType[net.Error](err); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there (connection refused)"
	case ok && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return fmt.Sprintf("no answer within %v", callTimeout)
	case errors.Is(err, context.Canceled):
		return "it was interrupted"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before there was an answer"
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "it speaks http, not https"
	}
	return report.Cut(err.Error())
}
