package fleettest

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// budget is the number of calls in the budget of these tests.
func (s size) budget() int { return s.calls / 20 * 2 }

// small returns a size with few calls, for a budget; the full size makes 64 at once.
func small(t *testing.T) size {
	t.Helper()
	s := four(t, 8)
	if s.full {
		s.concurrency, s.calls = 16, 10_000
	}
	return s
}

// budgetOf returns a budget for a month, so that no new window starts during the test.
func budgetOf(calls int) string { return fmt.Sprintf(`budget: ["%d calls/month"]`, calls) }

func TestABudgetIsSpentToTheLastCallAndNeverOverdrawn(t *testing.T) {
	t.Parallel()
	s := small(t)
	n, batch := s.budget(), "b"
	f := start(t, setup{size: s, settings: budgetOf(n), api: simapi.Config{Latency: simapi.Latency{Min: 20 * time.Millisecond}}})
	f.send(batch, 4*n)
	held := f.awaitLimited()
	f.wantSpent(n)
	if held.LimitedBy != "budget" || held.LimitedText != fmt.Sprintf("%d calls/month", n) {
		t.Errorf("limit that holds the account: got %q, %q", held.LimitedBy, held.LimitedText)
	}
	if next := held.Limited; next.Day() != 1 || !next.Equal(next.Truncate(time.Hour)) || time.Until(next) > 31*24*time.Hour {
		t.Errorf("the account is held until %s, want the first of the next month", next)
	}

	// An operator can reset the count.
	f.release(upstream)
	f.awaitAPI("the second budget to be spent", func(s simapi.Stats) bool { return s.Arrivals >= int64(2*n) && s.InFlight == 0 })
	f.awaitLimited()
	f.wantSpent(2 * n)

	// A budget that is raised keeps what was used.
	f.settings = budgetOf(n + n/2)
	f.restart()
	f.awaitAPI("the rest of the raised budget to be spent", func(s simapi.Stats) bool { return s.Arrivals >= int64(2*n+n/2) && s.InFlight == 0 })
	if held = f.awaitLimited(); held.LimitedText != fmt.Sprintf("%d calls/month", n+n/2) {
		t.Errorf("the account is held by %q after the budget was raised", held.LimitedText)
	}
	f.wantSpent(2*n + n/2)
	if c := f.counts(batch); c.Done != int64(2*n+n/2) || c.Open != int64(4*n)-c.Done {
		t.Errorf("the counts are %+v, want %d done and the rest open", c, 2*n+n/2)
	}
	f.wantBalanced(batch)
}

// wantSpent checks that n calls have arrived, and that no more follow.
func (f *fleet) wantSpent(n int) {
	f.t.Helper()
	f.awaitTime(time.Now().Add(f.slack()))
	if got := f.sim.Stats().Arrivals; got != int64(n) {
		f.t.Errorf("%d calls have arrived, want %d", got, n)
	}
}

func TestAWorkerThatDiesUsesNoMoreOfABudgetThanItsCallsInProgress(t *testing.T) {
	t.Parallel()
	s := small(t)
	n := s.budget()
	f := start(t, setup{size: s, settings: budgetOf(n) + "\n    timeout: 2s", policy: `
backoffs: {standard: {floor: 1ms, base: 1ms, cap: 1ms, attempts: 6}}
breaker: {window: 30s, min_calls: 100000, ratio: 0.5}
`})
	f.script("shared * * -> ok x%d latency=20ms; hang x%d; ok latency=20ms forever", n/4, s.capacity())
	f.send("b", 4*n)
	f.awaitAPI("all calls at once to hang", func(now simapi.Stats) bool { return now.InFlight == s.capacity() })
	f.processes[0].kill()
	f.awaitLimited()
	f.awaitTime(time.Now().Add(f.slack()))
	spent := int(f.sim.Stats().Arrivals)
	t.Logf("%d of %d calls arrived", spent, n)
	if spent > n || spent < n-s.concurrency {
		t.Errorf("%d calls arrived with a budget of %d, want all except at most %d of the killed process", spent, n, s.concurrency)
	}
}

