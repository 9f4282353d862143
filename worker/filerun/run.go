package filerun

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// Run makes the calls of an input and writes a result for each, until all have ended.
// Calls with a result in Out are not made again.
//
// When ctx ends, Run drains: no new call starts, the calls in flight end and their results
// are written, and the error is [ErrInterrupted]. A later run continues from there.
//
// An [InputError] means that no call was made. A [StorageError], a [StuckError] or an
// error of Redis may end a run that has made calls. Dead and dropped calls and refused
// lines are not errors: the Summary counts them.
func Run(ctx context.Context, cfg Config) (sum Summary, err error) {
	begin := time.Now()
	if err := cfg.validate(); err != nil {
		return Summary{}, err
	}
	r := newRunner(cfg.withDefaults())
	defer func() {
		if r.out != nil {
			err = errors.Join(err, r.out.close())
		}
	}()
	prev, err := r.open()
	if err != nil {
		return Summary{}, err
	}
	if prev, err = r.consultRedis(ctx, prev); err != nil {
		return Summary{}, err
	}
	r.tally, r.others = prev.tally, prev.others(r.cfg.In.batch)
	if err := r.checkAPIs(ctx, prev); err != nil {
		return Summary{}, err
	}
	if err := r.takeOver(prev); err != nil {
		return Summary{}, err
	}
	resumed := r.plan.accepted - r.plan.open()
	if r.plan.open() > 0 {
		err = r.work(ctx, resumed)
	}
	if err == nil && r.plan.open() > 0 {
		err = ErrInterrupted
	}
	return r.summary(resumed, len(prev.outdated), time.Since(begin)), err
}

// open reads the input and the files of previous runs, and changes nothing.
func (r *runner) open() (prev *previousRun, err error) {
	in := r.cfg.In
	if r.plan, err = planOf(in, r.rules, r.cfg.First); err != nil {
		return nil, err
	}
	r.emit(Planned{Calls: r.plan.accepted, Refused: r.plan.refused, Refusals: r.plan.refusals})
	if err := checkOutput(in, r.cfg.Out); err != nil {
		return nil, err
	}
	if r.out, err = openResults(r.cfg.Out, r.cfg.Writer); err != nil {
		return nil, err
	}
	r.journal = &journal{}
	if r.out.file != nil {
		if r.journal, err = readJournal(r.out.name, r.plan.nameOf); err != nil {
			return nil, err
		}
	}
	r.journal.urls = r.urls
	if err := r.plan.choose(r.cfg.RedoCalls, in.name, r.out); err != nil {
		return nil, err
	}
	return readPrevious(r.out, r.plan, r.journal, r.redo, nil)
}

// consultRedis connects to Redis if a call is open or has failed: a failed call may have
// been redriven.
func (r *runner) consultRedis(ctx context.Context, prev *previousRun) (*previousRun, error) {
	if r.plan.open() == 0 && len(prev.failed) == 0 {
		return prev, nil
	}
	err := r.connect(ctx)
	if err == nil {
		prev, err = r.findRedriven(ctx, prev)
	}
	var inputErr *InputError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ErrInterrupted
	case r.plan.open() > 0, errors.As(err, &inputErr):
		return nil, err
	default:
		r.emit(RedriveUnknown{Err: err})
		r.redisSkipped = true
	}
	return prev, nil
}

// takeOver prepares the results file and the journal beside it for this run.
func (r *runner) takeOver(prev *previousRun) error {
	now := r.urls
	if !r.cfg.SameAPI {
		now = nil
	}
	if err := r.out.resume(prev.previousResults, now); err != nil {
		return err
	}
	if n := len(prev.outdated); n > 0 {
		r.emit(ResultsReplaced{Results: n, File: r.out.replaced()})
	}
	// Remove the calls with a result from the journal only after the results were synced.
	if err := r.out.sync(); err != nil {
		return err
	}
	if err := r.journal.rewrite(); err != nil {
		return err
	}
	if prev.doubtful > 0 {
		r.emit(DoubtfulRepeated{Calls: prev.doubtful})
	}
	return nil
}

