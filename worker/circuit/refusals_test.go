package circuit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

// tale is what happens to a circuit, one step a line:
//
//	CALL is refused            in the epoch in which the circuit is closed
//	CALL was refused too       in the epoch in which the last one was refused
//	probe CALL is refused
//	probe CALL meets a fault
//	probe CALL is answered
//	CALL fails                 an outage: the call spends an attempt
//	probe CALL fails
//	an operator closes
type tale struct {
	d         *fixture
	name      circuit.Name
	maxProbes int
	lonely    bool
	tokens    int
	last      int64 // epoch of the last refusal
}

func (s *tale) play(step string) circuit.Status {
	s.d.t.Helper()
	record := s.d.get(s.name)
	r := circuit.Report{
		Delays: []time.Duration{time.Millisecond}, MaxProbes: s.maxProbes, Epoch: record.Epoch, Parked: true, AllRefused: s.lonely,
		Cause: circuit.Cause{Code: "67200004", CorrelationID: "c-1"},
	}
	subject, verb, _ := strings.Cut(step, " ")
	if subject == "probe" {
		r.Call, verb, _ = strings.Cut(verb, " ")
		s.tokens++
		r.Token = fmt.Sprint(r.Call, s.tokens)
		r.Epoch = s.d.probe(s.name, r.Token).Epoch
	} else {
		r.Call = subject
	}
	switch {
	case step == "an operator closes":
		if err := s.d.Close(s.d.t.Context(), s.name, "test", "anna"); err != nil {
			s.d.t.Fatal(err)
		}
		return circuit.Status{}
	case strings.HasSuffix(verb, "refused too"):
		r.Verdict, r.Epoch = circuit.OwnError, s.last
	case strings.HasSuffix(verb, "refused"):
		r.Verdict, s.last = circuit.OwnError, r.Epoch
	case strings.HasSuffix(verb, "fails"):
		r.Verdict, r.Parked, s.last = circuit.OwnError, false, r.Epoch
	case strings.HasSuffix(verb, "fault"):
		r.Verdict = circuit.Fault
	case strings.HasSuffix(verb, "answered"):
		r.Verdict = circuit.Answer
	default:
		s.d.t.Fatalf("no such step: %s", step)
	}
	return s.d.report(s.name, r)
}

