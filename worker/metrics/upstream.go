package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// upstream has the values of one upstream, or of all upstreams that are not configured.
type upstream struct {
	inflight, runnable int64
	until              time.Time
	oldest             time.Duration
	open               map[string]int // by reason
	used               map[string]float64
	budgets            map[string]limit.Usage // by unit, the one that is used most
	queue              map[queueLabels]int64
	dead               map[string]int64 // by class
}

// queueLabels are the labels of callq_queue_calls.
type queueLabels struct{ priority, state string }

// sum returns the values of the configured upstreams, and of the others together.
func (f *Fleet) sum(now *overview.Overview) map[string]*upstream {
	all := map[string]*upstream{}
	for i := range now.Upstreams {
		u := &now.Upstreams[i]
		name := fold(u.Name, f.upstreams)
		if all[name] == nil {
			all[name] = &upstream{
				open: map[string]int{}, used: map[string]float64{}, budgets: map[string]limit.Usage{},
				queue: map[queueLabels]int64{}, dead: map[string]int64{},
			}
		}
		all[name].add(u, now.Now)
	}
	return all
}

func (t *upstream) add(u *overview.Upstream, now time.Time) {
	t.inflight += u.Inflight
	t.runnable += u.Runnable
	if !u.OldestRunnable.IsZero() {
		t.oldest = max(t.oldest, now.Sub(u.OldestRunnable))
	}
	for _, c := range append([]overview.Circuit{u.Circuit}, u.Endpoints...) {
		if c.State != overview.Flowing {
			t.open[fold(c.Reason, reasons)]++
		}
	}
	if u.Circuit.State != overview.Flowing && u.Circuit.Until.After(t.until) {
		t.until = u.Circuit.Until
	}
	for _, l := range u.Limits {
		t.used[l.Text] = max(t.used[l.Text], l.Ratio())
		if had, there := t.budgets[l.Unit]; l.Kind == limit.KindBudget && (!there || l.Ratio() > had.Ratio()) {
			t.budgets[l.Unit] = l
		}
	}
	for _, q := range u.Queues {
		for i, n := range []int64{q.Pending, q.Active, q.Retry, q.Scheduled} {
			t.queue[queueLabels{fold(q.Priority, priorities), waits[i]}] += n
		}
	}
	for class, n := range u.Dead {
		t.dead[fold(class, failures)] += n
	}
}

func (t *upstream) collect(name string, to chan<- prometheus.Metric) {
	to <- gauge(descInflight, float64(t.inflight), name)
	to <- gauge(descRunnable, float64(t.runnable), name)
	to <- gauge(descOldest, t.oldest.Seconds(), name)
	until := 0.0
	if !t.until.IsZero() {
		until = float64(t.until.UnixMilli()) / 1000
	}
	to <- gauge(descCircuitUntil, until, name)
	for _, reason := range reasons {
		to <- gauge(descCircuitOpen, float64(t.open[reason]), name, reason)
	}
	for text, ratio := range t.used {
		to <- gauge(descLimitUsed, ratio, name, text)
	}
	for unit, b := range t.budgets {
		to <- gauge(descSpent, b.Used, name, unit)
		to <- gauge(descBudget, b.Of, name, unit)
	}
	for labels, n := range t.queue {
		to <- gauge(descQueue, float64(n), name, labels.priority, labels.state)
	}
	for _, class := range failures {
		to <- gauge(descDead, float64(t.dead[class]), name, class)
	}
}
