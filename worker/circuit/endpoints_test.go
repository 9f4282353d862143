package circuit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestAnOutageIsLocated(t *testing.T) {
	// calls are n calls of an endpoint with the same result.
	type calls struct {
		n        int
		endpoint string
		result   circuit.Result
	}
	const good, bad = circuit.Healthy, circuit.Failed
	for _, c := range []struct {
		name  string
		calls []calls
		want  string // the last outage that was found
	}{
		{"one endpoint fails and another succeeds", []calls{{4, "b", good}, {4, "a", bad}}, "a"},
		{"it fails among many that succeed", []calls{{100, "b", good}, {4, "a", bad}}, "a"},
		{"only one endpoint is called, and fails", []calls{{4, "a", bad}}, "account"},
		{"all endpoints fail", []calls{{2, "a", bad}, {2, "b", bad}}, "account"},
		{"one has succeeded, and then all fail", []calls{{1, "b", good}, {4, "a", bad}, {4, "b", bad}}, "account"},
		{"two fail and a third succeeds", []calls{{8, "c", good}, {4, "a", bad}, {4, "b", bad}}, "a b"},
		{"too few calls to judge", []calls{{4, "b", good}, {3, "a", bad}}, ""},
		{"less than the ratio", []calls{{4, "b", good}, {5, "a", good}, {4, "a", bad}}, ""},
		{"many endpoints with a call each fail", []calls{{1, "b", good}, {1, "c", bad}, {1, "d", bad}, {1, "e", bad}}, "account"},
		{"neutral results do not count", []calls{{4, "b", good}, {100, "a", circuit.Neutral}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, found := circuit.NewGate(detector), ""
			for _, some := range c.calls {
				for range some.n {
					done, wait := g.Allow(some.endpoint)
					if done == nil {
						if found != "account" {
							t.Fatalf("the gate is shut for %s, but the outage is %q", wait, found)
						}
						continue
					}
					outage := done(some.result)
					switch {
					case outage.Account:
						found = "account"
					case len(outage.Endpoints) > 0:
						found = strings.Join(outage.Endpoints, " ")
					}
				}
			}
			if found != c.want {
				t.Errorf("outage: got %q, want %q", found, c.want)
			}
			if done, _ := g.Allow("other"); (done == nil) != (c.want == "account") {
				t.Errorf("calls of other endpoints are allowed: %t, though the outage is %q", done != nil, c.want)
			}
		})
	}
}

func TestResultsOfEndpointsLeaveTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := circuit.NewGate(detector)
		call := func(endpoint string, r circuit.Result) circuit.Outage {
			done, _ := g.Allow(endpoint)
			return done(r)
		}
		call("b", circuit.Healthy)
		for range 3 {
			call("a", circuit.Failed)
		}
		time.Sleep(31 * time.Second) // virtual time
		call("b", circuit.Healthy)
		if outage := call("a", circuit.Failed); outage.Account || len(outage.Endpoints) > 0 {
			t.Errorf("faults from before the window were reported as an outage: %+v", outage)
		}
		if at := g.GoodAt("b"); !at.Equal(time.Now()) {
			t.Errorf("last good answer of b: got %s, want now", at)
		}
	})
}

func TestAnEndpointThatFailsIsFoundAmongAnyNumberOfOthers(t *testing.T) {
	g := circuit.NewGate(detector)
	var found []string
	for i := range 5000 {
		for endpoint, r := range map[string]circuit.Result{fmt.Sprint("b", i): circuit.Healthy, "a": circuit.Failed} {
			done, _ := g.Allow(endpoint)
			if done == nil {
				t.Fatal("the gate is shut because of one endpoint's faults")
			}
			if outage := done(r); outage.Account {
				t.Fatal("one endpoint's faults were reported as an outage of the account")
			} else if len(outage.Endpoints) > 0 {
				found = outage.Endpoints
			}
		}
	}
	if !slices.Equal(found, []string{"a"}) {
		t.Errorf("found %v, want a", found)
	}
}
