package redisinfo

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// MaxSkew is how far the clock of a worker may be off Redis's. asynq writes the
// ends of its leases by the clock of the worker that holds a task, and reads them
// by the clock of the one that looks for dead workers, with 30 s between them.
const MaxSkew = 5 * time.Second

// Skew is how far this machine's clock is ahead of Redis's, below zero where it is
// behind, rounded towards zero by what the way to Redis and back may account for.
func Skew(ctx context.Context, client redis.UniversalClient) (time.Duration, error) {
	before := time.Now()
	theirs, err := client.Time(ctx).Result()
	if err != nil {
		return 0, err
	}
	after := time.Now()
	return SkewOf(theirs, before, after), nil
}

// SkewOf is [Skew] for who has asked Redis for its time between before and after. It
// takes the clocks on the wall: what has passed meanwhile counts as well when the
// machine was asleep.
func SkewOf(theirs, before, after time.Time) time.Duration {
	if ahead := before.Round(0).Sub(theirs); ahead > 0 {
		return ahead
	}
	return min(after.Round(0).Sub(theirs), 0)
}
