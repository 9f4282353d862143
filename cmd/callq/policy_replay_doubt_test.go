package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy/replay"
)

// unreadAnswers are the answers to calls by the rest of their number. Their comments say what
// a record made with unread.yaml has of the attempts, for unread-changed.yaml.
var unreadAnswers = []string{
	"ok",
	"http:502 x2; ok", // plain text has no code
	"http:503 x2; ok", // not the header: it would end as it did
	"body=`{\"error\":{\"code\":\"GONE\"}}`@400",        // the last answer, with its body
	"body=`{\"error\":{\"code\":\"BUSY\"}}`@503; ok",    // not the code: it would have been dropped
	"body=`{\"error\":{\"code\":\"OTHER\"}}`@502; ok",   // not the code: it would end as it did
	"body=`{\"error\":{\"code\":\"BUSY\"}}`@500 x3; ok", // the code of the third answer only
	"http:503 header=X-Part:yes; ok",                    // not the header: it would have been a dead letter
	"body=`{\"queue\":{\"position\":3}}`@500; ok",       // not the position: it would have been a dead letter
}

// What the record does not have is not guessed: such calls are uncertain.
func TestReplaySaysOfWhichCallsTheRecordCannotTell(t *testing.T) {
	t.Parallel()
	var calls, script []string
	for i, answers := range unreadAnswers {
		script = append(script, fmt.Sprintf("GET /%d/* -> %s", i, answers))
		for j := range 3 {
			calls = append(calls, fmt.Sprintf(`{"key":"k%d-%d","path":"/%d/%d","headers":{"X-Key":"k%d-%d"}}`, i, j, i, j, i, j))
		}
	}
	answers := strings.Join(script, "\n")
	was := startNight(t, calls, answers, map[string]string{"api": "unread.yaml"})
	then := startNight(t, calls, answers, map[string]string{"api": "unread-changed.yaml"})
	was.end(t)
	then.end(t)
	if got := was.replayed(t, was.batch, "api", "unread.yaml"); !got.Same {
		t.Errorf("by the same policy: got %+v", got)
	}
	got := was.replayed(t, was.batch, "api", "unread-changed.yaml")
	changes, _, _ := was.differences(then, "api")
	for _, d := range got.Ends {
		c := change{d.Before, d.After}
		if changes[c] < d.Count {
			t.Errorf("%v became %v: replay says %d, then it was %d", d.Before, d.After, d.Count, changes[c])
		}
		changes[c] -= d.Count
	}
	missed := 0
	for _, n := range changes {
		missed += n
	}
	if got.Uncertain != 18 || missed != 12 || len(got.Ends) != 1 || got.Ends[0].Count != 3 || got.Saved != 0 {
		t.Errorf("%d calls are uncertain and %d ended differently without a word of it: %+v", got.Uncertain, missed, got)
	}
	want := []replay.Doubt{
		{Rule: "busy", Reads: "code", Attempts: 15}, {Rule: "gone", Reads: "code", Attempts: 15},
		{Rule: "part", Reads: "header x-part", Attempts: 12}, {Rule: "queued", Reads: "$.queue.position", Attempts: 9},
	}
	if !reflect.DeepEqual(got.Doubts, want) {
		t.Errorf("got the doubts %+v, want %+v", got.Doubts, want)
	}
	if len(got.Perhaps) != 1 || got.Perhaps[0].Count != 3 || got.Perhaps[0].After.Rule != "busy" {
		t.Errorf("got %+v", got.Perhaps)
	}
	text, _ := was.callq(exitOK, "policy", "replay", was.batch, "-f", "unread-changed.yaml")
	for _, line := range []string{
		"3 calls end differently.",
		"18 more calls may end differently: the record does not have what these rules look at.",
		"9         queued  $.queue.position",
		"If those attempts are decided as they were, 3 of these calls end differently.",
		"requests saved  0, without those of calls that may end differently",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("it does not print %q:\n%s", line, text)
		}
	}
}
