package worker_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// The copy is of the moment at which no call was sent; then half of them were, and
// some have ended.
func TestARunningWorkerSendsNothingTwiceAfterRedisWasRestored(t *testing.T) {
	t.Parallel()
	server := redistest.Redis(t)
	env := callqtest.New(t, worker.Config{Redis: server.Client, Concurrency: 4})
	env.Sim().Script("* * -> ok latency=100ms forever")
	const calls = 40
	var ids []string
	for i := range calls {
		ids = append(ids, env.Submit(tasks.Call{Method: http.MethodPost, Path: fmt.Sprintf("/post/%d", i), Batch: "b", Key: fmt.Sprint(i)}).ID)
	}
	old := server.Copy()
	env.Start()
	env.Sim().AwaitArrivals(calls / 2)
	server.Restore(old)
	unknown := 0
	for i, id := range ids {
		r := env.Await(id)
		switch {
		case r.State == tasks.StateDone:
		case r.State == tasks.StateDead && r.Class == string(policy.ClassOutcomeUnknown):
			unknown++
		default:
			t.Errorf("%s ended %s, %s: %s", r.Key, r.State, r.Class, r.ErrorMessage)
		}
		if n := env.Sim().Arrived(http.MethodPost, fmt.Sprintf("/post/%d", i)); n != 1 {
			t.Errorf("%s was sent %d times", r.Key, n)
		}
	}
	t.Logf("%d of %d calls ended as unknown", unknown, calls)
	env.Stop()
	wantNothingActive(t, env, "sim")
}
