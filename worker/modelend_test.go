package worker

import (
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

// close lets all trouble end and time pass: every call must end, every one that
// is redriven then, and one more, must succeed.
func (f *fleet) close() {
	f.mood = "ok"
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
	f.settleAll("nothing happens any more, and calls do not end")
	for _, name := range f.circuits {
		f.closeCircuit(name)
	}
	f.enqueue(true, tasks.PriorityLow)
	for _, id := range f.ids {
		r, err := f.books.Get(f.ctx, f.calls[id].queue, id)
		f.must(err)
		if _, _, err := f.producer.Redrive(f.ctx, r); err != nil {
			f.rt.Fatal(err)
		}
	}
	f.settleAll("calls that come after all trouble are not made")
	f.checkBooks()
}

// settleAll goes on until no call is open, no task is left on asynq's lists, and
// nobody is under way.
func (f *fleet) settleAll(complaint string) {
	idle := 0
	for round := range 400 {
		busy := false
		for _, s := range slices.Clone(f.steps) {
			for s.stands {
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
		if !busy && len(f.steps) == 0 && f.open() == 0 && f.waiting() == 0 {
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
