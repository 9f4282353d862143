package main

import (
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestTheHeapMayGrowByFourTimesItsLivePartButOnlyByABoundedAmount(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {32 << 20, 400}, {64 << 20, 200}, {128 << 20, 100}, {1 << 40, 100}} {
		if got := gogcFor(c.live); got != c.want {
			t.Errorf("GOGC for a live heap of %d MiB: got %d, want %d", c.live>>20, got, c.want)
		}
	}
}

func gogc() uint64 {
	now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(now)
	return now[0].Value.Uint64()
}

// It sets GOGC for this process: other tests must not depend on that.
func TestGOGCFollowsTheLiveHeapUnlessTheUserHasSetIt(t *testing.T) {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		before := gogc()
		a := newApp(nil, nil, nil, func(asked string) string {
			if asked == name {
				return "50"
			}
			return ""
		})
		if a.relaxCollector(); gogc() != before {
			t.Fatalf("with %s set by the user, GOGC is %d", name, gogc())
		}
	}
	newApp(nil, nil, nil, func(string) string { return "" }).relaxCollector()
	await := func(ok func(uint64) bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !ok(gogc()); runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatalf("GOGC is %d", gogc())
			}
		}
	}
	withLargeHeap := func() {
		large := make([]byte, 256<<20)
		await(func(n uint64) bool { return n == goPercent })
		runtime.KeepAlive(large)
	}
	withLargeHeap()
	await(func(n uint64) bool { return n > goPercent })
}
