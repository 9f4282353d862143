package callqtest_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// exampleT replaces the *testing.T that a real test has.
type exampleT struct {
	testing.TB
	cleanups []func()
}

func (t *exampleT) Helper()                  {}
func (t *exampleT) Context() context.Context { return context.Background() }
func (t *exampleT) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }
func (t *exampleT) Logf(string, ...any)      {}
func (t *exampleT) Errorf(format string, args ...any) {
	fmt.Printf(format+"\n", args...)
}

func (t *exampleT) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	os.Exit(1)
}

func (t *exampleT) end() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// A test scripts the API, submits calls and waits for their results.
func Example() {
	t := &exampleT{}
	defer t.end()

	env := callqtest.New(t, worker.Config{})
	env.Sim().Script("GET /search -> 68300008 x2; ok")
	env.Start()
	r := env.Await(env.Submit(tasks.Call{Path: "/search"}).ID)
	fmt.Println(r.State, r.Attempts, env.Sim().Arrivals())
	// Output: done 3 3
}

// Reindex has the arguments of a job.
type Reindex struct {
	Shard int `json:"shard"`
}

// Kind returns the job's name.
func (Reindex) Kind() string { return "reindex" }

// A test of a producer needs no worker: it checks which jobs were enqueued.
func ExampleRequireEnqueued() {
	t := &exampleT{}
	defer t.end()

	env := callqtest.New(t, worker.Config{})
	_, err := tasks.Enqueue(t.Context(), env.Producer(), Reindex{Shard: 7}, tasks.Options{Upstream: callqtest.Upstream})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(callqtest.RequireEnqueued[Reindex](t, env))
	// Output: [{7}]
}
