package waiting

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// askEvery is how often a Teller asks why calls wait.
	askEvery = 3 * time.Second
	// standsFor is for how long a reason stands before it is told, standsForWatched the
	// same for those of which a Watch has told already.
	standsFor        = 2 * time.Second
	standsForWatched = 8 * time.Second
	// tooShort is what is over before one has read of it.
	tooShort = 5 * time.Second
)

// Teller asks at intervals why calls wait, and tells each reason once: when it has
// stood for a while, and when it is over. It is not safe for concurrent use.
type Teller struct {
	Redis redis.UniversalClient
	Query Query
	// Tell is called for each reason that is new, and with over when it has passed. now
	// is Redis's clock.
	Tell func(r Reason, over bool, now time.Time)
	// Watched reports that a [Watch] beside it tells of circuits and limits at once.
	Watched bool

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

// Look asks why calls wait, if it is time to, and tells what is new.
func (t *Teller) Look(ctx context.Context, now time.Time) {
	if now.Sub(t.asked) < askEvery {
		return
	}
	t.asked = now
	facts, err := Read(ctx, t.Redis, t.Query)
	if err != nil {
		return // whoever makes the calls meets the same, and says it
	}
	t.Judge(facts, now)
}

// Ask asks why calls wait, and tells nothing; see [Teller.Reasons].
func (t *Teller) Ask(ctx context.Context) error {
	facts, err := Read(ctx, t.Redis, t.Query)
	if err == nil {
		t.decide(facts)
	}
	return err
}

// Reasons are those that were found last, with Redis's clock at that time.
func (t *Teller) Reasons() ([]Reason, time.Time) { return t.reasons, t.now }

func (t *Teller) decide(facts Facts) { t.reasons, t.now = Decide(facts), facts.Now }

// Judge decides by facts, and tells what is new.
func (t *Teller) Judge(facts Facts, now time.Time) {
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
			t.Tell(r, false, facts.Now)
		}
	}
	for key, k := range t.known {
		if k.seen {
			continue
		}
		delete(t.known, key)
		if k.reported && !t.watchReports(key.kind) {
			t.Tell(k.last, true, facts.Now)
		}
	}
}

// patience is for how long a reason stands before it is told.
func (t *Teller) patience(r Reason) time.Duration {
	switch {
	case r.Kind == NoWorker && !t.Query.Here:
		return 0
	case t.watchReports(r.Kind):
		return standsForWatched
	}
	return standsFor
}

func (t *Teller) watchReports(kind Kind) bool {
	switch kind {
	case Hold, Probe, Unreachable, Endpoint, Limit, Budget:
		return t.Watched
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
		return !r.Some && r.Stands(now, tooShort)
	}
	return r.Stands(now, tooShort)
}

// Brief says in few words what the calls wait for, where none is made or some are
// only made much later; it is empty where calls are made. idle reports that no call has
// ended for a while.
func (t *Teller) Brief(idle bool) string {
	for _, r := range t.reasons {
		if worthReporting(r, t.now) && (!r.Some || r.Kind == NotBefore) || idle && r.Kind == Concurrency {
			return r.Brief(t.now)
		}
	}
	return ""
}
