package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/overview"
)

const (
	// topEvery is how often top reads the state.
	topEvery = time.Second
	// topBatches and topGroups are how many batches and groups of dead letters it shows.
	topBatches, topGroups = 8, 5
	// barWidth is the width of a bar in characters.
	barWidth = 20
)

func (a *app) topCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "top",
		Short: "Show what flows, what is paused and why, and how far batches are",
		Long: `Show what flows, what is paused and until when, how much of the limits and budgets is
used, how far batches are and why calls failed: the status page for a terminal. It is
live until Ctrl-C. If stderr is not a terminal, or with --json, it prints the present
state once.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			d, err := a.backend(cmd.Context(), "top")
			if err != nil {
				return err
			}
			defer d.close(&err)
			reader, err := d.overview()
			if err != nil {
				return err
			}
			if a.json || !a.screen.Live() {
				return a.topOnce(cmd.Context(), reader)
			}
			return a.topLive(cmd.Context(), d, reader)
		},
	}
}

// topState is what top shows.
type topState struct {
	*overview.Overview
	Batches []overview.Batch `json:"batches"`
}

func readTop(ctx context.Context, reader *overview.Reader) (topState, error) {
	now, err := reader.Read(ctx)
	if err != nil {
		return topState{}, err
	}
	batches, _, err := reader.Batches(ctx, "", topBatches)
	return topState{now, slices.DeleteFunc(batches, overview.Batch.Notifications)}, err
}

func (a *app) topOnce(ctx context.Context, reader *overview.Reader) error {
	state, err := readTop(ctx, reader)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(state)
	}
	for _, line := range state.lines(0) {
		if _, err := fmt.Fprintln(a.stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// topLive shows the state until ctx ends. It continues if Redis cannot be reached for a
// while.
func (a *app) topLive(ctx context.Context, d *backend, reader *overview.Reader) error {
	tick := time.NewTicker(topEvery)
	defer tick.Stop()
	for {
		state, err := readTop(ctx, reader)
		switch err = d.explain(err); {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			width, height := a.screen.Size()
			a.screen.Show(clipped(state.lines(width), height)...)
		case temporary(err):
			a.screen.Show("Redis cannot be read now: " + err.Error())
		default:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// clipped returns the lines that fit on a terminal of a height; 0 is not known.
func clipped(lines []string, height int) []string {
	if height > 1 && len(lines) > height-1 {
		lines = append(lines[:height-2:height-2], "…")
	}
	return lines
}

// wrapped returns a text as lines for a terminal of a width; 0 is not known. Each further
// line is indented.
func wrapped(text string, width int) (lines []string) {
	const indent = "    "
	length := 0 // of the last line
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case len(lines) == 0:
			lines, length = append(lines, word), n
		case width == 0 || length+1+n <= width:
			lines[len(lines)-1] += " " + word
			length += 1 + n
		default:
			lines, length = append(lines, indent+word), len(indent)+n
		}
	}
	return lines
}

// lines writes the state for people. Sentences are wrapped to the width of the terminal; 0 is
// not known.
func (s topState) lines(width int) []string {
	var text bytes.Buffer
	fmt.Fprintf(&text, "callq  %s  %s\n", s.Now.Local().Format(time.TimeOnly), s.headline())
	s.writeUpstreams(&text)
	s.writeLimits(&text)
	s.writeBatches(&text)
	s.writeGroups(&text)
	if len(s.Waits) > 0 {
		text.WriteString("\nWhat calls wait for\n")
		for _, reason := range s.Waits {
			for _, line := range wrapped(console.Printable(reason.Text(s.Now)), max(width-2, 0)) {
				fmt.Fprintf(&text, "  %s\n", line)
			}
		}
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return lines
}

// headline says in one sentence how things are.
func (s topState) headline() string {
	accounts, paused := 0, 0
	for _, u := range s.Upstreams {
		if u.Notifications() {
			continue
		}
		accounts++
		if u.Circuit.State != overview.Flowing {
			paused++
		}
	}
	switch {
	case len(s.Upstreams) == 0:
		return "no upstream is configured, and no call was ever sent"
	case paused > 0:
		return fmt.Sprintf("%d of %s paused", paused, console.Plural(accounts, "account"))
	case len(s.Waits) > 0:
		return "calls wait"
	}
	return "everything flows"
}

func (s topState) writeUpstreams(text *bytes.Buffer) {
	if len(s.Upstreams) == 0 {
		return
	}
	text.WriteString("\n")
	table := console.NewTable(text, "UPSTREAM", "STATE", "IN PROGRESS", "WAITING", "CAN START", "DEAD", "LAST MINUTES")
	for _, u := range s.Upstreams {
		dead := int64(0)
		for _, n := range u.Dead {
			dead += n
		}
		inflight := console.Grouped(u.Inflight)
		if u.Concurrency > 0 {
			inflight += " of " + strconv.Itoa(u.Concurrency)
		}
		table.Row(u.Name, stateText(u.Circuit, s.Now), inflight, console.Grouped(u.Waiting), console.Grouped(u.Runnable), console.Grouped(dead), sparkline(u.Minutes))
		for _, e := range u.Endpoints {
			table.Row(e.Name, stateText(e, s.Now), "", "", "", "", "")
		}
	}
	_ = table.Flush() // a buffer
}

func (s topState) writeLimits(text *bytes.Buffer) {
	var table *console.Table
	for _, u := range s.Upstreams {
		for _, l := range u.Limits {
			if table == nil {
				text.WriteString("\n")
				table = console.NewTable(text, "UPSTREAM", "LIMIT", "USED")
			}
			table.Row(u.Name, l.Text, usageText(l, s.Now))
		}
	}
	if table != nil {
		_ = table.Flush() // a buffer
	}
}

// stateText describes a circuit: "paused for 35s (quota)".
func stateText(c overview.Circuit, now time.Time) string {
	switch c.State {
	case overview.Flowing:
		return "flowing"
	case overview.Testing:
		return "testing with one call (" + c.Reason + ")"
	}
	return fmt.Sprintf("paused for %s (%s)", spanText(c.Until, now), c.Reason)
}

// spanText writes how long it is until a time, in whole seconds.
func spanText(until, now time.Time) string {
	return console.Duration(max(until.Sub(now), 0).Round(time.Second))
}

// usageText describes how much of a limit is used, with a bar.
func usageText(u limit.Usage, now time.Time) string {
	full := int(u.Ratio()*barWidth + 0.5)
	text := strings.Repeat("█", full) + strings.Repeat("░", barWidth-full)
	switch {
	case u.Kind == limit.KindRate:
		text += fmt.Sprintf(" %.0f%%", u.Ratio()*100)
	case u.Unit == "calls":
		text += fmt.Sprintf(" %s of %s", console.Grouped(int64(u.Used)), console.Plural(int64(u.Of), "call"))
	default:
		text += fmt.Sprintf(" %.2f of %.2f %s", u.Used, u.Of, u.Unit)
	}
	if u.Note != "" {
		text += ", " + u.Note
	}
	if !u.Resets.IsZero() {
		text += ", afresh in " + spanText(u.Resets, now)
	}
	return text
}

// sparkline draws how many attempts there were in each of the last minutes, the present one
// last.
func sparkline(minutes []history.Minute) string {
	const width = 20
	steps := []rune("▁▂▃▄▅▆▇█")
	minutes = minutes[max(len(minutes)-width, 0):]
	sums, most := make([]int64, len(minutes)), int64(0)
	for i, m := range minutes {
		for _, n := range m.Counts {
			sums[i] += n
		}
		most = max(most, sums[i])
	}
	if most == 0 {
		return ""
	}
	line := make([]rune, len(sums))
	for i, n := range sums {
		if line[i] = ' '; n > 0 {
			line[i] = steps[(n*int64(len(steps))-1)/most]
		}
	}
	return fmt.Sprintf("%s up to %s/min", string(line), console.Grouped(most))
}

func (s topState) writeBatches(text *bytes.Buffer) {
	if len(s.Batches) == 0 {
		return
	}
	text.WriteString("\n")
	table := console.NewTable(text, "BATCH", "ACCEPTED", "OPEN", "DONE", "DEAD", "DROPPED", "RATE", "ENDS")
	for _, b := range s.Batches {
		rate := ""
		if b.PerMinute > 0 {
			rate = console.Grouped(b.PerMinute) + "/min"
		}
		table.Row(b.Name, console.Grouped(b.Accepted), console.Grouped(b.Open), console.Grouped(b.Done), console.Grouped(b.Dead), console.Grouped(b.Dropped), rate, batchEndText(b, s.Now))
	}
	_ = table.Flush() // a buffer
}

// batchEndText says when a batch ends.
func batchEndText(b overview.Batch, now time.Time) string {
	switch {
	case b.Open == 0:
		return "ended"
	case b.Ends.IsZero():
		return b.NoEnd
	}
	return "in about " + spanText(b.Ends, now)
}

func (s topState) writeGroups(text *bytes.Buffer) {
	if len(s.Groups) == 0 {
		return
	}
	text.WriteString("\n")
	table := console.NewTable(text, "DEAD", "GROUP", "CLASS", "CODE", "MESSAGE")
	for _, g := range s.Groups[:min(len(s.Groups), topGroups)] {
		table.Row(console.Grouped(g.Count), g.Name, g.Class, orDash(g.Code), orDash(g.Message))
	}
	_ = table.Flush() // a buffer
}
