package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Beats are the workers of an account, or on a Cluster of a queue, by their names (see
// [Dispatcher.Name]), with the number of times that each has said that it lives. A number
// that stands still is of a worker that is dead, has stopped, or is cut off from Redis.
type Beats map[string]string

const (
	// workersKept is how long the workers of an account are remembered once none says
	// that it lives. The leases of their calls are over long before.
	workersKept = time.Hour
	// mostReclaimed bounds how many calls are put back in one step: Redis does nothing
	// else meanwhile.
	mostReclaimed = 1000
)

// homes are the queues beside which the workers of some queues are noted: that of the
// account, or on a Cluster each queue itself, as no script can touch two of them.
func (s store) homes(queues []string) []string {
	if s.clustered {
		return queues
	}
	var homes []string
	seen := map[string]bool{}
	for _, queue := range queues {
		if home := redislua.UpstreamOf(queue); !seen[home] {
			seen[home] = true
			homes = append(homes, home)
		}
	}
	return homes
}

// Beat says that a worker lives, and returns the workers of the queues' accounts, each
// under the queue that [Roster.Reclaim] takes. It says so when Redis is full, too.
func (r *Roster) Beat(ctx context.Context, worker string, queues ...string) (map[string]Beats, error) {
	homes := r.homes(queues)
	together := len(homes)
	if r.clustered {
		together = 1
	}
	beats := make(map[string]Beats, len(homes))
	for len(homes) > 0 {
		some := homes[:min(together, len(homes))]
		homes = homes[len(some):]
		names := make([]string, len(some))
		for i, home := range some {
			names[i] = keysOf(home).workers()
		}
		reply, err := scriptBeat.Run(ctx, r.rdb, names, worker, int(workersKept/time.Second)).Slice()
		if err != nil {
			return nil, fmt.Errorf("note that this worker lives: %w", err)
		}
		for i, home := range some {
			beats[home] = redislua.Hash(reply[i])
		}
	}
	return beats, nil
}

// Reclaim puts the calls back among the pending that a dead worker holds, and returns how
// many there were. home is a queue that [Roster.Beat] names, number the worker's, which
// stood still: a worker that has said since that it lives keeps its calls.
func (r *Roster) Reclaim(ctx context.Context, home, worker, number string) (int, error) {
	queues := []string{home}
	if !r.clustered {
		queues = append(queues, home+":high", home+":low")
	}
	names, args := []string{keysOf(home).workers()}, []any{worker, number, time.Now().UnixNano(), mostReclaimed}
	for _, queue := range queues {
		k := keysOf(queue)
		names = append(names, k.active(), k.lease(), k.pending())
		args = append(args, k.taskPrefix(), k.recordPrefix())
	}
	for back := 0; ; {
		n, err := scriptReclaim.Run(ctx, r.rdb, names, args...).Int()
		if err != nil {
			return back, fmt.Errorf("put the calls of a dead worker back: %w", err)
		}
		if back += max(n, 0); n < mostReclaimed {
			return back, nil
		}
	}
}

// Leave forgets a worker that ends and holds no call.
func (r *Roster) Leave(ctx context.Context, worker string, queues ...string) error {
	pipe := r.rdb.Pipeline()
	for _, home := range r.homes(queues) {
		pipe.HDel(ctx, keysOf(home).workers(), worker)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("note that this worker ends: %w", err)
	}
	return nil
}
