package circuit_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

var (
	account  = circuit.Name{Upstream: "api"}
	endpoint = circuit.Name{Upstream: "api", Endpoint: "GET /patent/*"}
)

// fixture is a store with helpers for the tests.
type fixture struct {
	*circuit.Store
	t      *testing.T
	client *redis.Client
}

func each(t *testing.T, test func(t *testing.T, d *fixture)) {
	t.Helper()
	t.Parallel()
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		test(t, &fixture{Store: circuit.NewStore(client, "worker"), t: t, client: client})
	})
}

func (d *fixture) report(n circuit.Name, r circuit.Report) circuit.Status {
	d.t.Helper()
	if len(r.Delays) == 0 {
		r.Delays = []time.Duration{time.Hour}
	}
	s, err := d.Store.Report(d.t.Context(), n, r)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *fixture) get(n circuit.Name) circuit.Record {
	d.t.Helper()
	r, err := d.Store.Get(d.t.Context(), n)
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *fixture) admit(n circuit.Name, token string) circuit.Admission {
	d.t.Helper()
	a, err := d.Store.Admit(d.t.Context(), n, circuit.AdmitRequest{Token: token, Lease: time.Minute})
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

// probe waits until a hold of a few milliseconds is over and takes the probe.
func (d *fixture) probe(n circuit.Name, token string) circuit.Admission {
	d.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		a := d.admit(n, token)
		if a.Probe {
			return a
		}
		<-time.After(min(a.Wait, 20*time.Millisecond))
	}
	d.t.Fatal("no probe was granted within 10 s")
	return circuit.Admission{}
}

func TestACircuitThatWasNeverOpenedIsClosed(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		if r := d.get(account); r.State != circuit.Closed || r.Epoch != 0 {
			t.Errorf("got %+v, want closed in epoch 0", r)
		}
		if a := d.admit(account, "t"); !a.Admitted || a.Probe {
			t.Errorf("got %+v, want admission", a)
		}
	})
}

func TestSeveralFailuresOfOneEpochClimbOneRung(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		for range 5 {
			d.report(account, circuit.Report{Verdict: circuit.OwnError, Cause: circuit.Cause{Reason: "quota", Code: "67200001"}})
		}
		r := d.get(account)
		if r.State != circuit.Open || r.Epoch != 1 || r.Rung != 1 || r.Code != "67200001" || r.Reason != "quota" || r.Who != "worker" {
			t.Errorf("got %+v, want open on the first rung of epoch 1, for quota", r)
		}
	})
}

func TestACallOfAnOlderEpochCanOnlyLengthenAHoldToATimeThatTheServerGave(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Minute}})
		before := d.get(account).Until
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Hour}})
		if got := d.get(account).Until; !got.Equal(before) {
			t.Errorf("a delay of the ladder moved the end of the hold by %s, want no change", got.Sub(before))
		}
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Second}, ServerSaid: true})
		if got := d.get(account).Until; !got.Equal(before) {
			t.Errorf("the hold was shortened by %s", before.Sub(got))
		}
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Hour}, ServerSaid: true})
		r := d.get(account)
		if r.Until.Sub(before) < 50*time.Minute || r.Epoch != 1 || r.Rung != 1 {
			t.Errorf("got %+v, want the same epoch and rung until an hour from now", r)
		}
	})
}

func TestAnErrorOfAnEpochThatIsOverOpensNothing(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError})
		if err := d.Close(t.Context(), account, "paid", "anna"); err != nil {
			t.Fatal(err)
		}
		if s := d.report(account, circuit.Report{Verdict: circuit.OwnError}); s.Open {
			t.Error("an error of an older epoch opened the circuit")
		}
		if r := d.get(account); r.Epoch != 2 || r.Note != "paid" || r.Who != "anna" {
			t.Errorf("got %+v, want epoch 2, closed by anna with the note paid", r)
		}
	})
}

func TestThreeErrorsInARowOpenTheCircuitAndAnyOtherAnswerResetsTheCount(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		fail := circuit.Report{Verdict: circuit.OwnError, After: 3}
		d.report(account, fail)
		d.report(account, fail)
		d.report(account, circuit.Report{Verdict: circuit.Answer})
		d.report(account, fail)
		if s := d.report(account, fail); s.Open {
			t.Fatal("two errors after another answer opened the circuit")
		}
		if s := d.report(account, fail); !s.Open {
			t.Error("three errors in a row did not open the circuit")
		}
	})
}

// go-redis sends a report again if its reply is lost, and so does the worker.
func TestAReportThatIsSentAgainCountsOnce(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		report := func(id string) circuit.Status {
			return d.report(account, circuit.Report{Verdict: circuit.OwnError, After: 3, ID: id})
		}
		for _, id := range []string{"a", "b", "a", "b"} {
			if s := report(id); s.Open {
				t.Fatalf("two errors in a row opened a circuit that needs three: %+v", d.get(account))
			}
		}
		d.report(account, circuit.Report{Verdict: circuit.Answer})
		for _, id := range []string{"c", "d", "d"} {
			if s := report(id); s.Open {
				t.Fatalf("two errors after another answer opened the circuit: %+v", d.get(account))
			}
		}
		if s := report("e"); !s.Open {
			t.Errorf("the third error in a row left the circuit closed: %+v", d.get(account))
		}
	})
}

