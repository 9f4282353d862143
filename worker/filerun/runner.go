package filerun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/baseurl"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

const (
	// flushFor is how long a run waits at its end until its events were delivered.
	flushFor = 10 * time.Second
	// collectEvery is the time between two collections of ended calls.
	collectEvery = 200 * time.Millisecond
	// syncEvery is the time between two syncs of the results file.
	syncEvery = 5 * time.Second
	// watchEvery is the time between two polls of the circuits.
	watchEvery = time.Second
	// awayFor is how long Redis may be unavailable before the run ends.
	awayFor = 2 * time.Minute
)

// runner makes the calls of one input: it sends them to the queue, runs a worker in this
// process, and writes their results.
//
// The batch is named after the input, so that a later run finds the calls of this one in
// Redis: a call that is still open is not sent twice, and a call that has ended gives its
// result without being made again. In a batch, a key always has the same content, but a
// line may be changed between runs. A changed line goes to a successor of the batch
// (NAME.2, NAME.3, …): the first one in which its key is unused or has the same content.
type runner struct {
	cfg   Config
	log   *slog.Logger
	redo  map[tasks.State]bool
	rules tasks.Rules
	// urls are the base URLs of the upstreams.
	urls    baseurl.Set
	plan    *plan
	out     *resultsFile
	journal *journal
	tally   *Tally
	backend *backend
	// redisSkipped reports that Redis is unavailable and not needed.
	redisSkipped bool
	watcher      *waiting.CircuitWatcher
	reporter     *waiting.Reporter
	stall        stall

	// replaced has the times at which the calls to make again ended before; see
	// mustRepeat.
	replaced map[string][]time.Time
	// batches is the number of batches of the input in use, and others are the batches of
	// other inputs; see adopt.
	batches atomic.Int64
	others  []string
	cursors map[int]*ledger.Cursor
	// exported are the results whose bodies may be freed after the next sync of the
	// results file.
	exported []exported
	// unsyncedLarge is the number of bytes of large results since the last sync.
	unsyncedLarge int
	// tracksSmall reports that Redis is so full that small bodies may have to be freed.
	tracksSmall bool
	room        *room
	synced      time.Time
	endedBefore int // number of calls that had ended before this run
	// written is the number of calls with a result in the results file.
	written int
	// unsynced are the calls whose results were added since the last sync.
	unsynced []callID
	// watermarks separate the calls of each batch that had ended before this run. known
	// counts their results, for which no call was made.
	watermarks map[int]ledger.Watermark
	known      int
	// bodiless counts results whose bodies were freed from Redis after an earlier export.
	bodiless int
	// lastOpen is the number of open calls at the last poll, lastChange when it changed.
	lastOpen   int
	lastChange time.Time
	lastEnding *lastEnding
}

func newRunner(cfg Config) *runner {
	r := &runner{cfg: cfg, redo: cfg.redo(), urls: cfg.baseURLs(), rules: worker.CallRules(cfg.Worker.Upstreams), tally: &Tally{}, lastEnding: newLastEnding()}
	if r.log = cfg.Worker.Logger; r.log == nil {
		r.log = slog.New(slog.DiscardHandler) // the worker sets its own default
	}
	r.room = newRoom(min(roomInRedis, cfg.Worker.MaxMemory))
	return r
}

