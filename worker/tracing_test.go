package worker_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// tracedEnv returns an Env whose producer and worker are traced.
func tracedEnv(t *testing.T, cfg worker.Config) (*callqtest.Env, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	cfg.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	return callqtest.New(t, cfg), spans
}

// named returns the spans of that name, in the order in which they began.
func named(spans *tracetest.SpanRecorder, name string) (found []sdktrace.ReadOnlySpan) {
	for _, s := range spans.Ended() {
		if s.Name() == name {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, func(a, b sdktrace.ReadOnlySpan) int { return a.StartTime().Compare(b.StartTime()) })
	return found
}

func attributeOf(attributes []attribute.KeyValue, name string) string {
	for _, a := range attributes {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}

// eventOf returns the attributes of an event of a span.
func eventOf(t *testing.T, s sdktrace.ReadOnlySpan, name string) []attribute.KeyValue {
	t.Helper()
	for _, e := range s.Events() {
		if e.Name == name {
			return e.Attributes
		}
	}
	t.Errorf("%s has no event %s: %v", s.Name(), name, s.Events())
	return nil
}

func TestTheTraceOfACallGoesFromTheProducerThroughARetryAndAHoldToTheAPI(t *testing.T) {
	t.Parallel()
	log := &programtest.Log{}
	env, spans := tracedEnv(t, worker.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	env.Sim().Script("GET /x -> 68300005; 67200001 retry-after=1; ok")
	env.Start()
	receipt := env.Submit(tasks.Call{Path: "/x", Query: tasks.Query{"q": "private"}, Batch: "b", Key: "k"})
	want(t, env.Await(receipt.ID), tasks.StateDone, policy.ClassOK, 2)
	env.Stop()

	sent := named(spans, "send "+callqtest.Upstream)
	taken, requests := named(spans, "process "+callqtest.Upstream), named(spans, "GET /x")
	if len(sent) != 1 || len(taken) != 3 || len(requests) != 3 {
		t.Fatalf("%d sent, %d taken, %d requests", len(sent), len(taken), len(requests))
	}
	seen := env.Sim().Seen()
	for i, request := range requests {
		if taken[i].Parent().SpanID() != sent[0].SpanContext().SpanID() || taken[i].SpanKind() != trace.SpanKindConsumer {
			t.Errorf("span %d of the worker does not continue the producer's", i)
		}
		if request.Parent().SpanID() != taken[i].SpanContext().SpanID() || request.SpanKind() != trace.SpanKindClient {
			t.Errorf("request %d is not in the span of its call", i)
		}
		c := request.SpanContext()
		if got, want := seen[i].Headers["Traceparent"], "00-"+sent[0].SpanContext().TraceID().String()+"-"+c.SpanID().String()+"-01"; got != want {
			t.Errorf("the API got the traceparent %q, want %q", got, want)
		}
	}
	retry, park := eventOf(t, taken[0], "callq.retry"), eventOf(t, taken[1], "callq.park")
	if attributeOf(retry, "callq.rule") == "" || attributeOf(retry, "callq.error_code") != "68300005" || attributeOf(retry, "callq.next") == "" || taken[0].Status().Code != codes.Error {
		t.Errorf("the retry is %v, %v", retry, taken[0].Status())
	}
	if attributeOf(park, "callq.class") != "quota" || attributeOf(park, "callq.rule") == "" || attributeOf(park, "callq.wait") == "" || taken[1].Status().Code == codes.Error {
		t.Errorf("the park is %v, %v", park, taken[1].Status())
	}
	if hold := eventOf(t, taken[1], "callq.hold"); attributeOf(hold, "callq.circuit") != callqtest.Upstream || attributeOf(hold, "callq.hold") != "quota" {
		t.Errorf("the hold is %v", hold)
	}
	if links := taken[2].Links(); len(links) != 1 || links[0].SpanContext.SpanID() != taken[1].SpanContext().SpanID() {
		t.Errorf("the probe links to %v, want the span that opened the circuit", links)
	}
	eventOf(t, taken[2], "callq.succeed")
	if ids := " trace_id=" + taken[0].SpanContext().TraceID().String() + " span_id=" + taken[0].SpanContext().SpanID().String(); !strings.Contains(log.String(), ids) {
		t.Errorf("the log has no%s:\n%s", ids, log)
	}
}

func TestASpanOfARequestHasNeitherQueryNorCredential(t *testing.T) {
	t.Parallel()
	env, spans := tracedEnv(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Auth: worker.Query("apikey", worker.StaticSecret("hidden-key"))}}})
	env.Sim().Script("GET /x/* -> http:503; ok")
	env.Start()
	env.Await(env.Submit(tasks.Call{Path: "/x/12345?token=private", Query: tasks.Query{"q": "secret words"}}).ID)
	env.Stop()
	requests := named(spans, "GET /x/*")
	if len(requests) != 2 {
		t.Fatalf("%d requests", len(requests))
	}
	for name, want := range map[string]string{
		"http.request.method": "GET", "url.template": "/x/*", "url.full": env.Sim().URL() + "/x/12345", "server.address": "127.0.0.1",
		"http.response.status_code": "503", "error.type": "503",
	} {
		if got := attributeOf(requests[0].Attributes(), name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got := attributeOf(requests[1].Attributes(), "http.request.resend_count"); got != "1" || requests[1].Status().Code == codes.Error {
		t.Errorf("the second request: resend count %s, %v", got, requests[1].Status())
	}
	for _, s := range spans.Ended() {
		texts := s.Attributes()
		for _, e := range s.Events() {
			texts = append(texts, e.Attributes...)
		}
		for _, a := range texts {
			for _, secret := range []string{"hidden-key", "private", "secret words"} {
				if strings.Contains(a.Value.String(), secret) {
					t.Errorf("%s of %s has %q", a.Key, s.Name(), secret)
				}
			}
		}
	}
}

func TestACallsOwnTraceparentIsSentUnchanged(t *testing.T) {
	t.Parallel()
	const own = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	env, _ := tracedEnv(t, worker.Config{})
	env.Start()
	env.Await(env.Submit(tasks.Call{Path: "/x", Headers: map[string]string{"traceparent": own}}).ID)
	if got := env.Sim().Seen()[0].Headers["Traceparent"]; got != own {
		t.Errorf("the API got %q", got)
	}
}

func TestWithoutATracerProviderNoTraceparentIsSent(t *testing.T) {
	t.Parallel()
	env := callqtest.New(t, worker.Config{})
	env.Start()
	env.Await(env.Submit(tasks.Call{Path: "/x"}).ID)
	if got, there := env.Sim().Seen()[0].Headers["Traceparent"]; there {
		t.Errorf("the API got %q", got)
	}
}

func TestAJobsCodeIsInTheSpanOfItsCall(t *testing.T) {
	t.Parallel()
	env, spans := tracedEnv(t, worker.Config{})
	inside := make(chan trace.SpanContext, 1)
	err := worker.Handle(env.Worker(), callqtest.Upstream, func(ctx context.Context, _ *worker.Job[noop]) (struct{}, error) {
		inside <- trace.SpanContextFromContext(ctx)
		return struct{}{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := tasks.Enqueue(t.Context(), env.Producer(), noop{}, tasks.Options{Upstream: callqtest.Upstream})
	if err != nil {
		t.Fatal(err)
	}
	env.Start()
	env.Await(receipt.ID)
	env.Stop()
	if taken := named(spans, "process "+callqtest.Upstream); len(taken) != 1 || taken[0].SpanContext().SpanID() != (<-inside).SpanID() {
		t.Errorf("the spans are %v", taken)
	}
}
