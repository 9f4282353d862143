package circuit_test

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

// Three errors in a row open the circuit, and a hold for another error is over.
func TestErrorsThatProbesMeetInAHoldForAnotherErrorOpenTheCircuitAfterSeveral(t *testing.T) {
	for name, c := range map[string]struct {
		// between is reported after the second error; nil: nothing.
		between *circuit.Report
		opens   bool
	}{
		"in a row":               {nil, true},
		"with another between":   {&circuit.Report{Verdict: circuit.Answer}, false}, // any other answer of the API, as the worker reports it
		"with an unsent between": {&circuit.Report{Verdict: circuit.Unsent}, true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, d *fixture) {
				soon := []time.Duration{time.Millisecond}
				d.report(account, circuit.Report{Verdict: circuit.OwnError, Epoch: 0, After: 1, Delays: soon, Call: "first#0", Parked: true, Cause: circuit.Cause{Hold: "cleaning"}})
				if r := d.get(account); r.State != circuit.Open || r.Streak != 0 {
					t.Fatalf("got %+v, want open, and a streak that starts again", r)
				}
				counted := func(call string) circuit.Status {
					a := d.probe(account, call)
					return d.report(account, circuit.Report{Verdict: circuit.Fault, After: 3, Epoch: a.Epoch, Token: call, Call: call, Delays: soon, Fault: "auth"})
				}
				for i, call := range []string{"a#0", "b#0"} {
					if s := counted(call); !s.Open || s.Reached || s.Ends {
						t.Errorf("error %d: got %+v, want a hold that stays", i+1, s)
					}
				}
				r := d.get(account)
				if r.Hold != "cleaning" || r.Rung != 1 || r.Streak != 2 || r.Fault != "auth" || r.Refused != "first#0 !a#0 !b#0" {
					t.Errorf("got %+v", r)
				}
				if c.between != nil {
					d.report(account, *c.between)
				}
				a := d.probe(account, "c#0")
				s := d.report(account, circuit.Report{Verdict: circuit.Fault, After: 3, Epoch: a.Epoch, Token: "c#0", Call: "c#0", Delays: soon})
				if s.Reached != c.opens {
					t.Fatalf("the third error: got %+v, want that it is reported as an error: %v", s, c.opens)
				}
				if !c.opens {
					return
				}
				s = d.report(account, circuit.Report{Verdict: circuit.OwnError, After: 3, Epoch: a.Epoch, Token: "c#0", Call: "c#0", Parked: true, Cause: circuit.Cause{Hold: "credential"}})
				if r := d.get(account); !s.Open || r.Hold != "credential" || r.Rung != 1 || r.Streak != 0 {
					t.Errorf("got %+v", r)
				}
			})
		})
	}
}
