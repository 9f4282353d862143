package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// worthALine is from where on a hold by a limit is worth a word: those of rates
// come and go many times a second.
const worthALine = 5 * time.Second

// limitedBy is what holds the account, limit or budget.
func limitedBy(r circuit.Record) string { return cmp.Or(r.LimitedBy, "limit") }

// limitRule is "limit 5000/day" or "budget 100 USD/month".
func limitRule(r circuit.Record) string { return limitedBy(r) + " " + printable(r.LimitedText) }

// limitTurns tells that what holds the account is a count, which is used up until
// its window turns, and no rate, which holds a little before every call.
func limitTurns(r circuit.Record) bool {
	if r.LimitedBy == "budget" {
		return true
	}
	p, err := limit.NewPlan([]string{r.LimitedText}, nil, "")
	return err == nil && p.Args(time.Now())[2] == "window" // the kind of the first rule
}

// afterClose is what becomes of the limit that held an account when an operator
// closes its circuit, as the end of a sentence; empty where none did.
func afterClose(before circuit.Record, now time.Time) string {
	switch {
	case !now.Before(before.Limited):
		return ""
	case limitTurns(before):
		return fmt.Sprintf("; the %s counts anew, from nothing, until its window turns", limitRule(before))
	}
	return fmt.Sprintf("; the %s holds on, as it spreads the calls over time", limitRule(before))
}
