package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// lateNotes delays each record that a call is made alone.
type lateNotes struct{ by time.Duration }

func (lateNotes) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h lateNotes) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if commandOf(cmd).kind == "alone" {
			time.Sleep(h.by)
		}
		return next(ctx, cmd)
	}
}

func (lateNotes) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Other calls start when the longest time of a call is over. A process that was paused for
// that long must not record that its call was made alone.
func TestACallIsNotRecordedAsMadeAloneWhenOthersMayHaveStarted(t *testing.T) {
	for name, c := range map[string]struct {
		by   time.Duration
		want bool
	}{"at once": {0, true}, "after an hour": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rules, err := policy.Preset("http")
				if err != nil {
					t.Fatal(err)
				}
				client, _ := redistest.Mini(t)
				client.AddHook(lateNotes{c.by})
				w, err := New(Config{Redis: client, Upstreams: []Upstream{{Name: "q", BaseURL: "http://127.0.0.1:1", Policy: rules}}})
				if err != nil {
					t.Fatal(err)
				}
				producer, err := tasks.NewProducer(client, tasks.ProducerConfig{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := producer.Submit(t.Context(), tasks.Call{Upstream: "q", Path: "/a"}); err != nil {
					t.Fatal(err)
				}
				lease := time.Now().Add(24 * time.Hour).Unix()
				got, err := w.fetch(t.Context(), w.accounts["q"], broker.Dequeue{Queue: "q", LeaseUntil: lease}, 0)
				if err != nil || got.Delivery == nil {
					t.Fatalf("the call was not dequeued: %v", err)
				}
				leave, _, ok := w.makeAlone(t.Context(), &inflightCall{account: w.accounts["q"], delivery: got.Delivery})
				if ok != c.want {
					t.Errorf("made alone: got %t, want %t", ok, c.want)
				}
				if ok {
					leave()
				}
				if noted := client.HExists(t.Context(), "callq:{q}:c:"+got.Delivery.ID, "alone").Val(); noted != c.want {
					t.Errorf("recorded: got %t, want %t", noted, c.want)
				}
			})
		})
	}
}
