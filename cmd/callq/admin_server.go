package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/admin"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	adminapi "github.com/seed-2903acc3/callq/worker/admin/api"
	"github.com/seed-2903acc3/callq/worker/metrics"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// adminServer serves the admin address. It listens first, and begins to answer later.
type adminServer struct {
	listener net.Listener
	access   *access.Control
	// streams are kept when the configuration changes, as access is.
	streams *adminapi.Streams
	// who says who may use the address.
	who string
	// registry has the metrics of this process.
	registry *prometheus.Registry
	server   *http.Server
	// ctx ends open streams, and what was begun on a page; stop ends it.
	ctx  context.Context
	stop context.CancelFunc
	// handler answers for the current configuration.
	handler atomic.Pointer[http.Handler]
	// ended receives the error if serving ends by itself.
	ended chan error
}

// openAdminServer listens on the admin address. It is an error of the configuration if a
// configured address is in use, or if other machines can reach it and no token is
// configured. If the default address is in use, another free port is used.
func openAdminServer(ctx context.Context, cfg *config.Config, secrets *worker.Redactor, log *slog.Logger) (*adminServer, error) {
	if err := cfg.ResolveAdmin(); err != nil {
		return nil, err
	}
	at := cfg.Admin
	s := &adminServer{registry: prometheus.NewRegistry(), ended: make(chan error, 1), streams: adminapi.NewStreams()}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.registry.MustRegister(metrics.BuildInfo(versionsOf(debug.ReadBuildInfo()).Callq))
	tokens, who := tokensOf(at, secrets)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", at.Listen)
	if err != nil && !at.Configured && errors.Is(err, syscall.EADDRINUSE) {
		if listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err == nil {
			log.Info("the default admin address is taken; another port is used", "taken", at.Listen, "address", listener.Addr().String())
		}
	}
	if err != nil {
		return nil, at.Pos.Errorf("cannot listen on the admin address %s: %v", at.Listen, unlistenable(err))
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	loopback := ok && address.IP.IsLoopback()
	if !loopback && len(tokens) == 0 {
		return nil, errors.Join(at.Unguarded(), listener.Close())
	}
	s.listener, s.who = listener, who
	if s.access, err = access.New(access.Config{Tokens: tokens, Loopback: loopback, Logger: log}); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return s, nil
}

// tokensOf returns the tokens of the admin address, and who may use it, for the log.
func tokensOf(at config.Admin, secrets *worker.Redactor) (tokens []access.Token, who string) {
	if len(at.Tokens) == 0 {
		return nil, "every user of this machine, because admin.tokens is empty"
	}
	var names []string
	for _, t := range at.Tokens {
		tokens = append(tokens, access.Token{Name: t.Name, Role: access.Role(t.Role), Read: func() (string, error) {
			value, err := t.Token.Read()
			secrets.Add(value, "Bearer") // its file may have changed
			return value, err
		}})
		names = append(names, fmt.Sprintf("%s (%s)", t.Name, t.Role))
	}
	return tokens, "the tokens " + strings.Join(names, ", ")
}

// serve starts to answer, or changes to another configuration.
func (s *adminServer) serve(on *backend, log *slog.Logger) error {
	reader, err := on.overview()
	if err != nil {
		return err
	}
	handler, err := admin.New(s.ctx, admin.Config{
		Overview: reader,
		Redis:    on.conn.Client, Ledger: on.ledger, Circuits: on.circuits, Client: on.client, Upstreams: watchedNames(on.cfg),
		Producer: on.producer, Rules: rulesOf(requestsOf(on.cfg)), BaseURLs: baseURLsOf(on.cfg),
		Concurrency: configured(on.cfg), MaxMemory: on.cfg.Ledger.MaxMemory,
		Access: s.access, Streams: s.streams, Metrics: s.metrics(reader, on.cfg, log), Logger: log,
	})
	if err != nil {
		return err
	}
	if s.handler.Swap(&handler) != nil {
		return nil
	}
	current := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*s.handler.Load()).ServeHTTP(w, r) })
	s.server = &http.Server{
		Handler: current, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: 2 * time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: errorLog(log),
	}
	s.server.RegisterOnShutdown(s.streams.Stop)
	go func() {
		if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.ended <- fmt.Errorf("the admin address stopped: %w", err)
		}
	}()
	return nil
}

// metrics answers scrapes with the metrics of this process and those of the whole queue.
func (s *adminServer) metrics(reader *overview.Reader, cfg *config.Config, log *slog.Logger) http.Handler {
	fleet := prometheus.NewRegistry()
	fleet.MustRegister(metrics.NewFleet(reader, watchedNames(cfg), log))
	return metrics.Handler(prometheus.Gatherers{s.registry, fleet}, log)
}

func (s *adminServer) url() string { return "http://" + s.listener.Addr().String() + "/" }

func (s *adminServer) close() error {
	s.stop()
	if s.server == nil {
		return s.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		return s.server.Close()
	}
	return nil
}
