package waiting

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kind is the kind of a reason. The set is closed.
type Kind string

// The kinds, in the order of how many calls they stop.
const (
	Redis       Kind = "redis"       // Redis cannot be used: away, loading, full, read-only
	Clock       Kind = "clock"       // this machine's clock is wrong
	NoUpstream  Kind = "no_upstream" // no configuration names the upstream
	NoWorker    Kind = "no_worker"   // no worker makes the upstream's calls
	Memory      Kind = "memory"      // the results in Redis have reached ledger.max_memory
	Paused      Kind = "paused"      // an operator has paused the queue
	Unreachable Kind = "unreachable" // the address, the token endpoint or TLS is wrong
	Hold        Kind = "hold"        // the account's circuit is open
	Probe       Kind = "probe"       // one call tests whether the account works again
	Limit       Kind = "limit"       // a limit is used up
	Budget      Kind = "budget"      // a budget is used up
	Fence       Kind = "fence"       // Redis may have forgotten that calls were sent
	LostLease   Kind = "lost_lease"  // a worker was killed or stopped
	Concurrency Kind = "concurrency" // as many calls are in progress as concurrency allows
	Endpoint    Kind = "endpoint"    // the circuit of an endpoint is open
	Backoff     Kind = "backoff"     // the next attempt comes after a pause
	NotBefore   Kind = "not_before"  // the call's own not_before has not come yet
)

// Reason is one reason why calls wait.
type Reason struct {
	Kind Kind `json:"kind"`
	// Name is the upstream or the circuit; empty where the reason holds for all upstreams.
	Name string `json:"name"`
	// Calls is how many calls wait for this reason; 0: not known.
	Calls int64 `json:"calls"`
	// Why is the cause, in words.
	Why string `json:"why"`
	// Since is when it began, Until when it ends by itself; zero where that is not
	// known.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Last is when the last of the calls starts, where they start one after the other.
	Last time.Time `json:"last,omitzero"`
	// Ends says what ends the wait, Todo what a person can do; either may be empty.
	Ends string `json:"ends,omitempty"`
	Todo string `json:"todo,omitempty"`
	// Some reports that only some calls wait: others of the same upstream are made.
	Some bool `json:"-"`
}

// LongerThan reports whether the wait lasts for more than d from now, or does not end by
// itself.
func (r Reason) LongerThan(now time.Time, d time.Duration) bool {
	return r.Until.IsZero() || r.Until.Sub(now) > d || r.Last.Sub(now) > d
}

// Brief is a short form for a line that shows other things too: "api: held (quota), until 19:53:10".
func (r Reason) Brief(now time.Time) string {
	text := r.Why
	if r.Name != "" {
		text = r.Name + ": " + text
	}
	return text + r.times(now)
}

// Text is the whole sentence: what waits, why, since when, what ends it, what to do.
func (r Reason) Text(now time.Time) string {
	text := ""
	if r.Name != "" {
		text = r.Name + ": "
	}
	switch {
	case r.Calls == 1:
		text += "1 call waits: "
	case r.Calls > 1:
		text += strconv.FormatInt(r.Calls, 10) + " calls wait: "
	default:
		text += "calls wait: "
	}
	text += r.Why + r.times(now)
	for _, more := range []string{r.Ends, r.Todo} {
		if more != "" {
			text += "; " + more
		}
	}
	return text
}

// Over is the sentence that says that the reason is over.
func (r Reason) Over() string {
	if r.Kind == Redis {
		return "Redis answers again"
	}
	return joinNotEmpty(": ", r.Name, "this is over: "+r.Why)
}

// times returns ", since 19:53:10, until 20:00:00".
func (r Reason) times(now time.Time) string {
	text := ""
	if !r.Since.IsZero() {
		text += ", since " + ClockText(r.Since, now)
	}
	switch {
	case r.Until.After(now) && r.Last.After(r.Until.Add(time.Second)):
		text += fmt.Sprintf(", the first until %s, the last until %s", ClockText(r.Until, now), ClockText(r.Last, now))
	case r.Until.After(now):
		text += ", until " + ClockText(r.Until, now)
	}
	return text
}

// ClockText returns the time of day, with the date where that differs from today's.
func ClockText(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// joinNotEmpty joins the parts that are not empty.
func joinNotEmpty(sep string, parts ...string) string {
	var list []string
	for _, part := range parts {
		if part != "" {
			list = append(list, part)
		}
	}
	return strings.Join(list, sep)
}
