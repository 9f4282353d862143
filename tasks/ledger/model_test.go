package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// After any sequence of steps the ledger balances, the records agree with the counts,
// and every open call is on exactly one of asynq's lists. Among the steps are workers
// that die and come back late, cancels, redrives, purges and sweeps.
func TestTheLedgerBalancesAfterAnySequenceOfSteps(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		rapid.Check(t, func(rt *rapid.T) {
			if err := rdb.FlushAll(context.Background()).Err(); err != nil {
				rt.Fatal(err)
			}
			m := &model{
				fixture: newFixture(rapidTB{t, rt}, rdb), calls: map[string]*modelCall{}, claims: map[string]bool{}, now: time.Now(),
			}
			rt.Repeat(map[string]func(*rapid.T){
				"accept": m.accept, "dequeue": m.takeOne, "dequeue more": m.takeSome, "retry": m.retryOne, "park": m.parkOne,
				"end": m.endOne, "end together": m.endTogether,
				"again": m.endAgain, "crash": m.crashOne, "forward": m.forwardAll, "cancel": m.cancelOne, "redrive": m.redriveOne,
				"purge": m.purgeOne, "sweep": m.sweepAll, "mark": m.markOne, "deadlines pass": m.passDeadlines, "": m.check,
			})
		})
	})
}

// rapidTB reports failures to rapid's current case, so that rapid can shrink it.
type rapidTB struct {
	*testing.T
	rt *rapid.T
}

func (r rapidTB) Helper()                   { r.rt.Helper() }
func (r rapidTB) Fatal(args ...any)         { r.rt.Helper(); r.rt.Fatal(args...) }
func (r rapidTB) Fatalf(f string, a ...any) { r.rt.Helper(); r.rt.Fatalf(f, a...) }
func (r rapidTB) Context() context.Context  { return context.Background() }

var (
	modelBatches = []string{"b1", "b2"}
	modelQueues  = []string{"q", "q:high"}
)

// model is the expected state of the ledger.
type model struct {
	*fixture
	calls  map[string]*modelCall // by id
	claims map[string]bool       // ids whose key is claimed
	live   []*Delivery           // held by workers
	late   []*Delivery           // held by workers whose lease ended
	ended  []*Delivery           // their worker has recorded an ending
	now    time.Time
}

type modelCall struct {
	batch, queue, key string
	state             State
	gen               int
	token             int64 // of its latest delivery
	assumed, purged   bool
	deadline          time.Time
}

func (m *model) draw(t *rapid.T) (batch, key string) {
	return rapid.SampledFrom(modelBatches).Draw(t, "batch"), fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "key"))
}

// drawCall draws a call that has a record.
func (m *model) drawCall(t *rapid.T) (string, *modelCall) {
	ids := make([]string, 0, len(m.calls))
	for id := range m.calls {
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		t.Skip("no calls")
	}
	sort.Strings(ids)
	id := rapid.SampledFrom(ids).Draw(t, "call")
	return id, m.calls[id]
}

func drawTake(t *rapid.T, from []*Delivery) int {
	if len(from) == 0 {
		t.Skip("no takes")
	}
	return rapid.IntRange(0, len(from)-1).Draw(t, "take")
}

func (m *model) accept(t *rapid.T) {
	batch, key := m.draw(t)
	e := entryOf(batch, rapid.SampledFrom(modelQueues).Draw(t, "queue"), key)
	other := rapid.Bool().Draw(t, "other content")
	if other && m.claims[e.ID] {
		e.Hash = "other-hash"
		if got := m.send(batch, e)[0]; got != Conflict {
			t.Fatalf("other content: got acceptance %d, want Conflict", got)
		}
		return
	}
	if rapid.IntRange(0, 3).Draw(t, "later") == 0 {
		e.NotBefore = time.Now().Add(time.Hour)
	}
	if rapid.Bool().Draw(t, "deadline") {
		e.Deadline = modelDeadline
	}
	want := Accepted
	if m.calls[e.ID] != nil {
		want = Duplicate
	}
	if got := m.send(batch, e)[0]; got != want {
		t.Fatalf("call %s: got acceptance %d, want %d", e.ID, got, want)
	}
	if want == Accepted {
		m.calls[e.ID] = &modelCall{batch: batch, queue: e.Queue, key: key, state: Open, gen: 1, deadline: e.Deadline}
		m.claims[e.ID] = true
	}
}

