package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// reachedAPIs keeps in Redis, for the whole fleet, which APIs have ever answered.
type reachedAPIs struct{ rdb redis.UniversalClient }

func (r reachedAPIs) key(upstream string) string { return "callq:{" + upstream + "}:reached" }

// has reports whether the API has ever answered any worker; api identifies it, see
// account.api.
func (r reachedAPIs) has(ctx context.Context, upstream, api string) (bool, error) {
	got, err := r.rdb.Get(ctx, r.key(upstream)).Result()
	if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return false, fmt.Errorf("read whether the API of %s has answered before: %w", upstream, err)
	}
	return got == api, nil
}

// add records that the API has answered.
func (r reachedAPIs) add(ctx context.Context, upstream, api string) error {
	if err := r.rdb.Set(ctx, r.key(upstream), api, 0).Err(); err != nil {
		return fmt.Errorf("record that the API of %s has answered: %w", upstream, err)
	}
	return nil
}
