package waiting

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Kind says what kind of reason it is. The set is closed.
type Kind string

// The kinds, the ones that stop more first.
const (
	Redis       Kind = "redis"       // Redis cannot be used: away, loading, full, read-only
	Clock       Kind = "clock"       // this machine's clock is wrong
	NoUpstream  Kind = "no_upstream" // no configuration names the upstream
	NoWorker    Kind = "no_worker"   // nobody makes calls
	Memory      Kind = "memory"      // the results in Redis take as many bytes as they may
	Paused      Kind = "paused"      // an operator has paused the queue
	Unreachable Kind = "unreachable" // the address, the token endpoint or TLS is wrong
	Hold        Kind = "hold"        // the account's circuit is open
	Probe       Kind = "probe"       // one call finds out whether the account works again
	Limit       Kind = "limit"       // a limit is used up
	Budget      Kind = "budget"      // a budget is used up
	Fence       Kind = "fence"       // Redis may have forgotten that calls were sent
	LostLease   Kind = "lost_lease"  // a worker was killed or stopped
	Concurrency Kind = "concurrency" // as many calls are under way as may be
	Endpoint    Kind = "endpoint"    // the circuit of an endpoint is open
	Backoff     Kind = "backoff"     // the next attempt comes after a pause
	NotBefore   Kind = "not_before"  // the call's own not_before is to come
)

// Reason is one reason for which calls wait.
type Reason struct {
	Kind Kind `json:"kind"`
	// Name is the upstream, or the circuit; empty for all.
	Name string `json:"name"`
	// Calls is how many wait for it, as far as that is known; 0: not known.
	Calls int64 `json:"calls"`
	// Why is the cause, in words.
	Why string `json:"why"`
	// Since is when it began, Until when it ends by itself; zero where that is not
	// known.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Last is when the last of the calls goes on, where they go one after the other.
	Last time.Time `json:"last,omitzero"`
	// Ends says what ends it, Todo what a person can do; empty where there is nothing.
	Ends string `json:"ends,omitempty"`
	Todo string `json:"todo,omitempty"`
	// Some reports that other calls of the same upstream are made meanwhile.
	Some bool `json:"-"`
}

// Stands reports whether a person, or a long time, has to pass before calls go on:
// what is not over by itself within d of now.
func (r Reason) LongerThan(now time.Time, d time.Duration) bool {
	return r.Until.IsZero() || r.Until.Sub(now) > d || r.Last.Sub(now) > d
}

// Brief is "held until 19:53:10 (quota)", to stand in a line with other things.
func (r Reason) Brief(now time.Time) string {
	text := r.Why
	if r.Name != "" {
		text = r.Name + ": " + text
	}
	return text + r.times(now)
}

// Text is the whole of it: what waits, why, since when, what ends it, what to do.
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

// Over says that it is over.
func (r Reason) Over() string {
	if r.Kind == Redis {
		return "Redis answers again"
	}
	return joinNotEmpty(": ", r.Name, "this is over: "+r.Why)
}

// times is ", since 19:53:10, until 20:00:00".
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

// ClockText is the time of day, with the date where that is another than now's.
func ClockText(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// joinNotEmpty joins what is not empty.
func joinNotEmpty(sep string, parts ...string) string {
	var list []string
	for _, part := range parts {
		if part != "" {
			list = append(list, part)
		}
	}
	return strings.Join(list, sep)
}