func (m *model) takeOne(t *rapid.T) {
	queue := rapid.SampledFrom(modelQueues).Draw(t, "queue")
	if got := m.dequeue(queue); got.Delivery != nil {
		m.took(t, got.Delivery)
	}
}

func (m *model) takeSome(t *rapid.T) {
	first := rapid.SliceOfN(rapid.IntRange(0, len(modelQueues)-1), 2, 4).Draw(t, "first")
	for _, k := range m.takeMany(DequeueRequest{Queues: modelQueues}, first...) {
		m.took(t, k)
	}
}

func (m *model) took(t *rapid.T, k *Delivery) {
	c := m.calls[k.ID]
	if c == nil || !k.Known || c.state != Open || c.gen != k.Generation || c.queue != k.Queue {
		t.Fatalf("got %+v, want %+v", k.Record, c)
	}
	c.token = k.Token
	m.live = append(m.live, k)
}

// call is the call of a delivery; nil when the call was redriven since, or forgotten
// and accepted again into another queue.
func (m *model) call(k *Delivery) *modelCall {
	if c := m.calls[k.ID]; c != nil && c.queue == k.Queue && c.gen == k.Generation {
		return c
	}
	return nil
}

// holdsLease reports whether the ledger applies what the worker records.
func (m *model) holdsLease(k *Delivery) bool {
	c := m.call(k)
	return c != nil && c.state == Open
}

// holds reports whether the worker still has the call, so that it may put it back.
func (m *model) holds(k *Delivery) bool { return m.holdsLease(k) && m.calls[k.ID].token == k.Token }

// pop removes a delivery from live or late.
func (m *model) pop(t *rapid.T) (k *Delivery, live bool) {
	i := drawTake(t, append(slices.Clone(m.live), m.late...))
	if i < len(m.live) {
		k = m.live[i]
		m.live = slices.Delete(m.live, i, i+1)
		return k, true
	}
	i -= len(m.live)
	k = m.late[i]
	m.late = slices.Delete(m.late, i, i+1)
	return k, false
}

// asynqDone does what asynq's done script does; callq runs that if nothing was
// recorded.
func (m *model) asynqDone(k *Delivery) {
	key := keysOf(k.Queue)
	if m.rdb.LRem(m.Context(), key.active(), 0, k.ID).Val() > 0 && m.rdb.ZRem(m.Context(), key.lease(), k.ID).Val() > 0 {
		m.must(m.rdb.Del(m.Context(), key.task(k.ID)).Err())
	}
}

func (m *model) retryOne(t *rapid.T) {
	k, live := m.pop(t)
	want := m.holds(k)
	k.Attempts++
	_, applied, err := m.dispatcher.Attempt(m.Context(), k, &Attempt{N: k.Attempts})
	if m.must(err); applied != want {
		t.Fatalf("attempt of %s: got applied %v, want %v", k.ID, applied, want)
	}
	switch {
	case !live: // asynq does nothing for a worker without a lease
	case applied:
		m.retry(k.Queue, k.ID)
	case m.heldByNoOther(k):
		m.asynqDone(k)
	}
}

// heldByNoOther reports that no other worker has taken the same task since.
func (m *model) heldByNoOther(k *Delivery) bool {
	return !slices.ContainsFunc(m.live, func(o *Delivery) bool { return o.ID == k.ID })
}

