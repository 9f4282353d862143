package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// TestQueueScripts runs the commands against a Redis of each script's own, with a
// callq.yaml that names it and an upstream called sim. Beside the program there
// are these commands:
//
//	work FILE            run a worker against a simulated API, which answers as FILE
//	                     says, until no call is open
//	redis COMMAND…       run a command on Redis and print its answer
//	id VAR BATCH KEY     set VAR to the id of a call
//	status N COMMAND…    run a command that ends with status N
//	count N FILE         FILE has N lines
//	lines N FILE         write a file of N calls
//	archive N DAYS       put N tasks into asynq's archive that died so many days ago
//	deletequeue QUEUE    delete a queue with all its tasks, as asynq's own tools do
//	asynqmon works|fails asynq's own tools can, or cannot, show the queue sim
func TestQueueScripts(t *testing.T) {
	t.Parallel()
	redistest.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/queue",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TZ", "UTC")
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			server := redistest.Redis(env.T().(testing.TB))
			env.Values["t"], env.Values["redis"] = env.T().(testing.TB), server.Client
			env.Setenv("CALLQ_REDIS", server.URL)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status": status, "work": work, "redis": redisCommand, "id": callID, "count": countLines,
			"lines": writeLines, "archive": archiveTasks, "deletequeue": deleteQueue, "asynqmon": asynqShows,
		},
	})
}

func redisOf(ts *testscript.TestScript) *redis.Client { return ts.Value("redis").(*redis.Client) }

func work(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: work FILE")
	}
	env := callqtest.New(ts.Value("t").(testing.TB), worker.Config{Redis: redisOf(ts), Upstreams: []worker.Upstream{{Name: "sim"}}})
	env.Sim().Script(ts.ReadFile(args[0]))
	env.Start()
	defer env.Stop()
	ts.Check(settled(redisOf(ts)))
}

// settled waits until no call is open.
func settled(rdb *redis.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l := ledger.New(rdb)
	for {
		batches, err := l.Batches(ctx)
		if err != nil {
			return err
		}
		open := int64(0)
		for _, b := range batches {
			open += b.Counts.Open
		}
		if open == 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d calls are still open", open)
		}
	}
}

func redisCommand(ts *testscript.TestScript, neg bool, args []string) {
	command := make([]any, len(args))
	for i, arg := range args {
		command[i] = arg
	}
	answer, err := redisOf(ts).Do(context.Background(), command...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		ts.Fatalf("got %v", err)
	}
	fmt.Fprintln(ts.Stdout(), answer)
}

func callID(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: id VAR BATCH KEY")
	}
	ts.Setenv(args[0], tasks.TaskID(args[1], args[2]))
}

func countLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: count N FILE")
	}
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); fmt.Sprint(got) != args[0] {
		ts.Fatalf("%s has %d lines, want %s", args[1], got, args[0])
	}
}
