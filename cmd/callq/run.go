package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

// runFlags are the flags of run.
type runFlags struct {
	out         string
	redo        []string
	redoKeys    []string
	redoFrom    string
	first       int
	dryRun      bool
	patience    time.Duration
	concurrency string
	sameAPI     bool
}

// defaultPatience is how long a run waits until a person fixes the account.
const defaultPatience = 15 * time.Minute

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run FILE",
		Short: "Make the calls of a file and write every result",
		Long: `Make the calls of a file, one JSON object a line, and write the result of each,
one JSON object a line, in the order in which they end. FILE and OUT may be -.
FILE may be compressed with gzip or zstd, if its name ends in .gz or .zst. The
results of a stream, such as /dev/stdin or <(…), go to standard output.

A configuration says which API is called:

  upstreams:
    patsnap:
      base_url: https://connect.patsnap.com
      policy: patsnap
      auth: {type: bearer, token: "${env:PATSNAP_TOKEN}"}

Run it again with the same OUT, and it continues where it stopped: a call that has a
result is not made again, unless its line in FILE has changed. A line without a key is
identified by its content: after inserting, removing, sorting or splitting lines no
call is repeated, and equal lines are one call. If only OUT was deleted, the queue
still has the results for ledger.retention, but not the bodies over 256 KiB and those
that ledger.bodies freed: such a result has "body_freed": true. A queue in the process,
which is used without a Redis, keeps nothing. The calls of a copy of FILE under another
name are new calls.

A result that is replaced, because its line changed or --redo, --redo-keys or
--redo-from makes its call again, is first moved to OUT.old.jsonl. Results of calls
that are not in FILE stay; an OUT that has no result of FILE is refused, because it
belongs to another file.

The base_url is recorded in OUT and in the queue. With another base_url run refuses to
continue, because results of one API must not count for another; --same-api says that
it is the same API.

OUT.sent has the inflight calls that must not be made twice. If the run is killed, the
next one with the same OUT does not send them again.`,
		Example: `  callq run calls.jsonl
  callq run calls.jsonl -o results.jsonl --first 10
  callq run calls.jsonl --redo dead
  callq run calls.jsonl --redo-keys row-7,row-9`,
		Args: takes("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.first < 0 || f.patience < 0 {
				return usage(cmd, errors.New("--first and --patience cannot be below 0"))
			}
			return a.runFile(cmd.Context(), args[0], f)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *runFlags) add(flags *pflag.FlagSet) {
	flags.StringVarP(&f.out, "out", "o", "", "`OUT` for the results (default FILE.results.jsonl, or - if FILE is - or another stream)")
	flags.StringSliceVar(&f.redo, "redo", nil, "make calls again that ended in these `STATES`: dead, dropped, cancelled")
	flags.StringSliceVar(&f.redoKeys, "redo-keys", nil, "make the calls with these `KEYS` again, done ones too")
	flags.StringVar(&f.redoFrom, "redo-from", "", "make the calls in `FILE` (results or keys, one a line) again, done ones too; - is standard input")
	flags.IntVar(&f.first, "first", 0, "only the first `N` calls of the file; 0: all")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show what would be called, what it costs, and the first request")
	flags.DurationVar(&f.patience, "patience", defaultPatience, "how long to wait until a person fixes a credential, a balance or a setting; 0: without end")
	flags.BoolVar(&f.sameAPI, "same-api", false, "continue although base_url has changed: it is the same API")
	flags.StringVar(&f.concurrency, "concurrency", "", "`CALLS` in flight at once, over all upstreams (default 64)")
}

func (a *app) runFile(ctx context.Context, name string, f runFlags) (err error) {
	redo, err := redoStates(f.redo)
	if err != nil {
		return err
	}
	calls, err := a.redoCalls(name, f)
	if err != nil {
		return err
	}
	cfg, err := a.config(config.Flag{Name: "--concurrency", Value: f.concurrency}, config.Flag{})
	if err != nil {
		return err
	}
	describe := upstreamsOf
	if f.dryRun { // a dry run needs no credential
		describe = describedUpstreams
	}
	upstreams, err := describe(cfg)
	if err != nil {
		return err
	}
	in, err := a.openCalls(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	r := a.newFileRun(cfg, in, outName(name, f.out))
	r.config.Worker.Upstreams = upstreams
	r.config.Redo, r.config.RedoCalls, r.config.First = redo, calls, f.first
	r.config.Patience, r.config.SameAPI = f.patience, f.sameAPI
	if f.dryRun {
		return r.forecast(ctx)
	}
	a.relaxCollector()
	if r.config.Worker.Notify, err = webhooksOf(cfg); err != nil {
		return err
	}
	r.again = a.againLine(in.Name(), in.Spooled(), f)
	defer func() {
		if r.backend != nil {
			r.backend.close(&err)
		}
	}()
	_, err = r.run(ctx)
	return err
}
