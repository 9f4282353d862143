package circuit

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

var scriptRenew = load("renew")

// Renewal is what a worker says of a probe that it still works on.
type Renewal struct {
	// Token is the probe's, Epoch that in which it was admitted.
	Token string
	Epoch int64
	// Lease is for how long from now on the probe may be silent.
	Lease time.Duration
	// Held tells that the worker has renewed it in time until now, so that nobody else
	// can have a probe of this epoch.
	Held bool
}

// Renew lengthens a probe's lease. It returns false where the probe is lost to another
// worker, or its verdict is known.
func (s *Store) Renew(ctx context.Context, n Name, r Renewal) (bool, error) {
	mine, err := scriptRenew.Run(ctx, s.rdb, n.keys(), r.Token, r.Epoch, r.Lease.Milliseconds(), redislua.Flag(r.Held)).Bool()
	if err != nil {
		return false, fmt.Errorf("renew the probe of circuit %s: %w", n, err)
	}
	return mine, nil
}
