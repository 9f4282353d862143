package main

import (
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// afterClose returns what happens to the limit that holds an account when an operator closes
// its circuit, as the end of a sentence. It is empty if no limit holds the account.
func afterClose(before circuit.Record, now time.Time) string {
	switch {
	case !now.Before(before.Limited):
		return ""
	case before.LimitOfAPI:
		return fmt.Sprintf("; the next calls find out what is left of the %s", console.Printable(waiting.LimitRule(before)))
	case before.LimitTurns:
		return fmt.Sprintf("; the count of the %s starts again from zero", console.Printable(waiting.LimitRule(before)))
	}
	return fmt.Sprintf("; the %s still applies, because it spreads the calls over time", console.Printable(waiting.LimitRule(before)))
}
