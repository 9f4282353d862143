package ledger

import (
	"context"
	"time"
)

// Redrive is [Ledger.RedriveAll] for one call that is not done. A call that has moved on is
// not an error. busy means that a worker still holds the task: try again.
func (l *Ledger) Redrive(ctx context.Context, r Record, msg string, deadline time.Time) (redriven, busy bool, err error) {
	return only(l.RedriveAll(ctx, r.Queue, []Reopening{{Record: r, Message: msg, Deadline: deadline}}, false))
}

// RedriveAny is [Ledger.Redrive] for calls that may be done too.
func (l *Ledger) RedriveAny(ctx context.Context, r Record, msg string, deadline time.Time) (redriven, busy bool, err error) {
	return only(l.RedriveAll(ctx, r.Queue, []Reopening{{Record: r, Message: msg, Deadline: deadline}}, true))
}

// only returns the result of a change of one call.
func only(changes []Change, err error) (changed, busy bool, _ error) {
	if err != nil {
		return false, false, err
	}
	return changes[0] == Changed, changes[0] == StillHeld, nil
}

// Purge is [Ledger.PurgeAll] for one call. busy means that a worker still holds the task:
// try again.
func (l *Ledger) Purge(ctx context.Context, r Record) (purged, busy bool, err error) {
	return only(l.PurgeAll(ctx, r.Queue, []Record{r}))
}
