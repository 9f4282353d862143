package tasks

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// tracerName names the code that makes the spans.
const tracerName = "github.com/seed-2903acc3/callq/tasks"

// tracer makes a producer's spans. A nil tracer makes none, at no cost.
type tracer struct{ trace.Tracer }

func newTracer(p trace.TracerProvider) *tracer {
	if p == nil {
		return nil
	}
	return &tracer{p.Tracer(tracerName)}
}

// attributesOf returns the attributes of a span about a call (OpenTelemetry's semantic
// conventions for messaging).
func attributesOf(c Call, kind attribute.KeyValue) trace.SpanStartEventOption {
	return trace.WithAttributes(
		semconv.MessagingSystemKey.String("callq"), kind, semconv.MessagingOperationName(kind.Value.AsString()),
		semconv.MessagingDestinationName(Queue(c.Upstream, c.Priority)), semconv.MessagingMessageID(TaskID(c.Batch, c.Key)),
		attribute.String("callq.batch", c.Batch), attribute.String("callq.key", c.Key),
	)
}

// send begins the span of a call that is submitted alone.
func (t *tracer) send(ctx context.Context, c Call) (context.Context, trace.Span) {
	return t.Start(ctx, "send "+Queue(c.Upstream, c.Priority), trace.WithSpanKind(trace.SpanKindProducer),
		attributesOf(c, semconv.MessagingOperationTypeSend))
}

// endSend ends the span of a call that was submitted alone.
func endSend(span trace.Span, r Receipt, err error) {
	span.SetAttributes(attribute.Bool("callq.duplicate", r.Duplicate))
	noteError(span, err)
	span.End()
}

// sendBatch begins the span of calls that are submitted together.
func (t *tracer) sendBatch(ctx context.Context, batch string) (context.Context, trace.Span) {
	return t.Start(ctx, "send "+batch, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		semconv.MessagingSystemKey.String("callq"), semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
		attribute.String("callq.batch", batch),
	))
}

// endSendBatch ends the span of calls that were submitted together.
func endSendBatch(span trace.Span, s Summary, err error) {
	span.SetAttributes(semconv.MessagingBatchMessageCount(s.Accepted+s.Duplicate+s.Refused), attribute.Int("callq.accepted", s.Accepted),
		attribute.Int("callq.duplicate", s.Duplicate), attribute.Int("callq.refused", s.Refused))
	noteError(span, err)
	span.End()
}

// create makes the span of one call of a batch. It begins a trace, which the call's
// attempts continue, and links to the span of the batch: a trace with all calls of a large
// batch could not be shown.
func (t *tracer) create(ctx context.Context, c Call) context.Context {
	if t == nil {
		return ctx
	}
	ctx, span := t.Start(ctx, "create "+Queue(c.Upstream, c.Priority), trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithLinks(trace.LinkFromContext(ctx)), attributesOf(c, semconv.MessagingOperationTypeCreate))
	span.End()
	return ctx
}

// headers returns the headers of a task that carry the span of ctx to the worker (W3C Trace
// Context); nil without a tracer.
func (t *tracer) headers(ctx context.Context) map[string]string {
	if t == nil {
		return nil
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier
}

// noteError marks a span as failed. The text of the error stays out of it: it may quote the
// call.
func noteError(span trace.Span, err error) {
	if err == nil {
		return
	}
	kind := semconv.ErrorTypeOther
	var refused *FieldError
	var conflict *ConflictError
	switch {
	case errors.As(err, &refused):
		kind = semconv.ErrorTypeKey.String("refused")
	case errors.As(err, &conflict):
		kind = semconv.ErrorTypeKey.String("conflict")
	}
	span.SetAttributes(kind)
	span.SetStatus(codes.Error, kind.Value.AsString())
}
