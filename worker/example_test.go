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

// A worker in a program of one's own: a Redis, an upstream, and Run.
func Example() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"status":true,"error_code":0,"data":{"hits":7}}`)
	}))
	defer api.Close()
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()

	patsnap, err := policy.Preset("patsnap")
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := worker.New(worker.Config{
		Redis:     client,
		Upstreams: []worker.Upstream{{Name: "api", BaseURL: api.URL, Policy: patsnap}},
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
	receipt, err := producer.Submit(ctx, tasks.Call{Upstream: "api", Path: "/search", Query: tasks.Query{"q": "solar cell"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := follow.Wait(ctx, receipt.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(result.State, result.HTTPStatus, string(result.Body))
	cancel()
	fmt.Println(<-done)
	// Output:
	// done 200 {"status":true,"error_code":0,"data":{"hits":7}}
	// <nil>
}
