package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Group is what dead letters have in common: the reason and the endpoint.
type Group struct {
	Class    string `json:"class"`
	Code     string `json:"code,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	// Message and Advice are those of the group's latest member.
	Message string `json:"message,omitempty"`
	Advice  string `json:"advice,omitempty"`
}

// Name is the group's short name, made from class, code and endpoint.
func (g Group) Name() string {
	sum := sha256.Sum256([]byte(g.Class + "\x00" + g.Code + "\x00" + g.Endpoint))
	return hex.EncodeToString(sum[:4])
}

// groupName returns the text if it has the form of a [Group.Name], else "": names
// become part of keys and of commands that people are shown.
func groupName(text string) string {
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != 4 {
		return ""
	}
	return text
}

func (g Group) encode() string {
	b, err := json.Marshal(g)
	if err != nil {
		return "{}" // cannot happen: it has strings only
	}
	return string(b)
}

// DeadGroup is a group with its size.
type DeadGroup struct {
	Group
	Name   string
	Queues []string
	Count  int64
	// Counts has the group's size in each of its queues.
	Counts map[string]int64
}

// DeadGroups lists the groups of all dead letters, the largest first. It takes three round
// trips, however many dead letters there are.
func (l *Ledger) DeadGroups(ctx context.Context) ([]DeadGroup, error) {
	queues, err := l.Queues(ctx)
	if err != nil || len(queues) == 0 {
		return nil, err
	}
	pipe := l.rdb.Pipeline()
	described := make([]*redis.MapStringStringCmd, len(queues))
	for i, queue := range queues {
		described[i] = pipe.HGetAll(ctx, keysOf(queue).groups())
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("list the groups of dead letters: %w", err)
	}
	pipe = l.rdb.Pipeline()
	counts := make([]map[string]*redis.IntCmd, len(queues))
	for i, queue := range queues {
		counts[i] = map[string]*redis.IntCmd{}
		for name := range described[i].Val() {
			counts[i][name] = pipe.ZCard(ctx, keysOf(queue).deadGroup(name))
		}
	}
	if pipe.Len() > 0 {
		if err := exec(ctx, pipe); err != nil {
			return nil, fmt.Errorf("count the dead letters of each group: %w", err)
		}
	}
	byName := map[string]*DeadGroup{}
	for i, queue := range queues {
		for name, description := range described[i].Val() {
			g := byName[name]
			if g == nil {
				g = &DeadGroup{Name: name, Counts: map[string]int64{}}
				_ = json.Unmarshal([]byte(description), &g.Group)
				byName[name] = g
			}
			n := counts[i][name].Val()
			g.Count += n
			g.Counts[queue] = n
			g.Queues = append(g.Queues, queue)
		}
	}
	return slices.SortedFunc(func(yield func(DeadGroup) bool) {
		for _, g := range byName {
			if !yield(*g) {
				return
			}
		}
	}, func(a, b DeadGroup) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) }), nil
}

// Dead yields dead letters, those of one group or all (""), queue by queue, oldest
// first. It yields every letter that was dead when it began and still is, even while
// others are redriven.
func (l *Ledger) Dead(ctx context.Context, group string) iter.Seq2[Record, error] {
	return l.DeadAfter(ctx, group, &DeadCursor{})
}

// DeadAfter is [Ledger.Dead] for the dead letters after the cursor, which it moves. After an
// error the cursor is behind the last record that was yielded.
func (l *Ledger) DeadAfter(ctx context.Context, group string, cur *DeadCursor) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		queues, err := l.Queues(ctx)
		if err != nil {
			yield(Record{}, err)
			return
		}
		for _, queue := range queues {
			if queue < cur.queue {
				continue
			}
			if queue != cur.queue {
				*cur = DeadCursor{queue: queue}
			}
			if !l.deadOf(ctx, group, cur, yield) {
				return
			}
		}
	}
}

// deadOf yields the dead letters of the cursor's queue.
func (l *Ledger) deadOf(ctx context.Context, group string, cur *DeadCursor, yield func(Record, error) bool) bool {
	queue := cur.queue
	key := keysOf(queue).dead()
	if group != "" {
		key = keysOf(queue).deadGroup(group)
	}
	// Calls of two batches can end in the same microsecond, so a page begins with the
	// score of the cursor, and skips the ids up to that of the cursor: Redis orders ids with
	// the same score by their bytes.
	for skip := int64(0); ; {
		from := cmp.Or(cur.score, "-inf")
		zs, err := l.rdb.ZRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{Min: from, Max: "+inf", Offset: skip, Count: page}).Result()
		if err != nil {
			return yield(Record{}, fmt.Errorf("list the dead letters of queue %q: %w", queue, err))
		}
		full := len(zs) == page
		zs = slices.DeleteFunc(zs, func(z redis.Z) bool { return scoreText(z) == cur.score && member(z) <= cur.id })
		i := 0
		for r, err := range l.each(ctx, queue, members(zs)) {
			if err != nil {
				return yield(Record{}, err)
			}
			cur.score, cur.id = scoreText(zs[i]), r.ID
			i++
			if r.State == Dead && !yield(r, nil) {
				return false
			}
		}
		if !full {
			return true
		}
		skip += page
		if i > 0 {
			skip = 0
		}
	}
}

// Rearchive puts a dead letter that asynq's tools have run (see [Dequeued]), and that
// cannot be redriven, back into asynq's archive.
func (rep *Repairer) Rearchive(ctx context.Context, r Record) error {
	k := keysOf(r.Queue)
	err := scriptRearchive.Run(ctx, rep.rdb, []string{k.pending(), k.archived(), k.task(r.ID), k.record(r.ID)}, r.ID, r.Generation).Err()
	if err != nil {
		return fmt.Errorf("put call %s back into the archive: %w", r.ID, err)
	}
	return nil
}
