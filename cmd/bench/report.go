package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// results are what the benchmark found.
type results struct {
	options  options
	outcomes []*outcome
	rounds   int
	scripts  []scriptTime
	names    scriptNames
	// redis is the program and its version; load is that of the machine before.
	redis, load string
	began       time.Time
	took        time.Duration
}

// newResults returns results without an outcome. It returns an error if no Redis can be
// started.
func newResults(ctx context.Context, o options) (_ *results, err error) {
	s, err := embedded.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	f, err := s.info(ctx, "server")
	if err != nil {
		return nil, err
	}
	name := "Redis " + f["redis_version"]
	if v := f["valkey_version"]; v != "" {
		name = "Valkey " + v
	}
	return &results{options: o, redis: name, load: loadAverage(), began: time.Now()}, nil
}

func (r *results) finish() { r.took = time.Since(r.began) }

// summary returns the table for the README, in few words.
func (r *results) summary() string {
	var b strings.Builder
	b.WriteString("|callq's rate, divided by that of|embedded settings|Redis's own|\n|---|---|---|\n")
	for _, row := range r.summaryRows() {
		fmt.Fprintf(&b, "|%s|%s|%s|\n", row.label, row.cells[embedded], row.cells[plain])
	}
	fmt.Fprintf(&b, "\nMedian of %d rounds (least–greatest); %d CPUs, %s on them too.", r.rounds, runtime.NumCPU(), r.redis)
	if used, ok := r.others(); ok && used.median >= busy {
		fmt.Fprintf(&b, " Other processes used %.1f CPUs meanwhile.", used.median)
	}
	b.WriteString("\n")
	return b.String()
}

type summaryRow struct {
	label string
	cells map[settings]string
}

// summaryRows returns the ratios that the README shows.
func (r *results) summaryRows() []summaryRow {
	var rows []summaryRow
	at := map[string]int{}
	for _, o := range r.outcomes {
		for _, ratio := range o.summary {
			i, ok := at[ratio.label]
			if !ok {
				i = len(rows)
				at[ratio.label] = i
				rows = append(rows, summaryRow{ratio.label, map[settings]string{}})
			}
			rows[i].cells[o.set] = o.ratiosOf(ratio.callq, ratio.peer).ratioText()
		}
	}
	return rows
}

// write writes the tables into a checkout.
func (r *results) write(root string) error {
	readme := filepath.Join(root, "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		return err
	}
	changed, err := replaceTable(string(text), r.summary())
	if err != nil {
		return err
	}
	if err := os.WriteFile(readme, []byte(changed), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, "cmd", "bench", "RESULTS.md"), []byte(r.details()), 0o644)
}

// The lines around the table in the README.
const (
	tableBegin = "<!--bench-record-->\n"
	tableEnd   = "<!--end-->\n"
)

// replaceTable replaces the table in the README's text.
func replaceTable(text, table string) (string, error) {
	before, rest, ok := strings.Cut(text, tableBegin)
	_, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		return "", fmt.Errorf("README.md must have the lines %q and %q", tableBegin, tableEnd)
	}
	return before + tableBegin + table + tableEnd + after, nil
}

// busy is how many CPUs other processes use on a machine that is not quiet.
const busy = 0.1

// others returns how many CPUs other processes used while the sides were measured, if the
// system says it.
func (r *results) others() (spread, bool) {
	var values []float64
	for _, o := range r.outcomes {
		if o.title == httpTitle {
			continue // the API's process is one of the others
		}
		for _, samples := range o.samples {
			for _, s := range samples {
				if s.others >= 0 {
					values = append(values, s.others)
				}
			}
		}
	}
	if len(values) == 0 {
		return spread{}, false
	}
	return spreadOf(values), true
}
