package broker

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/broker/brokertest"
)

func TestTheSkewIsWhatTheWayToRedisCannotAccountFor(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 5, 4, 12, 0, s, 0, time.UTC) }
	for _, c := range []struct {
		name          string
		theirs        int
		before, after int
		want          time.Duration
	}{
		{"the clocks agree", 10, 10, 10, 0},
		{"Redis answered at some time on the way", 12, 10, 15, 0},
		{"this clock is ahead", 3, 10, 11, 7 * time.Second},
		{"this clock is behind", 30, 10, 12, -18 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := skew(at(c.theirs), at(c.before), at(c.after)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestAMachineAgreesWithItsOwnRedis(t *testing.T) {
	brokertest.Each(t, func(t *testing.T, client *redis.Client) {
		got, err := Skew(t.Context(), client)
		if err != nil || got.Abs() > MaxSkew {
			t.Errorf("the clocks are %s apart, %v", got, err)
		}
	})
}

// A worker whose clock is ahead would take other workers' calls from them and make
// delayed ones too early.
func TestAnAsynqServerWithAWrongClockLeavesLeasesAndDelayedTasksAlone(t *testing.T) {
	brokertest.Each(t, func(t *testing.T, rdb *redis.Client) {
		long := redis.Z{Score: float64(time.Now().Add(-time.Hour).Unix())}
		for _, id := range []string{"held", "due"} {
			enqueue(t, rdb, id)
			list, set := "asynq:{q}:active", "asynq:{q}:lease"
			if id == "due" {
				list, set = "", "asynq:{q}:scheduled"
			}
			long.Member = id
			pipe := rdb.TxPipeline()
			pipe.LRem(t.Context(), "asynq:{q}:pending", 1, id)
			pipe.ZAdd(t.Context(), set, long)
			if list != "" {
				pipe.LPush(t.Context(), list, id)
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		moved := func() (n int64) {
			return 2 - rdb.ZCard(t.Context(), "asynq:{q}:lease").Val() - rdb.ZCard(t.Context(), "asynq:{q}:scheduled").Val()
		}
		var asked atomic.Int64
		for _, right := range []bool{false, true} {
			stop := serve(t, Wrap(rdb, Hooks{
				Dequeue:      func(context.Context, Dequeue) (string, error) { return "", redis.Nil },
				ClockIsRight: func() bool { asked.Add(1); return right },
			}), func(context.Context, *asynq.Task) error { return nil })
			if right {
				await(t, "both tasks to move", func() bool { return moved() == 2 })
			} else {
				// Once for the leases, as the server starts, and some times for the sets.
				await(t, "asynq to look", func() bool { return asked.Load() > 10 })
			}
			stop()
			if !right && moved() > 0 {
				t.Error("tasks were moved by a worker with a wrong clock")
			}
		}
	})
}
