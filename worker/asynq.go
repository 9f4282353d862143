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
	// asynqLease is how long asynq leases a task to a worker.
	asynqLease = 30 * time.Second
	// pollEmpty: asynq polls an empty queue again after 0.5 to 1.5 times this.
	pollEmpty = 250 * time.Millisecond
	// pollDelayed is how often asynq's forwarder moves due tasks to pending.
	pollDelayed = 500 * time.Millisecond
	// heldRecheck is the longest time for which a process relies on a hold that it has
	// read. Then it asks Redis again, so that it notices a close.
	heldRecheck = 500 * time.Millisecond
	// fullRecheck is how long a process waits while the fleet's concurrency is used up
	// before it asks Redis again.
	fullRecheck = 25 * time.Millisecond
	// maxWaiting is the longest time that a fetcher waits in dequeue. The task's lease of
	// 30 s starts before that wait.
	maxWaiting = 5 * time.Second
	// laneSize is how many calls one asynq server makes at once on a Cluster. A server has
	// one fetching goroutine. On a Cluster it dequeues one task in each round trip;
	// elsewhere it dequeues several, see prefetch.
	laneSize = 16
	maxLanes = 8
)

// weights are how often each queue is asked first: low still gets its share.
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
	// dispositionDone: the task is not on asynq's lists any more, or is removed now.
	dispositionDone dispositionKind = iota
	// dispositionRetry: the task comes back after the delay.
	dispositionRetry
	// dispositionArchive: the task goes to asynq's archive, for asynqmon.
	dispositionArchive
)

// putBack is the error that makes asynq retry a task.
type putBack struct{ disposition }

func (p *putBack) Error() string { return p.text }

// err returns the error that makes asynq carry out the disposition.
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

// retryDelay is asynq's RetryDelayFunc. asynq rounds due times down to whole seconds, so
// this function rounds them up: no call comes back early.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var back *putBack
	switch {
	case errors.As(err, &back):
		due := time.Now().Add(back.delay)
		if up := due.Truncate(time.Second); up.Before(due) {
			due = up.Add(time.Second)
		}
		// asynq adds the delay to a slightly later time, hence one millisecond more.
		return time.Until(due) + time.Millisecond
	default:
		return time.Second
	}
}

func isFailure(err error) bool {
	var back *putBack
	return errors.As(err, &back) && back.failed
}

// startServers starts to dequeue tasks of every upstream. stop drains, and must be called
// after an error too: handlers end, and tasks that were fetched but not started are put
// back.
func (w *Worker) startServers() (stop func(), err error) {
	var running []*asynq.Server
	stop = func() {
		var wg sync.WaitGroup
		for _, s := range running {
			wg.Go(s.Shutdown)
		}
		wg.Wait()
	}
	for _, a := range w.accounts {
		for _, s := range w.servers(a) {
			if err := s.Start(asynq.HandlerFunc(w.handle)); err != nil {
				return stop, err
			}
			running = append(running, s)
		}
	}
	return stop, nil
}

// servers returns the asynq servers of one upstream: one, but on a Cluster one for every
// laneSize calls at once, so that the single fetcher of a server is not the bottleneck.
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
			StrictPriority:           !w.clustered, // fetch draws the queue itself, for all calls of a script at once
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
	delivery := w.deliveries.start(id)
	if delivery == nil {
		return disposition{kind: dispositionRetry, delay: time.Second, text: "callq: the task came without its record"}.err()
	}
	a := w.accounts[tasks.UpstreamOf(delivery.Queue)]
	defer func() {
		w.deliveries.end(delivery)
		w.semaphoreOf(a).release(a)
		a.dequeueGate.open() // another call may be possible now
	}()
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("the handler of a call panicked", "call", delivery.ID, "panic", fmt.Sprint(p))
			err = disposition{kind: dispositionRetry, delay: 5 * time.Second, text: "callq: internal error, see the worker's log"}.err()
		}
	}()
	disp := w.traced(ctx, delivery, t.Headers())
	if disp.kind == dispositionRetry {
		w.queueIdles[delivery.Queue].noteCalls() // asynq will add a delayed task
	}
	return disp.err()
}

// growStack grows the goroutine's stack at once to the size that a call needs. asynq starts
// a goroutine for every task, with the smallest stack. Growing it step by step, with a copy
// each time, took a sixth of the worker's CPU time.
//
//go:noinline
func growStack() {
	var room [12 << 10]byte
	runtime.KeepAlive(&room)
}

// forward reports whether asynq should look for delayed tasks that are due. Each of asynq's
// servers asks; it is enough if one looks. With a wrong clock tasks would become due too
// early.
func (w *Worker) forward(queue, set string) bool {
	if !w.clock.isRight() {
		return false
	}
	idle := w.queueIdles[queue]
	return idle == nil || idle.shouldForward(queue+" "+set, time.Now())
}

// forwarded records that delayed tasks have become pending.
func (w *Worker) forwarded(queue string) {
	if idle := w.queueIdles[queue]; idle != nil {
		idle.open()
	}
}

// askLedger asks Redis for a call, and once more if a hold is over and the probe must be
// chosen.
func (w *Worker) askLedger(ctx context.Context, a *account, request ledger.DequeueRequest) (ledger.Dequeued, error) {
	got, err := w.dispatcher.Dequeue(ctx, request)
	if err != nil || got.Choose == nil {
		return got, err
	}
	return w.fetchProbe(ctx, a, request, got.Choose)
}

// handOver stores the delivery for the handler that asynq is about to start.
func (w *Worker) handOver(ctx context.Context, delivery *ledger.Delivery) bool {
	if !broker.Decodable(delivery.Message, delivery.Queue, delivery.ID) {
		// asynq would leave the task in active for ever and stop recovering leases.
		w.discard(ctx, delivery)
		w.passTurn(ctx, delivery)
		w.returnSlot(ctx, delivery)
		return false
	}
	if left := w.parks.recent(delivery.ID); left > 0 {
		time.Sleep(left) //nolint:forbidigo // at most parkRest; asynq gives no signal
	}
	w.deliveries.hand(delivery)
	return true
}

// parkRest is how long after a park this process does not start the call again. asynq
// tracks running tasks by their ids, so the handler that parked a call must have returned
// before another handler gets the same call.
const parkRest = 10 * time.Millisecond

// parks has the calls that this process has just put back.
type parks struct{ at sync.Map }

func (p *parks) note(id string) {
	p.at.Store(id, time.Now())
	time.AfterFunc(time.Second, func() { p.at.Delete(id) })
}

// recent returns how much longer a call must not be started.
func (p *parks) recent(id string) time.Duration {
	at, ok := p.at.Load(id)
	if !ok {
		return 0
	}
	return parkRest - time.Since(at.(time.Time))
}

// asynqLog writes asynq's messages at debug level: callq handles or logs asynq's errors
// itself.
type asynqLog struct {
	log interface{ Debug(string, ...any) }
}

func (l asynqLog) Debug(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }
