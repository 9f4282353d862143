// Package metrics has callq's Prometheus metrics. It may change in any version; the names
// and the labels of the metrics stay.
//
// A [Recorder] counts what the worker of this process does. A [Fleet] shows the state of the
// whole queue, as every process reads it from Redis: do not add it up over processes.
//
//	registry := prometheus.NewRegistry()
//	w, err := worker.New(worker.Config{Registerer: registry, …}) // it makes a Recorder
//	…
//	registry.MustRegister(metrics.NewFleet(reader, upstreams, log), metrics.BuildInfo("v1.0.0"))
//	http.Handle("GET /metrics", metrics.Handler(registry, log))
//
// No label grows without a bound: upstreams and limits are those of the configuration,
// everything else is from a closed set, and any other value becomes "other". README.md lists
// the metrics.
package metrics
