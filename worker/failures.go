package worker

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// AttemptFailed is the message of the log's records about attempts that failed, for
// handlers that treat them in another way than the rest.
const AttemptFailed = "an attempt failed"

// failedUnsent is the message about calls that end without an attempt.
const failedUnsent = "a call failed for good and is not sent"

const (
	// failuresInFull is how many failures of one kind are logged one by one; the others
	// are counted, and every repeatsEvery one line says how many there were.
	failuresInFull = 3
	repeatsEvery   = time.Minute
	// maxFailureKinds is how many kinds are told apart. An API can have any number of codes.
	maxFailureKinds = 1000
)

// failureKind is what lines have in common that count as the same line.
type failureKind struct{ message, upstream, class, code, rule, action string }

// compare orders kinds, so that lines that are due together always have the same order.
func (k failureKind) compare(other failureKind) int {
	return cmp.Or(cmp.Compare(k.upstream, other.upstream), cmp.Compare(k.class, other.class), cmp.Compare(k.code, other.code),
		cmp.Compare(k.rule, other.rule), cmp.Compare(k.action, other.action), cmp.Compare(k.message, other.message))
}

// failure is a failed attempt, or a call that ends without one, as the log has it.
type failure struct {
	failureKind
	level                      slog.Level
	call, batch, key, endpoint string
	attempt, status            int
	code                       string // as the API wrote it
	text                       string // the API's message, or why there is no answer
	transport, correlationID   string
	advice                     string
	traceID, spanID            string // of the span; empty without traces
	// next is when the next attempt is due, wait for how long the call waits; zero where
	// neither is known.
	next time.Time
	wait time.Duration
}

// failures logs failures, and limits the repeats of the same line. It is safe for
// concurrent use.
type failures struct {
	log *slog.Logger
	// least is the lowest level that is logged, whatever the logger's own is.
	least slog.Level

	mu    sync.Mutex
	kinds map[failureKind]*repeats
}

// repeats counts the failures of one kind.
type repeats struct {
	logged int
	// more counts those since the last line, last is the latest of them.
	more int
	last failure
	// active reports that there was one since the last tick.
	active bool
}

func newFailures(log *slog.Logger, least slog.Level) *failures {
	return &failures{log: log, least: least, kinds: map[failureKind]*repeats{}}
}

// enabled reports whether failures of the level are logged.
func (f *failures) enabled(ctx context.Context, level slog.Level) bool {
	return level >= f.least && f.log.Enabled(ctx, level)
}

// note logs a failure, or counts it if its kind was logged often enough.
func (f *failures) note(ctx context.Context, one failure) {
	if f.pass(&one) {
		f.write(ctx, one, 0)
	}
}

// pass reports whether the failure is logged in full.
func (f *failures) pass(one *failure) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.kinds[one.failureKind]
	if r == nil && len(f.kinds) >= maxFailureKinds {
		// The kinds that are left over share a line.
		one.failureKind.code, one.failureKind.rule = "", ""
		r = f.kinds[one.failureKind]
	}
	if r == nil {
		r = &repeats{}
		f.kinds[one.failureKind] = r
	}
	r.active = true
	if r.logged < failuresInFull {
		r.logged++
		return true
	}
	r.more++
	r.last = *one
	return false
}

// run logs how often lines were repeated, until ctx ends. flush must follow.
func (f *failures) run(ctx context.Context) { every(ctx, repeatsEvery, func() { f.flush(ctx) }) }

// flush logs the counts of the repeats. A kind without failures since the last flush begins
// anew.
func (f *failures) flush(ctx context.Context) {
	type line struct {
		failure
		more int
	}
	var lines []line
	f.mu.Lock()
	for kind, r := range f.kinds {
		if r.more > 0 {
			lines = append(lines, line{r.last, r.more})
		}
		if !r.active {
			delete(f.kinds, kind)
			continue
		}
		r.more, r.last, r.active = 0, failure{}, false
	}
	f.mu.Unlock()
	slices.SortFunc(lines, func(a, b line) int { return a.compare(b.failureKind) })
	for _, l := range lines {
		f.write(ctx, l.failure, l.more)
	}
}

