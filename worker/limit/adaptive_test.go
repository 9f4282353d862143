package limit_test

import (
	"container/heap"
	"testing"
	"time"

	lua "github.com/yuin/gopher-lua"

	"github.com/seed-2903acc3/callq/worker/limit"
)

// simulation runs a fleet against an API with a hidden rate, with the Lua functions that
// Redis runs and a simulated clock: minutes pass at once, and every run is the same.
type simulation struct {
	t      *testing.T
	vm     *lua.LState
	state  *lua.LTable
	now    time.Duration
	events eventHeap

	// The circuit.
	epoch, rung int
	until       time.Duration // the end of the hold; 0 while it is closed
	probing     bool
	due         time.Duration // when the next slot is due

	// The API: a bucket of one second's calls that fills at the hidden rate.
	hidden, bucket float64
	filled         time.Duration

	sent, refused map[int]int // calls in each second
}

type event struct {
	at time.Duration
	do func()
}

type eventHeap []event

func (h eventHeap) Len() int           { return len(h) }
func (h eventHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h eventHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)        { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}

const (
	latency = 50 * time.Millisecond
	ahead   = 500 * time.Millisecond
)

func simulate(t *testing.T, concurrency int, length time.Duration, hidden func(second int) float64) *simulation {
	t.Helper()
	vm := lua.NewState()
	t.Cleanup(vm.Close)
	if err := vm.DoString(limit.AdaptiveSource() + "rate, used, cut = adaptive_rate, adaptive_used, adaptive_cut\n"); err != nil {
		t.Fatal(err)
	}
	r := &simulation{t: t, vm: vm, state: vm.NewTable(), bucket: hidden(0), sent: map[int]int{}, refused: map[int]int{}}
	for i := range concurrency {
		r.in(time.Duration(i)*time.Millisecond, r.work)
	}
	for r.now < length {
		e := heap.Pop(&r.events).(event)
		r.now = e.at
		r.hidden = hidden(r.second())
		e.do()
	}
	return r
}

func (r *simulation) second() int { return int(r.now / time.Second) }

func (r *simulation) in(d time.Duration, do func()) { heap.Push(&r.events, event{r.now + d, do}) }

