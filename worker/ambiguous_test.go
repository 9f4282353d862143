package worker_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestACallThatMayHaveHadItsEffectIsMadeAgainOnlyIfItIsIdempotent(t *testing.T) {
	yes, no := true, false
	each(t, worker.Config{Concurrency: 32, Upstreams: []worker.Upstream{
		{Name: "api", Timeout: 3 * time.Second, Concurrency: 32},
		{Name: "keyed", Timeout: 3 * time.Second, Concurrency: 32, IdempotencyHeader: "Idempotency-Key"},
	}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script(`* /hang/* -> hang=5s; ok
* /cut/* -> cut; ok
* /after/* -> reset-after; ok
* /http/* -> http:504; ok
* /html/* -> html; ok
* /malformed/* -> malformed; ok
* /empty/* -> empty; ok`)
		type sent struct {
			call  tasks.Call
			id    string
			again bool
		}
		var list []sent
		for _, answer := range []string{"hang", "cut", "after", "http", "html", "malformed", "empty"} {
			for i, s := range []sent{
				{call: tasks.Call{Upstream: "api"}, again: true},
				{call: tasks.Call{Upstream: "api", Idempotent: &no}},
				{call: tasks.Call{Upstream: "api", Method: http.MethodPost}},
				{call: tasks.Call{Upstream: "api", Method: http.MethodPost, Idempotent: &yes}, again: true},
				{call: tasks.Call{Upstream: "keyed", Method: http.MethodPost}, again: true},
			} {
				s.call.Path = fmt.Sprintf("/%s/%d", answer, i)
				s.id = env.Submit(s.call).ID
				list = append(list, s)
			}
		}
		env.Start()
		for _, s := range list {
			r := env.Await(s.id)
			arrived := env.Sim().Arrived(r.Method, r.Path)
			if s.again {
				want(t, r, tasks.StateDone, policy.ClassOK, 2)
				if arrived != 2 {
					t.Errorf("%s %s arrived %d times, want 2", r.Method, r.Path, arrived)
				}
				continue
			}
			want(t, r, tasks.StateDead, policy.ClassOutcomeUnknown, 1)
			if arrived != 1 {
				t.Errorf("%s %s arrived %d times, want once", r.Method, r.Path, arrived)
			}
		}
	})
}

// A worker of this version and calls of a later one: as in a roll-out.
func TestThePolicyGivesWhatAnUpstreamDoesNotSet(t *testing.T) {
	rules, err := policy.Parse("api.yaml", []byte(`extends: patsnap
upstream:
  idempotent: ["POST /search/*"]
  headers: {X-Version: "2"}
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 10ms}
`))
	if err != nil {
		t.Fatal(err)
	}
	each(t, worker.Config{Concurrency: 4, Upstreams: []worker.Upstream{
		{Name: "api", Policy: rules},
		{Name: "own", Policy: rules, Idempotent: []string{"GET *"}},
	}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("POST /search/* -> reset-after; ok\n* /plain -> reset-after; ok")
		again := env.Submit(tasks.Call{Upstream: "api", Method: http.MethodPost, Path: "/search/1"}).ID
		never := env.Submit(tasks.Call{Upstream: "api", Path: "/plain"}).ID
		own := env.Submit(tasks.Call{Upstream: "own", Method: http.MethodPost, Path: "/search/2"}).ID
		env.Start()
		want(t, env.Await(again), tasks.StateDone, policy.ClassOK, 2)
		want(t, env.Await(never), tasks.StateDead, policy.ClassOutcomeUnknown, 1)
		want(t, env.Await(own), tasks.StateDead, policy.ClassOutcomeUnknown, 1)
	})
}

func TestACallThatANewerVersionWroteWaitsForANewerWorkerAndSpendsNothing(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		id := env.Submit(tasks.Call{Path: "/newer", Batch: "b", Key: "newer"}).ID
		record := "callq:{" + callqtest.Upstream + "}:c:" + id
		content, err := env.Redis().HGet(t.Context(), record, "content").Result()
		if err != nil {
			t.Fatal(err)
		}
		newer := `{"v":99,"what":"of a later version"}`
		if err := env.Redis().HSet(t.Context(), record, "content", newer).Err(); err != nil {
			t.Fatal(err)
		}
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/same", Batch: "b", Key: "same"}).ID), tasks.StateDone, policy.ClassOK, 1)
		awaitTrue(t, "the newer call to be put off", func() bool {
			n, err := env.Redis().ZCard(t.Context(), "asynq:{"+callqtest.Upstream+"}:retry").Result()
			return err == nil && n == 1
		})
		if n := env.Sim().Arrived(http.MethodGet, "/newer"); n != 0 {
			t.Errorf("the newer call was made %d times", n)
		}
		// A worker that understands it.
		if err := env.Redis().HSet(t.Context(), record, "content", content).Err(); err != nil {
			t.Fatal(err)
		}
		r := env.Await(id)
		want(t, r, tasks.StateDone, policy.ClassOK, 1)
		if r.Parked == 0 {
			t.Error("its waiting is not recorded as parked")
		}
	})
}
