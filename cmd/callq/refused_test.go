package main

import (
	"strings"
	"testing"
)

func TestOnlyTheFirstRefusedLinesAreShown(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("bad.jsonl", strings.Repeat(`{"path":"/a","rows":1}`+"\n", 300))
	for _, args := range [][]string{
		{"run", "bad.jsonl", "-o", "out"}, {"run", "bad.jsonl", "--dry-run"}, {"send", "bad.jsonl"}, {"send", "bad.jsonl", "--dry-run"},
	} {
		_, errs := r.callq(exitFailed, args...)
		if got := strings.Count(errs, `field "rows"`); got != maxRefusals {
			t.Errorf("%v: %d lines are shown", args, got)
		}
		says(t, errs, "bad.jsonl: and 280 more refused lines\n")
	}
	r.write("bad.jsonl", strings.Repeat(`{"path":"/a","rows":1}`+"\n", maxRefusals+1))
	_, errs := r.callq(exitFailed, "run", "bad.jsonl", "-o", "out")
	says(t, errs, "bad.jsonl: and 1 more refused line\n")
}
