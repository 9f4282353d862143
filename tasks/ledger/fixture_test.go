package ledger

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// fixture is a ledger under test, with the steps that asynq would take beside it.
type fixture struct {
	testing.TB
	rdb        *redis.Client
	l          *Ledger
	dispatcher *Dispatcher
	repairer   *Repairer
	leases     *Leases
	roster     *Roster
	fences     *Fences
}

func newFixture(t testing.TB, rdb *redis.Client) *fixture {
	return &fixture{
		TB: t, rdb: rdb, l: New(rdb), dispatcher: NewDispatcher(rdb, ""), repairer: NewRepairer(rdb), leases: NewLeases(rdb),
		roster: NewRoster(rdb), fences: NewFences(rdb),
	}
}

func idOf(batch, key string) string { return batch + "-" + key }

func entryOf(batch, queue, key string) Entry {
	return Entry{
		ID: idOf(batch, key), Message: "message of " + key, Key: key, Hash: "hash-" + key, Queue: queue,
		Content: []byte("content of " + key),
	}
}

func (d *fixture) must(err error) {
	d.Helper()
	if err != nil {
		d.Fatal(err)
	}
}

// send claims and accepts entries and returns the acceptances.
func (d *fixture) send(batch string, entries ...Entry) []Acceptance {
	d.Helper()
	claimed, err := d.l.Claim(d.Context(), batch, entries)
	d.must(err)
	verdicts, err := d.l.Accept(d.Context(), batch, entries, claimed)
	d.must(err)
	return verdicts
}

// accept adds calls with the given keys to the ledger.
func (d *fixture) accept(batch, queue string, names ...string) {
	d.Helper()
	for _, key := range names {
		if v := d.send(batch, entryOf(batch, queue, key)); v[0] != Accepted {
			d.Fatalf("call %s: got acceptance %d", key, v[0])
		}
	}
}

func (d *fixture) dequeue(queue string) Dequeued {
	d.Helper()
	got, err := NewDispatcher(d.rdb, "").Dequeue(d.Context(), DequeueRequest{Queues: []string{queue}, LeaseUntil: time.Now().Add(30 * time.Second).Unix(), Turn: time.Minute})
	d.must(err)
	return got
}

// take dequeues a call and fails the test if there is none.
func (d *fixture) take(queue string) *Delivery {
	d.Helper()
	got := d.dequeue(queue)
	if got.Delivery == nil {
		d.Fatalf("queue %s has no call to dequeue", queue)
	}
	return got.Delivery
}

// acceptAndTake adds one call to the ledger and dequeues it.
func (d *fixture) acceptAndTake(batch, queue, key string) *Delivery {
	d.Helper()
	d.accept(batch, queue, key)
	return d.take(queue)
}

func finalOf(s State) Final {
	f := Final{State: s, Ending: Ending{Class: "ok", Code: "1", FinishedAt: time.Unix(0, 0).UTC()}, Body: []byte("body"), BodyType: "text/plain"}
	if s == Dead {
		f.Ending.Class = "unknown"
		f.Group = Group{Class: "unknown", Code: "1", Endpoint: "GET /a"}
	}
	return f
}

// end ends a call and, if it is dead, archives its task as asynq would.
func (d *fixture) end(t *Delivery, f Final) (applied bool) {
	d.Helper()
	_, applied, err := d.dispatcher.End(d.Context(), t, f, nil)
	d.must(err)
	if f.State == Dead {
		d.archive(t)
	}
	return applied
}

// archive does what asynq's archive script does to an active task.
func (d *fixture) archive(t *Delivery) {
	d.Helper()
	k := keysOf(t.Queue)
	if d.rdb.LRem(d.Context(), k.active(), 0, t.ID).Val() == 0 {
		return
	}
	d.must(d.rdb.ZRem(d.Context(), k.lease(), t.ID).Err())
	d.must(d.rdb.ZAdd(d.Context(), k.archived(), redis.Z{Score: float64(time.Now().Unix()), Member: t.ID}).Err())
	d.must(d.rdb.HSet(d.Context(), k.task(t.ID), "state", "archived").Err())
}

