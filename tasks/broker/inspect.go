package broker

import (
	"context"
	"log/slog"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/broker/internal/redisproc"
)

// Facts is what a server says about itself. A field is zero where the server does
// not say it, as miniredis and some hosted servers do not.
type Facts struct {
	Product        string // "Redis" or "Valkey"
	Version        string // the product's own, like "7.0.15"
	RedisVersion   string // the Redis version that it is compatible with
	EvictionPolicy string // maxmemory-policy
	MaxMemory      int64  // bytes; 0: no limit
	AppendOnly     bool   // an append-only file is written
	UsedMemory     int64  // bytes
	Replica        bool   // it follows another server
	DiskFails      bool   // its append-only file cannot be written
	// RunID names the server's process: another one after each start.
	RunID string
}

// MayEvict reports whether the server throws data away when its memory is full.
func (f Facts) MayEvict() bool {
	return f.MaxMemory > 0 && f.WouldEvict()
}

// WouldEvict reports whether the server's policy is to throw data away, be it that
// its memory has no limit yet.
func (f Facts) WouldEvict() bool { return f.EvictionPolicy != "" && f.EvictionPolicy != "noeviction" }

// TooOld reports whether the server names a version that lacks what callq needs.
func (f Facts) TooOld() bool {
	return redisproc.Binary{Version: f.RedisVersion}.TooOld()
}

// Refusal is why the server refuses to store anything now, in the words of [Explain];
// nil where it does not, or does not tell.
func (f Facts) Refusal(describe string) error {
	code := ""
	switch {
	case f.Replica:
		code = "READONLY"
	case f.DiskFails:
		code = "MISCONF"
	case f.MaxMemory > 0 && f.UsedMemory >= f.MaxMemory && !f.WouldEvict():
		code = "OOM"
	default:
		return nil
	}
	for _, known := range replies {
		if strings.TrimSpace(known.prefix) == code {
			return &Error{Kind: known.kind, Where: describe, Problem: known.what, Advice: known.todo}
		}
	}
	return nil
}

// Inspect asks the server about itself with one INFO. On a Cluster one node answers.
func Inspect(ctx context.Context, client redis.UniversalClient) (Facts, error) {
	info, err := client.Info(ctx).Result()
	if err != nil {
		return Facts{}, err
	}
	return parseInfo(info), nil
}

func parseInfo(info string) Facts {
	field := map[string]string{}
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			field[k] = v
		}
	}
	f := Facts{
		RedisVersion:   field["redis_version"],
		EvictionPolicy: field["maxmemory_policy"],
		AppendOnly:     field["aof_enabled"] == "1",
		Replica:        field["role"] == "slave",
		RunID:          field["run_id"],
	}
	f.DiskFails = f.AppendOnly && field["aof_last_write_status"] == "err"
	f.UsedMemory, _ = strconv.ParseInt(field["used_memory"], 10, 64)
	f.MaxMemory, _ = strconv.ParseInt(field["maxmemory"], 10, 64)
	switch {
	case field["valkey_version"] != "":
		f.Product, f.Version = "Valkey", field["valkey_version"]
	case f.RedisVersion != "":
		f.Product, f.Version = "Redis", f.RedisVersion
	}
	return f
}

// inspect fails for a server that is known to be too old and warns of one that
// may lose data. A server that will not say is taken as it is.
func inspect(ctx context.Context, c *Conn, log *slog.Logger) error {
	f, err := Inspect(ctx, c.Client)
	if err != nil {
		log.Debug("Redis does not tell its version and settings", "redis", c.where, "error", c.Explain(err))
		return nil
	}
	if f.TooOld() {
		return tooOld(c.where, f.Product, f.Version)
	}
	if f.MayEvict() {
		log.Warn("Redis may evict calls and results when its memory is full; set maxmemory-policy to noeviction",
			"redis", c.where, "maxmemory_policy", f.EvictionPolicy)
	}
	return nil
}
