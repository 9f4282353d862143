package circuit

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// snapshot is an account's record as this process last read it.
type snapshot struct {
	epoch  int64
	fields map[string]string
}

// learn stores a record, unless one with a newer epoch is stored.
func (s *Store) learn(upstream string, fields map[string]string) {
	epoch := redislua.Integer(fields["epoch"])
	next := &snapshot{epoch, fields}
	for {
		old, loaded := s.snapshots.LoadOrStore(upstream, next)
		if !loaded || old.(*snapshot).epoch > epoch || s.snapshots.CompareAndSwap(upstream, old, next) {
			return
		}
	}
}

// Behind reports whether an epoch that Redis returned is older than one that this process
// has read: the reply is from before a change, or Redis has lost that change.
func (s *Store) Behind(upstream string, epoch int64) bool {
	known, ok := s.snapshots.Load(upstream)
	return ok && known.(*snapshot).epoch > epoch
}

// Restore writes an account's record back if Redis has lost it, as in a fail-over. lost
// reports whether it had. If a probe may be out, its worker must renew its lease within
// the given time, see [Store.Renew].
func (s *Store) Restore(ctx context.Context, upstream string, lease time.Duration) (lost bool, err error) {
	known, ok := s.snapshots.Load(upstream)
	if !ok || known.(*snapshot).epoch == 0 {
		return false, nil
	}
	k := known.(*snapshot)
	args := []any{k.epoch, lease.Milliseconds()}
	for field, value := range k.fields {
		args = append(args, field, value)
	}
	reply, err := scriptRestore.Run(ctx, s.rdb, Name{Upstream: upstream}.keys(), args...).Slice()
	if err != nil {
		return false, fmt.Errorf("write circuit %s back: %w", upstream, err)
	}
	s.learn(upstream, redislua.Hash(reply[1]))
	if redislua.Number(reply[0]) == 0 {
		return false, nil
	}
	return true, s.follow(ctx, upstream)
}

// Refresh reads the records of accounts, writes back those that Redis has lost, as
// [Store.Restore] does, and updates copies that are behind. It returns the upstreams
// whose record was lost.
func (s *Store) Refresh(ctx context.Context, lease time.Duration, upstreams ...string) (lost []string, err error) {
	pipe := s.rdb.Pipeline()
	records := make([]*redis.MapStringStringCmd, len(upstreams))
	for i, upstream := range upstreams {
		records[i] = pipe.HGetAll(ctx, redislua.CircuitKey(upstream, ""))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read the circuits: %w", err)
	}
	for i, upstream := range upstreams {
		fields := records[i].Val()
		epoch := redislua.Integer(fields["epoch"])
		if s.Behind(upstream, epoch) {
			was, err := s.Restore(ctx, upstream, lease)
			if err != nil {
				return lost, err
			}
			if was {
				lost = append(lost, upstream)
			}
			continue
		}
		s.learn(upstream, fields)
		if fields["version"] != "" {
			if err := s.follow(ctx, upstream); err != nil {
				return lost, err
			}
		}
	}
	return lost, nil
}
