package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// used is how much of a window the account has used.
func used(t *testing.T, env *callqtest.Env, window string) string {
	t.Helper()
	n, err := env.Redis().HGet(t.Context(), limit.Keys(callqtest.Upstream)[0], "n:"+window).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// held waits until a limit or a budget holds the account.
func held(t *testing.T, env *callqtest.Env) circuit.Record {
	t.Helper()
	store := circuit.NewStore(env.Redis(), "test")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		r, err := store.Get(t.Context(), circuit.Name{Upstream: callqtest.Upstream})
		if err != nil {
			t.Fatal(err)
		}
		if r.LimitedBy != "" && r.LimitTurns {
			return r
		}
		<-time.After(10 * time.Millisecond)
	}
	t.Fatal("nothing held the account within 30 s")
	return circuit.Record{}
}

func TestAUsedUpBudgetHoldsTheAccountAndAnOperatorsCloseResetsIt(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Budget: []string{"10 calls/month"}}}}, func(t *testing.T, env *callqtest.Env) {
		for i := range 25 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		store := circuit.NewStore(env.Redis(), "test")
		for _, want := range []int{10, 20} {
			r := held(t, env)
			if r.LimitedBy != "budget" || r.LimitedText != "10 calls/month" || !r.Held(time.Now()) {
				t.Errorf("held by %s %q until %s", r.LimitedBy, r.LimitedText, r.Limited)
			}
			env.Sim().AwaitArrivals(want)
			if n := env.Sim().Arrivals(); n != want {
				t.Errorf("%d calls arrived, want %d", n, want)
			}
			if err := store.Close(t.Context(), circuit.Name{Upstream: callqtest.Upstream}, "we pay", "test"); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range env.AwaitBatch("b") {
			if r.State != tasks.StateDone || r.Parked != 0 || r.Attempts != 1 {
				t.Errorf("%s ended %s, parked %d times, %d attempts", r.Key, r.State, r.Parked, r.Attempts)
			}
		}
	})
}

func TestACallThatIsNotSentCostsNothing(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Limits: []string{"100/month"}}}}, func(t *testing.T, env *callqtest.Env) {
		past := time.Now().Add(-time.Minute)
		for i := range 5 {
			env.Submit(tasks.Call{Path: "/late", Deadline: &past, Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Submit(tasks.Call{Path: "/now", Batch: "b", Key: "now"})
		env.Start()
		env.AwaitBatch("b")
		env.Stop()
		if n := used(t, env, "1month"); n != "1" || env.Sim().Arrivals() != 1 {
			t.Errorf("%s of the limit are used and %d calls arrived, want 1", n, env.Sim().Arrivals())
		}
	})
}

func TestADrainReturnsTheSlotsOfWaitingCalls(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Limits: []string{"150/m", "100/month"}}}}, func(t *testing.T, env *callqtest.Env) {
		for i := range 10 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		env.Sim().AwaitArrivals(2) // more wait for their slots, 400 ms apart
		env.Stop()
		b, err := ledger.New(env.Redis()).Batch(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		if n := used(t, env, "1month"); n != fmt.Sprint(b.Counts.Done) || b.Counts.Open == 0 || int(b.Counts.Done) != env.Sim().Arrivals() {
			t.Errorf("%s of the limit are used, %d calls arrived, the ledger say %+v", n, env.Sim().Arrivals(), b.Counts)
		}
	})
}

func TestAReplayWithAFreshCredentialTakesASlotOfItsOwn(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Limits: []string{"100/month"}}}}, func(t *testing.T, first *callqtest.Env) {
		auth := worker.OAuth2(worker.OAuth2Config{
			TokenURL: first.Sim().URL() + "/token",
			ClientID: worker.StaticSecret("id"), ClientSecret: worker.StaticSecret("secret"), TokenField: "token",
		})
		env := callqtest.New(t, worker.Config{Redis: first.Redis(), Upstreams: []worker.Upstream{{
			Name: callqtest.Upstream, BaseURL: first.Sim().URL(), Auth: auth, Limits: []string{"100/month"},
		}}})
		first.Sim().Script("POST /token -> body=`{\"token\":\"t\",\"expires_in\":3600}` forever\nGET /a -> 67200003@401; ok")
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, "ok", 1)
		if n := used(t, env, "1month"); n != "2" || first.Sim().Arrived("GET", "/a") != 2 {
			t.Errorf("%s of the limit are used for %d requests, want 2", n, first.Sim().Arrived("GET", "/a"))
		}
	})
}

