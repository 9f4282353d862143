package worker_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
)

// Translate is a job's arguments.
type Translate struct {
	Text string `json:"text"`
}

// Kind names the job for ever.
func (Translate) Kind() string { return "translate" }

// sdk stands for an API's own client library.
func sdk(_ context.Context, text, idempotencyKey string) (string, error) {
	if text == "" {
		return "", &policy.Failure{Code: "68300004", Message: "Invalid parameter!"}
	}
	return "Guten Tag", nil
}

// A job is a call that Go code makes, with an SDK for example. What it returns is
// judged by the upstream's policy, as an API's answer would be.
func ExampleHandle() {
	server, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	preset, err := policy.Preset("patsnap")
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := worker.New(worker.Config{Redis: client, Upstreams: []worker.Upstream{{Name: "api", Policy: preset}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = worker.Handle(w, "api", func(ctx context.Context, j *worker.Job[Translate]) (string, error) {
		return sdk(ctx, j.Args.Text, j.ID)
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
	for _, text := range []string{"Good day", ""} {
		receipt, err := tasks.Enqueue(ctx, producer, Translate{Text: text}, tasks.Options{Upstream: "api"})
		if err != nil {
			fmt.Println(err)
			return
		}
		r, err := follow.Wait(ctx, receipt.ID)
		fmt.Println(r.State, r.Class, string(r.Body), err)
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// done ok "Guten Tag" <nil>
	// dropped bad_parameter  <nil>
	// <nil>
}
