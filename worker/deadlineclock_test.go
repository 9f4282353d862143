package worker

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// Such a worker dequeues no call, and it uses Redis's time.
func TestAWorkerWithAWrongClockEndsCallsAtTheirDeadline(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "q", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
		if err != nil {
			t.Fatal(err)
		}
		w.clock.wrong.Store(true)
		producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		past, later := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
		states := map[*time.Time]ledger.State{&past: ledger.Dead, &later: ledger.Open}
		ids := map[*time.Time]string{}
		for deadline := range states {
			r, err := producer.Submit(t.Context(), tasks.Call{Upstream: "q", Path: "/a", Deadline: deadline})
			if err != nil {
				t.Fatal(err)
			}
			ids[deadline] = r.ID
		}
		if err := w.endLate(t.Context(), w.accounts["q"].queues); err != nil {
			t.Fatal(err)
		}
		for deadline, want := range states {
			if r, err := w.ledger.Find(t.Context(), ids[deadline]); err != nil || r.State != want {
				t.Errorf("the call whose deadline is %s is %s, %v; want %s", deadline, r.State, err, want)
			}
		}
	})
}
