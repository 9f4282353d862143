package filerun

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestCallsAreReopenedSomeOfAQueueAtATimeEachOnce(t *testing.T) {
	scripts, times := 0, map[string]int{}
	o := newReopener(func(_ context.Context, list []ledger.Record, done bool) ([]ledger.Change, error) {
		scripts++
		bytes := 0
		for _, r := range list {
			times[r.ID]++
			bytes += r.Size()
			if r.Queue != list[0].Queue || (r.State == ledger.Done) != done {
				t.Errorf("call %s of queue %s, %s, is with those of %s, done %v", r.ID, r.Queue, r.State, list[0].Queue, done)
			}
		}
		if len(list) > ledger.MaxChanged || len(list) > 1 && bytes > ledger.MaxChangedBytes {
			t.Errorf("a script has %d calls of %d bytes", len(list), bytes)
		}
		return make([]ledger.Change, len(list)), nil
	})
	const n = 1000
	for i := range n {
		r := ledger.Record{ID: fmt.Sprint(i), Queue: []string{"q", "q:low"}[i%2], State: []ledger.State{ledger.Done, ledger.Dead}[i/2%2]}
		if i%100 == 0 {
			r.Body = make([]byte, ledger.MaxChangedBytes/2+i)
		}
		if err := o.add(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if times[fmt.Sprint(i)] != 1 {
			t.Errorf("call %d was reopened %d times", i, times[fmt.Sprint(i)])
		}
	}
	if len(times) != n || scripts > 60 {
		t.Errorf("got %d calls in %d scripts", len(times), scripts)
	}
}

func TestACallWhoseWorkerStillHoldsItsTaskIsReopenedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := map[string]int{}
		free := 3
		o := newReopener(func(_ context.Context, list []ledger.Record, _ bool) ([]ledger.Change, error) {
			changes := make([]ledger.Change, len(list))
			for i, r := range list {
				tries[r.ID]++
				if changes[i] = ledger.Changed; r.ID == "held" && tries[r.ID] < free {
					changes[i] = ledger.StillHeld
				}
			}
			return changes, nil
		})
		both := func() error {
			return errors.Join(o.add(t.Context(), ledger.Record{ID: "free"}), o.add(t.Context(), ledger.Record{ID: "held", Key: "k"}), o.flush(t.Context()))
		}
		if err := both(); err != nil || tries["free"] != 1 || tries["held"] != 3 {
			t.Errorf("got tries %v, %v", tries, err)
		}
		free = 1000
		if err := both(); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v, want %v", err, ErrBusy)
		}
	})
}
