package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// DefaultFile is the file in the working directory that is read, if it exists, when
// neither a flag nor CALLQ_CONFIG names one.
const DefaultFile = "callq.yaml"

// The environment variables. They override the file, and flags override them.
const (
	EnvConfig            = "CALLQ_CONFIG"
	EnvRedis             = "CALLQ_REDIS"
	EnvWorkerConcurrency = "CALLQ_WORKER_CONCURRENCY"
	EnvAdminListen       = "CALLQ_ADMIN_LISTEN"
)

// The defaults.
const (
	DefaultRedis             = "embedded:"
	DefaultWorkerConcurrency = 64
	DefaultAdminListen       = "127.0.0.1:8080"
	DefaultRetention         = 168 * time.Hour
	DefaultMaxMemory         = 1 << 30
	DefaultTimeout           = 30 * time.Second
	DefaultConcurrency       = 16
	DefaultMaxBody           = 8 << 20
)

// maxConcurrency is more than one process can have in flight, and few enough that
// starting that many goroutines does not exhaust it.
const maxConcurrency = 10_000

// Flag is a flag of the command line that overrides a key.
type Flag struct {
	// Name is the flag with its dashes, for messages.
	Name string
	// Value is its value, empty if the flag was not given.
	Value string
}

// Source says where the configuration comes from. The zero value is the
// default file, with no environment.
type Source struct {
	// Path is the file that a flag names, empty if none does.
	Path string
	// Env returns an environment variable, or "" if it is not set. Nil is an empty
	// environment. References read it later too.
	Env func(string) string
	// The flags that override keys with the same meaning.
	Redis, WorkerConcurrency, AdminListen Flag
	// ServesAdmin reports that the command will serve the admin address. Then it is an
	// error if anybody can use that address.
	ServesAdmin bool
}

// Config is callq.yaml with the environment and the flags applied.
type Config struct {
	// Path is the absolute path of the file, or the path that the default file would
	// have. It identifies the embedded Redis.
	Path string
	// Redis is the URL of Redis; see [Config.RedisURL].
	Redis Secret
	// Upstreams are in the order of the file.
	Upstreams []*Upstream
	// Schedules are in the order of the file.
	Schedules []*Schedule
	// Notify are the receivers of events, in the order of the file.
	Notify []*Receiver
	// WorkerConcurrency is how many calls a process has in flight at most.
	WorkerConcurrency int
	// Admin is the admin server's address.
	Admin Admin
	// Ledger says what is kept of finished calls.
	Ledger Ledger

	deferred []deferred
}

// Admin is the admin server's address and the tokens that give access to it.
type Admin struct {
	// Listen is HOST:PORT. It is empty until [Config.Resolve] if it contains a
	// reference.
	Listen string
	// Configured reports that the address is not the default. Then it is an error if
	// another process uses it.
	Configured bool
	// Pos is where the address is written.
	Pos yamlfile.Pos
	// Tokens give access to it.
	Tokens []Token
}

// Unguarded returns the error that other machines can reach the address although no token
// is configured.
func (a Admin) Unguarded() *yamlfile.Error {
	return a.Pos.Errorf("the admin address %s can be reached from other machines and no token is configured; make one with callq admin token NAME --role operator and add it to admin.tokens, or listen on 127.0.0.1:PORT", a.Listen)
}

// exposed reports whether the address shows that other machines can reach it. For a host
// name this is known only after listening on it.
func (a Admin) exposed() bool {
	host, _, err := net.SplitHostPort(a.Listen)
	ip := net.ParseIP(host)
	return err == nil && checkListen(a.Listen) == nil && (host == "" || ip != nil && !ip.IsLoopback())
}

// Role is what the bearer of a token may do.
type Role string

// The roles, each including the one before.
const (
	Viewer   Role = "viewer"
	Producer Role = "producer"
	Operator Role = "operator"
)

// Token is a credential of the admin address.
type Token struct {
	Name  string
	Role  Role
	Token Secret
}

// Ledger says what is kept of finished calls.
type Ledger struct {
	// Retention is how long outcomes are kept after the last call of their batch ended.
	Retention time.Duration
	// DropBodies deletes a body from Redis after it was exported.
	DropBodies bool
	// MaxMemory is how many bytes results may use in Redis. Above it, calls wait until
	// results are exported.
	MaxMemory int64
}

// section is a part of the configuration whose references are read together.
type section int

const (
	upstreams section = iota
	admin
	notifications
)

// deferred checks a value that contains references, and stores it if necessary. It runs
// when the references are read.
type deferred struct {
	section section
	key     string
	run     func() error
}

// Load reads the file and applies the environment and the flags. Every error is an
// [*yamlfile.Error] or [yamlfile.Errors]: mistakes of the user, with their positions. It
// is an error if a named file is missing, but not if the default file is.
func Load(src Source) (*Config, error) {
	if src.Env == nil {
		src.Env = func(string) string { return "" }
	}
	path, origin := src.Path, "--config"
	if path == "" {
		path, origin = src.Env(EnvConfig), EnvConfig
	}
	named := path != ""
	path = cmp.Or(path, DefaultFile)
	data, err := readConfig(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		data = nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, yamlfile.Pos{File: path}.Errorf("there is no such file; correct %s, or write the file", origin)
	case err != nil:
		return nil, yamlfile.Pos{File: path}.Errorf("cannot be read: %v", err)
	}
	return Parse(path, data, src)
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileerror.WithoutPath(err)
	}
	defer f.Close()
	data, err := yamlfile.Read(f)
	return data, fileerror.WithoutPath(err)
}

