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

// health is the result of a check.
type health string

// The results. Only a finding changes the exit status.
const (
	healthy  health = "ok"
	noted    health = "note"
	repaired health = "repaired"
	found    health = "finding"
)

// diagnosis is one line of a check's report. Fix says what to do.
type diagnosis struct {
	Check  string `json:"check"`
	Status health `json:"status"`
	Detail string `json:"detail"`
	Fix    string `json:"fix,omitempty"`
}

// doctorReport is the output of doctor as JSON. MaybeSent is nil without --accept-restore.
type doctorReport struct {
	Checks    []diagnosis  `json:"checks"`
	Batches   []batchUsage `json:"batches,omitempty"`
	MaybeSent *[]maybeSent `json:"may_have_been_sent,omitempty"`
	Healthy   bool         `json:"healthy"`
}

// doctor is one run of callq doctor.
type doctor struct {
	*app
	cfg     *config.Config
	backend *backend // nil before Redis is reached
	// repair says to repair what can be repaired without loss.
	repair bool
	// accept says to let calls start that may have been sent before Redis was restored,
	// yes not to ask. maybeSent are those calls.
	accept, yes bool
	maybeSent   []maybeSent
	list        []diagnosis
	// usages is the memory that the largest batches use.
	usages []batchUsage
}

// check is one check of doctor. An error means that the check was not possible.
type check struct {
	name string
	look func(context.Context, *doctor) ([]diagnosis, error)
}

// The checks, in the order in which they run: those without Redis, and those with Redis.
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
		{"hashes", checkHashes},
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
		{"notify", checkNotify},
	}
)

func (a *app) doctorCommand() *cobra.Command {
	repair, accept, yes := false, false, false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why calls are not made",
		Long: `Find out why calls are not made or not recorded: check the configuration, Redis and
the queues, and say what to do. The exit status is 1 if there is a finding; a note is
not a finding. callq audit checks the counts.

--mend repairs what can be repaired without loss: it puts back calls that no worker
would find, and queues that asynq's tools do not show.

A Redis that was restored from a backup, or whose replica took over, may have lost the
records that calls were sent. Running workers restore the records that they have. If
some are still missing, calls that must not be sent twice do not start.
--accept-restore lists the calls that may have been sent already, and lets them start.
If no worker was running during the restore, run it before callq work. On a terminal it
asks first, unless --yes is given.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.config(config.Flag{}, config.Flag{})
			if err != nil {
				return err
			}
			d := &doctor{app: a, cfg: cfg, repair: repair, accept: accept, yes: yes}
			return errors.Join(d.examine(cmd.Context()), d.printReport())
		},
	}
	cmd.Flags().BoolVar(&repair, "mend", false, "repair what can be repaired without loss")
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
		return nil // checkAsynq has reported it
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
			list = append(list, diagnosis{Status: found, Detail: "the check failed: " + err.Error()})
		}
		for _, one := range list {
			one.Check = c.name
			d.list = append(d.list, one)
		}
	}
}

// printReport prints the results. Its error has the exit status.
func (d *doctor) printReport() error {
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

// well returns the result of a check without a finding.
func well(format string, args ...any) []diagnosis {
	return []diagnosis{{Status: healthy, Detail: fmt.Sprintf(format, args...)}}
}

// orWell returns the list, or if it is empty the result of a check without a finding.
func orWell(list []diagnosis, format string, args ...any) []diagnosis {
	if len(list) == 0 {
		return well(format, args...)
	}
	return list
}
