package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestACallThatDidNotKillItsWorkersIsMade(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		var calls []tasks.Receipt
		for i := range 8 {
			method := []string{"GET", "POST"}[i%2]
			calls = append(calls, interrupted(t, env, tasks.Call{Method: method, Path: fmt.Sprintf("/good/%d", i)}, "starts", 4+i))
		}
		for i := range 8 {
			calls = append(calls, env.Submit(tasks.Call{Path: fmt.Sprintf("/fresh/%d", i)}))
		}
		env.Start()
		for _, r := range calls {
			want(t, env.Await(r.ID), tasks.StateDone, policy.ClassOK, 1)
		}
		if n := env.Sim().Arrivals(); n != len(calls) {
			t.Errorf("%d requests arrived, want %d", n, len(calls))
		}
	})
}

func TestACallWhoseWorkersDiedWhileTheyMadeNoOtherIsACrashLoop(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		post := interrupted(t, env, tasks.Call{Method: "POST", Path: "/poison"}, "starts", 5, "alone", "0 5 1")
		get := interrupted(t, env, tasks.Call{Path: "/poison"}, "starts", 8, "settled", 2, "alone", "2 8 2")
		once := interrupted(t, env, tasks.Call{Path: "/good/once"}, "starts", 5, "alone", "0 5 1")
		before := interrupted(t, env, tasks.Call{Path: "/good/before"}, "starts", 9, "settled", 4, "alone", "1 4 2") // a decision came since
		env.Start()
		for r, text := range map[string]string{
			post.ID: "5 workers in a row ended without a decision on it, the last one while it made no other call",
			get.ID:  "6 workers in a row ended without a decision on it, the last 2 while they made no other call",
		} {
			got := env.Await(r)
			want(t, got, tasks.StateDead, policy.ClassCrashLoop, 0)
			if !strings.Contains(got.ErrorMessage, text) {
				t.Errorf("got message %q, want it to contain %q", got.ErrorMessage, text)
			}
		}
		for _, r := range []tasks.Receipt{once, before} {
			want(t, env.Await(r.ID), tasks.StateDone, policy.ClassOK, 1)
		}
		if n := env.Sim().Arrived("GET", "/poison") + env.Sim().Arrived("POST", "/poison"); n != 0 {
			t.Errorf("%d requests arrived, want none", n)
		}
	})
}