func TestOneCallsOwnFaultIsToldFromTheAccounts(t *testing.T) {
	together := []string{"x is refused", "y was refused too", "probe a is answered"}
	twice := slices.Concat(together, together, together[:2])
	for _, c := range []struct {
		name  string
		steps []string
		// next has to be the next probe; convicted ends when its turn comes.
		next, convicted string
	}{
		{"one refusal says nothing", []string{"x is refused"}, "", ""},
		{"a second one, and nobody else was refused: it is to be the first after the hold", []string{
			"x is refused", "probe a is answered", "x is refused"}, "x", ""},
		{"refused as the probe too, and the next one is answered well", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is refused", "probe a is answered"}, "", "x"},
		{"but three refusals say little where other calls' first probes are refused as often", []string{
			"p is refused", "probe q is refused", "probe r is answered",
			"x is refused", "probe a is answered", "x is refused", "probe x is refused", "probe a is answered"}, "", ""},
		{"refused as the probe too: another call is the next probe", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is refused"}, "", ""},
		{"the next one is refused as well: it is the account", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is refused", "probe a is refused", "probe b is answered"}, "", ""},
		{"another call was refused in the same epoch: it is the account", []string{
			"x is refused", "y was refused too", "probe a is answered"}, "", ""},
		{"the same report twice counts once", []string{
			"x is refused", "x was refused too", "probe a is answered"}, "", ""},
		{"a probe that meets a fault says nothing", []string{
			"x is refused", "probe a meets a fault", "probe a is answered", "x is refused"}, "x", ""},
		{"it is answered well itself", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is answered", "x is refused"}, "", ""},
		{"a quota that is used up: probe after probe is refused", []string{
			"a is refused", "probe b is refused", "probe c is refused", "probe a is refused", "probe b is refused", "probe c is refused",
			"probe d is answered"}, "", ""},
		{"calls that are refused together in one run after the other are tried one by one", twice, "x", ""},
		{"and after one of them comes one that was not refused", slices.Concat(twice, []string{"probe x is refused"}), "", ""},
		{"then the other", slices.Concat(twice, []string{"probe x is refused", "probe a is answered"}, together[:2]), "y", ""},
		{"from time to time one that was not refused is the first after a hold", slices.Concat(
			twice, []string{"probe x is refused", "probe a is answered"}, together[:2],
			[]string{"probe y is refused", "probe a is answered"}, together[:2]), "", ""},
		{"until one of them is convicted", slices.Concat(
			twice, []string{"probe x is refused", "probe a is answered"}, together[:2],
			[]string{"probe y is refused", "probe a is answered"}, together,
			together[:2], []string{"probe x is refused", "probe a is answered"}), "", "x"},
		{"but not where holds are too short for any call", []string{
			"x is refused", "y was refused too", "probe a is refused", "probe b is answered",
			"x is refused", "y was refused too", "probe c is refused", "probe d is answered",
			"x is refused", "y was refused too", "probe x is refused", "probe e is answered",
			"x is refused", "y was refused too", "probe y is refused", "probe f is answered",
			"x is refused", "y was refused too", "probe g is refused", "probe h is answered",
			"x is refused", "y was refused too", "probe x is refused", "probe i is answered"}, "", ""},
		{"an outage spends attempts, which end a call", []string{
			"x fails", "probe a is answered", "x fails", "probe a is answered", "x fails", "probe x fails", "probe a is answered"}, "", ""},
		{"what an operator closes is no good answer", []string{
			"x is refused", "an operator closes", "x is refused", "an operator closes", "x is refused"}, "", ""},
	} {
		for _, name := range []circuit.Name{account, endpoint} {
			t.Run(c.name+"/"+name.String(), func(t *testing.T) {
				each(t, func(t *testing.T, d *fixture) {
					s := &tale{d: d, name: name}
					for _, step := range c.steps {
						s.play(step)
					}
					if got := d.get(name).Next; got != c.next {
						t.Errorf("the next probe has to be %q, want %q", got, c.next)
					}
					if got := d.get(account).Convicted; got != c.convicted {
						t.Errorf("convicted are %q, want %q", got, c.convicted)
					}
				})
			})
		}
	}
}

func TestWhereOnlyRefusedCallsWaitTheOneEndsThatWasRefusedInThreeRuns(t *testing.T) {
	together := []string{"x is refused", "y was refused too", "probe a is answered"}
	strike := []string{"x is refused", "y was refused too", "probe x is refused", "probe a is answered"}
	for _, c := range []struct {
		name string
		runs [][]string
		ends bool
	}{
		{"no run before", nil, false},
		{"two runs", [][]string{together, strike}, false},
		{"several runs, and in one of them it was refused alone", [][]string{together, together, strike, together}, true},
		{"several runs, always with another", [][]string{together, together, together, together}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, d *fixture) {
				s := &tale{d: d, name: account}
				for _, step := range slices.Concat(c.runs...) {
					s.play(step)
				}
				s.play("y is refused")
				s.lonely = true
				if got := s.play("probe x is refused").Ends; got != c.ends {
					t.Errorf("it ends: %t, want %t", got, c.ends)
				}
			})
		})
	}
}

func TestTheLastProbeThatMayFailEnds(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		s := &tale{d: d, name: endpoint, maxProbes: 3}
		for i, step := range []string{"x is refused", "probe x is refused", "probe y is refused", "probe z is refused", "probe w is refused"} {
			if got, want := s.play(step).Ends, i >= 3; got != want {
				t.Errorf("%s: it ends: %t, want %t", step, got, want)
			}
		}
		s.play("probe w is answered")
		for _, step := range []string{"x is refused", "probe x is refused"} {
			if s.play(step).Ends {
				t.Errorf("%s: it ends, though a probe was answered well before", step)
			}
		}
	})
}

func TestCallsAreGivenUpUnsentOnTheEvidenceOfDifferentCallsAlone(t *testing.T) {
	for _, c := range []struct {
		name   string
		probes []string
		good   time.Duration // how long ago a call was answered well; 0: never
		giveUp bool
	}{
		{"three different probes", []string{"x", "y", "z"}, 0, true},
		{"three times the same", []string{"x", "x", "x"}, 0, false},
		{"two calls", []string{"x", "y", "x"}, 0, false},
		{"another three later", []string{"x", "x", "y", "z"}, 0, true},
		{"fewer than may fail", []string{"x", "y"}, 0, false},
		{"one was answered well within the hour", []string{"x", "y", "z"}, 59 * time.Minute, false},
		{"the good answer is older", []string{"x", "y", "z"}, 61 * time.Minute, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, d *fixture) {
				s := &tale{d: d, name: endpoint, maxProbes: 3}
				s.play("o is refused")
				for _, probe := range c.probes {
					s.play("probe " + probe + " is refused")
				}
				d.client.HSet(t.Context(), "callq:{api}:circuit~GET~/patent/*", "until", time.Now().Add(time.Hour).UnixMilli())
				request := circuit.AdmitRequest{Token: "t", Lease: time.Minute, Call: "n"}
				if c.good > 0 {
					request.GoodAt = time.Now().Add(-c.good)
				}
				a, err := d.Store.Admit(t.Context(), endpoint, request)
				if err != nil {
					t.Fatal(err)
				}
				if a.GiveUp != c.giveUp || c.giveUp && (a.Code != "67200004" || a.CorrelationID != "c-1") {
					t.Errorf("got %+v, want to be given up with the last probe's code: %t", a, c.giveUp)
				}
				// What one process has seen holds for all.
				request.GoodAt = time.Time{}
				if a, err := d.Store.Admit(t.Context(), endpoint, request); err != nil || a.GiveUp != c.giveUp {
					t.Errorf("another process got %+v, %v", a, err)
				}
			})
		})
	}
}

