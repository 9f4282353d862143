package circuit

import (
	"errors"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
)

// Result is what a call that passed a [Gate] met.
type Result int

// The results.
const (
	// Neutral says nothing about the account: the call was not sent, or its error does
	// not concern the circuit.
	Neutral Result = iota
	// Healthy means that the server answered.
	Healthy
	// Failed is a transient fault; enough of them trip the breaker.
	Failed
	// Tripped trips the breaker at once: the account must not be called any more.
	Tripped
)

var (
	errNeutral = errors.New("neutral")
	errFailed  = errors.New("failed")
	errTripped = errors.New("tripped")
)

// Detector says how many transient faults are an outage.
type Detector struct {
	// Window is how far back results count.
	Window time.Duration
	// MinCalls is how many results are needed for a decision.
	MinCalls int
	// Ratio is the share of failed calls, from 0 to 1, that is an outage.
	Ratio float64
}

// Gate is one process's breaker of one account. It is safe for concurrent use.
type Gate struct {
	detector Detector

	mu        sync.Mutex
	breaker   *gobreaker.TwoStepCircuitBreaker[struct{}]
	epoch     int64
	until     time.Time
	endpoints endpoints
}

// NewGate makes a closed gate.
func NewGate(d Detector) *Gate {
	g := &Gate{detector: d, endpoints: endpoints{detector: d, tallies: map[string]*tally{}}}
	g.breaker = g.closedBreaker(time.Minute)
	return g
}

// closedBreaker returns a closed breaker that, once tripped, stays open for the time-out.
// gobreaker fixes the time-out at construction, so every hold gets a new breaker.
func (g *Gate) closedBreaker(timeout time.Duration) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	// gobreaker calls ReadyToTrip right after IsSuccessful, both under its own lock, so a
	// plain variable can pass the value from one to the other.
	tripped := false
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  1,
		Interval:     g.detector.Window,
		BucketPeriod: g.detector.Window / 10,
		Timeout:      max(timeout, time.Nanosecond),
		IsExcluded:   func(err error) bool { return errors.Is(err, errNeutral) },
		IsSuccessful: func(err error) bool {
			tripped = errors.Is(err, errTripped)
			return err == nil
		},
		ReadyToTrip: func(c gobreaker.Counts) bool {
			judged := c.TotalSuccesses + c.TotalFailures
			return tripped || (int(judged) >= g.detector.MinCalls && g.detector.MinCalls > 0 &&
				float64(c.TotalFailures) >= g.detector.Ratio*float64(judged))
		},
	})
}

// Release ends the gate's hold if the epoch is newer than the hold's. Call it with the
// epoch in which Redis admitted a call with the circuit closed.
func (g *Gate) Release(epoch int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if epoch > g.epoch {
		g.epoch, g.until = epoch, time.Time{}
		g.breaker = g.closedBreaker(time.Minute)
	}
}

// Hold opens the gate until the given time, by the process's clock.
func (g *Gate) Hold(epoch int64, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if epoch < g.epoch || !until.After(g.until) {
		return
	}
	g.epoch, g.until = epoch, until
	g.breaker = g.openBreaker(time.Until(until))
}

// Probe allows one call of the endpoint, whatever the gate's state: Redis gave it the
// lease. For other calls the gate does not change: the probe's verdict goes to Redis, and
// [Gate.Release] or [Gate.Hold] brings it here. done is as in [Gate.Allow].
func (g *Gate) Probe(epoch int64, endpoint string) (done func(Result) Outage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.epoch = max(g.epoch, epoch)
	return func(r Result) Outage {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.endpoints.count(endpoint, r)
		return Outage{}
	}
}

// openBreaker returns a breaker that is open for d and then half-open.
func (g *Gate) openBreaker(d time.Duration) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	b := g.closedBreaker(d)
	if done, err := b.Allow(); err == nil {
		done(errTripped)
	}
	return b
}

// Allow asks whether one call of the endpoint may be sent. If so, the caller must call
// done exactly once with the call's result; done returns the outage that this result has
// revealed, if any. Otherwise done is nil, and wait is how long the gate stays shut.
func (g *Gate) Allow(endpoint string) (done func(Result) Outage, wait time.Duration) {
	g.mu.Lock()
	breaker := g.breaker
	until := g.until
	g.mu.Unlock()
	report, err := breaker.Allow()
	if err != nil {
		return nil, max(time.Until(until), time.Second)
	}
	return func(r Result) Outage {
		before := breaker.State()
		report(r.err())
		tripped := r == Failed && before == gobreaker.StateClosed && breaker.State() == gobreaker.StateOpen
		g.mu.Lock()
		defer g.mu.Unlock()
		g.endpoints.count(endpoint, r)
		if r != Failed {
			return Outage{}
		}
		outage := g.endpoints.locate(endpoint, tripped)
		if tripped && !outage.Account && g.breaker == breaker {
			g.breaker = g.closedBreaker(time.Minute) // other endpoints continue
		}
		return outage
	}, 0
}

// GoodAt returns when this process last got a good answer to a call of the endpoint; zero
// for never.
func (g *Gate) GoodAt(endpoint string) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.endpoints.tallies[endpoint]; t != nil {
		return t.goodAt
	}
	return time.Time{}
}

func (r Result) err() error {
	switch r {
	case Healthy:
		return nil
	case Failed:
		return errFailed
	case Tripped:
		return errTripped
	default:
		return errNeutral
	}
}
