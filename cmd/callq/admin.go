package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/spf13/cobra"
)

func (a *app) adminCommand() *cobra.Command {
	listen := ""
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Serve the status page, the HTTP API, health and asynq's dashboard",
		Long: `Serve the admin address: health, a status page, the HTTP API under /v1, Prometheus
metrics on /metrics, and asynq's dashboard. Each worker serves it too; this command is
for a machine without a worker. callq openapi describes the HTTP API.

Without admin.tokens it must listen on a loopback address, and everybody on this
machine can use it. With tokens a request needs one of them, even on a loopback
address; callq admin token makes one. /healthz and /readyz need no token:

  admin:
    listen: 0.0.0.0:8080
    tokens: [{name: ops, role: operator, token: "${env:CALLQ_TOKEN}"}]`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.admin(cmd.Context(), config.Flag{Name: "--listen", Value: listen})
		},
	}
	listenFlag(cmd, &listen)
	cmd.AddCommand(a.adminTokenCommand())
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
	server, err := openAdminServer(ctx, cfg, a.secrets, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	d, err := a.connect(ctx, cfg, "admin", true, log)
	if err != nil {
		return err
	}
	defer d.close(&err)
	if err := server.serve(d, log); err != nil {
		return err
	}
	log.Info("serving", "admin", server.url(), "access", server.who, "redis", d.conn.Describe())
	select {
	case <-ctx.Done():
		return nil
	case err := <-server.ended:
		return err
	}
}

// level returns the log level of a long-lived command.
func (a *app) level() slog.Level {
	if a.quiet {
		return slog.LevelWarn
	}
	return slog.LevelInfo
}
