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
	"github.com/seed-2903acc3/callq/worker/notify"
	"github.com/spf13/cobra"
)

func (a *app) circuitCommand() *cobra.Command {
	return group("circuit", "List circuits, open and close them",
		a.circuitListCommand(),
		a.circuitOpenCommand(),
		a.circuitCloseCommand(),
	)
}

// upstreams returns the names of the configured upstreams and of those that have a queue,
// sorted.
func (d *backend) upstreams(ctx context.Context) ([]string, error) {
	return upstreamNames(ctx, d.cfg, d.ledger)
}

// configuredNames returns the names of the upstreams of a configuration, in its order.
func configuredNames(cfg *config.Config) (names []string) {
	for _, u := range cfg.Upstreams {
		names = append(names, u.Name)
	}
	return names
}

// watchedNames are the configured upstreams, and those of the receivers of events: pages and
// metrics show both.
func watchedNames(cfg *config.Config) (names []string) {
	names = configuredNames(cfg)
	for _, r := range cfg.Notify {
		names = append(names, notify.UpstreamOf(r.Name))
	}
	return names
}

func upstreamNames(ctx context.Context, cfg *config.Config, l *ledger.Ledger) ([]string, error) {
	queues, err := l.Queues(ctx)
	if err != nil {
		return nil, err
	}
	names := watchedNames(cfg)
	for _, queue := range queues {
		names = append(names, tasks.UpstreamOf(queue))
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// circuitChange is a command by which an operator opens or closes a circuit, with its
// flags.
type circuitChange struct {
	*app
	hold          time.Duration
	until, reason string
}

func (a *app) circuitOpenCommand() *cobra.Command {
	s := &circuitChange{app: a}
	cmd := &cobra.Command{
		Use:   "open NAME (--for D | --until T) --reason R",
		Short: "Open a circuit: hold an account, or one endpoint, for a time",
		Long: `Open the circuit of an account, or of one endpoint: none of its calls starts until
the time is over. Then one call, the probe, is made, and its answer decides what
happens next.
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
	s.addReason(cmd)
	return cmd
}

func (a *app) circuitCloseCommand() *cobra.Command {
	s := &circuitChange{app: a}
	cmd := &cobra.Command{
		Use:   "close NAME --reason R",
		Short: "Close a circuit: an account, or one endpoint, is called again at once",
		Long: `Close the circuit of an account, or of one endpoint: its calls start again at once.
NAME is the upstream, or NAME~METHOD~/path for an endpoint.

If a limit or a budget holds the account, such as 5000/day or 100 USD/month, its count
starts again from zero, until its window ends. A rate, such as 10/s, still applies.`,
		Example: `  callq circuit close patsnap --reason "invoice paid"
  callq circuit close 'patsnap~GET~/search/*' --reason 'new key'`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.circuitNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return s.close(cmd.Context(), args[0]) },
	}
	s.addReason(cmd)
	return cmd
}

func (s *circuitChange) addReason(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.reason, "reason", "", "why; it is recorded and shown to others")
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if before != nil {
			if err := before(cmd, args); err != nil {
				return err
			}
		}
		if s.reason == "" {
			return errors.New(`give --reason, as in --reason "invoice paid"`)
		}
		return nil
	}
}

// maxHold is the longest hold. A longer one is probably a mistake.
const maxHold = 366 * 24 * time.Hour

func (s *circuitChange) open(ctx context.Context, arg string) (err error) {
	name, err := s.parse(arg)
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
	d, err := s.connectFor(ctx, name)
	if err != nil {
		return err
	}
	defer d.close(&err)
	hold := s.hold
	if !end.IsZero() {
		// The hold ends by Redis's clock.
		now, err := d.conn.Client.Time(ctx).Result()
		if err != nil {
			return err
		}
		if hold = end.Sub(now); hold <= 0 || hold > maxHold {
			return usageError("--until %s: write a time in the future, within a year", s.until)
		}
	}
	if err := d.circuits.Open(ctx, name, hold, s.reason, whoami()); err != nil {
		return err
	}
	return s.printState(ctx, d, name, "")
}

func (s *circuitChange) close(ctx context.Context, arg string) (err error) {
	name, err := s.parse(arg)
	if err != nil {
		return err
	}
	d, err := s.connectFor(ctx, name)
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
	return s.printState(ctx, d, name, afterClose(before, now))
}

// parse reads the command line. Its errors are usage errors.
func (s *circuitChange) parse(arg string) (circuit.Name, error) {
	name, err := circuit.ParseName(arg)
	if err != nil {
		return name, usageError("%w", err)
	}
	if strings.TrimSpace(s.reason) == "" {
		return name, usageError("--reason is empty: write why; it is recorded and shown to others")
	}
	return name, nil
}

// connectFor connects, and checks that the circuit's upstream exists.
func (s *circuitChange) connectFor(ctx context.Context, name circuit.Name) (*backend, error) {
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

// printState prints the state of a circuit. more is added to the sentence for people.
func (s *circuitChange) printState(ctx context.Context, d *backend, name circuit.Name, more string) error {
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
