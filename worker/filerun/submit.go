package filerun

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/seed-2903acc3/callq/tasks"
)

// submit sends the calls that have not ended to the run's batches.
func (r *runner) submit(ctx context.Context) error {
	var moved map[int]bool
	for i := 0; i == 0 || len(moved) > 0 || i <= r.plan.furthest; i++ {
		in, err := r.cfg.In.open()
		if err != nil {
			return err
		}
		if i == 0 {
			r.batches.Store(1)
		}
		conflicts := map[int]bool{}
		var other error
		_, err = r.back.producer.SubmitLines(ctx, r.batch(i), r.plan.calls(i, in, r.rules, moved), func(e *tasks.FieldError) {
			// All lines were checked when the plan was made: what is refused now
			// is a key that stands for other content in this batch.
			if e.Field == "key" {
				conflicts[e.Line] = true
			} else {
				other = e
			}
		})
		// Only now does the plan know which calls are in this batch: results that
		// are read before are taken for those of others.
		r.batches.Store(int64(i) + 1)
		if err = errors.Join(err, other); err != nil {
			return err
		}
		moved = conflicts
	}
	return nil
}

// calls yields the calls that are to be sent to one batch, from the file that the
// plan was made of. The lines of moved were refused by the batch before.
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
				p.next(line.Call.Key, batch-1)
			}
			if err == nil && !p.send(line.Call.Key, tasks.ContentHash(line.Call), batch) {
				continue
			}
			if !yield(line, err) {
				return
			}
		}
	}
}
