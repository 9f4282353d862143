// Command callq is a job queue for API calls. It makes the calls, handles each failure as
// a policy says, and records how every call ended.
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
