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
	// heldRecheck is the longest that a process relies on the hold that it last read
	// before it asks Redis again, so that it notices a close.
	heldRecheck = 500 * time.Millisecond
	// fullRecheck is the longest that a process waits, with as many calls in
	// flight as may be, before it asks whether another process has made room.
	fullRecheck = 25 * time.Millisecond
	// maxWaiting is the longest that a fetcher waits in place. asynq reckons the
	// 30 s of the task's lease, and the wrapper the 10 s of its script, from
	// before the wait.
	maxWaiting = 5 * time.Second
	// laneSize is how many calls one asynq server makes at once on a Cluster. A
	// server has one fetching goroutine, which dequeues one task a round trip on a
	// Cluster; elsewhere it dequeues several, see prefetch.
	laneSize = 16
	maxLanes = 8
)

// The weights with which a server asks its queues: low still gets its share.
var weights = map[tasks.Priority]int{tasks.PriorityHigh: 12, tasks.PriorityNormal: 6, tasks.PriorityLow: 3}

// disposition is what asynq does with a task after the ledger has recorded it.
type disposition struct {
	kind dispositionKind
	// delay is when the task comes back, for dispositionRetry.
	delay time.Duration
	// failed reports a real failed attempt, so that asynqmon counts only those.
	failed bool
	// text is what asynqmon shows as the last error.
	text string
}

type dispositionKind int

const (
	// dispositionDone: the task is off asynq's lists, or is taken off now.
	dispositionDone dispositionKind = iota
	// dispositionRetry: the task comes back after the delay.
	dispositionRetry
	// dispositionArchive: the task goes to asynq's archive, for asynqmon.
	dispositionArchive
)

// putBack is the error that has asynq retry a task.
type putBack struct{ disposition }

func (p *putBack) Error() string { return p.text }

// err is the error that has asynq carry out the disposition.
func (disp disposition) err() error {
	disp.text = ending.ErrorText(disp.text)
	switch disp.kind {
	case dispositionRetry:
		return &putBack{disp}
	case dispositionArchive:
		return fmt.Errorf("%s: %w", disp.text, asynq.SkipRetry)
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
		// One millisecond more: asynq adds this to a later time.
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

// handle is asynq's handler: it makes the call that dequeue has returned.
func (w *Worker) handle(ctx context.Context, t *asynq.Task) (err error) {
	growStack()
	id := t.ResultWriter().TaskID()
	v, ok := w.deliveries.LoadAndDelete(id)
	if !ok {
		return disposition{kind: dispositionRetry, delay: time.Second, text: "callq: the task came without its record"}.err()
	}
	delivery := v.(*ledger.Delivery)
	w.running.Store(delivery, nil)
	a := w.accounts[tasks.UpstreamOf(delivery.Queue)]
	defer func() {
		w.running.Delete(delivery)
		w.semaphore.release(a)
		a.dequeueGate.open() // there may be room for another call now
	}()
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("a call's handling panicked", "call", delivery.ID, "panic", fmt.Sprint(p))
			err = disposition{kind: dispositionRetry, delay: 5 * time.Second, text: "callq: internal error, see the worker's log"}.err()
		}
	}()
	disp := w.process(ctx, delivery)
	if disp.kind == dispositionRetry {
		w.queueIdles[delivery.Queue].noteCalls() // there will be a delayed task
	}
	return disp.err()
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

// forward reports whether asynq should look for delayed tasks that are due. Each of
// asynq's servers asks; one that looks is enough. With a wrong clock tasks would become
// due too early.
func (w *Worker) forward(queue, set string) bool {
	if !w.clock.isRight() {
		return false
	}
	idle := w.queueIdles[queue]
	return idle == nil || idle.shouldForward(queue+" "+set, time.Now())
}

// forwarded notes that delayed tasks have become pending.
func (w *Worker) forwarded(queue string) {
	if idle := w.queueIdles[queue]; idle != nil {
		idle.open()
	}
}

// askLedger asks Redis, and once more where a hold is over and the probe is to be
// chosen.
func (w *Worker) askLedger(ctx context.Context, a *account, request ledger.DequeueRequest) (ledger.Dequeued, error) {
	got, err := w.dispatcher.Dequeue(ctx, request)
	if err != nil || got.Choose == nil {
		return got, err
	}
	return w.fetchProbe(ctx, a, request, got.Choose)
}

// handOver keeps the call for the handler that asynq is about to start.
func (w *Worker) handOver(ctx context.Context, delivery *ledger.Delivery) bool {
	if !broker.Decodable(delivery.Message, delivery.Queue, delivery.ID) {
		// asynq would leave it in active for ever and stop recovering leases.
		w.discard(ctx, delivery)
		w.passTurn(ctx, delivery)
		w.returnSlot(ctx, delivery)
		return false
	}
	if left := w.parks.recent(delivery.ID); left > 0 {
		time.Sleep(left) //nolint:forbidigo // at most parkRest, for what asynq gives no signal of
	}
	w.deliveries.Store(delivery.ID, delivery)
	return true
}

// parkRest is for how long after a park this process does not start the call again.
// asynq tracks its running tasks by their ids; the handler that parked
// a call must have returned before another handler gets the same call.
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

// asynqLog writes asynq's messages at debug level: callq handles what asynq calls an
// error, or logs it itself.
type asynqLog struct {
	log interface{ Debug(string, ...any) }
}

func (l asynqLog) Debug(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
