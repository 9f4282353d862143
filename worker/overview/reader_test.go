package overview

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// send puts n calls of an upstream into a batch.
func send(t *testing.T, rdb redis.UniversalClient, batch, upstream string, n int) {
	t.Helper()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := p.Submit(t.Context(), tasks.Call{Batch: batch, Key: fmt.Sprintf("%s%d", upstream, i), Upstream: upstream, Path: "/x"}); err != nil {
			t.Fatal(err)
		}
	}
}

func newReader(t *testing.T, rdb redis.UniversalClient) *Reader {
	t.Helper()
	r, err := NewReader(Config{Redis: rdb, MaxMemory: 1 << 30, Upstreams: []ConfiguredUpstream{
		{Name: "api", Concurrency: 4, Limits: []string{"100/day"}}, {Name: "unused", Concurrency: 2},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnOverviewShowsWhatCanStartAndThatNothingCanWhileTheAccountIsHeld(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		send(t, rdb, "b", "api", 3)
		send(t, rdb, "b", "stranger", 2)
		got, err := newReader(t, rdb).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		names := ""
		for _, u := range got.Upstreams {
			names += u.Name + " "
		}
		if names != "api unused stranger " {
			t.Fatalf("upstreams: %s", names)
		}
		api, stranger := got.Upstreams[0], got.Upstreams[2]
		if !api.Configured || api.Runnable != 3 || api.Waiting != 3 || api.OldestRunnable.IsZero() || api.Concurrency != 4 || api.Circuit.State != Flowing {
			t.Errorf("api: %+v", api)
		}
		if len(api.Limits) != 1 || api.Limits[0].Of != 100 || len(api.Minutes) != 60 || len(api.Queues) != 3 || api.Queues[1].Pending != 3 {
			t.Errorf("api: %+v", api)
		}
		if stranger.Configured || stranger.Runnable != 2 || len(got.Waits) == 0 {
			t.Errorf("stranger: %+v, waits %+v", stranger, got.Waits)
		}

		if err := circuit.NewStore(rdb, "test").Open(t.Context(), circuit.Name{Upstream: "api"}, time.Hour, "invoice", "ann"); err != nil {
			t.Fatal(err)
		}
		got, err = newReader(t, rdb).Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if api := got.Upstreams[0]; api.Runnable != 0 || api.Waiting != 3 || !api.OldestRunnable.IsZero() || api.Circuit.State != Paused ||
			api.Circuit.Reason != "operator" || api.Circuit.Why != "invoice" || api.Circuit.Who != "ann" || time.Until(api.Circuit.Until) < 50*time.Minute {
			t.Errorf("while it is held: %+v", api)
		}
	})
}

func TestReadersWithinOneSecondShareAReading(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		r := newReader(t, rdb)
		one, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		two, err := r.Read(t.Context())
		if err != nil || one != two {
			t.Errorf("the second reading is another one (%v)", err)
		}
	})
}

func TestBatchesAreDescribedPageByPage(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		send(t, rdb, "old", "api", 1)
		send(t, rdb, "new", "api", 2)
		r := newReader(t, rdb)
		first, next, err := r.Batches(t.Context(), "", 1)
		if err != nil {
			t.Fatal(err)
		}
		second, end, err := r.Batches(t.Context(), next, 1)
		if err != nil {
			t.Fatal(err)
		}
		list := append(first, second...)
		if end != "" || len(list) != 2 || list[0].Open+list[1].Open != 3 || list[0].NoEnd != "api: no worker makes its calls" || list[0].Upstreams[0] != "api" {
			t.Errorf("got %+v, then %q", list, end)
		}
		if one, err := r.Batch(t.Context(), "old"); err != nil || one.Open != 1 {
			t.Errorf("got %+v, %v", one, err)
		}
	})
}
