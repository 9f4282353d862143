package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Beats has for each worker of an account, or on a Cluster of a queue, by its name (see
// [Dispatcher.Name]), its number of beats. A worker whose number does not change is
// dead, has stopped, or is cut off from Redis.
type Beats map[string]string

const (
	// workersKept is how long the workers of an account are remembered after their last
	// beat. The leases of their calls are over long before.
	workersKept = time.Hour
	// maxReclaimed bounds how many calls are returned in one step: Redis serves no
	// other client meanwhile.
	maxReclaimed = 1000
)

// homes returns the queues beside which the workers of some queues are stored: that of
// the account, or on a Cluster each queue itself, since no script can touch two of
// them.
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

// Beat records that a worker is alive, and returns the workers of the queues' accounts,
// each under the queue to pass to [Roster.Reclaim] as home. It works when Redis is
// full, too.
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
			return nil, fmt.Errorf("record that this worker is alive: %w", err)
		}
		for i, home := range some {
			beats[home] = redislua.Hash(reply[i])
		}
	}
	return beats, nil
}

// Reclaim returns the calls of a dead worker to pending, and returns how many there
// were. home is a queue that [Roster.Beat] returned, number the worker's number, which
// did not change: a worker with a beat since then keeps its calls.
func (r *Roster) Reclaim(ctx context.Context, home, worker, number string) (int, error) {
	queues := []string{home}
	if !r.clustered {
		queues = append(queues, home+":high", home+":low")
	}
	names, args := []string{keysOf(home).workers()}, []any{worker, number, time.Now().UnixNano(), maxReclaimed}
	for _, queue := range queues {
		k := keysOf(queue)
		names = append(names, k.active(), k.lease(), k.pending())
		args = append(args, k.taskPrefix(), k.recordPrefix())
	}
	for back := 0; ; {
		n, err := scriptReclaim.Run(ctx, r.rdb, names, args...).Int()
		if err != nil {
			return back, fmt.Errorf("return the calls of a dead worker to their queues: %w", err)
		}
		if back += max(n, 0); n < maxReclaimed {
			return back, nil
		}
	}
}

// Leave removes a worker that stops and holds no call.
func (r *Roster) Leave(ctx context.Context, worker string, queues ...string) error {
	pipe := r.rdb.Pipeline()
	for _, home := range r.homes(queues) {
		pipe.HDel(ctx, keysOf(home).workers(), worker)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("record that this worker stops: %w", err)
	}
	return nil
}
