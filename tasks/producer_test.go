package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func producer(t testing.TB, rdb redis.UniversalClient, rules tasks.Rules) *tasks.Producer {
	t.Helper()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func client(t testing.TB, rdb redis.UniversalClient) *tasks.Client {
	t.Helper()
	c, err := tasks.NewClient(rdb, tasks.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// finish ends the next call of a queue, as a worker would, and returns its record.
func finish(t testing.TB, rdb redis.UniversalClient, queue string, s ledger.State) ledger.Record {
	t.Helper()
	l, dispatcher := ledger.New(rdb), ledger.NewDispatcher(rdb, "")
	got, err := dispatcher.Dequeue(t.Context(), ledger.DequeueRequest{Queues: []string{queue}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
	if err != nil || got.Delivery == nil {
		t.Fatalf("no call to dequeue from %s: %v", queue, err)
	}
	f := ledger.Final{
		State:  s,
		Ending: ledger.Ending{Class: "ok", HTTPStatus: 200, CorrelationID: "c-1", Attempts: 1, FinishedAt: time.Now()},
		Body:   []byte(`{"n":1.10}`), BodyType: "application/json",
	}
	if s != ledger.Done {
		f.Ending.Class, f.Ending.Code, f.Ending.UserMessage = "bad_parameter", "68300004", "Correct it."
	}
	if s == ledger.Dead {
		f.Group = ledger.Group{Class: f.Ending.Class}
	}
	got.Delivery.Attempts = 1
	if _, mine, err := dispatcher.End(t.Context(), got.Delivery, f, nil); err != nil || !mine {
		t.Fatal(mine, err)
	}
	if s == ledger.Dead { // asynq archives it, which ends the lease
		if err := ledger.NewRepairer(rdb).RemoveTask(t.Context(), queue, got.Delivery.ID); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Get(t.Context(), queue, got.Delivery.ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func counts(t testing.TB, rdb redis.UniversalClient, batch string) ledger.Counts {
	t.Helper()
	b, err := ledger.New(rdb).Batch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if !b.Counts.Balanced() {
		t.Fatalf("the counts do not balance: %+v", b.Counts)
	}
	return b.Counts
}

func audit(t testing.TB, rdb redis.UniversalClient, batch string) {
	t.Helper()
	found, err := ledger.New(rdb).Audit(t.Context(), batch, tasks.TaskID)
	if err != nil || len(found) > 0 {
		t.Fatalf("audit found %+v, %v", found, err)
	}
}

func TestACallSubmittedTwiceIsOneCall(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		call := tasks.Call{Batch: "b", Key: "k", Upstream: "api", Path: "/a", Query: tasks.Query{"q": "x"}}
		first, err := p.Submit(t.Context(), call)
		if err != nil || first.Duplicate || first.ID != tasks.TaskID("b", "k") || first.Batch != "b" || first.Key != "k" {
			t.Fatalf("got %+v, %v", first, err)
		}
		call.Path, call.Query, call.Method = "/a?q=x", nil, "get" // the same request in another form
		second, err := p.Submit(t.Context(), call)
		if err != nil || !second.Duplicate || second.ID != first.ID {
			t.Fatalf("got %+v, %v", second, err)
		}
		call.Path = "/other"
		_, err = p.Submit(t.Context(), call)
		var conflict *tasks.ConflictError
		if !errors.As(err, &conflict) || conflict.Key != "k" || conflict.Batch != "b" || !strings.Contains(err.Error(), "another key") {
			t.Fatalf("other content: %v", err)
		}
		if c := counts(t, rdb, "b"); c.Accepted != 1 || c.Open != 1 {
			t.Fatalf("counts %+v", c)
		}
		audit(t, rdb, "b")
	})
}

func TestCallsWithoutAKeyAreTwoCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		ids := map[string]bool{}
		for range 2 {
			r, err := p.Submit(t.Context(), tasks.Call{Upstream: "api", Path: "/a"})
			if err != nil || r.Duplicate || r.Batch != tasks.DefaultBatch || r.Key == "" {
				t.Fatalf("got %+v, %v", r, err)
			}
			ids[r.ID] = true
		}
		if len(ids) != 2 {
			t.Fatal("two calls share an id")
		}
	})
}

func TestARefusedCallWritesNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api"}}})
		for _, c := range []tasks.Call{
			{},
			{Path: "https://elsewhere/a"},
			{Path: "/a", Upstream: "unknown"},
			{Path: "/a", Method: tasks.MethodJob},
			{Path: "/a", Headers: map[string]string{"Authorization": "x"}},
		} {
			var bad *tasks.FieldError
			if _, err := p.Submit(t.Context(), c); !errors.As(err, &bad) {
				t.Errorf("%+v: %v", c, err)
			}
		}
		if keys := rdb.Keys(t.Context(), "*").Val(); len(keys) != 0 {
			t.Fatalf("left behind %v", keys)
		}
	})
}

