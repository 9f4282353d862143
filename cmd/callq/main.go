// Command callq is a job queue for API calls: it makes them, answers each
// failure as a policy says, and remembers how every call ended.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/seed-2903acc3/callq/tasks/broker"
)

func main() {
	// What go-redis has to say is in the errors that it returns, in better words.
	broker.LogLibrary(slog.New(slog.DiscardHandler))
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
