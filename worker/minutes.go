package worker

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/history"
)

// flushMinutesEvery is how often a process adds its counts to the chart of the last hours.
const flushMinutesEvery = 2 * time.Second

// writeMinutes writes the counts for the chart until ctx ends.
func (w *Worker) writeMinutes(ctx context.Context) {
	every(ctx, flushMinutesEvery, func() { w.noteRedisError(w.minutes.Flush(ctx)) })
}

// minuteOutcome returns under which outcome an attempt is counted. s is the call's state if
// it has ended, else empty.
func minuteOutcome(a policy.Action, s ledger.State) history.Outcome {
	switch {
	case s == ledger.Done:
		return history.Done
	case s == ledger.Dropped:
		return history.Dropped
	case s != "":
		return history.Dead
	case a == policy.ActionPark:
		return history.Parked
	default:
		return history.Retried
	}
}
