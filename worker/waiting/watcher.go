package waiting

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

// MinReportedHold is the shortest time for which a limit must hold an account to be
// reported: the holds of a rate come and go many times a second.
const MinReportedHold = 5 * time.Second

// ChangeKind says what has changed about an account or an endpoint. The set is closed.
type ChangeKind string

// The kinds of changes.
const (
	ChangeHeld    ChangeKind = "held"    // a circuit opened: no call starts before Until
	ChangeSpent   ChangeKind = "spent"   // a limit or a budget is used up until Until
	ChangePaced   ChangeKind = "paced"   // a slow rate allows calls one by one, the next at Until
	ChangeFlowing ChangeKind = "flowing" // calls start again
)

// Change is what a [CircuitWatcher] reports: calls are held, or start again.
type Change struct {
	Kind    ChangeKind
	Circuit circuit.Name
	// Until is when calls start again. It may be in the past: a hold lasts until its
	// probe has succeeded.
	Until time.Time
	// Reason is the hold's, such as "quota", and Why what the API or an operator said;
	// Rule is the limit or the budget, such as "limit 5000/day".
	Reason, Why, Rule string
	// Waiting is how many calls wait behind it; 0 where that is not known.
	Waiting int64
}

// CircuitWatcher watches circuits. It reports when calls are held and when they start
// again, and returns an error when a circuit that only a person can fix stays open for
// too long. A limit or a budget that is used up is not such an error: it ends by itself.
// A CircuitWatcher is not safe for concurrent use.
type CircuitWatcher struct {
	Circuits  *circuit.Store
	Upstreams []string
	// Report is called for each change.
	Report func(Change)
	// Patience is how long a circuit may stay open that only a person can fix; 0 means
	// for ever.
	Patience time.Duration

	held string
	seen map[circuit.Name]int64
	// spent has the limits and budgets that were reported as used up, paced the rates
	// that were reported to allow calls one by one.
	spent map[circuit.Name]spentRule
	paced map[circuit.Name]string
	// stuck has the circuits that only a person can fix, with the time since which each
	// was seen open.
	stuck map[circuit.Name]time.Time
}

// spentRule is a limit or a budget that is used up, to the second.
type spentRule struct {
	rule  string
	until time.Time
}

// StuckError reports that a circuit was open for longer than the patience.
type StuckError struct {
	Record   circuit.Record
	Patience time.Duration
}

// Error says which circuit it is, and what the API answered.
func (e *StuckError) Error() string {
	return fmt.Sprintf("%s has been unusable for %s (%s)", e.Record.Name, e.Patience, AnswerText(e.Record))
}

// Poll reads the circuits once and reports what has changed. A read that fails is tried
// again at the next Poll. The only error is a [StuckError].
func (w *CircuitWatcher) Poll(ctx context.Context) error {
	records, err := w.Circuits.Watch(ctx, w.Upstreams)
	if err != nil {
		return nil // the code that makes the calls gets the same error, and waits for Redis
	}
	return w.Update(records, time.Now())
}

// Held says which circuit, limit or budget holds calls, as in "held until 19:53:10
// (outage)"; it is empty where nothing holds them.
func (w *CircuitWatcher) Held() string { return w.held }

// Update reports what has changed in records, and returns a [StuckError] when a circuit
// was open for longer than the patience.
func (w *CircuitWatcher) Update(records []circuit.Record, now time.Time) error {
	if w.seen == nil {
		w.seen, w.stuck = map[circuit.Name]int64{}, map[circuit.Name]time.Time{}
		w.spent, w.paced = map[circuit.Name]spentRule{}, map[circuit.Name]string{}
	}
	w.held = ""
	most := int64(-1)
	for _, r := range records {
		w.judge(r, now)
		if w.holds(r) && r.Waiting > most { // the one that holds the most calls is shown
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
		if w.Patience > 0 && now.Sub(since) >= w.Patience {
			return &StuckError{Record: r, Patience: w.Patience}
		}
	}
	return nil
}

// holds reports whether the circuit, or a limit that was reported as used up, holds
// calls. The calls of an endpoint are not counted, so its open circuit always holds some.
func (w *CircuitWatcher) holds(r circuit.Record) bool {
	_, spent := w.spent[r.Name]
	return (r.State == circuit.Open || spent) && (r.Waiting > 0 || r.Name.Endpoint != "")
}

// heldBy is "held until 19:53:10 (outage)", for the circuit or the limit, whichever ends
// later. It names the account where there are several.
func (w *CircuitWatcher) heldBy(r circuit.Record, now time.Time) string {
	until, why := r.Until, r.Reason
	if _, spent := w.spent[r.Name]; spent && (r.State != circuit.Open || r.Limited.After(until)) {
		until, why = r.Limited, LimitRule(r)
	}
	text := "held"
	if len(w.Upstreams) > 1 || r.Name.Endpoint != "" {
		text = r.Name.String() + " is held"
	}
	if until.After(now) {
		text += " until " + ClockText(until, now)
	}
	return fmt.Sprintf("%s (%s)", text, why)
}

// judge reports once that an account is held, and once that nothing holds it any more.
func (w *CircuitWatcher) judge(r circuit.Record, now time.Time) {
	epoch, wasOpen := w.seen[r.Name]
	_, wasSpent := w.spent[r.Name]
	open := r.State == circuit.Open
	switch {
	case !open:
		delete(w.seen, r.Name)
	case !wasOpen || epoch != r.Epoch:
		w.seen[r.Name] = r.Epoch
		w.Report(Change{Kind: ChangeHeld, Circuit: r.Name, Until: r.Until, Reason: r.Reason, Why: WhyOpen(r), Waiting: r.Waiting})
	}
	spent := w.judgeLimit(r, now)
	if (wasOpen || wasSpent) && !open && !spent {
		w.Report(Change{Kind: ChangeFlowing, Circuit: r.Name})
	}
}

// judgeLimit reports once that a limit or a budget is used up, and once that a slow rate
// allows calls one by one. It returns whether a limit or a budget is used up.
func (w *CircuitWatcher) judgeLimit(r circuit.Record, now time.Time) (spent bool) {
	rule, wait := LimitRule(r), r.Limited.Sub(now)
	this := spentRule{rule, r.Limited.Round(time.Second)}
	change := Change{Circuit: r.Name, Until: r.Limited, Rule: rule, Waiting: r.Waiting}
	switch {
	case wait < MinReportedHold || w.spent[r.Name] == this || w.paced[r.Name] == rule:
	case r.LimitTurns:
		w.spent[r.Name], change.Kind = this, ChangeSpent
		w.Report(change)
	default:
		w.paced[r.Name], change.Kind = rule, ChangePaced
		w.Report(change)
	}
	if wait <= 0 || w.spent[r.Name] != this {
		delete(w.spent, r.Name)
		return false
	}
	return true
}

// WhyOpen returns what an operator or the API said when the circuit opened.
func WhyOpen(r circuit.Record) string {
	switch {
	case r.Note != "":
		return r.Who + ": " + r.Note
	case r.Class != "":
		return WhyHeld(r)
	}
	return ""
}

// LimitedBy returns what holds the account, "limit" or "budget".
func LimitedBy(r circuit.Record) string { return cmp.Or(r.LimitedBy, "limit") }

// LimitRule returns the rule that holds the account, such as "limit 5000/day".
func LimitRule(r circuit.Record) string { return LimitedBy(r) + " " + r.LimitedText }
