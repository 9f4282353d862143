package filerun_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/filerun"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// This example makes the calls of a list and writes a result for each.
func Example() {
	cfg, folder, end := simulated("GET /patent/3 -> 68300004")
	defer end()
	var calls []tasks.Call
	for n := range 3 {
		calls = append(calls, tasks.Call{Key: fmt.Sprint("row-", n+1), Path: fmt.Sprint("/patent/", n+1)})
	}
	in, err := filerun.Calls("patents", calls...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Close()
	cfg.In, cfg.Out = in, filepath.Join(folder, "results.jsonl")
	summary, err := filerun.Run(context.Background(), cfg)
	fmt.Println(summary.Done, "done,", summary.Dropped, "dropped,", err)
	for _, f := range summary.Failures {
		fmt.Println(f.Key, f.Class, f.Code)
	}
	// Output:
	// 2 done, 1 dropped, <nil>
	// row-3 bad_parameter 68300004
}

// A run with the same Out makes only the calls that have no result there.
func Example_resume() {
	cfg, folder, end := simulated("")
	defer end()
	file := filepath.Join(folder, "calls.jsonl")
	cfg.Out = filepath.Join(folder, "results.jsonl")
	for _, lines := range []string{`{"path":"/a"}`, `{"path":"/a"}` + "\n" + `{"path":"/b"}`} {
		if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
			fmt.Println(err)
			return
		}
		in, err := filerun.OpenFile(file)
		if err != nil {
			fmt.Println(err)
			return
		}
		cfg.In = in
		summary, err := filerun.Run(context.Background(), cfg)
		fmt.Println(summary.Calls, "calls,", summary.Resumed, "resumed,", summary.Done, "done,", errors.Join(err, in.Close()))
	}
	// Output:
	// 1 calls, 0 resumed, 1 done, <nil>
	// 2 calls, 1 resumed, 2 done, <nil>
}

// When the context is cancelled, the calls in flight end and their results are written. A
// later run makes the other calls.
func Example_stop() {
	cfg, folder, end := simulated("")
	defer end()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	year2099 := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	in, err := filerun.Calls("two", tasks.Call{Key: "now", Path: "/a"}, tasks.Call{Key: "later", Path: "/b", NotBefore: &year2099})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg.In, cfg.Out = in, filepath.Join(folder, "results.jsonl")
	cfg.OnEvent = func(e filerun.Event) {
		if p, ok := e.(filerun.Progress); ok && p.Written == 1 {
			stop()
		}
	}
	summary, err := filerun.Run(ctx, cfg)
	fmt.Println(summary.Done, "done,", summary.Open, "open:", err)
	// Output:
	// 1 done, 1 open: interrupted before all calls had ended
}

// Forecast estimates what a run would do, and its costs.
func ExampleForecast() {
	cfg, folder, end := simulated("")
	defer end()
	cfg.Worker.Upstreams[0].CostPerCall = "0.25"
	cfg.Worker.Upstreams[0].Limits = []string{"1/s"}
	in, err := filerun.Calls("patents", tasks.Call{Path: "/patent/1"}, tasks.Call{Path: "/patent/2"}, tasks.Call{Path: "/search"})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg.In, cfg.Out = in, filepath.Join(folder, "results.jsonl")
	estimate, err := filerun.Forecast(context.Background(), cfg)
	fmt.Println(estimate.Calls, "calls cost", estimate.Costs[0].Amount.FloatString(2), "and take", estimate.AtLeast.Truncate(time.Second), "at least,", err)
	for _, e := range estimate.Endpoints {
		fmt.Println(e.Calls, e.Endpoint)
	}
	// Output:
	// 3 calls cost 0.75 and take 2s at least, <nil>
	// 2 GET /patent/*
	// 1 GET /search
}

// simulated returns a Config for a simulated API and a Redis in this process, and a
// directory for files.
func simulated(script string) (cfg filerun.Config, folder string, end func()) {
	sim := simapi.New(simapi.Config{Script: simapi.MustParseScript(script)})
	api := httptest.NewServer(sim)
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	folder, err = os.MkdirTemp("", "filerun-")
	if err != nil {
		panic(err)
	}
	patsnap, err := policy.Preset("patsnap")
	if err != nil {
		panic(err)
	}
	cfg.Worker = worker.Config{
		Redis:     client,
		Upstreams: []worker.Upstream{{Name: "patsnap", BaseURL: api.URL, Policy: patsnap, Endpoints: []string{"GET /patent/*"}}},
	}
	return cfg, folder, func() {
		_ = client.Close()
		server.Close()
		_ = sim.Close()
		api.Close()
		_ = os.RemoveAll(folder)
	}
}
