package batchreport

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// record is a dead call whose answers, endpoint and rule are like those of no other call.
func record(n int) ledger.Record {
	unique := fmt.Sprint("x", n)
	at := second(n % 1000)
	return ledger.Record{
		ID: unique, Key: unique, Queue: "api", State: ledger.Dead, Generation: 1, AcceptedAt: noon, EndedAt: at, Attempts: 2,
		Ending: &ledger.Ending{Class: "unknown", Rule: unique, Code: unique, Endpoint: "GET /" + unique, Amount: "0.01", FinishedAt: at},
		Log: []ledger.Attempt{
			{At: at, N: 1, Action: "retry", Class: "transient", Code: unique, Status: 200},
			{At: at, N: 2, Action: "dead_letter", Class: "unknown", Code: unique, Rule: unique, Status: 200},
		},
	}
}

func TestTheSumsAreExactAndTheListsBoundedWhateverAnAPIInvents(t *testing.T) {
	const calls = 20_000
	c := newCollector(second(2000), noon, second(1000))
	for n := range calls {
		c.add(record(n))
	}
	var r Report
	c.fill(&r)
	kinds, causes, asked := int64(0), int64(0), int64(0)
	for _, k := range r.Requests.Kinds {
		kinds += k.Requests
	}
	for _, sum := range c.causes.list() {
		causes += sum.Count
	}
	for _, a := range r.Asked {
		asked += a.Calls
	}
	if r.Requests.Sent != 2*calls || kinds != 2*calls || causes != calls || asked != calls || c.money["api"].billed.String() != "200" {
		t.Errorf("%d requests, kinds %d, causes %d, asked %d, money %s", r.Requests.Sent, kinds, causes, asked, c.money["api"].billed)
	}
	if len(r.Requests.Kinds) > maxKinds+9 || len(c.causes.all) > maxCauses+2 || len(r.Asked) > maxAsked+1 {
		t.Errorf("%d kinds, %d causes, %d endpoints", len(r.Requests.Kinds), len(c.causes.all), len(r.Asked))
	}
	if got := c.open["api"].length(); got != 999*time.Second {
		t.Errorf("calls were open for %s", got)
	}
}

func TestARecordOfAnEarlierVersionIsCalledIncomplete(t *testing.T) {
	whole := record(1)
	purged, redriven, long := record(2), record(3), record(4)
	purged.Purged, purged.Log = true, nil
	redriven.Lineage = []ledger.Former{{Generation: 1, State: ledger.Dead}}
	long.Log[0].N = 6
	for _, tt := range []struct {
		r    ledger.Record
		want bool
	}{{whole, false}, {purged, true}, {redriven, true}, {long, true}} {
		if got := incomplete(&tt.r); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.r.Key, got, tt.want)
		}
	}
	for _, r := range []*ledger.Record{&purged, &redriven, &long} {
		r.Earlier = ledger.Earlier{Whole: true, Requests: []ledger.Counted{{Requests: 1, Action: "retry"}}}
	}
	redriven.Lineage[0].RedrivenAt = noon
	for _, r := range []ledger.Record{purged, redriven, long} {
		if incomplete(&r) {
			t.Errorf("%s: its requests are all counted", r.Key)
		}
	}
}

func TestHoldsCountWhileCallsAreOpenAndOnlyOnce(t *testing.T) {
	c := newCollector(second(2000), noon, second(1000))
	early, late := record(1), record(2)
	early.AcceptedAt, early.EndedAt = second(0), second(100)
	late.AcceptedAt, late.EndedAt = second(200), second(300)
	c.add(early)
	c.add(late)
	account, endpoint := circuit.Name{Upstream: "api"}, circuit.Name{Upstream: "api", Endpoint: "GET /a"}
	hold := func(name circuit.Name, reason string, from, to int) circuit.Hold {
		return circuit.Hold{Circuit: name, Reason: reason, From: second(from), To: second(to), Held: time.Duration(to-from) * time.Second}
	}
	limit := hold(account, "limit", 80, 100)
	limit.Rule, limit.Held = "1/m", 10*time.Second
	goesOn := hold(account, "credential", 290, 290)
	goesOn.To, goesOn.Held = time.Time{}, 1710*time.Second
	got := c.timeOf(map[string][]circuit.Hold{"api": {
		hold(account, "quota", 50, 250), // open: 50 to 100 and 200 to 250
		hold(endpoint, "permission", 10, 20), limit, hold(account, "outage", 120, 180), goesOn,
	}})
	// The limit held within the quota's hold; the outage was while no call was open.
	if got.Seconds != 200 || got.Held != 110 || len(got.Holds) != 4 {
		t.Errorf("got %+v", got)
	}
	want := map[string]float64{"quota": 100, "permission": 10, "limit": 10, "credential": 10}
	for _, by := range got.ByReason {
		if by.Seconds != want[by.Reason] || by.Holds != 1 {
			t.Errorf("got %+v, want %g s", by, want[by.Reason])
		}
	}
}