// retry does what asynq's retry script does to an active task.
func (d *fixture) retry(queue, id string) {
	d.Helper()
	k := keysOf(queue)
	if d.rdb.LRem(d.Context(), k.active(), 0, id).Val() == 0 {
		return
	}
	d.must(d.rdb.ZRem(d.Context(), k.lease(), id).Err())
	d.must(d.rdb.ZAdd(d.Context(), k.retry(), redis.Z{Score: float64(time.Now().Unix()), Member: id}).Err())
	d.must(d.rdb.HSet(d.Context(), k.task(id), "state", "retry").Err())
}

// forward does what asynq's forward script does to tasks that are due.
func (d *fixture) forward(queue string) {
	d.Helper()
	k := keysOf(queue)
	for _, from := range []string{k.scheduled(), k.retry()} {
		for _, id := range d.rdb.ZRange(d.Context(), from, 0, -1).Val() {
			d.must(d.rdb.LPush(d.Context(), k.pending(), id).Err())
			d.must(d.rdb.ZRem(d.Context(), from, id).Err())
			d.must(d.rdb.HSet(d.Context(), k.task(id), "state", "pending").Err())
		}
	}
}

func (d *fixture) record(queue, id string) Record {
	d.Helper()
	r, err := d.l.Get(d.Context(), queue, id)
	d.must(err)
	return r
}

func (d *fixture) redrive(r Record) (redriven, busy bool) {
	d.Helper()
	redriven, busy, err := d.l.Redrive(d.Context(), r, "message again", time.Time{})
	d.must(err)
	return redriven, busy
}

func (d *fixture) counts(batch string) Counts {
	d.Helper()
	b, err := d.l.Batch(d.Context(), batch)
	d.must(err)
	if !b.Counts.Balanced() {
		d.Fatalf("the counts of %s do not balance: %+v", batch, b.Counts)
	}
	return b.Counts
}

func (d *fixture) wantCounts(batch string, want Counts) {
	d.Helper()
	if got := d.counts(batch); got != want {
		d.Fatalf("batch %s: got counts %+v, want %+v", batch, got, want)
	}
}

func (d *fixture) audit(batch string) []Finding {
	d.Helper()
	f, err := d.l.Audit(d.Context(), batch, idOf)
	d.must(err)
	return f
}

func (d *fixture) deadKeys(group string) (list []string) {
	d.Helper()
	for r, err := range d.l.Dead(d.Context(), group) {
		d.must(err)
		list = append(list, r.Key)
	}
	return list
}

// places counts how often a task is on each of asynq's lists.
func (d *fixture) places(queue, id string) map[string]int {
	d.Helper()
	k := keysOf(queue)
	found := map[string]int{}
	for name, key := range map[string]string{"pending": k.pending(), "active": k.active()} {
		for _, one := range d.rdb.LRange(d.Context(), key, 0, -1).Val() {
			if one == id {
				found[name]++
			}
		}
	}
	for name, key := range map[string]string{"lease": k.lease(), "scheduled": k.scheduled(), "retry": k.retry(), "archived": k.archived()} {
		switch err := d.rdb.ZScore(d.Context(), key, id).Err(); {
		case err == nil:
			found[name]++
		case !errors.Is(err, redis.Nil):
			d.Fatal(err)
		}
	}
	if d.rdb.Exists(d.Context(), k.task(id)).Val() == 1 {
		found["task"]++
	}
	return found
}

func (d *fixture) wantPlaces(queue, id string, want ...string) {
	d.Helper()
	wanted := map[string]int{}
	for _, name := range want {
		wanted[name]++
	}
	if got := d.places(queue, id); fmt.Sprint(got) != fmt.Sprint(wanted) {
		d.Fatalf("task %s: got places %v, want %v", id, got, wanted)
	}
}

// hold writes a circuit record that is open and holds until the given time.
func (d *fixture) hold(queue string, until time.Time) {
	d.Helper()
	d.must(d.rdb.HSet(d.Context(), redislua.CircuitKey(queue, ""), "state", "open", "epoch", 7, "streak", 2, "endpoints", 1,
		"until", until.UnixMilli(), "since", until.Add(-time.Minute).UnixMilli(), "held", 1000).Err())
}
