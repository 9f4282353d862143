package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

const (
	// exportLast is how long a command waits at its end until its last spans are exported.
	exportLast = 1500 * time.Millisecond
	// exportErrorsEvery is how often the errors of exports are logged at most.
	exportErrorsEvery = time.Minute
)

// traces exports the spans of this process, if the environment variables of OpenTelemetry
// say so.
type traces struct {
	begin    sync.Once
	provider *sdktrace.TracerProvider // nil: off
}

// tracerProvider returns what receives the spans of this process; nil if traces are off. A
// mistake in their configuration is logged: it must not stop calls.
func (a *app) tracerProvider(log *slog.Logger) trace.TracerProvider {
	if a.traces == nil {
		return nil
	}
	a.traces.begin.Do(func() {
		on, problem := tracesOn(a.env)
		if problem != "" {
			log.Warn("traces are off: " + problem)
		}
		if !on {
			return
		}
		a.addTraceSecrets()
		var err error
		if a.traces.provider, err = newTracerProvider(a.env); err != nil {
			log.Warn("traces are off: the exporter could not be made", "error", err)
			return
		}
		otel.SetErrorHandler(&exportErrors{log: log})
	})
	if a.traces.provider == nil {
		return nil
	}
	return a.traces.provider
}

// tracesOn reports whether the environment asks for traces, or what it asks for that does
// not exist here.
func tracesOn(env func(string) string) (on bool, problem string) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, ""
	}
	named := env("OTEL_TRACES_EXPORTER")
	var exporters []string
	for name := range strings.SplitSeq(named, ",") {
		if name = strings.TrimSpace(name); name != "" {
			exporters = append(exporters, name)
		}
	}
	switch {
	case slices.Contains(exporters, "otlp"):
		return true, ""
	case len(exporters) == 0:
		return env("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "", ""
	case slices.Equal(exporters, []string{"none"}):
		return false, ""
	}
	return false, fmt.Sprintf("OTEL_TRACES_EXPORTER is %q, and callq exports by otlp only; write otlp or none", named)
}

// newTracerProvider returns a provider that exports by OTLP. The exporter reads its endpoint,
// headers and certificates from the environment, and the provider its sampler and limits.
func newTracerProvider(env func(string) string) (*sdktrace.TracerProvider, error) {
	ctx := context.Background()
	protocol := env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = env("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	var exporter *otlptrace.Exporter
	var err error
	if protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, err
	}
	from, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithAttributes(
		semconv.ServiceName("callq"), semconv.ServiceVersion(versionsOf(debug.ReadBuildInfo()).Callq),
	), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(from), sdktrace.WithoutPanicRecording()), nil
}

// addTraceSecrets adds the credentials for the collector to those that are removed from
// the output.
func (a *app) addTraceSecrets() {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"} {
		for pair := range strings.SplitSeq(a.env(name), ",") {
			header, value, _ := strings.Cut(pair, "=")
			header, value = strings.TrimSpace(header), strings.TrimSpace(value)
			a.secrets.Add(value, header)
			if plain, err := url.PathUnescape(value); err == nil {
				a.secrets.Add(plain, header)
			}
		}
	}
}

// close exports the last spans.
func (t *traces) close() {
	if t == nil || t.provider == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), exportLast)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
}

// exportErrors logs the errors of exports: one a minute, with the number of those between.
type exportErrors struct {
	log *slog.Logger

	mu   sync.Mutex
	last time.Time
	more int
}

// Handle implements [otel.ErrorHandler].
func (e *exportErrors) Handle(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); e.last.IsZero() || now.Sub(e.last) >= exportErrorsEvery {
		args := []any{"error", err}
		if e.more > 0 {
			args = append(args, "repeated", e.more)
		}
		e.last, e.more = now, 0
		e.log.Warn("traces could not be exported", args...)
		return
	}
	e.more++
}
