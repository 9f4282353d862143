// Package filerun makes the calls of a file or of a list, and writes a result for each.
// A run can be stopped, killed and started again: calls with a result are not made
// twice, and no result is lost. The command callq run uses this package.
//
//	in, err := filerun.OpenFile("calls.jsonl")
//	if err != nil {
//		return err
//	}
//	defer in.Close()
//	summary, err := filerun.Run(ctx, filerun.Config{
//		In:     in,
//		Out:    "results.jsonl",
//		Worker: worker.Config{Redis: client, Upstreams: upstreams},
//	})
//	// summary.Done, summary.Dead, summary.Failures …
//
// These are the steps of a run. Each is in the file of its name:
//
//	input      opens the calls; they are read twice, so a stream is copied first
//	plan       reads which calls the file has; it keeps 50 bytes for each call, not its content
//	results    opens and locks the results file
//	previous   reads the results of previous runs and repairs the last line
//	redo       chooses the calls to make again; replace moves their results to OUT.old.jsonl
//	journal    records in OUT.sent which non-idempotent calls are in flight
//	api        refuses results of another API
//	adopt      finds calls of the plan that the queue has under another key
//	reconcile  cancels calls that the file no longer has, and reopens calls to make again
//	runner     sends the calls, works, and writes results until all calls have ended
//	collect    writes the results of ended calls; room limits the large results in Redis
//
// The package prints nothing and has no flags: it reports progress as an [Event], and
// failures as typed errors.
package filerun
