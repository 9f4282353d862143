package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/spf13/cobra"
)

// exporting is callq batch export with its flags.
type exporting struct {
	*app
	out    string
	states []string
	calls  bool
	// freeing reports that exported results are freed from Redis.
	freeing bool
}

// endStates are the states that a call can end in.
var endStates = []string{string(ledger.Done), string(ledger.Dead), string(ledger.Dropped), string(ledger.Cancelled)}

func (a *app) batchExportCommand() *cobra.Command {
	e := &exporting{app: a}
	cmd := &cobra.Command{
		Use:   "export NAME",
		Short: "Write the results of a batch, or its calls, as JSON lines",
		Long: `Write how the calls of a batch ended, one JSON object a line, in the order in
which they ended. With --calls the calls themselves are written instead, as
lines to edit and send again. Open calls are left out.

With "bodies: drop" in the configuration, the bodies of results are freed from Redis
once they are in a file. They are also freed when calls wait because the results in
Redis have reached ledger.max_memory.`,
		Example: `  callq batch export calls-1f00baa5 -o results.jsonl
  callq batch export calls-1f00baa5 --state dead,dropped --calls -o again.jsonl`,
		Args:              takes("NAME"),
		ValidArgsFunction: completeFirst(a.batchNames),
		RunE:              func(cmd *cobra.Command, args []string) error { return e.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&e.out, "out", "o", "-", "`OUT` file; - is standard output")
	flags.StringSliceVar(&e.states, "state", nil, "only calls that ended so: "+strings.Join(endStates, ", "))
	completeFlag(cmd, "state", func() []string { return endStates })
	flags.BoolVar(&e.calls, "calls", false, "write the calls, not their results")
	return cmd
}

func (e *exporting) run(ctx context.Context, batch string) (err error) {
	for _, state := range e.states {
		if !slices.Contains(endStates, state) {
			return usageError("--state %q: write some of %s", state, strings.Join(endStates, ","))
		}
	}
	if len(e.states) == 0 {
		e.states = endStates
	}
	d, err := e.backend(ctx, "export")
	if err != nil {
		return err
	}
	defer d.close(&err)
	if e.freeing, err = e.frees(ctx, d); err != nil {
		return err
	}
	// That file may have the only copy of bodies that were freed.
	if e.freeing {
		if _, err := os.Stat(e.out); err == nil {
			return usageError("%s exists already, and may have the only copy of results that were freed from Redis; name another file", e.out)
		}
	}
	// Calls of the batch may still run. Calls that end from now on are left to the next
	// export, so that no key is twice in one file.
	watermark, err := d.ledger.Watermark(ctx, batch)
	if err != nil {
		return e.noBatch(err)
	}
	if e.out == "-" {
		n, unreadable, err := e.write(ctx, d, e.stdout, batch, watermark)
		if err != nil {
			return err
		}
		e.concluded(n, unreadable)
		return nil
	}
	n, unreadable, err := e.writeFile(ctx, d, batch, watermark)
	if err != nil {
		return err
	}
	if e.freeing {
		states := make([]ledger.State, len(e.states))
		for i, s := range e.states {
			states[i] = ledger.State(s)
		}
		freed, err := d.ledger.FreeBodies(ctx, batch, watermark, states...)
		if err != nil {
			return fmt.Errorf("%s is written, but its results are not freed from Redis: %w", e.out, err)
		}
		e.progressf("%s freed from Redis.", console.Plural(freed, "result"))
	}
	e.concluded(n, unreadable)
	return nil
}

// frees reports whether exported results are freed from Redis. This is so if they are
// written to a file that is synced to disk, and if the configuration says so or calls wait
// for the memory that results use.
func (e *exporting) frees(ctx context.Context, d *backend) (bool, error) {
	if e.calls || e.out == "-" {
		return false, nil
	}
	if d.cfg.Ledger.DropBodies {
		return true, nil
	}
	kept, err := d.ledger.Bodies(ctx)
	return kept >= d.cfg.Ledger.MaxMemory, err
}

func (e *exporting) concluded(n, unreadable int) {
	what := "result"
	if e.calls {
		what = "call"
	}
	if e.out != "-" {
		e.progressf("%s written to %s.", console.Plural(n, what), e.out)
	}
	if unreadable > 0 {
		e.progressf("%s left out: the content was purged or cannot be read.", console.Plural(unreadable, "call"))
	}
}

// writeFile writes OUT, which is either complete or not there.
func (e *exporting) writeFile(ctx context.Context, d *backend, batch string, watermark ledger.Watermark) (n, unreadable int, err error) {
	err = writeOut(e.out, func(w io.Writer) (err error) {
		n, unreadable, err = e.write(ctx, d, w, batch, watermark)
		return err
	})
	return n, unreadable, err
}

func (e *exporting) write(ctx context.Context, d *backend, to io.Writer, batch string, watermark ledger.Watermark) (n, unreadable int, err error) {
	out := bufio.NewWriterSize(to, 1<<16)
	progress := e.newProgress()
	defer progress.Close()
	var line []byte
	for r, err := range d.ledger.Endings(ctx, batch, &ledger.Cursor{}) {
		if err != nil {
			return n, unreadable, err
		}
		if !watermark.Has(r) || !slices.Contains(e.states, string(r.State)) {
			continue
		}
		line, err = e.line(line[:0], r)
		if errors.Is(err, tasks.ErrMalformed) {
			unreadable++
			continue
		}
		if err != nil {
			return n, unreadable, fmt.Errorf("call %s: %w", r.ID, err)
		}
		if _, err := out.Write(line); err != nil {
			return n, unreadable, fmt.Errorf("write %s: %w", e.out, err)
		}
		n++
		progress.Line(func() string { return console.Plural(n, "line") + " written" })
	}
	return n, unreadable, out.Flush()
}

func (e *exporting) line(dst []byte, r ledger.Record) ([]byte, error) {
	if !e.calls {
		return tasks.EncodeResult(dst, records.Result(r))
	}
	c, err := records.Call(&r)
	if err != nil {
		return nil, err
	}
	c.Batch = ""
	dst, err = tasks.AppendCall(dst, c)
	return append(dst, '\n'), err
}