// run makes the calls. It returns when every call has ended, when ctx has ended and the
// worker has drained, or when an error stops it. Then the results of all ended calls are
// in the results file.
func (r *runner) run(ctx context.Context) error {
	w, err := worker.New(r.workerConfig())
	if err != nil {
		return err
	}
	if err := r.reportOthers(ctx); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	worked, sent := make(chan error, 1), make(chan error, 1)
	go func() { worked <- w.Run(working) }()
	go func() { sent <- r.submit(working) }()

	ended := r.follow(ctx, &worked, &sent)
	if ended == nil && worked != nil {
		r.deliverEvents(ctx, w)
	}
	stop()
	var errs []error
	if worked != nil {
		errs = append(errs, r.drain(ctx, worked, ended != nil))
	}
	if sent != nil {
		if err := <-sent; !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	// Collect what ended while the worker drained or Redis failed. A disk that was full
	// may have space by now.
	last := context.WithoutCancel(ctx)
	errs = append(errs, r.collect(last), r.sync(last))
	r.reportProgress()
	if r.backend.Volatile && len(r.out.pending) > 0 {
		errs = append(errs, r.out.rescue())
	}
	return joinDistinct(append([]error{ended}, errs...))
}

// deliverEvents waits until the events of the run, such as the end of its batch, were delivered.
func (r *runner) deliverEvents(ctx context.Context, w *worker.Worker) {
	ctx, cancel := context.WithTimeout(ctx, flushFor)
	defer cancel()
	err := w.Flush(ctx)
	switch {
	case err == nil || errors.Is(err, context.Canceled):
	case r.backend.Volatile:
		r.log.Warn("some notifications were not delivered and are lost with this process", "waited", flushFor)
	default:
		r.log.Warn("some notifications are not delivered yet; callq work, or the next run, delivers them", "waited", flushFor)
	}
}

// prepare changes Redis to match the plan before anything is sent.
func (r *runner) prepare(ctx context.Context) error {
	r.endedBefore, r.synced = r.plan.accepted-r.plan.open(), time.Now()
	// Delete results past their retention now, so that nothing that this run has found is
	// deleted during the run.
	if _, err := r.backend.ledger.Sweep(ctx, time.Now(), r.cfg.Worker.Retention); err != nil {
		r.log.Warn("cannot delete results past their retention", "error", r.backend.explain(err))
	}
	if err := r.adopt(ctx); err != nil {
		return err
	}
	if err := r.reconcile(ctx); err != nil {
		return err
	}
	return r.clearKnownSends(ctx)
}

func (r *runner) workerConfig() worker.Config {
	cfg := r.cfg.Worker
	cfg.Redis, cfg.Journal, cfg.OnLarge = r.backend.Redis, r.journal, r.onLarge
	onAttempt := cfg.OnAttempt
	cfg.OnAttempt = func(e worker.AttemptResult) {
		r.stall.record(e)
		if e.State != "" {
			r.lastEnding.note()
		}
		if onAttempt != nil {
			onAttempt(e)
		}
	}
	return cfg
}

// drain waits until the worker has drained. Meanwhile it writes results: large ones need
// the room of those that are not written yet. failed reports that results can no longer be
// written.
func (r *runner) drain(ctx context.Context, worked <-chan error, failed bool) error {
	ctx = context.WithoutCancel(ctx)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		if failed {
			r.room.disable()
		}
		select {
		case err := <-worked:
			return err
		case <-tick.C:
		}
		if !failed {
			failed = r.collect(ctx) != nil || r.unsyncedLarge > 0 && r.sync(ctx) != nil
			r.reportProgress()
		}
	}
}

// joinDistinct joins errors without those whose text is a repetition.
func joinDistinct(errs []error) error {
	seen := map[string]bool{}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		if err == nil || seen[err.Error()] {
			return true
		}
		seen[err.Error()] = true
		return false
	})...)
}

// followState is the state of [runner.follow].
type followState struct {
	answered, watched time.Time // when Redis answered last, when the circuits were polled
	idle              int       // how often no call was open in Redis
	knownReported     bool      // whether KnownResults was reported
}

// follow writes results until all calls have ended or something stops it. It sets the
// channels that it has read to nil.
func (r *runner) follow(ctx context.Context, worked, sent *chan error) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	f := followState{answered: time.Now()}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-*worked:
			*worked = nil
			if err == nil && ctx.Err() != nil {
				return nil // it has drained since
			}
			return errors.Join(err, ErrWorkerEnded)
		case err := <-*sent:
			*sent = nil
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if n := r.plan.unsent(); n > 0 {
				return fmt.Errorf("%w: %s, calls that are missing: %d", ErrInputChanged, r.cfg.In.name, n)
			}
		case <-r.lastEnding.noted:
		case <-tick.C:
		}
		if ended, err := r.step(ctx, &f, *sent == nil); ended || err != nil {
			return err
		}
	}
}

