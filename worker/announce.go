package worker

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/worker/waiting"
)

// announcements logs at info level the accounts that are held, and those that are released.
type announcements struct{ log *slog.Logger }

// newsOf returns what logs announcements and failures. Without a configured logger, the
// first announcement or dead letter goes to [slog.Default], so that a worker that makes no
// calls is not silent.
func newsOf(logger *slog.Logger, redactor *Redactor) (*announcements, *failures) {
	least := slog.LevelDebug
	if logger == nil {
		logger, least = slog.New(&firstOnly{}), slog.LevelWarn
	}
	log := slog.New(redactor.Handler(logger.Handler()))
	return &announcements{log}, newFailures(log, least)
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
