package metrics

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/overview"
)

var waitingCalls = flag.Int("calls", 20_000, "how many calls wait in BenchmarkScrape")

// BenchmarkScrape measures a scrape that reads from Redis while many calls wait, and for how
// long its longest command stops Redis, by SLOWLOG; 0: less than 0.1 ms.
func BenchmarkScrape(b *testing.B) {
	server := redistest.Redis(b)
	rdb := server.Client
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		b.Fatal(err)
	}
	const upstreams, batches = 4, 10
	for batch := range batches {
		_, err := producer.SubmitAll(b.Context(), fmt.Sprint("batch", batch), func(yield func(tasks.Call, error) bool) {
			for i := range *waitingCalls / batches {
				c := tasks.Call{Upstream: fmt.Sprint("api", i%upstreams), Path: fmt.Sprintf("/%d", i), Priority: []tasks.Priority{"high", "normal", "low"}[i%3]}
				if i%10 == 0 { // in the scheduled set
					at := time.Now().Add(time.Hour)
					c.NotBefore = &at
				}
				if !yield(c, nil) {
					return
				}
			}
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	var configured []overview.ConfiguredUpstream
	var names []string
	for i := range upstreams {
		names = append(names, fmt.Sprint("api", i))
		configured = append(configured, overview.ConfiguredUpstream{Name: names[i], Concurrency: 16, Limits: []string{"10/s", "5000/day"}, Budget: []string{"20000 calls/day"}})
	}
	if err := rdb.ConfigSet(b.Context(), "slowlog-log-slower-than", "100").Err(); err != nil {
		b.Fatal(err)
	}
	if err := rdb.Do(b.Context(), "slowlog", "reset").Err(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		reader, err := overview.NewReader(overview.Config{Redis: rdb, Upstreams: configured, MaxMemory: 1 << 30}) // a new one reads again
		if err != nil {
			b.Fatal(err)
		}
		reg := prometheus.NewRegistry()
		reg.MustRegister(NewFleet(reader, names, quiet))
		if families, err := reg.Gather(); err != nil || len(families) < 10 {
			b.Fatal(len(families), err)
		}
	}
	slow, err := rdb.SlowLogGet(b.Context(), 128).Result()
	if err != nil {
		b.Fatal(err)
	}
	longest := time.Duration(0)
	for _, s := range slow {
		longest = max(longest, s.Duration)
	}
	b.ReportMetric(float64(longest.Microseconds()), "µs-longest-command")
	b.ReportMetric(float64(*waitingCalls), "calls")
}

// BenchmarkRecorder measures what the metrics add to a call: an attempt, an end, and the
// wait for a slot.
func BenchmarkRecorder(b *testing.B) {
	r, err := NewRecorder(prometheus.NewRegistry(), []string{"other1", "api"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r.Attempt("api", policy.ClassOK, policy.ActionSucceed, time.Millisecond)
			r.Ended("api", ledger.Done, "ok", time.Second)
			r.LimitWait("api", time.Millisecond)
		}
	})
}
