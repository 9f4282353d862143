package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Whoever can write to Redis can write anything into a record. Fields that are only
// read are read with care; but the scripts compare some of a record's numbers with what
// a worker has read, and add to others. A number that callq cannot have written ends
// its call before it is made: a worker could neither count that call's attempts nor
// record how it ended. The same is true for an unknown state.

// numbers are the fields of a record that hold a number, with the largest value that
// each can have.
var numbers = []struct {
	field string
	least int64
	most  int64
}{
	{"gen", 1, maxCount},
	{"attempts", 0, maxCount},
	{"parked", 0, maxCount},
	{"starts", 0, maxCount},
	{"settled", 0, maxCount},
	{"sent", 0, maxCount},
	{"first", 0, redislua.MaxMilli},
	{"parked_at", 0, redislua.MaxMilli},
	{"held_base", 0, maxHeld.Milliseconds()},
	{"held_own", 0, maxHeld.Milliseconds()},
	{"fresh_keys", 0, maxCount},
	{"asked", 0, maxCount},
	{"absent", 0, maxCount},
}

// corrupt returns the name of the first field whose number is not one that callq
// writes, in its digits, or of the state if that is unknown.
func corrupt(h hash) string {
	for _, n := range numbers {
		text, there := h.lookup(n.field)
		if !there && n.field != "gen" {
			continue
		}
		if !redislua.Whole(text, n.least, n.most) {
			return n.field
		}
	}
	if count(h.get("settled")) > count(h.get("starts")) {
		return "settled"
	}
	if !State(h.get("state")).Known() {
		return "state"
	}
	return ""
}

// Repair replaces the corrupt numbers in the record of a call that a worker has taken.
// The call is to be ended then.
func (rep *Repairer) Repair(ctx context.Context, t *Delivery) error {
	generation := max(t.Generation, 1)
	// The starts stay: the script has just counted on from them, and they distinguish
	// this delivery from others.
	pipe := rep.rdb.TxPipeline()
	key := keysOf(t.Queue).record(t.ID)
	pipe.HDel(ctx, key, "attempts", "parked", "settled", "sent", "first", "parked_at", "held_base", "held_own", "fresh_keys", "asked", "absent")
	pipe.HSet(ctx, key, "gen", generation)
	if !t.State.Known() {
		pipe.HSet(ctx, key, "state", string(Open)) // its task was pending, and only open calls have pending tasks
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("repair the record of call %s: %w", t.ID, err)
	}
	t.Generation, t.Attempts, t.Parked, t.Sent, t.HeldBase, t.HeldOwn = generation, 0, 0, 0, 0, 0
	t.FreshKeys, t.VerifyAsked, t.VerifyAbsent = 0, 0, 0
	t.FirstAt, t.ParkedAt = time.Time{}, time.Time{}
	if !t.State.Known() {
		t.State = Open
	}
	return nil
}

// maxLooked is how many of the next tasks the script reads, rounded up.
const maxLooked = 200

// Quarantine repairs what stops the script that takes calls from a queue: a task or a
// record that is not a hash, and a count of starts that cannot be added to. The script
// meets such a task among the next pending ones, and the call ends when it is taken. An
// active task without a lease returns to pending. Quarantine returns the ids of these
// calls.
func (rep *Repairer) Quarantine(ctx context.Context, queue string) (cleared []string, err error) {
	k := keysOf(queue)
	fail := func(err error) ([]string, error) {
		return cleared, fmt.Errorf("quarantine what is corrupt in queue %q: %w", queue, err)
	}
	active, err := rep.rdb.LRange(ctx, k.active(), 0, -1).Result()
	if err != nil {
		return fail(err)
	}
	pending, err := rep.rdb.LRange(ctx, k.pending(), -maxLooked, -1).Result()
	if err != nil {
		return fail(err)
	}
	for _, id := range pending {
		found, err := rep.quarantine(ctx, k, id)
		if err != nil {
			return fail(err)
		}
		if found {
			cleared = append(cleared, id)
		}
	}
	for _, id := range active {
		found, err := rep.quarantine(ctx, k, id)
		if err != nil {
			return fail(err)
		}
		if !found {
			continue
		}
		cleared = append(cleared, id)
		if err := rep.rdb.ZRem(ctx, k.lease(), id).Err(); err != nil {
			return fail(err)
		}
		if _, err := rep.Release(ctx, queue, time.Time{}, id); err != nil {
			return fail(err)
		}
	}
	return cleared, nil
}

func (rep *Repairer) quarantine(ctx context.Context, k keys, id string) (found bool, err error) {
	for _, key := range []string{k.task(id), k.record(id)} {
		kind, err := rep.rdb.Type(ctx, key).Result()
		if err != nil {
			return found, err
		}
		if kind == "hash" || kind == "none" {
			continue
		}
		if err := rep.rdb.Del(ctx, key).Err(); err != nil {
			return found, err
		}
		found = true
	}
	starts, err := rep.rdb.HGet(ctx, k.record(id), "starts").Result()
	if errors.Is(err, redis.Nil) || err == nil && redislua.Whole(starts, math.MinInt64, math.MaxInt64-1) {
		return found, nil
	}
	if err == nil {
		// A number that can be counted on from, and that callq never writes.
		err = rep.rdb.HSet(ctx, k.record(id), "starts", -1).Err()
	}
	return true, err
}
