package schedule

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// lease is how long a lock lasts without being renewed. A worker that was lost
	// while it sent delays the rest of its batch by no more.
	lease = 15 * time.Second
	// forgetAfter is how long a calendar may be in no running worker's
	// configuration, while another is, before it counts as a former one. A
	// roll-out of a new configuration takes less.
	forgetAfter = 10 * time.Minute
)

var (
	// lookScript notes that the calendar ARGV[1] is in use at ARGV[2], forgets those
	// that were last in use ARGV[3] before it was itself the last time, all in ms,
	// and returns the state. The last time and not now: a Redis that was out of reach
	// kept all of them from showing.
	lookScript = redis.NewScript(`
local before = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
local seen = redis.call('HGETALL', KEYS[2])
for i = 1, #seen, 2 do
  if before - tonumber(seen[i + 1]) > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[2], seen[i])
    redis.call('HDEL', KEYS[1], seen[i])
  end
end
return redis.call('HGETALL', KEYS[1])
`)
	// writeScript sets the fields ARGV[2…] of the state, and deletes those that are
	// to be empty, if ARGV[1] is the lock's token.
	writeScript = redis.NewScript(`
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
`)
	renewScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
`)
	unlockScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)
)

// look reads the state, and notes that the schedule is somebody's.
func (k *keeper) look(ctx context.Context, now time.Time) (State, error) {
	s := k.schedule
	reply, err := lookScript.Run(ctx, k.Redis, []string{stateKey(s.Name), seenKey(s.Name)},
		fieldUntil(s.Calendar), now.UnixMilli(), forgetAfter.Milliseconds()).StringSlice()
	if err != nil {
		return State{}, err
	}
	fields := map[string]string{}
	for i := 0; i+1 < len(reply); i += 2 {
		fields[reply[i]] = reply[i+1]
	}
	return parseState(fields, s.Calendar)
}

// lock is the right to write a schedule's state.
type lock struct {
	rdb         redis.UniversalClient
	name, token string
	lease       time.Duration
}

// errLost ends what a worker does whose lock is another's by now.
var errLost = errors.New("another worker took over")

// lock returns nil where another worker has it.
func (k *keeper) lock(ctx context.Context) (*lock, error) {
	l := &lock{rdb: k.Redis, name: k.schedule.Name, token: rand.Text(), lease: k.lease}
	err := l.rdb.SetArgs(ctx, lockKey(l.name), l.token, redis.SetArgs{Mode: "NX", TTL: l.lease}).Err()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return l, err
}

// write changes fields of the state: names and values by turns.
func (l *lock) write(ctx context.Context, fields ...string) error {
	args := []any{l.token}
	for _, f := range fields {
		args = append(args, f)
	}
	held, err := writeScript.Run(ctx, l.rdb, []string{stateKey(l.name), lockKey(l.name)}, args...).Bool()
	if err == nil && !held {
		return errLost
	}
	return err
}

// keep renews the lock until ctx ends, and calls lost where it is another's. That
// Redis does not answer is no reason to stop: the sending will find out.
func (l *lock) keep(ctx context.Context, lost func()) {
	tick := time.NewTicker(l.lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		held, err := renewScript.Run(ctx, l.rdb, []string{lockKey(l.name)}, l.token, l.lease.Milliseconds()).Bool()
		if err == nil && !held {
			lost()
			return
		}
	}
}

// free gives the lock back, also while the program ends. Where that fails it lapses.
func (l *lock) free(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = unlockScript.Run(ctx, l.rdb, []string{lockKey(l.name)}, l.token).Err()
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings, numbers and times of this age
	}
	return string(b)
}
