package worker

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// refreshEvery is how often the circuits' records are read, in case an announcement was
// lost, and the clocks compared.
const refreshEvery = time.Second

// follow reacts to changes of the fleet's circuits and to new calls: at once if they are
// announced, or within a second if an announcement was lost. It also writes back a record
// that Redis has lost, and has a changed credential tested.
func (w *Worker) follow(ctx context.Context) {
	upstreams := slices.Sorted(maps.Keys(w.accounts))
	changes := w.cfg.Redis.Subscribe(ctx, redislua.Channel)
	defer func() { _ = changes.Close() }() // it ends with its connection, whatever Close returns
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case m, ok := <-changes.Channel():
			if !ok {
				return
			}
			_, rest, _ := strings.Cut(m.Payload, "{")
			queue, _, _ := strings.Cut(rest, "}")
			// Any client may publish anything on a channel.
			if idle := w.queueIdles[queue]; idle != nil {
				w.accounts[tasks.UpstreamOf(queue)].dequeueGate.open()
				idle.open()
			}
		case <-tick.C:
			clockErr := w.checkClock(ctx)
			recovered, err := w.circuits.Refresh(ctx, probeLease, upstreams...)
			if err == nil {
				err = w.probeRotated(ctx)
			}
			if clockErr != nil {
				err = clockErr // both errors are about Redis: one is enough to log
			}
			if err == nil {
				w.noteRedisAnswer()
			}
			w.noteRedisError(err)
			for _, name := range recovered {
				w.log.Warn("Redis had lost the record of a circuit: it was written back", "circuit", name)
				w.accounts[name].dequeueGate.open()
			}
		}
	}
}
