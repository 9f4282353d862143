package worker_test

import (
	"slices"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

const idempotencyHeader = "Idempotency-Key"

// oneKey checks that so many requests arrived for the call, all of them with its
// id as the key.
func oneKey(t *testing.T, sim *callqtest.Sim, id string, requests int) {
	t.Helper()
	n := 0
	for _, s := range sim.Seen() {
		if s.Path != "/order" {
			continue
		}
		if n++; s.Headers[idempotencyHeader] != id {
			t.Errorf("request %d, answered %s, carried %q, want the call's id %q", n, s.Answer, s.Headers[idempotencyHeader], id)
		}
	}
	if n != requests {
		t.Errorf("%d requests arrived, want %d", n, requests)
	}
}

func TestEveryRequestOfACallCarriesTheSameIdempotencyKey(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script   string
		requests int
	}{
		"once":                           {"POST /order -> ok", 1},
		"retries after lost answers":     {"POST /order -> reset-after; cut; hang=50ms; http:503; ok", 5},
		"parks while the quota is over":  {"POST /order -> 67200001 retry-after=1; 67200001 retry-after=1; ok", 3},
		"parks on its endpoint":          {"POST /order -> 67200004 retry-after=1; ok", 2},
		"parks and retries in any order": {"POST /order -> 68300008; 67200002 retry-after=1; reset; 67200004 retry-after=1; ok", 5},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "sim", IdempotencyHeader: idempotencyHeader}}}, func(t *testing.T, env *callqtest.Env) {
				env.Sim().Script(c.script)
				env.Start()
				receipt := env.Submit(tasks.Call{Method: "POST", Path: "/order"})
				if r := env.Await(receipt.ID); r.State != tasks.StateDone {
					t.Errorf("ended %s, %s", r.State, r.Class)
				}
				oneKey(t, env.Sim(), receipt.ID, c.requests)
			})
		})
	}
}

func TestAReplayWithAFreshTokenCarriesTheSameIdempotencyKey(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, first *callqtest.Env) {
		env := callqtest.New(t, worker.Config{Redis: first.Redis(), Upstreams: []worker.Upstream{{
			Name: "sim", BaseURL: first.Sim().URL(), IdempotencyHeader: idempotencyHeader, Auth: worker.OAuth2(worker.OAuth2Config{
				ClientID: worker.StaticSecret("id"), ClientSecret: worker.StaticSecret("secret"),
				TokenField: "token", TokenURL: first.Sim().URL() + "/token",
			}),
		}}})
		first.Sim().Script("POST /token -> body=`{\"token\":\"t\",\"expires_in\":3600}` forever\nPOST /order -> 67200003@401; ok")
		env.Start()
		receipt := env.Submit(tasks.Call{Method: "POST", Path: "/order"})
		want(t, env.Await(receipt.ID), tasks.StateDone, policy.ClassOK, 1)
		oneKey(t, first.Sim(), receipt.ID, 2)
	})
}

func TestARunAfterAWorkerDiedCarriesTheSameIdempotencyKey(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "sim", IdempotencyHeader: idempotencyHeader}}}, func(t *testing.T, env *callqtest.Env) {
		// It may have reached the API. With the key it may be sent again nevertheless.
		receipt := interrupted(t, env, tasks.Call{Method: "POST", Path: "/order"}, "sent", 1, "starts", 1)
		env.Start()
		want(t, env.Await(receipt.ID), tasks.StateDone, policy.ClassOK, 1)
		oneKey(t, env.Sim(), receipt.ID, 1)
	})
}

// A dead letter may have had its effect, and an operator who redrives it cannot always find out.
// With the key that the API already has, a redrive cannot do it twice. To do it again, send
// the call under a new key of its batch.
func TestARedriveCarriesTheSameIdempotencyKey(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "sim", IdempotencyHeader: idempotencyHeader}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("POST /order -> 68300006 x3; reset-after; 68300006 x2; ok")
		env.Start()
		receipt := env.Submit(tasks.Call{Method: "POST", Path: "/order"})
		want(t, env.Await(receipt.ID), tasks.StateDead, policy.ClassTransient, 3)
		env.Redrive(receipt.ID)
		r := env.Await(receipt.ID)
		if r.State == tasks.StateDead {
			env.Redrive(receipt.ID)
			r = env.Await(receipt.ID)
		}
		if r.State != tasks.StateDone {
			t.Errorf("ended %s, %s", r.State, r.Class)
		}
		oneKey(t, env.Sim(), receipt.ID, 7)
	})
}

func TestEachCallHasAnIdempotencyKeyOfItsOwn(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "sim", IdempotencyHeader: idempotencyHeader}}}, func(t *testing.T, env *callqtest.Env) {
		env.Start()
		for _, c := range []tasks.Call{{Batch: "a", Key: "k"}, {Batch: "b", Key: "k"}, {Batch: "a", Key: "l"}} {
			c.Method, c.Path = "POST", "/order"
			env.Await(env.Submit(c).ID)
		}
		keys := map[string]bool{}
		for _, s := range env.Sim().Seen() {
			keys[s.Headers[idempotencyHeader]] = true
		}
		if len(keys) != 3 || keys[""] {
			t.Errorf("three calls carried the keys %v", keys)
		}
	})
}

func TestAPolicyCanAskForAFreshIdempotencyKey(t *testing.T) {
	p, err := policy.Parse("keeps-failures.yaml", []byte(`
extends: patsnap
rules:
  - {id: kept-failure, match: {code: [68300008]}, class: transient, job: retry, backoff: brief, fresh_key: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "sim", IdempotencyHeader: idempotencyHeader, Policy: p}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("POST /order -> 68300005; 68300008; 68300008; 67200001 retry-after=1; ok")
		env.Start()
		receipt := env.Submit(tasks.Call{Method: "POST", Path: "/order"})
		if r := env.Await(receipt.ID); r.State != tasks.StateDead || r.Attempts != 3 {
			t.Fatalf("got %s, %s after %d attempts", r.State, r.Class, r.Attempts)
		}
		env.Redrive(receipt.ID) // the record remembers the key
		if r := env.Await(receipt.ID); r.State != tasks.StateDone {
			t.Fatalf("got %s, %s", r.State, r.Class)
		}
		var keys []string
		for _, s := range env.Sim().Seen() {
			keys = append(keys, s.Headers[idempotencyHeader])
		}
		id := receipt.ID
		if want := []string{id, id, id + "-1", id + "-2", id + "-2"}; !slices.Equal(keys, want) {
			t.Errorf("got the keys %q, want %q", keys, want)
		}
	})
}
