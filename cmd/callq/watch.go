package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// watch follows the circuits: it says when calls are held back and when they go
// out again, and gives up on what only a person can mend. A limit or a budget that
// is used up mends itself.
type watch struct {
	circuits  *circuit.Store
	upstreams []string
	// say tells what has happened, in a line.
	say func(circuit.Record, string)
	// patience is how long a circuit may stay open that a person has to mend; 0:
	// for ever.
	patience time.Duration

	// held says what calls wait behind, a circuit, a limit or a budget, as in "held
	// until 19:53:10 (outage)"; empty where nothing holds them.
	held string

	seen map[circuit.Name]int64
	// spent is the limit or the budget that was said to be used up, paced the rate
	// that was said to let the calls out one by one.
	spent map[circuit.Name]spent
	paced map[circuit.Name]string
	// stuck is since when a circuit that a person has to mend was seen open.
	stuck map[circuit.Name]time.Time
}

// spent is a limit or a budget that is used up, to the second.
type spent struct {
	rule  string
	until time.Time
}

// stuckError says which circuit has used up the patience.
type stuckError struct {
	record   circuit.Record
	patience time.Duration
}

func (e *stuckError) Error() string {
	r := e.record
	what := map[policy.Class]string{
		policy.ClassAuth:    "its credential is refused: mend auth of the upstream in the configuration, or renew what it refers to",
		policy.ClassBalance: "its account is out of credit: top it up",
		policy.ClassConfig:  "it cannot be reached, or not safely: mend base_url, auth.token_url or tls of the upstream in the configuration",
	}[policy.Class(r.Class)]
	return fmt.Sprintf("%s has been unusable for %s (%s): %s", r.Name, humanDuration(e.patience), waiting.Answer(r), what)
}

// look reads the circuits once. What Redis cannot tell now it tells next time.
func (w *watch) look(ctx context.Context) error {
	records, err := w.circuits.Watch(ctx, w.upstreams)
	if err != nil {
		return nil // a run outlives a Redis that is away for a while
	}
	return w.judge(records, time.Now())
}

// judge says what is new in the records, and tells when the patience is over.
func (w *watch) judge(records []circuit.Record, now time.Time) error {
	if w.seen == nil {
		w.seen, w.stuck = map[circuit.Name]int64{}, map[circuit.Name]time.Time{}
		w.spent, w.paced = map[circuit.Name]spent{}, map[circuit.Name]string{}
	}
	w.held = ""
	most := int64(-1)
	for _, r := range records {
		w.tell(r, now)
		if w.holds(r) && r.Waiting > most { // what most calls wait behind is the reason
			w.held, most = w.heldBy(r, now), r.Waiting
		}
		if !r.NeedsPerson() {
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

// holds tells whether calls wait behind what was told of. Those behind an endpoint's
// circuit are not counted.
func (w *watch) holds(r circuit.Record) bool {
	_, isSpent := w.spent[r.Name]
	return (r.State == circuit.Open || isSpent) && (r.Waiting > 0 || r.Name.Endpoint != "")
}

// heldBy is "held until 19:53:10 (outage)", of what holds the calls the longest. The
// account is named where it is not the only one.
func (w *watch) heldBy(r circuit.Record, now time.Time) string {
	until, why := r.Until, r.Reason
	if _, isSpent := w.spent[r.Name]; isSpent && (r.State != circuit.Open || r.Limited.After(until)) {
		until, why = r.Limited, limitRule(r)
	}
	text := "held"
	if len(w.upstreams) > 1 || r.Name.Endpoint != "" {
		text = r.Name.String() + " is held"
	}
	if until.After(now) {
		text += " until " + waiting.ClockText(until, now)
	}
	return fmt.Sprintf("%s (%s)", text, why)
}

// tell says in a line that an account is held, and in another that it is not any
// more, whatever held it.
func (w *watch) tell(r circuit.Record, now time.Time) {
	epoch, wasOpen := w.seen[r.Name]
	_, wasSpent := w.spent[r.Name]
	isOpen := r.State == circuit.Open
	switch {
	case !isOpen:
		delete(w.seen, r.Name)
	case !wasOpen || epoch != r.Epoch:
		w.seen[r.Name] = r.Epoch
		w.say(r, holdLine(r, now))
	}
	isSpent := w.tellLimit(r, now)
	if (wasOpen || wasSpent) && !isOpen && !isSpent {
		w.say(r, fmt.Sprintf("%s: calls go out again", r.Name))
	}
}

// tellLimit says once that a limit or a budget is used up, and once that a slow
// rate lets the calls out one by one. It tells whether the first is so.
func (w *watch) tellLimit(r circuit.Record, now time.Time) (isSpent bool) {
	rule, wait := limitRule(r), r.Limited.Sub(now)
	this := spent{rule, r.Limited.Round(time.Second)}
	switch {
	case wait < worthALine || w.spent[r.Name] == this || w.paced[r.Name] == rule:
	case r.LimitTurns:
		w.spent[r.Name] = this
		w.say(r, fmt.Sprintf("%s: the %s is used up; calls go on at %s%s", r.Name, rule, timeText(r.Limited), waitText(r)))
	default:
		w.paced[r.Name] = rule
		w.say(r, fmt.Sprintf("%s: the %s lets calls out one by one, the next at %s%s", r.Name, rule, timeText(r.Limited), waitText(r)))
	}
	if wait <= 0 || w.spent[r.Name] != this {
		delete(w.spent, r.Name)
		return false
	}
	return true
}

// holdLine is "patsnap: quota hold for 2s (67200001 too many calls); 120 calls
// wait".
func holdLine(r circuit.Record, now time.Time) string {
	line := fmt.Sprintf("%s: %s hold", r.Name, r.Reason)
	const step = 100 * time.Millisecond // a shorter hold is over when one reads of it
	if wait := r.Until.Sub(now); wait >= step {
		line += " for " + humanDuration(wait.Round(step))
	}
	switch {
	case r.Note != "":
		line += fmt.Sprintf(" (%s: %s)", r.Who, r.Note)
	case r.Class != "":
		line += " (" + waiting.WhyHeld(r) + ")"
	}
	return line + waitText(r)
}

// waitText is "; 120 calls wait", or nothing.
func waitText(r circuit.Record) string {
	if r.Waiting == 0 {
		return ""
	}
	return "; " + verbalOf(int(r.Waiting), "call", "waits", "wait")
}
