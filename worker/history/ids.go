package history

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

const (
	// mostIDs is how many correlation ids Redis keeps for a day of an upstream, and idsDays
	// for how many days.
	mostIDs, idsDays = 20_000, 8
	// longestID bounds what an API can make callq store.
	longestID = 200
	// unflushedIDs bounds what a recorder keeps between two flushes.
	unflushedIDs = 1_000
)

// scriptAddIDs adds correlation ids to the day's hash, until it is full.
//
// KEYS[1]   the hash
// ARGV[1]   how many ids it may have
// ARGV[2]   for how many seconds it is kept
// ARGV[3..] ids, each followed by its call's id
var scriptAddIDs = redislua.Script(`
for i = 3, #ARGV, 2 do
  if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[1]) then
    break
  end
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
`)

// AddID notes with which correlation id an API refused a call, so that [FindID] finds the
// call. Ids that are too long, and those after the first thousand between two flushes, are
// not noted.
func (r *Recorder) AddID(upstream, correlationID, call string) {
	if correlationID == "" || len(correlationID) > longestID {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids == nil {
		r.ids = map[string]map[string]string{}
	}
	if r.ids[upstream] == nil {
		r.ids[upstream] = map[string]string{}
	}
	if len(r.ids[upstream]) < unflushedIDs {
		r.ids[upstream][correlationID] = call
	}
}

// flushIDs writes the noted ids. Those of a flush that fails are lost: only a search misses
// them.
func (r *Recorder) flushIDs(ctx context.Context, now time.Time) error {
	r.mu.Lock()
	all := r.ids
	r.ids = nil
	r.mu.Unlock()
	for upstream, ids := range all {
		args := []any{mostIDs, idsDays * 24 * 3600}
		for id, call := range ids {
			args = append(args, id, call)
		}
		if err := scriptAddIDs.Run(ctx, r.rdb, []string{idsKey(upstream, now)}, args...).Err(); err != nil {
			return fmt.Errorf("write the correlation ids of failed attempts: %w", err)
		}
	}
	return nil
}

// FindID returns the call that an API refused with a correlation id in the last days, or
// "". It takes one round trip.
func FindID(ctx context.Context, rdb redis.UniversalClient, upstreams []string, correlationID string, now time.Time) (string, error) {
	if correlationID == "" || len(correlationID) > longestID || len(upstreams) == 0 {
		return "", nil
	}
	pipe := rdb.Pipeline()
	var replies []*redis.StringCmd
	for _, upstream := range upstreams {
		for day := range idsDays {
			replies = append(replies, pipe.HGet(ctx, idsKey(upstream, now.AddDate(0, 0, -day)), correlationID))
		}
	}
	_, _ = pipe.Exec(ctx) // each reply has its own error
	for _, reply := range replies {
		switch call, err := reply.Result(); {
		case err == nil:
			return call, nil
		case !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE"):
			return "", fmt.Errorf("look for the correlation id: %w", err)
		}
	}
	return "", nil
}

// idsKey is the key of a day's correlation ids.
func idsKey(upstream string, at time.Time) string {
	return redislua.Own(upstream, "ids:"+strconv.FormatInt(at.Unix()/86400, 10))
}
