package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

func TestTheSummarySaysWhichDeadCallsMayHaveBeenCarriedOut(t *testing.T) {
	for doubtful, want := range map[int]string{
		0: "",
		1: "1 dead call may have been carried out already (outcome_unknown)",
		2: "2 dead calls may have been carried out already (outcome_unknown)",
	} {
		var all filerun.Tally
		all.Add(tasks.Result{State: tasks.StateDead, Class: "unknown"})
		for range doubtful {
			all.Add(tasks.Result{State: tasks.StateDead, Class: string(policy.ClassOutcomeUnknown)})
		}
		s := summary{Calls: doubtful + 1, Dead: doubtful + 1, again: "callq run FILE", Failures: causesOf(all.Failures())}
		var out bytes.Buffer
		if err := (&app{}).printSummary(&out, s); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); !strings.Contains(text, want) || (want == "") == strings.Contains(text, "outcome_unknown)") {
			t.Errorf("with %d: got:\n%s", doubtful, text)
		}
	}
}
