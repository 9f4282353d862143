package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// persistence is what a Redis keeps on disk, and what can be lost all the same.
type persistence struct {
	health health
	// keeps says what it keeps; loses, unless empty, what a power loss and a kill of
	// Redis's process can take; fix what to do about it.
	keeps, loses, fix string
}

func (p persistence) String() string {
	if p.loses == "" {
		return p.keeps
	}
	return p.keeps + ": " + p.loses
}

// persistenceOf asks a Redis what it keeps. Hosted servers, and users who may not
// ask, are not told all.
func persistenceOf(ctx context.Context, rdb redis.UniversalClient) (persistence, error) {
	facts, err := redisinfo.Inspect(ctx, rdb)
	if err != nil {
		return persistence{}, err
	}
	if facts.AppendOnly {
		set, _ := rdb.ConfigGet(ctx, "appendfsync").Result()
		return appended(set["appendfsync"]), nil
	}
	const fix = "redis-cli CONFIG SET appendonly yes (at this server; and the same in its configuration file)"
	save, err := rdb.ConfigGet(ctx, "save").Result()
	switch {
	case err != nil || facts.Version == "":
		return persistence{health: noted, keeps: "Redis does not tell how it persists; see that it keeps an append-only file"}, nil
	case save["save"] != "":
		return persistence{
			noted, "Redis keeps snapshots only",
			"a power loss, and a kill of Redis, takes the calls and results of the last minutes, and what says that a call was sent: it is sent again", fix,
		}, nil
	}
	return persistence{
		found, "Redis keeps nothing on disk", "a restart loses all calls and results, and what says that a call was sent", fix,
	}, nil
}

func appended(fsync string) persistence {
	switch fsync {
	case "always":
		return persistence{health: healthy, keeps: "Redis keeps an append-only file, on disk before it answers"}
	case "everysec":
		return persistence{
			health: healthy, keeps: "Redis keeps an append-only file, on disk within 2 seconds",
			loses: "a power loss can take these, and with them what says that a call was sent: it is sent again; " +
				"a kill of Redis takes nothing, or where its disk is slow these 2 seconds save what says that a call was sent " +
				"(appendfsync always keeps all that, and is slower)",
		}
	case "no":
		return persistence{
			noted, "Redis keeps an append-only file, but the system decides when it is on disk",
			"a power loss can take the last half minute, and with it what says that a call was sent: it is sent again; a kill of Redis takes nothing",
			"redis-cli CONFIG SET appendfsync everysec (or always; at this server, and the same in its configuration file)",
		}
	}
	return persistence{
		health: healthy, keeps: "Redis keeps an append-only file, and does not tell how soon it is on disk",
		loses: "a power loss can take what is not",
	}
}

// warnOfLoss says before the work begins what a Redis of the user's own can lose. The
// embedded one is set as callq needs it.
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
