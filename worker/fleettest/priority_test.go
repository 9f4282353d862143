package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

func TestAnUrgentCallIsMadeWithinASecondHoweverManyWait(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string]string{"concurrency": "", "rate": `limits: ["50/s"]`} {
		t.Run("limited by "+name, func(t *testing.T) {
			t.Parallel()
			s := fleetSize(t)
			f := start(t, setup{size: s, settings: settings, api: simapi.Config{Latency: simapi.Latency{Min: 200 * time.Millisecond}}})
			f.send("normal", s.calls)
			f.awaitAPI("the fleet to be busy", func(s simapi.Stats) bool { return s.Arrivals >= int64(f.capacity()) })
			var worst time.Duration
			for _, batch := range []string{"one", "two", "three"} {
				sent := time.Now()
				f.send(batch, 1, tasks.PriorityHigh)
				path := "/" + batch + "/0"
				f.awaitAPI("the urgent call", func(s simapi.Stats) bool { return s.ByPath[path] == 1 })
				worst = max(worst, time.Since(sent))
			}
			waiting := f.queue(normalQueue).Pending
			t.Logf("the urgent calls were made within %s, while %d others waited", worst, waiting)
			if waiting < s.calls/4 {
				t.Fatalf("only %d of %d calls still waited: the test proves nothing", waiting, s.calls)
			}
			if within := s.promptly(time.Second); worst > within {
				t.Errorf("an urgent call was made %s after it was sent, want %s", worst, within)
			}
		})
	}
}

func TestCallsThatAreNotUrgentGetATenthOfTheConcurrencyAtLeast(t *testing.T) {
	t.Parallel()
	s := fleetSize(t)
	n := s.calls / 2
	f := start(t, setup{size: s, api: simapi.Config{Latency: simapi.Latency{Min: 20 * time.Millisecond}}})
	f.pile(upstream)
	for _, p := range []tasks.Priority{tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow} {
		f.send(string(p), n, p)
	}
	f.release(upstream)
	looked := n + n/2
	f.awaitAPI("calls of all kinds", func(s simapi.Stats) bool { return s.Arrivals >= int64(looked) })
	calls := f.arrivals(time.Time{}, time.Time{})[:looked]
	high, normal, low := len(under("/high/", calls)), len(under("/normal/", calls)), len(under("/low/", calls))
	t.Logf("of %d calls %d were high, %d normal, %d low", looked, high, normal, low)
	if high >= n || normal >= n {
		t.Fatalf("no other calls waited any more: the test proves nothing")
	}
	if low < looked/10 {
		t.Errorf("%d of %d calls were low, want a tenth", low, looked)
	}
	if high < normal || normal < low {
		t.Errorf("of %d calls %d were high, %d normal, %d low: want more of what is more urgent", looked, high, normal, low)
	}
}
