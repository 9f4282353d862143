package ledger

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Finding is something in the books that does not add up.
type Finding struct {
	Batch   string
	Problem string
	// Keys are the calls concerned, at most some hundreds of them.
	Keys []string
	// Fix says what to do.
	Fix string
}

// maxKeys bounds the keys that one finding names.
const maxKeys = 200

// Audit compares the counts of a batch with its records, one by one, and returns
// what does not add up. It may run while calls are accepted and end: then it only
// looks for records that are missing, and compares the states where nothing moved
// while it read. id makes a call's id from batch and key.
func (l *Ledger) Audit(ctx context.Context, batch string, id func(batch, key string) string) ([]Finding, error) {
	// What was accepted before the records are read must be among them, unless it
	// was forgotten by the time that they were.
	before, err := l.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	a := &audit{l: l, batch: batch}
	for r, err := range l.Standings(ctx, batch, id) {
		if err == nil {
			err = a.add(ctx, r)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := a.flush(ctx); err != nil {
		return nil, err
	}
	after, err := l.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	if c := after.Counts; !c.Balanced() {
		a.find(fmt.Sprintf("%d accepted, but %d open + %d done + %d dead + %d dropped + %d cancelled",
			c.Accepted, c.Open, c.Done, c.Dead, c.Dropped, c.Cancelled), nil,
			"the counts were changed from outside callq: run callq doctor")
	}
	missing := before.Counts.Accepted - after.Counts.Expired - a.seen.Accepted
	switch {
	case missing > 0:
		a.find(fmt.Sprintf("%d accepted calls have no record any more", missing), a.bare,
			"Redis lost data; send the file again: calls that are in the books are left alone")
	case before.Counts == after.Counts && before.last == after.last:
		a.compare(after.Counts)
	}
	return a.findings, nil
}

// audit is one [Ledger.Audit] under way.
type audit struct {
	l        *Ledger
	batch    string
	seen     Counts
	bare     []string // keys without a record
	open     []Record // to look whether they have a task
	lost     int      // how many had none
	lostKeys []string
	findings []Finding
}

func (a *audit) add(ctx context.Context, r Record) error {
	switch r.State {
	case Open:
		a.seen.Open++
		if a.open = append(a.open, r); len(a.open) >= page {
			if err := a.flush(ctx); err != nil {
				return err
			}
		}
	case Done:
		a.seen.Done++
	case Dead:
		a.seen.Dead++
	case Dropped:
		a.seen.Dropped++
	case Cancelled:
		a.seen.Cancelled++
	default:
		if len(a.bare) < maxKeys {
			a.bare = append(a.bare, r.Key)
		}
		return nil
	}
	a.seen.Accepted++
	return nil
}

// flush looks whether the open calls have a task, without which no worker will
// ever come upon them.
func (a *audit) flush(ctx context.Context) error {
	pipe := a.l.rdb.Pipeline()
	cmds := make([]*redis.IntCmd, len(a.open))
	for i, r := range a.open {
		cmds[i] = pipe.Exists(ctx, keysOf(r.Queue).task(r.ID))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("look for the tasks of batch %q: %w", a.batch, err)
	}
	for i, r := range a.open {
		if cmds[i].Val() > 0 {
			continue
		}
		if a.lost++; len(a.lostKeys) < maxKeys {
			a.lostKeys = append(a.lostKeys, r.Key)
		}
	}
	a.open = a.open[:0]
	return nil
}

// compare holds the records against the counts of a batch in which nothing moved.
func (a *audit) compare(c Counts) {
	if a.lost > 0 {
		a.find(fmt.Sprintf("%d open calls stand in no queue", a.lost), a.lostKeys,
			"their tasks were deleted from outside callq: run callq doctor, which finds them and says how to put them back")
	}
	// What was forgotten was done, dropped or cancelled.
	kept, seen := c.Done+c.Dropped+c.Cancelled-c.Expired, a.seen.Done+a.seen.Dropped+a.seen.Cancelled
	if c.Open != a.seen.Open || c.Dead != a.seen.Dead || kept != seen {
		a.find(fmt.Sprintf("the counts say %d open, %d dead and %d others, the records %d, %d and %d",
			c.Open, c.Dead, kept, a.seen.Open, a.seen.Dead, seen), nil,
			"counts or records were changed from outside callq: run callq doctor")
	}
}

func (a *audit) find(problem string, keys []string, fix string) {
	a.findings = append(a.findings, Finding{Batch: a.batch, Problem: problem, Keys: keys, Fix: fix})
}
