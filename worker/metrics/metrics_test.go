package metrics

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/limit"
	"github.com/seed-2903acc3/callq/worker/overview"
)

var update = flag.Bool("update", false, "write the list of the metrics")

// readerFunc is a Reader.
type readerFunc func() (*overview.Overview, error)

func (f readerFunc) Read(context.Context) (*overview.Overview, error) { return f() }

var quiet = slog.New(slog.DiscardHandler)

// busy is a queue in which every gauge has a value: a configured upstream api, and two that
// only the queue knows.
func busy() *overview.Overview {
	now := time.Unix(1_800_000_000, 0)
	queues := []overview.Queue{{Priority: "high", Pending: 1}, {Priority: "normal", Pending: 2, Active: 3, Retry: 4, Scheduled: 5}, {Priority: "low"}}
	return &overview.Overview{
		Now: now, RedisMemory: 1 << 20,
		Upstreams: []overview.Upstream{
			{
				Name: "api", Inflight: 3, Queues: queues, Dead: map[string]int64{"auth": 2, "a class of a newer version": 1},
				Circuit:   overview.Circuit{State: overview.Paused, Reason: "quota", Until: now.Add(time.Minute)},
				Endpoints: []overview.Circuit{{State: overview.Testing, Reason: "permission"}, {State: overview.Paused, Reason: "a hold of one's own"}},
				Limits: []limit.Usage{
					{Text: "10/s", Kind: limit.KindRate, Used: 1, Of: 10, Unit: "calls"}, {Text: "10/s", Kind: limit.KindRate, Used: 2, Of: 10, Unit: "calls"},
					{Text: "100 USD/month", Kind: limit.KindBudget, Used: 25, Of: 100, Unit: "USD"}, {Text: "10 USD/day", Kind: limit.KindBudget, Used: 5, Of: 10, Unit: "USD"},
				},
			},
			{Name: "gone", Runnable: 3, OldestRunnable: now.Add(-time.Minute), Queues: queues, Circuit: overview.Circuit{State: overview.Flowing}},
			{Name: "lost", Runnable: 4, OldestRunnable: now.Add(-time.Hour), Queues: queues, Circuit: overview.Circuit{State: overview.Flowing}},
		},
	}
}

// all returns a registry with every metric, each of which has a value.
func all(t *testing.T) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	r, err := NewRecorder(reg, []string{"api"})
	if err != nil {
		t.Fatal(err)
	}
	r.Attempt("api", policy.ClassOK, policy.ActionSucceed, time.Second)
	r.Ended("api", ledger.Done, "ok", time.Second)
	r.LimitWait("api", time.Millisecond)
	r.Hold("api", "quota")
	r.LedgerError()
	reg.MustRegister(NewFleet(readerFunc(func() (*overview.Overview, error) { return busy(), nil }), []string{"api"}, quiet), BuildInfo("v1"))
	return reg
}

// values returns every sample as `name{label="value"} value`, without the buckets.
func values(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			samples[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return samples
}

// list describes every metric in a line: its name, kind and labels.
func list(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ","))))
	}
	return strings.Join(lines, "\n") + "\n"
}

func TestTheNamesAndTheLabelsOfTheMetricsStay(t *testing.T) {
	const golden = "testdata/metrics.txt"
	got := list(t, all(t))
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("programs depend on the names and labels; got\n%s\nwant\n%s", got, want)
	}
}

func TestTheReadmeHasEveryMetricWithItsLabelsAndTheAlertsUseNoOther(t *testing.T) {
	golden, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(golden)) {
		fields := append(strings.Fields(line), "")
		names[fields[0]] = true
		row := fmt.Sprintf("| `%s` | %s | %s |", fields[0], fields[1], strings.ReplaceAll(fields[2], ",", ", "))
		if !strings.Contains(string(readme), row) {
			t.Errorf("README.md has no row that begins with %s", row)
		}
	}
	alerts, err := os.ReadFile("../../deploy/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	used := regexp.MustCompile(`callq_\w+`).FindAllString(string(alerts), -1)
	for _, name := range used {
		if !names[name] {
			t.Errorf("deploy/alerts.yml uses %s, which is no metric", name)
		}
	}
	if len(used) == 0 {
		t.Error("deploy/alerts.yml uses no metric")
	}
}

