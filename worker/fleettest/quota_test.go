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
	// What is in progress after a probe that succeeded lasts so long that each place
	// of the fleet is seen once.
	full := f.fullSpeed()
	f.script("shared * * -> %s retry-after=%d latency=300ms; ok latency=300ms; ok x%d latency=%s; ok forever",
		quota, f.seconds(), f.places(), full+1500*time.Millisecond)
	second := f.awaitHold(first.Epoch)
	f.awaitEnded(batch, 0)

	f.wantDone(batch, f.calls, 1)
	f.wantBooks(batch)
	for i, hold := range []circuit.Record{first, second} {
		if hold.Reason != "quota" || hold.Rung != i+1 {
			t.Errorf("hold %d is %+v", i+1, hold)
		}
	}
	wantServersTime(t, f, first, first.Since)

	refused := f.arrivals(time.Time{}, first.Until)
	refused = refused[f.calls/4:]
	if len(refused) == 0 || len(refused) > f.places() {
		t.Errorf("%d calls were refused, want those that were in progress, at most %d", len(refused), f.places())
	}
	if n := len(f.arrivals(first.Since, first.Until)); n >= f.places() {
		t.Errorf("%d calls arrived after the hold was written, want those that Redis had admitted before, fewer than %d", n, f.places())
	}
	if late := f.arrivals(first.Since.Add(f.slack()), first.Until); len(late) > 0 {
		t.Errorf("%d calls arrived while the account was held: %s", len(late), inWords(late, first.Until))
	}
	probe := wantOneProbe(t, f, first, second.Until)
	if probe.Answer != quota {
		t.Fatalf("the first probe met %q, want a refusal", probe.Answer)
	}
	wantServersTime(t, f, second, probe.At)
	probe = wantOneProbe(t, f, second, f.probeAfter(second).Done)
	wantFullSpeed(t, f, probe, full)
	t.Logf("%d places: %d calls refused, %d arrived after the hold was written; the probe came %s after its end, the last place to work %s after the verdict",
		f.places(), len(refused), len(f.arrivals(first.Since, first.Until)), probe.At.Sub(second.Until),
		f.arrivals(probe.Done, time.Time{})[f.places()-1].At.Sub(probe.Done))
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
		t.Errorf("%d calls arrived before the probe's verdict was known, want the probe alone: %s", len(calls), inWords(calls, hold.Until))
	}
	return probe
}

// wantServersTime checks that a hold lasts as long as the server has asked for in
// an answer of the given time, and not much longer: a call that was in progress may
// have got a later end, and the fleet spreads its return by half a second.
func wantServersTime(t *testing.T, f *fleet, hold circuit.Record, answered time.Time) {
	t.Helper()
	if d := hold.Until.Sub(answered); d < f.hold || d > f.hold+500*time.Millisecond+f.promptly(2*time.Second) {
		t.Errorf("the account was held for %s, want %s as the server said", d, f.hold)
	}
}

// fullSpeed is within what time after a probe's success every place of the fleet
// is to make a call.
func (s size) fullSpeed() time.Duration {
	if s.full {
		return time.Second
	}
	return 6 * time.Second
}

// wantFullSpeed checks that every place of the fleet makes a call within that time
// of a probe's success. The API keeps each of those for longer.
func wantFullSpeed(t *testing.T, f *fleet, probe simapi.Call, limit time.Duration) {
	t.Helper()
	within := f.arrivals(probe.Done, probe.Done.Add(limit))
	if len(within) < f.places() {
		t.Errorf("%d calls arrived within %s of the probe's success, want one for each of the %d places: %s",
			len(within), limit, f.places(), inWords(within, probe.Done))
	}
}
