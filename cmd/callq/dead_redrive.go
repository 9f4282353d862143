package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/deadletters"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/spf13/cobra"
)

// deadAction is redrive or purge: a command that does the same to each of the selected
// dead letters, at a limited rate.
type deadAction struct {
	*app
	selection
	// done is the participle, for reports; infinitive is for the question. asksForOne
	// says that it asks even for a single id.
	done, infinitive string
	asksForOne       bool
	// can returns nil if the command can be applied to a call, otherwise why not.
	can func(tasks.CallInfo) error
	// act applies the command.
	act func(*tasks.Client, context.Context, tasks.DeadFilter, tasks.Pace) (tasks.Changed, error)

	rate        string
	dryRun, yes bool
}

func (a *app) deadRedriveCommand() *cobra.Command {
	v := &deadAction{
		app: a, done: "redriven", infinitive: "Redrive",
		can: tasks.CallInfo.CanRedrive, act: (*tasks.Client).RedriveAll,
	}
	return v.command("redrive", "Make dead letters again, with a fresh budget of attempts",
		`Put dead letters back into their queues. Each gets all its attempts again and costs
as much as a new call. Its earlier ending stays recorded. A redriven call waits like any
other, also behind an open circuit. If the command is interrupted, start it again: a
redriven call is no longer a dead letter.

It asks first, unless all calls are named by id. Calls that were dropped or cancelled
can be redriven by id.`)
}

func (a *app) deadPurgeCommand() *cobra.Command {
	v := &deadAction{
		app: a, done: "purged", infinitive: "Purge", asksForOne: true,
		can: tasks.CallInfo.CanPurge, act: (*tasks.Client).PurgeAll,
	}
	return v.command("purge", "Delete the content of dead letters",
		`Delete the content of dead letters: the call, its answer and its log. The record of
how it ended stays, and its batch still counts it as dead. A purged call cannot be
made again.`)
}

