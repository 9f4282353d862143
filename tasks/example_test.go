package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// openRedis opens a Redis for one example.
func openRedis() (rdb *redis.Client, end func()) {
	server, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	rdb = redis.NewClient(&redis.Options{Addr: server.Addr()})
	return rdb, func() {
		_ = rdb.Close()
		server.Close()
	}
}

// work replaces a worker: it ends the next call of the upstream "api".
func work(rdb *redis.Client, state ledger.State, answer string) ledger.Record {
	ctx, l, dispatcher := context.Background(), ledger.New(rdb), ledger.NewDispatcher(rdb, "")
	got, err := dispatcher.Dequeue(ctx, ledger.DequeueRequest{Queues: []string{"api"}, LeaseUntil: time.Now().Add(time.Minute).Unix(), Turn: time.Minute})
	if err != nil || got.Delivery == nil {
		panic(fmt.Sprint("no call to dequeue: ", err))
	}
	f := ledger.Final{State: state, Body: []byte(answer), BodyType: "application/json", Ending: ledger.Ending{Class: "ok", Attempts: 1}}
	if state == ledger.Dead {
		f.Ending.Class, f.Ending.Code = "unknown", "99999999"
		f.Group = ledger.Group{Class: f.Ending.Class, Code: f.Ending.Code}
	}
	if _, _, err := dispatcher.End(ctx, got.Delivery, f, nil); err != nil {
		panic(err)
	}
	if err := ledger.NewRepairer(rdb).RemoveTask(ctx, "api", got.Delivery.ID); err != nil {
		panic(err)
	}
	r, err := l.Get(ctx, "api", got.Delivery.ID)
	if err != nil {
		panic(err)
	}
	return r
}

func ExampleNewProducer() {
	rdb, end := openRedis()
	defer end()
	// With rules, calls for an upstream that is not configured are refused.
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{
		Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api"}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = p.Submit(context.Background(), tasks.Call{Upstream: "apj", Path: "/patent/42"})
	fmt.Println(err)
	// Output:
	// field "upstream": there is no upstream "apj"; configured: api
}

func ExampleProducer_Submit() {
	ctx := context.Background()
	rdb, end := openRedis()
	defer end()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	call := tasks.Call{Batch: "monday", Key: "row-1", Upstream: "api", Path: "/patent/42"}
	first, err := p.Submit(ctx, call)
	fmt.Println(first.Key, first.Duplicate, err)
	again, err := p.Submit(ctx, call)
	fmt.Println(again.ID == first.ID, again.Duplicate, err)

	call.Path = "/patent/43"
	_, err = p.Submit(ctx, call)
	var conflict *tasks.ConflictError
	fmt.Println(errors.As(err, &conflict), err)
	// Output:
	// row-1 false <nil>
	// true true <nil>
	// true key "row-1" of batch "monday" is already the key of a different call; choose another key or another batch
}

func ExampleProducer_SubmitAll() {
	ctx := context.Background()
	rdb, end := openRedis()
	defer end()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	// The calls can come from anywhere, and there can be millions.
	var patents iter.Seq2[tasks.Call, error] = func(yield func(tasks.Call, error) bool) {
		for n := range 1000 {
			if !yield(tasks.Call{Upstream: "api", Path: fmt.Sprintf("/patent/%d", n)}, nil) {
				return
			}
		}
	}
	for range 2 {
		sum, err := p.SubmitAll(ctx, "monday", patents)
		fmt.Println(sum.Accepted, sum.Duplicate, sum.Refused, err)
	}
	// Output:
	// 1000 0 0 <nil>
	// 0 1000 0 <nil>
}

func ExampleProducer_SubmitLines() {
	rdb, end := openRedis()
	defer end()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	file := strings.NewReader(`{"upstream":"api","path":"/patent/42"}
{"upstream":"api","path":"patent/43"}
{"upstream":"api","path":"/patent/44"}
`)
	sum, err := p.SubmitLines(context.Background(), "monday", tasks.ReadCalls(file, tasks.ReadOptions{}), func(refused *tasks.FieldError) {
		fmt.Println(refused)
	})
	fmt.Println(sum.Accepted, sum.Refused, err)
	// Output:
	// line 2: field "path" must begin with "/" (got "patent/43"); write the path relative to the upstream's base_url
	// 2 1 <nil>
}

// Reindex are the arguments of a job.
type Reindex struct {
	Index string `json:"index"`
}

// Kind names the job.
func (Reindex) Kind() string { return "reindex" }

func ExampleEnqueue() {
	rdb, end := openRedis()
	defer end()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := tasks.Enqueue(context.Background(), p, Reindex{Index: "patents"}, tasks.Options{Upstream: "api", Key: "nightly"})
	fmt.Println(r.Batch, r.Key, r.Duplicate, err)
	// Output:
	// adhoc nightly false <nil>
}

func ExampleClient_Wait() {
	ctx := context.Background()
	rdb, end := openRedis()
	defer end()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := tasks.NewClient(rdb, tasks.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := p.Submit(ctx, tasks.Call{Upstream: "api", Path: "/patent/42"})
	if err != nil {
		fmt.Println(err)
		return
	}
	var somewhere sync.WaitGroup
	somewhere.Go(func() { work(rdb, ledger.Done, `{"title":"Solar cell"}`) })
	defer somewhere.Wait()

	result, err := client.Wait(ctx, receipt.ID)
	fmt.Println(result.State, result.Attempts, string(result.Body), err)
	// Output:
	// done 1 {"title":"Solar cell"} <nil>
}

func ExampleClient_Results() {
	ctx := context.Background()
	rdb, end := openRedis()
	defer end()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := tasks.NewClient(rdb, tasks.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, key := range []string{"a", "b", "c"} {
		if _, err := p.Submit(ctx, tasks.Call{Batch: "monday", Key: key, Upstream: "api", Path: "/" + key}); err != nil {
			fmt.Println(err)
			return
		}
	}
	work(rdb, ledger.Done, `1`)
	work(rdb, ledger.Dead, `null`)

	for result, err := range client.Results(ctx, "monday") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(result.Key, result.State, result.Class)
	}
	// Output:
	// a done ok
	// b dead unknown
}

func ExampleClient_Redrive() {
	ctx := context.Background()
	rdb, end := openRedis()
	defer end()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := tasks.NewClient(rdb, tasks.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := p.Submit(ctx, tasks.Call{Batch: "monday", Key: "a", Upstream: "api", Path: "/a"})
	if err != nil {
		fmt.Println(err)
		return
	}
	work(rdb, ledger.Dead, `null`)

	fmt.Println(client.Redrive(ctx, receipt.ID))
	fmt.Println(client.Redrive(ctx, receipt.ID) != nil) // it is open now

	work(rdb, ledger.Done, `1`)
	result, err := client.Wait(ctx, receipt.ID)
	fmt.Println(result.State, err)
	// Output:
	// <nil>
	// true
	// done <nil>
}
