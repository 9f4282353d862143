package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/spf13/cobra"
)

func (a *app) auditCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "audit",
		Short: "Check that every accepted call is accounted for",
		Long: `Check for every batch that each accepted call is open, done, dead, dropped or
cancelled, by the counts and call by call. If something is wrong, it is printed with
what to do, and the exit status is 1. Workers may run meanwhile.`,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			d, err := a.backend(cmd.Context(), "audit")
			if err != nil {
				return err
			}
			defer d.close(&err)
			return a.audit(cmd.Context(), d)
		},
	}
}

// auditFinding is a finding as --json prints it.
type auditFinding struct {
	Batch   string   `json:"batch"`
	Problem string   `json:"problem"`
	Keys    []string `json:"keys"`
	Fix     string   `json:"fix"`
}

func (a *app) audit(ctx context.Context, d *backend) error {
	batches, err := d.ledger.Batches(ctx)
	if err != nil {
		return err
	}
	line := a.newProgress()
	defer line.Close()
	all, findings := []jsonform.Batch{}, []auditFinding{}
	accepted := int64(0)
	for i, b := range batches {
		line.Line(func() string { return fmt.Sprintf("%d of %s", i+1, console.Plural(len(batches), "batch")) })
		found, err := d.ledger.Audit(ctx, b.Name, tasks.TaskID)
		if errors.Is(err, ledger.ErrNoBatch) {
			continue // deleted since it was listed
		}
		if err != nil {
			return err
		}
		for _, f := range found {
			keys := f.Keys
			if keys == nil {
				keys = []string{}
			}
			findings = append(findings, auditFinding{f.Batch, f.Problem, keys, f.Fix})
		}
		all = append(all, jsonform.BatchOf(tasks.BatchInfo{Name: b.Name, Counts: tasks.Counts(b.Counts)}))
		accepted += b.Counts.Accepted
	}
	line.Close()
	if a.json {
		err = a.printJSON(map[string]any{"balanced": len(findings) == 0, "batches": all, "findings": findings})
	} else {
		err = a.printAudit(len(all), accepted, findings)
	}
	if len(findings) > 0 {
		err = errors.Join(err, errFindings)
	}
	return err
}

func (a *app) printAudit(batches int, accepted int64, findings []auditFinding) error {
	text := &errWriter{w: a.stdout}
	for _, f := range findings {
		fmt.Fprintf(text, "batch %s: %s\n", console.Printable(f.Batch), console.Printable(f.Problem))
		for _, key := range f.Keys {
			fmt.Fprintf(text, "    %s\n", console.Printable(key))
		}
		fmt.Fprintf(text, "    Next: %s\n", console.Printable(f.Fix))
	}
	if len(findings) == 0 {
		fmt.Fprintf(text, "The ledger balances: %s, %s.\n", console.Plural(batches, "batch"), console.Plural(accepted, "call"))
	} else {
		fmt.Fprintf(text, "%s in %s, %s.\n", console.Plural(len(findings), "finding"), console.Plural(batches, "batch"), console.Plural(accepted, "call"))
	}
	return text.err
}
