package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/filerun"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// watched is a watch whose lines are kept.
type watched struct {
	waiting.CircuitWatcher
	t     *testing.T
	now   time.Time
	lines []string
}

func newWatched(t *testing.T) *watched {
	w := &watched{t: t, now: time.Date(2026, 5, 4, 18, 0, 0, 0, time.UTC)}
	w.Report = func(c waiting.Change) {
		w.lines = append(w.lines, changeLine(filerun.CircuitChanged{
			Change: filerun.CircuitChange(c.Kind), Circuit: c.Circuit.String(), Until: c.Until,
			Reason: c.Reason, Why: c.Why, Rule: c.Rule, Waiting: c.Waiting,
		}, w.now))
	}
	return w
}

// sees passes a record to the watcher after a while, and checks the lines that it prints.
func (w *watched) sees(after time.Duration, r circuit.Record, want ...string) {
	w.t.Helper()
	w.now, w.lines = w.now.Add(after), nil
	r.Name = circuit.Name{Upstream: "patsnap"}
	if err := w.Update([]circuit.Record{r}, w.now); err != nil {
		w.t.Fatal(err)
	}
	if !slices.Equal(w.lines, want) {
		w.t.Errorf("at %s got %q, want %q", w.now.Format(time.TimeOnly), w.lines, want)
	}
}

// limited is a record that a rule holds for so long from now.
func (w *watched) limited(wait time.Duration, by, rule string) circuit.Record {
	return circuit.Record{State: circuit.Closed, Limited: w.now.Add(wait), LimitedBy: by, LimitedText: rule, LimitTurns: !strings.HasSuffix(rule, "/s") && !strings.HasSuffix(rule, "m")}
}

var free = circuit.Record{State: circuit.Closed}

const again = "patsnap: calls start again"

// local is a time of the watch's as people read it on this machine.
func local(text string) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return timeText(at)
}

func TestALimitThatIsUsedUpIsReportedOnce(t *testing.T) {
	w := newWatched(t)
	w.sees(0, free)
	held := w.limited(6*time.Hour, "limit", "5000/day")
	held.Waiting = 302
	w.sees(time.Second, held, "patsnap paused until "+local("2026-05-05T00:00:00Z")+": the limit 5000/day is used up; 302 calls wait")
	w.sees(time.Second, held)
	w.sees(time.Hour, held)
	w.sees(6*time.Hour, held, again) // the field stays until the next call is taken
	w.sees(time.Second, free)
	w.sees(time.Second, w.limited(18*24*time.Hour, "budget", "100 USD/month"),
		"patsnap paused until "+local("2026-05-23T01:00:03Z")+": the budget 100 USD/month is used up")
	w.sees(time.Second, free, again) // an operator closed it
}

func TestALimitThatIsUsedUpAgainAtOnceIsReportedAgain(t *testing.T) {
	w := newWatched(t)
	w.sees(0, w.limited(10*time.Second, "limit", "5/h"), "patsnap paused until "+local("2026-05-04T18:00:10Z")+": the limit 5/h is used up")
	w.now = w.now.Add(11 * time.Second)
	w.sees(0, w.limited(time.Hour, "limit", "5/h"), "patsnap paused until "+local("2026-05-04T19:00:11Z")+": the limit 5/h is used up")
}

func TestHoldsOfASecondByARateAreNotReported(t *testing.T) {
	w := newWatched(t)
	for range 10 {
		w.sees(time.Second, w.limited(800*time.Millisecond, "limit", "1/s"))
		w.sees(time.Second, free)
	}
	w.sees(time.Second, w.limited(waiting.MinReportedHold-time.Millisecond, "limit", "5000/day"))
	w.sees(time.Minute, free)
}

func TestASlowRateIsReportedOnlyOnce(t *testing.T) {
	w := newWatched(t)
	w.sees(0, w.limited(200*time.Second, "limit", "3/10m"), "patsnap: the limit 3/10m allows one call at a time, the next at "+local("2026-05-04T18:03:20Z"))
	for range 5 {
		w.sees(200*time.Second, w.limited(200*time.Second, "limit", "3/10m"))
		w.sees(time.Second, free)
	}
}

func TestCallsStartAgainOnlyWhenNeitherCircuitNorLimitHoldsThem(t *testing.T) {
	w := newWatched(t)
	limited := w.limited(time.Hour, "limit", "1000/h")
	both := limited
	both.State, both.Epoch, both.Reason, both.Until = circuit.Open, 1, "quota", w.now.Add(2*time.Hour)
	w.sees(0, limited, "patsnap paused until "+local("2026-05-04T19:00:00Z")+": the limit 1000/h is used up")
	w.sees(0, both, "patsnap paused for 2h: quota")
	w.sees(0, limited) // the circuit closes first
	w.sees(time.Hour, free, again)

	limited = w.limited(time.Hour, "limit", "1000/h")
	both.Limited, both.Epoch, both.Until = limited.Limited, 2, w.now.Add(2*time.Hour)
	w.sees(0, both, "patsnap paused for 2h: quota", "patsnap paused until "+local("2026-05-04T20:00:00Z")+": the limit 1000/h is used up")
	w.sees(time.Hour, both) // the limit's window turns first
	w.sees(time.Hour, free, again)
}

