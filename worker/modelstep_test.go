package worker

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// proc is a worker process.
type proc struct {
	w               *Worker
	dead            atomic.Bool
	frozen, drained bool
	watch           peerWatch
	archived        reopened
}

// step is something in progress in a worker: a call, or a read of the circuits. Its
// goroutine pauses before every effect that other workers could see, until the model
// wakes it. So only one runs at a time, except timers, which end before the next pause.
type step struct {
	f      *fleet
	proc   *proc
	ctx    context.Context
	cancel context.CancelFunc
	wakeUp chan struct{}

	// paused reports that it is paused, before the point that at names.
	paused bool
	at     string
	// quick lets it go through the next pause, as a part of the same step.
	quick bool
	// over reports that the goroutine has ended.
	over bool
	// loseReply makes the next command lose its reply.
	loseReply bool
	before    map[string]circuitLook

	call     *modelCall
	delivery *ledger.Delivery
	along    []*step   // of the calls that were taken with this one
	leased   time.Time // the end of asynq's lease
	alone    time.Time // when it was recorded that its call is made alone
	lapsed   bool
	count    *counted
	// What admitted the call, and what must be true before it arrives.
	blind                  bool // admitted while Redis had lost a record
	mustMark, marked, once bool
	unknown, foundUnknown  bool // marked, and nothing recorded since; the same, by an earlier step
	account, endpoint      bool
	sends                  bool
	unspent                bool // as the probe of an outage it spends no attempt
	answer                 string
	arrival                *arrival
}

type stepKey struct{}

// scriptTime is how long a command takes: at least a microsecond for each call
// that it takes.
const scriptTime = 3 * time.Microsecond

func stepOf(ctx context.Context) *step { s, _ := ctx.Value(stepKey{}).(*step); return s }

// pause blocks until the model wakes the step. The steps of a killed worker end here.
func (s *step) pause(at string) {
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
	if s.quick {
		s.quick = false
		return
	}
	s.markPaused(at)
	<-s.wakeUp
	s.paused = false
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
}

// markPaused records where the step is paused. It needs the lock, because a timer may call
// it at the same time as the model continues; see [fleet.awaitPaused].
func (s *step) markPaused(at string) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.at, s.paused = at, true
}

// stepHook pauses the workers' steps before each command to Redis.
type stepHook struct{}

func (stepHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (stepHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s := stepOf(ctx)
		if s == nil || handshake(cmd) {
			return next(ctx, cmd)
		}
		c := commandOf(cmd)
		began := time.Now()
		s.pause(c.kind)
		if c.kind == "take" && time.Since(began) > time.Second {
			// The second request of a worker that chooses the probe: its time is too old by
			// now, and its timeout is over.
			cmd.SetErr(os.ErrDeadlineExceeded)
			return os.ErrDeadlineExceeded
		}
		s.before = s.f.lookAll()
		err := next(ctx, cmd)
		time.Sleep(scriptTime)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			s.quick = true
			return err
		}
		if err == nil || err == redis.Nil {
			s.f.ran(s, c, cmd)
		}
		if s.loseReply {
			s.loseReply = false
			err = os.ErrDeadlineExceeded
			cmd.SetErr(err)
		}
		return err
	}
}

func (stepHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if s := stepOf(ctx); s != nil && !handshake(cmds[0]) {
			s.pause("a read of the circuits")
		}
		return next(ctx, cmds)
	}
}

// handshake reports whether go-redis sends the command on a new connection.
func handshake(cmd redis.Cmder) bool { return cmd.Name() == "hello" || cmd.Name() == "client" }

// command is a command to Redis. The kind of a script is known by its keys and arguments.
type command struct {
	kind string
	keys []string
	args []string
}

func commandOf(cmd redis.Cmder) command {
	all := cmd.Args()
	text := func(i int) string { return fmt.Sprint(all[i]) }
	c := command{kind: strings.ToLower(text(0))}
	if c.kind != "evalsha" && c.kind != "eval" {
		return c
	}
	n, _ := all[2].(int)
	for i := range all[3:] {
		v := text(3 + i)
		switch arg := all[3+i].(type) {
		case []byte:
			v = string(arg)
		case *string:
			v = *arg
		}
		if i < n {
			c.keys = append(c.keys, v)
		} else {
			c.args = append(c.args, v)
		}
	}
	switch {
	case len(c.keys) >= 8 && strings.HasSuffix(c.keys[4], ":pending"):
		c.kind = "take"
	case len(c.keys) > 0 && strings.HasSuffix(c.keys[0], ":limits"):
		c.kind = c.args[0] + " slot"
	case len(c.keys) > 0 && strings.HasSuffix(c.keys[0], ":fence"):
		c.kind = "fence"
	case len(c.keys) == 2 && strings.HasSuffix(c.keys[1], ":fence"):
		c.kind = "mark"
	case len(c.keys) == 2:
		c.kind = "attempt"
	case len(c.keys) == 1 && len(c.args) == 2:
		c.kind = "alone"
	case len(c.keys) == 6:
		c.kind = "park"
	case len(c.keys) == 8:
		c.kind = "end"
	case len(c.keys) == 4 && len(c.args) == 4 && strings.Contains(c.args[2], "#"):
		c.kind = "admit"
	case len(c.keys) == 4 && len(c.args) >= 8 && strings.Contains(" error fault answer unsent ", " "+c.args[2]+" "):
		c.kind = "report"
	case len(c.keys) == 4:
		c.kind = "restore"
	default:
		c.kind = "an unknown script"
	}
	return c
}

