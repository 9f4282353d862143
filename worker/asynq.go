package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// asynqLease is for how long asynq gives a task to a worker.
	asynqLease = 30 * time.Second
	// asynq asks an empty queue again after half to one and a half of this.
	pollEmpty = 250 * time.Millisecond
	// asynq's forwarder moves due tasks to pending this often.
	pollDelayed = 500 * time.Millisecond
	// heldRecheck is the longest that a process trusts what it knows of a hold
	// before it asks Redis again, so that a close is noticed.
	heldRecheck = 500 * time.Millisecond
	// fullRecheck is the longest that a process waits, with as many calls in
	// flight as may be, before it asks whether another process has made room.
	fullRecheck = 25 * time.Millisecond
	// maxWaiting is the longest that a fetcher waits in place. asynq reckons the
	// 30 s of the task's lease, and the wrapper the 10 s of its script, from
	// before the wait.
	maxWaiting = 5 * time.Second
	// laneSize is how many calls one asynq server makes at once on a Cluster. A
	// server has one fetching goroutine, which there takes one task a round trip;
	// elsewhere it takes as many as there are places, see stock.
	laneSize = 16
	maxLanes = 8
)

// The weights with which a server asks its queues: low still gets its share.
var weights = map[tasks.Priority]int{tasks.PriorityHigh: 12, tasks.PriorityNormal: 6, tasks.PriorityLow: 3}

// verb is what asynq is to do with a task after the ledger knows.
type verb struct {
	kind verbKind
	// delay is when the task comes back, for again.
	delay time.Duration
	// failed tells that it was a real failed attempt, so that asynqmon's counts
	// mean something.
	failed bool
	// text is what asynqmon shows as the last error.
	text string
}

type verbKind int

const (
	// over: the task is off asynq's lists, or goes now.
	over verbKind = iota
	// again: the task comes back after the delay.
	again
	// buried: the task goes to asynq's archive, which is a view of ours.
	buried
)

// putBack is the error by which asynq learns that a task comes back.
type putBack struct{ verb }

func (p *putBack) Error() string { return p.text }

// err says the verb in asynq's language.
func (v verb) err() error {
	v.text = ending.ErrorText(v.text)
	switch v.kind {
	case again:
		return &putBack{v}
	case buried:
		return fmt.Errorf("%s: %w", v.text, asynq.SkipRetry)
	default:
		return nil
	}
}

// retryDelay is asynq's RetryDelayFunc. asynq floors due times to whole seconds,
// so they are raised to the next one here: no call comes back early.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var back *putBack
	switch {
	case errors.As(err, &back):
		due := time.Now().Add(back.delay)
		if up := due.Truncate(time.Second); up.Before(due) {
			due = up.Add(time.Second)
		}
		// A hair more, as the time that asynq adds this to is a later one.
		return time.Until(due) + time.Millisecond
	default:
		return time.Second
	}
}

func isFailure(err error) bool {
	var back *putBack
	return errors.As(err, &back) && back.failed
}

// startServers begins to take tasks of every upstream. stop drains, also after
// an error: handlers end, and what was fetched but not begun goes back.
func (w *Worker) startServers() (stop func(), err error) {
	var running []*asynq.Server
	stop = func() {
		var wg sync.WaitGroup
		for _, s := range running {
			wg.Go(s.Shutdown)
		}
		wg.Wait()
	}
	for _, u := range w.cfg.Upstreams {
		for _, s := range w.servers(w.accounts[u.Name]) {
			if err := s.Start(asynq.HandlerFunc(w.handle)); err != nil {
				return stop, err
			}
			running = append(running, s)
		}
	}
	return stop, nil
}

// servers makes the asynq servers of one upstream: one, but on a Cluster one for
// every laneSize calls at once, so that the single fetcher of a server is never
// the limit.
func (w *Worker) servers(a *account) []*asynq.Server {
	lanes := 1
	if w.clustered {
		lanes = min((a.concurrency+laneSize-1)/laneSize, maxLanes)
	}
	queues := map[string]int{}
	for p, weight := range weights {
		queues[tasks.Queue(a.name, p)] = weight
	}
	list := make([]*asynq.Server, lanes)
	for i := range list {
		size := a.concurrency / lanes
		if i < a.concurrency%lanes {
			size++
		}
		list[i] = asynq.NewServerFromRedisClient(w.wrapped, asynq.Config{
			Concurrency:              size,
			Queues:                   queues,
			RetryDelayFunc:           retryDelay,
			IsFailure:                isFailure,
			TaskCheckInterval:        pollEmpty,
			DelayedTaskCheckInterval: pollDelayed,
			ShutdownTimeout:          w.shutdownTimeout(),
			Logger:                   asynqLog{w.log},
			LogLevel:                 asynq.WarnLevel,
		})
	}
	return list
}

