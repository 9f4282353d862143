package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// each runs a test with a worker on miniredis and on a real Redis.
func each(t *testing.T, cfg worker.Config, test func(t *testing.T, env *callqtest.Env)) {
	t.Helper()
	t.Parallel()
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		cfg := cfg
		cfg.Redis = client
		cfg.Upstreams = append([]worker.Upstream(nil), cfg.Upstreams...)
		test(t, callqtest.New(t, cfg))
	})
}

func parse(t *testing.T, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func want(t *testing.T, r tasks.Result, state tasks.State, class policy.Class, attempts int) {
	t.Helper()
	if r.State != state || r.Class != string(class) || r.Attempts != attempts {
		t.Errorf("%s ended %s, %s with %d attempts (%s, %s); want %s, %s with %d",
			r.Key, r.State, r.Class, r.Attempts, r.ErrorCode, r.ErrorMessage, state, class, attempts)
	}
}

func TestACallThatFailsTwiceThenSucceedsIsDoneWithThreeAttemptsAndGrowingGaps(t *testing.T) {
	standard := parse(t, "version: 1\nname: gaps\nextends: patsnap\nbackoffs:\n  standard: {floor: 500ms, base: 2s, cap: 1m, attempts: 6}\n")
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "api", Policy: standard}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> 68300008 x2; ok")
		env.Start()
		// A call whose dice are high, so that the growth shows through the queue's
		// rounding to seconds.
		key := "a"
		for policy.SeededJitter(tasks.TaskID("b", key))(100) < 97 {
			key += "a"
		}
		r := env.Await(env.Submit(tasks.Call{Path: "/a", Batch: "b", Key: key}).ID)
		want(t, r, tasks.StateDone, policy.ClassOK, 3)
		if r.Parked != 0 {
			t.Errorf("parked %d times, want never", r.Parked)
		}
		seen := env.Sim().Seen()
		if len(seen) != 3 {
			t.Fatalf("%d requests arrived, want 3", len(seen))
		}
		first, second := seen[1].At.Sub(seen[0].At), seen[2].At.Sub(seen[1].At)
		// The first one's wait is 1 to 2 s, the second one's 2 to 4 s, less what
		// rounding to seconds takes; a busy machine only adds to either.
		if first < 500*time.Millisecond || second < 2500*time.Millisecond {
			t.Errorf("the gaps are %s and %s, want them to grow from 500ms to more than 2.5s", first, second)
		}
	})
}

func TestAParkSpendsNoAttemptHoweverOften(t *testing.T) {
	short := parse(t, `version: 1
name: short
extends: patsnap
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 1ms, attempts: 1}
holds:
  quota: {sources: [ladder], ladder: [10ms]}
`)
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "api", Policy: short}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> 67200001 x100; ok")
		env.Start()
		r := env.Await(env.Submit(tasks.Call{Path: "/a"}).ID)
		want(t, r, tasks.StateDone, policy.ClassOK, 1)
		if r.Parked != 100 {
			t.Errorf("parked %d times, want 100", r.Parked)
		}
		if got := env.Sim().Arrivals(); got != 101 {
			t.Errorf("%d requests arrived, want 101", got)
		}
	})
}

func TestAQuotaErrorHoldsTheAccountUntilTheServersTimeAndThenOneProbeIsSent(t *testing.T) {
	const concurrency, calls = 4, 60
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "api", Concurrency: concurrency}}}, func(t *testing.T, env *callqtest.Env) {
		// The eleventh call finds the quota used up, for two seconds.
		env.Sim().Script("shared GET /r/* -> ok x10; http:429 retry-after=2; ok latency=250ms forever")
		for i := range calls {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/r/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		results := env.AwaitBatch("b")
		for _, r := range results {
			if r.State != tasks.StateDone {
				t.Errorf("%s ended %s (%s)", r.Key, r.State, r.Class)
			}
		}
		if len(results) != calls {
			t.Errorf("%d results, want %d", len(results), calls)
		}
		var refused time.Time
		during, probes := 0, 0
		for _, s := range env.Sim().Seen() {
			switch {
			case s.Answer == "http:429":
				refused = s.At
			case refused.IsZero():
			case s.At.Sub(refused) < 1900*time.Millisecond:
				during++
			case s.At.Sub(refused) < 2200*time.Millisecond:
				probes++
			}
		}
		if during >= concurrency {
			t.Errorf("%d requests arrived during the hold, want at most the %d others that were in progress", during, concurrency-1)
		}
		if probes > 1 {
			t.Errorf("%d requests arrived while the probe was out, want the probe alone", probes)
		}
	})
}

func TestAProbeWithItsCircuitsErrorIsParkedAndTakesTheNextRung(t *testing.T) {
	ladder := parse(t, "version: 1\nname: ladder\nextends: patsnap\nholds:\n  credential: {sources: [ladder], ladder: [50ms, 400ms, 800ms]}\n")
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "api", Policy: ladder, Concurrency: 1}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("shared GET /* -> ok; 67200003 x5; ok forever")
		for i := range 6 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		results := env.AwaitBatch("b")
		// The first call is done. Three calls meet the error and are dead, the
		// circuit opens; the fourth is the probe and is parked, and then the fifth, as
		// another call waits.
		want(t, results["0"], tasks.StateDone, policy.ClassOK, 1)
		for _, key := range []string{"1", "2", "3"} {
			want(t, results[key], tasks.StateDead, policy.ClassAuth, 1)
		}
		want(t, results["4"], tasks.StateDone, policy.ClassOK, 1)
		want(t, results["5"], tasks.StateDone, policy.ClassOK, 1)
		for _, key := range []string{"4", "5"} {
			if results[key].Parked != 1 {
				t.Errorf("the probe %s was parked %d times, want once", key, results[key].Parked)
			}
		}
		seen := env.Sim().Seen()
		first, second := seen[5].At.Sub(seen[4].At), seen[6].At.Sub(seen[5].At)
		if first < 400*time.Millisecond || second < 800*time.Millisecond {
			t.Errorf("the probes came after %s and %s, want the rungs of 400ms and 800ms", first, second)
		}
	})
}

