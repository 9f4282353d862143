package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Finding is an inconsistency in the ledger.
type Finding struct {
	Batch   string
	Problem string
	// Keys are the calls concerned, at most maxKeys of them.
	Keys []string
	// Fix says what to do.
	Fix string
}

// maxKeys bounds the keys that one finding names.
const maxKeys = 200

// Audit compares the counts of a batch with its records, one by one, and returns the
// inconsistencies. It may run while calls are accepted and end: then it only looks for
// missing records, and compares the states only if nothing moved while it read. id
// makes a call's id from batch and key.
func (l *Ledger) Audit(ctx context.Context, batch string, id func(batch, key string) string) ([]Finding, error) {
	// A call that was accepted before the records are read must be among them, unless
	// it was forgotten before they were read.
	before, err := l.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	a := &audit{l: l, batch: batch}
	for r, err := range l.Statuses(ctx, batch, id) {
		if err == nil {
			err = a.add(ctx, r)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := errors.Join(a.flush(ctx), a.flushDead(ctx)); err != nil {
		return nil, err
	}
	listed, err := l.listedEndings(ctx, before)
	if err != nil {
		return nil, err
	}
	after, err := l.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	if len(after.unread) > 0 {
		a.find(fmt.Sprintf("the counts do not agree with the records: some are not numbers (queue and count: %s)", strings.Join(after.unread, ", ")), nil,
			"they were changed from outside callq, which goes on counting from 0: "+findWriter)
	}
	if a.unknown.n > 0 {
		a.find(fmt.Sprintf("%d calls have an unknown state", a.unknown.n), a.unknown.keys,
			"their records were changed from outside callq: callq work ends each as a dead letter (callq dead list --filter class=malformed_task); callq doctor finds those that are in no queue")
	}
	if c := after.Counts; !c.Balanced() {
		a.find(fmt.Sprintf("%d accepted, but %d open + %d done + %d dead + %d dropped + %d cancelled",
			c.Accepted, c.Open, c.Done, c.Dead, c.Dropped, c.Cancelled), nil,
			"the counts were changed from outside callq: "+findWriter)
	}
	missing := before.Counts.Accepted - after.Counts.Expired - a.seen.Accepted
	switch {
	case missing > 0:
		a.find(fmt.Sprintf("%d accepted calls have no record any more", missing), a.missing.keys,
			"Redis lost data; send the file again: calls that are in the ledger are left alone")
	case before.Counts == after.Counts && before.last == after.last:
		a.compare(after.Counts, listed)
	}
	return a.findings, nil
}

// audit is a running [Ledger.Audit].
type audit struct {
	l        *Ledger
	batch    string
	seen     Counts
	missing  named    // calls without a record
	unknown  named    // calls in an unknown state
	open     []Record // still to be checked for a task
	taskless named    // open calls without a task
	dead     []Record // still to be checked for being listed as dead letters
	unlisted named    // dead letters that are not listed
	findings []Finding
}

// named counts calls, and has the keys of the first ones.
type named struct {
	n    int
	keys []string
}

func (n *named) add(key string) {
	if n.n++; len(n.keys) < maxKeys {
		n.keys = append(n.keys, key)
	}
}

const findWriter = "find who writes to this Redis; what the calls of the batch came to is in its export: callq batch export"

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
		if a.dead = append(a.dead, r); len(a.dead) >= page {
			if err := a.flushDead(ctx); err != nil {
				return err
			}
		}
	case Dropped:
		a.seen.Dropped++
	case Cancelled:
		a.seen.Cancelled++
	case "":
		a.missing.add(r.Key)
		return nil
	default:
		a.unknown.add(r.Key)
	}
	a.seen.Accepted++
	return nil
}

// flush checks whether the open calls have a task: without one no worker will ever take
// them.
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
		if cmds[i].Val() == 0 {
			a.taskless.add(r.Key)
		}
	}
	a.open = a.open[:0]
	return nil
}

