package worker_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// soon is the preset http with backoffs that would retry within a second.
func soon(t *testing.T, more string) *policy.Policy {
	return parse(t, "version: 1\nname: soon\nextends: http\nbackoffs:\n  standard: {floor: 1ms, base: 1ms, cap: 1ms}\n"+more)
}

func TestARetryIsNotSentBeforeTheTimeThatTheServerGave(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: soon(t, "")}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> http:503 retry-after=4; ok")
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, policy.ClassOK, 2)
		seen := env.Sim().Seen()
		if gap := seen[1].At.Sub(seen[0].At); len(seen) != 2 || gap < 4*time.Second {
			t.Errorf("%d requests, the second after %s; want 2, and 4s between", len(seen), gap)
		}
	})
}

func TestAnAdaptiveRateHoldsForTheTimeThatAPlaceOfTheAnswerGives(t *testing.T) {
	p := soon(t, "holds:\n  quota: {sources: [{from: \"header x-wait\", format: seconds}, ladder], ladder: [1h]}\n")
	u := worker.Upstream{Name: callqtest.Upstream, Policy: p, Limits: []string{"adaptive"}}
	each(t, worker.Config{Upstreams: []worker.Upstream{u}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> http:429 header=`X-Wait: 3`; ok")
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, policy.ClassOK, 1)
		seen := env.Sim().Seen()
		if gap := seen[1].At.Sub(seen[0].At); len(seen) != 2 || gap < 3*time.Second {
			t.Errorf("%d requests, the second after %s; want 2, and 3s between", len(seen), gap)
		}
	})
}

func TestARetryAfterTheCallsDeadlineEndsTheCallAtOnce(t *testing.T) {
	t.Parallel()
	near := time.Now().Add(30 * time.Minute)
	for name, c := range map[string]struct {
		answer   string
		deadline *time.Time
		class    policy.Class
	}{
		"past its deadline":       {"http:503 retry-after=3600 forever", &near, policy.ClassExpired},
		"past its age":            {"http:503 retry-after=90000 forever", nil, policy.ClassTransient},
		"past both":               {"http:503 retry-after=90000 forever", &near, policy.ClassTransient},
		"past its age, briefly":   {"http:418 retry-after=90000 forever", nil, policy.ClassUnknown},
		"past its deadline, 418s": {"http:418 retry-after=3600 forever", &near, policy.ClassExpired},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: soon(t, "")}}})
			env.Sim().Script("GET /a -> " + c.answer)
			env.Start()
			r := env.Await(env.Submit(tasks.Call{Path: "/a", Deadline: c.deadline}).ID)
			want(t, r, tasks.StateDead, c.class, 1)
			if r.Advice == "" || c.class == policy.ClassExpired && r.ErrorMessage == "" {
				t.Errorf("it does not say why: %+v", r)
			}
			if n := env.Sim().Arrivals(); n != 1 {
				t.Errorf("%d requests arrived, want 1", n)
			}
		})
	}
}

func TestAJobIsNotRunAgainBeforeTheTimeThatItsFailureGave(t *testing.T) {
	t.Parallel()
	env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: soon(t, "")}}})
	var mu sync.Mutex
	var at []time.Time
	handle(t, env, func(context.Context, *worker.Job[invoice]) (sent, error) {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Now()); len(at) == 1 {
			return sent{}, &policy.Failure{Status: 503, RetryAfter: 3 * time.Second, Err: errors.New("busy")}
		}
		return sent{}, nil
	})
	want(t, enqueue(t, env, tasks.Options{}), tasks.StateDone, policy.ClassOK, 2)
	if gap := at[1].Sub(at[0]); gap < 3*time.Second {
		t.Errorf("it ran again after %s, want 3s", gap)
	}
}

// cutAt reports whether an adaptive rate was cut.
func cutAt(t *testing.T, env *callqtest.Env) bool {
	t.Helper()
	err := env.Redis().HGet(t.Context(), limit.Keys(callqtest.Upstream)[0], "cut_at").Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return err == nil
}

func TestAnAdaptiveRateIsLoweredByTheRateErrorsOfAnyPreset(t *testing.T) {
	t.Parallel()
	patsnap, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		policy *policy.Policy
		answer string
		// least is the least that the account is held.
		least time.Duration
	}{
		"http 429":                     {soon(t, ""), "http:429", 0},
		"http 429 with a time":         {soon(t, ""), "http:429 retry-after=3", 3 * time.Second},
		"patsnap rate limit":           {patsnap, "67200002", 0},
		"patsnap 429":                  {patsnap, "http:429", 0},
		"patsnap total limit":          {patsnap, "67200001", 0},
		"a hold under a name of yours": {soon(t, "holds: {mine: {ladder: [45s]}}\nrules:\n  - {id: slow-down, match: {http: [420]}, job: park, circuit: {hold: mine}}\n"), "http:420", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: c.policy, Limits: []string{"adaptive"}}}})
			env.Sim().Script("GET /a -> " + c.answer + "; ok")
			env.Start()
			r := env.Await(env.Submit(tasks.Call{Path: "/a"}).ID) // within half a minute: the ladder's first rung is longer
			want(t, r, tasks.StateDone, policy.ClassOK, 1)
			if seen := env.Sim().Seen(); len(seen) != 2 || seen[1].At.Sub(seen[0].At) < c.least {
				t.Errorf("%d requests, want 2 with %s between: %+v", len(seen), c.least, seen)
			}
			if !cutAt(t, env) {
				t.Error("the rate was not cut")
			}
		})
	}
}

func TestAQuotaErrorWithALongWaitIsNotARateError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ more, answer string }{
		"the server gives a longer time": {"", "http:429 retry-after=61 forever"},
		"the ladder does":                {"holds: {quota: {ladder: [61s]}}\n", "http:429 forever"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: soon(t, c.more), Limits: []string{"adaptive"}}}})
			env.Sim().Script("GET /a -> " + c.answer)
			env.Start()
			env.Submit(tasks.Call{Path: "/a"})
			store := circuit.NewStore(env.Redis(), "test")
			for deadline := time.Now().Add(30 * time.Second); ; <-time.After(10 * time.Millisecond) {
				r, err := store.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
				if err != nil {
					t.Fatal(err)
				}
				if r.State == circuit.Open {
					if left := time.Until(r.Until); left < 50*time.Second {
						t.Errorf("held for %s, want about 61s", left)
					}
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the account was not held within 30 s")
				}
			}
			if cutAt(t, env) {
				t.Error("the rate was cut")
			}
		})
	}
}
