package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/spf13/cobra"
)

// health is what a check makes of what it looked at.
type health string

// The states of health. Only a finding changes the exit status.
const (
	healthy health = "ok"
	noted   health = "note"
	mended  health = "mended"
	found   health = "finding"
)

// diagnosis is one thing that a check has to say. Fix says what to do about it.
type diagnosis struct {
	Check  string `json:"check"`
	Status health `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// doctorReport is what doctor says as JSON. MaybeSent is nil unless it was asked for.
type doctorReport struct {
	Checks    []diagnosis  `json:"checks"`
	Batches   []batchUsage `json:"batches,omitempty"`
	MaybeSent *[]maybeSent `json:"may_have_been_sent,omitempty"`
	Healthy   bool         `json:"healthy"`
}

// doctor is callq doctor at work.
type doctor struct {
	*app
	cfg     *config.Config
	backend *backend // nil before Redis was reached
	// mend tells to repair what can be repaired without loss.
	mend bool
	// accept tells to let calls be sent that may have been sent before Redis was
	// restored; yes not to ask. maybeSent are those calls.
	accept, yes bool
	maybeSent   []maybeSent
	list        []diagnosis
	// usages are what the largest batches take.
	usages []batchUsage
}

// check is a thing to look at. An error is one that kept it from looking.
type check struct {
	name string
	look func(context.Context, *doctor) ([]diagnosis, error)
}

// The checks in the order in which they are made: those that need no Redis, and
// those that do.
var (
	checksAlone = []check{
		{"config", checkConfig},
		{"credentials", checkCredentials},
		{"files", checkFiles},
		{"policies", checkPolicies},
		{"asynq", checkAsynq},
	}
	checksOnRedis = []check{
		{"redis", checkServer},
		{"eviction", checkEviction},
		{"persistence", checkPersistence},
		{"clock", checkClock},
		{"workers", checkWorkers},
		{"fence", checkFence},
		{"circuits", checkCircuits},
		{"queues", checkQueues},
		{"tasks", checkTasks},
		{"calls", checkCalls},
		{"memory", checkMemory},
		{"waits", checkWaits},
		{"schedules", checkSchedules},
	}
)

func (a *app) doctorCommand() *cobra.Command {
	mend, accept, yes := false, false, false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what keeps calls from being made",
		Long: `Find what keeps calls from being made or remembered, in the configuration, in
Redis and in the queues, and say what to do. The exit status is 1 if there is a
finding; a note is not one. callq audit checks the counts.

--mend puts back calls that no worker would find, and queues that asynq's tools do
not show.

A Redis that was restored from a backup, or whose replica took over, may have
forgotten that calls were sent. Running workers tell it what they know; if that is not
everything, calls that must not be sent twice do not start. --accept-restore lists the
calls that may have been sent already, and lets them start. Run it before callq work
after a restore that no worker has lived through. On a terminal it asks first, unless
--yes is given.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config(config.Flag{}, config.Flag{})
			if err != nil {
				return err
			}
			d := &doctor{app: a, cfg: cfg, mend: mend, accept: accept, yes: yes}
			return errors.Join(d.examine(cmd.Context()), d.tell())
		},
	}
	cmd.Flags().BoolVar(&mend, "mend", false, "repair what can be repaired without loss")
	cmd.Flags().BoolVar(&accept, "accept-restore", false, "list the calls that may have been sent before Redis was restored, and let them start")
	addYes(cmd, &yes)
	return cmd
}

func (d *doctor) examine(ctx context.Context) (err error) {
	d.run(ctx, checksAlone)
	backend, err := d.connect(ctx, d.cfg, "doctor", false, d.logger(slog.LevelError))
	var inConfig *yamlfile.Error
	switch {
	case errors.Is(err, redisconn.ErrURL), errors.As(err, &inConfig), ctx.Err() != nil:
		return err
	case errors.Is(err, broker.ErrUnknownScript):
		return nil // checkAsynq has said so
	case err != nil:
		d.list = append(d.list, diagnosis{"redis", found, err.Error(), ""})
		return nil
	}
	defer backend.close(&err)
	d.backend = backend
	if backend.conn.Volatile {
		d.list = append(d.list, diagnosis{"redis", noted, backend.conn.Notice, "install valkey-server or redis-server, or name a Redis with the key redis"})
		return nil
	}
	d.run(ctx, checksOnRedis)
	return ctx.Err()
}

func (d *doctor) run(ctx context.Context, checks []check) {
	for _, c := range checks {
		if ctx.Err() != nil {
			return
		}
		list, err := c.look(ctx, d)
		if err != nil {
			if d.backend != nil {
				err = d.backend.conn.Explain(err)
			}
			list = append(list, diagnosis{Status: found, Detail: "could not be looked at: " + err.Error()})
		}
		for _, one := range list {
			one.Check = c.name
			d.list = append(d.list, one)
		}
	}
}

// tell prints what was found; its error carries the exit status.
func (d *doctor) tell() error {
	findings, notes := 0, 0
	for _, one := range d.list {
		switch one.Status {
		case found:
			findings++
		case noted:
			notes++
		}
	}
	var err error
	if d.json {
		report := doctorReport{Checks: d.list, Batches: d.usages, Healthy: findings == 0}
		if d.accept {
			report.MaybeSent = &d.maybeSent
		}
		err = d.printJSON(report)
	} else {
		err = d.print(findings, notes)
	}
	if findings > 0 {
		err = errors.Join(err, errFindings)
	}
	return err
}

func (d *doctor) print(findings, notes int) error {
	text := &errWriter{w: d.stdout}
	for _, one := range d.list {
		if d.quiet && one.Status != found {
			continue
		}
		fmt.Fprintf(text, "%-8s %-12s %s\n", one.Status, one.Check, console.Printable(one.Detail))
		if one.Fix != "" {
			fmt.Fprintf(text, "%-21s Next: %s\n", "", console.Printable(one.Fix))
		}
	}
	switch {
	case findings > 0:
		fmt.Fprintf(text, "%s.\n", console.Plural(findings, "finding"))
	case notes > 0 && d.quiet:
		fmt.Fprintf(text, "No findings; %s, not shown with --quiet.\n", console.Plural(notes, "note"))
	case notes > 0:
		fmt.Fprintf(text, "No findings; %s above.\n", console.Plural(notes, "note"))
	default:
		fmt.Fprintln(text, "All is well.")
	}
	return text.err
}

// well is for a check that has nothing to find fault with.
func well(format string, args ...any) []diagnosis {
	return []diagnosis{{Status: healthy, Detail: fmt.Sprintf(format, args...)}}
}

// orWell is what was found, or that all is well.
func orWell(list []diagnosis, format string, args ...any) []diagnosis {
	if len(list) == 0 {
		return well(format, args...)
	}
	return list
}