// flushDead checks whether the dead letters are listed: without that no command shows
// them.
func (a *audit) flushDead(ctx context.Context) error {
	byQueue := map[string][]Record{}
	for _, r := range a.dead {
		byQueue[r.Queue] = append(byQueue[r.Queue], r)
	}
	for queue, dead := range byQueue {
		if err := a.flushDeadOf(ctx, queue, dead); err != nil {
			return fmt.Errorf("look for the dead letters of batch %q: %w", a.batch, err)
		}
	}
	a.dead = a.dead[:0]
	return nil
}

// flushDeadOf is flushDead for one queue, whose keys are all on one node of a Cluster.
// Record and list are read in one step, since a purge removes the letter from the list
// and marks it in one step.
func (a *audit) flushDeadOf(ctx context.Context, queue string, dead []Record) error {
	k := keysOf(queue)
	pipe := a.l.rdb.TxPipeline()
	records, scores := make([]*redis.SliceCmd, len(dead)), make([]*redis.FloatCmd, len(dead))
	for i, r := range dead {
		records[i], scores[i] = pipe.HMGet(ctx, k.record(r.ID), "state", "purged"), pipe.ZScore(ctx, k.dead(), r.ID)
	}
	if err := exec(ctx, pipe); err != nil {
		return err
	}
	for i, r := range dead {
		if v := records[i].Val(); len(v) == 2 && redislua.Text(v[0]) == string(Dead) && redislua.Text(v[1]) == "" && scores[i].Err() != nil {
			a.unlisted.add(r.Key)
		}
	}
	return nil
}

// listedEndings returns how many calls are in the lists of endings.
func (l *Ledger) listedEndings(ctx context.Context, b Batch) (int64, error) {
	pipe := l.rdb.Pipeline()
	cards := make([]*redis.IntCmd, len(b.Queues))
	for i, queue := range b.Queues {
		cards[i] = pipe.ZCard(ctx, keysOf(queue).ended(b.Name))
	}
	if err := exec(ctx, pipe); err != nil {
		return 0, fmt.Errorf("count the endings of batch %q: %w", b.Name, err)
	}
	listed := int64(0)
	for _, card := range cards {
		listed += card.Val()
	}
	return listed, nil
}

// compare compares the records with the counts of a batch in which nothing moved.
func (a *audit) compare(c Counts, listed int64) {
	if a.taskless.n > 0 {
		a.find(fmt.Sprintf("%d open calls are in no queue", a.taskless.n), a.taskless.keys,
			"their tasks were deleted from outside callq: run callq doctor, which finds them and says how to put them back")
	}
	// Forgotten calls were done, dropped or cancelled, or dead and purged.
	kept, seen := c.Done+c.Dropped+c.Cancelled-(c.Expired-c.ExpiredDead), a.seen.Done+a.seen.Dropped+a.seen.Cancelled
	dead := c.Dead - c.ExpiredDead
	// The finding about calls with an unknown state explains a difference.
	if a.unknown.n == 0 && (c.Open != a.seen.Open || dead != a.seen.Dead || kept != seen) {
		a.find(fmt.Sprintf("the counts say %d open, %d dead and %d others, the records %d, %d and %d",
			c.Open, dead, kept, a.seen.Open, a.seen.Dead, seen), nil,
			"counts or records were changed from outside callq: "+findWriter)
	}
	if a.unlisted.n > 0 {
		a.find(fmt.Sprintf("%d dead letters are on no list of dead letters", a.unlisted.n), a.unlisted.keys,
			"the list was changed from outside callq, and callq dead list does not show them: callq dead redrive ID redrives each all the same")
	}
	if ended := a.seen.Dead + seen; a.unknown.n == 0 && listed != ended {
		a.find(fmt.Sprintf("%d calls have ended, but the list of endings has %d", ended, listed), nil,
			"the list was changed from outside callq, and callq batch export omits the calls that it lacks: callq dead show ID shows each")
	}
}

func (a *audit) find(problem string, keys []string, fix string) {
	a.findings = append(a.findings, Finding{Batch: a.batch, Problem: problem, Keys: keys, Fix: fix})
}
