package tasks_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
)

func submitOne(t *testing.T, p *tasks.Producer, key string) string {
	t.Helper()
	r, err := p.Submit(t.Context(), tasks.Call{Batch: "b", Key: key, Upstream: "api", Path: "/" + key})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// awaitWatch polls until the record of a call says whether somebody waits.
func awaitWatch(t *testing.T, rdb redis.UniversalClient, id string, want bool) {
	t.Helper()
	record := redislua.Own("api", "c:"+id)
	for end := time.Now().Add(20 * time.Second); rdb.HExists(t.Context(), record, "watched").Val() != want; {
		if time.Now().After(end) {
			t.Fatalf("call %s: that somebody waits is still %t", id, !want)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestAWaitIsToldThatItsCallHasEnded(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p, c := producer(t, rdb, tasks.Rules{}), client(t, rdb)
		c.ReadSeldom()
		id := submitOne(t, p, "done")
		cancelled := submitOne(t, p, "cancelled")
		var all sync.WaitGroup
		for _, one := range []struct {
			id   string
			want tasks.State
		}{{id, tasks.StateDone}, {id, tasks.StateDone}, {cancelled, tasks.StateCancelled}} {
			all.Go(func() {
				if r, err := c.Wait(t.Context(), one.id); err != nil || r.State != one.want {
					t.Errorf("got %s, %v; want %s", r.State, err, one.want)
				}
			})
		}
		awaitWatch(t, rdb, id, true)
		awaitWatch(t, rdb, cancelled, true)
		finish(t, rdb, "api", ledger.Done)
		if _, err := c.Cancel(t.Context(), cancelled, tasks.Cancellation{}); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		awaitWatch(t, rdb, id, false)
		awaitWatch(t, rdb, cancelled, false)
	})
}

func TestAnEndingThatNobodyWaitsForIsNotAnnounced(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		news := rdb.Subscribe(t.Context(), redislua.EndedChannel)
		defer news.Close()
		if _, err := news.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
		submitOne(t, producer(t, rdb, tasks.Rules{}), "a")
		finish(t, rdb, "api", ledger.Done)
		if err := rdb.Publish(t.Context(), redislua.EndedChannel, "the last").Err(); err != nil {
			t.Fatal(err)
		}
		if m, err := news.ReceiveMessage(t.Context()); err != nil || m.Payload != "the last" {
			t.Errorf("got %v, %v", m, err)
		}
	})
}

func TestAUserWithoutTheChannelStillEndsAndWaits(t *testing.T) {
	rdb := redistest.Redis(t).Client
	if err := rdb.Do(t.Context(), "ACL", "SETUSER", "default", "resetchannels", "&"+redislua.Channel).Err(); err != nil {
		t.Fatal(err)
	}
	p, c := producer(t, rdb, tasks.Rules{}), client(t, rdb)
	id := submitOne(t, p, "a")
	open, err := ledger.New(rdb).Watch(t.Context(), "api", id)
	if err != nil || !open {
		t.Fatalf("the call is open: %t, %v", open, err)
	}
	waited := make(chan error)
	go func() {
		r, err := c.Wait(t.Context(), id)
		if err == nil && r.State != tasks.StateDone {
			err = fmt.Errorf("it ended %s", r.State)
		}
		waited <- err
	}()
	finish(t, rdb, "api", ledger.Done)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}