// work prepares Redis and makes the calls.
func (r *runner) work(ctx context.Context, resumed int) error {
	r.journal.required = r.backend.Volatile
	r.written = resumed
	r.emit(Started{Calls: r.plan.accepted, Ended: resumed, Continue: r.continues()})
	var names []string
	concurrency := map[string]int{}
	for _, u := range r.cfg.Worker.Upstreams {
		names = append(names, u.Name)
		concurrency[u.Name] = u.Concurrency
		if u.Concurrency == 0 {
			concurrency[u.Name] = worker.DefaultUpstreamConcurrency
		}
	}
	r.watcher = &waiting.CircuitWatcher{Circuits: r.backend.circuits, Upstreams: names, Patience: r.cfg.Patience, Report: r.emitChange}
	r.reporter = &waiting.Reporter{
		Redis: r.backend.Redis, HasWatcher: true, Report: r.emitWait,
		Query: waiting.Query{Configured: concurrency, Here: true, Where: r.cfg.CommandFlags, MaxMemory: r.cfg.Worker.MaxMemory},
	}
	err := r.requestProbes(ctx, names)
	if err == nil {
		err = r.prepare(ctx)
	}
	switch {
	case err == nil:
		err = r.run(ctx)
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		err = nil // interrupted: nothing was sent
	}
	if stuck := (*waiting.StuckError)(nil); errors.As(err, &stuck) {
		err = stuckError(stuck)
	}
	return errors.Join(err, r.journal.close())
}

// requestProbes requests a probe at once for each circuit that a previous run left open
// until a person closes it: the person who runs again has fixed the cause, or wants to
// test it.
func (r *runner) requestProbes(ctx context.Context, upstreams []string) error {
	records, err := r.backend.circuits.Watch(ctx, upstreams)
	if err != nil {
		return err
	}
	for _, record := range records {
		ended, err := r.backend.circuits.EndHold(ctx, record)
		if err != nil {
			return err
		}
		if ended {
			r.emit(ProbeRequested{Circuit: record.Name.String(), Why: waiting.AnswerText(record)})
		}
	}
	return nil
}

// continues returns how the run can be continued if it does not finish.
func (r *runner) continues() Continue {
	switch {
	case r.out.file != nil:
		return ContinueFromResults
	case r.backend != nil && !r.backend.Volatile:
		return ContinueFromRedis
	}
	return ContinueNot
}

func (r *runner) summary(resumed, replaced int, took time.Duration) Summary {
	return Summary{
		Batch: r.cfg.In.batch, Calls: r.plan.accepted, Open: r.plan.open(),
		Done: r.tally.Count(tasks.StateDone), Dead: r.tally.Count(tasks.StateDead),
		Dropped: r.tally.Count(tasks.StateDropped), Cancelled: r.tally.Count(tasks.StateCancelled),
		Resumed: resumed, Known: r.known, Replaced: replaced,
		Refused: r.plan.refused, Duplicates: r.plan.duplicates, Repeats: r.plan.repeats,
		Failures: r.tally.Failures(), Duration: took, Continue: r.continues(),
	}
}

func (r *runner) emit(e Event) { r.cfg.OnEvent(e) }

func (r *runner) emitChange(c waiting.Change) {
	r.emit(CircuitChanged{
		Change: CircuitChange(c.Kind), Circuit: c.Circuit.String(), Until: c.Until,
		Reason: c.Reason, Why: c.Why, Rule: c.Rule, Waiting: c.Waiting,
	})
}

func (r *runner) emitWait(why waiting.Reason, over bool, now time.Time) {
	text := why.Text(now)
	if over {
		text = why.Over()
	}
	r.emit(CallsWait{Kind: string(why.Kind), Name: why.Name, Calls: why.Calls, Over: over, Text: text})
}
