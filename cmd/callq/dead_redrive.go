package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/spf13/cobra"
)

// deadVerb is what redrive and purge have in common: they do one thing to each of
// the dead letters that were selected, at a pace.
type deadVerb struct {
	*app
	selection
	// done is the verb's past, infinitive its question; asksForOne tells whether
	// it asks for a single id too.
	done, infinitive string
	asksForOne       bool
	// takes tells why a call is not one for the verb, empty where it is.
	takes func(ledger.Record) string
	// act does it; see [ledger.Ledger.Redrive] for what it returns.
	act func(context.Context, *desk, ledger.Record) (did, busy bool, err error)

	rate        string
	dryRun, yes bool
}

func (a *app) deadRedriveCommand() *cobra.Command {
	v := &deadVerb{
		app: a, done: "redriven", infinitive: "Redrive",
		takes: func(r ledger.Record) string {
			switch {
			case r.Purged:
				return "was purged: send it again"
			case r.State == ledger.Open:
				return "is open already"
			case r.State == ledger.Done:
				return "is done: there is nothing to try again"
			}
			return ""
		},
		act: func(ctx context.Context, d *desk, r ledger.Record) (bool, bool, error) {
			return d.producer.Redrive(ctx, r)
		},
	}
	return v.command("redrive", "Make dead letters again, with a fresh budget of attempts",
		`Put dead letters back into their queues. Each gets a fresh budget of attempts,
keeps how it ended before as its lineage, and costs what a call costs. What is
redriven waits like any call, also behind an open circuit. Interrupted half-way
it can be started again: what is redriven is no dead letter any more.

Redriving more than calls named by id asks first. By id, calls that were dropped
or cancelled can be made again too.`)
}

func (a *app) deadPurgeCommand() *cobra.Command {
	v := &deadVerb{
		app: a, done: "purged", infinitive: "Purge", asksForOne: true,
		takes: func(r ledger.Record) string {
			switch {
			case r.Purged:
				return "was purged before"
			case r.State != ledger.Dead:
				return "is no dead letter: it is " + string(r.State)
			}
			return ""
		},
		act: func(ctx context.Context, d *desk, r ledger.Record) (bool, bool, error) { return d.ledger.Purge(ctx, r) },
	}
	return v.command("purge", "Drop the content of dead letters that nobody wants any more",
		`Drop what dead letters weigh: the call, its answer and its log. How it ended
stays, and its batch goes on counting it as dead. What is purged cannot be made
again.`)
}

func (v *deadVerb) command(name, short, long string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " ID… | --group G | --filter K=V | --all",
		Short: short,
		Long:  long,
		Args: func(_ *cobra.Command, ids []string) error {
			flags := v.group != "" || len(v.filters) > 0 || v.all
			switch {
			case len(ids) == 0 && !flags:
				return errors.New("say which: ids, --group, --filter or --all")
			case len(ids) > 0 && flags:
				return errors.New("give either ids, or --group, --filter or --all")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, ids []string) error { return v.run(cmd.Context(), ids) },
	}
	v.flags(cmd, true)
	cmd.Flags().StringVar(&v.rate, "rate", "50/s", "no more than `N/s`, N/m or N/h")
	cmd.Flags().BoolVar(&v.dryRun, "dry-run", false, "count and group what would be "+v.done+", and change nothing")
	addYes(cmd, &v.yes)
	return cmd
}

func (v *deadVerb) run(ctx context.Context, ids []string) (err error) {
	if err := v.parse(); err != nil {
		return err
	}
	gap, err := parseRate(v.rate)
	if err != nil {
		return err
	}
	asks := !v.dryRun && (len(ids) == 0 || v.asksForOne)
	if asks {
		if err := v.askable(v.yes); err != nil {
			return err
		}
	}
	d, err := v.desk(ctx, "dead")
	if err != nil {
		return err
	}
	defer d.close(&err)
	horizon, err := d.ledger.DeadHorizon(ctx)
	if err != nil {
		return err
	}
	selected := func() iter.Seq2[ledger.Record, error] { return v.selected(ctx, d, ids, horizon) }
	if v.dryRun {
		return v.rehearse(selected())
	}
	if asks && !v.yes {
		n, err := count(selected())
		if err != nil || n == 0 {
			v.hintNone(err, n)
			return errors.Join(err, v.conclude(deadOutcome{}, nil))
		}
		if err := v.confirm(v.yes, fmt.Sprintf("%s %s?", v.infinitive, plural(n, "dead letter"))); err != nil {
			return err
		}
	}
	out, err := v.each(ctx, d, selected(), gap)
	v.hintNone(err, out.selected)
	return v.conclude(out, err)
}

// hintNone says that nothing is what was asked for, as where a name was mistyped.
func (v *deadVerb) hintNone(err error, selected int) {
	if err != nil || selected > 0 {
		return
	}
	switch {
	case v.group != "":
		v.progressf("No dead letter is in group %s; %s lists the groups.", printable(v.group), v.next("dead groups"))
	case len(v.filters) > 0:
		v.progressf("No dead letter has %s; %s shows what there is.", printable(strings.Join(v.filters, " and ")), v.next("dead list"))
	default:
		v.progressf("There are no dead letters.")
	}
}

