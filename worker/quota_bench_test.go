package worker_test

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// BenchmarkUsefulCalls measures how much of a quota becomes results: an API that takes
// 300 calls a minute, of which one in twenty meets a passing fault. Who knew the quota
// and never came too early would have 285 results a minute; "of-ideal" is the share of
// that. It takes two minutes for each case.
func BenchmarkUsefulCalls(b *testing.B) {
	for name, hinted := range map[string]bool{"the API says how long to wait": true, "it does not say": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				usefulCalls(b, hinted)
			}
		})
	}
}

func usefulCalls(b *testing.B, hinted bool) {
	const quota, windows, window = 300, 2, time.Minute
	script, err := simapi.ParseScript("5% * * -> http:503")
	if err != nil {
		b.Fatal(err)
	}
	sim := simapi.New(simapi.Config{
		Script: script, Latency: simapi.Latency{Min: 50 * time.Millisecond}, Quota: simapi.Quota{Calls: quota, Window: window, RetryAfter: hinted},
	})
	server := httptest.NewServer(sim)
	defer server.Close()
	preset, err := policy.Preset("patsnap")
	if err != nil {
		b.Fatal(err)
	}
	client := open(b)
	w, err := worker.New(worker.Config{
		Redis: client, Upstreams: []worker.Upstream{{Name: "api", BaseURL: server.URL, Policy: preset}},
	})
	if err != nil {
		b.Fatal(err)
	}
	producer, err := tasks.NewProducer(client, tasks.ProducerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := producer.SubmitAll(b.Context(), "bench", numbered(2*windows*quota)); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	if err := sim.WaitFor(ctx, func(s simapi.Stats) bool { return s.Arrivals > 0 }); err != nil {
		b.Fatal(err)
	}
	<-time.After(windows * window)
	useful, refused := 0, 0
	for _, call := range sim.Calls() {
		switch call.Answer {
		case "ok":
			useful++
		case "67200001":
			refused++
		}
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(useful)/(windows*quota*0.95), "of-ideal")
	b.ReportMetric(float64(refused)/windows, "refused/window")
}
