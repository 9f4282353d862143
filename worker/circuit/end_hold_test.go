package circuit_test

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestAHoldThatIsEndedAdmitsItsProbeOnly(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		refused := circuit.Report{
			Verdict: circuit.OwnError, Delays: []time.Duration{time.Hour}, Cause: circuit.Cause{Class: string(policy.ClassAuth), Source: string(policy.SourceLadder)},
		}
		d.report(account, refused)
		held := d.get(account)
		if a := d.admit(account, "early"); a.Admitted {
			t.Fatalf("a call was admitted during the hold: %+v", a)
		}
		if ended, err := d.EndHold(t.Context(), held); !ended || err != nil {
			t.Fatalf("got %t, %v, want true", ended, err)
		}
		if a := d.admit(account, "probe"); !a.Probe || a.Epoch != held.Epoch || a.Rung != held.Rung {
			t.Errorf("got %+v, want the probe of the same epoch and rung", a)
		}
		if a := d.admit(account, "other"); a.Admitted {
			t.Errorf("a second call was admitted while the probe is out: %+v", a)
		}
		// While the probe is out, and after its verdict, EndHold does nothing.
		d.mustStand(held)
		refused.Epoch, refused.Token = held.Epoch, "probe"
		d.report(account, refused)
		if r := d.get(account); r.Rung != held.Rung+1 || !r.Held(time.Now()) {
			t.Errorf("after a refused probe got %+v, want held on the next rung", r)
		}
		d.mustStand(held)
	})
}

func TestEndHoldDoesNothingWhereNoPersonCanFixTheCause(t *testing.T) {
	for name, cause := range map[string]circuit.Cause{
		"a quota":                  {Class: string(policy.ClassQuota), Source: string(policy.SourceLadder)},
		"a time that the API gave": {Class: string(policy.ClassAuth), Source: string(policy.SourceRetryAfter)},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, d *fixture) {
				d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Hour}, Cause: cause})
				d.mustStand(d.get(account))
			})
		})
	}
}

func TestEndHoldDoesNothingToAnOperatorsHold(t *testing.T) {
	each(t, func(t *testing.T, d *fixture) {
		if err := d.Open(t.Context(), account, time.Hour, "holiday", "anna"); err != nil {
			t.Fatal(err)
		}
		d.mustStand(d.get(account))
	})
}

// mustStand checks that EndHold does not end a hold.
func (d *fixture) mustStand(r circuit.Record) {
	d.t.Helper()
	before := d.get(account)
	if ended, err := d.EndHold(d.t.Context(), r); ended || err != nil {
		d.t.Errorf("got %t, %v, want false", ended, err)
	}
	if after := d.get(account); after != before {
		d.t.Errorf("the record changed: got %+v, want %+v", after, before)
	}
}
