package circuit

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// reachedKey is where it stands which API of an account was reached, by whomever.
func reachedKey(upstream string) string { return "callq:{" + upstream + "}:reached" }

// Reached reports whether the API has ever answered; api names it with its address.
func (s *Store) Reached(ctx context.Context, upstream, api string) (bool, error) {
	got, err := s.rdb.Get(ctx, reachedKey(upstream)).Result()
	if err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
		return false, fmt.Errorf("look whether %s was reached: %w", upstream, err)
	}
	return got == api, nil
}

// NoteReached notes that the API has answered.
func (s *Store) NoteReached(ctx context.Context, upstream, api string) error {
	if err := s.rdb.Set(ctx, reachedKey(upstream), api, 0).Err(); err != nil {
		return fmt.Errorf("note that %s was reached: %w", upstream, err)
	}
	return nil
}
