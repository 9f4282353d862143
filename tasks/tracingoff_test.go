package tasks

import (
	"context"
	"testing"
)

func TestWithoutATracerNothingIsAllocatedForTraces(t *testing.T) {
	var off *tracer
	ctx, c := context.Background(), Call{Upstream: "api", Path: "/x"}
	allocs := testing.AllocsPerRun(1000, func() {
		if off.headers(off.create(ctx, c)) != nil {
			t.Error("there are headers without a tracer")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a call", allocs)
	}
}
