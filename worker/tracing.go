package worker

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// tracerName names the code that makes the spans.
const tracerName = "github.com/seed-2903acc3/callq/worker"

// tracer makes a worker's spans: one for each time that a worker takes a call, and one for
// each request. A nil tracer makes none, at no cost. Names and attributes follow
// OpenTelemetry's semantic conventions for messaging and HTTP.
type tracer struct {
	trace.Tracer
	redactor *Redactor
}

func newTracer(p trace.TracerProvider, redactor *Redactor) *tracer {
	if p == nil {
		return nil
	}
	return &tracer{p.Tracer(tracerName), redactor}
}

// begin begins the span of a call that the worker has taken. It continues the span of the
// producer, which the task's headers carry.
func (t *tracer) begin(ctx context.Context, delivery *ledger.Delivery, headers map[string]string) (context.Context, trace.Span) {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier(headers))
	return t.Start(ctx, "process "+delivery.Queue, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		semconv.MessagingSystemKey.String("callq"), semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(delivery.Queue), semconv.MessagingMessageID(delivery.ID),
		attribute.String("callq.batch", delivery.Batch), attribute.String("callq.key", delivery.Key),
		attribute.Int("callq.attempt", delivery.Attempts+1), attribute.Int("callq.parked", delivery.Parked),
		attribute.Int("callq.generation", delivery.Generation),
	))
}

// traced is process with a span, if there is a tracer.
func (w *Worker) traced(ctx context.Context, delivery *ledger.Delivery, headers map[string]string) disposition {
	if w.tracer == nil {
		return w.process(ctx, delivery)
	}
	ctx, span := w.tracer.begin(ctx, delivery, headers)
	defer span.End()
	return w.process(ctx, delivery)
}

// decided adds what was decided about an attempt to the span of the call.
func (t *tracer) decided(ctx context.Context, a attempted, d policy.Decision, s ledger.State) {
	if t == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	attrs := []attribute.KeyValue{attribute.String("callq.class", string(d.Class)), attribute.String("callq.rule", d.Rule)}
	if code := codeOf(a.Outcome); code != "" {
		attrs = append(attrs, attribute.String("callq.error_code", code))
	}
	if text := messageOf(a); text != "" && d.Action != policy.ActionSucceed {
		attrs = append(attrs, attribute.String("callq.error_message", t.redactor.Text(text)))
	}
	if !a.next.IsZero() {
		attrs = append(attrs, attribute.String("callq.next", a.next.UTC().Format(time.RFC3339)))
	}
	if a.wait > 0 {
		attrs = append(attrs, attribute.Float64("callq.wait", a.wait.Seconds()))
	}
	span.AddEvent("callq."+string(d.Action), trace.WithAttributes(attrs...))
	span.SetAttributes(attribute.String("callq.action", string(d.Action)), attribute.String("callq.class", string(d.Class)), attribute.String("callq.rule", d.Rule))
	if s != "" {
		span.SetAttributes(attribute.String("callq.state", string(s)))
	}
	if d.Action == policy.ActionRetry || s == ledger.Dead {
		span.SetAttributes(semconv.ErrorTypeKey.String(string(d.Class)))
		span.SetStatus(codes.Error, string(d.Class))
	}
}

// putBack adds to the span of the call that it goes back to its queue without an attempt.
// reason is callq's own text.
func (t *tracer) putBack(ctx context.Context, reason string, wait time.Duration) {
	if t == nil {
		return
	}
	attrs := []attribute.KeyValue{attribute.String("callq.reason", reason)}
	if wait > 0 {
		attrs = append(attrs, attribute.Float64("callq.wait", wait.Seconds()))
	}
	trace.SpanFromContext(ctx).AddEvent("callq.put_back", trace.WithAttributes(attrs...))
}

// holdBegan adds to the span of a call that it has opened a circuit.
func (t *tracer) holdBegan(ctx context.Context, name circuit.Name, hold string, wait time.Duration) {
	if t == nil {
		return
	}
	trace.SpanFromContext(ctx).AddEvent("callq.hold", trace.WithAttributes(
		attribute.String("callq.circuit", name.String()), attribute.String("callq.hold", hold), attribute.Float64("callq.wait", wait.Seconds()),
	))
}

