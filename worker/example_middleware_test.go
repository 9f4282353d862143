package worker_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
)

// printed prints each attempt and what came of it.
func printed(next worker.Handler) worker.Handler {
	return func(ctx context.Context, a worker.Attempt) (policy.Outcome, error) {
		outcome, err := next(ctx, a)
		fmt.Printf("%s, attempt %d: HTTP %d\n", a.Endpoint, a.Number, outcome.Status)
		return outcome, err
	}
}

// onlyReads refuses calls that change something: they are judged as if the API had answered
// 403, and nothing is sent.
func onlyReads(next worker.Handler) worker.Handler {
	return func(ctx context.Context, a worker.Attempt) (policy.Outcome, error) {
		if a.Call.Method != http.MethodGet {
			return policy.Outcome{}, &policy.Failure{Status: http.StatusForbidden, Message: "this worker only reads"}
		}
		return next(ctx, a)
	}
}

// Middleware wraps the making of each attempt.
func ExampleMiddleware() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }))
	defer api.Close()
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	preset, err := policy.Preset("http")
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := worker.New(worker.Config{
		Redis:      client,
		Upstreams:  []worker.Upstream{{Name: "api", BaseURL: api.URL, Policy: preset}},
		Middleware: []worker.Middleware{onlyReads, printed},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()

	producer, err := tasks.NewProducer(client, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	follow, err := tasks.NewClient(client, tasks.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, call := range []tasks.Call{{Upstream: "api", Path: "/orders/17"}, {Upstream: "api", Method: "DELETE", Path: "/orders/17"}} {
		receipt, err := producer.Submit(ctx, call)
		if err != nil {
			fmt.Println(err)
			return
		}
		result, err := follow.Wait(ctx, receipt.ID)
		if err != nil {
			fmt.Println(err)
			return
		}
		if fmt.Println(result.State); result.ErrorMessage != "" {
			fmt.Println(result.ErrorMessage)
		}
	}
	cancel()
	if err := <-done; err != nil {
		fmt.Println(err)
	}
	// Output:
	// GET /orders/*, attempt 1: HTTP 200
	// done
	// dead
	// this worker only reads
}
