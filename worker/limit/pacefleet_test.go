package limit_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// paced runs a fleet against an API that says in every answer what is left of its limit.
// Redis runs the real scripts, and the clock is simulated.
type paced struct {
	*clocked
	plan   *limit.Plan
	began  time.Time
	events eventHeap
	random *rand.Rand
	api    pacedAPI

	workers []*pacedWorker
	calls   int // that were not started yet
	// refused and used are the fleet's calls that the API refused and carried out, by window.
	refused, used map[int]int
	// least is the lowest number that an answer to one of the fleet's calls said is left.
	least int64
}

// pacedAPI is the API, and how long calls to it take.
type pacedAPI struct {
	limit  int
	window time.Duration
	// round is in what the answers give the reset, cut off; 0: exactly.
	round time.Duration
	// there is how long a request takes to arrive, back how long an answer takes, at most.
	there, back time.Duration
	// refill adds calls evenly, in place of all of them with each window.
	refill bool
	left   float64
	at     time.Duration // when left was computed
}

// pacedWorker is a process with its own limit of calls at once.
type pacedWorker struct {
	places  int
	asleep  bool
	waking  int // which of its alarms counts
	answers []limit.Answer
	at      []time.Duration // when the answers arrived
}

func newPaced(t *testing.T, seed uint64, keep int64, api pacedAPI, calls int, places ...int) *paced {
	t.Helper()
	f := &paced{
		clocked: newClocked(t), plan: pacePlan(t, keep), random: rand.New(rand.NewPCG(seed, 1)), api: api, calls: calls,
		refused: map[int]int{}, used: map[int]int{}, least: int64(api.limit),
	}
	f.began, f.api.left = f.now, float64(api.limit)
	for _, n := range places {
		w := &pacedWorker{places: n}
		f.workers = append(f.workers, w)
		f.in(0, func() { f.fetch(w) })
	}
	return f
}

func (f *paced) elapsed() time.Duration { return f.now.Sub(f.began) }

func (f *paced) in(d time.Duration, do func()) { heap.Push(&f.events, event{f.elapsed() + d, do}) }

func (f *paced) upTo(d time.Duration) time.Duration {
	return time.Duration(f.random.Int64N(int64(d) + 1))
}

// run runs until all calls have ended.
func (f *paced) run() {
	f.t.Helper()
	for len(f.events) > 0 {
		e := heap.Pop(&f.events).(event)
		f.advance(max(e.at-f.elapsed(), 0))
		e.do()
		if f.elapsed() > 48*time.Hour {
			f.t.Fatalf("%d calls did not start within two days", f.calls)
		}
	}
}

// fetch takes slots and sends calls until none may start.
func (f *paced) fetch(w *pacedWorker) {
	f.t.Helper()
	w.asleep = false
	for w.places > 0 && f.calls > 0 {
		slot, why := f.take(f.plan)
		if why != nil {
			w.asleep = true
			w.waking++
			alarm := w.waking
			f.in(min(why.Wait, 500*time.Millisecond), func() {
				if w.asleep && alarm == w.waking {
					f.fetch(w)
				}
			})
			return
		}
		w.places--
		f.calls--
		f.in(f.upTo(f.api.there), func() { f.arrive(w, slot) })
	}
}

// count makes a call of the API, and returns whether it is carried out, and what the answer
// says.
func (f *paced) count() (ok bool, left int64, reset time.Duration) {
	api, now := &f.api, f.elapsed()
	switch {
	case api.refill:
		api.left = min(api.left+float64(api.limit)*float64(now-api.at)/float64(api.window), float64(api.limit))
	case now/api.window != api.at/api.window:
		api.left = float64(api.limit)
	}
	api.at = now
	if ok = api.left >= 1; ok {
		api.left--
	}
	reset = api.window - now%api.window
	if api.refill {
		reset = time.Duration((float64(api.limit) - api.left) / float64(api.limit) * float64(api.window))
	}
	if api.round > 0 {
		reset = reset.Truncate(api.round)
	}
	return ok, int64(api.left), reset
}

func (f *paced) arrive(w *pacedWorker, slot limit.Slot) {
	f.t.Helper()
	ok, left, reset := f.count()
	f.least = min(f.least, left)
	window := int(f.elapsed() / f.api.window)
	if ok {
		f.used[window]++
	} else {
		f.refused[window]++
		f.calls++
	}
	f.in(f.upTo(f.api.back), func() {
		w.places++
		w.answers = append(w.answers, limit.Answer{Slot: slot.At, Readings: []limit.Reading{{Remaining: left, Reset: reset}}})
		w.at = append(w.at, f.elapsed())
		if len(w.answers) == 1 {
			f.in(f.upTo(20*time.Millisecond), func() { f.send(w) })
		}
		if !w.asleep {
			f.fetch(w)
		}
	})
}

// send reports a worker's answers.
func (f *paced) send(w *pacedWorker) {
	f.t.Helper()
	for i := range w.answers {
		w.answers[i].Received = time.Now().Add(w.at[i] - f.elapsed())
	}
	freed := f.report(f.plan, w.answers...)
	w.answers, w.at = nil, nil
	if freed && w.asleep {
		f.fetch(w)
	}
}

// other is another client of the account, which makes n calls, one after each pause.
func (f *paced) other(n int, pause time.Duration) {
	f.in(f.upTo(2*pause), func() {
		f.count()
		if n > 1 && f.calls > 0 {
			f.other(n-1, pause)
		}
	})
}

