package worker_test

import (
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// counting is a policy in which two refusals in a row open the circuit.
const counting = `
version: 1
name: counting
extends: http
backoffs: {standard: {floor: 1ms, base: 1ms, cap: 1ms}}
holds:
  cleaning: {sources: [ladder], ladder: [500ms, 1h]}
  credential: {sources: [ladder], ladder: [1h]}
rules:
  - {id: cleaning, match: {http: [503]}, class: transient, job: park, circuit: {hold: cleaning}}
  - {id: old, match: {http: [400]}, class: auth, job: dead_letter, circuit: {hold: credential, after: 2}}
`

func TestAProbeWithAnErrorThatOpensOnlyAfterSeveralEndsByItsJobAndTheHoldStays(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: parse(t, counting), Concurrency: 1}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /first -> http:503; ok\nGET /bad -> http:400 forever")
		var ids []string
		for _, path := range []string{"/first", "/bad", "/good"} {
			ids = append(ids, env.Submit(tasks.Call{Path: path}).ID)
		}
		env.Start()
		// The probe is another call than the one that opened the circuit.
		want(t, env.Await(ids[1]), tasks.StateDead, policy.ClassAuth, 1)
		want(t, env.Await(ids[2]), tasks.StateDone, policy.ClassOK, 1)
		want(t, env.Await(ids[0]), tasks.StateDone, policy.ClassOK, 1)
		if n := env.Sim().Arrived("GET", "/bad"); n != 1 {
			t.Errorf("the refused call arrived %d times, want 1", n)
		}
	})
}

func TestAsManySuchErrorsInARowAsOpenTheCircuitOpenItAlsoWhenProbesMeetThem(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: parse(t, counting), Concurrency: 1}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /first -> http:503; ok\n* /bad* -> http:400 forever")
		var ids []string
		for _, path := range []string{"/first", "/bad1", "/bad2"} {
			ids = append(ids, env.Submit(tasks.Call{Path: path}).ID)
		}
		env.Start()
		want(t, env.Await(ids[1]), tasks.StateDead, policy.ClassAuth, 1)
		circuits := circuit.NewStore(env.Redis(), "test")
		awaitTrue(t, "the second error to open the circuit", func() bool {
			r, err := circuits.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
			if err != nil {
				t.Fatal(err)
			}
			return r.State == circuit.Open && r.Hold == "credential" && r.Rung == 1 && r.Class == "auth"
		})
		if n := env.Sim().Arrived("GET", "/bad2"); n != 1 {
			t.Errorf("the second refused call arrived %d times, want 1: it waits as the probe of the hold that it began", n)
		}
	})
}
