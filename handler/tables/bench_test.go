package tables_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"itemsapi/handler/items"
	"itemsapi/handler/tables"
	"itemsapi/handler/tables/tablestest"
)

// BenchmarkOneCaller has one caller create items on a storage that is 8 ms away: one at
// a time, and 64 at a time on one instance and spread over four.
func BenchmarkOneCaller(b *testing.B) {
	for _, bb := range []struct {
		name                string
		inFlight, instances int
	}{{"one_at_a_time", 1, 1}, {"one_instance", 64, 1}, {"four_instances", 64, 4}} {
		b.Run(bb.name, func(b *testing.B) {
			service := strictService(b)
			table := newTable()
			var stores []*tables.Store
			for range bb.instances {
				stores = append(stores, open(b, service.ConnectionString(), in(table)))
			}
			var transactions, reads atomic.Int64
			service.Inject(tablestest.Fault{Delay: 8 * time.Millisecond, Match: func(r *http.Request) bool {
				if tablestest.Operation(r) == tablestest.OpTransaction {
					transactions.Add(1)
				} else {
					reads.Add(1)
				}
				return true
			}})
			owner := someone(fmt.Sprint("bench ", b.N))
			content := []items.Draft{draft("x")}
			took := make([][]time.Duration, bb.inFlight)
			errs := make([]error, bb.inFlight)
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for i := range bb.inFlight {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						start := time.Now()
						if _, _, err := keep(b.Context(), stores[i%len(stores)], owner, content, nil); err != nil {
							errs[i] = err
						}
						took[i] = append(took[i], time.Since(start))
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			for _, err := range errs {
				require.NoError(b, err)
			}
			all := slices.Concat(took...)
			slices.Sort(all)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
			b.ReportMetric(float64(transactions.Load())/float64(b.N), "transactions/change")
			b.ReportMetric(float64(reads.Load())/float64(b.N), "reads/change")
			b.ReportMetric(float64(all[len(all)*99/100].Milliseconds()), "p99-ms")
			b.ReportMetric(float64(all[len(all)-1].Milliseconds()), "max-ms")
		})
	}
}
