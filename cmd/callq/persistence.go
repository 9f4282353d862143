package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// persistence says what a Redis keeps on disk, and what can still be lost.
type persistence struct {
	health health
	// keeps says what is on disk. loses, unless empty, says what is lost after a power
	// failure or a kill of Redis's process. fix says what to do.
	keeps, loses, fix string
}

func (p persistence) String() string {
	if p.loses == "" {
		return p.keeps
	}
	return p.keeps + ": " + p.loses
}

// persistenceOf reads how a Redis persists its data. Hosted servers, and users without the
// permission, cannot read all of it.
func persistenceOf(ctx context.Context, rdb redis.UniversalClient) (persistence, error) {
	facts, err := redisinfo.Inspect(ctx, rdb)
	if err != nil {
		return persistence{}, err
	}
	if facts.AppendOnly {
		set, _ := rdb.ConfigGet(ctx, "appendfsync").Result()
		return appended(set["appendfsync"]), nil
	}
	const fix = "redis-cli CONFIG SET appendonly yes (on this server, and the same in its configuration file)"
	save, err := rdb.ConfigGet(ctx, "save").Result()
	switch {
	case err != nil || facts.Version == "":
		return persistence{health: noted, keeps: "Redis does not report how it persists; make sure that it has an append-only file"}, nil
	case save["save"] != "":
		return persistence{
			noted, "Redis keeps snapshots only",
			"a power failure or a kill of Redis loses the calls and results of the last minutes, and calls that were sent in that time may be sent again", fix,
		}, nil
	}
	return persistence{
		found, "Redis keeps nothing on disk", "a restart loses all calls and results, and the records that calls were sent", fix,
	}, nil
}

func appended(fsync string) persistence {
	switch fsync {
	case "always":
		return persistence{health: healthy, keeps: "Redis keeps an append-only file, on disk before it answers"}
	case "everysec":
		return persistence{
			health: healthy, keeps: "Redis keeps an append-only file, on disk within 2 seconds",
			loses: "a power failure can lose the last 2 seconds, and calls that were sent in that time may be sent again; " +
				"a kill of Redis loses nothing, or on a slow disk up to 2 seconds, but calls that must not be sent twice " +
				"are not sent twice (appendfsync always loses nothing, and is slower)",
		}
	case "no":
		return persistence{
			noted, "Redis keeps an append-only file, but the system decides when it is on disk",
			"a power failure can lose the last half minute, and calls that were sent in that time may be sent again; a kill of Redis loses nothing",
			"redis-cli CONFIG SET appendfsync everysec (or always; on this server, and the same in its configuration file)",
		}
	}
	return persistence{
		health: healthy, keeps: "Redis keeps an append-only file, and does not report how soon it is on disk",
		loses: "a power failure can lose what is not on disk yet",
	}
}

// warnOfLoss logs at the start what a Redis that is not embedded can lose. The embedded one
// is configured as callq needs it.
func (d *backend) warnOfLoss(ctx context.Context, log *slog.Logger, least health) {
	url, err := d.cfg.RedisURL()
	if err != nil || d.conn.Volatile || strings.HasPrefix(url, config.DefaultRedis) {
		return
	}
	p, err := persistenceOf(ctx, d.conn.Client)
	if err != nil || p.loses == "" || p.health == healthy && least != healthy {
		return
	}
	args := []any{"redis", d.conn.Describe(), "loses", p.loses}
	if p.fix != "" {
		args = append(args, "next", p.fix)
	}
	log.Warn(p.keeps, args...)
}