// Parse is [Load] for a file that has been read. Paths in it are relative to the folder of
// path. src.Path is not used.
func Parse(path string, data []byte, src Source) (*Config, error) {
	if src.Env == nil {
		src.Env = func(string) string { return "" }
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, yamlfile.Pos{File: path}.Errorf("has no absolute path, because the working directory does not exist; change to another")
	}
	file, root := yamlfile.Parse(path, "the configuration", data)
	d := &decoder{
		File: file,
		dir:  filepath.Dir(absolute),
		env:  src.Env,
		cfg: &Config{
			Path:              absolute,
			WorkerConcurrency: DefaultWorkerConcurrency,
			Admin:             Admin{Listen: DefaultAdminListen},
			Ledger:            Ledger{Retention: DefaultRetention, MaxMemory: DefaultMaxMemory},
		},
	}
	d.root(root)
	d.overlay(src)
	if src.ServesAdmin && !d.tokensGiven && d.cfg.Admin.exposed() {
		d.Add(d.cfg.Admin.Unguarded())
	}
	if err := d.Err(); err != nil {
		return nil, err
	}
	return d.cfg, nil
}

// overlay applies the environment and the flags. A value that is overridden is not
// checked, except in the file, where it must be well-formed.
func (d *decoder) overlay(src Source) {
	pick := func(flag Flag, name string) (string, yamlfile.Pos, bool) {
		if flag.Value != "" {
			return flag.Value, yamlfile.Pos{File: flag.Name}, true
		}
		value := d.env(name)
		return value, yamlfile.Pos{File: name}, value != ""
	}
	if value, pos, ok := pick(src.Redis, EnvRedis); ok {
		d.check(pos, "redis", value, checkRedisLiteral)
		d.cfg.Redis = d.literal(pos, "redis", value)
	}
	if d.cfg.Redis.IsZero() {
		d.cfg.Redis = d.literal(yamlfile.Pos{}, "redis", DefaultRedis)
	}
	if value, pos, ok := pick(src.WorkerConcurrency, EnvWorkerConcurrency); ok {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxConcurrency {
			d.Failf(pos, "%q is not a number of calls in flight; write a number from 1 to %d", value, maxConcurrency)
		}
		d.cfg.WorkerConcurrency = n
	}
	if value, pos, ok := pick(src.AdminListen, EnvAdminListen); ok {
		d.check(pos, "admin.listen", value, checkListen)
		d.cfg.Admin.Listen, d.cfg.Admin.Configured, d.cfg.Admin.Pos = value, true, pos
		d.cfg.deferred = slices.DeleteFunc(d.cfg.deferred, func(later deferred) bool { return later.key == "admin.listen" })
	}
}

// RedisURL reads the references in the URL of Redis and returns it. It may contain a
// password.
func (c *Config) RedisURL() (string, error) {
	value, err := c.Redis.Read()
	if err != nil {
		return "", err
	}
	if err := checkRedis(value); err != nil {
		return "", c.Redis.Pos().Errorf("redis %v", err)
	}
	return value, nil
}

// Resolve reads all references except those of redis, and checks their values. It is for
// commands that call an API and serve the admin address.
func (c *Config) Resolve() error { return c.resolve(upstreams, admin) }

// ResolveUpstreams is [Config.Resolve] for commands that only call APIs.
func (c *Config) ResolveUpstreams() error { return c.resolve(upstreams) }

// ResolveAdmin is [Config.Resolve] for commands that only serve the admin address. They
// do not need the credentials of the APIs.
func (c *Config) ResolveAdmin() error { return c.resolve(admin) }

// ResolveNotify is [Config.Resolve] for commands that send events. The others need neither
// the addresses nor the secrets of the receivers.
func (c *Config) ResolveNotify() error { return c.resolve(notifications) }

func (c *Config) resolve(sections ...section) error {
	var errs yamlfile.Errors
	for _, d := range c.deferred {
		for _, s := range sections {
			if d.section != s {
				continue
			}
			if err := d.run(); err != nil {
				var one *yamlfile.Error
				if errors.As(err, &one) {
					errs = append(errs, one)
				}
			}
		}
	}
	errs.Sort()
	return errs.Err()
}

// Upstream returns the upstream with the name, or nil.
func (c *Config) Upstream(name string) *Upstream {
	for _, u := range c.Upstreams {
		if u.Name == name {
			return u
		}
	}
	return nil
}

var redisSchemes = []string{
	"redis://", "rediss://", "unix://", "redis-sentinel://", "rediss-sentinel://",
	"redis-cluster://", "rediss-cluster://", "embedded:///",
}

// checkRedisLiteral checks a URL that is written in the file. Its error shows the URL
// unless it may contain a password: before the host, or Sentinel's in the query.
func checkRedisLiteral(value string) error {
	err := checkRedis(value)
	if err == nil || strings.ContainsAny(value, "@?") {
		return err
	}
	return fmt.Errorf("is %q, which %w", value, err)
}

// checkRedis checks a URL. Its error does not show the URL, which may come from a
// reference and be secret.
func checkRedis(value string) error {
	if value == DefaultRedis {
		return nil
	}
	for _, scheme := range redisSchemes {
		if rest, ok := strings.CutPrefix(value, scheme); ok && rest != "" {
			return nil
		}
	}
	return errors.New(`is not a Redis address; write "embedded:", "embedded:///DIR", redis://HOST:PORT/DB, rediss://…, unix:///PATH, redis-sentinel://… or redis-cluster://…`)
}

func checkListen(value string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && (n < 0 || n > 65535) {
			err = strconv.ErrRange
		}
	}
	if err != nil {
		return errors.New("is not an address to listen on; write HOST:PORT, as in 127.0.0.1:8080")
	}
	return nil
}
