package main

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// spans is an OTLP receiver (HTTP, protobuf).
type spans struct {
	url string

	mu       sync.Mutex
	services map[string]bool
	headers  []string // of the requests: x-token
	received []*tracepb.Span
}

func receive(t *testing.T) *spans {
	t.Helper()
	s := &spans{services: map[string]bool{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
			var plain *gzip.Reader
			if plain, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
				body, err = io.ReadAll(plain)
			}
		}
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &export)
		}
		if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%s %s: %v", r.URL.Path, r.Header.Get("Content-Type"), err)
		}
		s.add(&export, r.Header.Get("X-Token"))
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *spans) add(export *collector.ExportTraceServiceRequest, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, token)
	for _, from := range export.ResourceSpans {
		for _, a := range from.Resource.Attributes {
			if a.Key == "service.name" {
				s.services[a.Value.GetStringValue()] = true
			}
		}
		for _, scope := range from.ScopeSpans {
			s.received = append(s.received, scope.Spans...)
		}
	}
}

// of returns the spans of a trace with a name, in the order in which they began.
func (s *spans) of(trace []byte, name string) (found []*tracepb.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.received {
		if one.Name == name && (trace == nil || bytes.Equal(one.TraceId, trace)) {
			found = append(found, one)
		}
	}
	slices.SortFunc(found, func(a, b *tracepb.Span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	return found
}

// fieldOf returns an attribute of an event of a span.
func fieldOf(s *tracepb.Span, event, name string) string {
	for _, e := range s.Events {
		for _, a := range e.Attributes {
			if e.Name == event && a.Key == name {
				return a.Value.GetStringValue()
			}
		}
	}
	return ""
}

func TestOneTraceShowsACallFromTheProducerThroughARetryAndAHoldToTheAPI(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	sim, url := simulate(t, simapi.Config{Script: simapi.MustParseScript("GET /x -> 68300005; 67200001 retry-after=1; ok")})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	got := receive(t)
	h.env = append(h.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+got.url, "OTEL_SERVICE_NAME=orders", "OTEL_EXPORTER_OTLP_HEADERS=x-token=very%2Dsecret")
	errs, signal, end := h.start("work", "--log-level=debug", "--listen", "127.0.0.1:0")
	await(t, "the worker", func() bool { return strings.Contains(errs.String(), "msg=working") })
	h.callq(exitOK, "send", "GET", "/x", "q=private", "--key", "k", "--batch", "b", "--wait")
	signal(syscall.SIGTERM)
	if status := end(); status != exitOK {
		t.Errorf("exit status %d", status)
	}

	sent := got.of(nil, "send sim")
	if len(sent) != 1 || sent[0].Kind != tracepb.Span_SPAN_KIND_PRODUCER || len(sent[0].ParentSpanId) != 0 {
		t.Fatalf("the producer's spans are %v", sent)
	}
	trace := sent[0].TraceId
	taken, requests := got.of(trace, "process sim"), got.of(trace, "GET /x")
	if len(taken) != 3 || len(requests) != 3 {
		t.Fatalf("the trace has %d spans of the worker and %d of requests", len(taken), len(requests))
	}
	for i, arrived := range sim.Calls() {
		if !bytes.Equal(taken[i].ParentSpanId, sent[0].SpanId) || !bytes.Equal(requests[i].ParentSpanId, taken[i].SpanId) {
			t.Errorf("the spans of attempt %d have other parents", i+1)
		}
		if want := "00-" + hex.EncodeToString(trace) + "-" + hex.EncodeToString(requests[i].SpanId) + "-01"; arrived.Headers["Traceparent"] != want {
			t.Errorf("the API got the traceparent %q, want %q", arrived.Headers["Traceparent"], want)
		}
	}
	for i, event := range []string{"callq.retry", "callq.park", "callq.succeed"} {
		if fieldOf(taken[i], event, "callq.rule") == "" {
			t.Errorf("attempt %d has no event %s with its rule: %v", i+1, event, taken[i].Events)
		}
	}
	if len(taken[2].Links) != 1 || !bytes.Equal(taken[2].Links[0].SpanId, taken[1].SpanId) {
		t.Errorf("the probe has the links %v, want one to the attempt that began the hold", taken[2].Links)
	}
	if !got.services["orders"] || len(got.services) != 1 || !slices.Contains(got.headers, "very-secret") {
		t.Errorf("the services are %v, the tokens %q", got.services, got.headers)
	}
	for _, s := range got.received {
		if text := s.String(); strings.Contains(text, "private") {
			t.Errorf("a span has the query: %s", text)
		}
	}
	if strings.Contains(errs.String(), "secret") || strings.Contains(errs.String(), "could not be exported") {
		t.Errorf("the log is\n%s", errs)
	}
}

func TestACallOfTheHTTPAPIContinuesTheTraceOfItsClient(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	h.write("callq.yaml", "upstreams: {sim: {base_url: \"http://127.0.0.1:1\", policy: patsnap}}\n")
	got := receive(t)
	h.env = append(h.env, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+got.url+"/v1/traces")
	errs, signal, end := h.start("admin", "--listen", "127.0.0.1:0")
	await(t, "the admin server", func() bool { return strings.Contains(errs.String(), "admin=http://") })
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, adminOf(errs.String())+"v1/calls", strings.NewReader(`{"upstream":"sim","path":"/x"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Traceparent", "00-"+id+"-"+parent+"-01")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		t.Fatalf("the answer is %s", answer.Status)
	}
	signal(syscall.SIGTERM)
	if status := end(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	sent := got.of(nil, "send sim")
	if len(sent) != 1 || hex.EncodeToString(sent[0].TraceId) != id || hex.EncodeToString(sent[0].ParentSpanId) != parent {
		t.Errorf("the producer's spans are %v", sent)
	}
	if !got.services["callq"] {
		t.Errorf("the services are %v", got.services)
	}
}

// adminOf returns the admin address in a log.
func adminOf(log string) string {
	_, rest, _ := strings.Cut(log, "admin=")
	address, _, _ := strings.Cut(rest, " ")
	return address
}

func TestTracesAreOffUnlessTheEnvironmentAsksForThem(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env     map[string]string
		on      bool
		problem string
	}{
		{},
		{env: map[string]string{"OTEL_SERVICE_NAME": "x"}},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, on: true},
		{env: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "console, otlp"}, on: true},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}},
		{env: map[string]string{"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, problem: `OTEL_TRACES_EXPORTER is "zipkin"`},
		{env: map[string]string{"OTEL_SDK_DISABLED": "True", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}},
	} {
		on, problem := tracesOn(func(name string) string { return c.env[name] })
		if on != c.on || !strings.Contains(problem, c.problem) || c.problem == "" && problem != "" {
			t.Errorf("%v: %v, %q", c.env, on, problem)
		}
	}
}

func TestErrorsOfExportsAreLoggedOnceAMinute(t *testing.T) {
	var out bytes.Buffer
	e := &exportErrors{log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 5 {
		e.Handle(fmt.Errorf("refused"))
	}
	e.last = e.last.Add(-2 * time.Minute)
	e.Handle(fmt.Errorf("refused"))
	if said := out.String(); strings.Count(said, "\n") != 2 || !strings.Contains(said, "repeated=4") {
		t.Errorf("logged %s", said)
	}
}

func TestCallsAreMadeIfTheCollectorCannotBeReached(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	_, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", `{"path":"/x"}`+"\n")
	h.env = append(h.env, "OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1")
	if _, errs := h.callq(exitOK, "run", "calls.jsonl", "-o", "out"); strings.Count(errs, "traces could not be exported") != 1 {
		t.Errorf("it printed\n%s", errs)
	}
	h.env = append(h.env, "OTEL_TRACES_EXPORTER=jaeger")
	if _, errs := h.callq(exitOK, "run", "calls.jsonl", "-o", "again"); !strings.Contains(errs, `traces are off: OTEL_TRACES_EXPORTER is \"jaeger\", and callq exports by otlp only`) {
		t.Errorf("it printed\n%s", errs)
	}
}
