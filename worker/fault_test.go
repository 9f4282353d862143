package worker_test

import (
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestAHoldThatContinuesAfterATransientFaultNamesTheFaultOfItsProbe(t *testing.T) {
	p := parse(t, "version: 1\nname: p\nextends: patsnap\nholds:\n  quota: {sources: [retry-after, ladder], ladder: [1h]}\n")
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: p, Concurrency: 1}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> 67200001 retry-after=1; html; ok")
		env.Start()
		id := env.Submit(tasks.Call{Path: "/a"}).ID
		circuits, name := circuit.NewStore(env.Redis(), "test"), circuit.Name{Upstream: callqtest.Upstream}
		var r circuit.Record
		awaitTrue(t, "the probe to meet a fault", func() bool {
			var err error
			r, err = circuits.Get(t.Context(), name)
			return err == nil && r.Fault != ""
		})
		if r.Reason != "quota" || r.Code != "67200001" || r.Rung != 1 || r.Fault[:18] != "protocol, HTTP 200" {
			t.Errorf("got %+v", r)
		}
		if err := circuits.Close(t.Context(), name, "go", "test"); err != nil {
			t.Fatal(err)
		}
		want(t, env.Await(id), tasks.StateDone, policy.ClassOK, 2)
	})
}
