package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// measured runs a test with a worker that has metrics, on miniredis and on a real Redis.
func measured(t *testing.T, u worker.Upstream, test func(t *testing.T, env *callqtest.Env, reg *prometheus.Registry)) {
	t.Helper()
	t.Parallel()
	u.Name = callqtest.Upstream
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		reg := prometheus.NewRegistry()
		test(t, callqtest.New(t, worker.Config{Redis: client, Registerer: reg, Upstreams: []worker.Upstream{u}}), reg)
	})
}

// sample returns a counter, or how many values a histogram has, and the sum of these.
// Labels are written as `name="value",…`, by name.
func sample(t *testing.T, reg *prometheus.Registry, name, labels string) (n, sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			if f.GetName() == name && strings.Join(have, ",") == labels {
				return m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()), m.GetHistogram().GetSampleSum()
			}
		}
	}
	return 0, 0
}

// wantCount waits until a counter has a value: an attempt is counted after it was recorded.
func wantCount(t *testing.T, reg *prometheus.Registry, name, labels string, want float64) {
	t.Helper()
	awaitTrue(t, fmt.Sprintf("%s{%s} to be %g", name, labels, want), func() bool {
		got, _ := sample(t, reg, name, labels)
		return got == want
	})
}

func TestMetricsCountEachAttemptAndEachEndOfACall(t *testing.T) {
	measured(t, worker.Upstream{}, func(t *testing.T, env *callqtest.Env, reg *prometheus.Registry) {
		env.Sim().Script("GET /retried -> 68300008; ok\nGET /dropped -> 68300004\nGET /dead -> 67200005")
		env.Start()
		past := time.Now().Add(-time.Minute)
		for _, call := range []tasks.Call{{Path: "/retried"}, {Path: "/dropped"}, {Path: "/dead"}, {Path: "/late", Deadline: &past}} {
			env.Await(env.Submit(call).ID)
		}
		const upstream = `upstream="` + callqtest.Upstream + `"`
		for labels, n := range map[string]float64{
			`action="retry",class="transient",`: 1, `action="succeed",class="ok",`: 1, `action="drop",class="bad_parameter",`: 1,
			`action="dead_letter",class="balance",`: 1, `action="dead_letter",class="expired",`: 0,
		} {
			wantCount(t, reg, "callq_attempts_total", labels+upstream, n)
		}
		for labels, n := range map[string]float64{
			`class="ok",state="done",`: 1, `class="bad_parameter",state="dropped",`: 1, `class="balance",state="dead",`: 1, `class="expired",state="dead",`: 1,
		} {
			wantCount(t, reg, "callq_calls_total", labels+upstream, n)
		}
		wantCount(t, reg, "callq_attempt_duration_seconds", upstream, 4)
		wantCount(t, reg, "callq_call_duration_seconds", upstream, 4)
		// The retried call waited for about a second, no call for an hour.
		if _, sum := sample(t, reg, "callq_call_duration_seconds", upstream); sum < 0.5 || sum > 3600 {
			t.Errorf("the calls took %g s together", sum)
		}
		wantCount(t, reg, "callq_limit_wait_seconds", upstream, 0)
	})
}

func TestMetricsCountAHoldOnceThoughItsProbeFails(t *testing.T) {
	measured(t, worker.Upstream{}, func(t *testing.T, env *callqtest.Env, reg *prometheus.Registry) {
		env.Sim().Script("GET /* -> 67200001 x2; ok")
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, policy.ClassOK, 1)
		const upstream = `upstream="` + callqtest.Upstream + `"`
		wantCount(t, reg, "callq_attempts_total", `action="park",class="quota",`+upstream, 2)
		wantCount(t, reg, "callq_holds_total", `reason="quota",`+upstream, 1)
		wantCount(t, reg, "callq_refused_after_hold_total", upstream, 0)
	})
}

func TestMetricsCountTheWaitForALimitAndTheHoldThatItBegins(t *testing.T) {
	measured(t, worker.Upstream{Limits: []string{"2/day", "5/s"}}, func(t *testing.T, env *callqtest.Env, reg *prometheus.Registry) {
		env.Start()
		for i := range 3 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i)})
		}
		const upstream = `upstream="` + callqtest.Upstream + `"`
		wantCount(t, reg, "callq_holds_total", `reason="limit",`+upstream, 1)
		wantCount(t, reg, "callq_limit_wait_seconds", upstream, 2)
		wantCount(t, reg, "callq_calls_total", `class="ok",state="done",`+upstream, 2)
		if _, sum := sample(t, reg, "callq_limit_wait_seconds", upstream); sum > 1 {
			t.Errorf("two calls waited for %g s, and slots are reserved half a second ahead", sum)
		}
	})
}

// refused is a job that the API refuses.
type refused struct{ N int }

func (refused) Kind() string { return "refused" }

func TestARefusalCountsAsAfterTheHoldOnlyIfTheCallBeganAfterIt(t *testing.T) {
	measured(t, worker.Upstream{}, func(t *testing.T, env *callqtest.Env, reg *prometheus.Registry) {
		begun, refuse := make(chan struct{}, 9), make(chan struct{})
		err := worker.Handle(env.Worker(), callqtest.Upstream, func(context.Context, *worker.Job[refused]) (struct{}, error) {
			begun <- struct{}{}
			<-refuse
			return struct{}{}, &policy.Failure{Status: 429, Code: "67200001"}
		})
		if err != nil {
			t.Fatal(err)
		}
		env.Start()
		begin := func(n int) {
			if _, err := tasks.Enqueue(t.Context(), env.Producer(), refused{n}, tasks.Options{Upstream: callqtest.Upstream}); err != nil {
				t.Fatal(err)
			}
			<-begun
		}
		circuits, account := circuit.NewStore(env.Redis(), "test"), circuit.Name{Upstream: callqtest.Upstream}
		const upstream = `upstream="` + callqtest.Upstream + `"`

		begin(1)
		if err := circuits.Open(t.Context(), account, time.Hour, "test", "test"); err != nil {
			t.Fatal(err)
		}
		refuse <- struct{}{}
		wantCount(t, reg, "callq_attempts_total", `action="park",class="quota",`+upstream, 1)
		wantCount(t, reg, "callq_refused_after_hold_total", upstream, 0)
		if err := circuits.Close(t.Context(), account, "test", "test"); err != nil {
			t.Fatal(err)
		}

		<-begun
		// The hold was in force all the time, but Redis had lost it when the call began.
		err = env.Redis().HSet(t.Context(), redislua.CircuitKey(callqtest.Upstream, ""), "state", "open", "epoch", 100,
			"since", time.Now().Add(-time.Minute).UnixMilli(), "until", time.Now().Add(time.Hour).UnixMilli()).Err()
		if err != nil {
			t.Fatal(err)
		}
		refuse <- struct{}{}
		wantCount(t, reg, "callq_refused_after_hold_total", upstream, 1)
	})
}

func TestAFailureOfRedisIsCounted(t *testing.T) {
	measured(t, worker.Upstream{}, func(t *testing.T, env *callqtest.Env, reg *prometheus.Registry) {
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, policy.ClassOK, 1)
		// Another program puts a string where the worker reads a hash.
		key := redislua.CircuitKey(callqtest.Upstream, "")
		if err := env.Redis().Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
		if err := env.Redis().Set(t.Context(), key, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		env.Submit(tasks.Call{Path: "/b"})
		awaitTrue(t, "errors to be counted", func() bool {
			n, _ := sample(t, reg, "callq_ledger_errors_total", "")
			return n > 0
		})
		if err := env.Redis().Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
	})
}
