package batchreport_test

import (
	"context"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/batchreport"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// script has every way in which a request can bring no result.
const script = `
GET /retried/*   -> 68300008 x2; http:503; ok
GET /reset/*     -> reset-after; ok
GET /cut/*       -> cut; ok
GET /dropped/*   -> 68300004 forever
GET /dead/*      -> 68300006 x3; ok
GET /redirect/*  -> redirect:/target
GET /unknown/*   -> 99999999 x3; ok
POST /lost/*     -> reset-after forever
`

// counted are the sums that the API and a report must have alike: by HTTP status, 0 for
// requests without an answer and 3 for redirects.
func counted(sim *simapi.Server) map[int]int64 {
	byStatus := map[int]int64{}
	for _, c := range sim.Calls() {
		switch {
		case c.Answer == "token":
		case c.Status/100 == 3:
			byStatus[3]++
		default:
			byStatus[c.Status]++
		}
	}
	return byStatus
}

func reported(r *batchreport.Report) map[int]int64 {
	byStatus := map[int]int64{}
	for _, a := range r.Requests.ByAnswer {
		if a.Without == "redirect" {
			a.HTTPStatus = 3
		}
		byStatus[a.HTTPStatus] += a.Requests
	}
	return byStatus
}

func TestTheSumsOfAReportAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		t.Parallel()
		sim := simapi.New(simapi.Config{
			Script: simapi.MustParseScript(script), OAuth: simapi.OAuth{ClientID: "id", ClientSecret: "secret"},
			Quota: simapi.Quota{Calls: 30, Window: 2 * time.Second},
		})
		server := httptest.NewServer(sim)
		t.Cleanup(server.Close)
		t.Cleanup(func() { _ = sim.Close() })
		env := callqtest.New(t, worker.Config{Redis: rdb, Upstreams: []worker.Upstream{{
			Name: "sim", BaseURL: server.URL, Concurrency: 8, Limits: []string{"100000/month"}, CostPerCall: "0.25",
			Auth: worker.OAuth2(worker.OAuth2Config{
				ClientID: worker.StaticSecret("id"), ClientSecret: worker.StaticSecret("secret"), TokenField: "token", TokenURL: server.URL + "/oauth/token",
			}),
		}}})
		submit := func(kind, method string, n int) (ids []string) {
			for i := range n {
				key := fmt.Sprintf("%s-%d", kind, i)
				ids = append(ids, env.Submit(tasks.Call{Batch: "b", Key: key, Method: method, Path: fmt.Sprintf("/%s/%d", kind, i)}).ID)
			}
			return ids
		}
		for _, kind := range []string{"retried", "reset", "cut", "dropped", "redirect", "unknown"} {
			submit(kind, "GET", 4)
		}
		submit("fine", "GET", 40)
		submit("lost", "POST", 3)
		dead := submit("dead", "GET", 3)
		env.Start()
		for _, id := range dead {
			env.Await(id)
		}
		sim.ExpireTokens()
		submit("late", "GET", 10)
		env.AwaitBatch("b")
		for _, id := range dead[:2] {
			env.Redrive(id)
		}
		env.AwaitBatch("b")
		again(t, rdb, tasks.TaskID("b", "fine-0"))
		env.AwaitBatch("b")
		env.Stop()
		purge(t, env, dead[2])

		r, err := batchreport.Make(t.Context(), batchreport.Config{
			Redis: rdb, Prices: map[string]batchreport.Price{"sim": {PerCall: 250_000, Currency: "USD"}},
		}, "b")
		if err != nil {
			t.Fatal(err)
		}
		wantSums(t, r, sim)
		wantCounts(t, r)
		if r.Requests.MaybeSent != 0 || len(r.Unknown) != 0 {
			t.Errorf("at most %d more requests, unknown: %q", r.Requests.MaybeSent, r.Unknown)
		}
		lost := sim.Stats().ByAnswer["reset-after"]
		if want := fmt.Sprint(sim.Stats().Worked - lost); len(r.Money) != 1 || r.Money[0].Billed != want || r.Money[0].Currency != "USD" {
			t.Errorf("got the money %+v; the API billed %s in answers that arrived", r.Money, want)
		}
		used, err := rdb.HGet(t.Context(), limit.Keys("sim")[0], "n:1month").Int64()
		if want := fmt.Sprint(float64(used) / 4); err != nil || r.Money[0].Counted != want {
			t.Errorf("%s was counted, and %d slots were used at 0.25 each; %v", r.Money[0].Counted, used, err)
		}
		quota := slices.IndexFunc(r.Time.ByReason, func(h batchreport.HeldFor) bool { return h.Reason == "quota" })
		if quota < 0 || r.Time.ByReason[quota].Seconds <= 0 || r.Time.Held <= 0 || r.Time.Held > r.Time.Seconds {
			t.Errorf("got the times %+v", r.Time)
		}
	})
}

// again makes a done call once more, as callq run does with --redo-keys.
func again(t *testing.T, rdb *redis.Client, id string) {
	t.Helper()
	store, err := records.New(rdb)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		r, err := ledger.New(rdb).Find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		changes, err := store.RedriveAll(t.Context(), []ledger.Record{r}, true)
		if err != nil || changes[0] == ledger.Unchanged || time.Now().After(deadline) {
			t.Fatalf("the call was not made again: %v, %v", changes, err)
		}
		if changes[0] == ledger.Changed {
			return
		}
	}
}

