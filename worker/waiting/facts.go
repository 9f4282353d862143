package waiting

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// Facts are what [Decide] decides by, at one time.
type Facts struct {
	// Now is Redis's clock.
	Now time.Time
	// Redis is what keeps Redis from answering, as [redisinfo.Explain] tells it; the
	// other facts are not known then.
	Redis error
	// Skew is how far this machine's clock is ahead of Redis's, where this process
	// makes calls; 0 where it makes none.
	Skew time.Duration
	// Bodies is how many bytes the results take that are kept in Redis, of MaxMemory that
	// they may (0: not asked), and FullSince since when they are that many.
	Bodies, MaxMemory int64
	FullSince         time.Time
	// Where are the flags, with a space in front of each, that a command of callq needs
	// to find the same Redis: " --redis URL", say. The commands in a [Reason]'s Todo end
	// with it.
	Where     string
	Upstreams []Upstream
}

// Upstream are the facts of one upstream.
type Upstream struct {
	Name string
	// Configured reports that this process's configuration names it.
	Configured bool
	// Open is how many calls are open, of those that are asked about; below 0: not
	// known.
	Open int64
	// Workers is how many processes take its calls, and Others how many take those
	// of other upstreams only.
	Workers, Others int
	// Concurrency is how many calls may be under way at once; 0: not known.
	Concurrency int
	Account     circuit.Record
	Endpoints   []circuit.Record
	Queues      []ledger.Waits
}