func TestAHoldThatIsAlmostOverIsReportedWithoutATime(t *testing.T) {
	w := newWatched(t)
	open := circuit.Record{State: circuit.Open, Reason: "rate", Waiting: 2}
	for wait, want := range map[time.Duration]string{
		-time.Second: "", 20 * time.Millisecond: "", 99 * time.Millisecond: "", 100 * time.Millisecond: " for 100ms", 1980 * time.Millisecond: " for 2s",
	} {
		open.Epoch, open.Until = open.Epoch+1, w.now.Add(wait)
		w.sees(0, open, "patsnap paused"+want+": rate; 2 calls wait")
	}
}

func TestPatienceDoesNotApplyToLimits(t *testing.T) {
	w := newWatched(t)
	w.Patience = time.Minute
	spent := w.limited(24*time.Hour, "budget", "20000 calls/day")
	spent.Class = "auth" // a closed circuit keeps the traces of its last opening
	for range 5 {
		w.now = w.now.Add(time.Hour)
		if err := w.Update([]circuit.Record{spent}, w.now); err != nil {
			t.Fatalf("a budget used up the patience: %v", err)
		}
	}
	spent.State, spent.Epoch = circuit.Open, 1
	if err := w.Update([]circuit.Record{spent}, w.now); err != nil {
		t.Fatalf("the hours under the budget counted: %v", err)
	}
	err := w.Update([]circuit.Record{spent}, w.now.Add(time.Minute))
	if stuck := (*waiting.StuckError)(nil); !errors.As(err, &stuck) {
		t.Errorf("a refused credential is to end a run: %v", err)
	}
}

func TestCallsAreHeldIfTheyWaitForACircuitOrALimit(t *testing.T) {
	w := newWatched(t)
	at := func(after time.Duration) string { return waiting.ClockText(w.now.Add(after), w.now) }
	account, endpoint := circuit.Name{Upstream: "patsnap"}, circuit.Name{Upstream: "patsnap", Endpoint: "GET /a"}
	spent, paced := w.limited(time.Hour, "limit", "5000/day"), w.limited(time.Hour, "limit", "3/10m")
	open := circuit.Record{State: circuit.Open, Epoch: 1, Reason: "outage", Until: w.now.Add(time.Minute)}
	over, both, longer := open, spent, spent
	over.Until = w.now
	both.State, both.Epoch, both.Reason, both.Until = circuit.Open, 1, "quota", w.now.Add(time.Minute)
	longer.State, longer.Epoch, longer.Reason, longer.Until = circuit.Open, 1, "quota", w.now.Add(2*time.Hour)
	for _, c := range []struct {
		what    string
		name    circuit.Name
		record  circuit.Record
		waiting int64
		want    string
	}{
		{"a closed circuit", account, free, 5, ""},
		{"an open circuit", account, open, 5, "held until " + at(time.Minute) + " (outage)"},
		{"one whose probe is out", account, over, 5, "held (outage)"},
		{"an open circuit behind which none waits", account, open, 0, ""},
		{"an endpoint's circuit, which does not count", endpoint, open, 0, endpoint.String() + " is held until " + at(time.Minute) + " (outage)"},
		{"a limit that is used up", account, spent, 5, "held until " + at(time.Hour) + " (limit 5000/day)"},
		{"a limit that holds longer than the circuit", account, both, 5, "held until " + at(time.Hour) + " (limit 5000/day)"},
		{"a circuit that holds longer than the limit", account, longer, 5, "held until " + at(2*time.Hour) + " (quota)"},
		{"a slow rate, which has a pace", account, paced, 5, ""},
	} {
		fresh := newWatched(t)
		c.record.Name, c.record.Waiting = c.name, c.waiting
		if err := fresh.Update([]circuit.Record{c.record}, fresh.now); err != nil || fresh.Held() != c.want {
			t.Errorf("%s: got %q, want %q (%v)", c.what, fresh.Held(), c.want, err)
		}
	}
}

func TestAHoldThatContinuesSaysWhyItsProbeFailed(t *testing.T) {
	r := circuit.Record{
		State: circuit.Open, Reason: "quota", Class: "quota", Code: "67200001", Message: "too many", Until: newWatched(t).now.Add(time.Minute),
	}
	w := newWatched(t)
	w.sees(0, r, "patsnap paused for 1m: quota 67200001: too many")
	r.Fault, r.Epoch = "protocol, HTTP 200; x-correlation-id b7", 1
	w.sees(0, r, "patsnap paused for 1m (quota): the probe failed with protocol, HTTP 200; x-correlation-id b7; held for quota 67200001: too many")
}

func TestTheHoldThatMostCallsWaitForIsTheReason(t *testing.T) {
	w := newWatched(t)
	w.Upstreams = []string{"a", "b", "c"}
	var records []circuit.Record
	for i, upstream := range w.Upstreams {
		records = append(records, circuit.Record{
			Name: circuit.Name{Upstream: upstream}, State: circuit.Open, Epoch: 1, Reason: "quota", Until: w.now.Add(48 * time.Hour), Waiting: []int64{3, 9, 5}[i],
		})
	}
	if err := w.Update(records, w.now); err != nil {
		t.Fatal(err)
	}
	until := w.now.Add(48 * time.Hour).Local().Format(time.DateTime)
	if want := "b is held until " + until + " (quota)"; w.Held() != want {
		t.Errorf("got %q, want %q", w.Held(), want)
	}
}
