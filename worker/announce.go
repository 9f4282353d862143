package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// mostCauses is how many causes of dead letters are remembered as announced.
const mostCauses = 1000

// announcements logs at info level what matters to a person: accounts that are held, those
// that are released, and each new cause of dead letters once.
type announcements struct {
	log *slog.Logger

	mu     sync.Mutex
	causes map[cause]bool
}

// cause is what dead letters of the same cause have in common.
type cause struct {
	upstream, class, code, rule string
	status                      int
}

// newAnnouncements returns announcements to the configured logger. If there is none, the
// first announcement goes to [slog.Default], so that a worker that makes no calls is not
// silent.
func newAnnouncements(logger *slog.Logger, redactor *Redactor) *announcements {
	if logger == nil {
		logger = slog.New(&firstOnly{})
	}
	return &announcements{log: slog.New(redactor.Handler(logger.Handler())), causes: map[cause]bool{}}
}

// enabled reports whether the logger logs announcements.
func (a *announcements) enabled(ctx context.Context) bool { return a.log.Enabled(ctx, slog.LevelInfo) }

// changed announces a change of a circuit.
func (a *announcements) changed(ctx context.Context, c waiting.Change) {
	if c.Kind == waiting.ChangeFlowing {
		a.log.InfoContext(ctx, "calls start again", "circuit", c.Circuit.String())
		return
	}
	args := []any{"circuit", c.Circuit.String(), "until", c.Until.UTC().Format(time.RFC3339)}
	for _, one := range []struct{ name, value string }{{"reason", c.Reason}, {"limit", c.Rule}, {"why", c.Why}} {
		if one.value != "" {
			args = append(args, one.name, one.value)
		}
	}
	if c.Waiting > 0 {
		args = append(args, "waiting", c.Waiting)
	}
	a.log.InfoContext(ctx, "calls are paused", args...)
}

// died announces a dead letter, if its cause is new.
func (a *announcements) died(ctx context.Context, upstream, id, key string, e ledger.Ending) {
	if !a.enabled(ctx) || !a.isNew(cause{upstream: upstream, class: e.Class, code: e.Code, rule: e.Rule, status: e.HTTPStatus}) {
		return
	}
	a.log.InfoContext(ctx, "a call failed for good, for a new cause", "upstream", upstream, "call", id, "key", key, "class", e.Class,
		"code", e.Code, "message", e.Message, "correlation_id", e.CorrelationID, "rule", e.Rule, "attempts", e.Attempts, "next", e.Advice)
}

// isNew reports whether a cause appears for the first time, and remembers it. After
// mostCauses causes it returns false for every cause.
func (a *announcements) isNew(c cause) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.causes[c] || len(a.causes) >= mostCauses {
		return false
	}
	a.causes[c] = true
	return true
}

// announce follows the circuits and announces their changes, until ctx ends.
func (w *Worker) announce(ctx context.Context) {
	if !w.news.enabled(ctx) {
		return
	}
	watch := &waiting.CircuitWatcher{
		Circuits: w.circuits, Upstreams: slices.Sorted(maps.Keys(w.accounts)),
		Report: func(c waiting.Change) { w.news.changed(ctx, c) },
	}
	every(ctx, refreshEvery, func() {
		if w.news.enabled(ctx) {
			_ = watch.Poll(ctx) // without Patience it returns no error
		}
	})
}

// firstOnly is a handler that passes only the first record to slog.Default, and adds how
// to get the others.
type firstOnly struct {
	mu     sync.Mutex
	passed bool
}

func (f *firstOnly) Enabled(_ context.Context, level slog.Level) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.passed && level >= slog.LevelInfo
}

func (f *firstOnly) Handle(ctx context.Context, r slog.Record) error {
	f.mu.Lock()
	passed := f.passed
	f.passed = true
	f.mu.Unlock()
	if passed {
		return nil
	}
	r.AddAttrs(slog.String("more", "set worker.Config.Logger to see what follows"))
	// slog.Default may be set to show warnings only.
	r.Level = slog.LevelWarn
	return slog.Default().Handler().Handle(ctx, r)
}

func (f *firstOnly) WithAttrs([]slog.Attr) slog.Handler { return f }
func (f *firstOnly) WithGroup(string) slog.Handler      { return f }