func TestAnEndpointsProbeIsAnotherCallThanTheOneThatWasRefused(t *testing.T) {
	ask := func(d *fixture, call string) circuit.Admission {
		d.t.Helper()
		a, err := d.Store.Admit(d.t.Context(), endpoint, circuit.AdmitRequest{Token: "t" + call, Lease: time.Minute, Call: call})
		if err != nil {
			d.t.Fatal(err)
		}
		return a
	}
	// over waits until the hold is over.
	over := func(d *fixture) {
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			if d.get(endpoint).Until.Before(time.Now()) {
				return
			}
			<-time.After(time.Millisecond)
		}
	}
	t.Run("while another waits", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &tale{d: d, name: endpoint}
			s.play("x is refused")
			d.client.HSet(t.Context(), "callq:{api}:circuit~GET~/patent/*", "until", time.Now().Add(50*time.Millisecond).UnixMilli())
			if a := ask(d, "a"); a.Admitted {
				t.Fatalf("got %+v during the hold", a)
			}
			over(d)
			if a := ask(d, "x"); a.Admitted || a.Wait > time.Second {
				t.Errorf("the call that was refused got %+v, want to ask again within a second", a)
			}
			if a := ask(d, "a"); !a.Probe {
				t.Errorf("the call that waits got %+v, want the probe", a)
			}
		})
	})
	t.Run("but not where it waits alone", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &tale{d: d, name: endpoint}
			s.play("x is refused")
			over(d)
			if a := ask(d, "x"); !a.Probe {
				t.Errorf("got %+v, want the probe", a)
			}
		})
	})
	t.Run("and it is the one that was refused twice alone", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &tale{d: d, name: endpoint}
			for _, step := range []string{"x is refused", "probe a is answered", "x is refused"} {
				s.play(step)
			}
			over(d)
			if a := ask(d, "b"); a.Admitted || a.Wait > time.Second {
				t.Errorf("another call got %+v, want to ask again within a second", a)
			}
			if a := ask(d, "x"); !a.Probe {
				t.Errorf("the suspect got %+v, want the probe", a)
			}
		})
	})
	t.Run("nobody waits for long for one that does not come", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &tale{d: d, name: endpoint}
			for _, step := range []string{"x is refused", "probe a is answered", "x is refused"} {
				s.play(step)
			}
			d.client.HSet(t.Context(), "callq:{api}:circuit~GET~/patent/*", "until", time.Now().Add(-4*time.Second).UnixMilli())
			if a := ask(d, "b"); !a.Probe {
				t.Errorf("four seconds after the hold another call got %+v, want the probe", a)
			}
		})
	})
}

func TestARecordStaysSmallHoweverManyCallsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		s := &tale{d: d, name: account}
		for run := range 3 {
			s.play("c0 is refused")
			for i := range 100 {
				s.play(fmt.Sprintf("c%d-%d was refused too", run, i))
			}
			s.play("probe good is answered")
		}
		size := 0
		for field, value := range d.client.HGetAll(t.Context(), "callq:{api}:circuit").Val() {
			size += len(field) + len(value)
		}
		if size > 4<<10 {
			t.Errorf("the record has %d bytes", size)
		}
		s.play("c is refused")
		for i := range 100 {
			s.play(fmt.Sprintf("c%d was refused too", i))
		}
		if got := strings.Fields(d.get(account).Refused); len(got) > 64 || got[len(got)-1] != "c99" || slices.Contains(got, "c0") {
			t.Errorf("got %d calls that were refused, the last %s", len(got), got[len(got)-1])
		}
	})
}