// write logs one line. repeated, unless it is 0, is how many failures of the kind there
// were since the line before; the last of them is shown.
func (f *failures) write(ctx context.Context, one failure, repeated int) {
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs, slog.String("upstream", one.upstream), slog.String("call", one.call), slog.String("batch", one.batch),
		slog.String("key", one.key), slog.Int("attempt", one.attempt), slog.String("action", one.action), slog.String("class", one.class),
		slog.String("rule", one.rule), slog.String("error_code", one.code), slog.String("error_message", one.text),
		slog.String("correlation_id", one.correlationID))
	for _, extra := range []struct{ name, value string }{{"endpoint", one.endpoint}, {"transport", one.transport}, {"advice", one.advice}, {"trace_id", one.traceID}, {"span_id", one.spanID}} {
		if extra.value != "" {
			attrs = append(attrs, slog.String(extra.name, extra.value))
		}
	}
	if one.status != 0 {
		attrs = append(attrs, slog.Int("status", one.status))
	}
	if !one.next.IsZero() {
		attrs = append(attrs, slog.String("next", one.next.UTC().Format(time.RFC3339)))
	}
	if one.wait > 0 {
		attrs = append(attrs, slog.Duration("wait", one.wait.Round(time.Millisecond)))
	}
	if repeated > 0 {
		attrs = append(attrs, slog.Int("repeated", repeated))
	}
	f.log.LogAttrs(ctx, one.level, one.message, attrs...)
}

// logAttempt writes the log lines of an attempt: one at debug level, and one if it failed.
func (w *Worker) logAttempt(ctx context.Context, inflight *inflightCall, a attempted, d policy.Decision, s ledger.State) {
	delivery := inflight.delivery
	if w.log.Enabled(ctx, slog.LevelDebug) {
		w.log.DebugContext(ctx, "attempt", "call", delivery.ID, "batch", delivery.Batch, "key", delivery.Key, "upstream", inflight.account.name,
			"endpoint", inflight.endpoint, "action", string(d.Action), "class", string(d.Class), "rule", d.Rule, "status", statusOf(a),
			"error_code", codeOf(a.Outcome), "transport", string(a.Outcome.Transport), "correlation_id", a.Outcome.CorrelationID,
			"attempt", a.number, "latency", a.Latency)
	}
	if d.Action == policy.ActionSucceed || a.unsent {
		return
	}
	level := slog.LevelInfo
	if s == ledger.Dead {
		level = slog.LevelWarn
	}
	if !w.failures.enabled(ctx, level) {
		return
	}
	one := failure{
		failureKind: failureKind{AttemptFailed, inflight.account.name, string(d.Class), codeOf(a.Outcome), d.Rule, string(d.Action)},
		level:       level,
		call:        delivery.ID, batch: delivery.Batch, key: delivery.Key, endpoint: inflight.endpoint, attempt: a.number,
		status: statusOf(a), code: codeOf(a.Outcome), text: messageOf(a), transport: string(a.Outcome.Transport),
		correlationID: a.Outcome.CorrelationID, next: a.next, wait: a.wait,
	}
	one.traceID, one.spanID = w.tracer.ids(ctx)
	if s != "" {
		one.advice = strings.TrimSpace(d.Advice + " " + a.Advice)
	}
	w.failures.note(ctx, one)
}

// logUnsent logs a call that ends as a dead letter without an attempt. inflight is nil if
// the call could not be read.
func (w *Worker) logUnsent(ctx context.Context, delivery *ledger.Delivery, inflight *inflightCall, e ledger.Ending) {
	if !w.failures.enabled(ctx, slog.LevelWarn) {
		return
	}
	one := failure{
		failureKind: failureKind{failedUnsent, tasks.UpstreamOf(delivery.Queue), e.Class, e.Code, e.Rule, string(policy.ActionDeadLetter)},
		level:       slog.LevelWarn,
		call:        delivery.ID, batch: delivery.Batch, key: delivery.Key, attempt: delivery.Attempts,
		status: e.HTTPStatus, code: e.Code, text: e.Message, correlationID: e.CorrelationID, advice: e.Advice,
	}
	if inflight != nil {
		one.endpoint = inflight.endpoint
	}
	w.failures.note(ctx, one)
}
