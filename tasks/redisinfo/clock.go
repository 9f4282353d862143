package redisinfo

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// MaxSkew is how far the clock of a worker may differ from Redis's. asynq writes the
// ends of its leases by the clock of the worker that holds a task, and reads them by
// the clock of the worker that looks for dead ones, with a margin of 30 s.
const MaxSkew = 5 * time.Second

// Skew is how far this machine's clock is ahead of Redis's, negative if it is behind,
// rounded towards zero by the time of the round trip to Redis.
func Skew(ctx context.Context, client redis.UniversalClient) (time.Duration, error) {
	before := time.Now()
	theirs, err := client.Time(ctx).Result()
	if err != nil {
		return 0, err
	}
	after := time.Now()
	return SkewOf(theirs, before, after), nil
}

// SkewOf is [Skew] for a caller that has asked Redis for its time between before and
// after. It uses the wall clock, so that the time while the machine was asleep counts
// as well.
func SkewOf(theirs, before, after time.Time) time.Duration {
	if ahead := before.Round(0).Sub(theirs); ahead > 0 {
		return ahead
	}
	return min(after.Round(0).Sub(theirs), 0)
}
