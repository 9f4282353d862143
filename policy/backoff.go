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
	// Base is the longest random part before the first retry. It doubles with each
	// retry.
	Base time.Duration
	// Cap is the longest random part of all.
	Cap time.Duration
	// Attempts is how many times a call is sent, including the first time.
	Attempts int
	// MaxAge is how long after its first send a call may be sent again. The time
	// that it was held does not count.
	MaxAge time.Duration
	// Sources are the fields of an answer that set the shortest wait before the
	// retry: [SourceRetryAfter], [SourceRateLimitReset]. The longest wait counts, 25
	// hours at most. With no sources the answer is not read.
	Sources []Source

	// waits are the sources that name a place of the answer.
	waits map[Source]*answerWait
}

// backoffSources are the names that a file may use. Only sources within the answer
// are allowed: without one, the backoff itself sets the wait.
var backoffSources = []Source{SourceRetryAfter, SourceRateLimitReset}

// leastWait returns how long the answer o asks to wait, counted from its arrival.
func (b *Backoff) leastWait(o *Outcome) time.Duration {
	var least time.Duration
	for _, source := range b.Sources {
		var given ServerTime
		switch source {
		case SourceRetryAfter:
			given, _ = retryAfter(o.Header, o.ReceivedAt)
		case SourceRateLimitReset:
			given, _ = rateLimitReset(o.Header, o.ReceivedAt)
		default:
			if w := b.waits[source]; w != nil {
				given.Wait, _ = w.wait(o)
			}
		}
		least = max(least, given.Wait)
	}
	return min(least, defaultMax)
}

// Delay returns the wait before the next retry. n is the number of retries so far,
// 0 before the first one. The wait is full jitter with a floor:
//
//	Floor + U(0, min(Cap, Base*2^n))
//
// jitter(n) returns a number from 0 up to but not including n. Without jitter the
// wait is the longest possible. With [SeededJitter] the waits of one call grow.
//
// Full jitter needed the fewest calls in the simulation of "Exponential Backoff
// And Jitter", AWS Architecture Blog.
func (b Backoff) Delay(n int, jitter func(n int64) int64) time.Duration {
	spread := int64(min(b.Cap, saturatingShift(b.Base, n)))
	if spread <= 0 {
		return max(b.Floor, 0)
	}
	return saturatingAdd(max(b.Floor, 0), time.Duration(drawUpTo(jitter, spread, spread)))
}

// SeededJitter returns a jitter for [Backoff.Delay] that takes the same share of the
// range for every wait of one call, from one half to the whole. The share depends only
// on id, which identifies the call: equal ids give equal waits, and different calls are
// spread evenly. So the waits of one call grow from retry to retry, even if a queue
// rounds them to seconds, and no call spends all its attempts at the floor. In the
// simulation that Delay cites, a range that starts at one half needs about 1 % more
// calls than full jitter.
func SeededJitter(id string) func(n int64) int64 {
	// FNV-1a, then the finaliser of SplitMix64, so that ids that differ in one digit
	// get very different shares.
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

// drawUpTo returns a number from 0 to n, both included. Without a jitter it returns
// the fallback. A number outside the range is clamped to it.
func drawUpTo(jitter func(n int64) int64, n, fallback int64) int64 {
	if jitter == nil {
		return fallback
	}
	return min(max(jitter(min(n, math.MaxInt64-1)+1), 0), n)
}

// saturatingShift returns d*2^n, at most the longest duration.
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

// saturatingAdd returns a+b, at most the longest duration. Neither may be negative.
func saturatingAdd(a, b time.Duration) time.Duration {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
