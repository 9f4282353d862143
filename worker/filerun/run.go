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
// When ctx ends Run drains: no new call starts, those on their way end and are written,
// and the error is [ErrInterrupted]. A later run goes on from there.
//
// An [InputError] says that nothing was begun. A [StorageError], a [StuckError] and what
// Redis says end a run that had begun. That calls are dead or dropped, and that lines
// were refused, is not an error: the Summary counts them.
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
	return r.summary(resumed, len(prev.gone), time.Since(begin)), err
}

// open reads the input and what previous runs left, and changes nothing.
func (r *runner) open() (prev *previousRun, err error) {
	in := r.cfg.In
	if r.plan, err = planOf(in, r.rules, r.cfg.First); err != nil {
		return nil, err
	}
	r.tell(Planned{Calls: r.plan.accepted, Refused: r.plan.refused, Refusals: r.plan.refusals})
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

// consultRedis connects where a call is open, or has failed: somebody may have redriven
// it since.
func (r *runner) consultRedis(ctx context.Context, prev *previousRun) (*previousRun, error) {
	if r.plan.open() == 0 && len(prev.failed) == 0 {
		return prev, nil
	}
	err := r.connect(ctx)
	if err == nil {
		prev, err = r.renew(ctx, prev)
	}
	var wrong *InputError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ErrInterrupted
	case r.plan.open() > 0, errors.As(err, &wrong):
		return nil, err
	default:
		r.tell(RedriveUnknown{Err: err})
		r.unasked = true
	}
	return prev, nil
}

// takeOver makes the results file, and the journal beside it, those of this run.
func (r *runner) takeOver(prev *previousRun) error {
	now := r.urls
	if !r.cfg.SameAPI {
		now = nil
	}
	if err := r.out.resume(prev.previousResults, now); err != nil {
		return err
	}
	if n := len(prev.gone); n > 0 {
		r.tell(ResultsReplaced{Results: n, File: r.out.replaced()})
	}
	// The notes of calls that have a result go only once that is safe.
	if err := r.out.sync(); err != nil {
		return err
	}
	if err := r.journal.rewrite(); err != nil {
		return err
	}
	if prev.doubtful > 0 {
		r.tell(DoubtfulRepeated{Calls: prev.doubtful})
	}
	return nil
}

// work makes the calls, with what is around them.
func (r *runner) work(ctx context.Context, resumed int) error {
	r.journal.must = r.back.Volatile
	r.written = resumed
	r.tell(Started{Calls: r.plan.accepted, Ended: resumed, Continue: r.continues()})
	var names []string
	concurrency := map[string]int{}
	for _, u := range r.cfg.Worker.Upstreams {
		names = append(names, u.Name)
		concurrency[u.Name] = u.Concurrency
		if u.Concurrency == 0 {
			concurrency[u.Name] = worker.DefaultUpstreamConcurrency
		}
	}
	r.watch = &waiting.CircuitWatcher{Circuits: r.back.circuits, Upstreams: names, Patience: r.cfg.Patience, Report: r.tellChange}
	r.reporter = &waiting.Reporter{
		Redis: r.back.Redis, HasWatcher: true, Report: r.tellWait,
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

// requestProbes has the probe go out at once where a previous run left a circuit open
// for a person: whoever runs again has fixed what it is about, or wants to know.
func (r *runner) requestProbes(ctx context.Context, upstreams []string) error {
	records, err := r.back.circuits.Watch(ctx, upstreams)
	if err != nil {
		return err
	}
	for _, record := range records {
		ended, err := r.back.circuits.EndHold(ctx, record)
		if err != nil {
			return err
		}
		if ended {
			r.tell(ProbeRequested{Circuit: record.Name.String(), Why: waiting.AnswerText(record)})
		}
	}
	return nil
}

// continues says how a run goes on that does not finish.
func (r *runner) continues() Continue {
	switch {
	case r.out.file != nil:
		return ContinueFromResults
	case r.back != nil && !r.back.Volatile:
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

func (r *runner) tell(e Event) { r.cfg.OnEvent(e) }

func (r *runner) tellChange(c waiting.Change) {
	r.tell(CircuitChanged{
		Change: CircuitChange(c.Kind), Circuit: c.Circuit.String(), Until: c.Until,
		Reason: c.Reason, Why: c.Why, Rule: c.Rule, Waiting: c.Waiting,
	})
}

func (r *runner) tellWait(why waiting.Reason, over bool, now time.Time) {
	text := why.Text(now)
	if over {
		text = why.Over()
	}
	r.tell(CallsWait{Kind: string(why.Kind), Name: why.Name, Calls: why.Calls, Over: over, Text: text})
}
