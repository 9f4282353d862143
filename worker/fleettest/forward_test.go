package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

func TestTasksThatBecomeDueDuringAHoldWaitForItsEnd(t *testing.T) {
	t.Parallel()
	const calls = 40
	f := start(t, setup{policy: `
backoffs: {standard: {floor: 5s, base: 1ms, cap: 1ms, attempts: 6}}
breaker: {window: 30s, min_calls: 1000, ratio: 0.5}
`})
	f.script("GET /retried/* -> http:503; ok\nGET /trip/* -> %s retry-after=15; ok", quota)
	due := time.Now().Add(6 * time.Second)
	f.sendCalls("scheduled", calls, func(_ int, c *tasks.Call) { c.NotBefore = &due })
	f.send("retried", calls)
	f.awaitAPI("the faults", func(s simapi.Stats) bool { return s.ByAnswer["http:503"] == calls && s.InFlight == 0 })
	f.await("the retries", func() bool { return f.queue(normalQueue).Retry == calls })
	f.send("trip", 1)
	hold := f.awaitOpen(0)
	if info := f.queue(normalQueue); info.Scheduled != calls || info.Retry == 0 {
		t.Fatalf("%d tasks scheduled and %d to retry during the hold, want %d and some", info.Scheduled, info.Retry, calls)
	}
	f.script("shared * * -> ok latency=300ms; ok forever")
	f.await("asynq to move what is due", func() bool {
		info := f.queue(normalQueue)
		return info.Scheduled == 0 && info.Retry == 0
	})
	if info := f.queue(normalQueue); info.Pending != 2*calls+1 || info.Active != 0 {
		t.Errorf("%d tasks pending and %d active, want %d and none", info.Pending, info.Active, 2*calls+1)
	}
	f.wantHold(hold)

	for batch, attempts := range map[string]int{"scheduled": 1, "retried": 2, "trip": 1} {
		f.awaitEnded(batch, 0)
		n := calls
		if batch == "trip" {
			n = 1
		}
		f.wantDone(batch, n, attempts)
		f.wantBalanced(batch)
	}
	f.wantNoArrival("/", hold.Since.Add(f.slack()), hold.Until)
	wantOneProbe(t, f, hold, f.probeAfter(hold).Done)
}

func TestARetryThatIsDueGoesAheadOfTheBacklog(t *testing.T) {
	t.Parallel()
	f := start(t, setup{size: size{processes: 1, concurrency: 1}, policy: `
backoffs: {standard: {floor: 5s, base: 1ms, cap: 1ms, attempts: 6}}
breaker: {window: 30s, min_calls: 1000, ratio: 0.5}
`})
	f.script("GET /retried/* -> http:503; ok")
	f.send("retried", 1)
	f.await("the retry", func() bool { return f.queue(normalQueue).Retry == 1 })
	if err := f.inspector.PauseQueue(normalQueue); err != nil {
		t.Fatal(err)
	}
	const backlog = 20
	f.send("backlog", backlog)
	f.await("the retry to be due", func() bool { return f.queue(normalQueue).Retry == 0 })
	f.resume(normalQueue)
	f.awaitEnded("backlog", 0)
	f.awaitEnded("retried", 0)
	calls := f.sim.Calls()
	if len(calls) != backlog+2 || calls[0].Path != "/retried/0" || calls[1].Path != "/retried/0" {
		t.Errorf("the calls came in the order %s", inWords(calls, calls[0].At))
	}
}
