package circuit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// List returns the circuits of the given upstreams: every account's, and those of
// endpoints that were ever opened. The records of accounts have the number of waiting
// calls.
func (s *Store) List(ctx context.Context, upstreams []string) ([]Record, error) {
	return s.list(ctx, upstreams, func(Record) bool { return true })
}

// Watch is [Store.List] for callers that read every second: it counts the waiting calls
// of held accounts only.
func (s *Store) Watch(ctx context.Context, upstreams []string) ([]Record, error) {
	return s.list(ctx, upstreams, func(r Record) bool { return r.State == Open || !r.Limited.IsZero() })
}

// list makes three round trips, however many upstreams there are.
func (s *Store) list(ctx context.Context, upstreams []string, counts func(Record) bool) ([]Record, error) {
	pipe := s.rdb.Pipeline()
	accounts := make([]*redis.MapStringStringCmd, len(upstreams))
	members := make([]*redis.StringSliceCmd, len(upstreams))
	for i, upstream := range upstreams {
		keys := Name{Upstream: upstream}.keys()
		accounts[i], members[i] = pipe.HGetAll(ctx, keys[0]), pipe.SMembers(ctx, keys[2])
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("read the circuits: %w", err)
	}
	var list []Record
	var endpoints []*redis.MapStringStringCmd // one for each record in list; nil for accounts
	for i, upstream := range upstreams {
		name := Name{Upstream: upstream}
		list, endpoints = append(list, recordFromHash(name, accounts[i].Val())), append(endpoints, nil)
		prefix := name.keys()[0] + "~"
		for _, key := range slices.Sorted(slices.Values(members[i].Val())) {
			name.Endpoint = strings.Replace(strings.TrimPrefix(key, prefix), "~", " ", 1)
			list, endpoints = append(list, Record{Name: name}), append(endpoints, pipe.HGetAll(ctx, key))
		}
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("read the circuits of endpoints: %w", err)
	}
	waiting := make([][]*redis.IntCmd, len(list))
	for i := range list {
		switch {
		case endpoints[i] != nil:
			list[i] = recordFromHash(list[i].Name, endpoints[i].Val())
		case counts(list[i]):
			waiting[i] = waitingCalls(ctx, pipe, list[i].Name.Upstream)
		}
	}
	if err := exec(ctx, pipe); err != nil {
		return nil, fmt.Errorf("count the waiting calls: %w", err)
	}
	for i := range list {
		for _, n := range waiting[i] {
			list[i].Waiting += n.Val()
		}
	}
	return list, nil
}

// waitingCalls adds to a pipeline the commands that count an upstream's waiting calls:
// their number is the sum of the replies.
func waitingCalls(ctx context.Context, pipe redis.Pipeliner, upstream string) (counts []*redis.IntCmd) {
	for _, lane := range []string{"", ":high", ":low"} {
		queue := upstream + lane
		counts = append(counts, pipe.LLen(ctx, redislua.Asynq(queue, "pending")),
			pipe.ZCard(ctx, redislua.Asynq(queue, "retry")), pipe.ZCard(ctx, redislua.Asynq(queue, "scheduled")))
	}
	return counts
}

// exec sends the pipeline, if it has commands.
func exec(ctx context.Context, pipe redis.Pipeliner) error {
	if pipe.Len() == 0 {
		return nil
	}
	_, err := pipe.Exec(ctx)
	return err
}

// EndProbes ends the leases of the probes of the given upstreams' circuits, so that the
// next call can become the probe. Call it only when no worker is running.
func (s *Store) EndProbes(ctx context.Context, upstreams []string) error {
	circuits, err := s.List(ctx, upstreams)
	if err != nil {
		return err
	}
	pipe := s.rdb.Pipeline()
	for _, c := range circuits {
		pipe.HDel(ctx, c.Name.keys()[0], "token", "lease", "turn")
	}
	if err := exec(ctx, pipe); err != nil {
		return fmt.Errorf("end the probes: %w", err)
	}
	return nil
}
