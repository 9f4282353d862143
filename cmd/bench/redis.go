package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn"
)

// settings are those of Redis.
type settings string

const (
	// embedded are the settings of the Redis that callq starts itself.
	embedded settings = "embedded"
	// plain are Redis's own, with appendonly yes and appendfsync everysec.
	plain settings = "plain"
)

const (
	// places is how many calls each side makes at once.
	places = 64
	// poolSize is the size of the connection pool of callq's commands for as many places.
	poolSize = places + 16
	// slowerThan is the time from which on Redis logs a script as slow: so few do that
	// logging them costs nothing.
	slowerThan = time.Millisecond
)

// server is an empty Redis for one measurement.
type server struct {
	client redis.UniversalClient
	// base is its memory before the first call.
	base float64
	stop func() error
}

// start starts an empty Redis. It never rewrites its file: a rewrite would slow down
// only the side whose file reaches a certain size.
func (s settings) start(ctx context.Context) (_ *server, err error) {
	dir, err := os.MkdirTemp("", "callq-bench")
	if err != nil {
		return nil, err
	}
	conn, err := redisconn.Open(ctx, "embedded://"+dir, redisconn.Options{Purpose: "bench", RequireShared: true, PoolSize: poolSize})
	if errors.Is(err, redisconn.ErrNotShared) {
		err = errors.New("redis-server or valkey-server, 7.0 or newer, must be on PATH: each measurement starts its own")
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	started := &server{client: conn.Client, stop: func() error { return errors.Join(conn.Close(), os.RemoveAll(dir)) }}
	defer func() {
		if err != nil {
			err = errors.Join(err, started.stop())
		}
	}()
	set := map[string]string{
		"auto-aof-rewrite-percentage": "0",
		"slowlog-log-slower-than":     strconv.FormatInt(slowerThan.Microseconds(), 10),
		"slowlog-max-len":             "10000",
	}
	if s == plain {
		// Beside the size at which the file is rewritten, these are the only settings of the
		// embedded Redis that are not Redis's own.
		set["hash-max-listpack-value"], set["zset-max-listpack-entries"] = "64", "128"
	}
	for name, value := range set {
		if err := conn.Client.ConfigSet(ctx, name, value).Err(); err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
	}
	started.base, err = started.memory(ctx)
	return started, err
}

// info returns the fields of sections of INFO.
func (s *server) info(ctx context.Context, sections ...string) (map[string]string, error) {
	fields := map[string]string{}
	for _, section := range sections {
		text, err := s.client.Info(ctx, section).Result()
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[name] = value
			}
		}
	}
	return fields, nil
}

// number returns a field of INFO; 0 if Redis does not report it.
func number(fields map[string]string, name string) float64 {
	n, err := strconv.ParseFloat(fields[name], 64)
	if err != nil {
		return 0
	}
	return n
}

// memory returns how many bytes the data takes: without the buffers of clients and of the
// append-only file, and without Redis's statistics. It closes all other connections,
// because Redis counts their buffers late, and resets the statistics.
func (s *server) memory(ctx context.Context) (float64, error) {
	if err := s.client.ConfigResetStat(ctx).Err(); err != nil {
		return 0, err
	}
	if err := s.client.SlowLogReset(ctx).Err(); err != nil {
		return 0, err
	}
	if err := s.client.ClientKillByFilter(ctx, "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		return 0, err
	}
	f, err := s.info(ctx, "memory")
	return number(f, "used_memory") - number(f, "mem_clients_normal") - number(f, "mem_aof_buffer"), err
}

// percentile999 returns the 99.9th percentile of the time of a script in µs, over all
// scripts since the statistics were reset. Redis measures it at no extra cost (INFO
// latencystats).
func percentile999(fields map[string]string) float64 {
	for part := range strings.SplitSeq(fields["latency_percentiles_usec_evalsha"], ",") {
		if name, value, ok := strings.Cut(part, "="); ok && name == "p99.9" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

// slowest returns the slowest script in Redis's log of slow commands; the zero value if no
// script took as long as slowerThan.
func (s *server) slowest(ctx context.Context) (script, error) {
	var found script
	entries, err := s.client.SlowLogGet(ctx, -1).Result()
	for _, e := range entries {
		if sha := shaOf(e.Args); sha != "" && e.Duration > found.took {
			found = script{sha: sha, took: e.Duration}
		}
	}
	return found, err
}

// script is one execution of a script.
type script struct {
	sha  string
	took time.Duration
}

// shaOf returns which script a command runs; "" if it runs none.
func shaOf(args []string) string {
	if len(args) > 1 && strings.EqualFold(args[0], "evalsha") {
		return args[1]
	}
	return ""
}
