package tasks_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// deadLetters creates dead letters of the batch b, with the keys 1, 2, 3…
func deadLetters(t *testing.T, rdb redis.UniversalClient, n int) (ids []string) {
	t.Helper()
	p := producer(t, rdb, tasks.Rules{})
	for i := range n {
		r, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Key: fmt.Sprint(i + 1), Upstream: "api", Path: "/x"})
		if err != nil {
			t.Fatal(err)
		}
		finish(t, rdb, "api", ledger.Dead)
		ids = append(ids, r.ID)
	}
	return ids
}

func wantCounts(t *testing.T, c *tasks.Client, want tasks.Counts) {
	t.Helper()
	b, err := c.Batch(t.Context(), "b")
	if err != nil || b.Counts != want {
		t.Errorf("got counts %+v, %v; want %+v", b.Counts, err, want)
	}
}

func TestAClientReturnsWhyACallIsNotChanged(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		c, p := client(t, rdb), producer(t, rdb, tasks.Rules{})
		submit := func() string {
			r, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Upstream: "api", Path: "/x"})
			if err != nil {
				t.Fatal(err)
			}
			return r.ID
		}
		done := submit()
		finish(t, rdb, "api", ledger.Done)
		dead := submit()
		finish(t, rdb, "api", ledger.Dead)
		open, held := submit(), submit()
		rdb.ZAdd(t.Context(), "asynq:{api}:lease", redis.Z{Score: 9e9, Member: held})
		cancel := func(id string) error {
			_, err := c.Cancel(t.Context(), id, tasks.Cancellation{Message: "by a test"})
			return err
		}
		redrive := func(id string) error { return c.Redrive(t.Context(), id) }
		purge := func(id string) error { return c.Purge(t.Context(), id) }
		for name, one := range map[string]struct{ got, want error }{
			"redrive of an unknown call":          {redrive("unknown"), tasks.ErrNoCall},
			"redrive of an open call":             {redrive(open), tasks.ErrOpen},
			"redrive of a done call":              {redrive(done), tasks.ErrDone},
			"purge of an unknown call":            {purge("unknown"), tasks.ErrNoCall},
			"purge of an open call":               {purge(open), tasks.ErrNotDead},
			"cancel of an unknown call":           {cancel("unknown"), tasks.ErrNoCall},
			"cancel of a dead letter":             {cancel(dead), tasks.ErrEnded},
			"cancel of a call that is being made": {cancel(held), tasks.ErrBusy},
		} {
			if !errors.Is(one.got, one.want) {
				t.Errorf("%s: got %v, want %v", name, one.got, one.want)
			}
		}
		rdb.ZAdd(t.Context(), "asynq:{api}:lease", redis.Z{Score: 9e9, Member: dead})
		if err := redrive(dead); !errors.Is(err, tasks.ErrBusy) {
			t.Errorf("redrive of a call whose worker holds the task: %v", err)
		}
		rdb.HSet(t.Context(), "callq:{api}:c:"+open, "sent", 1)
		if err := cancel(open); !errors.Is(err, tasks.ErrMaybeSent) {
			t.Errorf("cancel of a call that may have been sent: %v", err)
		}
		wantCounts(t, c, tasks.Counts{Accepted: 4, Open: 2, Done: 1, Dead: 1})
	})
}

func TestACallThatMayHaveBeenSentEndsWithThePolicysTexts(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		r, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Upstream: "api", Method: "POST", Path: "/orders?x=1"})
		if err != nil {
			t.Fatal(err)
		}
		rdb.HSet(t.Context(), "callq:{api}:c:"+r.ID, "sent", 1)
		c, err := tasks.NewClient(rdb, tasks.ClientConfig{
			Explain:  func(class string) (string, string) { return "user: " + class, "operator: " + class },
			Endpoint: func(upstream, method, path string) string { return upstream + " " + method + " " + path },
		})
		if err != nil {
			t.Fatal(err)
		}
		if state, err := c.Cancel(t.Context(), r.ID, tasks.Cancellation{}); state != tasks.StateDead || err != nil {
			t.Fatalf("got state %q, %v", state, err)
		}
		got, err := c.Call(t.Context(), r.ID)
		if err != nil || got.Result.UserMessage != "user: outcome_unknown" || got.Result.Advice != "operator: outcome_unknown" || got.Endpoint != "api POST /orders" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
}

func TestACancelledBatchHasNoOpenCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		c, p := client(t, rdb), producer(t, rdb, tasks.Rules{})
		const n = 50
		for i := range n {
			if _, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Key: fmt.Sprint(i), Upstream: "api", Path: "/x"}); err != nil {
				t.Fatal(err)
			}
		}
		finish(t, rdb, "api", ledger.Done)
		progress := int64(0)
		got, err := c.CancelBatch(t.Context(), "b", tasks.Cancellation{Message: "by a test", Rule: "test"}, func(n tasks.Cancelled) { progress = n.Cancelled })
		if err != nil || got.Cancelled != n-1 || progress != n-1 {
			t.Errorf("got %+v, progress %d, %v", got, progress, err)
		}
		wantCounts(t, c, tasks.Counts{Accepted: n, Done: 1, Cancelled: n - 1})
		for r, err := range c.Results(t.Context(), "b") {
			if err != nil || r.State == tasks.StateCancelled && (r.Rule != "test" || r.ErrorMessage != "by a test") {
				t.Errorf("got %+v, %v", r, err)
			}
		}
		if _, err := c.CancelBatch(t.Context(), "unknown", tasks.Cancellation{}, nil); !errors.Is(err, tasks.ErrNoBatch) {
			t.Errorf("an unknown batch: %v", err)
		}
	})
}

