package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/admin"
	"github.com/spf13/cobra"
)

func (a *app) adminCommand() *cobra.Command {
	listen := ""
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Serve the status page, health and asynq's dashboard",
		Long: `Serve the operator's address: health, a status page, and asynq's dashboard. Workers
serve it too; this command is for a machine without one.

Without admin.tokens it must listen on a loopback address, and is open to everybody
on this machine. Where tokens are configured it asks for one of them, on a loopback
address too; /healthz and /readyz ask for none:

  admin:
    listen: 0.0.0.0:8080
    tokens: [{name: ops, role: operator, token: "${env:CALLQ_TOKEN}"}]`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), config.Flag{Name: "--listen", Value: listen})
		},
	}
	listenFlag(cmd, &listen)
	return cmd
}

func listenFlag(cmd *cobra.Command, listen *string) {
	cmd.Flags().StringVar(listen, "listen", "", "`HOST:PORT` of the admin address (default "+config.DefaultAdminListen+")")
}

func (a *app) admin(ctx context.Context, listen config.Flag) (err error) {
	cfg, err := a.config(config.Flag{}, listen)
	if err != nil {
		return err
	}
	log := a.logger(a.level())
	openFiles{}.warn(cfg, log)
	door, err := openDoor(ctx, cfg, a.secrets, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, door.close()) }()
	d, err := a.connect(ctx, cfg, "admin", true, log)
	if err != nil {
		return err
	}
	defer d.close(&err)
	if err := door.serve(d, log); err != nil {
		return err
	}
	log.Info("serving", "admin", door.url(), "redis", d.conn.Describe())
	select {
	case <-ctx.Done():
		return nil
	case err := <-door.ended:
		return err
	}
}

// level is how much a long-lived command says in its log.
func (a *app) level() slog.Level {
	if a.quiet {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// door is the admin address: first taken, then served.
type door struct {
	listener net.Listener
	tokens   []admin.Token
	loopback bool
	server   *http.Server
	// handler answers for the configuration that is in force.
	handler atomic.Pointer[http.Handler]
	// ended has the error with which serving ended by itself.
	ended chan error
}

// openDoor takes the admin address. A configured one that cannot be had, or that
// other machines reach without a token being configured, is an error of the
// configuration; where the default one is taken, another free port is used.
func openDoor(ctx context.Context, cfg *config.Config, secrets *worker.Redactor, log *slog.Logger) (*door, error) {
	if err := cfg.ResolveAdmin(); err != nil {
		return nil, err
	}
	at := cfg.Admin
	d := &door{ended: make(chan error, 1)}
	for _, t := range at.Tokens {
		d.tokens = append(d.tokens, admin.Token{Name: t.Name, Read: func() (string, error) {
			value, err := t.Token.Read()
			secrets.Add(value, "Bearer") // it may be another one now
			return value, err
		}})
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", at.Listen)
	if err != nil && !at.Configured && errors.Is(err, syscall.EADDRINUSE) {
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err == nil {
			log.Info("the default admin address is taken; another port is used", "taken", at.Listen, "address", listener.Addr().String())
		}
	}
	if err != nil {
		return nil, at.Pos.Errorf("cannot listen on the admin address %s: %v", at.Listen, untakable(err))
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	d.listener, d.loopback = listener, ok && address.IP.IsLoopback()
	if !d.loopback && len(d.tokens) == 0 {
		return nil, errors.Join(at.Unguarded(), listener.Close())
	}
	return d, nil
}

// serve begins to answer, or goes on for another configuration.
func (d *door) serve(on *desk, log *slog.Logger) error {
	var names []string
	for _, u := range on.cfg.Upstreams {
		names = append(names, u.Name)
	}
	handler, err := admin.New(admin.Config{
		Redis: on.conn.Client, Ledger: on.ledger, Circuits: on.circuits, Producer: on.producer, Upstreams: names, Endpoint: on.endpoint,
		Concurrency: configured(on.cfg),
		MaxMemory:   on.cfg.Ledger.MaxMemory,
		Loopback:    d.loopback, Tokens: d.tokens, Logger: log,
	})
	if err != nil {
		return err
	}
	if d.handler.Swap(&handler) != nil {
		return nil
	}
	current := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*d.handler.Load()).ServeHTTP(w, r) })
	d.server = &http.Server{
		Handler: current, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: errorLog(log),
	}
	go func() {
		if err := d.server.Serve(d.listener); !errors.Is(err, http.ErrServerClosed) {
			d.ended <- fmt.Errorf("the admin address stopped: %w", err)
		}
	}()
	return nil
}

func (d *door) url() string { return "http://" + d.listener.Addr().String() + "/" }

func (d *door) close() error {
	if d.server == nil {
		return d.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if d.server.Shutdown(ctx) != nil {
		return d.server.Close()
	}
	return nil
}
