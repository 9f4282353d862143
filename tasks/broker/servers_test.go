package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestTheQueuesOfRunningServersAreReadFromAsynqsHeartbeats(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	if got, err := broker.Workers(t.Context(), rdb); err != nil || len(got) > 0 {
		t.Fatalf("without a server: %v, %v", got, err)
	}
	redistest.Heartbeat(t, rdb, "another", "b")
	if err := rdb.Set(t.Context(), "asynq:servers:{wrongtype:1:id}", "garbage", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.ZAdd(t.Context(), "asynq:servers", redis.Z{Score: 1e10, Member: "asynq:servers:{wrongtype:1:id}"}, redis.Z{Score: 1e10, Member: "asynq:servers:{gone:1:id}"}).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // two servers of one process are one worker
		s := asynq.NewServerFromRedisClient(rdb, asynq.Config{Queues: map[string]int{"a": 1, "b": 2}, LogLevel: asynq.FatalLevel})
		if err := s.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return nil })); err != nil {
			t.Fatal(err)
		}
		defer s.Shutdown()
	}
	var got map[string]int
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		var err error
		if got, err = broker.Workers(t.Context(), rdb); err != nil {
			t.Fatal(err)
		}
		if got["a"] == 1 && got["b"] == 2 {
			return
		}
	}
	t.Errorf("got %v", got)
}

func TestWorkersAreCountedByProcess(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		const later = 9e9
		if err := rdb.ZAdd(t.Context(), "asynq:servers",
			redis.Z{Score: later, Member: "asynq:servers:{host:1:a}"}, redis.Z{Score: later, Member: "asynq:servers:{host:1:b}"},
			redis.Z{Score: later, Member: "asynq:servers:{host:2:c}"}, redis.Z{Score: 1, Member: "asynq:servers:{gone:3:d}"}).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := broker.Processes(t.Context(), rdb); n != 2 || err != nil {
			t.Fatalf("got %d workers, %v", n, err)
		}
	})
}
