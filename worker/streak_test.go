package worker_test

import (
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// A network fault is not an answer of the API: it proves nothing about a credential.
func TestOnlyAnAnswerOfTheAPIResetsTheStreakOfRefusedCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		between string
		state   tasks.State
		class   policy.Class
		opens   bool
	}{
		"a network fault": {"reset-after", tasks.StateDead, policy.ClassOutcomeUnknown, true},
		"a good answer":   {"ok", tasks.StateDone, policy.ClassOK, false},
		"a bad parameter": {"68300004", tasks.StateDropped, policy.ClassBadParameter, false},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
				env.Sim().Script("POST /between -> " + c.between + "\n* * -> 67200003 forever")
				env.Start()
				call := func(path string) tasks.Result {
					return env.Await(env.Submit(tasks.Call{Method: "POST", Path: path}).ID)
				}
				want(t, call("/1"), tasks.StateDead, policy.ClassAuth, 1)
				want(t, call("/2"), tasks.StateDead, policy.ClassAuth, 1)
				want(t, call("/between"), c.state, c.class, 1)
				want(t, call("/3"), tasks.StateDead, policy.ClassAuth, 1)
				circuits := circuit.NewStore(env.Redis(), "test")
				awaitTrue(t, "the third refusal to be counted", func() bool {
					r, err := circuits.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
					if err != nil {
						t.Fatal(err)
					}
					if c.opens {
						return r.State == circuit.Open
					}
					return r.State == circuit.Closed && r.Streak == 1
				})
			})
		})
	}
}
