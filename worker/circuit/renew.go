package circuit

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

var scriptRenew = load("renew")

// Renewal renews the lease of a probe that a worker still works on.
type Renewal struct {
	// Token is the probe's token, Epoch the epoch in which it was admitted.
	Token string
	Epoch int64
	// Lease is how long the new lease is, from now.
	Lease time.Duration
	// Held reports that the worker has renewed the lease in time until now: no other
	// worker can have a probe of this epoch.
	Held bool
}

// Renew lengthens a probe's lease. It returns false where another worker has the probe,
// or its verdict is recorded.
func (s *Store) Renew(ctx context.Context, n Name, r Renewal) (bool, error) {
	applied, err := scriptRenew.Run(ctx, s.rdb, n.keys(), r.Token, r.Epoch, r.Lease.Milliseconds(), redislua.Flag(r.Held)).Bool()
	if err != nil {
		return false, fmt.Errorf("renew the probe of circuit %s: %w", n, err)
	}
	return applied, nil
}
