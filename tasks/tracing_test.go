package tasks_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// traced returns a producer whose spans are recorded.
func traced(t *testing.T, rdb *redis.Client) (*tasks.Producer, *tracetest.SpanRecorder, trace.TracerProvider) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{TracerProvider: provider})
	if err != nil {
		t.Fatal(err)
	}
	return p, spans, provider
}

// traceparentOf returns the traceparent in the headers of a call's task, which is in
// asynq's protobuf message; empty if there is none.
func traceparentOf(t *testing.T, rdb *redis.Client, queue, id string) string {
	t.Helper()
	message := []byte(rdb.HGet(t.Context(), "asynq:{"+queue+"}:t:"+id, "msg").Val())
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		message = message[n:]
		if field != 15 {
			message = message[protowire.ConsumeFieldValue(field, kind, message):]
			continue
		}
		header, n := protowire.ConsumeBytes(message)
		message = message[n:]
		if _, value, ok := strings.Cut(string(header), "\x0btraceparent\x12\x37"); ok {
			return value
		}
	}
	return ""
}

func attributeOf(s sdktrace.ReadOnlySpan, name string) attribute.Value {
	for _, a := range s.Attributes() {
		if string(a.Key) == name {
			return a.Value
		}
	}
	return attribute.Value{}
}

func parentText(c trace.SpanContext) string {
	return "00-" + c.TraceID().String() + "-" + c.SpanID().String() + "-01"
}

func TestACallsTaskCarriesTheSpanOfItsSubmission(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p, spans, provider := traced(t, rdb)
		ctx, caller := provider.Tracer("test").Start(t.Context(), "caller")
		receipt, err := p.Submit(ctx, tasks.Call{Upstream: "api", Batch: "b", Key: "k", Path: "/x?token=hidden"})
		if err != nil {
			t.Fatal(err)
		}
		ended := spans.Ended()
		if len(ended) != 1 || ended[0].Name() != "send api" || ended[0].SpanKind() != trace.SpanKindProducer || ended[0].Parent().SpanID() != caller.SpanContext().SpanID() {
			t.Fatalf("the spans are %v", ended)
		}
		for name, want := range map[string]string{
			"messaging.system": "callq", "messaging.operation.type": "send", "messaging.destination.name": "api", "messaging.message.id": receipt.ID,
			"callq.batch": "b", "callq.key": "k",
		} {
			if got := attributeOf(ended[0], name).AsString(); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		for _, a := range ended[0].Attributes() {
			if strings.Contains(a.Value.String(), "hidden") {
				t.Errorf("%s has the query", a.Key)
			}
		}
		if got, want := traceparentOf(t, rdb, "api", receipt.ID), parentText(ended[0].SpanContext()); got != want {
			t.Errorf("the task's traceparent is %q, want %q", got, want)
		}
	})
}

func TestEachCallOfABatchBeginsATraceThatLinksToTheBatch(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p, spans, _ := traced(t, rdb)
		_, err := p.SubmitAll(t.Context(), "b", func(yield func(tasks.Call, error) bool) {
			for _, key := range []string{"one", "two"} {
				if !yield(tasks.Call{Upstream: "api", Key: key, Path: "/" + key, Priority: tasks.PriorityHigh}, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := spans.Ended()
		if len(ended) != 3 || ended[2].Name() != "send b" || attributeOf(ended[2], "messaging.batch.message_count").AsInt64() != 2 {
			t.Fatalf("the spans are %v", ended)
		}
		batch := ended[2].SpanContext()
		for _, s := range ended[:2] {
			if s.Name() != "create api:high" || s.Parent().IsValid() || s.SpanContext().TraceID() == batch.TraceID() ||
				len(s.Links()) != 1 || s.Links()[0].SpanContext.SpanID() != batch.SpanID() {
				t.Errorf("the span of a call is %v", s)
			}
			id := attributeOf(s, "messaging.message.id").AsString()
			if got, want := traceparentOf(t, rdb, "api:high", id), parentText(s.SpanContext()); got != want {
				t.Errorf("the task's traceparent is %q, want %q", got, want)
			}
		}
	})
}

func TestASubmissionThatFailsHasAFailedSpanWithoutItsText(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p, spans, _ := traced(t, rdb)
		for _, path := range []string{"/one", "/another"} {
			_, _ = p.Submit(t.Context(), tasks.Call{Upstream: "api", Batch: "b", Key: "k", Path: path})
		}
		ended := spans.Ended()
		if len(ended) != 2 || ended[1].Status().Code != codes.Error || attributeOf(ended[1], "error.type").AsString() != "conflict" || len(ended[1].Events()) > 0 {
			t.Errorf("the spans are %v", ended)
		}
	})
}

func TestWithoutATracerProviderATaskHasNoHeaders(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, provider := traced(t, rdb)
		ctx, _ := provider.Tracer("test").Start(context.Background(), "caller")
		receipt, err := p.Submit(ctx, tasks.Call{Upstream: "api", Path: "/x"})
		if err != nil {
			t.Fatal(err)
		}
		if got := traceparentOf(t, rdb, "api", receipt.ID); got != "" {
			t.Errorf("the task has the traceparent %q", got)
		}
	})
}

// The content of a call decides whether it is a duplicate: its trace does not.
func TestATraceIsNotPartOfACallsContent(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p, _, _ := traced(t, rdb)
		plain, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		var duplicates []bool
		for _, producer := range []*tasks.Producer{p, plain, p} {
			receipt, err := producer.Submit(t.Context(), tasks.Call{Upstream: "api", Batch: "b", Key: "k", Path: "/x"})
			if err != nil {
				t.Fatal(err)
			}
			duplicates = append(duplicates, receipt.Duplicate)
		}
		if !slices.Equal(duplicates, []bool{false, true, true}) {
			t.Errorf("the duplicates are %v", duplicates)
		}
	})
}
