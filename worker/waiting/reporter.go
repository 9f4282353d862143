package waiting

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// readEvery is how often a Reporter reads why calls wait.
	readEvery = 3 * time.Second
	// reportAfter is how long a reason must last before it is reported, and
	// reportAfterWatcher the same for reasons that a CircuitWatcher reports too.
	reportAfter        = 2 * time.Second
	reportAfterWatcher = 8 * time.Second
	// minWait is the shortest wait that is reported: a shorter one is over before a
	// person has read about it.
	minWait = 5 * time.Second
)

// Reporter reads at intervals why calls wait. It reports each reason twice: when it has
// lasted for a while, and when it is over. It is not safe for concurrent use.
type Reporter struct {
	Redis redis.UniversalClient
	Query Query
	// Report is called for each new reason, and again with over set when the reason is
	// over. now is Redis's clock.
	Report func(r Reason, over bool, now time.Time)
	// HasWatcher is set where a [CircuitWatcher] runs too, which reports circuits and
	// limits at once.
	HasWatcher bool

	readAt  time.Time
	reasons []Reason
	now     time.Time // Redis's clock when the reasons were read
	tracked map[reasonKey]*trackedReason
}

// reasonKey identifies a reason while its numbers change.
type reasonKey struct {
	kind Kind
	name string
}

// trackedReason is a reason that was there at the last update.
type trackedReason struct {
	since    time.Time // by this machine's clock
	reported bool
	last     Reason
	seen     bool
}

// Poll reads why calls wait and reports what is new. It does nothing if the last read
// was less than readEvery ago.
func (p *Reporter) Poll(ctx context.Context, now time.Time) {
	if now.Sub(p.readAt) < readEvery {
		return
	}
	p.readAt = now
	facts, err := Read(ctx, p.Redis, p.Query)
	if err != nil {
		return // the code that makes the calls gets the same error and reports it
	}
	p.Update(facts, now)
}

// Read reads why calls wait and reports nothing; see [Reporter.Reasons].
func (p *Reporter) Read(ctx context.Context) error {
	facts, err := Read(ctx, p.Redis, p.Query)
	if err == nil {
		p.decide(facts)
	}
	return err
}

// Reasons returns the reasons that were read last, with Redis's clock at that time.
func (p *Reporter) Reasons() ([]Reason, time.Time) { return p.reasons, p.now }

func (p *Reporter) decide(facts Facts) { p.reasons, p.now = Decide(facts), facts.Now }

// Update decides on the reasons from facts and reports what is new. now is this
// machine's clock.
func (p *Reporter) Update(facts Facts, now time.Time) {
	if p.tracked == nil {
		p.tracked = map[reasonKey]*trackedReason{}
	}
	p.decide(facts)
	for _, t := range p.tracked {
		t.seen = false
	}
	for _, r := range p.reasons {
		key := reasonKey{r.Kind, r.Name}
		t := p.tracked[key]
		if t == nil {
			t = &trackedReason{since: now}
			p.tracked[key] = t
		}
		t.last, t.seen = r, true
		if !t.reported && now.Sub(t.since) >= p.delay(r) && worthReporting(r, facts.Now) {
			t.reported = true
			p.Report(r, false, facts.Now)
		}
	}
	for key, t := range p.tracked {
		if t.seen {
			continue
		}
		delete(p.tracked, key)
		if t.reported && !p.watcherReports(key.kind) {
			p.Report(t.last, true, facts.Now)
		}
	}
}

// delay is how long a reason must last before it is reported.
func (p *Reporter) delay(r Reason) time.Duration {
	switch {
	case r.Kind == NoWorker && !p.Query.Here:
		return 0
	case p.watcherReports(r.Kind):
		return reportAfterWatcher
	}
	return reportAfter
}

// watcherReports reports whether the CircuitWatcher reports such reasons.
func (p *Reporter) watcherReports(kind Kind) bool {
	switch kind {
	case Hold, Probe, Unreachable, Endpoint, Limit, Budget:
		return p.HasWatcher
	}
	return false
}

// worthReporting reports whether a reason matters to a person. One that is over at once
// does not, and neither does the backoff of a few calls while others are made.
func worthReporting(r Reason, now time.Time) bool {
	switch r.Kind {
	case Concurrency:
		return false
	case Backoff:
		return !r.Some && r.LongerThan(now, minWait)
	}
	return r.LongerThan(now, minWait)
}

// Brief says in few words what the calls wait for, where none of them is made, or some
// only much later. It is empty while calls are made. idle reports that no call has ended
// for a while.
func (p *Reporter) Brief(idle bool) string {
	for _, r := range p.reasons {
		if worthReporting(r, p.now) && (!r.Some || r.Kind == NotBefore) || idle && r.Kind == Concurrency {
			return r.Brief(p.now)
		}
	}
	return ""
}
