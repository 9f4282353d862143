package circuit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

// scenario applies steps to a circuit:
//
//	CALL is refused            in the current epoch
//	CALL was refused too       in the epoch of the last refusal
//	probe CALL is refused
//	probe CALL meets a fault
//	probe CALL is answered
//	CALL fails                 an outage: the call spends an attempt
//	probe CALL fails
//	an operator closes
type scenario struct {
	d          *fixture
	name       circuit.Name
	maxProbes  int
	allRefused bool
	tokens     int
	last       int64 // epoch of the last refusal
}

func (s *scenario) play(step string) circuit.Status {
	s.d.t.Helper()
	record := s.d.get(s.name)
	r := circuit.Report{
		Delays: []time.Duration{time.Millisecond}, MaxProbes: s.maxProbes, Epoch: record.Epoch, Parked: true, AllRefused: s.allRefused,
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

func TestOneCallsOwnFaultIsDistinguishedFromTheAccounts(t *testing.T) {
	together := []string{"x is refused", "y was refused too", "probe a is answered"}
	twice := slices.Concat(together, together, together[:2])
	for _, c := range []struct {
		name  string
		steps []string
		// next must be the next probe; convicted ends when it is dequeued.
		next, convicted string
	}{
		{"one refusal says nothing", []string{"x is refused"}, "", ""},
		{"a second one, and no other call was refused: it must be the next probe", []string{
			"x is refused", "probe a is answered", "x is refused"}, "x", ""},
		{"refused as the probe too, and the next probe gets a good answer", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is refused", "probe a is answered"}, "", "x"},
		{"three refusals prove little if the first probes of other calls are refused as often", []string{
			"p is refused", "probe q is refused", "probe r is answered",
			"x is refused", "probe a is answered", "x is refused", "probe x is refused", "probe a is answered"}, "", ""},
		{"refused as the probe too: another call is the next probe", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is refused"}, "", ""},
		{"the next probe is refused too: it is the account's fault", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is refused", "probe a is refused", "probe b is answered"}, "", ""},
		{"another call was refused in the same epoch: it is the account's fault", []string{
			"x is refused", "y was refused too", "probe a is answered"}, "", ""},
		{"two refusals of one call in one epoch count once", []string{
			"x is refused", "x was refused too", "probe a is answered"}, "", ""},
		{"a probe that meets a fault says nothing", []string{
			"x is refused", "probe a meets a fault", "probe a is answered", "x is refused"}, "x", ""},
		{"the call itself gets a good answer", []string{
			"x is refused", "probe a is answered", "x is refused", "probe x is answered", "x is refused"}, "", ""},
		{"a quota that is used up: probe after probe is refused", []string{
			"a is refused", "probe b is refused", "probe c is refused", "probe a is refused", "probe b is refused", "probe c is refused",
			"probe d is answered"}, "", ""},
		{"calls that are refused together in several runs become the probe one by one", twice, "x", ""},
		{"after one of them comes a call that was not refused", slices.Concat(twice, []string{"probe x is refused"}), "", ""},
		{"then comes the other one", slices.Concat(twice, []string{"probe x is refused", "probe a is answered"}, together[:2]), "y", ""},
		{"from time to time a call that was not refused is the probe", slices.Concat(
			twice, []string{"probe x is refused", "probe a is answered"}, together[:2],
			[]string{"probe y is refused", "probe a is answered"}, together[:2]), "", ""},
		{"one of them is convicted in the end", slices.Concat(
			twice, []string{"probe x is refused", "probe a is answered"}, together[:2],
			[]string{"probe y is refused", "probe a is answered"}, together,
			together[:2], []string{"probe x is refused", "probe a is answered"}), "", "x"},
		{"no call is convicted where holds are too short for every call", []string{
			"x is refused", "y was refused too", "probe a is refused", "probe b is answered",
			"x is refused", "y was refused too", "probe c is refused", "probe d is answered",
			"x is refused", "y was refused too", "probe x is refused", "probe e is answered",
			"x is refused", "y was refused too", "probe y is refused", "probe f is answered",
			"x is refused", "y was refused too", "probe g is refused", "probe h is answered",
			"x is refused", "y was refused too", "probe x is refused", "probe i is answered"}, "", ""},
		{"failures of an outage spend attempts and do not count", []string{
			"x fails", "probe a is answered", "x fails", "probe a is answered", "x fails", "probe x fails", "probe a is answered"}, "", ""},
		{"a close by an operator does not count as a good answer", []string{
			"x is refused", "an operator closes", "x is refused", "an operator closes", "x is refused"}, "", ""},
	} {
		for _, name := range []circuit.Name{account, endpoint} {
			t.Run(c.name+"/"+name.String(), func(t *testing.T) {
				each(t, func(t *testing.T, d *fixture) {
					s := &scenario{d: d, name: name}
					for _, step := range c.steps {
						s.play(step)
					}
					if got := d.get(name).Next; got != c.next {
						t.Errorf("next probe: got %q, want %q", got, c.next)
					}
					if got := d.get(account).Convicted; got != c.convicted {
						t.Errorf("convicted: got %q, want %q", got, c.convicted)
					}
				})
			})
		}
	}
}

func TestIfOnlyRefusedCallsWaitTheOneThatWasRefusedInThreeRunsEnds(t *testing.T) {
	together := []string{"x is refused", "y was refused too", "probe a is answered"}
	strike := []string{"x is refused", "y was refused too", "probe x is refused", "probe a is answered"}
	for _, c := range []struct {
		name string
		runs [][]string
		ends bool
	}{
		{"no run before", nil, false},
		{"two runs", [][]string{together, strike}, false},
		{"several runs, in one of which only it was refused", [][]string{together, together, strike, together}, true},
		{"several runs, always together with another call", [][]string{together, together, together, together}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, d *fixture) {
				s := &scenario{d: d, name: account}
				for _, step := range slices.Concat(c.runs...) {
					s.play(step)
				}
				s.play("y is refused")
				s.allRefused = true
				if got := s.play("probe x is refused").Ends; got != c.ends {
					t.Errorf("the call ends: got %t, want %t", got, c.ends)
				}
			})
		})
	}
}

func TestTheLastProbeThatMayFailEnds(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		s := &scenario{d: d, name: endpoint, maxProbes: 3}
		for i, step := range []string{"x is refused", "probe x is refused", "probe y is refused", "probe z is refused", "probe w is refused"} {
			if got, want := s.play(step).Ends, i >= 3; got != want {
				t.Errorf("%s: the call ends: got %t, want %t", step, got, want)
			}
		}
		s.play("probe w is answered")
		for _, step := range []string{"x is refused", "probe x is refused"} {
			if s.play(step).Ends {
				t.Errorf("%s: the call ends, though a probe got a good answer before", step)
			}
		}
	})
}

