package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/spf13/cobra"
)

// sending is callq send with its flags.
type sending struct {
	*app
	batch, key, upstream, priority string
	wait, dryRun, sameAPI          bool
}

func (a *app) sendCommand() *cobra.Command {
	s := &sending{app: a}
	cmd := &cobra.Command{
		Use:   "send FILE | send METHOD PATH [name=value…]",
		Short: "Put a file of calls, or one call, into the queue",
		Long: `Put calls into the queue, for workers to make.

With one argument it sends a file of calls, one JSON object a line; - is standard
input, and a file whose name ends in .gz or .zst is decompressed. The calls become a
batch. Sending the same file again sends only the calls that are missing. Refused lines
are printed, and the others are sent. A line without a key is identified by its
content: equal lines are one call.

With more arguments it sends one call: a method, a path, and query parameters.`,
		Example: `  callq send calls.jsonl --wait
  callq send GET /search/patent q="solar cell"`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("%s needs an argument: FILE, or METHOD PATH", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return s.call(cmd.Context(), args[0], args[1], args[2:])
			}
			if err := callInOne(args[0]); err != nil {
				return usage(cmd, err)
			}
			for _, name := range []string{"key", "upstream", "priority"} {
				if cmd.Flags().Changed(name) {
					return usage(cmd, fmt.Errorf("--%s is for a single call; in a file, write the field %[1]s in each line", name))
				}
			}
			return s.file(cmd.Context(), args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.batch, "batch", "", "`NAME` of the batch (default: from the file's name and content; for one call "+tasks.DefaultBatch+")")
	flags.StringVar(&s.key, "key", "", "`KEY` of the one call in its batch (default: a new one)")
	flags.StringVar(&s.upstream, "upstream", "", "`NAME` of the API to call (default: the configured one, if there is just one)")
	completeFlag(cmd, "upstream", a.configuredUpstreams)
	flags.StringVar(&s.priority, "priority", "", "high, normal or low (default normal)")
	completeFlag(cmd, "priority", priorities)
	flags.BoolVar(&s.wait, "wait", false, "wait until all calls have ended")
	flags.BoolVar(&s.sameAPI, "same-api", false, "continue although base_url has changed since the batch was made: it is the same API")
	flags.BoolVar(&s.dryRun, "dry-run", false, "check everything and send nothing")
	return cmd
}

// sent is the output of --json after a file was sent.
type sent struct {
	Batch     string             `json:"batch"`
	DryRun    bool               `json:"dry_run,omitempty"`
	Accepted  int                `json:"accepted"`
	Duplicate int                `json:"duplicate"`
	Refused   int                `json:"refused"`
	Errors    []jsonform.Refusal `json:"errors"`
	// Counts are there after --wait.
	Counts *jsonform.Batch `json:"books,omitempty"`
}

func sentOf(batch string, s tasks.Summary) sent {
	out := sent{Batch: batch, Accepted: s.Accepted, Duplicate: s.Duplicate, Refused: s.Refused, Errors: []jsonform.Refusal{}}
	for _, e := range s.Errors {
		out.Errors = append(out.Errors, jsonform.RefusalOf(e))
	}
	return out
}

// configured loads the configuration, for commands that send.
func (s *sending) configured() (*config.Config, error) {
	cfg, err := s.config(config.Flag{}, config.Flag{})
	if err != nil {
		return nil, err
	}
	if len(cfg.Upstreams) == 0 {
		return nil, usageError("no upstream is configured: write the API's base_url, policy and auth into %s", cfg.Path)
	}
	return cfg, nil
}

func (s *sending) file(ctx context.Context, path string) (err error) {
	cfg, err := s.configured()
	if err != nil {
		return err
	}
	in, err := s.openCalls(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	name, err := s.batchOf(in)
	if err == nil && s.batch != "" { // otherwise it was read to its end for the name
		err = in.Verify()
	}
	if err != nil {
		return err
	}
	r, err := in.Open()
	if err != nil {
		return err
	}
	var again repeats
	lines := again.of(tasks.ReadCalls(r, tasks.ReadOptions{Rules: rulesOf(requestsOf(cfg))}))
	progress := s.newProgress()
	defer progress.Close()
	shown := 0
	refused := func(e *tasks.FieldError) {
		if shown++; shown <= maxRefusals {
			s.refuse(in.Name(), e)
		}
	}
	if s.dryRun {
		summary, err := countDryRun(ctx, lines, refused)
		s.refusedMore(in.Name(), summary.Refused-maxRefusals)
		if err = inputError(err); err != nil {
			return err
		}
		s.showEmpty(in.Name(), summary.Accepted+summary.Refused)
		s.showRepeats(in.Name(), &again)
		return s.concludeDry(name, summary)
	}
	d, err := s.connect(ctx, cfg, "send", true, s.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer d.close(&err)
	if err := s.checkAPIs(ctx, d, name); err != nil {
		return err
	}
	summary, err := d.producer.SubmitLines(ctx, name, counted(lines, progress), refused)
	progress.Close()
	s.refusedMore(in.Name(), summary.Refused-maxRefusals)
	if err = inputError(err); err != nil {
		return errors.Join(err, s.partly(name, summary))
	}
	s.showEmpty(in.Name(), summary.Accepted+summary.Duplicate+summary.Refused)
	s.showRepeats(in.Name(), &again)
	return s.conclude(ctx, d, name, summary)
}

// partly says how many calls were sent before an error.
func (s *sending) partly(name string, summary tasks.Summary) error {
	if summary.Accepted == 0 {
		return nil
	}
	return fmt.Errorf("%s of batch %s were sent before that; send the same file with --batch %s for the rest",
		console.Plural(summary.Accepted, "call"), name, name)
}

func (s *sending) concludeDry(name string, summary tasks.Summary) error {
	out := sentOf(name, summary)
	out.DryRun = true
	if s.json {
		return errors.Join(s.printJSON(out), refusals(summary))
	}
	_, err := fmt.Fprintf(s.stdout, "batch %s: %s would be sent%s\n", name, console.Plural(summary.Accepted, "call"), besides(summary))
	return errors.Join(err, refusals(summary))
}

func (s *sending) conclude(ctx context.Context, d *backend, name string, summary tasks.Summary) error {
	out := sentOf(name, summary)
	if !s.json {
		if _, err := fmt.Fprintf(s.stdout, "batch %s: %s accepted%s\n", name, console.Plural(summary.Accepted, "call"), besides(summary)); err != nil {
			return err
		}
	}
	if !s.wait || summary.Accepted+summary.Duplicate == 0 {
		if s.json {
			return errors.Join(s.printJSON(out), refusals(summary))
		}
		return refusals(summary)
	}
	b, err := s.await(ctx, d, name)
	if err != nil {
		return errors.Join(err, refusals(summary))
	}
	out.Counts = &b
	if s.json {
		err = s.printJSON(out)
	} else {
		err = s.ended(ctx, d, b)
	}
	return errors.Join(err, refusals(summary), statusOfBatch(b))
}

func besides(s tasks.Summary) string {
	text := ""
	if s.Duplicate > 0 {
		text += ", " + console.Plural(s.Duplicate, "duplicate")
	}
	if s.Refused > 0 {
		text += fmt.Sprintf(", %s refused", console.Grouped(int64(s.Refused)))
	}
	return text
}

// refusals returns the error with the exit status if lines were refused. The lines have been
// printed.
func refusals(s tasks.Summary) error {
	if s.Refused > 0 {
		return errFindings
	}
	return nil
}

// counted shows how many lines have been read.
func counted(lines iter.Seq2[tasks.Line, error], p *console.Progress) iter.Seq2[tasks.Line, error] {
	return func(yield func(tasks.Line, error) bool) {
		n := int64(0)
		for line, err := range lines {
			n++
			p.Line(func() string { return fmt.Sprintf("%s read", console.Plural(n, "line")) })
			if !yield(line, err) {
				return
			}
		}
	}
}