// handle is asynq's handler: it makes the call that the dequeue has taken.
func (w *Worker) handle(ctx context.Context, t *asynq.Task) (err error) {
	growStack()
	id := t.ResultWriter().TaskID()
	v, ok := w.takes.LoadAndDelete(id)
	if !ok {
		return verb{kind: again, delay: time.Second, text: "callq: the task came without its record"}.err()
	}
	take := v.(*ledger.Delivery)
	w.running.Store(take, nil)
	a := w.accounts[tasks.UpstreamOf(take.Queue)]
	defer func() {
		w.running.Delete(take)
		w.places.release(a)
		a.hold.lift() // there may be room for another call now
	}()
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("a call's handling panicked", "call", take.ID, "panic", fmt.Sprint(p))
			err = verb{kind: again, delay: 5 * time.Second, text: "callq: internal error, see the worker's log"}.err()
		}
	}()
	what := w.process(ctx, take)
	if what.kind == again {
		w.rests[take.Queue].busy() // there will be a delayed task
	}
	return what.err()
}

// growStack gives its goroutine the stack that a call needs, at once. asynq starts
// one for every task, with the smallest stack there is, which would be copied to
// a larger one again and again while it is deep: a sixth of the worker's work.
//
//go:noinline
func growStack() {
	var room [12 << 10]byte
	runtime.KeepAlive(&room)
}

// forward tells asynq whether to look for delayed tasks that are due. asynq asks
// for each of its servers; one answer in the time of asking is enough. By a wrong
// clock they would be made too early.
func (w *Worker) forward(queue, set string) bool {
	if !w.clock.isRight() {
		return false
	}
	rest := w.rests[queue]
	return rest == nil || rest.look(queue+" "+set, time.Now())
}

// forwarded learns that delayed tasks have become pending.
func (w *Worker) forwarded(queue string) {
	if rest := w.rests[queue]; rest != nil {
		rest.lift()
	}
}

// question asks Redis, and once more where a hold is over and the probe is to be
// chosen.
func (w *Worker) question(ctx context.Context, a *account, ask ledger.DequeueRequest) (ledger.Dequeued, error) {
	got, err := w.dispatcher.Dequeue(ctx, ask)
	if err != nil || got.Choose == nil {
		return got, err
	}
	return w.takeProbe(ctx, a, ask, got.Choose)
}

// hand keeps the call for the handler that asynq is about to start.
func (w *Worker) hand(ctx context.Context, take *ledger.Delivery) bool {
	if !broker.Decodable(take.Message, take.Queue, take.ID) {
		// asynq would leave it in active for ever and stop recovering leases.
		w.discard(ctx, take)
		w.passTurn(ctx, take)
		w.giveSlot(ctx, take)
		return false
	}
	if left := w.parks.recent(take.ID); left > 0 {
		time.Sleep(left) //nolint:forbidigo // at most parkRest, for what asynq gives no signal of
	}
	w.takes.Store(take.ID, take)
	return true
}

// parkRest is how long after a park this process leaves a call alone. asynq
// keeps its own accounts of running tasks by their ids; the handler that parked
// a call must have left them before another takes the same call up.
const parkRest = 10 * time.Millisecond

// parks remembers which calls this process has just put back.
type parks struct{ at sync.Map }

func (p *parks) note(id string) {
	p.at.Store(id, time.Now())
	time.AfterFunc(time.Second, func() { p.at.Delete(id) })
}

// recent returns for how much longer a call is to be left alone.
func (p *parks) recent(id string) time.Duration {
	at, ok := p.at.Load(id)
	if !ok {
		return 0
	}
	return parkRest - time.Since(at.(time.Time))
}

// asynqLog lowers asynq's chatter: what it calls an error, callq has handled or
// reports in its own words.
type asynqLog struct {
	log interface{ Debug(string, ...any) }
}

func (l asynqLog) Debug(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
