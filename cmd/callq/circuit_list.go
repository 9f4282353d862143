package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
	"github.com/spf13/cobra"
)

// circuitRow is a circuit as --json prints it. An account that a limit or a budget holds is
// also shown as open, but no probe follows.
type circuitRow struct {
	Name          string     `json:"name"`
	Upstream      string     `json:"upstream"`
	Endpoint      string     `json:"endpoint"`
	State         string     `json:"state"`
	Until         *time.Time `json:"until"`
	Since         *time.Time `json:"since"`
	Reason        string     `json:"reason"`
	Limit         string     `json:"limit"` // the limit or the budget that holds, as it is written
	Class         string     `json:"class"`
	Code          code       `json:"error_code"`
	Message       string     `json:"error_message"`
	CorrelationID string     `json:"correlation_id"`
	Who           string     `json:"who"`
	Note          string     `json:"note"`
	Epoch         int64      `json:"epoch"`
	Rung          int        `json:"rung"`
	Streak        int        `json:"streak"`
	Failed        int        `json:"failed_probes"`
	Fault         string     `json:"probe_fault"` // the last probe's error, if it says nothing about the hold
	Probing       bool       `json:"probing"`
	Waiting       int64      `json:"waiting"`

	// limitBy and limitUntil belong to Limit; limitBy is empty if no limit holds.
	// limitOnly reports that only a limit holds, and not the circuit itself.
	limitBy    string
	limitUntil time.Time
	limitOnly  bool
}

// rowOf returns the row of a record. now is the time by Redis's clock.
func rowOf(r circuit.Record, now time.Time) circuitRow {
	at := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	row := circuitRow{
		Name: r.Name.String(), Upstream: r.Name.Upstream, Endpoint: r.Name.Endpoint, State: string(r.State),
		Who: r.Who, Note: r.Note, Epoch: r.Epoch, Streak: r.Streak, Waiting: r.Waiting,
	}
	if now.Before(r.Limited) {
		row.Limit, row.limitBy, row.limitUntil = r.LimitedText, waiting.LimitedBy(r), r.Limited
	}
	// The record of a closed circuit still has the fields of its last opening.
	switch {
	case r.State == circuit.Open:
		row.Until, row.Since, row.Reason, row.Class, row.Code = at(r.Until), at(r.Since), r.Reason, r.Class, code(r.Code)
		row.Message, row.CorrelationID, row.Rung, row.Failed, row.Probing = r.Message, r.CorrelationID, r.Rung, r.Failed, r.Probing
		row.Fault = r.Fault
	case row.limitBy != "":
		row.State, row.Until, row.Reason, row.limitOnly = string(circuit.Open), at(r.Limited), row.limitBy, true
	}
	return row
}

// byText returns who opened or closed the circuit last, "-" for a limit.
func (r circuitRow) byText() string {
	if r.limitOnly {
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
	limit := strings.TrimSuffix(r.limitBy+": "+r.Limit, ": ")
	switch {
	case r.limitOnly:
		return limit
	case r.limitBy != "":
		return fmt.Sprintf("%s; %s until %s", r.ownReason(), limit, timeText(r.limitUntil))
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