func TestThePrioritySelectsTheQueue(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		for i, priority := range []tasks.Priority{tasks.PriorityHigh, tasks.PriorityNormal, tasks.PriorityLow} {
			r, err := p.Submit(t.Context(), tasks.Call{Upstream: "api", Path: "/a", Priority: priority})
			if err != nil {
				t.Fatal(err)
			}
			queue := tasks.Queues("api")[i]
			if got := finish(t, rdb, queue, ledger.Done); got.ID != r.ID || tasks.UpstreamOf(queue) != "api" {
				t.Errorf("queue %s: got %s, want %s", queue, got.ID, r.ID)
			}
		}
	})
}

func TestWaitReturnsTheResultOnceTheCallHasEnded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		if _, err := client(t, rdb).Wait(t.Context(), "unknown"); !errors.Is(err, tasks.ErrNoCall) {
			t.Fatal(err)
		}
		r, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Key: "k", Upstream: "api", Path: "/a?x=1"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := client(t, rdb).Wait(ctx, r.ID); !errors.Is(err, context.Canceled) {
			t.Fatalf("a cancelled wait: got %v", err)
		}
		finish(t, rdb, "api", ledger.Done)
		got, err := client(t, rdb).Wait(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.Key != "k" || got.Batch != "b" || got.ID != r.ID || got.Upstream != "api" || got.Method != "GET" || got.Path != "/a?x=1" ||
			got.State != tasks.StateDone || got.Class != "ok" || got.HTTPStatus != 200 || got.Attempts != 1 || got.CorrelationID != "c-1" ||
			string(got.Body) != `{"n":1.10}` || got.Digest == "" || got.FinishedAt.IsZero() {
			t.Fatalf("got %+v", got)
		}
	})
}

func TestResultsAreInTheOrderOfTheEndingsAndARedriveAddsOne(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		for _, err := range client(t, rdb).Results(t.Context(), "b") {
			if !errors.Is(err, tasks.ErrNoBatch) {
				t.Fatal(err)
			}
		}
		_, err := p.SubmitAll(t.Context(), "b", seq(
			tasks.Call{Key: "1", Upstream: "api", Path: "/1"},
			tasks.Call{Key: "2", Upstream: "api", Path: "/2", Priority: tasks.PriorityHigh},
			tasks.Call{Key: "3", Upstream: "api", Path: "/3"},
		))
		if err != nil {
			t.Fatal(err)
		}
		results := func() (list []string) {
			for r, err := range client(t, rdb).Results(t.Context(), "b") {
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, r.Key+" "+string(r.State))
			}
			return list
		}
		finish(t, rdb, "api:high", ledger.Dropped)
		dead := finish(t, rdb, "api", ledger.Dead)
		if got := fmt.Sprint(results()); got != "[2 dropped 1 dead]" {
			t.Fatal(got)
		}
		if err := client(t, rdb).Redrive(t.Context(), dead.ID); err != nil {
			t.Fatal(err)
		}
		if err := client(t, rdb).Redrive(t.Context(), dead.ID); !errors.Is(err, tasks.ErrOpen) {
			t.Fatal("redriven twice", err)
		}
		finish(t, rdb, "api", ledger.Done)
		finish(t, rdb, "api", ledger.Done)
		if got := fmt.Sprint(results()); got != "[2 dropped 3 done 1 done]" && got != "[2 dropped 1 done 3 done]" {
			t.Fatal(got)
		}
		audit(t, rdb, "b")
	})
}

