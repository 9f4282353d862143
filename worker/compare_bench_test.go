package worker_test

import (
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/seed-2903acc3/callq/worker"
)

// cost is what a run of the worker took: jobs a second, and this process's CPU time for a
// job.
type cost struct{ rate, cpu []float64 }

func (c *cost) measure(b *testing.B, jobs int, change func(*worker.Config)) {
	client := open(b)
	before := cpuTime(b)
	c.rate = append(c.rate, workCallq(b, client, jobs, 64, change))
	c.cpu = append(c.cpu, float64((cpuTime(b)-before).Microseconds())/float64(jobs))
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

// cpuTime returns the CPU time that this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// compare runs the worker without and with a change in turn, and reports the medians.
func compare(b *testing.B, change func(*worker.Config)) {
	const jobs = 50_000
	var without, with cost
	for b.Loop() {
		without.measure(b, jobs, nil)
		with.measure(b, jobs, change)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(without.rate), "without/s")
	b.ReportMetric(median(with.rate), "with/s")
	b.ReportMetric(median(without.cpu), "µs-cpu-without")
	b.ReportMetric(median(with.cpu), "µs-cpu-with")
}

// BenchmarkTraces compares a worker that records spans and drops them with one without
// traces. Run it with -benchtime 11x: the medians of fewer runs say little.
func BenchmarkTraces(b *testing.B) {
	compare(b, func(c *worker.Config) { c.TracerProvider = sdktrace.NewTracerProvider() })
}

// BenchmarkMetrics compares a worker with metrics with one without. Run it with
// -benchtime 11x: the medians of fewer runs say little.
func BenchmarkMetrics(b *testing.B) {
	compare(b, func(c *worker.Config) { c.Registerer = prometheus.NewRegistry() })
}
