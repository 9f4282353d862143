package worker

import (
	"context"
	"fmt"
	"os"
	"runtime"
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

// step is something in progress in a worker: a call, or a look at the circuits. Its
// goroutine is paused before all that others could see, until the model wakes
// it; so only one runs at a time, timers aside, which end at the next standstill.
type step struct {
	f      *fleet
	proc   *proc
	ctx    context.Context
	cancel context.CancelFunc
	wakeUp chan struct{}

	// stands reports that it is paused, before the point that at names.
	stands bool
	at     string
	// quick lets it pass the next standstill: it is the same step still.
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
	// What let the call go, and what it has to show before it may arrive.
	blind                  bool // admitted while Redis had lost a record
	mustMark, marked, once bool
	unknown, foundUnknown  bool // marked, and nothing recorded since; so by an earlier one
	account, endpoint      bool
	sends                  bool
	answer                 string
	arrival                *arrival
}

type stepKey struct{}

// scriptTime is how long a command takes: at least a microsecond for each call
// that it takes.
const scriptTime = 3 * time.Microsecond

func stepOf(ctx context.Context) *step { s, _ := ctx.Value(stepKey{}).(*step); return s }

// pause blocks until the model wakes the step. A worker that was killed goes
// nowhere any more.
func (s *step) pause(at string) {
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
	if s.quick {
		s.quick = false
		return
	}
	s.stand(at)
	<-s.wakeUp
	s.stands = false
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
}

// stand records where the step is paused. It may be called from a timer, without any order to
// what the model did last: hence the lock; see [fleet.awaitPaused].
func (s *step) stand(at string) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.at, s.stands = at, true
}

// stepHook stands between the workers and Redis.
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
			// The second question of a worker that chooses the probe: what it says of
			// the time is old by now, and its time-out is over.
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
			s.pause("a look at the circuits")
		}
		return next(ctx, cmds)
	}
}

// handshake reports whether go-redis sends the command on a new connection.
func handshake(cmd redis.Cmder) bool { return cmd.Name() == "hello" || cmd.Name() == "client" }

// command is a command to Redis; a script goes by what it is called with.
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
		if b, ok := all[3+i].([]byte); ok {
			v = string(b)
		}
		if i < n {
			c.keys = append(c.keys, v)
		} else {
			c.args = append(c.args, v)
		}
	}
	switch {
	case len(c.keys) >= 7 && strings.HasSuffix(c.keys[3], ":pending"):
		c.kind = "take"
	case len(c.keys) > 0 && strings.HasSuffix(c.keys[0], ":limits"):
		c.kind = c.args[0] + " slot"
	case len(c.keys) > 0 && strings.HasSuffix(c.keys[0], ":fence"):
		c.kind = "fence"
	case len(c.keys) == 4 && strings.HasSuffix(c.keys[3], ":fence"):
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

// begin makes a worker take a call, and up to so many more, and reports whether it got
// any. The taking itself is one step.
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

// process is what an asynq server does with tasks, but for its lists, which are in
// the model's hands.
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
	w.deliveries.Delete(s.delivery.ID)
	s.mustMark = s.delivery.Due.After(time.Now())
	disp := w.process(s.ctx, s.delivery)
	s.pause("asynq's verb")
	if !s.lapsed {
		s.f.carryOut(s.delivery, disp)
	}
}

// request is a job's code: it calls the API.
func (s *step) request(ctx context.Context, mark func(context.Context) error) (string, error) {
	if err := mark(ctx); err != nil {
		return "", err
	}
	if !s.await(ctx, "the request's way to the API") {
		s.f.sends(s)
		return "", &policy.Failure{}
	}
	s.f.arrive(s)
	if !s.await(ctx, "the answer's way back") {
		s.answer = "silence"
		return "", &policy.Failure{MaybeSent: true}
	}
	s.answer = s.f.answerTo(s.call)
	s.f.answered(s)
	if failure := modelAnswers[s.answer]; failure != nil {
		said := *failure
		return "", &said
	}
	return "fine", nil
}

// await is pause for what has a time-out; false means that it is over.
func (s *step) await(ctx context.Context, at string) bool {
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
	s.stand(at)
	answered := true
	select {
	case <-s.wakeUp:
	case <-ctx.Done():
		answered = false
	}
	s.f.mu.Lock()
	s.stands = false
	s.f.mu.Unlock()
	if !answered {
		return false
	}
	if s.proc.dead.Load() {
		runtime.Goexit()
	}
	return true
}
