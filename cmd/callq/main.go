// Command callq is a job queue for API calls. It makes the calls, handles each failure as
// a policy says, and records how every call ended.
//
// A command is in the file of its name: callq batch in batch.go. Some of its subcommands
// have their own: callq batch export is in batch_export.go. root.go has the list of the
// commands and what they share, exit.go the exit statuses.
//
// These files are about callq run:
//
//	run.go          the flags and the help
//	run_events.go   what it prints while it runs
//	summary.go      what it prints at the end, also about the calls of an earlier run
//	run_errors.go   what it prints if it cannot start or go on
//	run_dry*.go     --dry-run
//	run_redo.go     --redo, --redo-keys, --redo-from
//
// What a run does is in package filerun; it reports its events, and prints nothing.
package main

import (
	"context"
	"os"
)

func main() {
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	a.captureLogs()
	os.Exit(a.run(context.Background(), os.Args[1:]))
}
