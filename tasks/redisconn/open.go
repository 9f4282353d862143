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

// Options say how a connection is to be used. The zero value is good for a
// short-lived command on a Redis of the user's.
type Options struct {
	// Purpose is the word by which this use appears in Redis's CLIENT LIST and in
	// errors, like "work" or "send". Defaults to "client".
	Purpose string

	// ConfigPath is the configuration file whose embedded Redis is meant by
	// "embedded:"; relative to the working directory. Defaults to "callq.yaml".
	ConfigPath string

	// RequireShared refuses a Redis that only this process can see (miniredis),
	// for commands that need what another process wrote or leave something for
	// one to read. The error is [ErrNotShared].
	RequireShared bool

	// Alone, unless nil, is called before Open returns where no other process has
	// the embedded Redis's folder open, and none can open it meanwhile: whoever
	// worked with it has ended.
	Alone func(ctx context.Context, rdb redis.UniversalClient) error

	// PoolSize is how many connections may be in use at once (for a Cluster: per
	// node). Defaults to go-redis's ten per CPU.
	PoolSize int

	// Logger gets what is worth knowing and does not stop anything, such as an
	// eviction policy that may lose calls. Defaults to discarding it.
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

// Conn is an open way to Redis. Its methods are safe for concurrent use.
type Conn struct {
	// Client is a *redis.Client, or for redis-cluster a *redis.ClusterClient.
	Client redis.UniversalClient

	// Volatile is true when Redis runs inside this process, so that nothing
	// outlives it and no other process sees it.
	Volatile bool

	// Notice is one line for the user; empty unless Volatile.
	Notice string

	where string
	// joined, unless nil, is called once Redis answers.
	joined func(ctx context.Context) error
	close  func() error
}

// Describe names the server without user, password or options, fit for logs.
func (c *Conn) Describe() string { return c.where }

// Explain is [Explain] for this connection.
func (c *Conn) Explain(err error) error { return redisinfo.Explain(err, c.where) }

// Close ends the connection, and the embedded server if this process started it:
// that one writes its file and ends; who else works with it starts it again. Only
// the first call does anything.
func (c *Conn) Close() error { return c.close() }

// A healthy Redis answers in far less. Too short is the worse mistake: a script
// whose reply came too late runs a second time.
const (
	dialTimeout = 5 * time.Second
	ioTimeout   = 5 * time.Second
	openTimeout = 15 * time.Second
)

// clusterReload is how long a stale map of a Cluster may live. A refused
// connection does not refresh it, and go-redis's own minute is how long calls
// would fail after a master's death.
const clusterReload = time.Second

// Open understands the URL, connects, and waits until Redis answers: at most 15 s
// for a server of the user's, as long as the file takes to load (at most two
// minutes) for the embedded one. ctx bounds the opening alone.
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

// connect builds the client of a server that is not ours. It does no network I/O.
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

// inspect fails for a server that is known to be too old and warns of one that
// may lose data. A server that will not say is taken as it is.
func inspect(ctx context.Context, c *Conn, log *slog.Logger) error {
	f, err := redisinfo.Inspect(ctx, c.Client)
	if err != nil {
		log.Debug("Redis does not tell its version and settings", "redis", c.where, "error", c.Explain(err))
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

// baseOptions are those of one server. Maintenance notices and the library's name
// are off: each would be a round trip of every new connection for nothing.
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

// clientName is what CLIENT SETNAME accepts of "callq:PURPOSE:PID".
func clientName(purpose string) string {
	purpose = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '-'
		}
		return r
	}, purpose)
	return fmt.Sprintf("callq:%s:%d", purpose, os.Getpid())
}

// tlsConfig reads the certificate files. It is nil without TLS. The server's name
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