// call calls a Lua function and returns its results.
func (r *simulation) call(name string, results int, args ...lua.LValue) []lua.LValue {
	r.t.Helper()
	err := r.vm.CallByParam(lua.P{Fn: r.vm.GetGlobal(name), NRet: results, Protect: true}, append([]lua.LValue{r.state}, args...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	got := make([]lua.LValue, results)
	for i := range got {
		got[i] = r.vm.Get(i - results)
	}
	r.vm.Pop(results)
	return got
}

// store writes pairs of field and value to the state, as HSET does.
func (r *simulation) store(pairs lua.LValue) {
	list := pairs.(*lua.LTable)
	for i := 1; i < list.Len(); i += 2 {
		r.state.RawSet(list.RawGetInt(i), lua.LString(list.RawGetInt(i+1).String()))
	}
}

func micros(d time.Duration) lua.LNumber { return lua.LNumber(d.Microseconds()) }

// work is one slot of the fleet's concurrency: it asks for a call, as the dequeue script does.
func (r *simulation) work() {
	if r.until > r.now || r.until > 0 && r.probing {
		r.in(max(r.until-r.now, 10*time.Millisecond), r.work)
		return
	}
	slot := max(r.due, r.now)
	if slot-r.now > ahead {
		r.in(slot-r.now-ahead, r.work)
		return
	}
	rate := float64(r.call("rate", 1, lua.LNumber(limit.AdaptiveStart))[0].(lua.LNumber))
	r.store(r.call("used", 1, micros(r.now), micros(slot))[0])
	r.due = slot + time.Duration(float64(time.Second)/rate)
	epoch, probe := r.epoch, r.until > 0
	r.probing = probe
	r.in(slot-r.now, func() {
		if !probe && epoch != r.epoch { // the circuit has changed: ask again
			r.work()
			return
		}
		r.in(latency/2, func() { r.arrive(epoch, probe) })
	})
}

func (r *simulation) arrive(epoch int, probe bool) {
	r.bucket = min(r.hidden, r.bucket+(r.now-r.filled).Seconds()*r.hidden)
	r.filled = r.now
	r.sent[r.second()]++
	refused := r.bucket < 1
	if refused {
		r.refused[r.second()]++
	} else {
		r.bucket--
	}
	r.in(latency/2, func() {
		switch {
		case refused && (probe || epoch == r.epoch && r.until == 0):
			r.cut()
		case !refused && probe:
			r.epoch, r.rung, r.until, r.probing = r.epoch+1, 0, 0, false
		}
		r.work()
	})
}

// cut does what the circuit does after a refusal: it holds until the next slot, then by a ladder.
func (r *simulation) cut() {
	got := r.call("cut", 2, lua.LNumber(limit.AdaptiveStart), micros(r.now))
	r.store(got[1])
	r.due = time.Duration(lua.LVAsNumber(got[0])) * time.Microsecond
	r.epoch, r.rung, r.probing = r.epoch+1, r.rung+1, false
	r.until = r.due
	if r.rung > 1 {
		r.until = r.now + time.Second<<min(r.rung-2, 5)
	}
}

// share returns, for the seconds from from to to, the share of the calls that were
// refused, and the share of the hidden rate that was used.
func (r *simulation) share(from, to int, hidden float64) (refused, used float64) {
	sent, no := 0, 0
	for s := from; s < to; s++ {
		sent, no = sent+r.sent[s], no+r.refused[s]
	}
	return float64(no) / float64(sent), float64(sent-no) / (hidden * float64(to-from))
}

func TestAnAdaptiveRateUsesAChangingHiddenLimitAndIsSeldomRefused(t *testing.T) {
	t.Parallel()
	const high, low = 100, 30
	r := simulate(t, 32, 9*time.Minute, func(s int) float64 {
		if s >= 180 && s < 360 {
			return low
		}
		return high
	})
	for _, phase := range []struct {
		from, to int
		hidden   float64
	}{{30, 180, high}, {210, 360, low}, {410, 540, high}} {
		refused, used := r.share(phase.from, phase.to, phase.hidden)
		t.Logf("from %d s to %d s: %.2f%% refused, %.1f%% of %.0f/s used", phase.from, phase.to, 100*refused, 100*used, phase.hidden)
		if refused > 0.01 || used < 0.9 {
			t.Errorf("from %d s to %d s: %.2f%% of the calls were refused and %.1f%% of %.0f/s used; want under 1%% and 90%% or more",
				phase.from, phase.to, 100*refused, 100*used, phase.hidden)
		}
	}
}

func TestAnAdaptiveRateThatIsNotUsedDoesNotGrow(t *testing.T) {
	t.Parallel()
	// With a concurrency of 1 at most 20 calls a second are made, whatever the API allows.
	r := simulate(t, 1, 5*time.Minute, func(int) float64 { return 1000 })
	if rate := r.call("rate", 1, lua.LNumber(limit.AdaptiveStart))[0].(lua.LNumber); rate > 40 {
		t.Errorf("the rate is %.0f/s, want 40/s at most: only 20/s are used", float64(rate))
	}
}

func TestACutWithinFiveSecondsOfTheLastOneIsDeeper(t *testing.T) {
	t.Parallel()
	r := simulate(t, 0, 0, func(int) float64 { return 1 })
	for _, cut := range []struct {
		after time.Duration
		share string
	}{{0, "0.85"}, {4900 * time.Millisecond, "0.6"}, {5100 * time.Millisecond, "0.85"}} {
		r.now += cut.after
		r.store(r.call("cut", 2, lua.LNumber(limit.AdaptiveStart), micros(time.Hour+r.now))[1])
		if share := r.state.RawGetString("cut").String(); share != cut.share {
			t.Errorf("share that a cut %s after the last one leaves: got %s, want %s", cut.after, share, cut.share)
		}
	}
}
