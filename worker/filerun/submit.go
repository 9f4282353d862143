package filerun

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/seed-2903acc3/callq/tasks"
)

// submit sends the open calls to the batches of the run.
func (r *runner) submit(ctx context.Context) error {
	var moved map[int]bool
	for i := 0; i == 0 || len(moved) > 0 || i <= r.plan.maxBatch; i++ {
		in, err := r.cfg.In.open()
		if err != nil {
			return err
		}
		if i == 0 {
			r.batches.Store(1)
		}
		conflicts := map[int]bool{}
		var other error
		_, err = r.backend.producer.SubmitLines(ctx, r.batch(i), r.plan.calls(i, in, r.rules, moved), func(e *tasks.FieldError) {
			// All lines were checked when the plan was read. A line that is refused now
			// has a key with other content in this batch.
			if e.Field == "key" {
				conflicts[e.Line] = true
			} else {
				other = e
			}
		})
		// Count the batch only now, when the plan has recorded which calls are in it:
		// results collected before would count as results of other calls.
		r.batches.Store(int64(i) + 1)
		if err = errors.Join(err, other); err != nil {
			return err
		}
		moved = conflicts
	}
	return nil
}

// calls yields the calls to send to one batch, from the input of the plan. The lines in
// moved were refused in the previous batch.
func (p *plan) calls(batch int, in io.Reader, rules tasks.Rules, moved map[int]bool) iter.Seq2[tasks.Line, error] {
	return func(yield func(tasks.Line, error) bool) {
		for line, err := range tasks.ReadCalls(in, tasks.ReadOptions{Rules: rules}) {
			if line.Number > p.lines {
				return
			}
			if bad := (*tasks.FieldError)(nil); errors.As(err, &bad) {
				continue
			}
			if err == nil && moved[line.Number] {
				p.moveToNext(line.Call.Key, batch-1)
			}
			if err == nil && !p.claimSend(line.Call.Key, tasks.ContentHash(line.Call), batch) {
				continue
			}
			if !yield(line, err) {
				return
			}
		}
	}
}