// total adds up, without the last window, in which the calls come to an end.
func (f *paced) total() (used, refused, windows, most int) {
	for window := range f.used {
		windows = max(windows, window)
	}
	for window, n := range f.used {
		if window < windows {
			used += n
		}
	}
	for _, n := range f.refused {
		refused += n
		most = max(most, n)
	}
	return used, refused, windows, most
}

func TestAPacedFleetUsesAWindowsWholeLimitAndIsNotRefused(t *testing.T) {
	t.Parallel()
	redistest.LongInMini(t)
	second, minute := time.Second, time.Minute
	for name, c := range map[string]struct {
		api    pacedAPI
		keep   int64
		calls  int
		places []int
		// perWindow is how many calls may be refused in a window: those that find out whether
		// it is new, where the API rounds the reset down.
		perWindow int
	}{
		"ten thousand calls":             {api: pacedAPI{limit: 500, window: minute, there: 50 * time.Millisecond, back: 100 * time.Millisecond}, calls: 10_000, places: []int{16}},
		"three workers":                  {api: pacedAPI{limit: 500, window: minute, there: 50 * time.Millisecond, back: 100 * time.Millisecond}, calls: 1500, places: []int{16, 5, 11}},
		"a window of a second":           {api: pacedAPI{limit: 50, window: second, there: 5 * time.Millisecond, back: 10 * time.Millisecond}, calls: 1000, places: []int{4, 4}},
		"answers that take 20 s":         {api: pacedAPI{limit: 100, window: minute, there: 200 * time.Millisecond, back: 20 * second}, calls: 600, places: []int{200}},
		"a limit below the concurrency":  {api: pacedAPI{limit: 7, window: 10 * second, there: 50 * time.Millisecond, back: 500 * time.Millisecond}, calls: 100, places: []int{16, 16}},
		"some are kept for others":       {api: pacedAPI{limit: 100, window: minute, there: 50 * time.Millisecond, back: 100 * time.Millisecond}, keep: 20, calls: 1000, places: []int{16}},
		"whole seconds, rounded down":    {api: pacedAPI{limit: 200, window: minute, round: second, there: 50 * time.Millisecond, back: 100 * time.Millisecond}, calls: 1200, places: []int{16}, perWindow: 2},
		"a bucket that is always filled": {api: pacedAPI{limit: 200, window: minute, refill: true, there: 50 * time.Millisecond, back: 100 * time.Millisecond}, calls: 1000, places: []int{16}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newPaced(t, 1, c.keep, c.api, c.calls, c.places...)
			f.run()
			used, refused, windows, most := f.total()
			share := float64(used) / float64(windows*(c.api.limit-int(c.keep)))
			t.Logf("%d windows: %.1f%% of the limit used, %d refused", windows, 100*share, refused)
			if most > c.perWindow || share < 0.95 {
				t.Errorf("%.1f%% of the limit were used, and up to %d calls were refused in a window; want over 95%%, and %d", 100*share, most, c.perWindow)
			}
		})
	}
}

func TestAPacedFleetIsNeverRefusedWhateverTheLimitAndTheLatency(t *testing.T) {
	t.Parallel()
	redistest.LongInMini(t)
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 2))
			upTo := func(d time.Duration) time.Duration { return time.Millisecond + time.Duration(random.Int64N(int64(d))) }
			api := pacedAPI{
				limit: 1 + random.IntN(60), window: 10*time.Second + upTo(20*time.Second), refill: random.IntN(4) == 0,
				there: upTo(900 * time.Millisecond), back: upTo(2 * time.Second),
			}
			places := make([]int, 1+random.IntN(3))
			for i := range places {
				places[i] = 1 + random.IntN(30)
			}
			f := newPaced(t, seed, random.Int64N(int64(api.limit)), api, 5*api.limit, places...)
			_, left, reset := f.count()
			f.answered(f.plan, f.takeSlots(f.plan, 1)[0], left, reset)
			f.run()
			if _, refused, _, _ := f.total(); refused > 0 {
				t.Errorf("%+v, keep %d, places %v: %d calls were refused", api, f.plan.Paces[0].Keep, places, refused)
			}
			if keep := f.plan.Paces[0].Keep; f.least < keep {
				t.Errorf("%+v, places %v: %d were left, want %d to be kept", api, places, f.least, keep)
			}
		})
	}
}

func TestAPacedFleetBesideAnotherClientIsSeldomRefused(t *testing.T) {
	t.Parallel()
	redistest.LongInMini(t)
	for _, pause := range []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second} {
		for _, back := range []time.Duration{100 * time.Millisecond, 2 * time.Second} {
			t.Run(fmt.Sprintf("a call every %s, answers within %s", pause, back), func(t *testing.T) {
				t.Parallel()
				f := newPaced(t, 1, 0, pacedAPI{limit: 300, window: time.Minute, there: 50 * time.Millisecond, back: back}, 700, 8, 8)
				f.other(1_000_000, pause)
				f.run()
				_, refused, windows, most := f.total()
				t.Logf("%d windows, %d refused", windows, refused)
				if most > 2 {
					t.Errorf("%d calls were refused in a window, want 2 at most: %v", most, f.refused)
				}
			})
		}
	}
}
