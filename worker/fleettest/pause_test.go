package fleettest

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// An operator pauses and resumes the three queues in asynq's dashboard.
const (
	normalQueue = upstream
	highQueue   = upstream + ":high"
	lowQueue    = upstream + ":low"
)

func TestPausesAndHoldsAreIndependent(t *testing.T) {
	t.Parallel()
	s := fleetSize(t)
	s.calls /= 10
	s.hold = max(s.hold, 12*time.Second) // much happens during one
	f := start(t, setup{size: s})
	const refuse, renewed = "shared * * -> ok x%d latency=20ms; %s retry-after=%d latency=20ms forever", "shared * * -> ok latency=300ms; ok forever"

	// Pausing a queue before a hold: the other queue is held, and runs again after the hold.
	f.pause(normalQueue)
	f.script(refuse, s.calls/4, quota, s.seconds())
	f.send("normal", s.calls)
	f.send("high", s.calls, tasks.PriorityHigh)
	first := f.awaitHold(0)
	f.script(renewed)
	f.awaitEnded("high", 0)
	wantOneProbe(t, f, first, f.probeAfter(first).Done)
	f.wantPaused(normalQueue, true)
	f.wantNoArrival("/normal/", time.Time{}, time.Now())

	// Resuming a queue and pausing another during a hold does not change the hold. After it
	// the resumed queue runs, and the paused one does not.
	f.script(refuse, s.calls/4, quota, s.seconds())
	f.send("again", s.calls, tasks.PriorityHigh)
	second := f.awaitHold(first.Epoch)
	f.script(renewed)
	f.resume(normalQueue)
	f.pause(highQueue)
	f.wantHold(second)
	f.awaitEnded("normal", 0)
	healed := time.Now()
	wantOneProbe(t, f, second, f.probeAfter(second).Done)
	f.wantNoArrival("/", second.Since.Add(f.slack()), second.Until)
	f.wantNoArrival("/again/", second.Until, healed)
	f.wantPaused(highQueue, true)
	f.wantPaused(normalQueue, false)
	f.resume(highQueue)
	f.awaitEnded("again", 0)

	// Pausing a queue after a hold.
	f.pause(lowQueue)
	f.send("low", s.calls, tasks.PriorityLow)
	f.send("last", s.calls)
	f.awaitEnded("last", 0)
	f.wantNoArrival("/low/", time.Time{}, time.Now())
	f.wantPaused(lowQueue, true)
	f.resume(lowQueue)
	f.awaitEnded("low", 0)
	for _, batch := range []string{"normal", "high", "again", "low", "last"} {
		f.wantDone(batch, s.calls, 1)
		f.wantBalanced(batch)
	}
}

func (f *fleet) pause(queue string) {
	f.t.Helper()
	if err := f.inspector.PauseQueue(queue); err != nil {
		f.t.Fatal(err)
	}
	// A call that a worker has just dequeued may still be sent.
	f.awaitTime(time.Now().Add(f.slack()))
}

func (f *fleet) resume(queue string) {
	f.t.Helper()
	if err := f.inspector.UnpauseQueue(queue); err != nil {
		f.t.Fatal(err)
	}
}

// queue returns what asynq's dashboard shows of a queue.
func (f *fleet) queue(name string) *asynq.QueueInfo {
	f.t.Helper()
	info, err := f.inspector.GetQueueInfo(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return info
}

func (f *fleet) wantPaused(queue string, want bool) {
	f.t.Helper()
	if got := f.queue(queue).Paused; got != want {
		f.t.Errorf("queue %s: paused %t, want %t", queue, got, want)
	}
}

// wantNoArrival checks that no call whose path begins with prefix arrived in that time.
func (f *fleet) wantNoArrival(prefix string, from, to time.Time) {
	f.t.Helper()
	var calls []simapi.Call
	for _, c := range f.arrivals(from, to) {
		if len(c.Path) >= len(prefix) && c.Path[:len(prefix)] == prefix {
			calls = append(calls, c)
		}
	}
	if len(calls) > 0 {
		f.t.Errorf("%d calls under %s arrived during the pause: %s", len(calls), prefix, inWords(calls, to))
	}
}

// wantHold checks that the account's hold has not changed.
func (f *fleet) wantHold(hold circuit.Record) {
	f.t.Helper()
	if now := f.circuit(); !now.Held(time.Now()) || now.Epoch != hold.Epoch || !now.Until.Equal(hold.Until) {
		f.t.Errorf("the hold is now %+v, want it unchanged: %+v", now, hold)
	}
}
