package ledger

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// firstMark holds the first script that marks calls until goOn is closed, and counts them.
type firstMark struct {
	redis.Hook
	begun, goOn chan struct{}
	scripts     int
}

func (h *firstMark) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *firstMark) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *firstMark) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); len(args) > 1 && args[1] == scriptMark.Hash() {
			if h.scripts++; h.scripts == 1 {
				close(h.begun)
				<-h.goOn
			}
		}
		return next(ctx, cmd)
	}
}

func TestCallsThatAreMarkedAtTheSameTimeAreMarkedByOneScript(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		const calls = 6
		d := newFixture(t, rdb)
		deliveries := make([]*Delivery, calls)
		for i := range deliveries {
			deliveries[i] = d.acceptAndTake("b", "q", fmt.Sprint(i))
		}
		d.end(deliveries[3], finalOf(Done)) // it must not be sent any more
		if _, applied, err := d.dispatcher.MarkSent(t.Context(), d.acceptAndTake("b", "q", "before"), 1, true, ""); err != nil || !applied {
			t.Fatal(applied, err) // from now on the fence is known
		}
		hook := &firstMark{begun: make(chan struct{}), goOn: make(chan struct{})}
		client := redis.NewClient(rdb.Options())
		defer client.Close()
		client.AddHook(hook)
		d.dispatcher.rdb = client

		results := make([]chan marked, calls)
		for i, delivery := range deliveries {
			results[i] = make(chan marked, 1)
			go func() {
				_, applied, err := d.dispatcher.MarkSent(t.Context(), delivery, 1, i != 4, "")
				results[i] <- marked{applied, err}
			}()
			if i == 0 {
				<-hook.begun
			}
		}
		marker := d.dispatcher.marker("q")
		for waiting := 0; waiting < calls-1; {
			marker.mu.Lock()
			waiting = len(marker.waiting)
			marker.mu.Unlock()
			runtime.Gosched()
		}
		close(hook.goOn)
		numbers := map[int64]bool{}
		for i, delivery := range deliveries {
			got := <-results[i]
			if got.err != nil || got.applied != (i != 3) {
				t.Errorf("call %d: %+v", i, got)
			}
			marks := i != 3 && i != 4 // the one that may be sent twice has no mark
			if sent := d.record("q", delivery.ID).Sent; (sent == 1) != marks || marks && numbers[delivery.number] {
				t.Errorf("call %d: attempt %d is marked as sent, with the number %d of %v", i, sent, delivery.number, numbers)
			}
			if marks {
				numbers[delivery.number] = true
			}
		}
		if hook.scripts != 2 {
			t.Errorf("got %d scripts, want 2", hook.scripts)
		}
	})
}
