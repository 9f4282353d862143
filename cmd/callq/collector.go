package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Go's garbage collector runs when the heap has doubled since the last time. A worker has
// little that lives long and allocates a lot, so the collector would take a good part of its
// time. These commands let the heap grow to five times its live part instead, but by no more
// than maxGarbage, unless that is less than what Go itself allows.

const (
	goPercent  = 100 // Go's own GOGC
	mostGOGC   = 400
	maxGarbage = 128 << 20
)

// gogcFor returns the value of GOGC for a live heap of so many bytes.
func gogcFor(live uint64) int {
	return int(min(max(maxGarbage*100/max(live, 1), goPercent), mostGOGC))
}

// relaxCollector makes the garbage collector run less often, unless the user has set GOGC or
// GOMEMLIMIT.
func (a *app) relaxCollector() {
	if a.env("GOGC") == "" && a.env("GOMEMLIMIT") == "" {
		adjustCollector()
	}
}

// adjustCollector sets GOGC now, and after each collection.
var adjustCollector = sync.OnceFunc(func() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	percent := goPercent
	adjust := func() {
		metrics.Read(live)
		if want := gogcFor(live[0].Value.Uint64()); want != percent {
			percent = want
			debug.SetGCPercent(want)
		}
	}
	adjust()
	afterEachCollection(adjust)
})

// afterEachCollection calls f, in a goroutine of the runtime, after each garbage collection.
func afterEachCollection(f func()) {
	// The collector finalizes an object that nobody holds. The finalizer makes the next one.
	runtime.SetFinalizer(new([1]*int), func(*[1]*int) {
		f()
		afterEachCollection(f)
	})
}
