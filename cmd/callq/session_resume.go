package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// missingBatches is how many batches in a row must be missing before no more are
// looked for: one may have been forgotten after the retention.
const missingBatches = 3

// withdrawn stands as the rule of calls that a run cancelled because the file did
// not ask for them any more. A run of a file that asks again makes them; what a
// person cancelled stays so.
const withdrawn = "withdrawn"

func withdrew(r ledger.Record) bool {
	return r.State == ledger.Cancelled && r.Ending != nil && r.Ending.Rule == withdrawn
}

// reconcile brings what earlier runs left in Redis in line with the plan: open
// calls that the file does not ask for any more are cancelled, so that they cost
// nothing; those that are to be made again are opened again.
func (s *session) reconcile(ctx context.Context) error {
	var err error
	if s.replaced, err = s.readReplaced(); err != nil {
		return err
	}
	s.horizons, s.cursors = map[int]ledger.Horizon{}, map[int]*ledger.Cursor{}
	return s.eachBatch(ctx, func(i int, b ledger.Batch) (err error) {
		if s.horizons[i], err = s.desk.ledger.Horizon(ctx, b.Name); err != nil {
			return err
		}
		c := b.Counts
		if len(s.plan.chosen) == 0 && c.Open+c.Cancelled == 0 && (!s.redo[tasks.StateDead] || c.Dead == 0) && (!s.redo[tasks.StateDropped] || c.Dropped == 0) {
			return nil
		}
		for r, err := range s.desk.ledger.Calls(ctx, b.Name, tasks.TaskID) {
			if err != nil {
				return err
			}
			if err := s.reconcileCall(ctx, i, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachBatch visits the batches of earlier runs that are there.
func (s *session) eachBatch(ctx context.Context, visit func(i int, b ledger.Batch) error) error {
	for i, missing := 0, 0; i < firstOther+len(s.others); i++ {
		b, err := s.desk.ledger.Batch(ctx, s.batch(i))
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

func (s *session) reconcileCall(ctx context.Context, batch int, r ledger.Record) error {
	state := tasks.State(r.State)
	wanted := s.redo[state] || withdrew(r) || s.plan.isChosen(r.Key, r.Hash) && r.State.Ended()
	switch {
	case r.State == ledger.Open && s.plan.surplus(r):
		if batch >= firstOther {
			return nil // another file asks for it
		}
		// A call that a worker is making right now ends as it ends.
		_, err := s.desk.client.Cancel(ctx, r.ID, tasks.Cancellation{Rule: withdrawn, Message: "the file does not ask for this call any more"})
		if errors.Is(err, tasks.ErrBusy) || errors.Is(err, tasks.ErrEnded) || errors.Is(err, tasks.ErrNoCall) {
			return nil
		}
		return err
	case !wanted, !s.plan.waits(r.Key, r.Hash, batch), s.plan.surplus(r):
		return nil
	case len(r.Content) == 0:
		s.plan.next(s.plan.nameOf(r.Key, r.Hash), batch) // its content was purged: it starts anew
		return nil
	}
	if s.plan.isChosen(r.Key, r.Hash) {
		if again, err := s.again(r); err != nil || !again {
			return err
		}
	}
	for range 25 {
		_, busy, err := s.makeAgain(ctx, r)
		if err != nil || !busy {
			return err
		}
		select {
		case <-time.After(collectEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("a worker still holds the call %q; run the same command again in a minute", r.Key)
}
