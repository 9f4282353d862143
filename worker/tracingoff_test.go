package worker

import (
	"context"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestWithoutATracerNothingIsAllocatedForTraces(t *testing.T) {
	w := &Worker{}
	ctx := context.Background()
	a, d := attempted{wait: time.Second}, policy.Decision{Action: policy.ActionRetry, Class: policy.ClassTransient, Rule: "r"}
	name := circuit.Name{Upstream: "api"}
	allocs := testing.AllocsPerRun(1000, func() {
		w.tracer.decided(ctx, a, d, ledger.Dead)
		w.tracer.putBack(ctx, "waits", time.Second)
		w.tracer.holdBegan(ctx, name, "quota", time.Second)
		w.linkHold(ctx, name)
		if w.tracer.parent(ctx) != "" {
			t.Error("there is a span without a tracer")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a call", allocs)
	}
}
