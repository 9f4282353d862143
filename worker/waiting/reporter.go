package waiting

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// readEvery is how often a Reporter asks why calls wait.
	readEvery = 3 * time.Second
	// reportAfter is for how long a reason stands before it is told, reportAfterWatcher the
	// same for those of which a Watch has told already.
	reportAfter        = 2 * time.Second
	reportAfterWatcher = 8 * time.Second
	// minWait is what is over before one has read of it.
	minWait = 5 * time.Second
)

// Reporter asks at intervals why calls wait, and tells each reason once: when it has
// stood for a while, and when it is over. It is not safe for concurrent use.
type Reporter struct {
	Redis redis.UniversalClient
	Query Query
	// Report is called for each reason that is new, and with over when it has passed. now
	// is Redis's clock.
	Report func(r Reason, over bool, now time.Time)
	// HasWatcher reports that a [CircuitWatcher] beside it tells of circuits and limits at once.
	HasWatcher bool

	asked   time.Time
	reasons []Reason
	now     time.Time // Redis's clock when they were read
	known   map[reasonKey]*knownReason
}

// reasonKey tells reasons apart, whatever their numbers.
type reasonKey struct {
	kind Kind
	name string
}

type knownReason struct {
	since    time.Time // by this machine's clock
	reported bool
	last     Reason
	seen     bool
}

// Poll asks why calls wait, if it is time to, and tells what is new.
func (t *Reporter) Poll(ctx context.Context, now time.Time) {
	if now.Sub(t.asked) < readEvery {
		return
	}
	t.asked = now
	facts, err := Read(ctx, t.Redis, t.Query)
	if err != nil {
		return // whoever makes the calls meets the same, and says it
	}
	t.Update(facts, now)
}

// Read asks why calls wait, and tells nothing; see [Reporter.Reasons].
func (t *Reporter) Read(ctx context.Context) error {
	facts, err := Read(ctx, t.Redis, t.Query)
	if err == nil {
		t.decide(facts)
	}
	return err
}

// Reasons are those that were found last, with Redis's clock at that time.
func (t *Reporter) Reasons() ([]Reason, time.Time) { return t.reasons, t.now }

func (t *Reporter) decide(facts Facts) { t.reasons, t.now = Decide(facts), facts.Now }

// Update decides by facts, and tells what is new.
func (t *Reporter) Update(facts Facts, now time.Time) {
	if t.known == nil {
		t.known = map[reasonKey]*knownReason{}
	}
	t.decide(facts)
	for _, k := range t.known {
		k.seen = false
	}
	for _, r := range t.reasons {
		key := reasonKey{r.Kind, r.Name}
		k := t.known[key]
		if k == nil {
			k = &knownReason{since: now}
			t.known[key] = k
		}
		k.last, k.seen = r, true
		if !k.reported && now.Sub(k.since) >= t.patience(r) && worthReporting(r, facts.Now) {
			k.reported = true
			t.Report(r, false, facts.Now)
		}
	}
	for key, k := range t.known {
		if k.seen {
			continue
		}
		delete(t.known, key)
		if k.reported && !t.watcherReports(key.kind) {
			t.Report(k.last, true, facts.Now)
		}
	}
}

// patience is for how long a reason stands before it is told.
func (t *Reporter) patience(r Reason) time.Duration {
	switch {
	case r.Kind == NoWorker && !t.Query.Here:
		return 0
	case t.watcherReports(r.Kind):
		return reportAfterWatcher
	}
	return reportAfter
}

func (t *Reporter) watcherReports(kind Kind) bool {
	switch kind {
	case Hold, Probe, Unreachable, Endpoint, Limit, Budget:
		return t.HasWatcher
	}
	return false
}

// worthReporting reports whether a person wants to know of a reason: not of one that is
// over at once, nor of that of a few calls while others are made.
func worthReporting(r Reason, now time.Time) bool {
	switch r.Kind {
	case Concurrency:
		return false
	case Backoff:
		return !r.Some && r.LongerThan(now, minWait)
	}
	return r.LongerThan(now, minWait)
}

// Brief says in few words what the calls wait for, where none is made or some are
// only made much later; it is empty where calls are made. idle reports that no call has
// ended for a while.
func (t *Reporter) Brief(idle bool) string {
	for _, r := range t.reasons {
		if worthReporting(r, t.now) && (!r.Some || r.Kind == NotBefore) || idle && r.Kind == Concurrency {
			return r.Brief(t.now)
		}
	}
	return ""
}
