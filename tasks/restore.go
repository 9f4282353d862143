package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Restore puts the task of an open call that was lost back into its queue; see
// [ledger.Ledger.Restore]. It reports whether it did: the call may have moved on,
// which is no error. It fails for a call whose content cannot be read.
func (p *Producer) Restore(ctx context.Context, r ledger.Record, by time.Time) (bool, error) {
	c, err := Decode(r.Content)
	if err != nil {
		return false, fmt.Errorf("call %s cannot be put back: %w", r.ID, err)
	}
	msg, err := p.message(ctx, r.Queue, r.ID, c)
	if err != nil {
		return false, err
	}
	return p.ledger.Restore(ctx, r, msg, by)
}
