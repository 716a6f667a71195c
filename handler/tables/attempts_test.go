package tables_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
	"itemsapi/handler/waittest"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A transport may go on reading a body after it has returned, which is no other attempt's.
func TestAttemptsReadTheirOwnBodies(t *testing.T) {
	service, err := tablestest.Start(tablestest.Options{})
	require.NoError(t, err)
	t.Cleanup(service.Close)
	second := make(chan struct{})
	bodies := make(chan string, 2)
	attempts := 0
	s := open(t, service.ConnectionString(), func(c *tables.Config) {
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(r.URL.Path, "$batch") {
				return http.DefaultTransport.RoundTrip(r)
			}
			if attempts++; attempts == 1 {
				var begin [10]byte
				_, err := io.ReadFull(r.Body, begin[:])
				go func() {
					<-second
					rest, _ := io.ReadAll(r.Body)
					bodies <- string(begin[:]) + string(rest)
				}()
				return nil, errors.Join(errors.New("the connection was cut"), err)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			bodies <- string(body)
			close(second)
			r = r.Clone(r.Context())
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			return http.DefaultTransport.RoundTrip(r)
		})
	})
	create(t, s, someone("patient"), "x")
	require.Equal(t, 2, attempts)
	require.Equal(t, waittest.For(t, bodies), waittest.For(t, bodies))
}
