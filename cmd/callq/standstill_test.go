package main

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
)

func TestItIsSaidWhyNoCallEnds(t *testing.T) {
	began := time.Date(2026, 5, 4, 2, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	failed := func(seconds int) worker.Event {
		return worker.Event{Upstream: "api", Action: policy.ActionRetry, Class: policy.ClassTransient, Message: "connection refused", At: at(seconds)}
	}
	const first = "api: 1 attempt has failed since a call has ended, the last with transient: connection refused; the calls are tried again"
	const second = "api: 2 attempts have failed since a call has ended, the last with unknown 4711; the calls are tried again"
	var s standstill
	for i, step := range []struct {
		event worker.Event
		at    int
		want  string
	}{
		{at: 0},
		{event: failed(0), at: 1},
		{at: 4},
		{at: 5, want: first},
		{event: worker.Event{Upstream: "api", Action: policy.ActionRetry, Class: policy.ClassUnknown, Code: "4711", At: at(6)}, at: 34},
		{at: 35, want: second},
		{event: worker.Event{Action: policy.ActionPark, At: at(36)}, at: 64},
		{at: 65, want: second},
		{event: worker.Event{Action: policy.ActionSucceed, At: at(66)}, at: 200},
		{event: failed(200), at: 204},
		{at: 205, want: first},
		{event: worker.Event{Action: policy.ActionDeadLetter, At: at(206)}, at: 400},
	} {
		if step.event.Action != "" {
			s.note(step.event)
		}
		if got := s.line(at(step.at)); got != step.want {
			t.Errorf("step %d: %q, want %q", i+1, got, step.want)
		}
	}
}