func (f *fleet) newStep(p *proc, at string) *step {
	s := &step{f: f, proc: p, wakeUp: make(chan struct{}), at: at}
	s.ctx, s.cancel = context.WithCancel(context.WithValue(context.Background(), stepKey{}, s))
	f.steps = append(f.steps, s)
	return s
}

// begin makes a worker take a call, and up to more further ones, and reports whether it got
// any. Taking them is one step.
func (f *fleet) begin(p *proc, queue string, more int) bool {
	s := f.newStep(p, "take")
	s.quick = true
	go func() {
		defer func() { s.over = true }()
		s.process(queue, more)
	}()
	f.awaitPaused()
	return s.delivery != nil
}

func (f *fleet) beginRefresh(p *proc) {
	s := f.newStep(p, "refresh")
	go func() {
		defer func() { s.over = true }()
		_, _ = p.w.circuits.Refresh(s.ctx, probeLease, modelUpstream) // a reply that is lost is asked for again next time
	}()
	f.awaitPaused()
}

// process does what an asynq server does with tasks, except with asynq's lists, which the
// model changes itself.
func (s *step) process(queue string, more int) {
	w, leased := s.proc.w, time.Now().Add(modelLease)
	a := w.accounts[modelUpstream]
	w.semaphore.mu.Lock()
	free := w.semaphore.hasRoom(a)
	if free {
		w.semaphore.grant(a)
	}
	w.semaphore.mu.Unlock()
	if !free {
		return
	}
	more = w.semaphore.acquireMore(a, more)
	got, err := w.fetch(s.ctx, a, broker.Dequeue{Queue: queue, LeaseUntil: leased.Unix()}, more)
	for range more - len(got.More) {
		w.semaphore.release(a)
	}
	if err != nil || got.Delivery == nil {
		w.semaphore.release(a)
		return
	}
	for i, one := range s.along {
		one.delivery, one.leased = got.More[i], leased
		go func() {
			defer func() { one.over = true }()
			one.handle()
		}()
	}
	s.delivery, s.leased = got.Delivery, leased
	s.handle()
}

func (s *step) handle() {
	w := s.proc.w
	defer w.semaphore.release(w.accounts[modelUpstream])
	if !w.handOver(s.ctx, s.delivery) {
		s.f.broken("asynq cannot decode the message of %s", s.delivery.ID)
		return
	}
	w.deliveries.end(w.deliveries.start(s.delivery.ID))
	s.mustMark = s.delivery.Due.After(time.Now())
	disp := w.process(s.ctx, s.delivery)
	s.pause("asynq's result")
	if !s.lapsed {
		s.f.carryOut(s.delivery, disp)
	}
}

// request is a job's code: it calls the API.
func (s *step) request(ctx context.Context, mark func(context.Context) error) (string, error) {
	if err := mark(ctx); err != nil {
		return "", err
	}
	if !s.await(ctx, "the arrival of the request") {
		s.f.sends(s)
		return "", &policy.Failure{}
	}
	s.f.arrive(s)
	if !s.await(ctx, "the arrival of the answer") {
		s.answer = "silence"
		return "", &policy.Failure{MaybeSent: true}
	}
	s.answer = s.f.answerTo(s.call)
	s.f.answered(s)
	if failure := modelAnswers[s.answer]; failure != nil {
		copied := *failure
		return "", &copied
	}
	return "fine", nil
}

// await is pause for a step with a timeout. It returns false if the timeout came first.
func (s *step) await(ctx context.Context, at string) bool {
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
	s.markPaused(at)
	answered := true
	select {
	case <-s.wakeUp:
	case <-ctx.Done():
		answered = false
	}
	s.f.mu.Lock()
	s.paused = false
	s.f.mu.Unlock()
	if !answered {
		return false
	}
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
	return true
}

// answered records what the API answers.
func (f *fleet) answered(s *step) {
	f.logEvent("%s: is answered %s", s, s.answer)
	s.arrival.answeredAt = time.Now()
	s.arrival.retryable = s.answer != "ok" && s.answer != "silence"
	if s.answer == "ok" {
		f.goodAt[s.call.endpoint] = time.Now()
	}
}

// failedBeforeAGoodAnswer reports whether a call may have failed before another one of its endpoint got a
// good answer. The probe of an outage spends an attempt then, if its worker knows of both.
func (f *fleet) failedBeforeAGoodAnswer(c *modelCall) bool {
	return slices.ContainsFunc(c.arrivals, func(a *arrival) bool {
		return a.retryable && !a.answeredAt.After(f.goodAt[c.endpoint])
	})
}
