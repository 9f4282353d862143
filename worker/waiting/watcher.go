package waiting

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

// MinReportedHold is how long a limit must hold an account before that is told: the holds
// of a rate come and go many times a second.
const MinReportedHold = 5 * time.Second

// ChangeKind says what has changed about an account or an endpoint. The set is closed.
type ChangeKind string

// The kinds of changes.
const (
	ChangeHeld    ChangeKind = "held"    // a circuit opened: no call starts before Until
	ChangeSpent   ChangeKind = "spent"   // a limit or a budget is used up until Until
	ChangePaced   ChangeKind = "paced"   // a slow rate lets calls out one by one, the next at Until
	ChangeFlowing ChangeKind = "flowing" // calls start again
)

// Change is what a [CircuitWatcher] tells: calls are held back, or start again.
type Change struct {
	Kind    ChangeKind
	Circuit circuit.Name
	// Until is when calls start again; it may be past, as the end of a hold waits for
	// its probe.
	Until time.Time
	// Reason is the hold's, as "quota", and Why what the API or an operator said; Rule
	// is the limit or the budget, as "limit 5000/day".
	Reason, Why, Rule string
	// Waiting is how many calls wait behind it; 0 where that is not known.
	Waiting int64
}

// Watch follows circuits: it tells when calls are held back and when they start again,
// and gives up on what only a person can fix. A limit or a budget that is used up
// passes. It is not safe for concurrent use.
type CircuitWatcher struct {
	Circuits  *circuit.Store
	Upstreams []string
	// Report is called for each change.
	Report func(Change)
	// Patience is how long a circuit may stay open that a person has to fix; 0: for
	// ever.
	Patience time.Duration

	held string
	seen map[circuit.Name]int64
	// spent is the limit or the budget that was told to be used up, paced the rate
	// that was told to let the calls out one by one.
	spent map[circuit.Name]spentRule
	paced map[circuit.Name]string
	// stuck is since when a circuit that a person has to fix was seen open.
	stuck map[circuit.Name]time.Time
}

// spentRule is a limit or a budget that is used up, to the second.
type spentRule struct {
	rule  string
	until time.Time
}

// StuckError says which circuit has used up the patience.
type StuckError struct {
	Record   circuit.Record
	Patience time.Duration
}

// Error says which circuit it is, and what the API answered.
func (e *StuckError) Error() string {
	return fmt.Sprintf("%s has been unusable for %s (%s)", e.Record.Name, e.Patience, AnswerText(e.Record))
}

// Poll reads the circuits once. What Redis cannot tell now it tells next time. The only
// error is a [StuckError].
func (w *CircuitWatcher) Poll(ctx context.Context) error {
	records, err := w.Circuits.Watch(ctx, w.Upstreams)
	if err != nil {
		return nil // whoever makes the calls notices, and outlives a Redis that is away for a while
	}
	return w.Update(records, time.Now())
}

// Held says what calls wait behind, a circuit, a limit or a budget, as in "held until
// 19:53:10 (outage)"; it is empty where nothing holds them.
func (w *CircuitWatcher) Held() string { return w.held }

// Update tells what is new in records, and returns a [StuckError] when the patience is
// over.
func (w *CircuitWatcher) Update(records []circuit.Record, now time.Time) error {
	if w.seen == nil {
		w.seen, w.stuck = map[circuit.Name]int64{}, map[circuit.Name]time.Time{}
		w.spent, w.paced = map[circuit.Name]spentRule{}, map[circuit.Name]string{}
	}
	w.held = ""
	most := int64(-1)
	for _, r := range records {
		w.judge(r, now)
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
		if w.Patience > 0 && now.Sub(since) >= w.Patience {
			return &StuckError{Record: r, Patience: w.Patience}
		}
	}
	return nil
}

// holds reports whether calls wait behind what was told. Those behind an endpoint's
// circuit are not counted.
func (w *CircuitWatcher) holds(r circuit.Record) bool {
	_, spent := w.spent[r.Name]
	return (r.State == circuit.Open || spent) && (r.Waiting > 0 || r.Name.Endpoint != "")
}

// heldBy is "held until 19:53:10 (outage)", of what holds the calls the longest. The
// account is named where it is not the only one.
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

// judge tells once that an account is held, and once that nothing holds it any more.
func (w *CircuitWatcher) judge(r circuit.Record, now time.Time) {
	epoch, wasOpen := w.seen[r.Name]
	_, wasSpent := w.spent[r.Name]
	open := r.State == circuit.Open
	switch {
	case !open:
		delete(w.seen, r.Name)
	case !wasOpen || epoch != r.Epoch:
		w.seen[r.Name] = r.Epoch
		w.Report(Change{Kind: ChangeHeld, Circuit: r.Name, Until: r.Until, Reason: r.Reason, Why: whyOpen(r), Waiting: r.Waiting})
	}
	spent := w.judgeLimit(r, now)
	if (wasOpen || wasSpent) && !open && !spent {
		w.Report(Change{Kind: ChangeFlowing, Circuit: r.Name})
	}
}

// judgeLimit tells once that a limit or a budget is used up, and once that a slow rate
// lets the calls out one by one. It reports whether the first is so.
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

// whyOpen is what an operator, or the API, said when a circuit opened.
func whyOpen(r circuit.Record) string {
	switch {
	case r.Note != "":
		return r.Who + ": " + r.Note
	case r.Class != "":
		return WhyHeld(r)
	}
	return ""
}

// LimitedBy is what holds the account, "limit" or "budget".
func LimitedBy(r circuit.Record) string { return cmp.Or(r.LimitedBy, "limit") }

// LimitRule is "limit 5000/day" or "budget 100 USD/month".
func LimitRule(r circuit.Record) string { return LimitedBy(r) + " " + r.LimitedText }
