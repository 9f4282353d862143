package limit_test

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// clocked is an account in a Redis whose clock the test sets.
type clocked struct {
	*account
	now time.Time
	set func(time.Time)
}

func newClocked(t *testing.T) *clocked {
	t.Helper()
	client, mini := redistest.Mini(t)
	c := &clocked{account: &account{t: t, store: limit.NewStore(client), client: client}, now: time.Now(), set: mini.SetTime}
	c.tick = func() { c.advance(time.Microsecond) } // no two slots have the same time
	return c
}

func (c *clocked) advance(d time.Duration) {
	c.now = c.now.Add(d)
	c.set(c.now)
}

func (c *clocked) refused(p *limit.Plan, least, most time.Duration) {
	c.t.Helper()
	if _, why := c.take(p); why == nil || why.Wait < least || why.Wait > most {
		c.t.Fatalf("got the refusal %+v, want one for %s to %s", why, least, most)
	}
}

func TestAfterTheResetAFewCallsFindOutWhetherTheWindowIsNew(t *testing.T) {
	t.Parallel()
	c := newClocked(t)
	p := pacePlan(t, 0)
	first := c.takeSlots(p, 1)[0]
	c.answered(p, first, 20, 30*time.Second)
	for i, s := range c.takeSlots(p, 20) {
		c.answered(p, s, int64(19-i), 30*time.Second)
	}
	c.refused(p, 29*time.Second, 30*time.Second)
	c.advance(29 * time.Second)
	c.refused(p, 900*time.Millisecond, time.Second+time.Millisecond)
	// The answers said whole seconds, rounded down.
	c.advance(1100 * time.Millisecond)
	slots := c.takeSlots(p, 2)
	c.refused(p, 0, time.Second)
	c.answered(p, slots[0], 0, 900*time.Millisecond)
	c.answered(p, slots[1], 0, 900*time.Millisecond)
	c.refused(p, 800*time.Millisecond, 900*time.Millisecond)
	c.advance(time.Second)
	// The API takes its time to answer, but has 20 calls a window.
	c.takeSlots(p, 2)
	c.refused(p, 0, time.Second)
	c.advance(time.Second)
	slots = c.takeSlots(p, 18)
	c.refused(p, 0, time.Second)
	// Another client has used 5.
	c.answered(p, slots[0], 13, 30*time.Second)
	c.refused(p, 0, time.Second)
}

func TestAfterALongPauseAFewCallsFindOutWhatOthersHaveLeft(t *testing.T) {
	t.Parallel()
	c := newClocked(t)
	p := pacePlan(t, 0)
	c.answered(p, c.takeSlots(p, 1)[0], 19, 30*time.Second)
	c.advance(time.Hour)
	slots := c.takeSlots(p, 2)
	c.refused(p, 0, time.Second)
	c.answered(p, slots[0], 0, 30*time.Second)
	c.refused(p, 29*time.Second, 30*time.Second)
}

func TestARequestThatWasSentAfterAnAnswerIsBelievedToHaveMoreLeft(t *testing.T) {
	t.Parallel()
	c := newClocked(t)
	p := pacePlan(t, 0)
	c.answered(p, c.takeSlots(p, 1)[0], 1, time.Hour)
	c.advance(10 * time.Millisecond)
	next := c.takeSlots(p, 1)[0]
	c.answered(p, next, 5, time.Hour) // a bucket is refilled all the time
	if more, _ := c.takeAll(p); len(more) != 5 {
		t.Errorf("got %d slots, want 5", len(more))
	}
}

func TestARequestThatWasSentASecondLaterIsBelievedToHaveMoreLeft(t *testing.T) {
	t.Parallel()
	c := newClocked(t)
	p := pacePlan(t, 0)
	old := c.takeSlots(p, 1)[0]
	c.advance(1100 * time.Millisecond)
	next := c.takeSlots(p, 1)[0]
	c.answered(p, old, 1, time.Hour)
	c.answered(p, next, 5, time.Hour)
	if more, _ := c.takeAll(p); len(more) != 5 {
		t.Errorf("got %d slots, want 5", len(more))
	}
}

func TestAnAnswerToAMuchOlderRequestSaysNothing(t *testing.T) {
	t.Parallel()
	c := newClocked(t)
	p := pacePlan(t, 0)
	old := c.takeSlots(p, 1)[0]
	c.advance(2 * time.Second)
	c.answered(p, c.takeSlots(p, 1)[0], 7, time.Hour)
	c.answered(p, old, 0, time.Hour)
	if more, _ := c.takeAll(p); len(more) != 7 {
		t.Errorf("got %d slots, want 7", len(more))
	}
}

func TestTheSlotsOfAWorkerThatWasKilledCountForAMinuteAtMost(t *testing.T) {
	t.Parallel()
	c := newClocked(t)
	p := pacePlan(t, 0)
	c.answered(p, c.takeSlots(p, 1)[0], 3, time.Hour)
	c.takeSlots(p, 3) // its worker was killed
	c.refused(p, 0, time.Second)
	c.advance(61 * time.Second)
	c.report(p, limit.Answer{Slot: 1, Received: time.Now()}) // any report
	if more, _ := c.takeAll(p); len(more) != 3 {
		t.Errorf("got %d slots a minute later, want 3", len(more))
	}
}

func TestACloseByAnOperatorForgetsWhatIsLeft(t *testing.T) {
	t.Parallel()
	c := newClocked(t)
	p := pacePlan(t, 0)
	c.answered(p, c.takeSlots(p, 1)[0], 0, time.Hour)
	c.refused(p, time.Minute, time.Hour)
	forget(t, c.client)
	if more, _ := c.takeAll(p); len(more) != 2 {
		t.Errorf("got %d slots, want 2: they find out", len(more))
	}
}
