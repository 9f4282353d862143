package batchreport

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// causesOf returns the causes as "count state class code".
func causesOf(t *testing.T, f *Follower, batch string) (list []string, complete bool) {
	t.Helper()
	c, err := f.Causes(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range c.List {
		list = append(list, fmt.Sprint(one.Count, " ", one.State, " ", one.Class, " ", one.Code))
	}
	return list, c.Complete
}

func TestAFollowerCountsWhatHasEndedSinceAndBeginsAgainAfterARedrive(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		env := callqtest.New(t, worker.Config{Redis: rdb, Upstreams: []worker.Upstream{{Name: "sim"}}})
		env.Sim().Script("GET /dropped/* -> 68300004 forever\nGET /dead/* -> 68300006 x3; ok")
		env.Start()
		send := func(kind string, n int) string {
			return env.Await(env.Submit(tasks.Call{Batch: "b", Key: fmt.Sprint(kind, n), Path: fmt.Sprintf("/%s/%d", kind, n)}).ID).ID
		}
		f := NewFollower(rdb)
		now := time.Now()
		f.now = func() time.Time { return now }
		want := func(complete bool, want ...string) {
			t.Helper()
			if got, is := causesOf(t, f, "b"); fmt.Sprint(got) != fmt.Sprint(want) || is != complete {
				t.Fatalf("got %q, complete: %t; want %q, %t", got, is, want, complete)
			}
		}
		dead := send("dead", 1)
		send("dropped", 1)
		want(true, "1 dead transient 68300006", "1 dropped bad_parameter 68300004")
		send("dropped", 2)
		want(true, "1 dead transient 68300006", "1 dropped bad_parameter 68300004") // within the second
		now = now.Add(readEvery)
		want(true, "2 dropped bad_parameter 68300004", "1 dead transient 68300006")
		env.Redrive(dead)
		env.Await(dead)
		now = now.Add(restartEvery)
		want(true, "2 dropped bad_parameter 68300004")
	})
}

func TestAFollowerForgetsTheBatchesThatNobodyAsksFor(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		f := NewFollower(rdb)
		for i := range mostFollowed + 5 {
			batch := fmt.Sprint("b", i)
			if _, err := p.Submit(t.Context(), tasks.Call{Batch: batch, Key: "k", Upstream: "api", Path: "/"}); err != nil {
				t.Fatal(err)
			}
			causesOf(t, f, batch)
		}
		if len(f.batches) != mostFollowed || f.batches["b0"] != nil || f.batches[fmt.Sprint("b", mostFollowed+4)] == nil {
			t.Errorf("%d batches are kept", len(f.batches))
		}
		if _, err := f.Causes(context.Background(), "none"); err == nil {
			t.Error("a batch that does not exist has causes")
		}
	})
}
