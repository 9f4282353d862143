package tasks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// mostRestored and heaviestRestored bound what one step puts back, and what of
	// it is in memory.
	mostRestored     = 1000
	heaviestRestored = 4 << 20
)

// Restore puts the task of an open call that was lost back into its queue; see
// [ledger.Ledger.Restore]. It reports whether it did: the call may have moved on,
// which is no error. It fails for a call whose content cannot be read.
func (p *Producer) Restore(ctx context.Context, r ledger.Record, by time.Time) (bool, error) {
	one, err := p.restoring(ctx, r)
	if err != nil {
		return false, err
	}
	did, err := p.ledger.Restore(ctx, r.Queue, []ledger.Restoring{one}, by)
	return err == nil && did[0], err
}

func (p *Producer) restoring(ctx context.Context, r ledger.Record) (ledger.Restoring, error) {
	c, err := Decode(r.Content)
	if err != nil {
		return ledger.Restoring{}, fmt.Errorf("call %s cannot be put back: %w", r.ID, err)
	}
	msg, err := p.message(ctx, r.Queue, r.ID, c)
	r.Content, r.Body = nil, nil // the message has it
	return ledger.Restoring{Record: r, Message: msg, Deadline: c.deadline()}, err
}

// RestoreAll is [Producer.Restore] for many calls, each once, and returns how many
// it did put back. It calls refused for those whose content cannot be read.
func (p *Producer) RestoreAll(ctx context.Context, calls iter.Seq2[ledger.Record, error], by time.Time, refused func(ledger.Record, error)) (restored int, err error) {
	var page []ledger.Restoring
	weight := 0
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		did, err := p.ledger.Restore(ctx, page[0].Queue, page, by)
		for _, one := range did {
			if one {
				restored++
			}
		}
		page, weight = page[:0], 0
		return err
	}
	for r, err := range calls {
		if err != nil {
			return restored, err
		}
		one, err := p.restoring(ctx, r)
		if errors.Is(err, ErrMalformed) || errors.Is(err, ErrNewerVersion) {
			refused(r, err)
			continue
		}
		if err != nil {
			return restored, err
		}
		if len(page) == mostRestored || weight+len(one.Message) > heaviestRestored || len(page) > 0 && page[0].Queue != r.Queue {
			if err := flush(); err != nil {
				return restored, err
			}
		}
		page = append(page, one)
		weight += len(one.Message)
	}
	return restored, flush()
}
