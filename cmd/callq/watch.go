package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/filerun"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// changeLine says in a line that the calls to an account or an endpoint are held back,
// or start again.
func changeLine(c waiting.Change, name string, now time.Time) string {
	switch c.Kind {
	case waiting.ChangeHeld:
		return holdLine(c, name, now)
	case waiting.ChangeSpent:
		return fmt.Sprintf("%s: the %s is used up; calls go on at %s%s", name, c.Rule, timeText(c.Until), waitText(c.Waiting))
	case waiting.ChangePaced:
		return fmt.Sprintf("%s: the %s lets calls out one by one, the next at %s%s", name, c.Rule, timeText(c.Until), waitText(c.Waiting))
	}
	return fmt.Sprintf("%s: calls go out again", name)
}

// holdLine is "patsnap: quota hold for 2s (67200001 too many calls); 120 calls
// wait".
func holdLine(c waiting.Change, name string, now time.Time) string {
	line := fmt.Sprintf("%s: %s hold", name, c.Reason)
	const step = 100 * time.Millisecond // a shorter hold is over when one reads of it
	if wait := c.Until.Sub(now); wait >= step {
		line += " for " + humanDuration(wait.Round(step))
	}
	if c.Why != "" {
		line += " (" + c.Why + ")"
	}
	return line + waitText(c.Waiting)
}

// waitText is "; 120 calls wait", or nothing.
func waitText(n int64) string {
	if n == 0 {
		return ""
	}
	return "; " + verbalOf(int(n), "call", "waits", "wait")
}

// stuckLine says which circuit has used up the patience, and what a person can do.
func stuckLine(name string, class policy.Class, patience time.Duration, answer string) string {
	what := map[policy.Class]string{
		policy.ClassAuth:    "its credential is refused: mend auth of the upstream in the configuration, or renew what it refers to",
		policy.ClassBalance: "its account is out of credit: top it up",
		policy.ClassConfig:  "it cannot be reached, or not safely: mend base_url, auth.token_url or tls of the upstream in the configuration",
	}[class]
	return fmt.Sprintf("%s has been unusable for %s (%s): %s", name, humanDuration(patience), answer, what)
}

// stalledLine says why no call ends.
func stalledLine(e filerun.Stalled) string {
	why := strings.TrimSpace(string(e.Class) + " " + e.Code)
	if e.Message != "" {
		why += ": " + e.Message
	}
	return fmt.Sprintf("%s: %s since a call has ended, the last with %s; the calls are tried again",
		e.Upstream, verbalOf(e.Attempts, "attempt", "has failed", "have failed"), why)
}
