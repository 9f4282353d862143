package policy

import "time"

// Source names where the end of a hold, or the shortest wait of a retry, comes from: one of
// the constants or, for a place of the answer that the policy names, its YAML, such as
// {from: "header x-ratelimit-reset", format: epoch}.
type Source string

// The sources that need no place.
const (
	SourceRetryAfter     Source = "retry-after"
	SourceRateLimitReset Source = "ratelimit-reset"
	SourceCalendar       Source = "calendar"
	SourceLadder         Source = "ladder"
)

// holdSources are the names that a file may use.
var holdSources = []Source{SourceRetryAfter, SourceRateLimitReset, SourceCalendar, SourceLadder}

const (
	// leastWait is the wait if a server says 0 or a time in the past.
	leastWait = time.Second
	// mostJitter is the most that jitter adds to a wait.
	mostJitter = 500 * time.Millisecond
	// defaultMax is the longest hold if a [Hold] sets none.
	defaultMax = 25 * time.Hour
)

// Hold says how long an open circuit stays open.
type Hold struct {
	// Sources are read in order; the first that gives a time sets the end. If the
	// ladder is not among them, it is used last.
	Sources []Source
	// Max is the longest hold. 0 means 25 hours.
	Max time.Duration
	// Calendar is nil if the hold has none; then that source gives no time.
	Calendar *Calendar
	// Ladder is how long to hold, rung by rung. The last rung repeats. An empty
	// ladder has one rung of a minute.
	Ladder []time.Duration

	// waits are the sources that name a place of the answer.
	waits map[Source]*answerWait
}

// Until returns when a hold after the outcome o ends, and which source gave that time.
// rung is the number of holds in a row before this one. A wait that the server gave
// counts from [Outcome.ReceivedAt], or from now if that is zero. A wait of 0 or a time
// in the past becomes one second. The hold never ends later than now plus Max.
//
// jitter(n) returns a number from 0 up to but not including n; nil means no jitter.
// Jitter never shortens a wait. It adds at most a tenth of it, and at most half a
// second.
func (h Hold) Until(o Outcome, now time.Time, rung int, jitter func(n int64) int64) (until time.Time, source Source) {
	from, wait, source := h.given(o, now, rung)
	return h.end(from, wait, now, jitter), source
}

// Asked returns how long the source that sets the hold's end asks to wait, from now on,
// before Max cuts it. It may be zero or negative, as the server said.
func (h Hold) Asked(o Outcome, now time.Time, rung int) time.Duration {
	from, wait, _ := h.given(o, now, rung)
	return wait - now.Sub(from)
}

// given returns the wait that the first source gives, and when it begins.
func (h Hold) given(o Outcome, now time.Time, rung int) (from time.Time, wait time.Duration, source Source) {
	received := o.ReceivedAt
	if received.IsZero() {
		received, o.ReceivedAt = now, now
	}
	for _, source := range h.Sources {
		switch source {
		case SourceRetryAfter:
			if given, ok := retryAfter(o.Header, received); ok {
				return received, given.Wait, source
			}
		case SourceRateLimitReset:
			if given, ok := rateLimitReset(o.Header, received); ok {
				return received, given.Wait, source
			}
		case SourceCalendar:
			if tick, ok := h.Calendar.next(now); ok {
				return now, tick.Sub(now), source
			}
		case SourceLadder:
			return now, h.step(rung), source
		default:
			if w := h.waits[source]; w != nil {
				if wait, ok := w.wait(&o); ok {
					return received, wait, source
				}
			}
		}
	}
	return now, h.step(rung), SourceLadder
}

// step returns the wait of a rung.
func (h Hold) step(rung int) time.Duration {
	if len(h.Ladder) == 0 {
		return time.Minute
	}
	return h.Ladder[min(max(rung, 0), len(h.Ladder)-1)]
}

// end returns from plus wait, with jitter and within the bounds of the hold.
func (h Hold) end(from time.Time, wait time.Duration, now time.Time, jitter func(n int64) int64) time.Time {
	longest := h.Max
	if longest <= 0 {
		longest = defaultMax
	}
	if wait <= 0 {
		wait = leastWait
	}
	if wait < longest {
		wait = min(wait+time.Duration(drawUpTo(jitter, int64(min(wait/10, mostJitter)), 0)), longest)
	}
	end := from.Add(min(wait, longest))
	if last := now.Add(longest); end.After(last) {
		return last
	}
	return end
}
