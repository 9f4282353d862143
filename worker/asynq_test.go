package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

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
