package worker_test

import (
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestACallThatFailsTwiceThenSucceedsIsDoneWithThreeAttempts(t *testing.T) {
	t.Parallel()
	env := callqtest.New(t, worker.Config{})
	env.Sim().Script("GET /a -> 68300008 x2; ok")
	env.Start()
	r := env.Await(env.Submit(tasks.Call{Path: "/a"}).ID)
	if r.State != tasks.StateDone || r.Attempts != 3 || r.Parked != 0 {
		t.Errorf("got %s with %d attempts and %d parked, want done with 3 and 0", r.State, r.Attempts, r.Parked)
	}
	if got := env.Sim().Arrivals(); got != 3 {
		t.Errorf("%d requests arrived, want 3", got)
	}
}
