package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

// worthALine is from where on a hold by a limit is worth a word: those of rates
// come and go many times a second.
const worthALine = 5 * time.Second

// limitedBy is what holds the account, limit or budget.
func limitedBy(r circuit.Record) string { return cmp.Or(r.LimitedBy, "limit") }

// limitRule is "limit 5000/day" or "budget 100 USD/month".
func limitRule(r circuit.Record) string { return limitedBy(r) + " " + printable(r.LimitedText) }

// afterClose is what becomes of the limit that held an account when an operator
// closes its circuit, as the end of a sentence; empty where none did.
func afterClose(before circuit.Record, now time.Time) string {
	switch {
	case !now.Before(before.Limited):
		return ""
	case before.LimitTurns:
		return fmt.Sprintf("; the %s counts anew, from nothing, until its window turns", limitRule(before))
	}
	return fmt.Sprintf("; the %s holds on, as it spreads the calls over time", limitRule(before))
}
