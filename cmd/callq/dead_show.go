package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/shellword"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/spf13/cobra"
)

func (a *app) deadShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show everything about one dead letter, and what to do next",
		Long: `Show everything about one dead letter: what the support of the API needs, the last
attempts, how it ended before it was redriven, the call itself, and what to do next.
It also shows calls in other states, as long as they are in the ledger.`,
		Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d, err := a.backend(cmd.Context(), "dead")
			if err != nil {
				return err
			}
			defer d.close(&err)
			r, err := a.find(cmd.Context(), d, args[0])
			if err != nil {
				return err
			}
			if a.json {
				shown, err := jsonform.Call(r)
				if err != nil {
					return err
				}
				return a.printJSON(shown)
			}
			return a.show(r)
		},
	}
}

// find returns the call with the id.
func (a *app) find(ctx context.Context, d *backend, id string) (tasks.CallInfo, error) {
	r, err := d.client.Call(ctx, id)
	if errors.Is(err, tasks.ErrNoCall) {
		return r, fmt.Errorf("%w; %s shows the ids of dead letters", err, a.next("dead list"))
	}
	return r, err
}

func (a *app) show(r tasks.CallInfo) error {
	e := r.Result
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-18s%s\n", name, console.Printable(value))
		}
	}
	line("call", e.ID)
	line("state", string(e.State))
	line("batch", e.Batch)
	line("key", e.Key)
	line("upstream", e.Upstream)
	line("endpoint", r.Endpoint)
	line("group", r.Group)
	line("class", e.Class)
	line("rule", e.Rule)
	line("attempts", strconv.Itoa(e.Attempts)+" made, "+strconv.Itoa(e.Parked)+" times put back")
	line("accepted", timeText(r.AcceptedAt))
	if !e.FirstAt.IsZero() {
		line("first sent", timeText(e.FirstAt))
	}
	if !e.FinishedAt.IsZero() {
		line("ended", timeText(e.FinishedAt))
		b.WriteString("\nFor the API's support\n")
		line("  error code", orDash(string(e.ErrorCode)))
		line("  correlation id", orDash(e.CorrelationID))
		line("  time", supportTime(r))
		line("  HTTP status", httpStatus(e.HTTPStatus))
		line("  transport", r.Transport)
		line("  message", e.ErrorMessage)
		b.WriteString("\nWhat it means\n")
		line("  for the user", orDash(e.UserMessage))
		line("  for you", orDash(e.Advice))
	}
	if _, err := io.WriteString(a.stdout, b.String()); err != nil {
		return err
	}
	if err := a.showLog(r); err != nil {
		return err
	}
	return a.showRest(r)
}

// supportTime returns when the last answer arrived, in UTC and with milliseconds, so that
// it can be found in the API's logs.
func supportTime(r tasks.CallInfo) string {
	at := r.Result.FinishedAt
	if n := len(r.Attempts); n > 0 {
		at = r.Attempts[n-1].At
	}
	return at.UTC().Format("2006-01-02T15:04:05.000Z07:00")
}

func (a *app) showLog(r tasks.CallInfo) error {
	if len(r.Attempts) == 0 {
		return nil
	}
	fmt.Fprint(a.stdout, "\nThe last attempts\n")
	t := console.NewTable(a.stdout, "  SENT", "ATTEMPT", "DECISION", "CLASS", "STATUS", "CODE", "CORRELATION ID", "TOOK")
	for _, l := range r.Attempts {
		status := httpStatus(l.HTTPStatus)
		if l.Transport != "" {
			status = l.Transport
		}
		t.Row("  "+timeText(l.At), strconv.Itoa(l.Number), l.Decision, l.Class, status, orDash(l.ErrorCode), orDash(l.CorrelationID),
			console.Duration(l.Latency))
	}
	return t.Flush()
}

// httpStatus returns a status for people, none if no answer came.
func httpStatus(status int) string {
	if status == 0 {
		return "none"
	}
	return strconv.Itoa(status)
}

func (a *app) showRest(r tasks.CallInfo) error {
	var b strings.Builder
	if len(r.Former) > 0 {
		b.WriteString("\nBefore it was redriven\n")
		for _, f := range r.Former {
			fmt.Fprintf(&b, "  %s: %s, %s %s, correlation id %s, after %s\n", timeText(f.FinishedAt), f.State,
				console.Printable(f.Class), console.Printable(orDash(f.ErrorCode)), console.Printable(orDash(f.CorrelationID)), console.Plural(f.Attempts, "attempt"))
		}
	}
	if r.Purged {
		b.WriteString("\nThe call itself was purged.\n")
	} else if call := jsonform.CallLine(r); string(call) != "null" {
		fmt.Fprintf(&b, "\nThe call\n  %s\n", console.Printable(string(call)))
	}
	if len(r.Result.Body) > 0 {
		fmt.Fprintf(&b, "\nThe answer's body\n  %s\n", console.Printable(string(r.Result.Body)))
	}
	if next := a.nextSteps(r); len(next) > 0 {
		b.WriteString("\nNext\n")
		for _, step := range next {
			fmt.Fprintf(&b, "  %s\n", step)
		}
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// nextSteps returns the commands to run next.
func (a *app) nextSteps(r tasks.CallInfo) []string {
	switch {
	case r.Result.State == tasks.StateOpen:
		return []string{"The call is open: a worker will make it, or is making it."}
	case r.Result.State == tasks.StateDone, r.Purged:
		return nil
	}
	var steps []string
	if policy.Class(r.Result.Class) == policy.ClassOutcomeUnknown {
		steps = append(steps, "Check at the API whether the call took effect. Only if it did not:")
	}
	steps = append(steps, a.next("dead redrive "+r.Result.ID)+"   try it again unchanged")
	if r.Group != "" {
		steps = append(steps, a.next("dead redrive --group "+r.Group)+"   try all calls of its group again")
	}
	return append(steps, a.next("batch export "+shellword.Quote(console.Printable(r.Result.Batch))+" --state "+string(r.Result.State)+" --calls -o again.jsonl")+"   edit the calls and send them again")
}