func (m *model) parkOne(t *rapid.T) {
	k, _ := m.pop(t)
	want := m.holds(k)
	k.Parked = m.parked(k) + 1
	_, applied, err := m.dispatcher.Park(m.Context(), k, nil)
	if m.must(err); applied != want {
		t.Fatalf("park of %s: got applied %v, want %v", k.ID, applied, want)
	}
	if applied { // the task is back in its queue, even if another worker held it
		m.toLate(k.ID)
	}
}

// parked is the record's count, since two workers of one call may both park it.
func (m *model) parked(k *Delivery) int {
	r, err := m.l.Get(m.Context(), k.Queue, k.ID)
	if err != nil {
		return k.Parked
	}
	return max(r.Parked, k.Parked)
}

func (m *model) toLate(id string) {
	for i := 0; i < len(m.live); i++ {
		if m.live[i].ID == id {
			m.late = append(m.late, m.live[i])
			m.live = slices.Delete(m.live, i, i+1)
			i--
		}
	}
}

// crashOne kills a worker: its lease ends, and asynq's recoverer moves the task to
// retry. The worker may come back and report.
func (m *model) crashOne(t *rapid.T) {
	k := m.live[drawTake(t, m.live)]
	m.toLate(k.ID)
	m.retry(k.Queue, k.ID)
}

func (m *model) forwardAll(*rapid.T) {
	for _, queue := range modelQueues {
		m.forward(queue)
	}
}

func (m *model) cancelOne(t *rapid.T) {
	id, c := m.drawCall(t)
	leased := m.places(c.queue, id)["lease"] > 0
	r := m.record(c.queue, id)
	cancelled, active, err := m.l.Cancel(m.Context(), r, Ending{Class: "cancelled"})
	open := c.state == Open
	if open && !leased && r.Sent > 0 {
		if !errors.Is(err, ErrMaybeSent) || cancelled {
			t.Fatalf("cancelling %+v, which may have been sent: got cancelled %v, %v", c, cancelled, err)
		}
		return
	}
	m.must(err)
	if cancelled != (open && !leased) || active != (open && leased) {
		t.Fatalf("cancelling %+v: got cancelled %v, active %v", c, cancelled, active)
	}
	if cancelled {
		c.state = Cancelled
	}
}

func (m *model) redriveOne(t *rapid.T) {
	id, c := m.drawCall(t)
	leased := m.places(c.queue, id)["lease"] > 0
	can := c.state != Open && c.state != Done && !c.purged
	redriven, busy, err := m.l.Redrive(m.Context(), m.record(c.queue, id), "message again", c.deadline)
	if m.must(err); redriven != (can && !leased) || busy != (can && leased) {
		t.Fatalf("redriving %+v: got redriven %v, busy %v", c, redriven, busy)
	}
	if redriven {
		c.state, c.assumed = Open, false
		c.gen++
	}
}

func (m *model) purgeOne(t *rapid.T) {
	id, c := m.drawCall(t)
	leased := m.places(c.queue, id)["lease"] > 0
	purged, busy, err := m.l.Purge(m.Context(), m.record(c.queue, id))
	m.must(err)
	if purged != (c.state == Dead && !leased) || busy != (c.state == Dead && leased) {
		t.Fatalf("purging %+v: got purged %v, busy %v", c, purged, busy)
	}
	c.purged = c.purged || purged
}

func (m *model) sweepAll(*rapid.T) {
	for range 2 { // the first one finds the batch idle
		m.now = m.now.Add(2 * week)
		m.sweep(m.now)
	}
	for id, c := range m.calls {
		if m.openIn(c.batch) || c.state == Dead && !c.purged || !m.gone(c.queue, id) {
			continue
		}
		delete(m.calls, id)
		delete(m.claims, id)
		// No worker comes back after weeks.
		its := func(k *Delivery) bool { return k.ID == id }
		m.ended, m.late = slices.DeleteFunc(m.ended, its), slices.DeleteFunc(m.late, its)
	}
}

func (m *model) openIn(batch string) bool {
	for _, c := range m.calls {
		if c.batch == batch && c.state == Open {
			return true
		}
	}
	return false
}
