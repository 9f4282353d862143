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
	// collectEvery is how often ended calls are looked for.
	collectEvery = 200 * time.Millisecond
	// syncEvery is how often the results file is made safe from a crash of the
	// machine.
	syncEvery = 5 * time.Second
	// watchEvery is how often circuits are looked at.
	watchEvery = time.Second
	// awayFor is how long Redis may stay away before a run gives up.
	awayFor = 2 * time.Minute
)

// runner takes the calls of one input through the queue in this process: it sends them,
// works, and writes their results.
//
// The batch is named after the input, so that a later run of it finds what this one
// leaves in Redis: a call that is still open is not sent twice, and one that has ended
// gives its result again without being made. A key of a batch stands for one content for
// ever, though a line may be changed between runs. Such a line goes to the batch's
// successor (NAME.2, NAME.3, …), the first one where its key is free or stands for the
// same content.
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
	back    *backend
	// unasked reports that Redis cannot be asked, and need not be.
	unasked  bool
	watch    *waiting.CircuitWatcher
	reporter *waiting.Reporter
	stall    stall

	// replaced tells when the calls that are made again ended before; see repeats.
	replaced map[string][]time.Time
	// batches is how many of the input's batches are in use, and others are those of
	// other inputs; see adopt.
	batches atomic.Int64
	others  []string
	cursors map[int]*ledger.Cursor
	// exported are the results whose bodies may go once the results file is safe, and
	// heavy is how many bytes of large ones were added to it since it was made so.
	// tracks reports that Redis has so much that small ones may have to go too.
	exported []exported
	heavy    int
	tracks   bool
	room     *room
	synced   time.Time
	before   int // calls that had ended before
	// written is how many calls have their results in the results file, unwritten are
	// those that may not be on its disk yet.
	written   int
	unwritten []callID
	// watermarks are how far the batches had ended before, and known counts the results
	// from within them: no call was made for those.
	watermarks map[int]ledger.Watermark
	known      int
	// bodiless counts results whose bodies Redis had let go after an earlier export.
	bodiless int
	// openThen is how many calls were open when that was looked at last, moved when it
	// changed.
	openThen int
	moved    time.Time
}

func newRunner(cfg Config) *runner {
	r := &runner{cfg: cfg, redo: cfg.redo(), urls: cfg.baseURLs(), rules: worker.CallRules(cfg.Worker.Upstreams), tally: &Tally{}}
	if r.log = cfg.Worker.Logger; r.log == nil {
		r.log = slog.New(slog.DiscardHandler) // the worker has a default of its own
	}
	r.room = newRoom(min(roomInRedis, cfg.Worker.MaxMemory))
	return r
}

// run makes the calls. It returns when every call has ended, when ctx is cancelled and
// the worker has drained, or with what stopped it. What has ended is in the results file
// then.
func (r *runner) run(ctx context.Context) error {
	w, err := worker.New(r.workerConfig())
	if err != nil {
		return err
	}
	if err := r.tellOfOthers(ctx); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	worked, sent := make(chan error, 1), make(chan error, 1)
	go func() { worked <- w.Run(working) }()
	go func() { sent <- r.submit(working) }()

	ended := r.follow(ctx, &worked, &sent)
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
	// What ended while the worker drained, or what a failing Redis kept back. A disk
	// that was full may have room by now.
	last := context.WithoutCancel(ctx)
	errs = append(errs, r.collect(last), r.sync(last))
	r.tellProgress()
	if r.back.Volatile && len(r.out.pending) > 0 {
		errs = append(errs, r.out.rescue())
	}
	return joined(append([]error{ended}, errs...))
}

// prepare brings Redis in line with the plan before anything is sent.
func (r *runner) prepare(ctx context.Context) error {
	r.before, r.synced = r.plan.accepted-r.plan.open(), time.Now()
	// What is past its retention goes before this run asks for it: nothing that it
	// counts on may be forgotten while it goes on.
	if _, err := r.back.ledger.Sweep(ctx, time.Now(), r.cfg.Worker.Retention); err != nil {
		r.log.Warn("results that are past their retention could not be forgotten", "error", r.back.explain(err))
	}
	if err := r.adopt(ctx); err != nil {
		return err
	}
	if err := r.reconcile(ctx); err != nil {
		return err
	}
	return r.trustRedis(ctx)
}

func (r *runner) workerConfig() worker.Config {
	cfg := r.cfg.Worker
	cfg.Redis, cfg.Journal, cfg.OnLarge = r.back.Redis, r.journal, r.onLarge
	told := cfg.OnEvent
	cfg.OnEvent = func(e worker.Event) {
		r.stall.note(e)
		if told != nil {
			told(e)
		}
	}
	return cfg
}

