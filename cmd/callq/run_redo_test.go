package main

import (
	"os"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestAKilledRedoMakesACallAtMostOnceMore(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", `{"key":"a","path":"/a","method":"POST"}`+"\n"+`{"key":"b","path":"/b"}`+"\n")
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	redo := func() { r.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--redo-keys", "a") }
	take := func() string { // the result of a out of OUT
		var line, rest string
		for one := range strings.Lines(r.read("out")) {
			if strings.HasPrefix(one, `{"key":"a"`) {
				line = one
			} else {
				rest += one
			}
		}
		r.write("out", rest)
		return line
	}
	// The run was killed after the result was moved and before the call was opened.
	r.write("out.old.jsonl", take())
	redo()
	r.arrived(3)
	// It was killed when the call had ended again and the result was not written.
	take()
	redo()
	r.arrived(3)
	if got := r.states("out"); got["a"] != tasks.StateDone || len(got) != 2 {
		t.Errorf("the results are %v", got)
	}
	// Asked for once more, it is made once more.
	redo()
	r.arrived(4)
	r.callq(exitOK, "audit")
	for name, want := range map[string]int{"out": 2, "out.old.jsonl": 2} {
		if n := strings.Count(r.read(name), "\n"); n != want {
			t.Errorf("%s has %d lines, want %d", name, n, want)
		}
	}
}

func TestCallsOfAnEarlierVersionCanBeRedoneByTheirOldKeys(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.older()
	if err := os.Remove(r.file("out.sent")); err != nil {
		t.Fatal(err)
	}
	r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	r.arrived(1) // the one that has no result
	r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out", "--redo-keys", "line-2,own")
	r.arrived(3)
}
