package main

import (
	"context"
	"log/slog"
	"sync"

	"itemsapi/handler/entra"
	"itemsapi/handler/tables"
)

// verify is what server.Config asks who is calling.
type verify = func(context.Context, entra.Credentials, ...entra.Need) (*entra.Caller, error)

// mostNoted is how many partitions are remembered as noted, at most (some 100 bytes each).
const mostNoted = 10_000

// noteFormer logs each partition of which a caller came by a former ID, once a process:
// whoever looks into a theft of items finds there when it was opened. The partition's
// name is a hash. Where too many were noted, it begins again.
func noteFormer(next verify, log *slog.Logger) verify {
	var mu sync.Mutex
	noted := map[string]bool{}
	return func(ctx context.Context, c entra.Credentials, need ...entra.Need) (*entra.Caller, error) {
		caller, err := next(ctx, c, need...)
		if err != nil || !caller.Former {
			return caller, err
		}
		partition := tables.Partition(caller.Tenant, caller.Subject)
		mu.Lock()
		first := !noted[partition]
		if first && len(noted) == mostNoted {
			clear(noted)
		}
		noted[partition] = true
		mu.Unlock()
		if first {
			log.Info("a user was found by the ID from before the move", "partition", partition)
		}
		return caller, nil
	}
}
