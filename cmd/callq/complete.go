package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks"
)

// completeFor is how long a completion waits for Redis.
const completeFor = 2 * time.Second

// completing returns what a shell offers for the word that is being typed.
type completing = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeFirst offers names for a command's first argument. If they cannot be read, it
// offers none, without an error.
func completeFirst(names func(context.Context) []string) completing {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeFor)
		defer cancel()
		return names(ctx), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag offers names for the value of a flag.
func completeFlag(cmd *cobra.Command, flag string, names func() []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return names(), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the command does not have the flag
	}
}

// configuredUpstreams returns the names of the configured upstreams.
func (a *app) configuredUpstreams() []string {
	cfg, err := a.config(config.Flag{}, config.Flag{})
	if err != nil {
		return nil
	}
	return configuredNames(cfg)
}

// quietBackend is [app.backend] for completions: it logs nothing.
func (a *app) quietBackend(ctx context.Context) (*backend, error) {
	cfg, err := a.config(config.Flag{}, config.Flag{})
	if err != nil {
		return nil, err
	}
	return a.connect(ctx, cfg, "completion", true, slog.New(slog.DiscardHandler))
}

// batchNames returns the names of the batches, the newest first.
func (a *app) batchNames(ctx context.Context) (names []string) {
	d, err := a.quietBackend(ctx)
	if err != nil {
		return nil
	}
	defer d.close(&err)
	batches, err := collect(d.client.Batches(ctx))
	for i := len(batches) - 1; i >= 0; i-- {
		names = append(names, batches[i].Name)
	}
	return names
}

// deadIDs are the ids of some dead letters.
func (a *app) deadIDs(ctx context.Context) (ids []string) {
	const most = 100
	ctx, cancel := context.WithTimeout(ctx, completeFor)
	defer cancel()
	d, err := a.quietBackend(ctx)
	if err != nil {
		return nil
	}
	defer d.close(&err)
	for call, err := range d.client.DeadLetters(ctx, tasks.DeadFilter{}) {
		if err != nil || len(ids) == most {
			break
		}
		ids = append(ids, call.Result.ID)
	}
	return ids
}

// circuitNames returns the names of the circuits. Without a Redis they are those of the
// configured accounts.
func (a *app) circuitNames(ctx context.Context) (names []string) {
	d, err := a.quietBackend(ctx)
	if err != nil {
		return a.configuredUpstreams()
	}
	defer d.close(&err)
	upstreams, err := d.upstreams(ctx)
	if err != nil {
		return a.configuredUpstreams()
	}
	records, err := d.circuits.List(ctx, upstreams)
	if err != nil {
		return upstreams
	}
	for _, r := range records {
		names = append(names, r.Name.String())
	}
	return names
}

// priorities returns the values of --priority.
func priorities() []string {
	return []string{string(tasks.PriorityHigh), string(tasks.PriorityNormal), string(tasks.PriorityLow)}
}
