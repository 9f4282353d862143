package fleettest

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// quota is the API's answer when the quota is used up.
const quota = "67200001"

func TestAUsedUpQuotaStopsTheFleetUntilOneProbeFindsItRenewed(t *testing.T) {
	unlessMeasured(t)
	quotaRunsOutTwice(t, start(t, setup{}), tasks.PriorityNormal)
}

func TestAUsedUpQuotaStopsAllQueuesOnAllMastersOfACluster(t *testing.T) {
	unlessMeasured(t)
	c := redistest.Cluster(t)
	f := start(t, setup{client: c.Client, url: c.URL})
	quotaRunsOutTwice(t, f, tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow)
}

// quotaRunsOutTwice makes the API refuse the calls of a busy fleet, refuse the first
// probe too, and accept the second one.
func quotaRunsOutTwice(t *testing.T, f *fleet, priorities ...tasks.Priority) {
	const batch = "b"
	f.script("shared * * -> ok x%d latency=20ms; %s retry-after=%d latency=20ms forever", f.calls/4, quota, f.seconds())
	f.send(batch, f.calls, priorities...)
	first := f.awaitHold(0)
	// After the probe that succeeds, calls take so long that each of the fleet's concurrent
	// calls is seen once.
	full := f.fullSpeed()
	f.script("shared * * -> %s retry-after=%d latency=300ms; ok latency=300ms; ok x%d latency=%s; ok forever",
		quota, f.seconds(), f.capacity(), full+1500*time.Millisecond)
	second := f.awaitHold(first.Epoch)
	f.awaitEnded(batch, 0)

	f.wantDone(batch, f.calls, 1)
	f.wantBalanced(batch)
	for i, hold := range []circuit.Record{first, second} {
		if hold.Reason != "quota" || hold.Rung != i+1 {
			t.Errorf("hold %d is %+v", i+1, hold)
		}
	}
	wantServersTime(t, f, first, first.Since)

	refused := f.arrivals(time.Time{}, first.Until)
	refused = refused[f.calls/4:]
	if len(refused) == 0 || len(refused) > f.capacity() {
		t.Errorf("%d calls were refused, want those that were in progress, at most %d", len(refused), f.capacity())
	}
	if n := len(f.arrivals(first.Since, first.Until)); n >= f.capacity() {
		t.Errorf("%d calls arrived after the hold was written, want those that Redis had admitted before, fewer than %d", n, f.capacity())
	}
	if late := f.arrivals(first.Since.Add(f.slack()), first.Until); len(late) > 0 {
		t.Errorf("%d calls arrived while the account was held: %s", len(late), inWords(late, first.Until))
	}
	probe := wantOneProbe(t, f, first, second.Until)
	if probe.Answer != quota {
		t.Fatalf("the first probe was answered %q, want a refusal", probe.Answer)
	}
	wantServersTime(t, f, second, probe.At)
	probe = wantOneProbe(t, f, second, f.probeAfter(second).Done)
	wantFullSpeed(t, f, probe, full)
	t.Logf("%d calls at once: %d calls refused, %d arrived after the hold was written; the probe arrived %s after its end, the fleet was at full speed %s after its success",
		f.capacity(), len(refused), len(f.arrivals(first.Since, first.Until)), probe.At.Sub(second.Until),
		f.arrivals(probe.Done, time.Time{})[f.capacity()-1].At.Sub(probe.Done))
}

// probeAfter returns the first call that arrived after a hold.
func (f *fleet) probeAfter(hold circuit.Record) simapi.Call {
	f.t.Helper()
	after := f.arrivals(hold.Until, time.Time{})
	if len(after) == 0 {
		f.t.Fatalf("no call arrived after the hold until %s", hold.Until)
	}
	return after[0]
}

// wantOneProbe checks that a single call arrived between the end of a hold and
// another moment, and that it came in time. It returns that call.
func wantOneProbe(t *testing.T, f *fleet, hold circuit.Record, until time.Time) simapi.Call {
	t.Helper()
	probe := f.probeAfter(hold)
	if late := probe.At.Sub(hold.Until); late > f.promptly(2*time.Second) {
		t.Errorf("the probe arrived %s after the hold", late)
	}
	if calls := f.arrivals(hold.Until, until); len(calls) != 1 {
		t.Errorf("%d calls arrived before the probe's outcome was known, want only the probe: %s", len(calls), inWords(calls, hold.Until))
	}
	return probe
}

// wantServersTime checks that a hold lasts as long as the server asked for in its answer at
// answered, and not much longer: a call in flight may have got a later end, and the fleet
// spreads its return over half a second.
func wantServersTime(t *testing.T, f *fleet, hold circuit.Record, answered time.Time) {
	t.Helper()
	if d := hold.Until.Sub(answered); d < f.hold || d > f.hold+500*time.Millisecond+f.promptly(2*time.Second) {
		t.Errorf("the account was held for %s, want %s as the server asked", d, f.hold)
	}
}

// fullSpeed returns the time after a probe's success within which the fleet must make as many
// calls at once as it can.
func (s size) fullSpeed() time.Duration {
	if s.full {
		return time.Second
	}
	return 6 * time.Second
}

// wantFullSpeed checks that within limit of a probe's success the fleet makes as many calls
// at once as it can. The API takes longer than limit for each of them.
func wantFullSpeed(t *testing.T, f *fleet, probe simapi.Call, limit time.Duration) {
	t.Helper()
	within := f.arrivals(probe.Done, probe.Done.Add(limit))
	if len(within) < f.capacity() {
		t.Errorf("%d calls arrived within %s of the probe's success, want at least %d: %s",
			len(within), limit, f.capacity(), inWords(within, probe.Done))
	}
}