func TestAProbeWithAnotherErrorStartsTheLadderOfItsHoldAndANewCountOfProbes(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		fail := func(token, hold string, epoch int64, maxProbes int) circuit.Status {
			return d.report(account, circuit.Report{
				Verdict: circuit.OwnError, Token: token, Epoch: epoch, MaxProbes: maxProbes, Call: token + "#0",
				Delays: []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}, Cause: circuit.Cause{Hold: hold},
			})
		}
		fail("opener", "quota", 0, 0)
		for _, probe := range []struct {
			hold      string
			maxProbes int
			rung      int
			ends      bool
		}{
			{"quota", 0, 2, false},
			{"quota", 0, 3, false},
			{"permission", 2, 1, false},
			{"permission", 2, 2, true},
			{"quota", 0, 1, false},
			{"quota", 0, 2, false},
		} {
			token := fmt.Sprintf("%s-%d", probe.hold, d.get(account).Epoch)
			a := d.probe(account, token)
			s := fail(token, probe.hold, a.Epoch, probe.maxProbes)
			r := d.get(account)
			if s.Ends != probe.ends || r.Rung != probe.rung || r.Hold != probe.hold {
				t.Fatalf("after probe %s got rung %d of hold %q, the call ends: %t; want %+v", token, r.Rung, r.Hold, s.Ends, probe)
			}
		}
	})
}

func TestAfterAHoldOneCallOfManyGetsTheProbe(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		first := d.probe(account, "first")
		var probes atomic.Int32
		var wg sync.WaitGroup
		for i := range 32 {
			wg.Go(func() {
				a, err := d.Store.Admit(t.Context(), account, circuit.AdmitRequest{Token: fmt.Sprint("t", i), Lease: time.Minute})
				if err != nil {
					t.Error(err)
				}
				if a.Admitted {
					probes.Add(1)
				}
			})
		}
		wg.Wait()
		if n := probes.Load(); n != 0 {
			t.Errorf("%d calls were admitted besides the probe, want 0", n)
		}
		d.report(account, circuit.Report{Verdict: circuit.Answer, Epoch: first.Epoch, Token: "first"})
		if a := d.admit(account, "next"); !a.Admitted || a.Probe || a.Epoch != first.Epoch+1 {
			t.Errorf("after the probe succeeded got %+v, want admission in a new epoch", a)
		}
	})
}

func TestAFailedProbeTakesTheNextRungAndAFaultTheSameRung(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		short := []time.Duration{time.Millisecond, 2 * time.Millisecond, time.Hour}
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: short, MaxProbes: 3, Cause: circuit.Cause{Reason: "quota", Code: "67200001"}})
		a := d.probe(account, "a")
		d.report(account, circuit.Report{Verdict: circuit.Fault, Epoch: a.Epoch, Token: "a", Delays: short, Fault: "protocol, HTTP 200"})
		if r := d.get(account); r.State != circuit.Open || r.Rung != 1 || r.Failed != 0 || r.Reason != "quota" || r.Code != "67200001" || r.Fault != "protocol, HTTP 200" {
			t.Errorf("after a fault got %+v, want the same hold on the same rung, and the probe's fault", r)
		}
		b := d.probe(account, "b")
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Epoch: b.Epoch, Token: "b", Delays: short})
		if r := d.get(account); r.Rung != 2 || r.Failed != 1 || r.Fault != "" {
			t.Errorf("after an error got %+v, want the second rung", r)
		}
		c := d.probe(account, "c")
		s := d.report(account, circuit.Report{Verdict: circuit.OwnError, Epoch: c.Epoch, Token: "c", Delays: short})
		if s.Wait < 50*time.Minute {
			t.Errorf("the third rung holds for %s, want an hour", s.Wait)
		}
	})
}

func TestAnotherCallBecomesTheProbeWhenTheLeaseEnds(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		const lease = 300 * time.Millisecond
		var granted time.Time
		for granted.IsZero() {
			a, err := d.Store.Admit(t.Context(), account, circuit.AdmitRequest{Token: "lost", Lease: lease})
			if err != nil {
				t.Fatal(err)
			}
			if a.Probe {
				granted = time.Now()
			}
		}
		d.probe(account, "next")
		if waited := time.Since(granted); waited < lease-50*time.Millisecond {
			t.Errorf("another call became the probe after %s, want after the lease of %s", waited, lease)
		}
		// The answer of the first probe arrives late: it must not count.
		d.report(account, circuit.Report{Verdict: circuit.Answer, Epoch: 1, Token: "lost"})
		if r := d.get(account); r.State != circuit.Open {
			t.Error("a probe whose lease had ended closed the circuit")
		}
	})
}

