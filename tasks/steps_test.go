package tasks_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// scriptMeter counts the scripts of a client, and the most arguments that one of them had.
type scriptMeter struct{ scripts, most atomic.Int64 }

func (s *scriptMeter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s *scriptMeter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			s.scripts.Add(1)
			for n, most := int64(len(cmd.Args())), s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); {
				most = s.most.Load()
			}
		}
		return next(ctx, cmd)
	}
}
func (s *scriptMeter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Redis serves no other client while it runs a script.
func TestNoScriptTouchesManyCalls(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		const calls, most = 400, 1200
		var meter scriptMeter
		rdb.AddHook(&meter)
		client, err := tasks.NewClient(rdb, tasks.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			name string
			do   func() (int, error)
		}{
			{"send", func() (int, error) {
				submitMany(t, rdb, "b", calls)
				return calls, nil
			}},
			{"cancel", func() (int, error) {
				n, err := client.CancelBatch(t.Context(), "b", tasks.Cancellation{}, nil)
				return int(n.Cancelled), err
			}},
			{"read the results", func() (n int, err error) {
				for _, err = range client.Results(t.Context(), "b") {
					if err != nil {
						break
					}
					n++
				}
				return n, err
			}},
			{"delete", func() (int, error) {
				n, _, err := client.DeleteBatch(t.Context(), "b")
				return n, err
			}},
		} {
			meter.scripts.Store(0)
			meter.most.Store(0)
			if n, err := step.do(); n != calls || err != nil {
				t.Fatalf("%s: %d calls, want %d: %v", step.name, n, calls, err)
			}
			if scripts, longest := meter.scripts.Load(), meter.most.Load(); scripts < 2 || longest > most {
				t.Errorf("%s: %d scripts, one of them with %d arguments, want at most %d", step.name, scripts, longest, most)
			}
		}
	})
}
