package worker

import (
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

// close ends the general faults and lets time pass. While single calls and endpoints still
// have a fault, all good calls must be made. Then these faults end too: every call must
// end, and after a redrive every call, and one more, must succeed.
func (f *fleet) close() {
	f.mood, f.disk.slow = "ok", false
	for queue := range f.paused {
		f.paused[queue] = false
		f.must(f.client.Del(f.ctx, asynqKey(queue, "paused")).Err())
	}
	for i, p := range f.procs {
		p.frozen = false
		if p.drained {
			f.end(p)
			f.procs[i] = f.newProc()
		}
		f.beginRefresh(f.procs[i])
	}
	f.finishGood()
	f.cured = true
	f.finishAll("calls do not end")
	for _, name := range f.circuits {
		f.closeCircuit(name)
	}
	f.enqueue(true, tasks.PriorityLow)
	for _, id := range f.ids {
		r, err := f.ledger.Get(f.ctx, f.calls[id].queue, id)
		f.must(err)
		if _, _, err := f.records.Redrive(f.ctx, r); err != nil {
			f.rt.Fatal(err)
		}
	}
	f.finishAll("calls after the end of all faults are not made")
	f.checkLedger()
}

// rungsForEach is the most holds, for each faulty call, until all good calls are made.
const rungsForEach = 12

// finishGood continues until every good call has ended, and checks the number of holds
// until then. A faulty call may wait, for a reason that is shown.
func (f *fleet) finishGood() {
	faulty, before := 1, f.rungs
	for _, id := range f.ids {
		if !f.good(f.calls[id]) {
			faulty++
		}
	}
	f.runUntil("good calls are not made while other calls are faulty", func() bool {
		for _, id := range f.ids {
			if f.good(f.calls[id]) && f.hget(f.record(id), "state") == "open" {
				return false
			}
		}
		return true
	})
	if n := f.rungs - before; n > faulty*rungsForEach {
		f.rt.Fatalf("it took %d holds until all good calls were made, want at most %d with %d faulty calls\n%s", n, faulty*rungsForEach, faulty-1, f.describe())
	}
	for _, id := range f.ids {
		if f.hget(f.record(id), "state") == "open" && !f.waitsForAReason(id) {
			f.rt.Fatalf("call %s is open for no reason that is shown\n%s", id, f.describe())
		}
	}
}

// waitsForAReason reports whether a circuit holds a call, or it has a time for its next
// attempt, or it is in progress.
func (f *fleet) waitsForAReason(id string) bool {
	for _, name := range []string{modelAccount, f.calls[id].endpoint} {
		if f.look(name).open {
			return true
		}
	}
	queue := f.calls[id].queue
	for _, set := range []string{"scheduled", "retry", "lease"} {
		if f.client.ZScore(f.ctx, asynqKey(queue, set), id).Err() == nil {
			return true
		}
	}
	pending, err := f.client.LRange(f.ctx, asynqKey(queue, "pending"), 0, -1).Result()
	f.must(err)
	return slices.Contains(pending, id) // a worker dequeues it next
}

// finishAll continues until no call is open, no task is left on asynq's lists, and
// no step is in progress.
func (f *fleet) finishAll(complaint string) {
	f.runUntil(complaint, func() bool { return f.open() == 0 && f.waiting() == 0 })
}

// runUntil wakes all steps until the end is reached and no step is in progress.
func (f *fleet) runUntil(complaint string, end func() bool) {
	idle := 0
	for round := range 400 {
		busy := false
		for _, s := range slices.Clone(f.steps) {
			for s.paused {
				busy = true
				f.wake(s, false)
				f.check(f.rt)
			}
		}
		f.recover()
		for p := f.procs[round%modelWorkers]; !p.drained && f.begin(p, modelUpstream, round%3); {
			busy = true
		}
		f.check(f.rt)
		if !busy && len(f.steps) == 0 && end() {
			return
		}
		if idle++; busy {
			idle = 0
		}
		c := f.look(modelAccount)
		held := time.Until(time.UnixMilli(max(c.until, c.limited)))
		if idle <= 2 || held <= 0 {
			held = min(time.Duration(1<<min(idle, 12))*250*time.Millisecond, 30*time.Minute)
		}
		f.pass(held)
	}
	f.rt.Fatalf("%s: %s", complaint, f.describe())
}
