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
	// lease is how long a lock lasts without being renewed. If a worker dies while it
	// sends a batch, the rest is delayed by at most this time.
	lease = 15 * time.Second
	// forgetAfter is how long a calendar may be missing from the configuration of all
	// running workers, while another one is there, before its state is deleted. A
	// roll-out of a new configuration takes less time.
	forgetAfter = 10 * time.Minute
)

var (
	// lookScript records that the calendar ARGV[1] is in use at the time ARGV[2], and
	// returns the state. It deletes calendars whose last use is more than ARGV[3] before
	// the previous use of ARGV[1]; all in ms. It compares with the previous use and not
	// with now, because no worker could record any use while Redis was out of reach.
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
	// writeScript sets the fields ARGV[2…] of the state, if ARGV[1] is the lock's token.
	// It deletes a field whose new value is empty.
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

// look reads the state, and records that a worker has the schedule.
func (r *runner) look(ctx context.Context, now time.Time) (State, error) {
	s := r.schedule
	reply, err := lookScript.Run(ctx, r.Redis, []string{stateKey(s.Name), seenKey(s.Name)},
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

// lock is the permission to write a schedule's state.
type lock struct {
	rdb         redis.UniversalClient
	name, token string
	lease       time.Duration
}

// errLost ends the work of a worker that no longer has the lock.
var errLost = errors.New("another worker took over")

// lock takes the lock. It returns nil if another worker has it.
func (r *runner) lock(ctx context.Context) (*lock, error) {
	l := &lock{rdb: r.Redis, name: r.schedule.Name, token: rand.Text(), lease: r.lease}
	err := l.rdb.SetArgs(ctx, lockKey(l.name), l.token, redis.SetArgs{Mode: "NX", TTL: l.lease}).Err()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return l, err
}

// write changes fields of the state. fields are names and values in turn.
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

// renew renews the lock until ctx ends, and calls lost if another worker has it. It does
// not stop if Redis does not answer: then the sending fails itself.
func (l *lock) renew(ctx context.Context, lost func()) {
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

// release releases the lock, even while the program ends. If that fails, the lock expires.
func (l *lock) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = unlockScript.Run(ctx, l.rdb, []string{lockKey(l.name)}, l.token).Err()
}

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // unreachable: strings, numbers and valid times always have a JSON form
	}
	return string(b)
}