// parent returns the span of ctx in the form of a traceparent header; empty without a
// tracer or a span.
func (t *tracer) parent(ctx context.Context) string {
	if t == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

// ids returns the ids of the span of ctx, for logs; empty without a tracer or a span.
func (t *tracer) ids(ctx context.Context) (traceID, spanID string) {
	if t == nil {
		return "", ""
	}
	c := trace.SpanContextFromContext(ctx)
	if !c.IsValid() {
		return "", ""
	}
	return c.TraceID().String(), c.SpanID().String()
}

// linkHold links the span of the call to the span that opened the circuit that holds it, or
// that it tests as its probe, if the record of the circuit has that span.
func (w *Worker) linkHold(ctx context.Context, name circuit.Name) {
	if w.tracer == nil {
		return
	}
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	opener := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": w.circuitRecord(ctx, name).Trace})
	if by := trace.SpanContextFromContext(opener); by.IsValid() && by.SpanID() != span.SpanContext().SpanID() {
		span.AddLink(trace.Link{SpanContext: by, Attributes: []attribute.KeyValue{attribute.String("callq.circuit", name.String())}})
	}
}

// send makes the request of a call, with the header of a middleware added, in a span if
// there is a tracer. The request then carries the span, unless the call has a traceparent of
// its own.
func (w *Worker) send(ctx context.Context, inflight *inflightCall, header http.Header) upstream.Answer {
	client, request := inflight.account.client, inflight.request
	if len(header) > 0 {
		request.Header = maps.Clone(request.Header)
		if request.Header == nil {
			request.Header = http.Header{}
		}
		maps.Copy(request.Header, header)
	}
	if w.tracer == nil {
		return client.Do(ctx, request)
	}
	ctx, span := w.tracer.beginRequest(ctx, inflight)
	defer span.End()
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	request.TraceParent, request.TraceState = carrier["traceparent"], carrier["tracestate"]
	a := client.Do(ctx, request)
	w.tracer.endRequest(span, a)
	return a
}

// beginRequest begins the span of a request. Its URL has no query, which may hold what
// nobody should see.
func (t *tracer) beginRequest(ctx context.Context, inflight *inflightCall) (context.Context, trace.Span) {
	method, template, _ := strings.Cut(inflight.endpoint, " ")
	attrs := make([]attribute.KeyValue, 0, 8)
	attrs = append(attrs, semconv.HTTPRequestMethodKey.String(method), semconv.URLTemplate(template), attribute.String("callq.upstream", inflight.account.name))
	if base := inflight.account.base; base != nil {
		path, _, _ := strings.Cut(inflight.request.Path, "?")
		attrs = append(attrs, semconv.ServerAddress(base.Hostname()), semconv.ServerPort(portOf(base)),
			semconv.URLFull(t.redactor.Text(base.Scheme+"://"+base.Host+strings.TrimSuffix(base.EscapedPath(), "/")+path)))
	}
	if n := inflight.delivery.Attempts; n > 0 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(n))
	}
	return t.Start(ctx, inflight.endpoint, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
}

// endRequest adds the answer to the span of a request.
func (t *tracer) endRequest(span trace.Span, a upstream.Answer) {
	kind := ""
	switch {
	case a.NotSent:
		span.SetAttributes(attribute.Bool("callq.not_sent", true))
	case a.TokenStatus != 0:
		kind = "token"
	case a.Outcome.Transport != policy.TransportNone:
		kind = string(a.Outcome.Transport)
	case a.Outcome.Status != 0:
		span.SetAttributes(semconv.HTTPResponseStatusCode(a.Outcome.Status))
		if a.Outcome.Status >= 400 {
			kind = strconv.Itoa(a.Outcome.Status)
		}
	}
	if a.Outcome.CorrelationID != "" {
		span.SetAttributes(attribute.String("callq.correlation_id", t.redactor.Text(a.Outcome.CorrelationID)))
	}
	if kind != "" {
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		span.SetStatus(codes.Error, "")
	}
}

// portOf returns the port of a URL's server.
func portOf(u *url.URL) int {
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}
