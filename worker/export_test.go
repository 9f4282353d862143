package worker

import "time"

// The tests of this package do not wait as long for a worker's death to be certain,
// as those with real processes do, nor for a worker of another version.
func init() {
	reclaimEvery, reclaimAfter = 500*time.Millisecond, time.Second
	strangerDelay = 2 * time.Second
}