func TestCallsAreGivenUpUnsentOnlyAfterDifferentCallsFailed(t *testing.T) {
	for _, c := range []struct {
		name   string
		probes []string
		good   time.Duration // how long ago a call got a good answer; 0: never
		giveUp bool
	}{
		{"three different probes", []string{"x", "y", "z"}, 0, true},
		{"three times the same call", []string{"x", "x", "x"}, 0, false},
		{"two calls", []string{"x", "y", "x"}, 0, false},
		{"one call twice, and then two others", []string{"x", "x", "y", "z"}, 0, true},
		{"fewer probes than may fail", []string{"x", "y"}, 0, false},
		{"a good answer within the hour", []string{"x", "y", "z"}, 59 * time.Minute, false},
		{"the good answer is older", []string{"x", "y", "z"}, 61 * time.Minute, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(t *testing.T, d *fixture) {
				s := &scenario{d: d, name: endpoint, maxProbes: 3}
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
					t.Errorf("got %+v, want GiveUp %t with the last probe's code", a, c.giveUp)
				}
				// The good answer that one process has seen counts for all processes.
				request.GoodAt = time.Time{}
				if a, err := d.Store.Admit(t.Context(), endpoint, request); err != nil || a.GiveUp != c.giveUp {
					t.Errorf("another process: got %+v, %v, want GiveUp %t", a, err, c.giveUp)
				}
			})
		})
	}
}

func TestAnEndpointsProbeIsNotTheCallThatWasRefused(t *testing.T) {
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
	t.Run("while another call waits", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &scenario{d: d, name: endpoint}
			s.play("x is refused")
			d.client.HSet(t.Context(), "callq:{api}:circuit~GET~/patent/*", "until", time.Now().Add(50*time.Millisecond).UnixMilli())
			if a := ask(d, "a"); a.Admitted {
				t.Fatalf("got %+v during the hold", a)
			}
			over(d)
			if a := ask(d, "x"); a.Admitted || a.Wait > time.Second {
				t.Errorf("the refused call: got %+v, want a wait of a second at most", a)
			}
			if a := ask(d, "a"); !a.Probe {
				t.Errorf("the waiting call: got %+v, want the probe", a)
			}
		})
	})
	t.Run("unless no other call waits", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &scenario{d: d, name: endpoint}
			s.play("x is refused")
			over(d)
			if a := ask(d, "x"); !a.Probe {
				t.Errorf("got %+v, want the probe", a)
			}
		})
	})
	t.Run("unless only it was refused, twice", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &scenario{d: d, name: endpoint}
			for _, step := range []string{"x is refused", "probe a is answered", "x is refused"} {
				s.play(step)
			}
			over(d)
			if a := ask(d, "b"); a.Admitted || a.Wait > time.Second {
				t.Errorf("another call: got %+v, want a wait of a second at most", a)
			}
			if a := ask(d, "x"); !a.Probe {
				t.Errorf("the suspect: got %+v, want the probe", a)
			}
		})
	})
	t.Run("other calls do not wait for long for the next probe", func(t *testing.T) {
		each(t, func(t *testing.T, d *fixture) {
			s := &scenario{d: d, name: endpoint}
			for _, step := range []string{"x is refused", "probe a is answered", "x is refused"} {
				s.play(step)
			}
			d.client.HSet(t.Context(), "callq:{api}:circuit~GET~/patent/*", "until", time.Now().Add(-4*time.Second).UnixMilli())
			if a := ask(d, "b"); !a.Probe {
				t.Errorf("another call four seconds after the hold: got %+v, want the probe", a)
			}
		})
	})
}

func TestARecordStaysSmallHoweverManyCallsAreRefused(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		s := &scenario{d: d, name: account}
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
			t.Errorf("the record has %d bytes, want 4096 at most", size)
		}
		s.play("c is refused")
		for i := range 100 {
			s.play(fmt.Sprintf("c%d was refused too", i))
		}
		if got := strings.Fields(d.get(account).Refused); len(got) > 64 || got[len(got)-1] != "c99" || slices.Contains(got, "c0") {
			t.Errorf("got %d refused calls, the last %s; want 64 at most, the last c99", len(got), got[len(got)-1])
		}
	})
}