func TestAPurgedCallCannotBeRedriven(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		if _, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Upstream: "api", Path: "/1"}); err != nil {
			t.Fatal(err)
		}
		dead := finish(t, rdb, "api", ledger.Dead)
		c := client(t, rdb)
		if err := c.Purge(t.Context(), dead.ID); err != nil {
			t.Fatal(err)
		}
		if err := c.Purge(t.Context(), dead.ID); !errors.Is(err, tasks.ErrPurged) {
			t.Fatal("purged twice", err)
		}
		if err := c.Redrive(t.Context(), dead.ID); !errors.Is(err, tasks.ErrPurged) {
			t.Fatal(err)
		}
	})
}

func TestAsynqCanDecodeARedrivenTask(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		r, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Upstream: "api", Path: "/1"})
		if err != nil {
			t.Fatal(err)
		}
		key := "asynq:{api}:t:" + r.ID
		first := rdb.HGet(t.Context(), key, "msg").Val()
		dead := finish(t, rdb, "api", ledger.Dead)
		if err := client(t, rdb).Redrive(t.Context(), dead.ID); err != nil {
			t.Fatal(err)
		}
		if again := rdb.HGet(t.Context(), key, "msg").Val(); again != first || first == "" {
			t.Fatalf("got task %[2]q, want %[1]q", first, again)
		}
	})
}

type invoice struct {
	Number json.Number `json:"number"`
}

func (invoice) Kind() string { return "invoice.send" }

func TestAJobIsQueuedLikeACall(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		for i, duplicate := range []bool{false, true} {
			r, err := tasks.Enqueue(t.Context(), p, invoice{"12345678901234567890"}, tasks.Options{Upstream: "api", Batch: "b", Key: "k"})
			if err != nil || r.Duplicate != duplicate {
				t.Fatalf("time %d: %+v, %v", i+1, r, err)
			}
		}
		rec := finish(t, rdb, "api", ledger.Done)
		c, err := records.Call(&rec)
		if err != nil {
			t.Fatal(err)
		}
		args, err := tasks.DecodeArgs[invoice](c)
		if err != nil || args.Number != "12345678901234567890" {
			t.Fatalf("got %+v, %v", args, err)
		}
		if r, err := tasks.Enqueue(t.Context(), p, invoice{}, tasks.Options{Upstream: "api"}); err != nil || r.Key == "" || r.Batch != tasks.DefaultBatch {
			t.Fatalf("got %+v, %v", r, err)
		}
		var bad *tasks.FieldError
		if _, err := tasks.Enqueue(t.Context(), p, invoice{}, tasks.Options{Upstream: "no such name!"}); !errors.As(err, &bad) {
			t.Fatal(err)
		}
	})
}

// asynq writes a task's payload again with every retry, and that of an active task
// every five seconds. Its own limits are not suitable: past its deadline a task loops
// without being handled, and at its last retry it is archived although it did not fail.
func TestAsynqHoldsLittleOfACallAndNeitherEndsNorKeepsIt(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		deadline := time.Now().Add(time.Hour)
		r, err := p.Submit(t.Context(), tasks.Call{
			Upstream: "api", Method: "POST", Path: "/x?" + strings.Repeat("q", 1000), Body: json.RawMessage(`"` + strings.Repeat("x", 1<<20) + `"`),
			Headers: map[string]string{"X-Long": strings.Repeat("h", 1000)}, Deadline: &deadline,
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := rdb.HStrLen(t.Context(), "asynq:{api}:t:"+r.ID, "msg").Val(); n == 0 || n > 512 {
			t.Errorf("got %d bytes in asynq's message", n)
		}
		info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo("api", r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if info.MaxRetry != math.MaxInt32 || !info.Deadline.IsZero() || info.Timeout < 12*time.Hour || info.Retention != 0 {
			t.Errorf("got asynq's task with %d retries, deadline %s, timeout %s, retention %s", info.MaxRetry, info.Deadline, info.Timeout, info.Retention)
		}
		if locks := rdb.Keys(t.Context(), "asynq:{api}:unique:*").Val(); len(locks) != 0 {
			t.Errorf("asynq holds the locks %v", locks)
		}
	})
}
