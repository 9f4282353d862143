// Package filerun makes the calls of a file, or of a list, and writes a result for each.
// A run can be stopped, killed and started again: calls that have a result are not made
// twice, and no result is lost. callq run is this package with flags and sentences.
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
// One run, step by step, each in the file of its name:
//
//	input      opens the calls; they are read twice, so that a stream is copied first
//	plan       reads which calls the file asks for: 50 bytes a call, nothing of their content
//	results    opens and locks the results file
//	previous   reads what previous runs left there and repairs its last line
//	redo       chooses the calls that are made again; replace moves their results to OUT.old.jsonl
//	journal    notes in OUT.sent which calls that must not be made twice are on their way
//	api        refuses results of another API
//	adopt      finds calls of the plan that the queue has under another name
//	reconcile  cancels what the file does not ask for any more, reopens what is made again
//	runner     sends the calls, works, and writes results until all calls have ended
//	collect    writes what has ended; room bounds what large results take in Redis
//
// The package prints nothing and knows no flags: what happens meanwhile is an [Event],
// and what goes wrong is a typed error.
package filerun