func TestAnyOtherAnswerResetsTheStreakOfAuthErrors(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: "api", Concurrency: 1}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("shared GET /* -> 67200003 x2; 68300004; 67200005 x2; ok; 67200006 x2; ok forever")
		for i := range 12 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		results := env.AwaitBatch("b")
		dead := 0
		for _, r := range results {
			if r.State == tasks.StateDead {
				dead++
			}
			if r.Parked > 0 {
				t.Errorf("%s was parked, so the circuit opened", r.Key)
			}
		}
		if dead != 6 {
			t.Errorf("%d dead letters, want 6", dead)
		}
	})
}

func TestAnEndpointsErrorHoldsThatEndpointOnly(t *testing.T) {
	cfg := worker.Config{Upstreams: []worker.Upstream{{Name: "api", Endpoints: []string{"GET /closed/*"}, Concurrency: 2}}}
	each(t, cfg, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("shared GET /closed/* -> 67200004; ok forever")
		for i := range 5 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/closed/%d", i), Batch: "b", Key: fmt.Sprintf("closed-%d", i)})
			env.Submit(tasks.Call{Path: fmt.Sprintf("/open/%d", i), Batch: "b", Key: fmt.Sprintf("open-%d", i)})
		}
		env.Start()
		results := env.AwaitBatch("b")
		parked := 0
		for key, r := range results {
			want(t, r, tasks.StateDone, policy.ClassOK, 1)
			if r.Parked > 0 {
				parked++
				if key[:4] == "open" {
					t.Errorf("%s waited for another endpoint", key)
				}
			}
		}
		if parked == 0 {
			t.Error("no call waited, so the endpoint's circuit never opened")
		}
	})
}

func TestTheTimeOfAnEndpointsHoldDoesNotCountForMaxAge(t *testing.T) {
	cfg := worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: parse(t, `
version: 1
name: short
extends: patsnap
backoffs:
  standard: {floor: 1ms, base: 1ms, cap: 1ms, attempts: 6, max_age: 4s}
`)}}}
	each(t, cfg, func(t *testing.T, env *callqtest.Env) {
		// The endpoint is held for longer than max_age, and then the call needs one retry.
		env.Sim().Script("GET /a -> 67200004 retry-after=5; 68300005; ok")
		env.Start()
		r := env.Await(env.Submit(tasks.Call{Path: "/a"}).ID)
		want(t, r, tasks.StateDone, policy.ClassOK, 2)
		if r.Parked == 0 { // more than once where it comes back a moment before the hold ends
			t.Error("the call was not parked")
		}
	})
}

func TestACallThatMustNotBeSentTwiceIsDeadWhenItsAnswerIsLost(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("POST /order -> reset-after forever\nGET /order -> reset-after; ok")
		env.Start()
		post := env.Await(env.Submit(tasks.Call{Method: "POST", Path: "/order"}).ID)
		want(t, post, tasks.StateDead, policy.ClassOutcomeUnknown, 1)
		get := env.Await(env.Submit(tasks.Call{Path: "/order"}).ID)
		want(t, get, tasks.StateDone, policy.ClassOK, 2)
		if n := env.Sim().Arrived("POST", "/order"); n != 1 {
			t.Errorf("the POST arrived %d times, want once", n)
		}
	})
}

func TestACallPastItsDeadlineIsNotSent(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		past := time.Now().Add(-time.Second)
		env.Start()
		r := env.Await(env.Submit(tasks.Call{Path: "/a", Deadline: &past}).ID)
		want(t, r, tasks.StateDead, policy.ClassExpired, 0)
		if r.UserMessage == "" || r.Advice == "" {
			t.Errorf("message %q and advice %q, want both", r.UserMessage, r.Advice)
		}
		if n := env.Sim().Arrivals(); n != 0 {
			t.Errorf("%d requests arrived, want none", n)
		}
	})
}

func TestTheSameCallSentAgainIsMadeOnce(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		call := tasks.Call{Path: "/a", Batch: "b", Key: "k"}
		first := env.Submit(call)
		env.Start()
		env.Await(first.ID)
		again := env.Submit(call)
		if !again.Duplicate || again.ID != first.ID {
			t.Errorf("the second receipt is %+v, want a duplicate of %s", again, first.ID)
		}
		if n := env.Sim().Arrivals(); n != 1 {
			t.Errorf("%d requests arrived, want 1", n)
		}
	})
}

func TestARedrivenDeadLetterGetsANewBudgetOfAttempts(t *testing.T) {
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> 68300006 x4; ok")
		env.Start()
		id := env.Submit(tasks.Call{Path: "/a"}).ID
		want(t, env.Await(id), tasks.StateDead, policy.ClassTransient, 3)
		env.Redrive(id)
		r := env.Await(id)
		want(t, r, tasks.StateDone, policy.ClassOK, 2)
	})
}