func TestRedriveAllReportsEachCall(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		c, ids := client(t, rdb), deadLetters(t, rdb, 4)
		until, err := c.DeadWatermark(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Purge(t.Context(), ids[0]); err != nil {
			t.Fatal(err)
		}
		results := map[string]error{}
		pace := tasks.Pace{OnCall: func(id string, err error) { results[id] = err }}
		got, err := c.RedriveAll(t.Context(), tasks.DeadFilter{IDs: []string{ids[0], ids[1], "unknown", ids[1]}}, pace)
		if err != nil || got != (tasks.Changed{Selected: 3, Applied: 1, Failed: 2}) {
			t.Errorf("by id: %+v, %v", got, err)
		}
		if len(results) != 3 || !errors.Is(results[ids[0]], tasks.ErrPurged) || results[ids[1]] != nil || !errors.Is(results["unknown"], tasks.ErrNoCall) {
			t.Errorf("got results %v", results)
		}
		// A call that dies again is above the watermark.
		finish(t, rdb, "api", ledger.Dead)
		match := func(info tasks.CallInfo) bool { return info.Result.Key != "3" }
		got, err = c.RedriveAll(t.Context(), tasks.DeadFilter{Match: match, Until: until}, tasks.Pace{})
		if err != nil || got != (tasks.Changed{Selected: 1, Applied: 1}) {
			t.Errorf("by a filter: %+v, %v", got, err)
		}
		wantCounts(t, c, tasks.Counts{Accepted: 4, Open: 1, Dead: 3})
		groups, err := c.DeadGroups(t.Context())
		if err != nil || len(groups) != 1 || groups[0].Count != 2 || groups[0].Name != tasks.DeadGroupName(groups[0].Class, groups[0].Code, groups[0].Endpoint) {
			t.Errorf("groups %+v, %v", groups, err)
		}
		if got, err := c.PurgeAll(t.Context(), tasks.DeadFilter{Group: groups[0].Name}, tasks.Pace{}); err != nil || got.Applied != 2 {
			t.Errorf("purged: %+v, %v", got, err)
		}
	})
}

func TestManyDeadLettersAreRedrivenOrPurgedTogetherEachOnce(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		const n = 230
		c, ids := client(t, rdb), deadLetters(t, rdb, n)
		results := map[string]int{}
		pace := tasks.Pace{OnCall: func(id string, err error) {
			if err == nil {
				results[id]++
			}
		}}
		got, err := c.RedriveAll(t.Context(), tasks.DeadFilter{IDs: ids[:110]}, pace)
		if err != nil || got != (tasks.Changed{Selected: 110, Applied: 110}) {
			t.Errorf("redriven: %+v, %v", got, err)
		}
		got, err = c.PurgeAll(t.Context(), tasks.DeadFilter{}, pace)
		if err != nil || got != (tasks.Changed{Selected: n - 110, Applied: n - 110}) {
			t.Errorf("purged: %+v, %v", got, err)
		}
		for _, id := range ids {
			if results[id] != 1 {
				t.Errorf("call %s was changed %d times", id, results[id])
			}
		}
		wantCounts(t, c, tasks.Counts{Accepted: n, Open: 110, Dead: n - 110})
		if found, err := ledger.New(rdb).Audit(t.Context(), "b", tasks.TaskID); err != nil || len(found) > 0 {
			t.Errorf("the audit found %+v, %v", found, err)
		}
		pending := rdb.LRange(t.Context(), "asynq:{api}:pending", 0, -1).Val()
		slices.Sort(pending)
		open := slices.Sorted(slices.Values(ids[:110]))
		if !slices.Equal(pending, open) {
			t.Errorf("got %d pending tasks, want those of the %d redriven calls", len(pending), len(open))
		}
	})
}

func TestACallHasItsFormerEndings(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		c, ids := client(t, rdb), deadLetters(t, rdb, 1)
		before, err := c.Call(t.Context(), ids[0])
		if err != nil || before.Call == nil || before.Call.Path != "/x" || before.Group == "" || before.AcceptedAt.IsZero() {
			t.Fatalf("got %+v, %v", before, err)
		}
		if err := c.Redrive(t.Context(), ids[0]); err != nil {
			t.Fatal(err)
		}
		after, err := c.Call(t.Context(), ids[0])
		if err != nil || after.Result.State != tasks.StateOpen || after.Generation != 2 || len(after.Former) != 1 || after.Former[0].State != tasks.StateDead ||
			after.Former[0].Class != before.Result.Class {
			t.Errorf("got %+v, %v", after, err)
		}
	})
}

func TestADeletedBatchIsGone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		c, p := client(t, rdb), producer(t, rdb, tasks.Rules{})
		if _, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Key: "1", Upstream: "api", Path: "/x"}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.DeleteBatch(t.Context(), "b"); !errors.Is(err, tasks.ErrOpenCalls) {
			t.Errorf("with an open call: %v", err)
		}
		finish(t, rdb, "api", ledger.Done)
		var names []string
		for b, err := range c.Batches(t.Context()) {
			if err != nil || time.Since(b.Created) > time.Hour {
				t.Errorf("got %+v, %v", b, err)
			}
			names = append(names, b.Name)
		}
		if !slices.Equal(names, []string{"b"}) {
			t.Errorf("batches %v", names)
		}
		if n, gone, err := c.DeleteBatch(t.Context(), "b"); n != 1 || !gone || err != nil {
			t.Errorf("%d, %v, %v", n, gone, err)
		}
		if _, err := c.Batch(t.Context(), "b"); !errors.Is(err, tasks.ErrNoBatch) {
			t.Errorf("the batch still exists: %v", err)
		}
	})
}
