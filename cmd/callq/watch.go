package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// watch follows the circuits: it says when calls are held back and when they go
// out again, and gives up on what only a person can mend.
type watch struct {
	circuits  *circuit.Store
	upstreams []string
	// say tells what has happened, in a line.
	say func(circuit.Record, string)
	// patience is how long a circuit may stay open that a person has to mend; 0:
	// for ever.
	patience time.Duration

	seen map[circuit.Name]int64
	// stuck is since when a circuit that a person has to mend was seen open.
	stuck map[circuit.Name]time.Time
}

// stuckError says which circuit has used up the patience.
type stuckError struct {
	record   circuit.Record
	patience time.Duration
}

func (e *stuckError) Error() string {
	r := e.record
	what := map[policy.Class]string{
		policy.Auth:    "its credential is refused: mend auth of the upstream in the configuration, or renew what it refers to",
		policy.Balance: "its account is out of credit: top it up",
		policy.Config:  "it cannot be reached safely: mend base_url or tls of the upstream in the configuration",
	}[policy.Class(r.Class)]
	return fmt.Sprintf("%s has been unusable for %s (%s): %s", r.Name, humanDuration(e.patience), answerOf(r), what)
}

// look reads the circuits once. What Redis cannot tell now it tells next time.
func (w *watch) look(ctx context.Context) error {
	records, err := w.circuits.List(ctx, w.upstreams)
	if err != nil {
		return nil // a run outlives a Redis that is away for a while
	}
	if w.seen == nil {
		w.seen, w.stuck = map[circuit.Name]int64{}, map[circuit.Name]time.Time{}
	}
	now := time.Now()
	for _, r := range records {
		if r.State != circuit.Open {
			delete(w.stuck, r.Name)
			if _, was := w.seen[r.Name]; was {
				delete(w.seen, r.Name)
				w.say(r, fmt.Sprintf("%s: calls go out again", r.Name))
			}
			continue
		}
		if epoch, was := w.seen[r.Name]; !was || epoch != r.Epoch {
			w.seen[r.Name] = r.Epoch
			w.say(r, holdLine(r, now))
		}
		switch policy.Class(r.Class) {
		case policy.Auth, policy.Balance, policy.Config:
		default:
			delete(w.stuck, r.Name)
			continue
		}
		since, was := w.stuck[r.Name]
		if !was {
			w.stuck[r.Name], since = now, now
		}
		if w.patience > 0 && now.Sub(since) >= w.patience {
			return &stuckError{record: r, patience: w.patience}
		}
	}
	return nil
}

// holdLine is "patsnap: quota hold for 2s (67200001 too many calls); 120 calls
// wait".
func holdLine(r circuit.Record, now time.Time) string {
	line := fmt.Sprintf("%s: %s hold", r.Name, r.Reason)
	if wait := r.Until.Sub(now); wait > 0 {
		line += " for " + humanDuration(wait.Round(100*time.Millisecond))
	}
	switch {
	case r.Note != "":
		line += fmt.Sprintf(" (%s: %s)", r.Who, r.Note)
	case r.Class != "":
		line += " (" + answerOf(r) + ")"
	}
	if r.Waiting > 0 {
		line += fmt.Sprintf("; %s", verbalOf(int(r.Waiting), "call", "waits", "wait"))
	}
	return line
}

// answerOf is what the API said to open a circuit.
func answerOf(r circuit.Record) string {
	line := r.Class
	if r.Code != "" {
		line += " " + r.Code
	}
	if r.Message != "" {
		line += ": " + r.Message
	}
	if r.CorrelationID != "" {
		line += "; x-correlation-id " + r.CorrelationID
	}
	return line
}
