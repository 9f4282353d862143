// Command callq is a job queue for API calls: it makes them, answers each
// failure as a policy says, and remembers how every call ended.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