// step writes the results of ended calls, and checks Redis and the circuits. allSent
// reports that every call was sent.
func (r *runner) step(ctx context.Context, f *followState, allSent bool) (ended bool, err error) {
	if err := r.journal.failure(); err != nil {
		return false, err
	}
	err = r.collect(ctx)
	if err == nil {
		r.reportProgress()
		if time.Since(r.synced) >= syncEvery {
			err = r.sync(ctx)
		}
	}
	if storage := (*StorageError)(nil); errors.As(err, &storage) {
		return false, err
	}
	now := time.Now()
	if err != nil && ctx.Err() == nil {
		r.log.Debug("reading the results failed", "error", err)
		if now.Sub(f.answered) > awayFor {
			return false, err
		}
		return false, nil
	}
	f.answered = now
	r.lastEnding.await(r.plan.open())
	if allSent && !f.knownReported {
		f.knownReported = true
		r.reportKnown()
	}
	if allSent && r.plan.open() == 0 {
		return true, nil
	}
	if now.Sub(f.watched) < watchEvery {
		return false, nil
	}
	f.watched = now
	if err := r.reportWaiting(ctx, now); err != nil || !allSent {
		return false, err
	}
	return false, r.checkGone(ctx, f)
}

// reportWaiting reports why calls wait.
func (r *runner) reportWaiting(ctx context.Context, now time.Time) error {
	if err := r.watcher.Poll(ctx); err != nil {
		return err
	}
	r.reporter.Query.Batches = r.reporter.Query.Batches[:0]
	for _, i := range r.inUse() {
		r.reporter.Query.Batches = append(r.reporter.Query.Batches, r.batch(i))
	}
	r.reporter.Poll(ctx, now)
	if open := r.plan.open(); open != r.lastOpen {
		r.lastOpen, r.lastChange = open, now
	}
	r.emit(Waiting{Brief: cmp.Or(r.watcher.Held(), r.reporter.Brief(now.Sub(r.lastChange) > stalledFor))})
	if stalled, ok := r.stall.check(now); ok && r.watcher.Held() == "" {
		r.emit(stalled)
	}
	return nil
}

// checkGone returns an error if no call is open in Redis while results are missing, as
// after Redis was emptied.
func (r *runner) checkGone(ctx context.Context, f *followState) error {
	for _, i := range r.inUse() {
		b, err := r.backend.ledger.Batch(ctx, r.batch(i))
		if err == nil && b.Counts.Open > 0 || err != nil && !errors.Is(err, ledger.ErrNoBatch) {
			f.idle = 0
			return nil
		}
	}
	if f.idle++; f.idle < 5 || r.plan.open() == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d", ErrCallsGone, r.plan.open())
}

func (r *runner) reportProgress() {
	r.emit(Progress{
		Calls: r.plan.accepted, Ended: r.plan.accepted - r.plan.open(), Written: r.written, NotMade: r.endedBefore + r.known,
		Dead: r.tally.Count(tasks.StateDead), Dropped: r.tally.Count(tasks.StateDropped), Cancelled: r.tally.Count(tasks.StateCancelled),
	})
}

// reportOthers reports that calls may wait for a while because other processes hold
// them.
func (r *runner) reportOthers(ctx context.Context) error {
	var queues []string
	for _, u := range r.cfg.Worker.Upstreams {
		queues = append(queues, tasks.Queues(u.Name)...)
	}
	n, err := ledger.NewLeases(r.backend.Redis).Count(ctx, time.Now(), queues...)
	if err == nil && n > 0 {
		r.emit(UnderWayElsewhere{Calls: int(n)})
	}
	return err
}

// reportKnown reports that results come from Redis, because it looks as if their calls had
// been made.
func (r *runner) reportKnown() {
	if r.known > 0 {
		r.emit(KnownResults{Results: r.known, Bodiless: r.bodiless, Resumed: r.endedBefore > 0})
	}
}

// stuckError converts the error of a watcher to the exported type.
func stuckError(e *waiting.StuckError) error {
	return &StuckError{Circuit: e.Record.Name.String(), Class: policy.Class(e.Record.Class), Why: waiting.AnswerText(e.Record), Patience: e.Patience}
}
