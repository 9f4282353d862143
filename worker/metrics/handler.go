package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// BuildInfo is the metric callq_build_info: always 1, with the version of the program and
// that of Go.
func BuildInfo(version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "callq_build_info", Help: "Always 1. The labels are the version of callq and that of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	info.Set(1)
	return info
}

// Handler answers scrapes, in the text format or as OpenMetrics, as the client prefers. If a
// metric cannot be collected, the others are sent and the log has the error.
func Handler(g prometheus.Gatherer, log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorHandling: promhttp.ContinueOnError, ErrorLog: errorLog{log}})
}

// errorLog logs the errors of scrapes.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Println(v ...any) {
	l.log.Warn("a metric cannot be collected", "error", fmt.Sprint(v...))
}