// drain waits until the worker has drained, and goes on to write results meanwhile: the
// large ones need the room that those take which are written. failed reports that none
// are written any more.
func (r *runner) drain(ctx context.Context, worked <-chan error, failed bool) error {
	ctx = context.WithoutCancel(ctx)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		if failed {
			r.room.open()
		}
		select {
		case err := <-worked:
			return err
		case <-tick.C:
		}
		if !failed {
			failed = r.collect(ctx) != nil || r.heavy > 0 && r.sync(ctx) != nil
			r.tellProgress()
		}
	}
}

// joined joins errors, and says once what several of them say.
func joined(errs []error) error {
	said := map[string]bool{}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		if err == nil || said[err.Error()] {
			return true
		}
		said[err.Error()] = true
		return false
	})...)
}

// following is how far [runner.follow] is.
type following struct {
	heard, watched time.Time // when Redis answered last, when circuits were looked at
	idle           int       // how often nothing was open in Redis
	told           bool      // whether it was told which results Redis had
}

// follow writes results until all calls have ended or something stops it. It sets the
// channels that it has read to nil.
func (r *runner) follow(ctx context.Context, worked, sent *chan error) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	f := following{heard: time.Now()}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-*worked:
			*worked = nil
			return errors.Join(err, ErrWorkerEnded)
		case err := <-*sent:
			*sent = nil
			if err != nil {
				return err
			}
			if n := r.plan.unsent(); n > 0 {
				return fmt.Errorf("%w: %s, calls that are missing: %d", ErrInputChanged, r.cfg.In.name, n)
			}
		case <-tick.C:
		}
		if ended, err := r.step(ctx, &f, *sent == nil); ended || err != nil {
			return err
		}
	}
}

// step writes what has ended and looks around. allSent reports that every call was sent.
func (r *runner) step(ctx context.Context, f *following, allSent bool) (ended bool, err error) {
	if err := r.journal.failure(); err != nil {
		return false, err
	}
	err = r.collect(ctx)
	if err == nil {
		r.tellProgress()
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
		if now.Sub(f.heard) > awayFor {
			return false, err
		}
		return false, nil
	}
	f.heard = now
	if allSent && !f.told {
		f.told = true
		r.tellOfKnown()
	}
	if allSent && r.plan.open() == 0 {
		return true, nil
	}
	if now.Sub(f.watched) < watchEvery {
		return false, nil
	}
	f.watched = now
	if err := r.lookAround(ctx, now); err != nil || !allSent {
		return false, err
	}
	return false, r.checkGone(ctx, f)
}

// lookAround tells why calls wait.
func (r *runner) lookAround(ctx context.Context, now time.Time) error {
	if err := r.watch.Poll(ctx); err != nil {
		return err
	}
	r.reporter.Query.Batches = r.reporter.Query.Batches[:0]
	for _, i := range r.inUse() {
		r.reporter.Query.Batches = append(r.reporter.Query.Batches, r.batch(i))
	}
	r.reporter.Poll(ctx, now)
	if open := r.plan.open(); open != r.openThen {
		r.openThen, r.moved = open, now
	}
	r.tell(Waiting{Brief: cmp.Or(r.watch.Held(), r.reporter.Brief(now.Sub(r.moved) > stalledFor))})
	if stalled, ok := r.stall.look(now); ok && r.watch.Held() == "" {
		r.tell(stalled)
	}
	return nil
}

// checkGone notices that nothing is open in Redis while results are missing, which a
// Redis that was emptied leaves behind.
func (r *runner) checkGone(ctx context.Context, f *following) error {
	for _, i := range r.inUse() {
		b, err := r.back.ledger.Batch(ctx, r.batch(i))
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

func (r *runner) tellProgress() {
	r.tell(Progress{
		Calls: r.plan.accepted, Ended: r.plan.accepted - r.plan.open(), Written: r.written, NotMade: r.before + r.known,
		Dead: r.tally.Count(tasks.StateDead), Dropped: r.tally.Count(tasks.StateDropped), Cancelled: r.tally.Count(tasks.StateCancelled),
	})
}

// tellOfOthers tells that calls may stand still for a while as other processes hold
// them.
func (r *runner) tellOfOthers(ctx context.Context) error {
	var queues []string
	for _, u := range r.cfg.Worker.Upstreams {
		queues = append(queues, tasks.Queues(u.Name)...)
	}
	n, err := ledger.NewLeases(r.back.Redis).Count(ctx, time.Now(), queues...)
	if err == nil && n > 0 {
		r.tell(UnderWayElsewhere{Calls: int(n)})
	}
	return err
}

// tellOfKnown tells that results come from Redis, for it looks as if calls had been
// made.
func (r *runner) tellOfKnown() {
	if r.known > 0 {
		r.tell(KnownResults{Results: r.known, Bodiless: r.bodiless, Resumed: r.before > 0})
	}
}

// stuckError is the public form of a watch's error.
func stuckError(e *waiting.StuckError) error {
	return &StuckError{Circuit: e.Record.Name.String(), Class: policy.Class(e.Record.Class), Why: waiting.AnswerText(e.Record), Patience: e.Patience}
}