func (v *deadAction) command(name, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " ID… | --group G | --filter K=V | --all",
		Short: short,
		Long:  long,
		Args: func(_ *cobra.Command, ids []string) error {
			flags := v.group != "" || len(v.filters) > 0 || v.all
			switch {
			case len(ids) == 0 && !flags:
				return errors.New("give ids, --group, --filter or --all")
			case len(ids) > 0 && flags:
				return errors.New("give either ids, or --group, --filter or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, ids []string) error { return v.run(cmd.Context(), ids) },
	}
	v.flags(cmd, true)
	cmd.Flags().StringVar(&v.rate, "rate", "50/s", "at most `N/s`, N/m or N/h")
	cmd.Flags().BoolVar(&v.dryRun, "dry-run", false, "count and group what would be "+v.done+", and change nothing")
	addYes(cmd, &v.yes)
	return cmd
}

func (v *deadAction) run(ctx context.Context, ids []string) (err error) {
	if err := v.parse(); err != nil {
		return err
	}
	gap, err := deadletters.ParseRate(v.rate)
	if err != nil {
		return usageError("--rate %q: %w", v.rate, err)
	}
	asks := !v.dryRun && (len(ids) == 0 || v.asksForOne)
	if asks {
		if err := v.askable(v.yes); err != nil {
			return err
		}
	}
	d, err := v.backend(ctx, "dead")
	if err != nil {
		return err
	}
	defer d.close(&err)
	filter := v.dead(ids...)
	if filter.Until, err = d.client.DeadWatermark(ctx); err != nil {
		return err
	}
	if v.dryRun {
		return v.printDryRun(d.client.DeadLetters(ctx, filter))
	}
	if asks && !v.yes {
		n, err := count(d.client.DeadLetters(ctx, filter))
		if err != nil || n == 0 {
			v.hintNone(err, n)
			return errors.Join(err, v.conclude(deadOutcome{}, nil))
		}
		if err := v.confirm(v.yes, fmt.Sprintf("%s %s?", v.infinitive, console.Plural(n, "dead letter"))); err != nil {
			return err
		}
	}
	out, err := v.each(ctx, d, filter, gap)
	v.hintNone(err, out.Selected)
	return v.conclude(out, err)
}

// hintNone says that nothing was selected, for example because a name was mistyped.
func (v *deadAction) hintNone(err error, selected int) {
	if err != nil || selected > 0 {
		return
	}
	switch {
	case v.group != "":
		v.progressf("No dead letter is in group %s; %s lists the groups.", console.Printable(v.group), v.next("dead groups"))
	case len(v.filters) > 0:
		v.progressf("No dead letter has %s; %s shows all dead letters.", console.Printable(strings.Join(v.filters, " and ")), v.next("dead list"))
	default:
		v.progressf("There are no dead letters.")
	}
}

func count(calls iter.Seq2[tasks.CallInfo, error]) (n int, err error) {
	for _, err := range calls {
		if err != nil && !errors.Is(err, tasks.ErrNoCall) {
			return n, err
		}
		n++
	}
	return n, nil
}

// deadOutcome counts what happened to the selected calls.
type deadOutcome struct {
	tasks.Changed
	failed []deadFailure
}

type deadFailure struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

func (v *deadAction) each(ctx context.Context, d *backend, filter tasks.DeadFilter, gap time.Duration) (out deadOutcome, err error) {
	line := v.newProgress()
	defer line.Close()
	changed := 0
	out.Changed, err = v.act(d.client, ctx, filter, tasks.Pace{Every: gap, OnCall: func(id string, err error) {
		switch {
		case err == nil:
			changed++
		case !errors.Is(err, tasks.ErrChanged):
			out.failed = append(out.failed, deadFailure{id, v.refusal(err)})
		}
		line.Line(func() string { return fmt.Sprintf("%s %s", console.Plural(changed, "call"), v.done) })
	}})
	return out, err
}

// refusal returns why a call was not changed, as the continuation of its id.
func (v *deadAction) refusal(err error) string {
	switch {
	case errors.Is(err, tasks.ErrNoCall):
		return "is unknown; " + v.next("dead list") + " shows the ids of dead letters"
	case errors.Is(err, tasks.ErrPurged) && v.asksForOne:
		return "was purged before"
	case errors.Is(err, tasks.ErrPurged):
		return "was purged: send it again from its source"
	case errors.Is(err, tasks.ErrOpen):
		return "is open already"
	case errors.Is(err, tasks.ErrDone):
		return "is done and cannot be redriven"
	case errors.Is(err, tasks.ErrNotDead):
		return "is not a dead letter"
	case errors.Is(err, tasks.ErrBusy):
		return err.Error()
	}
	return "cannot be redriven: " + err.Error()
}

// conclude prints what was done, even if err ended the command early.
func (v *deadAction) conclude(out deadOutcome, err error) error {
	if v.json {
		failed := out.failed
		if failed == nil {
			failed = []deadFailure{}
		}
		err = errors.Join(v.printJSON(map[string]any{
			"selected": out.Selected, v.done: out.Applied, "moved_on": out.Moved, "failed": len(out.failed), "errors": failed,
		}), err)
	} else {
		text := fmt.Sprintf("%s %s", console.Plural(out.Applied, "call"), v.done)
		if out.Moved > 0 {
			text += fmt.Sprintf(", %s changed meanwhile", console.Grouped(int64(out.Moved)))
		}
		if len(out.failed) > 0 {
			text += fmt.Sprintf(", %s refused", console.Grouped(int64(len(out.failed))))
		}
		if err != nil {
			text += "; start the same command again for the rest"
		}
		_, printed := fmt.Fprintln(v.stdout, text)
		for _, f := range out.failed {
			v.report(fmt.Errorf("call %s %s", f.ID, f.Error))
		}
		err = errors.Join(err, printed)
	}
	if len(out.failed) > 0 {
		err = errors.Join(err, errFindings)
	}
	return err
}

// printDryRun prints what would be done.
func (v *deadAction) printDryRun(calls iter.Seq2[tasks.CallInfo, error]) error {
	var tally deadletters.Tally
	refused := 0
	for c, err := range calls {
		if err != nil && !errors.Is(err, tasks.ErrNoCall) {
			return err
		}
		if err == nil {
			err = v.can(c)
		}
		if err != nil {
			v.report(fmt.Errorf("call %s %s", c.Result.ID, v.refusal(err)))
			refused++
			continue
		}
		tally.Add(c)
	}
	total, groups := tally.Total, tally.Groups()
	var failed error
	if refused > 0 {
		failed = errFindings
	}
	if v.json {
		list := make([]jsonform.DeadGroup, len(groups))
		for i, g := range groups {
			list[i] = jsonform.DeadGroupOf(g)
		}
		return errors.Join(v.printJSON(map[string]any{"dry_run": true, "selected": total, "groups": list}), failed)
	}
	if _, err := fmt.Fprintf(v.stdout, "%s would be %s\n", console.Plural(total, "call"), v.done); err != nil {
		return err
	}
	if total == 0 {
		v.hintNone(nil, refused)
		return failed
	}
	return errors.Join(v.printGroups(groups), failed)
}
