// Command bench compares callq with asynq on this machine, and prints the result as
// Markdown. It needs redis-server or valkey-server on PATH. make bench runs it.
//
// Every measurement has an empty Redis of its own. The sides take turns within one
// process, in an order that changes from round to round, and a ratio compares the two
// measurements of one round.
//
//	measure.go     one measurement, and the rounds of a comparison
//	redis.go       the Redis of a measurement, and what it reports
//	callq.go       callq's side: producer and worker
//	asynq.go       asynq's side: client and servers
//	http.go        callq run and an asynq program; api.go is the API that both call
//	scripts.go     how long each script takes
//	profile.go     profiles of callq's worker
//	report.go      the tables
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if os.Getenv(apiVariable) != "" {
		exit(serveAPI(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	exit(err)
}

// exit ends the process; an error is printed and makes the status 1.
func exit(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are the flags.
type options struct {
	calls, rounds int
	within        time.Duration
	write         string
	profile       string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.calls, "calls", 20_000, "calls of a measurement; five times as many are sent in bulk")
	flags.IntVar(&o.rounds, "rounds", 7, "rounds of each comparison")
	flags.DurationVar(&o.within, "within", 14*time.Minute, "make fewer rounds if they would take longer")
	flags.StringVar(&o.write, "write", "", "also write the tables into README.md and cmd/bench/RESULTS.md of the checkout in this `FOLDER`")
	flags.StringVar(&o.profile, "profile", "", "compare nothing; write profiles of callq's worker on no-op jobs into this `FOLDER`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.calls < 1 || o.rounds < 1 {
		return errors.New("-calls and -rounds must be at least 1")
	}
	if o.profile != "" {
		return profile(ctx, o, stdout)
	}
	r, err := measureAll(ctx, o, stderr)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s\n%s", r.summary(), r.details())
	if o.write == "" {
		return nil
	}
	return r.write(o.write)
}

// measureAll runs every comparison. It writes its progress to progress.
func measureAll(ctx context.Context, o options, progress io.Writer) (*results, error) {
	r, err := newResults(ctx, o)
	if err != nil {
		return nil, err
	}
	api, err := startAPI(ctx)
	if err != nil {
		return nil, err
	}
	defer api.stop()
	for _, set := range []settings{embedded, plain} {
		r.add(workComparison, set)
		r.add(sendComparison, set)
	}
	r.add(httpComparison(api.url), embedded)
	if err := r.measure(ctx, progress); err != nil {
		return nil, err
	}
	if r.scripts, err = scriptTimes(ctx, api.url, o.calls, &r.names); err != nil {
		return nil, err
	}
	r.finish()
	return r, nil
}