func TestAFaultOfAnOutagesProbeKeepsTheRungAndNamesTheCallThatFailed(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		short := []time.Duration{2 * time.Millisecond}
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Call: "a#1", Delays: short})
		for i, call := range []string{"b#1", "c#1"} {
			probe := d.probe(account, call)
			if probe.Rung != 1 || probe.HeldFor < 2*time.Millisecond {
				t.Errorf("the probe is on rung %d after %s, want rung 1 after the hold", probe.Rung, probe.HeldFor)
			}
			d.report(account, circuit.Report{Verdict: circuit.Fault, Outage: true, Call: call, Epoch: probe.Epoch, Token: call, Delays: short})
			if r := d.get(account); r.State != circuit.Open || r.Rung != 1 || r.Failed != i+1 || !strings.HasSuffix(r.Refused, " !"+call) {
				t.Errorf("after the fault of %s the circuit is %+v", call, r)
			}
		}
	})
}

// go-redis repeats a request if its reply is lost.
func TestARequestThatIsRepeatedWithItsTokenGetsTheSameProbe(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		first := d.probe(account, "a")
		again := d.admit(account, "a")
		again.HeldFor = first.HeldFor // a moment longer
		if again != first {
			t.Errorf("the second time got %+v, want %+v as the first time", again, first)
		}
		if other := d.admit(account, "b"); other.Admitted {
			t.Errorf("another call was admitted besides the probe: %+v", other)
		}
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Epoch: first.Epoch, Token: "a"})
		if late := d.admit(account, "a"); late.Admitted {
			t.Errorf("the token of a probe that has ended was admitted: %+v", late)
		}
	})
}

func TestAProbeThatWasNotSentIsReturned(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}})
		d.probe(account, "a")
		d.report(account, circuit.Report{Verdict: circuit.Unsent, Token: "a"})
		// While the turn of a probe lasts, no call is dequeued.
		if left, err := d.client.HMGet(t.Context(), redislua.CircuitKey("api", ""), "turn", "lease", "token").Result(); err != nil || left[0] != nil || left[1] != nil || left[2] != nil {
			t.Errorf("turn, lease and token: got %v, %v, want none", left, err)
		}
		if a := d.admit(account, "b"); !a.Probe {
			t.Errorf("got %+v, want the probe at once", a)
		}
	})
}

func TestAnOpenEndpointCircuitDoesNotHoldTheAccountAndIsCounted(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(endpoint, circuit.Report{Verdict: circuit.OwnError})
		if a := d.admit(account, "t"); !a.Admitted {
			t.Errorf("account: got %+v, want admission", a)
		}
		if a := d.admit(endpoint, "t"); a.Admitted || a.Wait < 50*time.Minute {
			t.Errorf("endpoint: got %+v, want a wait of an hour", a)
		}
		count := func() string {
			n, _ := d.client.HGet(t.Context(), redislua.CircuitKey("api", ""), "endpoints").Result()
			return n
		}
		if n := count(); n != "1" {
			t.Errorf("open endpoints of the account: got %q, want 1", n)
		}
		if err := d.Close(t.Context(), endpoint, "", "anna"); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != "0" {
			t.Errorf("open endpoints of the account after the close: got %q, want 0", n)
		}
	})
}

func TestAnOperatorsHoldLastsUntilItsTimeAndThenNeedsAProbe(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		if err := d.Open(t.Context(), account, 30*time.Millisecond, "maintenance", "anna"); err != nil {
			t.Fatal(err)
		}
		r := d.get(account)
		if r.State != circuit.Open || r.Reason != "operator" || r.Note != "maintenance" || r.Who != "anna" {
			t.Errorf("got %+v, want open by anna for maintenance", r)
		}
		d.probe(account, "a")
	})
}

func TestListShowsEveryCircuitThatWasOpened(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		d.report(endpoint, circuit.Report{Verdict: circuit.OwnError})
		d.client.LPush(t.Context(), "asynq:{api}:pending", "a", "b")
		list, err := d.List(t.Context(), []string{"api"})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || list[0].Name != account || list[0].Waiting != 2 || list[1].Name != endpoint || list[1].State != circuit.Open {
			t.Errorf("got %+v, want the account with 2 waiting calls and the open endpoint", list)
		}
	})
}

func TestParseNameReadsWhatStringWrites(t *testing.T) {
	for _, n := range []circuit.Name{account, endpoint} {
		if got, err := circuit.ParseName(n.String()); err != nil || got != n {
			t.Errorf("%s: got %+v, %v, want %+v", n, got, err, n)
		}
	}
	for _, bad := range []string{"api~", "api~GET", "~GET~/a", "api~GET~a"} {
		if n, err := circuit.ParseName(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, n)
		}
	}
}
