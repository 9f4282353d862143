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
	// Neutral says nothing about the account: the call did not go out, or what it
	// met is no matter of the circuit.
	Neutral Result = iota
	// Healthy: the server answered.
	Healthy
	// Failed: a transient fault; enough of them trip the breaker.
	Failed
	// Tripped: the account must not be called any more, at once.
	Tripped
)

var (
	errNeutral = errors.New("neutral")
	errFailed  = errors.New("failed")
	errTripped = errors.New("tripped")
)

// Detector sets when a gate takes transient faults for an outage.
type Detector struct {
	// Window is the time that is looked back upon.
	Window time.Duration
	// MinCalls is how many calls it takes to judge.
	MinCalls int
	// Ratio is the share of failed calls that trips, from 0 to 1.
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

// closedBreaker makes a closed breaker that, once tripped, stays open for the time-out.
// gobreaker fixes the time-out at construction, so every hold gets a new one.
func (g *Gate) closedBreaker(timeout time.Duration) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	// Both functions run under the breaker's own lock, the second right after
	// the first, so a plain variable carries the word from one to the other.
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

// Release says that Redis admitted a call in the given epoch with the circuit
// closed. An epoch that is new to the gate ends its hold.
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

// Probe lets one call of the endpoint through, whatever the gate's state: Redis gave
// it the lease. To the others the gate stays as it is until the verdict, which Redis
// knows first and the gate learns from [Gate.Release] or [Gate.Hold]. done is as in
// [Gate.Allow].
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

// openBreaker makes a breaker that is open for d and then half-open.
func (g *Gate) openBreaker(d time.Duration) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	b := g.closedBreaker(d)
	if done, err := b.Allow(); err == nil {
		done(errTripped)
	}
	return b
}

// Allow asks for one call of the endpoint. If it may go out, done must be called
// exactly once with what the call met; done returns the outage that transient faults
// have just become. Otherwise wait says how long the gate stays shut.
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
			g.breaker = g.closedBreaker(time.Minute) // the others go on
		}
		return outage
	}, 0
}

// GoodAt returns when this process last saw a call of the endpoint answered well;
// zero for never.
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
