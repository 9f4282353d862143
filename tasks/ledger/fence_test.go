package ledger

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// awaitOpen lets workers ask about the fence, as they do every half second, until it is
// open.
func awaitOpen(t *testing.T, queue string, workers ...*fixture) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		shut := false
		for _, d := range workers {
			if err := d.dispatcher.WatchFences(t.Context()); err != nil && !errors.Is(err, errNewLife) {
				t.Logf("ask about the fence: %v", err) // Redis has just started
				shut = true
			}
			shut = shut || d.dispatcher.FenceShut(queue) != nil
		}
		if !shut {
			return
		}
		if time.Now().After(deadline) {
			s, err := workers[0].fences.States(t.Context(), queue)
			t.Fatalf("the fence does not open: %+v %v", s, err)
		}
		pause(t, 100*time.Millisecond)
	}
}

func pause(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// mark marks a call as sent, and fails the test if the ledger refuses.
func (d *fixture) mark(delivery *Delivery) {
	d.Helper()
	held, applied, err := d.dispatcher.MarkSent(d.Context(), delivery, 1, true, "")
	if err != nil || !applied || held != 0 {
		d.Fatalf("mark %s: held %s, applied %t, %v", delivery.ID, held, applied, err)
	}
}

// refused requires that a call may not be sent, and returns the reason.
func (d *fixture) refused(delivery *Delivery) *FenceError {
	d.Helper()
	_, applied, err := d.dispatcher.MarkSent(d.Context(), delivery, 1, true, "")
	var fence *FenceError
	if applied || !errors.As(err, &fence) {
		d.Fatalf("mark %s: applied %t, %v; want a FenceError", delivery.ID, applied, err)
	}
	return fence
}

func (d *fixture) fields(id string) map[string]string {
	return d.rdb.HGetAll(d.Context(), keysOf("q").record(id)).Val()
}

// twoWorkers are two processes on one Redis.
func twoWorkers(t *testing.T) (*redistest.Server, *fixture, *fixture) {
	server := redistest.Redis(t)
	return server, newFixture(t, server.Client), newFixture(t, server.Client)
}

func TestWorkersGiveBackTheMarksThatARestoredRedisHasForgotten(t *testing.T) {
	t.Parallel()
	server, a, b := twoWorkers(t)
	before := a.acceptAndTake("b", "q", "before")
	a.mark(before)
	var deliveries []*Delivery
	for _, name := range []string{"k1", "k2", "k3", "k4", "k5"} {
		deliveries = append(deliveries, a.acceptAndTake("b", "q", name))
	}
	waits := a.acceptAndTake("b", "q", "waits")
	old := server.Copy()
	for i, delivery := range deliveries {
		[]*fixture{a, b}[i%2].mark(delivery)
	}
	// One has ended, one was put back and will be sent again.
	if _, applied, err := a.dispatcher.End(t.Context(), deliveries[0], Final{State: Done, Ending: Ending{Class: "ok"}, Body: []byte("answer")}, nil); err != nil || !applied {
		t.Fatal(applied, err)
	}
	if _, applied, err := b.dispatcher.Attempt(t.Context(), deliveries[1], nil); err != nil || !applied {
		t.Fatal(applied, err)
	}
	server.Restore(old)

	if fence := a.refused(waits); fence.Closed {
		t.Error("the fence closed before workers had the time to give back")
	}
	awaitOpen(t, "q", a, b)
	if r := a.record("q", deliveries[0].ID); r.State != Done || r.Ending == nil || r.Ending.Class != "ok" || string(r.Body) != "answer" {
		t.Errorf("the call that had ended is %s: %+v", r.State, r.Ending)
	}
	for i, delivery := range deliveries[1:] {
		r := a.fields(delivery.ID)
		if wanted := i != 0; wanted != (r["sent"] == "1" && r["mark"] == delivery.Mark) {
			t.Errorf("call %s: got sent %q, mark %q; want its mark given back: %t", delivery.ID, r["sent"], r["mark"], wanted)
		}
	}
	a.mark(waits)
	if no := a.fields(waits.ID)["no"]; no != "7" {
		t.Errorf("the next mark: got number %s, want 7 after six marks", no)
	}
}

func TestAFenceClosesWhenTheMarksOfADeadWorkerAreMissingUntilAPersonAcceptsTheLoss(t *testing.T) {
	t.Parallel()
	server, a, dead := twoWorkers(t)
	deliveries := []*Delivery{a.acceptAndTake("b", "q", "k1"), a.acceptAndTake("b", "q", "k2"), a.acceptAndTake("b", "q", "k3")}
	waits := a.acceptAndTake("b", "q", "waits")
	old := server.Copy()
	a.mark(deliveries[0])
	dead.mark(deliveries[1]) // it is killed then
	a.mark(deliveries[2])
	server.Restore(old)

	a.refused(waits)
	deadline := time.Now().Add(30 * time.Second)
	for !a.refused(waits).Closed {
		if time.Now().After(deadline) {
			t.Fatal("the fence did not close")
		}
		pause(t, 100*time.Millisecond)
	}
	states, err := a.fences.States(t.Context(), "q")
	if err != nil || len(states) != 1 {
		t.Fatal(states, err)
	}
	if s := states[0]; !s.Closed || s.Missing() != 1 || s.Shut.IsZero() || s.Top != 3 {
		t.Errorf("got fence %+v, want it closed with one mark missing", s)
	}
	if a.fields(deliveries[0].ID)["sent"] != "1" || a.fields(deliveries[1].ID)["sent"] != "" {
		t.Error("the living worker did not give back its own mark only")
	}

	// Redis starts again: the missing mark stays missing.
	server.Restart()
	pause(t, time.Second)
	for i := 0; ; i++ {
		if fence := a.refused(waits); fence.Closed {
			break
		}
		if i > 100 {
			t.Fatal("after a restart of Redis the fence did not close again")
		}
		pause(t, 100*time.Millisecond)
	}

	// The next worker has no marks.
	next := newFixture(t, server.Client)
	next.refused(waits)
	if err := next.fences.AcceptLoss(t.Context(), "ann", "q"); err != nil {
		t.Fatal(err)
	}
	awaitOpen(t, "q", a, next)
	next.mark(waits)
}

func TestARestartOfRedisWithoutLossShutsTheFenceOnlyForTheTimeToGiveBack(t *testing.T) {
	t.Parallel()
	server, a, b := twoWorkers(t)
	a.mark(a.acceptAndTake("b", "q", "k1"))
	b.mark(a.acceptAndTake("b", "q", "k2"))
	waits := a.acceptAndTake("b", "q", "waits")
	began := time.Now()
	server.Restart()
	awaitOpen(t, "q", a, b)
	a.mark(waits)
	if took := time.Since(began); took < fenceGather {
		t.Errorf("a call was sent after %s, before workers had the time to give back", took)
	}
}

// A user who may not run INFO gets no names of lives: a worker that has seen a higher
// number notices all the same.
func TestAWorkerNoticesThatRedisHasGoneBackInTimeWithoutAskingForItsProcess(t *testing.T) {
	t.Parallel()
	server, a, b := twoWorkers(t)
	if err := server.Client.Do(t.Context(), "ACL", "SETUSER", "default", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	sent, waits := a.acceptAndTake("b", "q", "k1"), a.acceptAndTake("b", "q", "waits")
	old := server.Copy()
	a.mark(sent)
	server.Restore(old)
	if err := server.Client.Do(t.Context(), "ACL", "SETUSER", "default", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	// b may still mark, since Redis does not report the change to it, until a has
	// asked.
	a.refused(waits)
	b.refused(waits)
	awaitOpen(t, "q", a, b)
	if r := a.fields(sent.ID); r["mark"] != sent.Mark {
		t.Errorf("the mark was not given back: %v", r)
	}
	b.mark(waits)
}

// A mark that Redis made without being able to answer was not sent, and must not keep
// the fence shut.
func TestAMarkWithoutAReplyDoesNotKeepTheFenceShut(t *testing.T) {
	t.Parallel()
	server, a, b := twoWorkers(t)
	first, lost, last := a.acceptAndTake("b", "q", "k1"), a.acceptAndTake("b", "q", "k2"), a.acceptAndTake("b", "q", "k3")
	waits := a.acceptAndTake("b", "q", "waits")
	old := server.Copy()
	a.mark(first)
	deaf := &deafTo{sha: scriptMark.Hash()}
	client := redis.NewClient(server.Client.Options())
	t.Cleanup(func() { _ = client.Close() })
	client.AddHook(deaf)
	b.dispatcher.rdb = client
	b.dispatcher.marks.learn("q", FenceState{Life: "none"}) // Redis has just answered
	if err := b.dispatcher.checkFences(t.Context(), "q"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.dispatcher.MarkSent(t.Context(), lost, 1, true, ""); err == nil {
		t.Fatal("a mark without a reply was considered sent")
	}
	a.mark(last)
	server.Restore(old)
	a.refused(waits)
	awaitOpen(t, "q", a, b)
	if r := a.fields(lost.ID); r["sent"] != "" {
		t.Errorf("a call that was not sent has a mark: %v", r)
	}
	a.mark(waits)
}

// deafTo drops the replies to one script.
type deafTo struct {
	redis.Hook
	sha string
}

func (d *deafTo) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *deafTo) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (d *deafTo) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if args := cmd.Args(); len(args) > 1 && args[1] == d.sha && err == nil {
			err = errors.New("the connection was cut")
			cmd.SetErr(err)
		}
		return err
	}
}

// A process remembers a limited number of marks; it cannot give back older ones.
func TestAProcessDoesNotAccountForMarksThatItHasForgotten(t *testing.T) {
	m := newMarks()
	m.enter("q", "life", 0, 0)
	for n := range int64(maxMarks + 10) {
		if !m.remember("q", "life", madeMark{number: n + 1, id: fmt.Sprint(n)}) || !m.send("q", "life", n+1) {
			t.Fatal("a mark is not remembered")
		}
	}
	list, above, _ := m.missing("q", 0, maxMarks+10)
	if len(list) != maxMarks || above != maxMarks || list[0].number != 11 {
		t.Errorf("got %d marks to give back, %d accounted for, the first %d", len(list), above, list[0].number)
	}
}

// The reply of a Redis that has ended arrives late.
func TestACallWhoseMarkIsOfAnEarlierLifeIsNotSent(t *testing.T) {
	m := newMarks()
	m.enter("q", "one", 0, 0)
	if !m.remember("q", "one", madeMark{number: 1}) {
		t.Fatal("the first mark was refused")
	}
	_, _, changes := m.missing("q", 0, maxMarks+10)
	if !m.enter("q", "two", 0, changes) {
		t.Fatal("the new life was refused although all marks were given back")
	}
	if m.send("q", "one", 1) || m.remember("q", "one", madeMark{number: 2}) {
		t.Error("a call was sent with the mark of an earlier life")
	}
	// A mark that arrives while marks are given back requires another round.
	_, _, changes = m.missing("q", 0, maxMarks+10)
	m.remember("q", "two", madeMark{number: 3})
	if m.enter("q", "three", 3, changes) {
		t.Error("a mark that arrived meanwhile was not given back")
	}
}
