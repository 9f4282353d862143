package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/worker/batchreport"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/spf13/cobra"
)

// reporting is callq batch report with its flags.
type reporting struct {
	*app
	out string
}

func (a *app) batchReportCommand() *cobra.Command {
	r := &reporting{app: a}
	cmd := &cobra.Command{
		Use:   "report NAME",
		Short: "Write what came of a batch as one HTML file, or its numbers as JSON",
		Long: `Write what came of a batch: what was asked, how the calls ended, why calls failed, how
many requests that took and which of them were wasted, what it cost for each result,
and for how long the accounts were held and why.

-o FILE writes one HTML file that needs no other file, no script and no network.
--json prints the same numbers. Each request that callq has sent for the batch is
counted, also those before a redrive. The report reads every call of the batch once.
It can be made while the batch is open; it says so then.`,
		Example: `  callq batch report calls-1f00baa5 -o report.html
  callq batch report calls-1f00baa5 --json`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.batchNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0]) },
	}
	cmd.Flags().StringVarP(&r.out, "out", "o", "", "`FILE` for the HTML; - is standard output")
	return cmd
}

func (r *reporting) run(ctx context.Context, batch string) (err error) {
	switch {
	case r.out == "" && !r.json:
		return usageError("say where the report goes: -o FILE.html, -o - for standard output, or --json for the numbers")
	case r.out == "-" && r.json:
		return usageError("-o - and --json both write to standard output; choose one of them, or name a file with -o")
	}
	d, err := r.backend(ctx, "batch")
	if err != nil {
		return err
	}
	defer d.close(&err)
	report, err := r.read(ctx, d, batch)
	if err != nil {
		return r.noBatch(err)
	}
	if r.out != "" {
		if err := r.write(report); err != nil {
			return err
		}
	}
	if r.json {
		return r.printJSON(report)
	}
	return nil
}

func (r *reporting) read(ctx context.Context, d *backend, batch string) (*batchreport.Report, error) {
	prices, err := d.prices()
	if err != nil {
		return nil, err
	}
	progress := r.newProgress()
	defer progress.Close()
	return batchreport.Make(ctx, batchreport.Config{
		Redis: d.conn.Client, Prices: prices,
		Progress: func(calls int64) {
			progress.Line(func() string { return console.Plural(int(calls), "call") + " read" })
		},
	}, batch)
}

// prices are what the configuration says of the cost of calls.
func (d *backend) prices() (map[string]batchreport.Price, error) {
	upstreams, err := describedUpstreams(d.cfg)
	if err != nil {
		return nil, err
	}
	prices := map[string]batchreport.Price{}
	for _, u := range upstreams {
		price := batchreport.Price{Billed: u.CostHeader != ""}
		if u.CostPerCall != "" {
			if price.PerCall, err = limit.ParseMicros(u.CostPerCall); err != nil {
				return nil, fmt.Errorf("upstream %s: cost.per_call: %w", u.Name, err)
			}
		}
		for _, text := range u.Budget {
			if b, err := limit.ParseBudget(text); err == nil && b.Currency != "" {
				price.Currency = b.Currency
			}
		}
		prices[u.Name] = price
	}
	return prices, nil
}

// write writes the HTML.
func (r *reporting) write(report *batchreport.Report) error {
	page := func(w io.Writer) error {
		out := bufio.NewWriterSize(w, 1<<16)
		if err := batchreport.WriteHTML(out, report); err != nil {
			return err
		}
		return out.Flush()
	}
	if r.out == "-" {
		return page(r.stdout)
	}
	if err := writeOut(r.out, page); err != nil {
		return err
	}
	r.progressf("The report of %s is written to %s.", console.Plural(int(report.Calls.Accepted), "call"), r.out)
	return nil
}
