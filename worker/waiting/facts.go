package waiting

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// Facts are the input of [Decide], all read at one time.
type Facts struct {
	// Now is Redis's clock.
	Now time.Time
	// Redis is why Redis does not answer, as [redisinfo.Explain] returns it; the
	// other facts are not known then.
	Redis error
	// Skew is how far this machine's clock is ahead of Redis's, where this process
	// makes calls; 0 where it makes none.
	Skew time.Duration
	// Bodies is how many bytes the results in Redis take; MaxMemory is how many they may
	// take (0: Bodies is not read), and FullSince since when they have reached it.
	Bodies, MaxMemory int64
	FullSince         time.Time
	// Where has the flags, each with a space in front, that a command of callq needs to
	// find the same Redis, such as " --redis URL". The commands in a [Reason]'s Todo end
	// with it.
	Where     string
	Upstreams []Upstream
}

// Upstream are the facts of one upstream.
type Upstream struct {
	Name string
	// Configured reports that this process's configuration names it.
	Configured bool
	// Open is how many calls of the [Query]'s batches are open; below 0: not known.
	Open int64
	// Workers is how many processes take its calls, and Others how many take those
	// of other upstreams only.
	Workers, Others int
	// Concurrency is how many calls may be in progress at once; 0: not known.
	Concurrency int
	Account     circuit.Record
	Endpoints   []circuit.Record
	Queues      []ledger.Waits
}