// selected yields the calls that the command line names. Those by id come
// whatever their state; others are dead.
func (v *deadVerb) selected(ctx context.Context, d *desk, ids []string, horizon ledger.Horizon) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		for _, id := range ids {
			r, err := d.ledger.Find(ctx, id)
			if errors.Is(err, tasks.ErrNoCall) {
				r, err = ledger.Record{ID: id}, nil
			}
			if !yield(r, err) {
				return
			}
		}
		if len(ids) > 0 {
			return
		}
		for r, err := range d.ledger.Dead(ctx, v.group) {
			if err == nil && (!horizon.Has(r) || !v.has(r)) {
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

func count(records iter.Seq2[ledger.Record, error]) (n int, err error) {
	for _, err := range records {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// deadOutcome counts what became of the selected calls.
type deadOutcome struct {
	selected, did, moved int
	failed               []deadFailure
}

type deadFailure struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

func (v *deadVerb) each(ctx context.Context, d *desk, records iter.Seq2[ledger.Record, error], gap time.Duration) (out deadOutcome, err error) {
	line := v.statusLine()
	defer line.end()
	next := time.Now()
	for r, err := range records {
		if err != nil {
			return out, err
		}
		out.selected++
		if why := v.refuses(r); why != "" {
			out.failed = append(out.failed, deadFailure{r.ID, why})
			continue
		}
		// Late is late: what was missed is not made up for in a burst.
		if now := time.Now(); next.Before(now) {
			next = now
		} else if err := sleep(ctx, next.Sub(now)); err != nil {
			return out, err
		}
		next = next.Add(gap)
		did, busy, err := v.insist(ctx, d, r)
		switch {
		case err == nil && did: // counts, though an interrupt came meanwhile
			out.did++
		case ctx.Err() != nil:
			return out, ctx.Err()
		case errors.Is(err, tasks.ErrMalformed), errors.Is(err, tasks.ErrNewerVersion):
			out.failed = append(out.failed, deadFailure{r.ID, err.Error()})
		case err != nil:
			return out, err
		case busy:
			out.failed = append(out.failed, deadFailure{r.ID, "a worker still holds its task: try again"})
		default:
			out.moved++
		}
		line.show(func() string { return fmt.Sprintf("%s %s", plural(out.did, "call"), v.done) })
	}
	return out, nil
}

func (v *deadVerb) refuses(r ledger.Record) string {
	if r.State == "" {
		return "is not known; " + v.next("dead list") + " shows the ids of dead letters"
	}
	return v.takes(r)
}

const (
	// busyTries is how often a call is tried whose worker has not let go of its
	// task yet, busyPause how long to wait before the next. A worker needs
	// milliseconds from the ledger's ending to asynq's.
	busyTries = 5
	busyPause = 200 * time.Millisecond
)

func (v *deadVerb) insist(ctx context.Context, d *desk, r ledger.Record) (did, busy bool, err error) {
	for range busyTries {
		if ctx.Err() != nil {
			return false, false, ctx.Err()
		}
		// What was begun is heard out, to be told of as done.
		did, busy, err = v.act(context.WithoutCancel(ctx), d, r)
		if err != nil || !busy {
			return did, busy, err
		}
		if err := sleep(ctx, busyPause); err != nil {
			return false, true, err
		}
	}
	return did, busy, err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// conclude prints what was done, also where err ended it half-way.
func (v *deadVerb) conclude(out deadOutcome, err error) error {
	if v.json {
		failed := out.failed
		if failed == nil {
			failed = []deadFailure{}
		}
		err = errors.Join(v.printJSON(map[string]any{
			"selected": out.selected, v.done: out.did, "moved_on": out.moved, "failed": len(out.failed), "errors": failed,
		}), err)
	} else {
		text := fmt.Sprintf("%s %s", plural(out.did, "call"), v.done)
		if out.moved > 0 {
			text += fmt.Sprintf(", %s moved on meanwhile", grouped(int64(out.moved)))
		}
		if len(out.failed) > 0 {
			text += fmt.Sprintf(", %s not", grouped(int64(len(out.failed))))
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

// rehearse shows what would be done.
func (v *deadVerb) rehearse(records iter.Seq2[ledger.Record, error]) error {
	total, refused := 0, 0
	byName := map[string]*ledger.DeadGroup{}
	for r, err := range records {
		if err != nil {
			return err
		}
		if why := v.refuses(r); why != "" {
			v.report(fmt.Errorf("call %s %s", r.ID, why))
			refused++
			continue
		}
		total++
		e := endingOf(r)
		group := ledger.Group{Class: e.Class, Code: e.Code, Endpoint: e.Endpoint, Message: e.UserMessage, Advice: e.Advice}
		name := group.Name()
		if byName[name] == nil {
			byName[name] = &ledger.DeadGroup{Group: group, Name: name}
		}
		byName[name].Count++
	}
	groups := make([]ledger.DeadGroup, 0, len(byName))
	for _, g := range byName {
		groups = append(groups, *g)
	}
	slices.SortFunc(groups, func(a, b ledger.DeadGroup) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	var failed error
	if refused > 0 {
		failed = errFindings
	}
	if v.json {
		list := make([]deadGroup, len(groups))
		for i, g := range groups {
			list[i] = deadGroupOf(g)
		}
		return errors.Join(v.printJSON(map[string]any{"dry_run": true, "selected": total, "groups": list}), failed)
	}
	if _, err := fmt.Fprintf(v.stdout, "%s would be %s\n", plural(total, "call"), v.done); err != nil {
		return err
	}
	if total == 0 {
		v.hintNone(nil, refused)
		return failed
	}
	return errors.Join(v.printGroups(groups), failed)
}

// parseRate reads "50/s" as the time between two calls.
func parseRate(text string) (time.Duration, error) {
	number, unit, _ := strings.Cut(text, "/")
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || per == 0 {
		return 0, misuse("--rate %q: write how many in which time, as in 50/s, 600/m or 1000/h", text)
	}
	return per / time.Duration(n), nil
}
