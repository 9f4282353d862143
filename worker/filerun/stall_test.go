package filerun

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
)

func TestAStallIsReportedAndRepeated(t *testing.T) {
	began := time.Date(2026, 5, 4, 2, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	failed := func(seconds int) worker.AttemptResult {
		return worker.AttemptResult{Upstream: "api", Action: policy.ActionRetry, Class: policy.ClassTransient, Message: "connection refused", At: at(seconds)}
	}
	unknown := worker.AttemptResult{Upstream: "api", Action: policy.ActionRetry, Class: policy.ClassUnknown, Code: "4711", At: at(6)}
	stalled := func(seconds, attempts int, last worker.AttemptResult) Stalled {
		return Stalled{For: time.Duration(seconds) * time.Second, Attempts: attempts, Last: last}
	}
	var s stall
	for i, step := range []struct {
		event worker.AttemptResult
		at    int
		want  Stalled
	}{
		{at: 0},
		{event: failed(0), at: 1},
		{at: 4},
		{at: 5, want: stalled(5, 1, failed(0))},
		{event: unknown, at: 34},
		{at: 35, want: stalled(35, 2, unknown)},
		{event: worker.AttemptResult{Action: policy.ActionPark, At: at(36)}, at: 64},
		{at: 65, want: stalled(65, 2, unknown)},
		{event: worker.AttemptResult{Action: policy.ActionSucceed, At: at(66)}, at: 200},
		{event: failed(200), at: 204},
		{at: 205, want: stalled(5, 1, failed(200))},
		{event: worker.AttemptResult{Action: policy.ActionDeadLetter, At: at(206)}, at: 400},
	} {
		if step.event.Action != "" {
			s.record(step.event)
		}
		if got, ok := s.check(at(step.at)); got != step.want || ok != (got != Stalled{}) {
			t.Errorf("step %d: got %v, want %v", i+1, got, step.want)
		}
	}
}