func TestCallsThatWaitForTheNextWindowOfALimitCostNothing(t *testing.T) {
	t.Parallel()
	s := four(t, 8)
	const batch, may = "b", 50
	n := 10 * s.calls
	if s.full {
		n = 100_000
	}
	f := start(t, setup{size: s, settings: fmt.Sprintf(`limits: ["%d/month"]`, may)})
	f.send(batch, n)
	held := f.awaitLimited()
	if held.LimitedBy != "limit" || held.LimitedText != fmt.Sprintf("%d/month", may) {
		t.Errorf("limit that holds the account: got %q, %q", held.LimitedBy, held.LimitedText)
	}
	f.await("what has ended to be recorded", func() bool { return f.queue(normalQueue).Active == 0 })
	f.resetCommands()
	cpu, began := f.redisCPU(), time.Now()
	f.awaitTime(began.Add(4 * time.Second))
	ran, took := f.ran(), time.Since(began)
	t.Logf("%d calls waited: Redis ran %d scripts in %s, with %s of its processor", n-may, ran["evalsha"], took, f.redisCPU()-cpu)
	for _, command := range []string{"rpoplpush", "lrem", "rpush", "lpush"} {
		if ran[command] > 0 {
			t.Errorf("%s ran %d times while the limit was used up: calls were taken out of the queue and put back", command, ran[command])
		}
	}
	if info := f.queue(normalQueue); info.Pending != n-may || info.Active != 0 {
		t.Errorf("%d calls are pending and %d active, want %d and none", info.Pending, info.Active, n-may)
	}
	f.wantSpent(may)
	for i := 0; i < n; i += n / 100 {
		r, err := f.ledger.Find(t.Context(), tasks.TaskID(batch, fmt.Sprintf("call-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		if r.Parked != 0 || r.Starts != 0 && !r.State.Ended() {
			t.Errorf("%s was parked %d times and started %d times, want never", r.Key, r.Parked, r.Starts)
		}
	}
}

func TestTheMostUrgentCallIsTheFirstOfANewWindow(t *testing.T) {
	t.Parallel()
	s := four(t, 8)
	const may, window = 50, 10 * time.Second
	f := start(t, setup{size: s, settings: fmt.Sprintf(`budget: ["%d calls/10s"]`, may)})
	f.send("normal", s.calls)
	f.awaitLimited()
	// Wait for a window that is far enough from its end.
	var held circuit.Record
	f.await("a new window", func() bool {
		held = f.circuit()
		return time.Until(held.Limited) > window/2
	})
	f.awaitTime(held.Limited.Add(-3 * time.Second))
	f.send("high", 1, tasks.PriorityHigh)
	f.awaitTime(held.Limited)
	inNext := func() []simapi.Call { return f.arrivals(held.Limited, held.Limited.Add(window)) }
	f.awaitFor(window, "the calls of the new window", func() bool { return len(inNext()) >= may })
	f.awaitTime(time.Now().Add(f.slack()))
	next := inNext()
	if len(next) != may {
		t.Errorf("%d calls arrived in the new window, want %d", len(next), may)
	}
	// The first call that Redis hands out is not always the first that arrives: each process
	// has one at that moment, and on a busy machine many more.
	first := s.processes
	if !s.full {
		first = may
	}
	for i, c := range next {
		if c.Path == "/high/0" {
			t.Logf("the urgent call was number %d of the window, %s after its start", i+1, c.At.Sub(held.Limited))
			if i >= first {
				t.Errorf("the urgent call was number %d of the window, want the first: %s", i+1, inWords(next, held.Limited))
			}
			return
		}
	}
	t.Errorf("the urgent call did not arrive in the new window: %s", inWords(next, held.Limited))
}
