package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
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
	// deafFor is how long Redis may stay away before a run gives up.
	deafFor = 2 * time.Minute
)

// session takes the calls of one file through the queue in this process: it sends
// them, works, and writes their results.
//
// The batch is named after the file, so that a later run of it finds what this
// one leaves in Redis: a call that is still open is not sent twice, and one that
// has ended gives its result again without being made. A key of a batch stands for
// one content for ever, though a line may be changed between runs. Such a line
// goes to the batch's successor (NAME.2, NAME.3, …), the first one where its key
// is free or stands for the same content.
type session struct {
	desk      *desk
	upstreams []worker.Upstream
	rules     tasks.Rules
	in        *callsFile
	plan      *plan
	out       *resultsFile
	sent      *sentFile
	tally     *tally
	progress  *progress
	watch     *waiting.Watch
	why       *waiting.Teller
	log       *slog.Logger
	onEvent   func(worker.Event)
	still     standstill
	// next is how to go on after a run that did not finish.
	next string
	// apis are the base_urls of the upstreams; sameAPI tells that other ones that are
	// met are of the same APIs.
	apis    apis
	sameAPI bool
	// deaf tells that Redis cannot be asked, and need not be.
	deaf bool
	// redo are the states whose calls are to be made again.
	redo map[tasks.State]bool
	// replaced tells when the calls that are made again ended before; see again.
	replaced map[string][]time.Time

	// batches is how many of the batches are in use, and others are those of other
	// files; see adopt.
	batches atomic.Int64
	others  []string
	cursors map[int]*ledger.Cursor
	// exported are the results whose bodies may go once the results file is safe, and
	// heavy is how many bytes of large ones were added to it since it was made so.
	// tracks tells that Redis has so much that small ones may have to go too.
	exported []exported
	heavy    int
	tracks   bool
	room     *room
	synced   time.Time
	before   int // calls that had ended before
	// written is how many calls have their results in the results file, unwritten
	// the keys and digests of results that may not be on its disk yet.
	written   atomic.Int64
	unwritten [][2]string
	// horizons are how far the batches had ended before, and known counts the
	// results from within them: no call was made for those.
	horizons map[int]ledger.Horizon
	known    int
	// bodiless counts results whose bodies Redis had let go after an earlier export.
	bodiless int64
	// openThen is how many calls were open when that was looked at last, moved when it
	// changed.
	openThen int
	moved    time.Time
}

// firstOther is the number of the first batch of another file.
const firstOther = 1 << 15

// batch is the name of the session's i-th batch, from 0.
func (s *session) batch(i int) string {
	switch {
	case i >= firstOther:
		return s.others[i-firstOther]
	case i == 0:
		return s.in.batch
	}
	return fmt.Sprintf("%s.%d", s.in.batch, i+1)
}

// inUse are the numbers of the batches that hold calls of the plan.
func (s *session) inUse() []int {
	var list []int
	for i := range int(s.batches.Load()) {
		list = append(list, i)
	}
	for i := range s.others {
		list = append(list, firstOther+i)
	}
	return list
}

// run makes the calls. It returns when every call has ended, when ctx is
// cancelled and the worker has drained, or with what stopped it. What has ended is
// in the results file then.
func (s *session) run(ctx context.Context) error {
	s.before, s.synced = s.plan.accepted-s.plan.open(), time.Now()
	// What is past its retention goes before this run asks for it: nothing that it
	// counts on may be forgotten while it goes on.
	if _, err := s.desk.ledger.Sweep(ctx, time.Now(), s.desk.cfg.Ledger.Retention); err != nil {
		s.log.Warn("results that are past their retention could not be forgotten", "error", s.desk.explain(err))
	}
	if err := s.adopt(ctx); err != nil {
		return err
	}
	if err := s.reconcile(ctx); err != nil {
		return err
	}
	if err := s.forgetKnown(ctx); err != nil {
		return err
	}
	s.room = newRoom(min(roomInRedis, s.desk.cfg.Ledger.MaxMemory))
	w, err := worker.New(worker.Config{
		Redis: s.desk.conn.Client, Upstreams: s.upstreams, Concurrency: s.desk.cfg.WorkerConcurrency,
		Retention: s.desk.cfg.Ledger.Retention, Logger: s.log, OnEvent: s.event, OnSend: s.sent.send,
		Redactor: s.desk.secrets, OnLarge: s.onLarge, MaxMemory: s.desk.cfg.Ledger.MaxMemory,
	})
	if err != nil {
		return err
	}
	if err := s.tellOfOthers(ctx); err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	worked, sent := make(chan error, 1), make(chan error, 1)
	go func() { worked <- w.Run(working) }()
	go func() { sent <- s.submit(working) }()

	ended := s.follow(ctx, &worked, &sent)
	stop()
	var errs []error
	if worked != nil {
		errs = append(errs, s.drain(ctx, worked, ended != nil))
	}
	if sent != nil {
		if err := <-sent; !errors.Is(err, context.Canceled) {
			errs = append(errs, err)
		}
	}
	// What ended while the worker drained, or what a failing Redis kept back. A disk
	// that was full may have room by now.
	last := context.WithoutCancel(ctx)
	errs = append(errs, s.collect(last), s.sync(last))
	if s.desk.conn.Volatile && len(s.out.pending) > 0 {
		errs = append(errs, s.out.rescue())
	}
	return joined(append([]error{ended}, errs...))
}

