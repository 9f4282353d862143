package worker

import "time"

// The tests of this package do not wait as long for a worker's death to be certain.
// Those with real processes do.
func init() {
	reclaimEvery, reclaimAfter = 500*time.Millisecond, time.Second
}