func TestTheCostsOfARefusedCallAndOfItsReplayBothCount(t *testing.T) {
	upstream := worker.Upstream{
		Name: callqtest.Upstream, Budget: []string{"1 USD/month"}, CostPerCall: "0.10", CostHeader: "x-billed",
	}
	each(t, worker.Config{Upstreams: []worker.Upstream{upstream}}, func(t *testing.T, first *callqtest.Env) {
		upstream := upstream
		upstream.BaseURL = first.Sim().URL()
		upstream.Auth = worker.OAuth2(worker.OAuth2Config{
			TokenURL: first.Sim().URL() + "/token", TokenField: "token",
			ClientID: worker.StaticSecret("id"), ClientSecret: worker.StaticSecret("secret"),
		})
		env := callqtest.New(t, worker.Config{Redis: first.Redis(), Upstreams: []worker.Upstream{upstream}})
		first.Sim().Script("POST /token -> body=`{\"token\":\"t\",\"expires_in\":3600}` forever\n" +
			"GET /a -> 67200003@401 header=x-billed:0.02; ok header=x-billed:0.03")
		env.Start()
		want(t, env.Await(env.Submit(tasks.Call{Path: "/a"}).ID), tasks.StateDone, "ok", 1)
		env.Stop()
		if n := used(t, env, "USD/1month"); n != "50000" {
			t.Errorf("%s millionths are spent, want 50000", n)
		}
	})
}

func TestTheBilledCostReplacesTheReservedOne(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{
		Name: callqtest.Upstream, Budget: []string{"1 USD/month"}, CostPerCall: "0.10", CostHeader: "x-billed",
	}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("* * -> ok header=x-billed:0.02 forever")
		for i := range 40 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		for _, r := range env.AwaitBatch("b") {
			if r.State != tasks.StateDone {
				t.Errorf("%s ended %s", r.Key, r.State)
			}
		}
		env.Stop()
		if n := used(t, env, "USD/1month"); n != "800000" {
			t.Errorf("%s millionths are spent, want 800000", n)
		}
	})
}

func TestWithoutACostHeaderABudgetCountsTheCostPerCall(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{
		Name: callqtest.Upstream, Budget: []string{"1 USD/month"}, CostPerCall: "0.10",
	}}}, func(t *testing.T, env *callqtest.Env) {
		// The simulated API says x-openapi-amount, in a unit of its own.
		for i := range 12 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
		}
		env.Start()
		if r := held(t, env); r.LimitedText != "1 USD/month" {
			t.Errorf("held by %q", r.LimitedText)
		}
		env.Sim().AwaitArrivals(10)
		env.Stop()
		if n := used(t, env, "USD/1month"); n != "1000000" || env.Sim().Arrivals() != 10 {
			t.Errorf("%s millionths are spent for %d calls", n, env.Sim().Arrivals())
		}
	})
}

func TestACloseAllowsCallsThoughTheHighestCostIsAboveTheBudget(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{
		Name: callqtest.Upstream, Budget: []string{"1 USD/month"}, CostPerCall: "0.10", CostHeader: "x-billed", Concurrency: 1,
	}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /dear -> ok header=x-billed:5")
		env.Submit(tasks.Call{Path: "/dear", Batch: "b", Key: "dear"})
		env.Submit(tasks.Call{Path: "/next", Batch: "b", Key: "next"})
		env.Start()
		held(t, env)
		if err := circuit.NewStore(env.Redis(), "test").Close(t.Context(), circuit.Name{Upstream: callqtest.Upstream}, "we pay", "test"); err != nil {
			t.Fatal(err)
		}
		want(t, env.AwaitBatch("b")["next"], tasks.StateDone, "ok", 1)
	})
}

func TestACallThatIsParkedWhileItsAccountIsNotHeldDoesNotComeBackAtOnce(t *testing.T) {
	p := parse(t, `version: 1
name: patient
extends: patsnap
rules:
  - id: busy
    match: {code: [70000001]}
    class: quota
    job: park
    circuit: {effect: open, scope: account, hold: quota, after: 5}
    message: "The service is busy."
    advice: "Nothing to do."
`)
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: p}}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /a -> 70000001 x2; ok")
		env.Start()
		r := env.Await(env.Submit(tasks.Call{Path: "/a"}).ID)
		want(t, r, tasks.StateDone, "ok", 1)
		seen := env.Sim().Seen()
		if r.Parked != 2 || len(seen) != 3 {
			t.Fatalf("parked %d times, %d requests", r.Parked, len(seen))
		}
		for i := range seen[1:] {
			if gap := seen[i+1].At.Sub(seen[i].At); gap < 900*time.Millisecond {
				t.Errorf("it came back after %s, want about a second or more", gap)
			}
		}
	})
}

func TestNewNamesTheLimitThatIsWrong(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	_, err := worker.New(worker.Config{
		Redis:     client,
		Upstreams: []worker.Upstream{{Name: "api", Policy: parse(t, "version: 1\nname: p\nextends: patsnap\n"), Limits: []string{"fast"}}},
	})
	if err == nil || !strings.Contains(err.Error(), `upstream api: limits[0] "fast" is not a limit`) {
		t.Errorf("got %v", err)
	}
}
