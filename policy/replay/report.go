package replay

import (
	"cmp"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// Report is what would have changed.
type Report struct {
	// Calls is how many calls were added. NotJudged of them have no attempt that can be
	// judged: they keep their end.
	Calls     int
	NotJudged int
	// Requests is how many recorded requests were made. Saved of them would not be made.
	// Added calls would be sent again where their record ends, each at least once.
	Requests, Saved, Added int
	// Partly counts attempts that were judged although the record has not all that the
	// policy of then could look at; Unjudgeable those of which only the status is recorded,
	// or nothing.
	Partly, Unjudgeable int
	// Uncertain calls may end differently: the record does not have what Doubts look at. They
	// are not among Ends, Saved and Added. Perhaps has those that end differently if the
	// attempts in doubt are decided as they were.
	Uncertain int
	Perhaps   []Difference
	Doubts    []Doubt
	// Ends are the ends that differ, and Judged the attempts that are judged otherwise,
	// by cause, the most frequent first.
	Ends, Judged []Difference
	// HeldBefore is for how long circuits were held by the record, and Held by the model.
	HeldBefore, Held time.Duration
	// Unseen are the places that the policy names and that no recorded answer has.
	Unseen []string
	// Amount is what the API charged by the record, with the digits that it gave.
	// AmountSaved is the part for requests that would not be made, AmountAgain the part
	// for answers after which the call would be sent again.
	Amount, AmountSaved, AmountAgain string
}

// Difference is a change that several calls share.
type Difference struct {
	Before  End    `json:"before"`
	After   End    `json:"after"`
	Count   int    `json:"count"`
	Example string `json:"example"`
}

// Doubt is a rule of which the record does not tell whether it matches.
type Doubt struct {
	Rule string `json:"rule"`
	// Reads is what the rule looks at: a key of match, or a place of the answer.
	Reads    string `json:"reads"`
	Attempts int    `json:"attempts"`
}

type change struct{ before, after End }

func note(all map[change]*Difference, c change, key string) {
	d := all[c]
	if d == nil {
		d = &Difference{Before: c.before, After: c.after, Example: key}
		all[c] = d
	}
	d.Count++
}

// Report returns what the calls until now add up to.
func (r *Replay) Report() Report {
	report := r.report
	report.Ends, report.Perhaps, report.Judged = sorted(r.ends), sorted(r.perhaps), sorted(r.judged)
	for doubt, n := range r.doubts {
		report.Doubts = append(report.Doubts, Doubt{doubt.Rule, doubt.Reads, n})
	}
	slices.SortFunc(report.Doubts, func(a, b Doubt) int {
		return cmp.Or(b.Attempts-a.Attempts, strings.Compare(a.Rule, b.Rule), strings.Compare(a.Reads, b.Reads))
	})
	report.HeldBefore, report.Held = r.held()
	for _, at := range policy.Places(r.policy) {
		if !r.seen[at] && !r.looksAt(at) {
			report.Unseen = append(report.Unseen, at)
		}
	}
	report.Amount, report.AmountSaved, report.AmountAgain = text(r.money.recorded), text(r.money.saved), text(r.money.again)
	return report
}

// looksAt reports whether a policy of then named the place.
func (r *Replay) looksAt(at string) bool {
	for looked := range r.looked {
		if policy.LooksAt(looked, at) {
			return true
		}
	}
	return false
}

func sorted(all map[change]*Difference) []Difference {
	list := make([]Difference, 0, len(all))
	for _, d := range all {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b Difference) int {
		return cmp.Or(b.Count-a.Count, compare(a.Before, b.Before), compare(a.After, b.After))
	})
	return list
}

func compare(a, b End) int {
	return cmp.Or(cmp.Compare(a.State, b.State), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Rule, b.Rule))
}

// money adds up amounts without rounding.
type money struct{ recorded, saved, again *big.Rat }

func (m *money) add(to **big.Rat, amount string) {
	n, ok := new(big.Rat).SetString(amount)
	if !ok || len(amount) > 64 || strings.ContainsAny(amount, "eE/") {
		return
	}
	if *to == nil {
		*to = new(big.Rat)
	}
	(*to).Add(*to, n)
}

// text returns an amount in decimal; empty for none.
func text(n *big.Rat) string {
	if n == nil {
		return ""
	}
	digits := n.FloatString(12)
	return strings.TrimRight(strings.TrimRight(digits, "0"), ".")
}
