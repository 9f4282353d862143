package filerun

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// firstOther is the number of the first batch of another input.
const firstOther = 1 << 15

// missingBatches is how many consecutive batches must be missing to end the search. A
// single batch may be missing because its retention has ended.
const missingBatches = 3

// batch returns the name of the run's i-th batch, from 0.
func (r *runner) batch(i int) string {
	switch {
	case i >= firstOther:
		return r.others[i-firstOther]
	case i == 0:
		return r.cfg.In.batch
	}
	return fmt.Sprintf("%s.%d", r.cfg.In.batch, i+1)
}

// inUse returns the numbers of the batches with calls of the plan.
func (r *runner) inUse() []int {
	var list []int
	for i := range int(r.batches.Load()) {
		list = append(list, i)
	}
	for i := range r.others {
		list = append(list, firstOther+i)
	}
	return list
}

// eachBatch calls visit for each existing batch of previous runs.
func (r *runner) eachBatch(ctx context.Context, visit func(i int, b ledger.Batch) error) error {
	for i, missing := 0, 0; i < firstOther+len(r.others); i++ {
		b, err := r.backend.ledger.Batch(ctx, r.batch(i))
		switch {
		case errors.Is(err, ledger.ErrNoBatch):
			missing++
		case err != nil:
			return err
		default:
			missing = 0
			if err := visit(i, b); err != nil {
				return err
			}
		}
		if missing == missingBatches && i < firstOther {
			i = firstOther - 1
		}
	}
	return nil
}
