package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/replay"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/spf13/cobra"
)

// replaying is callq policy replay with its flags.
type replaying struct {
	*app
	file     string
	upstream string

	policy   *policy.Policy
	replay   *replay.Replay
	recorder recorder
	// chosen is the upstream whose calls are replayed; empty until the first call.
	chosen string
	// open is how many calls of the batch have not ended, skipped how many lines are no
	// results, and long how many calls have as many attempts as a record keeps, or more.
	open, skipped, long int
}

func (a *app) policyReplayCommand() *cobra.Command {
	r := &replaying{app: a}
	cmd := &cobra.Command{
		Use:   "replay BATCH|RESULTS -f POLICY",
		Short: "Judge recorded calls by another policy and show what would change",
		Long: `Judge the recorded attempts of a batch by another policy, and show what would have
changed: ends that differ, requests that would not have been made, calls that would
have been sent again, time held, money. Nothing is sent and nothing is changed.

BATCH is the name of a batch; the configuration says where the queue is. RESULTS is a
results file: a path with a / in it, or a file that ends in .jsonl. It has only the last
answer of each call, and not why an answer did not arrive. With --upstream the
configuration says which calls may be sent twice; without it a results file needs no
configuration.

Answers come at the recorded times, whatever the policy waits. What the API would
have answered to a further request is not known: such a call is shown as "sent again".
If a rule looks at something that was not recorded, such as a place in the body of an
earlier answer, its calls are shown as those that may end differently.`,
		Example: `  callq policy replay night.results.jsonl -f ./my-api.yaml
  callq policy replay calls-1f00baa5 -f ./my-api.yaml --upstream myapi`,
		Args:              takes("BATCH|RESULTS"),
		ValidArgsFunction: completeBatchOrFile(a),
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&r.file, "file", "f", "", "the other `POLICY`: a file, or the name of a preset")
	flags.StringVar(&r.upstream, "upstream", "", "only calls of this upstream, `NAME`")
	completeFlag(cmd, "upstream", a.configuredUpstreams)
	if err := cmd.MarkFlagFilename("file", "yaml", "yml"); err != nil {
		panic(err) // the command does not have the flag
	}
	return cmd
}

// completeBatchOrFile offers batches; the shell offers files.
func completeBatchOrFile(a *app) completing {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		names, directive := completeFirst(a.batchNames)(cmd, args, typed)
		if len(args) == 0 {
			directive = cobra.ShellCompDirectiveDefault
		}
		return names, directive
	}
}

func (r *replaying) run(ctx context.Context, recorded string) (err error) {
	if r.file == "" {
		return usageError("name the other policy: -f FILE, or -f with the name of a preset")
	}
	if r.policy, err = openPolicy(r.file); err != nil {
		return err
	}
	r.replay = replay.New(r.policy)
	if isResultsFile(recorded) {
		err = r.addResults(recorded)
	} else {
		err = r.addBatch(ctx, recorded)
	}
	if err != nil {
		return err
	}
	return r.print(recorded)
}

// isResultsFile reports whether the name is that of a results file and not of a batch.
func isResultsFile(name string) bool {
	return strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, ".jsonl")
}

func (r *replaying) addResults(name string) error {
	var upstreams []worker.Upstream
	if r.upstream != "" {
		cfg, err := r.config(config.Flag{}, config.Flag{})
		if err != nil {
			return err
		}
		if upstreams, err = describedUpstreams(cfg); err != nil {
			return err
		}
	}
	if err := r.describe(upstreams); err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return usageError("%w", err)
	}
	defer func() { _ = f.Close() }()
	var notResult *tasks.FieldError
	var torn *tasks.TornLineError
	for result, err := range tasks.ReadResults(f) {
		switch {
		case errors.As(err, &notResult), errors.As(err, &torn):
			r.skipped++
			continue
		case err != nil:
			return err
		}
		if err := r.add(result.Upstream, func() replay.Call { return r.recorder.ofResult(result) }); err != nil {
			return err
		}
	}
	return nil
}

func (r *replaying) addBatch(ctx context.Context, batch string) (err error) {
	d, err := r.backend(ctx, "policy")
	if err != nil {
		return err
	}
	defer d.close(&err)
	info, err := d.client.Batch(ctx, batch)
	if err != nil {
		return r.noBatch(err)
	}
	r.open = int(info.Counts.Open)
	upstreams, err := describedUpstreams(d.cfg)
	if err != nil {
		return err
	}
	if err := r.describe(upstreams); err != nil {
		return err
	}
	for record, err := range d.ledger.WholeEndings(ctx, batch, &ledger.Cursor{}) {
		if err != nil {
			return err
		}
		call := func() replay.Call {
			if len(record.Log) >= ledger.LogLimit {
				r.long++
			}
			return r.recorder.ofLedger(record)
		}
		if err := r.add(tasks.UpstreamOf(record.Queue), call); err != nil {
			return err
		}
	}
	return nil
}

// add adds a call, unless it is of another upstream.
func (r *replaying) add(upstream string, call func() replay.Call) error {
	switch {
	case r.upstream != "" && upstream != r.upstream:
		return nil
	case r.chosen != "" && upstream != r.chosen:
		return usageError("the calls are of several upstreams, such as %s and %s; choose one with --upstream", r.chosen, upstream)
	}
	r.chosen = upstream
	r.replay.Add(call())
	return nil
}

// describe finds out which calls may be sent twice, and their endpoints.
func (r *replaying) describe(upstreams []worker.Upstream) (err error) {
	if r.upstream != "" && !slices.ContainsFunc(upstreams, func(u worker.Upstream) bool { return u.Name == r.upstream }) {
		return usageError("no upstream %q is configured", r.upstream)
	}
	if r.recorder.endpoint, err = worker.Endpoints(upstreams); err != nil {
		return err
	}
	byPolicy, err := worker.IdempotentCalls(worker.Upstream{Policy: r.policy})
	if err != nil {
		return err
	}
	byName := map[string]func(tasks.Call) bool{}
	for _, u := range upstreams {
		u.Policy = r.policy
		if byName[u.Name], err = worker.IdempotentCalls(u); err != nil {
			return err
		}
	}
	defaults := r.policy.Upstream()
	said := defaults.Idempotent != nil || defaults.IdempotencyHeader != ""
	r.recorder.idempotent = func(c tasks.Call) (idempotent, known bool) {
		if own := byName[c.Upstream]; own != nil {
			return own(c), true
		}
		return byPolicy(c), said || c.Idempotent != nil
	}
	return nil
}

// name is what the output calls the policy.
func (r *replaying) name() string { return cmp.Or(r.policy.Name(), r.file) }
