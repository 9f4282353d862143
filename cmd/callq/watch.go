package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// changeLine says in one line that the calls to an account or an endpoint are held, or start
// again.
func changeLine(c filerun.CircuitChanged, now time.Time) string {
	switch c.Change {
	case filerun.CircuitHeld:
		return holdLine(c, now)
	case filerun.CircuitSpent:
		return fmt.Sprintf("%s paused until %s: the %s is used up%s", c.Circuit, timeText(c.Until), c.Rule, waitText(c.Waiting))
	case filerun.CircuitPaced:
		return fmt.Sprintf("%s: the %s allows one call at a time, the next at %s%s", c.Circuit, c.Rule, timeText(c.Until), waitText(c.Waiting))
	}
	return fmt.Sprintf("%s: calls start again", c.Circuit)
}

// holdLine returns, for example, "patsnap paused for 2s: quota 67200001: too many calls; 120
// calls wait".
func holdLine(c filerun.CircuitChanged, now time.Time) string {
	line := c.Circuit + " paused"
	const step = 100 * time.Millisecond // a shorter hold is over before the line is read
	if wait := c.Until.Sub(now); wait >= step {
		line += " for " + console.Duration(wait.Round(step))
	}
	switch {
	case c.Why == "", c.Why == c.Reason:
		line += ": " + c.Reason
	case strings.HasPrefix(c.Why, c.Reason):
		line += ": " + c.Why
	default:
		line += fmt.Sprintf(" (%s): %s", c.Reason, c.Why)
	}
	return line + waitText(c.Waiting)
}

// waitText returns, for example, "; 120 calls wait", or "".
func waitText(n int64) string {
	if n == 0 {
		return ""
	}
	return "; " + console.Subject(int(n), "call", "waits", "wait")
}

// stuckLine says which circuit has been unusable for the whole patience, and what a person
// can do.
func stuckLine(name string, class policy.Class, patience time.Duration, answer string) string {
	what := map[policy.Class]string{
		policy.ClassAuth:    "its credential is refused: correct auth of the upstream in the configuration, or renew the credential",
		policy.ClassBalance: "its account is out of credit: top it up",
		policy.ClassConfig:  "it cannot be reached, or TLS fails: correct base_url, auth.token_url or tls of the upstream in the configuration",
	}[class]
	return fmt.Sprintf("%s has been unusable for %s (%s): %s", name, console.Duration(patience), answer, what)
}

// stalledLine says why no call ends.
func stalledLine(e filerun.Stalled, now time.Time) string {
	return fmt.Sprintf("%s: no call has ended for %s, and %s; %s", e.Last.Upstream, console.Duration(e.For.Round(time.Second)),
		console.Subject(e.Attempts, "attempt", "has failed", "have failed"), retryLine(e.Last, now))
}
