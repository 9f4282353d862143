package page

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/notify"
)

func TestReceiversOfNotificationsAreNoAccountsAndTheirEventsNoBatches(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		t.Parallel()
		s := newSite(t, rdb)
		s.send("monday", "a")
		receiver := notify.UpstreamOf("ops")
		p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: receiver}}, AllowJobs: true}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tasks.Enqueue(t.Context(), p, notify.Message{}, tasks.Options{Key: "1", Batch: receiver, Upstream: receiver}); err != nil {
			t.Fatal(err)
		}
		store := circuit.NewStore(rdb, "test")
		if err := store.Open(t.Context(), circuit.Name{Upstream: receiver}, time.Hour, "down", "bob"); err != nil {
			t.Fatal(err)
		}
		s.shows("/", "Receivers of notifications", receiver, "1 event waits", "down", "monday")
		if _, body := s.get("/"); strings.Contains(body, "is paused") || strings.Contains(body, `href="/batches/`+receiver) {
			t.Errorf("the overview counts a receiver as an account, or its events as a batch:\n%s", body)
		}
	})
}
