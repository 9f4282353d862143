package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/spf13/cobra"
)

func (a *app) circuitCommand() *cobra.Command {
	return group("circuit", "List circuits, open and close them",
		a.circuitListCommand(),
		a.circuitOpenCommand(),
		a.circuitCloseCommand(),
	)
}

// upstreams are those that are configured and those that ever took a call, in
// order.
func (d *backend) upstreams(ctx context.Context) ([]string, error) {
	return upstreamNames(ctx, d.cfg, d.ledger)
}

// configuredNames are the upstreams of a configuration, in its order.
func configuredNames(cfg *config.Config) (names []string) {
	for _, u := range cfg.Upstreams {
		names = append(names, u.Name)
	}
	return names
}

func upstreamNames(ctx context.Context, cfg *config.Config, books *ledger.Ledger) ([]string, error) {
	queues, err := books.Queues(ctx)
	if err != nil {
		return nil, err
	}
	names := configuredNames(cfg)
	for _, queue := range queues {
		names = append(names, tasks.UpstreamOf(queue))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// steering is an operator's word about a circuit.
type steering struct {
	*app
	hold          time.Duration
	until, reason string
}

func (a *app) circuitOpenCommand() *cobra.Command {
	s := &steering{app: a}
	cmd := &cobra.Command{
		Use:   "open NAME (--for D | --until T) --reason R",
		Short: "Open a circuit: hold an account, or one endpoint, for a time",
		Long: `Open the circuit of an account, or of one endpoint: none of its calls starts until
the time is over. Then one call, the probe, is made; its answer decides what follows.
NAME is the upstream, or NAME~METHOD~/path for an endpoint.`,
		Example: `  callq circuit open patsnap --for 2h --reason "invoice unpaid"
  callq circuit open 'patsnap~GET~/search/*' --until 2026-05-01T08:00:00+08:00 --reason maintenance`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.circuitNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return s.open(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.DurationVar(&s.hold, "for", 0, "for how long, as in 90m or 12h")
	flags.StringVar(&s.until, "until", "", "until when, `TIME` as in 2026-05-01T08:00:00Z")
	exclusive(cmd, true, "for", "until")
	s.why(cmd)
	return cmd
}

func (a *app) circuitCloseCommand() *cobra.Command {
	s := &steering{app: a}
	cmd := &cobra.Command{
		Use:   "close NAME --reason R",
		Short: "Close a circuit: let an account, or one endpoint, call again at once",
		Long: `Close the circuit of an account, or of one endpoint: its calls start again at once.
NAME is the upstream, or NAME~METHOD~/path for an endpoint.

If a limit or a budget holds the account, such as 5000/day or 100 USD/month, its count
starts again from zero, until its window turns. A rate, such as 10/s, still holds.`,
		Example: `  callq circuit close patsnap --reason "invoice paid"
  callq circuit close 'patsnap~GET~/search/*' --reason 'new key'`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.circuitNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return s.letGo(cmd.Context(), args[0]) },
	}
	s.why(cmd)
	return cmd
}

func (s *steering) why(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.reason, "reason", "", "why; it is kept for whoever reads it later")
	_ = cmd.MarkFlagRequired("reason") // it is there: it was added in the line above
}

// maxHold keeps a hold within what a person can have meant.
const maxHold = 366 * 24 * time.Hour

func (s *steering) open(ctx context.Context, arg string) (err error) {
	name, err := s.named(arg)
	if err != nil {
		return err
	}
	var end time.Time
	if s.until != "" {
		if end, err = time.Parse(time.RFC3339, s.until); err != nil {
			return usageError("--until %q: write a time with its zone, as in 2026-05-01T08:00:00Z", s.until)
		}
	} else if s.hold <= 0 || s.hold > maxHold {
		return usageError("--for %s: write a time between 1s and a year", s.hold)
	}
	d, err := s.steered(ctx, name)
	if err != nil {
		return err
	}
	defer d.close(&err)
	hold := s.hold
	if !end.IsZero() {
		// Redis's clock is the one that ends the hold.
		now, err := d.conn.Client.Time(ctx).Result()
		if err != nil {
			return err
		}
		if hold = end.Sub(now); hold <= 0 || hold > maxHold {
			return usageError("--until %s: write a time that is to come, within a year", s.until)
		}
	}
	if err := d.circuits.Open(ctx, name, hold, s.reason, whoami()); err != nil {
		return err
	}
	return s.stands(ctx, d, name, "")
}

func (s *steering) letGo(ctx context.Context, arg string) (err error) {
	name, err := s.named(arg)
	if err != nil {
		return err
	}
	d, err := s.steered(ctx, name)
	if err != nil {
		return err
	}
	defer d.close(&err)
	before, err := d.circuits.Get(ctx, name)
	if err != nil {
		return err
	}
	now, err := d.conn.Client.Time(ctx).Result()
	if err != nil {
		return err
	}
	if err := d.circuits.Close(ctx, name, s.reason, whoami()); err != nil {
		return err
	}
	return s.stands(ctx, d, name, afterClose(before, now))
}

// named reads the command line; its errors are usage errors.
func (s *steering) named(arg string) (circuit.Name, error) {
	name, err := circuit.ParseName(arg)
	if err != nil {
		return name, usageError("%w", err)
	}
	if strings.TrimSpace(s.reason) == "" {
		return name, usageError("--reason is empty: say why; it is kept for whoever reads it later")
	}
	return name, nil
}

// steered connects, and makes sure that there is such an account.
func (s *steering) steered(ctx context.Context, name circuit.Name) (*backend, error) {
	d, err := s.backend(ctx, "circuit")
	if err != nil {
		return nil, err
	}
	upstreams, err := d.upstreams(ctx)
	if err == nil && !slices.Contains(upstreams, name.Upstream) {
		err = usageError("there is no upstream %q; there are: %s", name.Upstream, orDash(strings.Join(upstreams, ", ")))
	}
	if err != nil {
		d.close(&err)
		return nil, err
	}
	return d, nil
}

// stands prints how a circuit stands now, and what else is to be said to people.
func (s *steering) stands(ctx context.Context, d *backend, name circuit.Name, more string) error {
	changed := fmt.Errorf("circuit %s was changed", name)
	r, err := d.circuits.Get(ctx, name)
	if err != nil {
		return errors.Join(err, changed)
	}
	now, err := d.conn.Client.Time(ctx).Result()
	if err != nil {
		return errors.Join(err, changed)
	}
	row := rowOf(r, now)
	if s.json {
		return s.printJSON(row)
	}
	text := fmt.Sprintf("circuit %s is %s", console.Printable(row.Name), row.State)
	if row.Until != nil {
		text += " until " + timeText(*row.Until)
	}
	_, err = fmt.Fprintln(s.stdout, text+more)
	return err
}
