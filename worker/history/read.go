package history

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Minute has the counts of one minute.
type Minute struct {
	Start  time.Time         `json:"start"`
	Counts map[Outcome]int64 `json:"counts,omitempty"`
}

// Read returns the last n minutes of each upstream, the present minute last. It takes one
// round trip.
func Read(ctx context.Context, rdb redis.UniversalClient, upstreams []string, now time.Time, n int) (map[string][]Minute, error) {
	last := now.Unix() / 60
	first := last - int64(n) + 1
	pipe := rdb.Pipeline()
	hours := map[string]map[int64]*redis.MapStringStringCmd{}
	for _, upstream := range upstreams {
		hours[upstream] = map[int64]*redis.MapStringStringCmd{}
		for hour := first / 60; hour <= last/60; hour++ {
			hours[upstream][hour] = pipe.HGetAll(ctx, keyOf(upstream, hour))
		}
	}
	if pipe.Len() == 0 {
		return nil, nil
	}
	cmds, err := pipe.Exec(ctx)
	if err != nil && len(cmds) == 0 {
		return nil, fmt.Errorf("read the counts of attempts: %w", err)
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "WRONGTYPE") {
			return nil, fmt.Errorf("read the counts of attempts: %w", err)
		}
	}
	all := make(map[string][]Minute, len(upstreams))
	for upstream, of := range hours {
		for minute := first; minute <= last; minute++ {
			m := Minute{Start: time.Unix(minute*60, 0).UTC()}
			for _, o := range Outcomes {
				if count := redislua.Integer(of[minute/60].Val()[fieldOf(minute, o)]); count > 0 {
					if m.Counts == nil {
						m.Counts = map[Outcome]int64{}
					}
					m.Counts[o] = count
				}
			}
			all[upstream] = append(all[upstream], m)
		}
	}
	return all, nil
}
