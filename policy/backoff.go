package policy

import (
	"math"
	"math/bits"
	"time"
)

// Backoff says how long to wait before the next attempt, and when to give up.
type Backoff struct {
	// Floor is the least wait.
	Floor time.Duration
	// Base is what the random part may be at most before the first retry; it
	// doubles with each.
	Base time.Duration
	// Cap is what the random part may be at most ever.
	Cap time.Duration
	// Attempts is how many sends a call has, the first included.
	Attempts int
	// MaxAge is how long after its first send a call may still be sent again,
	// the time that it was held not counted.
	MaxAge time.Duration
	// Sources say where an answer tells the least that the retry waits:
	// [SourceRetryAfter], [SourceRateLimitReset]. The longest wait counts, 25 hours
	// at most. None means that the answer is not asked.
	Sources []Source
}

// backoffSources are the names that a file may use. What is not in the answer is
// no source: the backoff itself says how long to wait then.
var backoffSources = []Source{SourceRetryAfter, SourceRateLimitReset}

// leastWait is how long the answer o wants to be left alone, counted from when it
// arrived.
func (b *Backoff) leastWait(o *Outcome) time.Duration {
	var least time.Duration
	for _, source := range b.Sources {
		var told ServerTime
		switch source {
		case SourceRetryAfter:
			told, _ = retryAfter(o.Header, o.ReceivedAt)
		case SourceRateLimitReset:
			told, _ = rateLimitReset(o.Header, o.ReceivedAt)
		}
		least = max(least, told.Wait)
	}
	return min(least, defaultMax)
}

// Delay is the wait before the next attempt after n earlier failures besides
// the last one, so 0 before the first retry: full jitter with a floor,
//
//	Floor + U(0, min(Cap, Base*2^n))
//
// jitter(n) returns a number from 0 up to, not including, n. Without jitter the
// wait is the longest possible. With [SeededJitter] the waits of one call grow.
//
// Full jitter is what made the fewest calls in the simulation of "Exponential
// Backoff And Jitter", AWS Architecture Blog.
func (b Backoff) Delay(n int, jitter func(n int64) int64) time.Duration {
	spread := int64(min(b.Cap, saturatingShift(b.Base, n)))
	if spread <= 0 {
		return max(b.Floor, 0)
	}
	return saturatingAdd(max(b.Floor, 0), time.Duration(drawUpTo(jitter, spread, spread)))
}

// SeededJitter returns a jitter for [Backoff.Delay] that is the same for every wait
// of one call: id, the call's own, fixes which share of its range each wait gets,
// from a half to the whole. So the waits of one call grow from retry to retry by
// what the backoff says, also when a queue rounds them to seconds, and no call
// uses its attempts up at the floor; between calls they are spread evenly. In
// the simulation that Delay cites, this half costs about a hundredth more calls
// than full jitter. Equal ids give equal waits.
func SeededJitter(id string) func(n int64) int64 {
	// FNV-1a, then the finaliser of SplitMix64: ids that differ in one digit
	// must land far apart.
	h := uint64(14695981039346656037)
	for i := 0; i < len(id); i++ {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	return func(n int64) int64 {
		if n <= 0 {
			return 0
		}
		low := n / 2
		share, _ := bits.Mul64(h, uint64(n-low))
		return low + int64(share)
	}
}

// drawUpTo returns a number from 0 to n, both included, and without a jitter the
// fallback. A jitter that overshoots is held to the range.
func drawUpTo(jitter func(n int64) int64, n, fallback int64) int64 {
	if jitter == nil {
		return fallback
	}
	return min(max(jitter(min(n, math.MaxInt64-1)+1), 0), n)
}

// saturatingShift is d*2^n, held to the longest duration there is.
func saturatingShift(d time.Duration, n int) time.Duration {
	n = max(n, 0)
	if d <= 0 {
		return 0
	}
	if n >= bits.LeadingZeros64(uint64(d))-1 {
		return math.MaxInt64
	}
	return d << n
}

// saturatingAdd is a+b for durations that are not negative.
func saturatingAdd(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
