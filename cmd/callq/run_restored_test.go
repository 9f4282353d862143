package main

import (
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

// A restored backup has calls open that have ended since, well or not.
func TestCallsWithAResultAreNotMadeAgainAfterTheQueueWasRestored(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "POST /unknown -> http:504 forever\nPOST /dropped -> 68300004 forever")
	calls := `{"key":"done","method":"POST","path":"/done"}` + "\n" +
		`{"key":"unknown","method":"POST","path":"/unknown"}` + "\n" +
		`{"key":"dropped","method":"POST","path":"/dropped"}` + "\n"
	r.write("calls.jsonl", calls)
	r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	r.arrived(3)
	batch := r.batch()
	if err := r.redis.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	r.callq(exitOK, "send", "calls.jsonl", "--batch", batch)

	r.write("calls.jsonl", calls+`{"key":"fresh","method":"POST","path":"/fresh"}`+"\n")
	out, _ := r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	says(t, out, "4 calls: 2 done, 1 dead, 1 dropped")
	r.arrived(4)
	want := map[string]tasks.State{"done": tasks.StateDone, "unknown": tasks.StateDead, "dropped": tasks.StateDropped, "fresh": tasks.StateDone}
	got := r.states("out")
	for key, state := range want {
		if got[key] != state {
			t.Errorf("%s is %s in the results, want %s", key, got[key], state)
		}
	}
	r.callq(exitOK, "audit")

	// The run has closed them in the queue, which redrives none.
	r.write("calls.jsonl", calls+`{"key":"fresh","method":"POST","path":"/fresh"}`+"\n"+`{"key":"last","path":"/last"}`+"\n")
	r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	r.arrived(5)

	// Who asks for them has them made.
	r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out", "--redo", "dropped")
	r.arrived(6)
}