func purge(t *testing.T, env *callqtest.Env, id string) {
	t.Helper()
	if err := env.Client().Purge(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

// wantSums requires that the report counts what the API has counted.
func wantSums(t *testing.T, r *batchreport.Report, sim *simapi.Server) {
	t.Helper()
	stats := sim.Stats()
	if want := stats.Arrivals - stats.TokensIssued; r.Requests.Sent != want {
		t.Errorf("the report counts %d requests, the API %d", r.Requests.Sent, want)
	}
	if got, want := reported(r), counted(sim); !maps.Equal(got, want) {
		t.Errorf("the report counts by status %v, the API %v", got, want)
	}
	sums := [3]int64{}
	for _, u := range r.Requests.ByUse {
		sums[0] += u.Requests
	}
	for _, k := range r.Requests.Kinds {
		sums[1] += k.Requests
	}
	for _, u := range r.Upstreams {
		sums[2] += u.Requests
	}
	if want := [3]int64{r.Requests.Sent, r.Requests.Sent, r.Requests.Sent}; sums != want {
		t.Errorf("the uses, the kinds and the upstreams add up to %v, want %v", sums, want)
	}
	calls := int64(0)
	for _, c := range r.Requests.PerCall {
		calls += c.Calls
	}
	if calls != r.Calls.Accepted {
		t.Errorf("the requests for each call are those of %d calls, want %d", calls, r.Calls.Accepted)
	}
}

// wantCounts requires the numbers that do not depend on the order of events.
func wantCounts(t *testing.T, r *batchreport.Report) {
	t.Helper()
	// Dead are unknown (4), lost (3) and the one of dead that was not redriven.
	want := batchreport.Calls{Accepted: 80, Dead: 8, Dropped: 4}
	want.Done = want.Accepted - want.Dead - want.Dropped
	got := r.Calls
	want.Redriven, want.PutBack, want.Forgotten = 3, got.PutBack, 0
	if got != want || got.PutBack == 0 {
		t.Errorf("got the calls %+v, want %+v", got, want)
	}
	uses := map[batchreport.Use]int64{}
	for _, u := range r.Requests.ByUse {
		uses[u.Use] = u.Requests
	}
	if uses[batchreport.UseResult] != got.Done || uses[batchreport.UseRepeated] != 1 || uses[batchreport.UseRedirect] != 4 || uses[batchreport.UseReplayed] == 0 || uses[batchreport.UseRefused] == 0 {
		t.Errorf("got the uses %v", uses)
	}
	sum, steps := int64(0), batchreport.Step{}
	for _, c := range r.Causes {
		sum += c.Count
		if len(c.Examples) == 0 || c.UserMessage == "" || c.Advice == "" {
			t.Errorf("got the cause %+v", c)
		}
	}
	for _, s := range r.Timeline.Steps {
		steps.Done, steps.Dead, steps.Dropped = steps.Done+s.Done, steps.Dead+s.Dead, steps.Dropped+s.Dropped
	}
	if sum != got.Dead+got.Dropped || steps.Done != got.Done || steps.Dead != got.Dead || steps.Dropped != got.Dropped {
		t.Errorf("the causes add up to %d, the steps to %+v; the calls are %+v", sum, steps, got)
	}
	asked := int64(0)
	for _, a := range r.Asked {
		asked += a.Calls
	}
	if asked != got.Accepted {
		t.Errorf("the endpoints add up to %d calls, want %d", asked, got.Accepted)
	}
}

func TestTheRequestsThatAskForAnEffectAreCounted(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		t.Parallel()
		sim := simapi.New(simapi.Config{Script: simapi.MustParseScript("POST /orders -> reset-after; ok\nGET /orders ref=found -> ok\nGET /orders -> http:404 x2; ok")})
		server := httptest.NewServer(sim)
		t.Cleanup(server.Close)
		t.Cleanup(func() { _ = sim.Close() })
		match := func(text string) policy.Match {
			m, err := policy.ParseMatch(text)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		env := callqtest.New(t, worker.Config{Redis: rdb, Upstreams: []worker.Upstream{{
			Name: "sim", BaseURL: server.URL,
			Verify: &worker.Verify{Path: "/orders?ref={key}", After: time.Second, Found: match(`{http: ["2xx"]}`), Absent: match(`{http: [404]}`)},
		}}})
		env.Start()
		for _, key := range []string{"found", "absent"} {
			env.Await(env.Submit(tasks.Call{Batch: "b", Key: key, Method: "POST", Path: "/orders", Query: tasks.Query{"of": key}}).ID)
		}
		env.Stop()
		r, err := batchreport.Make(t.Context(), batchreport.Config{Redis: rdb}, "b")
		if err != nil {
			t.Fatal(err)
		}
		wantSums(t, r, sim)
		uses := map[batchreport.Use]int64{}
		for _, u := range r.Requests.ByUse {
			uses[u.Use] = u.Requests
		}
		want := map[batchreport.Use]int64{batchreport.UseResult: 1, batchreport.UseUnclear: 2, batchreport.UseAsked: 3}
		if !maps.Equal(uses, want) || r.Calls.Verified != 1 || r.Calls.Done != 2 {
			t.Errorf("got the uses %v and the calls %+v, want %v", uses, r.Calls, want)
		}
	})
}

func TestABatchThatDoesNotExistHasNoReport(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		if _, err := batchreport.Make(context.Background(), batchreport.Config{Redis: rdb}, "none"); err == nil {
			t.Error("got no error")
		}
	})
}
