package ledger

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestAnAuditFindsInconsistencies(t *testing.T) {
	break_ := map[string]struct {
		damage  func(*fixture)
		problem string
		keys    string
	}{
		"a record": {
			func(d *fixture) { d.rdb.Del(d.Context(), keysOf("q").record(idOf("b", "k2"))) },
			"1 accepted calls have no record", "[k2]",
		},
		"a task": {
			func(d *fixture) { d.rdb.Del(d.Context(), keysOf("q").task(idOf("b", "k2"))) },
			"1 open calls are in no queue", "[k2]",
		},
		"a count": {
			func(d *fixture) { d.rdb.HIncrBy(d.Context(), keysOf("q").counts("b"), "done", 1) },
			"3 accepted, but", "[]",
		},
		"a state": {
			func(d *fixture) { d.rdb.HSet(d.Context(), keysOf("q").record(idOf("b", "k2")), "state", "done") },
			"the counts say 2 open, 0 dead and 1 others, the records 1, 0 and 2", "[]",
		},
	}
	for name, c := range break_ {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				d := newFixture(t, rdb)
				d.end(d.acceptAndTake("b", "q", "k1"), finalOf(Done))
				d.accept("b", "q", "k2", "k3")
				if found := d.audit("b"); len(found) != 0 {
					t.Fatalf("before the change: found %+v", found)
				}
				c.damage(d)
				found := d.audit("b")
				if len(found) == 0 || !strings.Contains(found[0].Problem, c.problem) || fmt.Sprint(found[0].Keys) != c.keys || found[0].Fix == "" {
					t.Fatalf("found %+v", found)
				}
			})
		})
	}
}

// acceptCallsUntil accepts calls, 20 at a time, until stop is closed.
func (d *fixture) acceptCallsUntil(t *testing.T, stop <-chan struct{}) {
	for i := 0; !closed(stop); i++ {
		var entries []Entry
		for n := range 20 {
			entries = append(entries, entryOf("b", "q", fmt.Sprintf("%d-%d", i, n)))
		}
		claimed, err := d.l.Claim(t.Context(), "b", entries)
		if err == nil {
			_, err = d.l.Accept(t.Context(), "b", entries, claimed)
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// endCallsUntil ends calls in turn as done, dropped and dead, beginning with the given
// turn, until stop is closed. It sends to ended after each call, unless that is full.
func (d *fixture) endCallsUntil(t *testing.T, stop <-chan struct{}, turn int, ended chan<- struct{}) {
	for ; !closed(stop); turn++ {
		got, err := NewDispatcher(d.rdb, "").Dequeue(t.Context(), DequeueRequest{Queues: []string{"q"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
		if err != nil {
			t.Error(err)
			return
		}
		if got.Delivery == nil {
			continue
		}
		if _, _, err := d.dispatcher.End(t.Context(), got.Delivery, finalOf([]State{Done, Dropped, Dead}[turn%3]), nil); err != nil {
			t.Error(err)
			return
		}
		select {
		case ended <- struct{}{}:
		default:
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestAnAuditFindsNothingWhileCallsAreAcceptedAndEnd(t *testing.T) {
	rdb := redistest.Redis(t).Client
	d := newFixture(t, rdb)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	ended := make(chan struct{}, 1)
	wg.Go(func() { d.acceptCallsUntil(t, stop) })
	for turn := range 2 {
		wg.Go(func() { d.endCallsUntil(t, stop, turn, ended) })
	}
	for range 8 {
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Fatal("no call ended")
		}
		found, err := d.l.Audit(t.Context(), "b", idOf)
		if err != nil || len(found) != 0 {
			t.Errorf("found %+v, %v", found, err)
			break
		}
	}
	close(stop)
	wg.Wait()
	if found := d.audit("b"); len(found) != 0 {
		t.Fatalf("when idle: found %+v", found)
	}
}

func TestAnAuditOfABatchWhoseCallsAreForgottenMeanwhileFindsNothing(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		d := newFixture(t, rdb)
		now := time.Now()
		for i := range 20 {
			d.end(d.acceptAndTake("b", "q", fmt.Sprint(i)), finalOf(Done))
		}
		d.end(d.acceptAndTake("b", "q", "dead"), finalOf(Dead))
		d.sweep(now)
		swept := false
		found, err := d.l.Audit(t.Context(), "b", func(batch, key string) string {
			if !swept {
				swept = true
				d.sweep(now.Add(week))
			}
			return idOf(batch, key)
		})
		if err != nil || len(found) != 0 {
			t.Fatalf("found %+v, %v", found, err)
		}
	})
}
