package main

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

func TestARunSaysWhyNoCallEnds(t *testing.T) {
	now := time.Date(2026, 5, 4, 18, 0, 0, 0, time.UTC)
	last := worker.AttemptResult{Upstream: "api", Key: "row-58", Action: policy.ActionRetry, Attempts: 4, MostAttempts: 6, Next: now.Add(15 * time.Second)}
	refused, code, status := last, last, last
	refused.Class, refused.Message = policy.ClassTransient, "connection refused"
	code.Class, code.Code, code.Status = policy.ClassUnknown, "4711", 200
	status.Class, status.Status, status.Next = policy.ClassTransient, 500, now
	for want, e := range map[string]filerun.Stalled{
		"api: no call has ended for 30s, and 1 attempt has failed; row-58: connection refused (transient), attempt 4 of 6 failed, next in 15s": {
			For: 30 * time.Second, Attempts: 1, Last: refused,
		},
		"api: no call has ended for 5s, and 2 attempts have failed; row-58: error 4711 (unknown), attempt 4 of 6 failed, next in 15s": {
			For: 5 * time.Second, Attempts: 2, Last: code,
		},
		"api: no call has ended for 5s, and 2 attempts have failed; row-58: HTTP 500 (transient), attempt 4 of 6 failed, due now": {
			For: 5 * time.Second, Attempts: 2, Last: status,
		},
	} {
		if got := stalledLine(e, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestTheSlowestCallsAreShownWithTheirNextAttempt(t *testing.T) {
	now := time.Date(2026, 5, 4, 18, 0, 0, 0, time.UTC)
	var s slowCalls
	for i := range 5 {
		s.note(worker.AttemptResult{
			ID: string(rune('a' + i)), Key: "row-" + string(rune('a'+i)), Action: policy.ActionRetry, Class: policy.ClassTransient, Status: 500,
			Attempts: i + 1, MostAttempts: 6, Next: now.Add(time.Duration(i) * time.Second),
		})
	}
	s.note(worker.AttemptResult{ID: "e", Key: "row-e", Action: policy.ActionSucceed, State: "done"})
	got := s.lines(now)
	if len(got) != 3 || got[0] != "row-d: HTTP 500 (transient), attempt 4 of 6 failed, next in 3s" || got[2] != "row-b: HTTP 500 (transient), attempt 2 of 6 failed, next in 1s" {
		t.Errorf("got %q", got)
	}
}
