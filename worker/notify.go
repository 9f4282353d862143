package worker

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/internal/pause"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/notify"
)

const (
	// notifyEvery is how often a worker looks for events.
	notifyEvery = time.Second
	// registerEvery is how often it records in Redis who receives events.
	registerEvery = time.Minute
)

// notifications finds events and delivers them to webhooks and to the program itself. If
// neither is configured there is none, and nothing is asked of Redis.
type notifications struct {
	worker     *Worker
	store      *notify.Store
	collector  *notify.Collector
	webhooks   map[string]*webhook // by upstream
	registered time.Time
}

// webhook is a receiver of events in this process.
type webhook struct {
	sender *notify.Sender
	pump   *notify.Pump
	// delivered has a value when a delivery has ended: the next event can be submitted.
	delivered chan struct{}
}

// newNotifications returns the notifications of a configuration; nil for none. It adds the
// account of each webhook.
func (w *Worker) newNotifications() (*notifications, error) {
	if len(w.cfg.Notify) == 0 && w.cfg.OnEvent == nil {
		return nil, nil
	}
	store := notify.NewStore(w.cfg.Redis, fmt.Sprintf("%d-%s", os.Getpid(), newToken()))
	n := &notifications{
		worker: w, store: store, webhooks: map[string]*webhook{},
		collector: notify.NewCollector(w.cfg.Redis, store, w.circuits, w.cfg.upstreamNames()),
	}
	for i, h := range w.cfg.Notify {
		r := h.receiver()
		sender, err := notify.NewSender(r, w.cfg.Redactor)
		if err != nil {
			return nil, fmt.Errorf("worker.Config: Notify[%d]: %w", i, err)
		}
		if n.webhooks[r.Upstream()] != nil {
			return nil, fmt.Errorf("worker.Config: Notify[%d].Name %q is listed twice", i, r.Name)
		}
		pump, err := notify.NewPump(w.cfg.Redis, store, r)
		if err != nil {
			return nil, err
		}
		hook := &webhook{sender: sender, pump: pump, delivered: make(chan struct{}, 1)}
		n.webhooks[r.Upstream()] = hook
		if err := w.addWebhook(r.Upstream(), hook); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// addWebhook adds the account of a webhook. It has a semaphore of its own, so that a slow
// receiver takes no permit from the calls.
func (w *Worker) addWebhook(upstream string, hook *webhook) error {
	p, err := notify.Policy()
	if err != nil {
		return err
	}
	a, err := newAccount(Upstream{Name: upstream, Policy: p, Concurrency: 1, Timeout: notify.Timeout + time.Second}, w.cfg, nil)
	if err != nil {
		return err
	}
	a.semaphore = newSemaphore(1)
	w.addAccount(a)
	return Handle(w, upstream, func(ctx context.Context, j *Job[notify.Message]) (struct{}, error) {
		return struct{}{}, hook.sender.Send(ctx, j.Args)
	})
}

// begin records who receives events, and makes the scripts note what happens, before the
// first call is made. If that fails, it is tried again while the worker runs.
func (n *notifications) begin(ctx context.Context) {
	if n == nil {
		return
	}
	err := n.register(ctx, time.Now())
	if err == nil {
		err = n.collector.Watch(ctx)
	}
	n.worker.noteRedisError(err)
}

// register records who receives events.
func (n *notifications) register(ctx context.Context, now time.Time) error {
	if err := n.store.Register(ctx, now, n.worker.cfg.receivers()); err != nil {
		return err
	}
	n.registered = now
	return nil
}

// notify finds and delivers events until ctx ends.
func (w *Worker) notify(ctx context.Context) {
	n := w.notifications
	if n == nil {
		return
	}
	var working sync.WaitGroup
	for _, hook := range n.webhooks {
		working.Go(func() { n.deliver(ctx, hook) })
	}
	if w.cfg.OnEvent != nil {
		working.Go(func() { n.listen(ctx) })
	}
	n.collect(ctx)
	working.Wait()
}

// collect looks for events once a second, in one process of the fleet.
func (n *notifications) collect(ctx context.Context) {
	defer n.leave(ctx, notify.Collecting)
	atOnceAndEvery(ctx, notifyEvery, func() {
		var err error
		if now := time.Now(); now.Sub(n.registered) >= registerEvery {
			err = n.register(ctx, now)
		}
		if err == nil {
			err = n.collectOnce(ctx)
		}
		n.note(ctx, err)
	})
}

func (n *notifications) collectOnce(ctx context.Context) error {
	leads, now, err := n.store.Lead(ctx, notify.Collecting)
	if err != nil || !leads {
		return err
	}
	found, err := n.collector.Collect(ctx, now)
	for receiver, events := range found.Lost {
		n.worker.log.Error("too many events wait for a receiver of notifications: the oldest were dropped",
			"receiver", receiver, "dropped", events, "most", notify.MostWaiting)
	}
	if found.Events > 0 {
		for _, hook := range n.webhooks {
			hook.wake()
		}
	}
	return err
}

// deliver submits the events of one webhook, one after the other.
func (n *notifications) deliver(ctx context.Context, hook *webhook) {
	tick := time.NewTicker(notifyEvery)
	defer tick.Stop()
	for {
		n.note(ctx, hook.pump.Run(ctx))
		select {
		case <-ctx.Done():
			return
		case <-hook.delivered:
		case <-tick.C:
		}
	}
}

// wake makes deliver look for the next event.
func (h *webhook) wake() {
	select {
	case h.delivered <- struct{}{}:
	default:
	}
}

// listen reports events to the program: each to one process of the fleet.
func (n *notifications) listen(ctx context.Context) {
	defer n.leave(ctx, notify.Listening)
	atOnceAndEvery(ctx, notifyEvery, func() { n.note(ctx, n.listenOnce(ctx)) })
}

func (n *notifications) listenOnce(ctx context.Context) error {
	for ctx.Err() == nil {
		leads, _, err := n.store.Lead(ctx, notify.Listening)
		if err != nil || !leads {
			return err
		}
		first, ok, err := n.store.First(ctx, notify.Listener)
		if err != nil || !ok {
			return err
		}
		found, err := first.Message.Event()
		if err == nil {
			var e Event
			if e, err = eventOf(found); err == nil {
				n.worker.cfg.OnEvent(e)
			}
		}
		if err != nil {
			n.worker.log.Error("an event is not reported", "error", err)
		}
		if err := n.store.Remove(context.WithoutCancel(ctx), notify.Listener, first); err != nil {
			return err
		}
	}
	return nil
}

// flushEvery is how often Flush looks whether events wait.
const flushEvery = 100 * time.Millisecond

// Flush waits until the events that have happened were delivered to the webhooks and to
// OnEvent, by this worker or another. The worker must be running. Flush is for programs whose
// Run is about to end, such as those that make the calls of one batch. Without Notify and
// OnEvent it returns at once. It returns the context's error if that ends before, or Redis's;
// the events then wait in Redis for the next worker.
func (w *Worker) Flush(ctx context.Context) error {
	n := w.notifications
	if n == nil {
		return nil
	}
	receivers := w.cfg.receivers()
	for {
		waits, err := n.collector.Waits(ctx)
		for name := range receivers {
			if err != nil || waits {
				break
			}
			_, waits, err = n.store.First(ctx, name)
		}
		if err != nil || !waits {
			return err
		}
		if err := pause.For(ctx, flushEvery); err != nil {
			return err
		}
	}
}

// leave lets another process take over a task at once.
func (n *notifications) leave(ctx context.Context, task string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastSweep)
	defer cancel()
	_ = n.store.Leave(ctx, task) // the lease ends by itself
}

// note logs an error of Redis, unless the worker is ending.
func (n *notifications) note(ctx context.Context, err error) {
	if ctx.Err() == nil {
		n.worker.noteRedisError(err)
	}
}

// isWebhook reports whether an upstream is that of a webhook. The program does not see its
// calls: neither its middleware nor its OnAttempt.
func (n *notifications) isWebhook(upstream string) bool {
	return n != nil && n.webhooks[upstream] != nil
}

// noteAttempt makes the next event follow when a delivery has ended. It reports whether the
// upstream is that of a webhook.
func (n *notifications) noteAttempt(upstream string, ended ledger.State) bool {
	if !n.isWebhook(upstream) {
		return false
	}
	if ended != "" {
		n.webhooks[upstream].wake()
	}
	return true
}

// close closes the connections to the receivers.
func (n *notifications) close() {
	if n == nil {
		return
	}
	for _, hook := range n.webhooks {
		hook.sender.Close()
	}
}

// receivers returns who receives events, with their types.
func (c Config) receivers() map[string][]notify.Type {
	receivers := map[string][]notify.Type{}
	for _, h := range c.Notify {
		receivers[h.Name] = h.receiver().Types
	}
	if c.OnEvent != nil {
		receivers[notify.Listener] = notify.Types
	}
	return receivers
}

// webhookNames returns the upstreams of the webhooks.
func (c Config) webhookNames() (names []string) {
	for _, h := range c.Notify {
		names = append(names, notify.UpstreamOf(h.Name))
	}
	return names
}

// semaphoreOf returns what bounds the calls of an account.
func (w *Worker) semaphoreOf(a *account) *semaphore {
	if a.semaphore != nil {
		return a.semaphore
	}
	return w.semaphore
}

// addAccount adds an account with its queues.
func (w *Worker) addAccount(a *account) {
	w.accounts[a.name] = a
	idle := &queueIdle{}
	for _, queue := range tasks.Queues(a.name) {
		if w.clustered {
			idle = &queueIdle{}
		}
		w.queueIdles[queue] = idle
	}
}
