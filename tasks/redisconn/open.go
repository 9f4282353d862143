package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// Options say how a connection is used. The zero value is suitable for a short-lived
// command on a Redis of the user's own.
type Options struct {
	// Purpose is the name of this use in Redis's CLIENT LIST and in errors, like "work"
	// or "send". Defaults to "client".
	Purpose string

	// ConfigPath is the configuration file whose embedded Redis the URL "embedded:"
	// selects; relative to the working directory. Defaults to "callq.yaml".
	ConfigPath string

	// RequireShared refuses a Redis that only this process can reach (miniredis). It is
	// for commands that read what another process wrote, or write what another one
	// reads. The error is [ErrNotShared].
	RequireShared bool

	// Alone, unless nil, is called before Open returns if no other process has the
	// embedded Redis's folder open, and none can open it meanwhile: all former users
	// have ended.
	Alone func(ctx context.Context, rdb redis.UniversalClient) error

	// PoolSize is how many connections may be in use at once (for a Cluster: per node).
	// Defaults to go-redis's ten per CPU.
	PoolSize int

	// Logger gets warnings, such as one about an eviction policy that may lose calls.
	// Defaults to discarding them.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Purpose == "" {
		o.Purpose = "client"
	}
	if o.ConfigPath == "" {
		o.ConfigPath = "callq.yaml"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Conn is an open connection to Redis. Its methods are safe for concurrent use.
type Conn struct {
	// Client is a *redis.Client, or for redis-cluster a *redis.ClusterClient.
	Client redis.UniversalClient

	// Volatile is true if Redis runs inside this process, so that its data ends with
	// the process and no other process can reach it.
	Volatile bool

	// Notice is one line for the user; empty unless Volatile.
	Notice string

	where string
	// joined, unless nil, is called once Redis answers.
	joined func(ctx context.Context) error
	close  func() error
}

// Describe returns the server without user, password or options, suitable for logs.
func (c *Conn) Describe() string { return c.where }

// Explain is [Explain] for this connection.
func (c *Conn) Explain(err error) error { return redisinfo.Explain(err, c.where) }

// Close ends the connection, and the embedded server if this process started it: that
// server writes its file and ends, and other processes that use it start it again. Only
// the first call has an effect.
func (c *Conn) Close() error { return c.close() }

// A healthy Redis answers much faster. A timeout that is too short is worse than one
// that is too long: a script whose reply came too late runs a second time.
const (
	dialTimeout = 5 * time.Second
	ioTimeout   = 5 * time.Second
	openTimeout = 15 * time.Second
)

// clusterReload is how long a stale map of a Cluster may be used. A refused connection
// does not refresh it, and with go-redis's own minute calls would fail for that long
// after a master's death.
const clusterReload = time.Second

// Open parses the URL, connects, and waits until Redis answers: at most 15 s for a
// server of the user's own, and for the embedded one as long as the file takes to load
// (at most two minutes). ctx bounds the opening only.
//
// Errors about the URL wrap [ErrURL]; others are, or wrap, an [*redisinfo.Error].
func Open(ctx context.Context, rawURL string, opts Options) (*Conn, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	var conn *Conn
	limit := openTimeout
	if t.scheme == schemeEmbedded {
		limit = embeddedTimeout
		conn, err = openEmbedded(ctx, t, opts)
	} else {
		conn, err = connect(t, opts)
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := conn.Client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(conn.Explain(err), conn.Close())
	}
	if conn.Volatile {
		return conn, nil
	}
	if err := inspect(ctx, conn, opts.Logger); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if conn.joined == nil {
		return conn, nil
	}
	if err := conn.joined(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// connect makes the client of a server that callq does not run. It does no network I/O.
func connect(t target, opts Options) (*Conn, error) {
	tlsConfig, err := t.tlsConfig()
	if err != nil {
		return nil, err
	}
	where := t.describe()
	switch t.scheme {
	case schemeSentinel:
		o := failoverOptions(t, opts)
		o.TLSConfig = tlsConfig
		return newConn(redis.NewFailoverClient(o), where), nil
	case schemeCluster:
		o := clusterOptions(t, opts)
		o.TLSConfig = tlsConfig
		return newConn(redis.NewClusterClient(o), where), nil
	}
	o := baseOptions(opts)
	o.Username, o.Password, o.DB = t.user, t.pass, t.db
	if t.scheme == schemeUnix {
		o.Network, o.Addr = "unix", t.path
	} else {
		o.Network, o.Addr = "tcp", t.addrs[0]
	}
	o.TLSConfig = tlsConfig
	return newConn(redis.NewClient(o), where), nil
}

func newConn(client redis.UniversalClient, where string) *Conn {
	return &Conn{Client: client, where: where, close: sync.OnceValue(client.Close)}
}

// inspect fails for a server whose version is known to be too old and warns about one
// that may lose data. A server that does not report this is accepted.
func inspect(ctx context.Context, c *Conn, log *slog.Logger) error {
	f, err := redisinfo.Inspect(ctx, c.Client)
	if err != nil {
		log.Debug("Redis does not report its version and settings", "redis", c.where, "error", c.Explain(err))
		return nil
	}
	if f.TooOld() {
		return f.TooOldError(c.where)
	}
	if f.MayEvict() {
		log.Warn("Redis may evict calls and results when its memory is full; set maxmemory-policy to noeviction",
			"redis", c.where, "maxmemory_policy", f.EvictionPolicy)
	}
	return nil
}

// baseOptions are those of one server. Maintenance notifications and the library's name
// are off: each would cost every new connection a round trip.
func baseOptions(opts Options) *redis.Options {
	return &redis.Options{
		ClientName:               clientName(opts.Purpose),
		DialTimeout:              dialTimeout,
		DialerRetries:            2,
		ReadTimeout:              ioTimeout,
		WriteTimeout:             ioTimeout,
		ContextTimeoutEnabled:    true,
		MaxRetries:               3,
		MaxRetryBackoff:          500 * time.Millisecond,
		PoolSize:                 opts.PoolSize,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

func failoverOptions(t target, opts Options) *redis.FailoverOptions {
	o := baseOptions(opts)
	return &redis.FailoverOptions{
		MasterName:            t.master,
		SentinelAddrs:         t.addrs,
		SentinelUsername:      t.sentinelUser,
		SentinelPassword:      t.sentinelPass,
		Username:              t.user,
		Password:              t.pass,
		DB:                    t.db,
		ClientName:            o.ClientName,
		DialTimeout:           o.DialTimeout,
		DialerRetries:         o.DialerRetries,
		ReadTimeout:           o.ReadTimeout,
		WriteTimeout:          o.WriteTimeout,
		ContextTimeoutEnabled: o.ContextTimeoutEnabled,
		MaxRetries:            o.MaxRetries,
		MaxRetryBackoff:       o.MaxRetryBackoff,
		PoolSize:              o.PoolSize,
		DisableIdentity:       o.DisableIdentity,
	}
}

func clusterOptions(t target, opts Options) *redis.ClusterOptions {
	o := baseOptions(opts)
	return &redis.ClusterOptions{
		Addrs:                      t.addrs,
		Username:                   t.user,
		Password:                   t.pass,
		ClientName:                 o.ClientName,
		DialTimeout:                o.DialTimeout,
		DialerRetries:              o.DialerRetries,
		ReadTimeout:                o.ReadTimeout,
		WriteTimeout:               o.WriteTimeout,
		ContextTimeoutEnabled:      o.ContextTimeoutEnabled,
		MaxRetries:                 o.MaxRetries,
		MaxRetryBackoff:            o.MaxRetryBackoff,
		PoolSize:                   o.PoolSize,
		DisableIdentity:            o.DisableIdentity,
		MaintNotificationsConfig:   o.MaintNotificationsConfig,
		ClusterStateReloadInterval: clusterReload,
	}
}

// clientName returns the characters of "callq:PURPOSE:PID" that CLIENT SETNAME accepts.
func clientName(purpose string) string {
	purpose = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, purpose)
	return fmt.Sprintf("callq:%s:%d", purpose, os.Getpid())
}

// tlsConfig reads the certificate files. It returns nil without TLS. The server's name
// defaults to the host that is dialled.
func (t *target) tlsConfig() (*tls.Config, error) {
	if !t.tls {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.serverName}
	if t.ca != "" {
		pem, err := os.ReadFile(t.ca)
		if err != nil {
			return nil, fmt.Errorf("%w: its ca: %w", ErrURL, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, urlError("its ca: %s holds no certificate in PEM form", t.ca)
		}
	}
	if t.cert != "" {
		pair, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, fmt.Errorf("%w: its cert and key: %w", ErrURL, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
