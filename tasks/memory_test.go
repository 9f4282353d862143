package tasks_test

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// CALLQ_TEST_CALLS=1000000 is the promised size.
func manyCalls() int {
	if n, err := strconv.Atoi(os.Getenv("CALLQ_TEST_CALLS")); err == nil && n > 0 {
		return n
	}
	return 30_000
}

func TestASendOfAnyLengthTakesBoundedMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	rdb := redistest.Redis(t).Client
	p := producer(t, rdb, tasks.Rules{})
	n, i := manyCalls(), 0
	var before, most runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	sum, err := p.SubmitAll(t.Context(), "b", func(yield func(tasks.Call, error) bool) {
		for ; i < n; i++ {
			if i%(n/10) == n/20 {
				runtime.GC()
				var now runtime.MemStats
				if runtime.ReadMemStats(&now); now.HeapAlloc > most.HeapAlloc {
					most = now
				}
			}
			body := fmt.Appendf(nil, `{"n":%d}`, i)
			if !yield(tasks.Call{Upstream: "api", Method: "POST", Path: "/item", Body: body}, nil) {
				return
			}
		}
	})
	if err != nil || sum.Accepted != n {
		t.Fatalf("got %+v, %v", sum, err)
	}
	// Some chunks are being sent: with about 500 bytes for each call, 30,000 calls
	// would take 15 MB.
	if grown := int64(most.HeapAlloc) - int64(before.HeapAlloc); grown > 12<<20 {
		t.Fatalf("the heap grew by %d KiB while %d calls were sent", grown>>10, n)
	}
}
