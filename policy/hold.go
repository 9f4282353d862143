package policy

import "time"

// Source names where the end of a hold, or the least wait of a retry, comes from.
type Source string

// The sources.
const (
	SourceRetryAfter     Source = "retry-after"
	SourceRateLimitReset Source = "ratelimit-reset"
	SourceCalendar       Source = "calendar"
	SourceLadder         Source = "ladder"
)

// holdSources are the names that a file may use.
var holdSources = []Source{SourceRetryAfter, SourceRateLimitReset, SourceCalendar, SourceLadder}

const (
	// leastWait is the wait where a server says 0 or names a time that is past.
	leastWait = time.Second
	// mostJitter is what a wait is lengthened by at most.
	mostJitter = 500 * time.Millisecond
	// defaultMax is the longest hold where a [Hold] does not say.
	defaultMax = 25 * time.Hour
)

// Hold says until when nobody calls a circuit.
type Hold struct {
	// Sources are asked in turn; the first that speaks tells the end. The ladder
	// is asked last of all where it is not among them.
	Sources []Source
	// Max is the longest hold. 0 means 25 hours.
	Max time.Duration
	// Calendar is nil where the hold has none; then that source is silent.
	Calendar *Calendar
	// Ladder is how long to hold, rung by rung; its last rung repeats. An empty
	// one has a single rung of a minute.
	Ladder []time.Duration
}

// Until says until when to hold after the outcome o, and which source said so.
// rung counts the holds in a row before this one. What the server gave counts
// from [Outcome.ReceivedAt], or from now where that is zero; a time that is 0 or
// past reads as one second, and none is later than now plus Max.
//
// jitter(n) returns a number from 0 up to, not including, n; nil means no jitter.
// It never shortens a wait, and lengthens it by a tenth, half a
// second at most.
func (h Hold) Until(o Outcome, now time.Time, rung int, jitter func(n int64) int64) (until time.Time, source Source) {
	received := o.ReceivedAt
	if received.IsZero() {
		received = now
	}
	for _, source := range h.Sources {
		switch source {
		case SourceRetryAfter:
			if told, ok := retryAfter(o.Header, received); ok {
				return h.end(received, told.Wait, now, jitter), source
			}
		case SourceRateLimitReset:
			if told, ok := rateLimitReset(o.Header, received); ok {
				return h.end(received, told.Wait, now, jitter), source
			}
		case SourceCalendar:
			if tick, ok := h.Calendar.next(now); ok {
				return h.end(now, tick.Sub(now), now, jitter), source
			}
		case SourceLadder:
			return h.end(now, h.step(rung), now, jitter), source
		}
	}
	return h.end(now, h.step(rung), now, jitter), SourceLadder
}

// step is the wait of a rung.
func (h Hold) step(rung int) time.Duration {
	if len(h.Ladder) == 0 {
		return time.Minute
	}
	return h.Ladder[min(max(rung, 0), len(h.Ladder)-1)]
}

// end is from plus wait, jittered and clamped.
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
