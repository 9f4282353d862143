package broker

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestTheRetriesHookMovesDueRetriesAndAsynqMovesOtherDelayedTasks(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	left := 2
	w := Wrap(rdb, Hooks{
		Forward: func(_, set string) bool { return set == "scheduled" || left == 2 },
		Retries: func(_ context.Context, queue string) (int, error) {
			if left--; queue != "q" || left < 0 {
				return 0, errors.New("called for queue " + queue)
			}
			return left, nil
		},
	})
	for i, want := range []int{1, 0, 0} { // it is called until it moves none, and then if the Forward hook allows it
		n, err := w.EvalSha(t.Context(), shaForward, []string{"asynq:{q}:retry", "asynq:{q}:pending"}, 1).Int()
		if err != nil || n != want {
			t.Fatalf("call %d: got %d moved, want %d: %v", i+1, n, want, err)
		}
	}
	if err := w.EvalSha(t.Context(), shaForward, []string{"asynq:{q}:scheduled", "asynq:{q}:pending"}, 1).Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
		t.Errorf("asynq's script for scheduled tasks did not reach Redis: %v", err)
	}
}
