package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/broker"
)

func TestAFetcherWaitsInPlaceOnlyAsLongAsItsLeaseAllows(t *testing.T) {
	for name, block := range map[string]func(*Worker){
		"for the end of a hold": func(w *Worker) { w.accounts["api"].hold.until(time.Hour, 0) },
		"for a free place":      func(w *Worker) { w.places.acquire(w.accounts["api"], w.draining, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &Worker{
					accounts: map[string]*account{"api": {}}, rests: map[string]*emptiness{"api": {}},
					places: newPlaces(1), draining: make(chan struct{}),
				}
				block(w)
				began := time.Now()
				// There is no Redis here: it must not be asked either.
				_, err := w.dequeue(context.Background(), broker.Dequeue{Queue: "api"})
				if took := time.Since(began); !errors.Is(err, redis.Nil) || took != maxWaiting {
					t.Errorf("%v after %v", err, took)
				}
			})
		})
	}
}

// asynq asks again at once after an error, and so in a loop while Redis is down.
func TestARedisThatIsDownIsAskedOnceASecond(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		down := &gone{}
		rdb := redis.NewClient(&redis.Options{})
		defer func() { _ = rdb.Close() }()
		rdb.AddHook(down)
		w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "api", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
		if err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); time.Since(began) < time.Minute; {
			if _, err := w.dequeue(t.Context(), broker.Dequeue{Queue: "api", LeaseUntil: time.Now().Add(time.Minute).Unix()}); !errors.Is(err, redis.Nil) {
				t.Fatal(err)
			}
		}
		if down.asked < 50 || down.asked > 61 {
			t.Errorf("Redis was asked %d times in a minute", down.asked)
		}
	})
}

// gone is a Redis that is down: a hook that passes nothing on.
type gone struct{ asked int }

func (*gone) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g *gone) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error {
		g.asked++
		return errors.New("connection refused")
	}
}

func (g *gone) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { return errors.New("connection refused") }
}
