package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/spf13/cobra"
)

// circuitRow is a circuit for people.
type circuitRow struct{ jsonform.Circuit }

// rowOf returns the row of a record. now is the time by Redis's clock.
func rowOf(r circuit.Record, now time.Time) circuitRow {
	return circuitRow{jsonform.CircuitOf(r, now)}
}

// byText returns who opened or closed the circuit last, "-" for a limit.
func (r circuitRow) byText() string {
	if r.LimitOnly {
		return "-"
	}
	return orDash(r.Who)
}

// stateText returns the state for people. now is the time by Redis's clock.
func (r circuitRow) stateText(now time.Time) string {
	switch {
	case r.State != string(circuit.Open):
		return r.State
	case r.Probing:
		return "open, probing"
	case r.Until != nil && !now.Before(*r.Until):
		return "open, probe next"
	}
	return r.State
}

// reasonText returns why the account is held: first the circuit's own reason, then that of
// a limit. For a closed circuit it is the reason that the operator gave.
func (r circuitRow) reasonText() string {
	limit := strings.TrimSuffix(r.LimitBy+": "+r.Limit, ": ")
	switch {
	case r.LimitOnly:
		return limit
	case r.LimitBy != "":
		return fmt.Sprintf("%s; %s until %s", r.ownReason(), limit, timeText(r.LimitUntil))
	}
	return r.ownReason()
}

func (r circuitRow) ownReason() string {
	reason := orDash(r.Reason)
	switch {
	case r.Note != "":
		reason = strings.TrimPrefix(r.Reason+": "+r.Note, ": ")
	case r.Class != "" && r.Message != "":
		reason = r.Reason + ": " + r.Message
	}
	if r.Fault != "" {
		reason += "; its probe failed: " + r.Fault
	}
	return reason
}

func (a *app) circuitListCommand() *cobra.Command {
	wide := false
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the circuits of all accounts, and of endpoints that were held before",
		Long: `List the circuits of all accounts, and of endpoints that were held before. An account
that a limit or a budget holds is listed as open, with the reason limit or budget; no
probe follows such a hold.

--wide adds EPOCH, which counts how often the circuit opened or closed, and RUNG,
which counts the holds in a row and decides how long the next one is.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listCircuits(cmd.Context(), wide) },
	}
	cmd.Flags().BoolVar(&wide, "wide", false, "show EPOCH and RUNG too")
	return cmd
}

func (a *app) listCircuits(ctx context.Context, wide bool) (err error) {
	d, err := a.backend(ctx, "circuit")
	if err != nil {
		return err
	}
	defer d.close(&err)
	upstreams, err := d.upstreams(ctx)
	if err != nil {
		return err
	}
	records, err := d.circuits.List(ctx, upstreams)
	if err != nil {
		return err
	}
	now, err := d.conn.Client.Time(ctx).Result()
	if err != nil {
		return err
	}
	if a.json {
		list := jsonList{w: a.stdout}
		for _, r := range records {
			if err := list.add(rowOf(r, now)); err != nil {
				return err
			}
		}
		return list.end()
	}
	titles := []string{"CIRCUIT", "STATE", "UNTIL", "REASON", "CODE", "CORRELATION ID", "BY", "WAITING"}
	if wide {
		titles = append(titles, "EPOCH", "RUNG")
	}
	t := console.NewTable(a.stdout, titles...)
	for _, r := range records {
		row, until := rowOf(r, now), "-"
		if row.Until != nil {
			until = timeText(*row.Until)
		}
		cells := []string{
			row.Name, row.stateText(now), until, row.reasonText(), orDash(string(row.Code)), orDash(row.CorrelationID),
			row.byText(), console.Grouped(row.Waiting),
		}
		if wide {
			cells = append(cells, strconv.FormatInt(row.Epoch, 10), strconv.Itoa(row.Rung))
		}
		t.Row(cells...)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	why := a.newReporter(d, false, nil)
	if err := why.Read(ctx); err != nil {
		return err
	}
	return printReasons(a.stdout, why)
}
