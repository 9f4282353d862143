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

// A program is told when a batch has ended, and when calls fail for a new cause. Flush waits
// for that before the program ends.
func ExampleConfig_onEvent() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/locked" {
			w.WriteHeader(http.StatusUnauthorized)
		}
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
	preset, err := policy.Preset("http")
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := worker.New(worker.Config{
		Redis:     client,
		Upstreams: []worker.Upstream{{Name: "api", BaseURL: api.URL, Policy: preset}},
		OnEvent: func(e worker.Event) {
			switch e := e.(type) {
			case worker.BatchEnded:
				fmt.Printf("%s has ended: %d done, %d dead\n", e.Batch, e.Done, e.Dead)
			case worker.DeadGroup:
				fmt.Printf("%s: %s\n", e.Class, e.Message)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
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
	var ids []string
	for _, path := range []string{"/open", "/locked"} {
		receipt, err := producer.Submit(ctx, tasks.Call{Upstream: "api", Batch: "night", Path: path})
		if err != nil {
			fmt.Println(err)
			return
		}
		ids = append(ids, receipt.ID)
	}
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	for _, id := range ids {
		if _, err := follow.Wait(ctx, id); err != nil {
			fmt.Println(err)
			return
		}
	}
	if err := w.Flush(ctx); err != nil {
		fmt.Println(err)
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// auth: The service did not accept our credentials.
	// night has ended: 1 done, 1 dead
	// <nil>
}