func TestAValueOutsideTheClosedSetsIsOther(t *testing.T) {
	reg := prometheus.NewRegistry()
	r, err := NewRecorder(reg, []string{"api"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		text := fmt.Sprint(i)
		r.Attempt(text, policy.Class(text), policy.Action(text), 0)
		r.Ended(text, ledger.State(text), text, 0)
		r.Hold(text, text)
		r.LimitWait(text, 0)
		r.RefusedAfterHold(text)
	}
	got := values(t, reg)
	for _, want := range []string{
		`callq_attempts_total{action="other",class="other",upstream="other"}`, `callq_calls_total{class="other",state="other",upstream="other"}`,
		`callq_holds_total{reason="other",upstream="other"}`, `callq_limit_wait_seconds{upstream="other"}`, `callq_refused_after_hold_total{upstream="other"}`,
	} {
		if got[want] != 100 {
			t.Errorf("%s is %g, want 100", want, got[want])
		}
	}
}

func TestTheFleetsGaugesShowConfiguredUpstreamsAndTheOthersTogether(t *testing.T) {
	got := values(t, all(t))
	for sample, want := range map[string]float64{
		`callq_inflight{upstream="api"}`:                                        3,
		`callq_circuit_open{reason="quota",upstream="api"}`:                     1,
		`callq_circuit_open{reason="permission",upstream="api"}`:                1,
		`callq_circuit_open{reason="other",upstream="api"}`:                     1,
		`callq_circuit_open{reason="outage",upstream="api"}`:                    0,
		`callq_circuit_until_seconds{upstream="api"}`:                           1_800_000_060,
		`callq_circuit_until_seconds{upstream="other"}`:                         0,
		`callq_limit_used_ratio{limit="10/s",upstream="api"}`:                   .2,
		`callq_limit_used_ratio{limit="100 USD/month",upstream="api"}`:          .25,
		`callq_budget_spent{unit="USD",upstream="api"}`:                         5,
		`callq_budget_limit{unit="USD",upstream="api"}`:                         10,
		`callq_queue_calls{priority="normal",state="scheduled",upstream="api"}`: 5,
		`callq_queue_calls{priority="normal",state="retry",upstream="other"}`:   8,
		`callq_runnable_calls{upstream="other"}`:                                7,
		`callq_oldest_runnable_seconds{upstream="other"}`:                       3600,
		`callq_oldest_runnable_seconds{upstream="api"}`:                         0,
		`callq_dead_calls{class="auth",upstream="api"}`:                         2,
		`callq_dead_calls{class="other",upstream="api"}`:                        1,
		`callq_dead_calls{class="quota",upstream="api"}`:                        0,
		`callq_redis_up{}`:           1,
		`callq_redis_memory_bytes{}`: 1 << 20,
	} {
		if value, there := got[sample]; !there || value != want {
			t.Errorf("%s is %g (%t), want %g", sample, value, there, want)
		}
	}
	for sample := range got {
		if strings.Contains(sample, `"gone"`) || strings.Contains(sample, `"lost"`) {
			t.Errorf("%s names an upstream that is not configured", sample)
		}
	}
}

func TestAScrapeAnswersWithinTwoSecondsWhileRedisIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var readings atomic.Int64
		answer := make(chan error)
		reg := prometheus.NewRegistry()
		reg.MustRegister(NewFleet(readerFunc(func() (*overview.Overview, error) {
			readings.Add(1)
			return nil, <-answer
		}), []string{"api"}, quiet))
		for range 3 {
			began := time.Now()
			got := values(t, reg)
			if up, there := got["callq_redis_up{}"]; up != 0 || !there || len(got) != 1 {
				t.Errorf("got %v", got)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
		}
		if n := readings.Load(); n != 1 {
			t.Errorf("there were %d readings: those after the first must wait for it", n)
		}
		answer <- errors.New("Redis is away")
		synctest.Wait()
		if got := values(t, reg); readings.Load() != 2 || len(got) != 1 {
			t.Errorf("after the answer there were %d readings, and %v", readings.Load(), got)
		}
		answer <- errors.New("Redis is away")
	})
}

func TestWorkersWithOneRegistererShareTheirMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	for _, upstreams := range [][]string{{"api"}, {"api", "new"}} { // as after a reload
		r, err := NewRecorder(reg, upstreams)
		if err != nil {
			t.Fatal(err)
		}
		r.Hold("api", "quota")
	}
	if got := values(t, reg)[`callq_holds_total{reason="quota",upstream="api"}`]; got != 2 {
		t.Errorf("%g holds, want 2", got)
	}
}

func TestAMetricOfAnotherProgramWithTheSameNameIsAnError(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "callq_holds_total"}))
	if _, err := NewRecorder(reg, nil); err == nil || !strings.Contains(err.Error(), "callq_holds_total") {
		t.Errorf("got %v", err)
	}
}

func TestWithoutARegistererNothingIsCounted(t *testing.T) {
	r, err := NewRecorder(nil, []string{"api"})
	if r != nil || err != nil {
		t.Fatalf("got %v, %v", r, err)
	}
	if allocs := testing.AllocsPerRun(100, func() {
		r.Attempt("api", policy.ClassOK, policy.ActionSucceed, 0)
		r.Ended("api", ledger.Done, "ok", 0)
		r.LimitWait("api", 0)
		r.Hold("api", "quota")
		r.RefusedAfterHold("api")
		r.LedgerError()
	}); allocs != 0 {
		t.Errorf("%g allocations", allocs)
	}
}

// scrape gets the metrics as a server sends them.
func scrape(t *testing.T, g prometheus.Gatherer, accept string) (contentType string, body []byte) {
	t.Helper()
	server := httptest.NewServer(Handler(g, quiet))
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return resp.Header.Get("Content-Type"), body
}

func TestScrapesGetTextOrOpenMetricsAsTheyAskFor(t *testing.T) {
	for accept, want := range map[string]string{
		"":           "text/plain",
		"text/plain": "text/plain",
		"application/openmetrics-text;version=1.0.0,text/plain;q=0.5": "application/openmetrics-text",
	} {
		kind, body := scrape(t, all(t), accept)
		if !strings.HasPrefix(kind, want) || !bytes.Contains(body, []byte(`callq_holds_total{reason="quota",upstream="api"} 1`)) {
			t.Errorf("%q: got %s", accept, kind)
		}
		if ended := bytes.HasSuffix(body, []byte("# EOF\n")); ended != (want == "application/openmetrics-text") {
			t.Errorf("%q: the end of OpenMetrics is there: %t", accept, ended)
		}
	}
}

func TestPromtoolAcceptsTheMetrics(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil && os.Getenv("CALLQ_REQUIRE_PROMTOOL") != "1" {
		t.Skip("promtool is not on PATH")
	}
	_, body := scrape(t, all(t), "text/plain")
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = bytes.NewReader(body)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
