package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

func checkServer(ctx context.Context, d *doctor) ([]diagnosis, error) {
	facts, err := redisinfo.Inspect(ctx, d.backend.conn.Client)
	if err != nil {
		return nil, err
	}
	if facts.Version == "" {
		return []diagnosis{{Status: noted, Detail: d.backend.conn.Describe() + " does not report its version; callq needs Redis 7.0 or later"}}, nil
	}
	return well("%s %s at %s", facts.Product, facts.Version, d.backend.conn.Describe()), nil
}

func checkEviction(ctx context.Context, d *doctor) ([]diagnosis, error) {
	facts, err := redisinfo.Inspect(ctx, d.backend.conn.Client)
	switch {
	case err != nil:
		return nil, err
	case facts.WouldEvict():
		when := "when its memory is full"
		if !facts.MayEvict() {
			when = "if a maxmemory is set and reached"
		}
		return []diagnosis{{
			Status: found, Detail: fmt.Sprintf("maxmemory-policy is %s: Redis deletes calls and results %s", facts.EvictionPolicy, when),
			Fix: "redis-cli CONFIG SET maxmemory-policy noeviction (on this server, and the same in its configuration file)",
		}}, nil
	case facts.EvictionPolicy == "":
		return []diagnosis{{Status: noted, Detail: "Redis does not report its maxmemory-policy; it must be noeviction"}}, nil
	}
	return well("Redis deletes nothing to free memory (%s)", facts.EvictionPolicy), nil
}

// checkHashes looks at the setting that decides how much memory a record takes. Hosted
// servers, and users without the permission, cannot read it; then nothing is said.
func checkHashes(ctx context.Context, d *doctor) ([]diagnosis, error) {
	const setting = "hash-max-listpack-value"
	set, err := d.backend.conn.Client.ConfigGet(ctx, setting).Result()
	n, notANumber := strconv.Atoi(set[setting])
	switch {
	case err != nil || notANumber != nil:
		return nil, nil //nolint:nilerr // what cannot be read is not a finding
	case n < redisinfo.ListpackValue:
		return []diagnosis{{
			Status: noted, Detail: fmt.Sprintf("%s is %d: a waiting call takes almost twice the memory that it needs", setting, n),
			Fix: fmt.Sprintf("redis-cli CONFIG SET %s %d (on this server, and the same in its configuration file); it applies to calls that are sent from then on",
				setting, redisinfo.ListpackValue),
		}}, nil
	}
	return well("Redis keeps the records of calls in little memory (%s %d)", setting, n), nil
}

func checkPersistence(ctx context.Context, d *doctor) ([]diagnosis, error) {
	p, err := persistenceOf(ctx, d.backend.conn.Client)
	if err != nil {
		return nil, err
	}
	return []diagnosis{{Status: p.health, Detail: p.String(), Fix: p.fix}}, nil
}

func checkClock(ctx context.Context, d *doctor) ([]diagnosis, error) {
	skew, err := redisinfo.Skew(ctx, d.backend.conn.Client)
	if err != nil {
		return nil, err
	}
	if skew = skew.Abs(); skew > redisinfo.MaxSkew {
		return []diagnosis{{
			Status: found, Detail: fmt.Sprintf("the clocks of this machine and of Redis differ by %s: workers here make no calls", console.Duration(skew)),
			Fix: "set both by NTP, for example with timedatectl set-ntp true",
		}}, nil
	}
	return well("the clocks of this machine and of Redis agree"), nil
}

func checkWorkers(ctx context.Context, d *doctor) ([]diagnosis, error) {
	n, err := broker.Processes(ctx, d.backend.conn.Client)
	if err != nil {
		return nil, err
	}
	batches, err := d.backend.ledger.Batches(ctx)
	if err != nil {
		return nil, err
	}
	open := int64(0)
	for _, b := range batches {
		open += b.Counts.Open
	}
	if n == 0 && open > 0 {
		return []diagnosis{{Status: noted, Detail: "no worker is running, and " + console.Subject(int(open), "open call", "waits", "wait"), Fix: d.next("work")}}, nil
	}
	return well("%s, %s", console.Plural(n, "worker"), console.Plural(open, "open call")), nil
}

func checkCircuits(ctx context.Context, d *doctor) ([]diagnosis, error) {
	upstreams, err := d.backend.upstreams(ctx)
	if err != nil {
		return nil, err
	}
	records, err := d.backend.circuits.List(ctx, upstreams)
	if err != nil {
		return nil, err
	}
	now, err := d.backend.conn.Client.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	for _, r := range records {
		row := rowOf(r, now)
		switch {
		case r.State == circuit.Open:
			why := row.reasonText()
			if r.Class != "" {
				why += ": " + waiting.AnswerText(r)
			}
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("%s is open until %s (%s)", row.Name, timeText(r.Until), why),
				Fix: "after the cause is fixed: " + d.next(fmt.Sprintf("circuit close '%s' --reason REASON", row.Name)),
			})
		case r.Limited.Sub(now) >= waiting.MinReportedHold && r.LimitTurns:
			list = append(list, diagnosis{
				Status: noted, Detail: fmt.Sprintf("%s is open until %s (%s): it is used up", row.Name, timeText(r.Limited), row.reasonText()),
				Fix: "wait; or if the API allows more calls, reset the count: " + d.next(fmt.Sprintf("circuit close '%s' --reason REASON", row.Name)),
			})
		}
	}
	return orWell(list, "%s, none open", console.Plural(len(records), "circuit")), nil
}
