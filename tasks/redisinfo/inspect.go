package redisinfo

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Facts is what a server reports about itself. A field is zero if the server does not
// report it, as miniredis and some hosted servers do not.
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
	// RunID is the name of the server's process: another one after each start.
	RunID string
}

// MayEvict reports whether the server deletes data when its memory is full.
func (f Facts) MayEvict() bool {
	return f.MaxMemory > 0 && f.WouldEvict()
}

// WouldEvict reports whether the server's policy is to delete data, even if its memory
// has no limit yet.
func (f Facts) WouldEvict() bool { return f.EvictionPolicy != "" && f.EvictionPolicy != "noeviction" }

// ListpackValue is the setting hash-max-listpack-value that suits callq's records, in bytes:
// with it a waiting call takes 40 % less memory than with the default, 64.
const ListpackValue = 2048

// TooOld reports whether the server's version lacks what callq needs.
func (f Facts) TooOld() bool { return TooOld(f.RedisVersion) }

// TooOldError is the error for a server whose version is too old. describe is the
// server without secrets.
func (f Facts) TooOldError(describe string) *Error {
	return &Error{
		Kind: KindTooOld, Where: describe, Advice: needVersion,
		Problem: fmt.Sprintf("it is %s %s, too old for callq", f.Product, SafeText(errors.New(f.Version))),
	}
}

// minMajor is the oldest major version of Redis whose scripts can declare that they may
// run when memory is full, which the ledger needs. Every Valkey has this.
const minMajor = 7

// TooOld reports whether a version of Redis, like "6.2.1", lacks what callq needs.
// It is false for a version that cannot be read.
func TooOld(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n < minMajor
}

// Refusal is why the server refuses all writes now, as an error of [Explain]; nil if it
// does not, or does not report it.
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

// Inspect reads the server's INFO in one command. On a Cluster one node answers.
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
