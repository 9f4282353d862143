package metrics

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// The buckets of the histograms, in seconds.
var (
	attemptBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	callBuckets    = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 3 * 24 * 3600, 7 * 24 * 3600}
	waitBuckets    = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1}
)

// Recorder counts what one worker does. A nil Recorder counts nothing. It is safe for
// concurrent use.
type Recorder struct {
	upstreams    []string
	attempts     *prometheus.CounterVec
	calls        *prometheus.CounterVec
	attemptTime  *prometheus.HistogramVec
	callTime     *prometheus.HistogramVec
	limitWait    *prometheus.HistogramVec
	holds        *prometheus.CounterVec
	afterHold    *prometheus.CounterVec
	ledgerErrors prometheus.Counter
}

// NewRecorder registers the metrics of a worker that makes the calls of the named upstreams.
// Workers with the same Registerer share their metrics. A nil Registerer returns nil.
func NewRecorder(reg prometheus.Registerer, upstreams []string) (*Recorder, error) {
	if reg == nil {
		return nil, nil
	}
	r := &Recorder{upstreams: upstreams}
	err := errors.Join(
		register(reg, &r.attempts, counters("callq_attempts_total", "Attempts that were recorded, by what the policy decided.", "upstream", "class", "action")),
		register(reg, &r.calls, counters("callq_calls_total", "Calls that this process ended.", "upstream", "state", "class")),
		register(reg, &r.attemptTime, histograms("callq_attempt_duration_seconds", "Time from the send of an attempt to its answer.", attemptBuckets, "upstream")),
		register(reg, &r.callTime, histograms("callq_call_duration_seconds", "Time from the acceptance of a call to its end.", callBuckets, "upstream")),
		register(reg, &r.limitWait, histograms("callq_limit_wait_seconds", "Time that calls waited in the worker for their slot under the limits.", waitBuckets, "upstream")),
		register(reg, &r.holds, counters("callq_holds_total", "Holds of accounts and endpoints that this process began.", "upstream", "reason")),
		register(reg, &r.afterHold, counters("callq_refused_after_hold_total",
			"Calls that began while a hold was in force, were not its probe, and were refused by the API with the error of that hold. It should stay 0.", "upstream")),
		register(reg, &r.ledgerErrors, prometheus.NewCounter(prometheus.CounterOpts{Name: "callq_ledger_errors_total", Help: "Requests to Redis that failed in the worker."})),
	)
	if err != nil {
		return nil, err
	}
	// What an alert compares must exist before it happens the first time.
	for _, upstream := range upstreams {
		for _, reason := range reasons {
			r.holds.WithLabelValues(upstream, reason)
		}
		for _, v := range []*prometheus.HistogramVec{r.attemptTime, r.callTime, r.limitWait} {
			v.WithLabelValues(upstream)
		}
		r.afterHold.WithLabelValues(upstream)
	}
	return r, nil
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// register registers c and sets to to it, or to the same metric that is registered already.
func register[C prometheus.Collector](reg prometheus.Registerer, to *C, c C) error {
	err := reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			*to = existing
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("register the metrics: %w", err)
	}
	*to = c
	return nil
}

// Attempt counts an attempt whose answer came after took.
func (r *Recorder) Attempt(upstream string, class policy.Class, action policy.Action, took time.Duration) {
	if r == nil {
		return
	}
	upstream = fold(upstream, r.upstreams)
	r.attempts.WithLabelValues(upstream, fold(string(class), classes), fold(string(action), actions)).Inc()
	r.attemptTime.WithLabelValues(upstream).Observe(took.Seconds())
}

// Ended counts a call that ended, took after it was accepted; below 0: not known.
func (r *Recorder) Ended(upstream string, state ledger.State, class string, took time.Duration) {
	if r == nil {
		return
	}
	upstream = fold(upstream, r.upstreams)
	r.calls.WithLabelValues(upstream, fold(string(state), states), fold(class, classes)).Inc()
	if took >= 0 {
		r.callTime.WithLabelValues(upstream).Observe(took.Seconds())
	}
}

// LimitWait records how long a call waited for its slot.
func (r *Recorder) LimitWait(upstream string, wait time.Duration) {
	if r == nil {
		return
	}
	r.limitWait.WithLabelValues(fold(upstream, r.upstreams)).Observe(max(wait, 0).Seconds())
}

// Hold counts a hold that began.
func (r *Recorder) Hold(upstream, reason string) {
	if r == nil {
		return
	}
	r.holds.WithLabelValues(fold(upstream, r.upstreams), fold(reason, reasons)).Inc()
}

// RefusedAfterHold counts a call that the API refused although a hold was in force when the
// call began.
func (r *Recorder) RefusedAfterHold(upstream string) {
	if r == nil {
		return
	}
	r.afterHold.WithLabelValues(fold(upstream, r.upstreams)).Inc()
}

// LedgerError counts a request to Redis that failed.
func (r *Recorder) LedgerError() {
	if r == nil {
		return
	}
	r.ledgerErrors.Inc()
}