// drain waits until the worker has drained, and goes on to write results meanwhile: the
// large ones need the room that those take which are written. failed tells that none are
// written any more.
func (s *session) drain(ctx context.Context, worked <-chan error, failed bool) error {
	ctx = context.WithoutCancel(ctx)
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	for {
		if failed {
			s.room.open()
		}
		select {
		case err := <-worked:
			return err
		case <-tick.C:
		}
		if !failed {
			failed = s.collect(ctx) != nil || s.heavy > 0 && s.sync(ctx) != nil
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

// event learns of an attempt.
func (s *session) event(e worker.Event) {
	s.still.note(e)
	if s.onEvent != nil {
		s.onEvent(e)
	}
}

// forgetKnown leaves to the queue what it knows of itself: of those calls of an
// earlier run that may have been sent, the ones that it has. Somebody may have
// redriven them since.
func (s *session) forgetKnown(ctx context.Context) error {
	for _, call := range s.sent.earlier() {
		if s.plan.held(call.Key, call.Digest) {
			s.sent.ended(call.Key, call.Digest)
			continue
		}
		for i := range s.horizons {
			r, err := s.desk.ledger.Find(ctx, tasks.TaskID(s.batch(i), call.Key))
			switch {
			case errors.Is(err, tasks.ErrNoCall):
			case err != nil:
				return err
			case r.Hash == call.Digest && knowsOfSend(r):
				s.sent.ended(call.Key, call.Digest)
			}
		}
	}
	return nil
}

// knowsOfSend reports whether the queue knows that the call of a record was sent. One
// that has it open and never sent has lost the mark, as a Redis may whose disk was
// full: then the note in OUT.sent is right.
func knowsOfSend(r ledger.Record) bool {
	return r.State != ledger.Open || r.Sent > 0 || r.Attempts+r.Parked > 0 || r.Generation > 1
}

// tellOfOthers says that calls may stand still for a while, and why.
func (s *session) tellOfOthers(ctx context.Context) error {
	var queues []string
	for _, u := range s.upstreams {
		queues = append(queues, tasks.Queues(u.Name)...)
	}
	n, err := ledger.NewLeases(s.desk.conn.Client).Count(ctx, time.Now(), queues...)
	if err == nil && n > 0 {
		s.progress.say("%s under way in other processes; if one of them was killed, its calls are taken up again within a minute", verbalOf(int(n), "call", "is", "are"))
	}
	return err
}

// tellOfKnown says that results come from the queue, for it looks as if calls had
// been made.
func (s *session) tellOfKnown() {
	if s.known == 0 {
		return
	}
	fresh := ""
	switch {
	case s.before > 0: // an earlier run was killed before it had written them
	case s.in.spooled:
		fresh = "; the same calls under other keys are made anew"
	default:
		fresh = "; a copy of " + s.in.name + " under another name is called anew"
	}
	s.progress.say("%s%s", knownText(s.known, "is"), fresh)
	if s.bodiless > 0 {
		s.progress.say("%s of the results without a body, marked body_freed: it was freed from Redis when an earlier results file or export had it; "+
			"without that file, --redo-keys makes such a call again", grouped(s.bodiless))
	}
}

// outError is trouble with where results or notes of calls are written. It does not
// unwrap, so that the trouble is not taken for the network's.
type outError struct {
	err error
	// next is how to go on.
	next string
}

func (e *outError) Error() string {
	if full := (*unstoredError)(nil); errors.As(e.err, &full) {
		return e.err.Error() + ", then " + e.next
	}
	return e.err.Error() + "; " + e.next
}

// follow writes results until all calls have ended or something stops it. It sets
// the channels that it has read to nil.
func (s *session) follow(ctx context.Context, worked, sent *chan error) error {
	tick := time.NewTicker(collectEvery)
	defer tick.Stop()
	heard, watched, atRest, told := time.Now(), time.Time{}, 0, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-*worked:
			*worked = nil
			return errors.Join(err, errors.New("the worker ended before the calls did; run the same command again"))
		case err := <-*sent:
			*sent = nil
			if err != nil {
				return err
			}
			if n := s.plan.unsent(); n > 0 {
				return fmt.Errorf("%s was changed while it was read: %s not found again; run the same command again", s.in.name, verbalOf(n, "call", "was", "were"))
			}
		case <-tick.C:
		}
		if err := s.sent.trouble(); err != nil {
			return &outError{err, s.next}
		}
		err := s.step(ctx)
		if outErr := (*outError)(nil); errors.As(err, &outErr) {
			return err
		}
		now := time.Now()
		if err != nil && ctx.Err() == nil {
			s.log.Debug("reading the results failed", "error", err)
			if now.Sub(heard) > deafFor {
				return err
			}
			continue
		}
		heard = now
		if *sent == nil && !told {
			told = true
			s.tellOfKnown()
		}
		if *sent == nil && s.plan.open() == 0 {
			return nil
		}
		if now.Sub(watched) < watchEvery {
			continue
		}
		watched = now
		if err := s.watch.Look(ctx); err != nil {
			return err
		}
		s.progress.hold(s.waits(ctx, now))
		if line := s.still.line(now); line != "" && s.watch.Held() == "" {
			s.progress.say("%s", line)
		}
		if *sent != nil {
			continue
		}
		if atRest, err = s.atRest(ctx, atRest); err != nil {
			return err
		}
	}
}

// waits asks why calls wait, says what is new, and returns what to show of it.
func (s *session) waits(ctx context.Context, now time.Time) string {
	s.why.Query.Batches = s.why.Query.Batches[:0]
	for _, i := range s.inUse() {
		s.why.Query.Batches = append(s.why.Query.Batches, s.batch(i))
	}
	s.why.Look(ctx, now)
	if open := s.plan.open(); open != s.openThen {
		s.openThen, s.moved = open, now
	}
	return cmp.Or(s.watch.Held(), s.why.Brief(now.Sub(s.moved) > stillFor))
}

// step writes what has ended and says how far things are.
func (s *session) step(ctx context.Context) error {
	if err := s.collect(ctx); err != nil {
		return err
	}
	s.progress.done(s.plan.accepted-s.plan.open(), s.before+s.known, s.tally.brief)
	if time.Since(s.synced) < syncEvery {
		return nil
	}
	return s.sync(ctx)
}

// atRest notices that nothing is open in the queue while results are missing,
// which a Redis that was emptied leaves behind. It counts how often it was so.
func (s *session) atRest(ctx context.Context, times int) (int, error) {
	for _, i := range s.inUse() {
		b, err := s.desk.ledger.Batch(ctx, s.batch(i))
		if err == nil && b.Counts.Open > 0 || err != nil && !errors.Is(err, ledger.ErrNoBatch) {
			return 0, nil
		}
	}
	if times++; times < 5 || s.plan.open() == 0 {
		return times, nil
	}
	return times, fmt.Errorf("Redis has lost %s: it was emptied, or another callq has cancelled them; run the same command again", plural(s.plan.open(), "call"))
}

// submit sends the calls that have not ended to the session's batches.
func (s *session) submit(ctx context.Context) error {
	var moved map[int]bool
	for i := 0; i == 0 || len(moved) > 0 || i <= s.plan.furthest; i++ {
		in, err := s.in.again()
		if err != nil {
			return err
		}
		if i == 0 {
			s.batches.Store(1)
		}
		conflicts := map[int]bool{}
		var other error
		_, err = s.desk.producer.SubmitLines(ctx, s.batch(i), s.plan.calls(i, in, s.rules, moved), func(e *tasks.FieldError) {
			// All lines were checked when the plan was made: what is refused now
			// is a key that stands for other content in this batch.
			if e.Field == "key" {
				conflicts[e.Line] = true
			} else {
				other = e
			}
		})
		// Only now does the plan know which calls are in this batch: results that
		// are read before are taken for those of others.
		s.batches.Store(int64(i) + 1)
		if err = errors.Join(err, other); err != nil {
			return err
		}
		moved = conflicts
	}
	return nil
}
